"""`ApiError`: what a request is answered with instead of a result, in the words and codes of OpenAI's API of 2020 to 2023."""

from collections.abc import Mapping
from typing import Any

from pellucid.serve.http.json_response import JsonResponse


INVALID, SERVER = "invalid_request_error", "server_error"


class ApiError(Exception):
    """An error as the API's clients know them: `{"error": {message, type, param, code}}` with an HTTP status.

    Args:
        status: of the response. message: what is wrong, with the field and its range where there is one.
        type: "invalid_request_error", "server_error", or "requests" and "tokens" for limits of a rate.
        param: the field. code: a word for programs, such as "model_not_found".
        headers: of the response, such as Retry-After.
    """

    def __init__(
        self, status: int, message: str, *, type: str = INVALID, param: str | None = None, code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.message, self.type, self.param, self.code = status, message, type, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON of the response, and of a stream's event."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def response(self) -> JsonResponse:
        """The response."""
        return JsonResponse(self.body(), self.status, self.headers)


def error_response(status: int, message: str) -> JsonResponse:
    """The response to a request that HTTP's own rules refuse. The connection is closed where what follows is in doubt."""
    closed = {"Connection": "close"} if status in (400, 411, 413) else {}
    kind = SERVER if status >= 500 else INVALID
    retry = {"Retry-After": "5"} if status == 503 else {}
    return ApiError(status, message, type=kind, headers=closed | retry).response()


def busy(message: str, seconds: float, *, type: str = "requests") -> ApiError:
    """429: too many requests or tokens, with the time after which to come again; clients sleep for so long by themselves."""
    wait = max(seconds, 0.001)
    headers = {"Retry-After": str(max(1, -int(-wait // 1))), "retry-after-ms": str(max(1, round(wait * 1000)))}
    return ApiError(429, message, type=type, headers=headers)


def server_error(message: str = "The server had an error while processing your request", *, retry: bool = True) -> ApiError:
    """500: not the request's fault; clients try again unless they are told not to."""
    return ApiError(500, message, type=SERVER, headers={} if retry else {"x-should-retry": "false"})


def overloaded(why: str = "this server is ending") -> ApiError:
    """503: the server ends, or its engine does not run."""
    message = f"That model is currently overloaded with other requests. You can retry your request: {why}"
    return ApiError(503, message, type=SERVER, headers={"Retry-After": "5"})
