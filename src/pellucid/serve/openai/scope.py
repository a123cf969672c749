"""What a request carries besides HTTP: who sends it, what the log says of it, its JSON."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request

from pellucid.serve.http.keys import Client
from pellucid.serve.http.same_origin import SEND_JSON, is_json
from pellucid.serve.openai.completion_request import parse_object
from pellucid.serve.openai.errors import ApiError


CLIENT = "pellucid.client"  # key of the ASGI scope's state: the `Client` that a request comes from
LOGGED = "pellucid.logged"  # and what the log says of it, beside the path
LONG_BODY = 1 << 15  # bytes that are parsed in a thread


def client_of(request: Request) -> Client:
    """Who sends a request."""
    client = request.scope["state"][CLIENT]
    assert isinstance(client, Client)
    return client


async def json_object(request: Request, max_body: int, *, optional: bool = False) -> dict[str, Any]:
    """The JSON object of a request's body.

    Args:
        max_body: bytes at most. optional: whether an empty body is an empty object.

    Raises:
        ApiError: it is not said to be JSON (415), or is none (400).
    """
    body = await request.body()
    if optional and not body:
        return {}
    if not is_json(request.headers):
        raise ApiError(415, SEND_JSON)
    found: dict[str, Any] = await maybe_in_thread(len(body) > LONG_BODY, lambda: parse_object(body, max_body))
    return found


async def maybe_in_thread(long: bool, function: Callable[[], Any]) -> Any:
    """Calls a function; in a thread where it takes long, so that others are answered meanwhile."""
    return await asyncio.to_thread(function) if long else function()
