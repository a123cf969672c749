"""The lifetime of a request: it begins when its body is complete and ends when its connection or the server closes."""

import asyncio
from collections.abc import Callable, Collection

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.serve.http.connection import TRANSPORT
from pellucid.serve.http.json_response import JsonResponse
from pellucid.serve.wire import ErrorMessage


MAX_BODY = 1 << 16  # bytes of a body: a prompt has fewer
MAX_DISCARDED = 1 << 24  # bytes of a refused body that are read and discarded
CLOSING = "the server is closing"


def error_message(status: int, message: str) -> Response:
    """An error as the studio's page takes it."""
    closed = {"Connection": "close"} if status in (400, 411, 413, 503) else None
    return JsonResponse(ErrorMessage(error=message), status, closed)


class IncompleteResponseError(Exception):
    """The application cannot complete the response that it has begun: the connection is closed, for the client to see it."""


class RequestLifetimeMiddleware:
    """ASGI middleware that cancels the application's task when the client disconnects, whatever the task is waiting for.

    The body is read before the application is called. Its bytes are counted, whatever the headers say: more than `max_body`
    are refused (413). When the server closes, requests without a response are cancelled and answered with 503; responses that
    have begun go on.

    Args:
        app: the application. Its `receive` gives the whole body, then waits for the disconnect.
        closing: set when the server closes.
        max_body: bytes of a body at most.
        error: the response of a status and a message.
        streamed: paths of requests (POST) whose body the application reads as it arrives, and counts itself.
    """

    def __init__(
        self, app: ASGIApp, closing: asyncio.Event, *, max_body: int = MAX_BODY,
        error: Callable[[int, str], Response] = error_message, streamed: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.app = app
        self._closing = closing
        self._max_body = max_body
        self._error = error
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; see the ASGI specification."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "POST" and scope["path"] in self._streamed:
            await self._run(scope, _StreamedBody(receive), receive, send)
            return
        try:
            body = await read_body(receive, self._max_body)
        except BodyTooLargeError:
            await self._error(413, f"the body has more than {self._max_body:,} bytes")(scope, receive, send)
            return
        if body is not None:
            await self._run(scope, _WholeBody(body, receive), receive, send)

    async def _run(self, scope: Scope, body: "_WholeBody | _StreamedBody", receive: Receive, send: Send) -> None:
        """Runs the application until it ends, the client disconnects, or the server closes before the response has begun."""
        begun, transport = False, scope["state"][TRANSPORT]

        async def received() -> Message:
            if (message := await body.next()) is not None:
                return message
            await asyncio.wait({left})
            return {"type": "http.disconnect"}

        async def sent(message: Message) -> None:
            nonlocal begun
            if not begun and self._closing.is_set():  # 503 is the response: until this task is cancelled, nothing else is sent
                await asyncio.wait({left})
            begun = True
            if transport.is_closing():  # the task is about to be cancelled
                await asyncio.wait({left})
            await send(message)

        left = asyncio.create_task(body.left())
        closing = asyncio.create_task(self._closing.wait())
        work = asyncio.ensure_future(self.app(scope, received, sent))
        try:
            await asyncio.wait({work, left, closing}, return_when=asyncio.FIRST_COMPLETED)
            if closing.done() and begun:
                await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = work.done()
            others = {task for task in (work, left, closing) if not task.done()}
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others)
        if ended:
            try:
                work.result()
            except IncompleteResponseError:
                transport.abort()
                await _disconnected(receive)
        elif not left.done() or left.cancelled():
            await self._error(503, CLOSING)(scope, receive, send)
        elif not work.cancelled():
            work.exception()  # read, so that asyncio does not log it: the client is gone


class _WholeBody:
    """A body that was read."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        self._receive = receive

    async def next(self) -> Message | None:
        """The body; then None."""
        return self._messages.pop() if self._messages else None

    async def left(self) -> None:
        """Returns when the client has disconnected."""
        await _disconnected(self._receive)


class _StreamedBody:
    """A body that is read as it arrives. Until its end whoever reads it notices that the client has left; then `left` does."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._complete, self._gone = asyncio.Event(), False

    async def next(self) -> Message | None:
        """The next part of the body; after its end None, and where the client leaves before it, too."""
        if self._complete.is_set():
            return None
        message = await self._receive()
        self._gone = message["type"] == "http.disconnect"
        if self._gone or not message.get("more_body", False):
            self._complete.set()
        return None if self._gone else message

    async def left(self) -> None:
        """Returns when the client has disconnected."""
        await self._complete.wait()
        if not self._gone:
            await _disconnected(self._receive)


class BodyTooLargeError(Exception):
    """A body has more bytes than allowed."""


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """The whole body of a request; None where the client disconnects before its end.

    Raises:
        BodyTooLargeError: it has more than `limit` bytes; the rest was discarded.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > limit:
            if message.get("more_body", False):
                await discard_body(receive)
            raise BodyTooLargeError
        if not message.get("more_body", False):
            return bytes(body)


async def discard_body(receive: Receive, most: int = MAX_DISCARDED) -> None:
    """Reads and discards the rest of a refused request's body, up to `most` bytes: a client still sending would not read the
    answer."""
    size = 0
    while size <= most:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


async def _disconnected(receive: Receive) -> None:
    """Returns when the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
