"""The service beyond one answer: clients that leave, the waiting line, keys and limits, the server's and the engine's end."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from service import complete, events, joined, named, open_stream, post, service_of
from serving import SlowEngine, ask, until

from pellucid.engine.engine import Engine
from pellucid.errors import PellucidError
from pellucid.serve.http import keys as key_files
from pellucid.serve.http.keys import KeyRing, StoredKey, add_key, masked, read_keys
from pellucid.serve.http.limits import KeyLimits
from pellucid.serve.openai.models import EngineSettings
from pellucid.serve.openai.server import Service
from pellucid.serve.openai.settings import ServiceSettings


@pytest.fixture(scope="module")
def service(tiny_run: Path) -> Iterator[Service]:
    with service_of(named(tiny_run), engines=EngineSettings(max_sequences=2, max_waiting=3)) as served:
        yield served


def is_free(service: Service) -> bool:
    """Whether no sequence, slot or place in the line is in use."""
    model = service.models.first
    return not (model._driver.unfinished or model.line.used or model.line.waiting or service.running)


# Clients that leave, and the line.


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot_within_a_step(
    service: Service, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: is_free(service))
    engine, steps = SlowEngine(monkeypatch), service.models.first.stats.steps
    body = json.dumps({"model": "tiny", "prompt": "the", "max_tokens": 60, "stream": stream}).encode()
    client = socket.create_connection(("127.0.0.1", service.port))
    head = "POST /v1/completions HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}"
    client.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    assert engine.begun.acquire(timeout=20)  # its first step
    client.close()
    until(lambda: not service.running)  # noticed while that step is computed
    engine.go.set()
    until(lambda: is_free(service))
    assert service.models.first.stats.steps <= steps + 1
    complete(service, prompt="the")


def test_the_line_is_bounded_and_its_places_are_free_when_clients_leave(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: is_free(service))
    engine, line = SlowEngine(monkeypatch), service.models.first.line
    body = {"prompt": "the", "max_tokens": 60}
    with ThreadPoolExecutor(8) as several:
        running = [several.submit(complete, service, **body) for _ in range(2)]
        until(lambda: line.used == 2)
        waiting = [several.submit(complete, service, **body) for _ in range(3)]
        until(lambda: line.waiting == 3)
        refused = post(service, body)
        assert refused.status == 429 and refused.json()["error"]["type"] == "requests"
        assert int(refused.headers["retry-after"]) >= 1 and int(refused.headers["retry-after-ms"]) >= 1
        leaving = socket.create_connection(("127.0.0.1", service.port))
        leaving.close()
        engine.go.set()
        for one in running + waiting:
            assert one.result(20)["choices"][0]["finish_reason"] in ("stop", "length")
    until(lambda: is_free(service))


def test_a_large_request_to_an_empty_line_is_answered(service: Service) -> None:
    answer = complete(service, prompt=["the"] * 10, n=3, max_tokens=2, seed=1)
    assert len(answer["choices"]) == 30 and len({choice["text"] for choice in answer["choices"]}) == 3


def test_a_failing_engine_step_is_a_500_or_an_event_and_harms_no_other(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.engine import sequence

    original, calls, read = sequence.draw, [], threading.Event()

    def failing(logits: Any, options: Any, *rest: Any) -> Any:
        if options.seed == 99:
            calls.append(1)
            if len(calls) > 2:
                assert read.wait(20)
                raise PellucidError("not a number")
        return original(logits, options, *rest)

    monkeypatch.setattr(sequence, "draw", failing)
    body = {"prompt": "the", "seed": 99, "logit_bias": {"299": -100}}
    with ThreadPoolExecutor(1) as several:
        other = several.submit(complete, service, prompt="the fox", max_tokens=40, seed=1)
        with open_stream(service, body) as stream:
            assert stream.readline().startswith(b"data: {")
            read.set()
            error = json.loads(stream.read().decode().split("data: ")[-2])["error"]
        assert (error["type"], error["code"]) == ("server_error", None) and "not a number" in error["message"]
        monkeypatch.undo()
        assert other.result(20)["choices"] == complete(service, prompt="the fox", max_tokens=40, seed=1)["choices"]
    monkeypatch.setattr(sequence, "draw", failing)
    answer = post(service, {"prompt": "the", "seed": 99})
    assert answer.status == 500 and answer.json()["error"]["type"] == "server_error"


# Keys and limits.


def key_file(path: Path, **limits: dict[str, int]) -> dict[str, str]:
    """A file with a key for each name; the keys by name."""
    made = {name: add_key(path, name) for name in limits}
    values = json.loads(path.read_text(encoding="utf-8"))
    for entry in values["keys"]:
        entry |= limits[entry["name"]]
    path.write_text(json.dumps(values), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    limits = {
        "ada": {}, "few": {"requests_per_minute": 2}, "short": {"tokens_per_minute": 30}, "one": {"concurrent_requests": 1},
        "babbage": {},
    }  # fmt: skip
    return path, key_file(path, **limits)


@pytest.fixture(scope="module")
def guarded(tiny_run: Path, keys: tuple[Path, dict[str, str]]) -> Iterator[Service]:
    settings = ServiceSettings(drain_seconds=0, keys_needed=True)
    with service_of(named(tiny_run), keys=read_keys(keys[0]), settings=settings) as served:
        yield served


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_everything_but_health_needs_a_key(guarded: Service, keys: tuple[Path, dict[str, str]]) -> None:
    import base64

    ada = keys[1]["ada"]
    pages = "/", "/api/sources"
    for path in ("/v1/models", "/v1/engines", "/tokenizer_info", "/metrics", "/openapi.json", "/v1/nothing", *pages):
        refused = ask(guarded, path)
        assert refused.status == 401 and ("www-authenticate" in refused.headers) == (path in pages), path
    for path in ("/healthz", "/readyz"):
        assert ask(guarded, path).status == 200
    answer = post(guarded, {"prompt": "the"})
    assert answer.status == 401 and answer.json()["error"]["message"].startswith("You didn't provide an API key.")
    for wrong in ("sk-wrongwrongwrong", ada[:-1], ada + "x", "", "é"):
        error = post(guarded, {"prompt": "the"}, api_key=wrong).json()["error"] if wrong.isascii() else None
        if wrong and error:
            assert error["code"] == "invalid_api_key" and wrong[3:-3] not in error["message"]
            assert error["message"] == f"Incorrect API key provided: {masked(wrong)}."
    basic = base64.b64encode(f"anyone:{ada}".encode()).decode()
    for headers in (bearer(ada), {"api_key": ada}, {"authorization": f"Basic {basic}"}):
        assert ask(guarded, "/v1/models", **headers).status == 200
    assert ask(guarded, "/v1/models", authorization="Basic ???").status == 401
    assert post(guarded, {"prompt": "the"}, host="public.example", **bearer(ada)).status == 200  # no other site has a key
    assert post(guarded, {"prompt": "x" * 200_000}).status == 401


def test_a_key_is_compared_with_all(keys: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    ring, compared = KeyRing(read_keys(keys[0])), []
    original = key_files.hmac.compare_digest
    monkeypatch.setattr(key_files.hmac, "compare_digest", lambda a, b: compared.append(a) or original(a, b))
    for name, key in (*keys[1].items(), ("", "wrong")):
        client = ring.client({"authorization": f"Bearer {key}"})
        assert (client.name if client else "") == name
    assert len(compared) == 6 * 5


def test_limits_of_a_key(guarded: Service, keys: tuple[Path, dict[str, str]]) -> None:
    few, short = bearer(keys[1]["few"]), bearer(keys[1]["short"])
    body = {"prompt": [1, 2], "max_tokens": 8, "seed": 1}
    first = post(guarded, body, **few)
    assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-remaining-requests"]) == ("2", "1")
    assert post(guarded, body, **few).status == 200
    refused = post(guarded, body, **few)
    assert refused.status == 429 and refused.json()["error"]["type"] == "requests"
    message = refused.json()["error"]["message"]
    assert message.startswith("Rate limit reached for few on requests per min. Limit: 2 / min. Please try again in ")
    assert 20 <= int(refused.headers["retry-after"]) <= 31 and refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert post(guarded, {**body, "max_tokens": 29}, **short).headers["x-should-retry"] == "false"
    assert post(guarded, {**body, "stop": "e"}, **short).status == 200
    left = int(post(guarded, {**body, "n": 2}, **short).headers["x-ratelimit-remaining-tokens"])
    assert 0 <= left <= 30
    refused = post(guarded, {**body, "n": 3, "max_tokens": 9}, **short)
    assert refused.status == 429 and refused.json()["error"]["type"] == "tokens"
    assert post(guarded, body, **bearer(keys[1]["ada"])).status == 200  # others go on


def test_requests_at_once_are_limited(
    guarded: Service, keys: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SlowEngine(monkeypatch)
    one = keys[1]["one"]
    with ThreadPoolExecutor(1) as several:
        running = several.submit(post, guarded, {"prompt": "the"}, **bearer(one))
        assert engine.begun.acquire(timeout=20)
        refused = post(guarded, {"prompt": "the"}, **bearer(one))
        assert refused.status == 429 and "1 requests at once" in refused.json()["error"]["message"]
        engine.go.set()
        assert running.result(20).status == 200
    assert post(guarded, {"prompt": "the"}, **bearer(one)).status == 200


def test_prefixes_are_shared_within_a_key_alone(guarded: Service, keys: tuple[Path, dict[str, str]]) -> None:
    prompt = [7, 8, 9] * 12
    stats = guarded.models.first

    def reused(name: str) -> int:
        before = stats.stats.reused_tokens
        assert post(guarded, {"prompt": prompt, "max_tokens": 1, "seed": 1}, **bearer(keys[1][name])).status == 200
        return stats.stats.reused_tokens - before

    assert [reused("ada"), reused("ada"), reused("babbage"), reused("babbage")] == [0, 35, 0, 35]


def test_another_address_needs_keys_and_key_files_are_checked(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"everybody who reaches '0\.0\.0\.0' could ask.*--new-key"):
        Service(None, host="0.0.0.0", port=0)  # type: ignore[arg-type]
    path, digest = tmp_path / "keys.json", "a" * 64
    for content, message in (
        ("{", "not JSON"), ("[]", "not a JSON object"), ('{"keys": []}', "holds no key"),
        ('{"keys": [{"name": "a", "sha256": "b"}]}', "64 hexadecimal digits"),
        (f'{{"keys": [{{"name": "anonymous", "sha256": "{digest}"}}]}}', "name must be printable"),
        (f'{{"keys": [{{"name": "a", "sha256": "{digest}", "x": 1}}]}}', "unknown field"),
        (f'{{"keys": [{{"name": "a", "sha256": "{digest}", "requests_per_minute": 0}}]}}', "requests_per_minute"),
        (f'{{"keys": [{{"name": "a", "sha256": "{digest}"}}, {{"name": "b", "sha256": "{digest}"}}]}}', "same sha256"),
    ):  # fmt: skip
        path.write_text(content, encoding="utf-8")
        with pytest.raises(PellucidError, match=message):
            read_keys(path)
    path.unlink()
    key = add_key(path, "ada")
    assert key not in path.read_text(encoding="utf-8")
    with pytest.raises(PellucidError, match="has a key named 'ada'"):
        add_key(path, "ada")
    assert [stored.name for stored in read_keys(path)] == ["ada"]
    assert KeyRing([StoredKey(name="x", sha256=digest, limits=KeyLimits())]).client({"authorization": f"Bearer {key}"}) is None


# Ends.


def test_a_server_that_ends_answers_what_runs_and_refuses_what_comes(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"prompt": "the", "max_tokens": 50, "seed": 1, "temperature": 0}
    with service_of(named(tiny_run), settings=ServiceSettings(drain_seconds=20)) as service:
        wanted = complete(service, **body)["choices"]
        engine = SlowEngine(monkeypatch)
        with ThreadPoolExecutor(4) as several:
            running = several.submit(post, service, {**body, "stream": True})
            whole = several.submit(complete, service, **body)
            until(lambda: service.models.first.line.used == 2)
            ending = several.submit(service.close)
            until(lambda: ask(service, "/readyz").status == 503)
            assert ask(service, "/healthz").status == 200
            refused = post(service, body)
            assert refused.status == 503 and refused.json()["error"]["type"] == "server_error"
            assert "retry-after" in refused.headers
            engine.go.set()
            assert joined(events(running.result(20)))["choices"] == whole.result(20)["choices"] == wanted
            ending.result(20)
        with pytest.raises(OSError):
            ask(service, "/healthz")


def test_a_server_that_cannot_wait_ends_streams_with_an_error(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with service_of(named(tiny_run)) as service:
        original, go, count = Engine.step, threading.Event(), []

        def held(engine: Engine) -> Any:
            count.append(1)
            if len(count) > 3:
                go.wait(20)
            return original(engine)

        monkeypatch.setattr(Engine, "step", held)
        body = {"prompt": "the", "max_tokens": 60, "logit_bias": {"299": -100}}
        with open_stream(service, body) as stream, ThreadPoolExecutor(1) as several:
            assert stream.readline().startswith(b"data: {")
            ending = several.submit(service.close)
            threading.Timer(0.2, go.set).start()
            rest = stream.read().decode()
            ending.result(20)
    assert json.loads(rest.split("data: ")[-2])["error"]["type"] == "server_error" and rest.endswith("data: [DONE]\n\n")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # which is the point
def test_an_engine_that_ends_turns_health_red_and_is_started_again_once(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with service_of(named(tiny_run)) as service:
        wanted = complete(service, prompt="the", seed=1)["choices"]

        def kill() -> None:
            def ended(engine: Engine) -> Any:
                raise SystemExit

            monkeypatch.setattr(Engine, "step", ended)
            answer = post(service, {"prompt": "the"})
            assert answer.status == 500 and answer.json()["error"]["type"] == "server_error"
            monkeypatch.undo()

        kill()
        assert ask(service, "/healthz").status == 503 and ask(service, "/readyz").status == 503
        refused = post(service, {"prompt": "the"})
        assert refused.status == 503 and "retry-after" in refused.headers
        assert refused.json()["error"]["message"].endswith("the engine of tiny does not run")
        until(lambda: ask(service, "/healthz").status == 200)
        assert complete(service, prompt="the", seed=1)["choices"] == wanted
        assert b'pellucid:engine_restarts_total{model_name="tiny"} 1.0' in ask(service, "/metrics").body
        kill()
        time.sleep(0.8)
        assert ask(service, "/healthz").status == 503
        assert "is not restarted" in caplog.text


def test_metrics_and_the_tokenizer(service: Service) -> None:
    until(lambda: is_free(service))
    complete(service, prompt=[1, 2, 3], max_tokens=4, seed=1, logit_bias={"299": -100})
    events(post(service, {"prompt": [1, 2, 3], "max_tokens": 4, "stream": True}))
    text = ask(service, "/metrics").body.decode()
    for line in ('num_requests_running{model_name="tiny"} 0.0', 'num_requests_waiting{model_name="tiny"} 0.0',
                 'request_success_total{finished_reason="length",model_name="tiny"}',
                 'time_to_first_token_seconds_count{model_name="tiny"}', 'http_responses_total{status="200"}'):  # fmt: skip
        assert f"pellucid:{line}" in text
    assert "_created" not in text
    for words in ("the fox", "a<|endoftext|>b", "", "naïve"):
        asked = {"prompt": words, "add_special_tokens": False, "return_token_strs": True}
        found = ask(service, "/tokenize", method="POST", body=asked)
        ids = found.json()["tokens"]
        assert found.json()["count"] == len(ids) == len(found.json()["token_strs"])
        assert ask(service, "/detokenize", method="POST", body={"tokens": ids}).json() == {"prompt": words}
    info = ask(service, "/tokenizer_info").json()
    assert ask(service, "/tokenize", method="POST", body={"prompt": info["eos_token"]}).json()["tokens"] == [299]
    for path, body in (("/tokenize", {"prompt": 5}), ("/detokenize", {"tokens": [300]}), ("/detokenize", {"tokens": [None]}),
                       ("/detokenize", {"tokens": "x"}), ("/tokenize", {"text": ""})):  # fmt: skip
        assert ask(service, path, method="POST", body=body).status == 400, (path, body)
    assert ask(service, "/tokenize", method="POST", body={"prompt": "a", "model": "none"}).status == 404


def test_the_log_names_no_prompt_unless_asked(tiny_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for prompts in (False, True):
        settings = ServiceSettings(drain_seconds=0, log_requests=True, log_prompts=prompts)
        with service_of(named(tiny_run), settings=settings) as service:
            complete(service, prompt="secret words", user="u1")
        (line,) = capfd.readouterr().err.splitlines()
        logged = json.loads(line)
        assert (logged["status"], logged["model"], logged["user"], logged["key"]) == (200, "tiny", "u1", "anonymous")
        assert ("secret" in line) == prompts


def test_a_command_without_keys_refuses_another_address(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pellucid.cli import main

    with contextlib.suppress(SystemExit):
        assert main(["serve", "-m", str(tiny_run), "--host", "0.0.0.0"]) == 1
    assert "everybody who reaches '0.0.0.0' could ask" in capsys.readouterr().err
