"""The lifetime of a request at the level of ASGI messages: whatever the moment at which the server closes."""

import asyncio
from collections.abc import AsyncIterator
from unittest.mock import Mock

import pytest
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from pellucid.serve.http.connection import TRANSPORT
from pellucid.serve.http.lifetime import RequestLifetimeMiddleware


TURNS = 40  # of the event loop: more than the response below takes


async def responses(turns: int) -> list[Message]:
    """The messages of a request for three parts, where the server closes after some turns of the event loop."""
    sent: list[Message] = []
    body: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]
    closing, complete = asyncio.Event(), asyncio.Event()

    async def receive() -> Message:
        if body:
            return body.pop()
        await complete.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            complete.set()

    async def parts() -> AsyncIterator[bytes]:
        for part in (b"a", b"b", b"c"):
            await asyncio.sleep(0)
            yield part

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        await StreamingResponse(parts())(scope, receive, send)

    transport = Mock(is_closing=lambda: False)
    scope = {"type": "http", "method": "GET", "asgi": {"spec_version": "2.3"}, "state": {TRANSPORT: transport}}
    request = asyncio.ensure_future(RequestLifetimeMiddleware(app, closing)(scope, receive, send))
    for _ in range(turns):
        await asyncio.sleep(0)
    closing.set()
    await asyncio.wait_for(request, 10)
    assert not transport.abort.called
    return sent


@pytest.mark.parametrize("turns", range(TURNS))
def test_a_closing_server_sends_503_or_the_whole_response(turns: int) -> None:
    sent = asyncio.run(responses(turns))
    assert [message["type"] for message in sent].count("http.response.start") == 1 and sent[0]["type"] == "http.response.start"
    content = b"".join(message["body"] for message in sent[1:])
    if sent[0]["status"] == 503:
        assert content == b'{"error":"the server is closing"}' and turns < TURNS - 1
    else:
        assert (sent[0]["status"], content) == (200, b"abc") and turns > 0
    assert not sent[-1].get("more_body", False)
