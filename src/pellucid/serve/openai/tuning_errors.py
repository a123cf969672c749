"""The API's errors for those of fine-tuning's stores, and the responses that list their rows."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pellucid.errors import PellucidError
from pellucid.serve.http.json_response import encode_long
from pellucid.serve.openai.errors import ApiError, server_error
from pellucid.serve.openai.models import LOG
from pellucid.serve.openai.pages import page_object
from pellucid.serve.tuning.database import NotThere, QuotaReached, Refused, StorageFailed, TableRow
from pellucid.serve.tuning.files import FileTooLarge


Endpoint = Callable[[Any, Request], Coroutine[Any, Any, Response]]


def answering(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose errors are the API's."""

    @wraps(endpoint)
    async def answer(self: Any, request: Request) -> Response:
        try:
            return await endpoint(self, request)
        except ApiError:
            raise
        except PellucidError as error:
            raise api_error(error) from None

    return answer


def api_error(error: PellucidError) -> ApiError:
    """The API's error for one of the stores."""
    text = str(error)
    match error:
        case NotThere():
            return ApiError(404, text, param="id")
        case QuotaReached():
            return ApiError(
                429, text, type="insufficient_quota", code="insufficient_quota", headers={"x-should-retry": "false"}
            )
        case FileTooLarge():
            return ApiError(413, text, param="file", headers={"Connection": "close"})
        case StorageFailed():
            LOG.error("%s", text)
            return server_error(f"The server's storage failed: {text}")
        case Refused():
            return ApiError(400, text)
    return ApiError(400, text, param="file")


async def page_response(
    show: Callable[[TableRow], dict[str, Any]], find: Callable[..., tuple[list[TableRow], bool]], *given: Any, **named: Any
) -> Response:
    """The response of a list: a page of rows, each as its object, and whether more follow.

    Args:
        show: the object of a row. find: the page of a store; it gets the other arguments.

    Raises:
        ApiError: `after` is none of them (400).
    """

    def objects() -> dict[str, Any]:  # in the thread, too: a job's answers may be a megabyte
        rows, more = find(*given, **named)
        return page_object([show(row) for row in rows], more=more)

    try:
        page = await asyncio.to_thread(objects)
    except NotThere as error:
        raise ApiError(400, f"{error} - 'after'", param="after") from None
    return Response(await encode_long(page), media_type="application/json")
