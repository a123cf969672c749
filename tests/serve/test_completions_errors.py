"""What is wrong with a request is answered as OpenAI's API did: status, type, and a message that names field and range."""

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service import complete, named, post, service_of
from serving import ask

from pellucid.serve.http import connection as connections
from pellucid.serve.openai.fields import COMPLETION_FIELDS
from pellucid.serve.openai.server import Service
from pellucid.serve.openai.settings import ServiceSettings


SETTINGS = ServiceSettings(drain_seconds=0, max_body=100_000, max_choices=40)
REFUSED: list[tuple[dict[str, Any], str, str]] = [  # fields, the field that the error names, what its message holds
    ({"temperature": 64}, "temperature", "64 is greater than the maximum of 2 - 'temperature' (it is a number from 0 to 2)"),
    ({"temperature": -1}, "temperature", "-1 is less than the minimum of 0 - 'temperature'"),
    ({"max_tokens": False}, "max_tokens", "False is not of type 'integer' - 'max_tokens' (it is an integer, 0 or more)"),
    ({"max_tokens": 1.5}, "max_tokens", "1.5 is not of type 'integer' - 'max_tokens'"),
    ({"max_tokens": "5"}, "max_tokens", "'5' is not of type 'integer'"),
    ({"max_tokens": -1}, "max_tokens", "-1 is less than the minimum of 0"),
    ({"max_tokens": 2**70}, "max_tokens", "greater than the maximum"),
    ({"max_tokens": 100}, "prompt", "This model's maximum context length is 65 tokens, however you requested 101 tokens (1 in"),
    ({"prompt": [5] * 66, "max_tokens": 0}, "prompt", "maximum context length is 65 tokens, however you requested 66 tokens"),
    ({"prompt": "x" * 90_000}, "prompt", "you requested at least "),
    ({"prompt": [1, "a"]}, "prompt", "several types"),
    ({"prompt": [[1], 2]}, "prompt", "several types"),
    ({"prompt": {"a": 1}}, "prompt", "is not of type 'string, array'"),
    ({"prompt": 5}, "prompt", "5 is not of type 'string, array'"),
    ({"prompt": [300]}, "prompt", "Invalid token id 300 - 'prompt' (ids go from 0 to 299)"),
    ({"prompt": [-1]}, "prompt", "Invalid token id -1"),
    ({"prompt": [1, True]}, "prompt", "True is not of type 'integer'"),
    ({"prompt": [1.5]}, "prompt", "1.5 is not of type 'integer'"),
    ({"prompt": [[1, None]]}, "prompt", "None is not of type 'integer'"),
    ({"prompt": ["a"] * 41}, "prompt", "more than the maximum of 40 completions"),
    ({"prompt": ["a"] * 5, "n": 10}, "prompt", "more than the maximum of 40"),
    ({"n": 0}, "n", "0 is less than the minimum of 1 - 'n' (it is an integer from 1 to 128)"),
    ({"n": 129}, "n", "129 is greater than the maximum of 128"),
    ({"n": 2, "best_of": 1}, "best_of", "You requested that the server return more choices than it will generate (HINT: "),
    ({"best_of": 21}, "best_of", "21 is greater than the maximum of 20"),
    ({"best_of": 2, "stream": True}, "best_of", "You cannot stream with 'best_of'"),
    ({"logprobs": 6}, "logprobs", "6 is greater than the maximum of 5 - 'logprobs' (it is an integer from 0 to 5)"),
    ({"logprobs": True}, "logprobs", "True is not of type 'integer'"),
    ({"top_p": 1.1}, "top_p", "1.1 is greater than the maximum of 1"),
    ({"presence_penalty": 3}, "presence_penalty", "3 is greater than the maximum of 2"),
    ({"frequency_penalty": -2.5}, "frequency_penalty", "-2.5 is less than the minimum of -2"),
    ({"stop": ""}, "stop", "'' is too short - 'stop'"),
    ({"stop": [1]}, "stop", "1 is not of type 'string'"),
    ({"stop": ["a"] * 65}, "stop", "is too long - 'stop' (it is a string, or an array of at most 64 strings"),
    ({"stop": "x" * 1025}, "stop", "is too long"),
    ({"logit_bias": {"300": 1}}, "logit_bias", "Invalid token id 300"),
    ({"logit_bias": {"5": 101}}, "logit_bias", "101 is greater than the maximum of 100"),
    ({"logit_bias": {"５": 1}}, "logit_bias", "no token id"),
    ({"logit_bias": {"x": 1}}, "logit_bias", "no token id"),
    ({"logit_bias": {"5": True}}, "logit_bias", "True is not of type 'number'"),
    ({"logit_bias": {"5": 1, "05": 2}}, "logit_bias", "token 5 is there twice"),
    ({"logit_bias": [1]}, "logit_bias", "is not of type 'object'"),
    ({"echo": 1}, "echo", "1 is not of type 'boolean' - 'echo' (it is true or false)"),
    ({"seed": 2**63}, "seed", "greater than the maximum"),
    ({"user": 5}, "user", "5 is not of type 'string'"),
    ({"user": "u" * 513}, "user", "is too long"),
    ({"suffix": "end"}, "suffix", "does not support insertion"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "without 'stream'"),
    ({"stream": True, "stream_options": {"x": 1}}, "stream_options", "'x' is no stream option"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options", "1 is not of type 'boolean'"),
    ({"top_k": 0}, "top_k", "0 is less than the minimum of 1"),
    ({"x_record": True}, "x_record", "serves no studio"),
    ({"model": 5}, "model", "5 is not of type 'string'"),
    ({"model": None}, "model", "you must provide a model parameter"),
    ({"messages": []}, "messages", "Unrecognized request argument supplied: messages"),
]  # fmt: skip


@pytest.fixture(scope="module")
def service(tiny_run: Path) -> Iterator[Service]:
    with service_of(named(tiny_run), settings=SETTINGS, studio=False) as served:
        yield served


def test_a_wrong_field_is_named_with_its_range(service: Service) -> None:
    for fields, field, message in REFUSED:
        answer = post(service, fields)
        assert answer.status == 400, (fields, answer.body)
        error = answer.json()["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", field), (fields, error)
        assert message in error["message"], (fields, error)
    named_fields = {field for _, field, _ in REFUSED}
    assert named_fields >= {row.name for row in COMPLETION_FIELDS} - {"stream", "min_p", "repetition_penalty"}
    complete(service, prompt="the")  # it lives


def test_bodies_that_are_no_json_object(service: Service) -> None:
    deep = b"[" * 100_000
    for body in (b"", b"{", b'{"prompt": NaN}', b'{"temperature": 1e999}', b'"text"', b"[]", deep[:90_000], b"\xff\xfe{\0}\0",
                 b'{"prompt": "\\ud800"}', b'{"n": 1, "n": 2}', b'{"seed": ' + b"9" * 5000 + b"}"):  # fmt: skip
        answer = ask(service, "/v1/completions", method="POST", body=body)
        error = answer.json()["error"]
        assert (answer.status, error["type"]) == (400, "invalid_request_error"), body[:20]
    unparsed = ask(service, "/v1/completions", method="POST", body=b"{").json()["error"]["message"]
    assert unparsed.startswith("We could not parse the JSON body of your request. (HINT: ")


def test_a_whole_number_may_be_written_as_a_float_and_every_field_may_be_null(service: Service) -> None:
    one, other = (complete(service, prompt="the", max_tokens=count, seed=1) for count in (3, 3.0))
    assert one["choices"] == other["choices"]
    nulls = {row.name: None for row in COMPLETION_FIELDS if not row.required}
    assert complete(service, **nulls)["usage"]["completion_tokens"] <= 16


def test_status_codes_of_http(service: Service) -> None:
    def refused(status: int, path: str = "/v1/completions", method: str = "POST", **headers: str | None) -> dict[str, Any]:
        answer = ask(service, path, method=method, body={"model": "tiny"} if method == "POST" else None, **headers)
        assert answer.status == status, answer.body
        assert answer.headers["x-request-id"].startswith("req_")
        return dict(answer.json()["error"])

    assert refused(404, "/v1/nothing")["message"] == "Invalid URL (POST /v1/nothing)"
    assert refused(404, "/v1/models/none", "GET")["code"] == "model_not_found"
    assert post(service, {"model": "none"}).json()["error"]["message"].startswith("That model does not exist")
    refused(405, method="GET")
    assert ask(service, "/v1/completions").headers["allow"] == "POST"
    refused(405, method="OPTIONS")  # and so no page of another site gets leave to send JSON
    refused(415, content_type="text/plain")
    refused(415, content_encoding="gzip")
    refused(403, host="evil.example")
    refused(403, origin="https://evil.example")
    packed = gzip.compress(json.dumps({"model": "tiny"}).encode())
    assert ask(service, "/v1/completions", method="POST", body=packed, content_encoding="gzip").status == 415
    assert post(service, {"prompt": "x" * 100_001}).status == 413
    answer = ask(service, "/v1/completions", method="POST", body={"model": "tiny"})
    assert (answer.status, answer.headers["openai-version"]) == (200, "2020-10-01")
    assert int(answer.headers["openai-processing-ms"]) >= 0 and "access-control-allow-origin" not in answer.headers


def test_unknown_fields_are_ignored_where_the_server_is_told_so(tiny_run: Path) -> None:
    settings = ServiceSettings(ignore_unknown=True, max_logprobs=20, drain_seconds=0)
    with service_of(named(tiny_run), settings=settings) as lenient:
        assert len(complete(lenient, logprobs=20, messages=[])["choices"][0]["logprobs"]["top_logprobs"][0]) >= 20


def exchange(port: int, data: bytes) -> bytes:
    """What comes back for some bytes until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(data)
        got = b""
        while part := client.recv(1 << 16):
            got += part
    return got


def test_bodies_are_counted_as_they_arrive(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    body = json.dumps({"model": "tiny", "prompt": "the"}).encode()
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    assert exchange(service.port, chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)).startswith(b"HTTP/1.1 200 ")
    many = b"".join(b"1000\r\n%b\r\n" % (b" " * 0x1000) for _ in range(30)) + b"0\r\n\r\n"
    assert exchange(service.port, chunked + many).startswith(b"HTTP/1.1 413 ")
    said = head + b"Content-Length: 200000\r\n\r\n" + b" " * 200_000
    assert exchange(service.port, said).startswith(b"HTTP/1.1 413 ")
    both = head + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % len(body)
    assert exchange(service.port, both).startswith(b"HTTP/1.1 400 ")
    twice = head + b"Content-Length: 2\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n{}"
    assert exchange(service.port, twice).startswith(b"HTTP/1.1 400 ")
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT", 0.2)
    for part in (b"", head[:30], head + b"Content-Length: 9\r\n\r\n{"):
        assert exchange(service.port, part) == b""  # closed, in time
