"""Clients that leave while they wait, a server that closes while clients wait, limits of bodies and connections, odd values."""

import asyncio
import json
import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any

import pytest
from cases import TIMES
from serving import Slow, SlowEngine, ask, events, events_of, is_idle, read, start, until
from test_serve_hostile_clients import printed as printed

from pellucid.engine import options as option_table
from pellucid.errors import PellucidError
from pellucid.serve import Studio
from pellucid.serve.http import connection as connections
from pellucid.serve.http.connection import ConnectionProtocol
from pellucid.serve.http.lifetime import MAX_BODY, RequestLifetimeMiddleware
from pellucid.serve.studio import generation


@pytest.fixture(scope="module")
def studio(tiny_run: Path) -> Iterator[Studio]:
    with Studio([tiny_run], port=0) as served:
        yield served


def posted(port: int, body: dict[str, Any], *headers: str) -> bytes:
    """A request to generate, as bytes."""
    data = json.dumps({"model": "model-1", "prompt": "the", "max_tokens": 50, **body})
    lines = ["POST /api/generate HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(data)}", "", data]).encode()


# Clients that leave.

BEHIND = {
    "nothing": (b"", ()),
    "a request": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", ()),
    "no request": (b"\x00", ()),
    "many bytes": (b"x" * 60_000, ()),
    "an upgrade": (b"x", ("Connection: upgrade", "Upgrade: websocket")),
    "the last request": (b"GET", ("Connection: close",)),
}


@pytest.mark.parametrize("behind", list(BEHIND))
def test_a_client_that_leaves_the_line_frees_its_place_whatever_it_sent_behind(
    studio: Studio, behind: str, monkeypatch: pytest.MonkeyPatch, printed: Any
) -> None:
    slow, service = Slow(monkeypatch), studio._completions
    first = start(studio, {"prompt": "the", "max_tokens": 50})
    assert slow.begun.acquire(timeout=20)
    data, headers = BEHIND[behind]
    waiting = []
    for _ in range(generation.MAX_WAITING):
        waiting.append(socket.create_connection(("127.0.0.1", studio.port)))
        waiting[-1].sendall(posted(studio.port, {}, *headers))
    until(lambda: service._waiting == generation.MAX_WAITING)
    for client in waiting:
        client.sendall(data)
        client.close()
    until(lambda: service._waiting == 0)  # while the first one's step is still computed
    first.close()
    until(lambda: not studio._server.server_state.tasks)
    slow.go.set()
    until(lambda: is_idle(studio))
    assert slow.tokens == 1
    assert printed() == []


def test_a_client_that_leaves_while_its_record_is_written_frees_its_place_before_the_next_chunk(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, printed: Any
) -> None:
    from pellucid.record import RecordWriter

    go, written, original, kept = threading.Event(), [], RecordWriter.add, studio.catalog._count

    def slow_add(writer: RecordWriter, name: str, *given: Any, **named: Any) -> Any:
        written.append(name)
        assert go.wait(20)
        return original(writer, name, *given, **named)

    monkeypatch.setattr(RecordWriter, "add", slow_add)
    connection = start(studio, {"prompt": "the", "max_tokens": 3})
    until(lambda: written)
    connection.close()
    until(lambda: not studio._server.server_state.tasks)
    go.set()
    until(lambda: is_idle(studio))
    assert len(written) == 1 and studio.catalog._count == kept
    assert printed() == []


def test_clients_that_leave_while_a_model_is_loaded_have_it_loaded_once(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.generation import load as loading

    go, loads, original = threading.Event(), [], loading.load

    def slow_load(source: Any) -> Any:
        loads.append(source)
        assert go.wait(20)
        return original(source)

    monkeypatch.setattr(loading, "load", slow_load)
    with Studio([tiny_run], port=0) as studio:
        service = studio._completions
        leaving = [start(studio, {"record": record}) for record in (True, False, True, False)]
        until(lambda: service._waiting == 1 and service._concurrent == 2 and loads)
        for connection in leaving:
            connection.close()
        until(lambda: service._waiting == 0)
        go.set()
        until(lambda: is_idle(studio))
        assert events(ask(studio, "/api/generate", method="POST", body={"model": "model-1", "max_tokens": 1}))[-1][0] == "done"
        assert len(loads) == 1


# A server that closes.


def test_a_server_that_closes_answers_those_who_wait_before_the_step_ends(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, printed: Any
) -> None:
    slow, engine = Slow(monkeypatch), SlowEngine(monkeypatch)
    with Studio([tiny_run], port=0) as studio:
        running = [start(studio, {"prompt": "the", "max_tokens": 50, "record": record}) for record in (True, False)]
        streams = [connection.getresponse() for connection in running]
        assert slow.begun.acquire(timeout=20) and engine.begun.acquire(timeout=20)
        waiting = [start(studio, {"prompt": "the", "max_tokens": 50}) for _ in range(generation.MAX_WAITING)]
        until(lambda: studio._completions._waiting == generation.MAX_WAITING)
        half, silent = (socket.create_connection(("127.0.0.1", studio.port)) for _ in range(2))
        half.sendall(posted(studio.port, {})[:-5])
        until(lambda: len(studio._server.server_state.connections) == 7)
        closer = threading.Thread(target=studio.close)
        closer.start()
        for connection in waiting:
            with closing(connection), connection.getresponse() as answer:
                assert answer.status == 503 and json.loads(answer.read()) == {"error": "the server is closing"}
        for stream, connection in zip(streams, running, strict=True):
            assert events_of(stream.read())[-1] == ("error", {"error": "the server is closing"})
            connection.close()
        assert half.recv(1) == b"" and silent.recv(1) == b""
        half.close()
        silent.close()
        assert slow.tokens == 1
        slow.go.set()
        engine.go.set()
        closer.join(20)
        assert not closer.is_alive() and slow.tokens == 1
    assert printed() == []


def test_a_client_that_reads_nothing_does_not_keep_the_server_open(tiny_run: Path, tmp_path: Path, printed: Any) -> None:
    path = tmp_path / "large.pellucid"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    with Studio([tiny_run], port=0) as studio:
        name = studio.catalog._records.of(path)
        client = socket.create_connection(("127.0.0.1", studio.port))
        client.sendall(f"GET /records/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.recv(12) == b"HTTP/1.1 200"
    client.close()
    assert printed() == []


# Bodies and connections.


def answered(studio: Studio, data: bytes) -> bytes:
    """What comes back for bytes, until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", studio.port), timeout=20) as client:
        client.sendall(data)
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize("size", [2, MAX_BODY - 2, MAX_BODY + 1, 300_000])
def test_a_length_beside_chunks_is_refused_whatever_the_body(studio: Studio, size: int) -> None:
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, b" " * (size - 2) + b"{}")
    for length in (b"2", b"%d" % len(body)):
        head = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        both = head + b"Content-Length: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % length
        assert answered(studio, both + body).startswith(b"HTTP/1.1 400 ")
    assert answered(studio, head + b"Transfer-Encoding: chunked\r\n\r\n" + body).startswith(b"HTTP/1.1 411 ")
    fetched = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    assert answered(studio, fetched).startswith(b"HTTP/1.1 200 " if size <= MAX_BODY else b"HTTP/1.1 413 ")


@pytest.mark.parametrize("seed", range(20 * TIMES))
def test_a_body_is_counted_as_it_comes(seed: int) -> None:
    """Parts of any sizes, with any headers: the application is called once, with the whole body, or not at all."""
    draw = random.Random(seed)
    parts = [os.urandom(draw.choice((0, 1, 1000, 30_000))) for _ in range(draw.randint(1, 6))]
    leaves = draw.random() < 0.3
    called, sent = [], []

    class Open:
        def is_closing(self) -> bool:
            return False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        called.append((message["body"], message["more_body"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def run() -> None:
        messages: list[Any] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        if not leaves:
            messages[-1]["more_body"] = False

        async def receive() -> Any:
            return messages.pop(0) if messages else {"type": "http.disconnect"} if leaves else await asyncio.sleep(1000)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/", "state": {connections.TRANSPORT: Open()}}
        await RequestLifetimeMiddleware(app, asyncio.Event())(scope, receive, send)

    asyncio.run(run())
    body = b"".join(parts)
    if len(body) > MAX_BODY:
        assert called == [] and sent[0]["status"] == 413
    elif leaves:
        assert called == [] and sent == []
    else:
        assert called == [(body, False)] and sent[0]["status"] == 200


def test_connections_without_a_request_are_closed(tiny_run: Path, monkeypatch: pytest.MonkeyPatch, printed: Any) -> None:
    """Those that send nothing, part of a head, or part of a body, on their first request or a later one."""
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT", 0.05)
    with Studio([tiny_run], port=0) as studio:
        whole = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
        post = posted(studio.port, {})
        for data in (b"", b"G", whole[:-1], whole + b"GET", post[:-1], whole + post[:-1]):
            with socket.create_connection(("127.0.0.1", studio.port), timeout=20) as client:
                client.sendall(data)
                while client.recv(4096):
                    pass
        until(lambda: is_idle(studio))
        slow = Slow(monkeypatch)  # a request that is being answered has all the time it needs
        connection = start(studio, {"prompt": "the", "max_tokens": 3})
        assert slow.begun.acquire(timeout=20)
        late: list[bool] = []
        studio._thread.call(lambda: studio._thread._loop.call_later(0.2, late.append, True))
        until(lambda: late)
        slow.go.set()
        assert b"event: done" in read(connection)
    assert printed() == []


def received(client: socket.socket) -> int:
    """The number of bytes of the next packet; 0 at the end."""
    return len(client.recv(1 << 20))


def test_responses_that_nobody_reads_are_ended(tiny_run: Path, monkeypatch: pytest.MonkeyPatch, printed: Any) -> None:
    """A client that reads nothing for `SEND_TIMEOUT` loses its connection; the time begins anew for one that reads."""
    timers: list[asyncio.TimerHandle] = []
    original = ConnectionProtocol.pause_writing

    def paused(connection: ConnectionProtocol) -> None:
        original(connection)
        assert connection._send_timer is not None
        timers.append(connection._send_timer)

    monkeypatch.setattr(ConnectionProtocol, "pause_writing", paused)
    with Studio([tiny_run], port=0) as studio:
        name = studio.catalog.keep(bytes(1 << 25), "more than the system buffers")
        asked = f"GET /records/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

        def client_that_asks() -> socket.socket:
            client = socket.create_connection(("127.0.0.1", studio.port), timeout=20)
            client.sendall(asked)
            return client

        with client_that_asks() as reading:
            got = 0
            while got <= 1 << 25:
                part = received(reading)
                assert part
                got += part
        until(lambda: is_idle(studio))
        assert timers and all(timer.cancelled() for timer in timers)
        monkeypatch.setattr(connections, "SEND_TIMEOUT", 0.2)
        timers.clear()
        silent = [client_that_asks() for _ in range(3)]
        until(lambda: len(timers) == 3 and is_idle(studio))
        for client in silent:
            with client:
                assert sum(iter(partial(received, client), 0)) < 1 << 25, "what the system had buffered, then the end"
    assert printed() == []


def test_many_silent_connections_leave_room_for_a_page(tiny_run: Path, monkeypatch: pytest.MonkeyPatch, printed: Any) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 8)
    with Studio([tiny_run], port=0) as studio:
        silent = []
        for _ in range(40):
            silent.append(socket.create_connection(("127.0.0.1", studio.port)))
        until(lambda: len(studio._server.server_state.connections) == 8)
        assert ask(studio, "/api/sources").status == 200
        for client in silent:
            client.close()
        until(lambda: is_idle(studio))
    assert printed() == []


def test_a_file_that_is_cut_while_it_is_sent_ends_the_connection(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: Any
) -> None:
    monkeypatch.setattr("pellucid.serve.http.ranges.BLOCK", 1000)
    path = tmp_path / "large.pellucid"
    path.write_bytes(b"x" * (32 << 20))
    with Studio([tiny_run], port=0) as studio:
        name = studio.catalog._records.of(path)
        connection = HTTPConnection("127.0.0.1", studio.port, timeout=20)
        connection.request("GET", f"/records/{name}")
        with closing(connection), connection.getresponse() as answer:
            assert answer.status == 200
            path.write_bytes(b"x" * 1000)
            with pytest.raises((IncompleteRead, ConnectionError)):
                answer.read()
        until(lambda: is_idle(studio))
    assert printed() == []


# Values of a request.

VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 3, 0.5, 1.5, -0.0, 5e-324, 1e-40, 1e-8, 65536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63,
    2**64, 10**30, 10**400, -(2**63), -(2**63) - 1, "1e400", "-1e400", "NaN", "Infinity", "", "x", "\ud800", "\x00", "7", "-7",
    [], {}, [[]], ["a"], [""], {"0": 1}, {"0": 1e-300}, {"299": -100}, {"300": 1}, {"4294967296": 1}, {"0": "1e400"},
    {"-1": 0}, {"": 0}, {"1": None},
)  # fmt: skip
NAMES = [option.name for option in option_table.recordable_options()]


def as_json(value: Any) -> str:
    """JSON in which some texts became numbers that Python cannot write."""
    text = json.dumps(value)
    for word in ("1e400", "-1e400", "NaN", "Infinity"):
        text = text.replace(f'"{word}"', word)
    return text


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("name", [*NAMES, "model", "prompt"])
def test_every_value_of_every_field_is_answered_or_refused_in_one_line(studio: Studio, name: str, record: bool) -> None:
    draw = random.Random(f"{name} {record}")
    for value in draw.sample(VALUES, min(len(VALUES), 12 * TIMES)):
        fields = {"model": "model-1", "prompt": "the", "max_tokens": 2, "record": record, name: value}
        if draw.random() < 0.5:
            other = draw.choice(NAMES)
            fields.setdefault(other, draw.choice(VALUES))
        body = as_json(fields).encode()
        answer = ask(studio, "/api/generate", method="POST", body=body)
        if answer.status == 400:
            assert "\n" not in answer.error and "Error" not in answer.error, body
        else:
            assert answer.status == 200 and events(answer)[-1][0] == "done", (body, answer.body[-300:])


@pytest.mark.parametrize("name", ["Host", "Origin", "Content-Type", "Sec-Fetch-Site", "Range", "Content-Length"])
def test_a_header_that_decides_is_given_once(studio: Studio, name: str) -> None:
    port, body = studio.port, b"{}"
    good = {
        "Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}", "Content-Type": "application/json",
        "Sec-Fetch-Site": "same-origin", "Range": "bytes=0-1", "Content-Length": str(len(body)),
    }  # fmt: skip
    other = {"Origin": "http://evil.example", "Content-Type": "text/plain", "Sec-Fetch-Site": "cross-site"}.get(name, "7")
    for first, second in ((good[name], other), (other, good[name])):
        lines = [f"{one}: {value}" for one, value in {**good, "Connection": "close"}.items() if one != name]
        head = "\r\n".join(["POST /api/generate HTTP/1.1", *lines, f"{name}: {first}", f"{name}: {second}", "", ""])
        assert answered(studio, head.encode() + body).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("fails", [False, True])
def test_a_server_that_closes_does_not_wait_for_a_model_to_be_loaded(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    from pellucid.generation import load as loading

    go, begun, original = threading.Event(), threading.Event(), loading.load

    def slow_load(source: Any) -> Any:
        begun.set()
        assert go.wait(60)
        if fails:
            raise PellucidError("damaged meanwhile")
        return original(source)

    monkeypatch.setattr(loading, "load", slow_load)
    studio = Studio([tiny_run], port=0).start()
    try:
        asking = [start(studio, {"record": record}) for record in (True, False, True)]
        assert begun.wait(20)
        closer = threading.Thread(target=studio.close)
        closer.start()
        for connection in asking:
            with closing(connection), connection.getresponse() as answer:
                assert answer.status == 503 and json.loads(answer.read()) == {"error": "the server is closing"}
        closer.join(20)
        assert not closer.is_alive()
    finally:
        loader = next((one for one in threading.enumerate() if one.name == "pellucid studio: loading"), None)
        go.set()
        if loader is not None:
            loader.join(20)
