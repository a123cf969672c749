"""Clients that send what is not HTTP, send half of it, or leave: nothing of theirs stays, and nothing is printed.

A seeded fuzzer sends mutated requests over sockets. After each batch the server must be idle, answer a usual request, and have
logged nothing. PELLUCID_TEST_CASES multiplies the batches.
"""

import json
import logging
import random
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from cases import TIMES
from serving import ask, events, is_idle, until

import pellucid
from pellucid.serve import Studio


BATCHES, BATCH = 3, 40
PATHS = (
    "/", "/studio.js", "/api/sources", "/records/record-1", "/records/record-2", "/api/runs/run-1", "/api/sources/", "/%ff%fe",
    "/api/runs/run-1/metrics?from=0", "/api/figures/record-1/tokens?width=300", "/api/figures/record-1/none", "/nothing", "//",
    "/records/%00",
)  # fmt: skip
METHODS = ("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "x")
Header = tuple[bytes, bytes]


@pytest.fixture(scope="module")
def studio(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    path = tmp_path_factory.mktemp("records") / "tale.pellucid"
    pellucid.xray(pellucid.load(tiny_run), "the fox", max_tokens=6, seed=1).save(path)
    with Studio([tiny_run, path], port=0) as served:
        yield served


@pytest.fixture
def printed(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[str]]]:
    """What the server logged (warnings and worse) or wrote to stderr since the last call."""
    found: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(self.format(record))

    kept, loggers = Kept(logging.WARNING), [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
    for logger in loggers:
        logger.addHandler(kept)

    def since() -> list[str]:
        told = [*found, *capfd.readouterr().err.splitlines()]
        found.clear()
        return told

    yield since
    for logger in loggers:
        logger.removeHandler(kept)


# The fuzzer.


def a_request(draw: random.Random, port: int) -> tuple[bytes, list[Header], bytes]:
    """A valid request: its first line, headers and body."""
    host = (b"host", b"127.0.0.1:%d" % port)
    if draw.random() < 0.5:
        asked = {"model": "model-1", "prompt": "the", "max_tokens": draw.choice((1, 3, 50)), "record": draw.random() < 0.5}
        body = json.dumps(asked).encode()
        length = (b"content-length", b"%d" % len(body))
        return b"POST /api/generate HTTP/1.1", [host, (b"content-type", b"application/json"), length], body
    line = f"{draw.choice(METHODS[:4])} {draw.choice(PATHS)} HTTP/1.1".encode()
    return line, [host, *([(b"range", b"bytes=%d-" % draw.randrange(5000))] if draw.random() < 0.3 else [])], b""


def chunked(draw: random.Random, body: bytes) -> bytes:
    """A body in chunks, some of which say the wrong length."""
    parts = []
    while body:
        part, body = body[: (cut := draw.randint(1, 30))], body[cut:]
        said = len(part) if draw.random() < 0.9 else draw.choice((0, len(part) + 1, 2**70, -1))
        parts.append(b"%x\r\n%b\r\n" % (said, part) if said >= 0 else b"zz\r\n" + part)
    return b"".join(parts) + draw.choice((b"0\r\n\r\n", b"0\r\n\r\n", b"", b"0\r\n", b"0\r\nx: y\r\n\r\n"))


def a_mutation(draw: random.Random, line: bytes, headers: list[Header], body: bytes) -> tuple[bytes, list[Header], bytes]:
    headers = list(headers)
    at = draw.randint(0, len(headers))
    match draw.randrange(12):
        case 0 if headers:  # twice the same
            headers.insert(at, draw.choice(headers))
        case 1:
            name = draw.choice((b"content-length", b"host", b"content-type", b"transfer-encoding", b"range", b"origin"))
            value = draw.choice((b"7", b"-1", b"0", b"99999999999999999999", b"", b"chunked", b"evil", b"1,2"))
            headers.insert(at, (name, value))
        case 2:
            headers.insert(at, (b"transfer-encoding", b"chunked"))
            body = chunked(draw, body)
        case 3:
            headers = [one for one in headers if one[0] != b"content-length"] + [(b"transfer-encoding", b"chunked")]
            body = chunked(draw, body or b" " * draw.choice((1, 200, 70_000)))
        case 4:  # more than is allowed, said or not
            body = body + b" " * draw.choice((100, 70_000, 300_000))
            if draw.random() < 0.7:
                headers = [(name, b"%d" % len(body) if name == b"content-length" else value) for name, value in headers]
        case 5:
            body = body[: len(body) // 2]
        case 6:
            headers.insert(at, draw.choice((
                (b"connection", b"close"), (b"expect", b"100-continue"), (b"connection", b"upgrade"), (b"if-match", b'"x"'),
                (b"upgrade", b"websocket"), (b"sec-fetch-site", b"cross-site"), (b"x" * 3000, b"y" * 90_000), (b"a:b", b"\x00"),
            )))  # fmt: skip
        case 7:
            line = line.replace(b"HTTP/1.1", draw.choice((b"HTTP/1.0", b"HTTP/2", b"HTTP/9.9", b"", b"ICY")))
        case 8:
            line = draw.choice(METHODS).encode() + b" " + line.partition(b" ")[2]
        case 9:
            line = line.replace(b"/", draw.choice((b"/%2e%2e/", b"/\xff", b"http://other/", b"*", b"/" + b"a" * 70_000)), 1)
        case 10 if headers:
            headers = [one for one in headers if one != draw.choice(headers)]
        case 11:
            body = bytes(draw.randrange(256) for _ in range(len(body)))
    return line, headers, body


def an_exchange(seed: int, port: int) -> None:
    """Sends one to four requests, mutated or not, over one connection, and leaves it at a random point, in a random manner."""
    draw = random.Random(seed)
    data = b""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        line, headers, body = a_request(draw, port)
        for _ in range(draw.choice((0, 0, 1, 1, 2))):
            line, headers, body = a_mutation(draw, line, headers, body)
        data += line + b"\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in headers) + b"\r\n" + body
    if draw.random() < 0.2:
        at = draw.randrange(len(data))
        data = data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
    if draw.random() < 0.4:
        data = data[: draw.randrange(len(data))]
    with socket.create_connection(("127.0.0.1", port), timeout=0.2) as client, suppress(OSError):
        while data:
            sent, data = data[: (cut := draw.choice((1, 20, 1000, 1 << 20)))], data[cut:]
            client.sendall(sent)
            if cut < 1000 and draw.random() < 0.9:
                client.sendall(data)
                break
        if draw.random() < 0.1:
            client.shutdown(socket.SHUT_WR)
        got = b""
        wanted = draw.choice((0, 0, 1, 300, 1 << 20))
        while len(got) < wanted and (part := client.recv(min(wanted, 4096))):
            got += part
        assert b"500 Internal" not in got, got[:300]
        if draw.random() < 0.5:  # a reset, with what is still under way lost
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("batch", range(BATCHES * TIMES))
def test_after_hostile_clients_the_server_is_idle_and_answers(
    studio: Studio, batch: int, printed: Callable[[], list[str]]
) -> None:
    with ThreadPoolExecutor(8) as several:
        list(several.map(lambda number: an_exchange(1000 * batch + number, studio.port), range(BATCH)))
    until(lambda: is_idle(studio))
    for record in (True, False):
        body = {"model": "model-1", "prompt": "the", "max_tokens": 1, "seed": 1, "record": record}
        assert events(ask(studio, "/api/generate", method="POST", body=body))[-1][0] == "done"
    until(lambda: is_idle(studio))
    assert printed() == []
