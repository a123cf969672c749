"""`ServiceFront`: what every request to the service goes through: its id, its key, the log; then API or studio answer."""

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.serve.http.keys import Client, KeyRing, given_key, masked
from pellucid.serve.http.lifetime import discard_body
from pellucid.serve.http.limits import KeyLimits
from pellucid.serve.openai.errors import ApiError, overloaded
from pellucid.serve.openai.metrics import RequestMetrics
from pellucid.serve.openai.scope import CLIENT, LOGGED
from pellucid.serve.openai.settings import ServiceSettings


HEALTH = ("/healthz", "/readyz")  # need no key
API = ("/v1", "/openai", "/tokenize", "/detokenize", "/tokenizer_info", "/healthz", "/readyz", "/metrics", "/openapi.json")
GENERATE = "/api/generate"  # of the studio
LIMITED = "this key has limits, and what the studio's page generates is not counted: ask for it with /v1/completions"
VERSION = "2020-10-01"  # of OpenAI's API: what its header said


class ServiceFront:
    """ASGI middleware.

    - A request without a valid key is refused (401), unless it asks for health; a browser is asked for one (its password).
    - The studio's page generates nothing (403) for a key that has limits, since it counts nothing.
    - While the server ends, new work is refused (503).
    - Responses have the API's headers: x-request-id, openai-processing-ms, openai-version.
    - Each is counted and, if the settings say so, logged: no header, and no text of a prompt unless asked for.

    Args:
        api: the application. studio: the studio of each client, which shows its own runs and records beside the server's
            models; None: there is no studio. keys: who may ask. draining: whether the server ends.
    """

    def __init__(
        self, api: ASGIApp, studio: Callable[[Client], ASGIApp] | None, keys: KeyRing, settings: ServiceSettings,
        metrics: RequestMetrics, draining: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._api, self._studio, self._keys, self._settings = api, studio, keys, settings
        self._metrics, self._draining = metrics, draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; see the ASGI specification."""
        if scope["type"] != "http":
            return
        began, request_id, status = time.monotonic(), f"req_{token_hex(12)}", 0
        logged: dict[str, Any] = {}

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["openai-version"] = VERSION
                headers["openai-processing-ms"] = str(round((time.monotonic() - began) * 1000))
            await send(message)

        scope["state"] = {**scope.get("state", {}), LOGGED: logged}
        try:
            await self._answer(scope, receive, with_headers)
        finally:
            if status:
                self._metrics.responded(status)
            if self._settings.log_requests:
                said = {
                    "id": request_id, "method": scope["method"], "path": scope["path"], "status": status or None,
                    "ms": round((time.monotonic() - began) * 1000), **logged,
                }  # fmt: skip
                with suppress(OSError, ValueError):  # nobody reads the log any more: requests are answered all the same
                    print(json.dumps(said), file=sys.stderr, flush=True)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, headers = scope["path"], Headers(scope=scope)
        api = self._studio is None or any(path == one or path.startswith(f"{one}/") for one in API)
        client = self._keys.client(headers)
        if client is None and path not in HEALTH:
            error = _no_key(given_key(headers))
            if not api:
                error.headers["WWW-Authenticate"] = 'Basic realm="pellucid: the password is a key", charset="UTF-8"'
            await self._refuse(error, scope, receive, send)
        elif client is not None and path == GENERATE and not api and client.limits.limits != KeyLimits():
            await self._refuse(ApiError(403, LIMITED), scope, receive, send)
        elif self._draining() and scope["method"] == "POST":
            await self._refuse(overloaded(), scope, receive, send)
        else:
            if client is not None:
                scope["state"][CLIENT] = client
                scope["state"][LOGGED]["key"] = client.name
            if api or self._studio is None or client is None:
                await self._api(scope, receive, send)
            else:
                await self._studio(client)(scope, receive, send)

    async def _refuse(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        await discard_body(receive)
        await error.response()(scope, receive, send)


def _no_key(given: str | None) -> ApiError:
    if given is None:
        message = (
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
            "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the API "
            "from your browser and are prompted for a username and password."
        )
        return ApiError(401, message)
    return ApiError(401, f"Incorrect API key provided: {masked(given)}.", code="invalid_api_key")
