"""Requests that are made to harm: long answers to short requests, lengths said twice, keys that are no text."""

import asyncio
import json
import socket
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from service import named, post, service_of
from serving import ask

from pellucid.serve.http.json_response import BYTES, encode_long
from pellucid.serve.http.keys import KeyRing, add_key, given_key, read_keys
from pellucid.serve.http.limits import KeyLimits
from pellucid.serve.openai.server import Service
from pellucid.serve.openai.settings import ServiceSettings


MAX_LISTED = 60


@pytest.fixture(scope="module")
def service(tiny_run: Path) -> Iterator[Service]:
    with service_of(named(tiny_run), settings=ServiceSettings(drain_seconds=0, max_listed=MAX_LISTED), studio=False) as served:
        yield served


# Long answers.

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12,
)  # fmt: skip


@cases(40)
@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_a_message_encoded_in_pieces_is_the_message(message: dict[str, Any]) -> None:
    assert asyncio.run(encode_long(message)) == json.dumps(message, separators=(",", ":")).encode()


@pytest.mark.parametrize("items", [list(range(200_000)), [{"text": "x" * 900, "top": {"a": -1.5}} for _ in range(1000)]])
def test_others_are_answered_between_the_pieces(items: list[Any]) -> None:
    async def count() -> tuple[bytes, int]:
        encoding, turns = asyncio.create_task(encode_long({"id": "x", "list": items, "empty": []})), 0
        while not encoding.done():
            turns += 1
            await asyncio.sleep(0)
        return encoding.result(), turns

    data, turns = asyncio.run(count())
    assert data == json.dumps({"id": "x", "list": items, "empty": []}, separators=(",", ":")).encode()
    assert turns >= len(data) // (2 * BYTES) > 3


@cases(25)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(1, 4), st.integers(0, 12), st.booleans(),
    st.sampled_from([None, 0, 3]), st.booleans(),
)  # fmt: skip
def test_listed_log_probabilities_are_bounded_before_anything_is_computed(
    service: Service, lengths: list[int], n: int, max_tokens: int, echo: bool, logprobs: int | None, stream: bool
) -> None:
    body = {
        "prompt": [[7] * length for length in lengths], "n": n, "max_tokens": max_tokens, "echo": echo, "logprobs": logprobs,
        "seed": 1, "stream": stream,
    }  # fmt: skip
    listed = 0 if logprobs is None else n * sum(max_tokens + (length if echo else 0) for length in lengths)
    steps = service.models.first.stats.steps
    answer = post(service, body)
    if listed > MAX_LISTED:
        assert answer.status == 400 and service.models.first.stats.steps == steps
        error = answer.json()["error"]
        assert error["param"] == "logprobs" and f"{listed} tokens" in error["message"] and str(MAX_LISTED) in error["message"]
    else:
        assert answer.status == 200


# How long a body is, said twice.

EMBEDDED = b"GET /v1/smuggled HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
LENGTHS = (
    b"Content-Length: %d", b"Content-Length: 0", b"Content-Length: 5", b"content-length:%d", b"Content-Length: +%d",
    b"Content-Length: -%d", b"Content-Length: 0x%x", b"Content-Length : %d", b"Content-Length: %d, 3",
    b"Content-Length: \xb2", b"Content-Length: 1e2", b"Content-Length: 99999999999999999999999",
)  # fmt: skip
CODINGS = (
    b"Transfer-Encoding: chunked", b"transfer-encoding:\tchunked", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding : chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
)  # fmt: skip


@cases(60)
@given(st.lists(st.sampled_from(LENGTHS), min_size=1, max_size=2), st.sampled_from(CODINGS), st.booleans(), st.booleans())
def test_a_request_whose_length_is_said_twice_is_refused_and_nothing_behind_it_is_read(
    service: Service, lengths: list[bytes], coding: bytes, coding_first: bool, old: bool
) -> None:
    """What follows is the body to one reader and the next request to another: the connection is closed."""
    body = b"0\r\n\r\n" + EMBEDDED
    said = [one % len(body) if b"%" in one else one for one in lengths]
    framing = [coding, *said] if coding_first else [*said, coding]
    version = b"HTTP/1.0" if old else b"HTTP/1.1"
    head = [b"POST /v1/completions " + version, b"Host: localhost", b"Content-Type: application/json", *framing]
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as client:
        client.sendall(b"\r\n".join(head) + b"\r\n\r\n" + body)
        client.shutdown(socket.SHUT_WR)
        got = b""
        while part := client.recv(1 << 16):
            got += part
    assert got.count(b"HTTP/1.1 ") <= 1 and b"smuggled" not in got, got
    assert not got or got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ")), got


# Keys.

HEADER = st.text(st.characters(max_codepoint=255), max_size=40)


@cases(200)
@given(st.sampled_from(["Basic ", "basic\t", "Bearer ", "", "Basic é", "Digest "]), HEADER, HEADER)
def test_no_header_is_a_key_by_accident_or_an_error(scheme: str, value: str, other: str) -> None:
    headers = {"authorization": scheme + value, "api-key": other}
    found = given_key(headers)
    assert found is None or found
    assert KeyRing([]).client(headers) is None
    packed = b64encode(f"user:{value}".encode()).decode()
    assert given_key({"authorization": f"Basic {packed}"}) == (value or None)


def test_a_header_that_is_not_ascii_is_refused_and_the_studio_generates_nothing_that_is_not_counted(
    tiny_run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    keys = {name: add_key(path, name) for name in ("free", *KeyLimits.__dataclass_fields__)}
    values = json.loads(path.read_text(encoding="utf-8"))
    for entry in values["keys"][1:]:
        entry[entry["name"]] = 1000
    path.write_text(json.dumps(values), encoding="utf-8")
    with service_of(named(tiny_run), keys=read_keys(path)) as guarded:
        for value in ("Basic \xff", "Bearer \xff\xfe", "Basic", "Basic =", "\xe9"):
            assert ask(guarded, "/", authorization=value).status == 401
        body = {"model": "model-1", "prompt": "the", "max_tokens": 2, "record": False}
        for name, key in keys.items():
            assert ask(guarded, "/api/sources", api_key=key).status == 200
            answer = ask(guarded, "/api/generate", method="POST", api_key=key, body=body)
            assert answer.status == (200 if name == "free" else 403), answer.body
            assert post(guarded, {"prompt": "the", "max_tokens": 2}, api_key=key).status == 200
