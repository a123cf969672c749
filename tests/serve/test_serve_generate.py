"""Answers through the server: the model's own, token by token; recorded ones one at a time, plain ones together."""

import asyncio
import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from serving import Slow, SlowEngine, ask, events, events_of, read, start

import pellucid
from pellucid.errors import PellucidError
from pellucid.record import check
from pellucid.serve import Studio
from pellucid.serve.studio import generation as generating
from pellucid.serve.studio.generate_request import parse_generate_request
from pellucid.serve.studio.generation import CompletionService, CompletionStream
from pellucid.serve.studio.loaded_model import ClosingError, in_thread
from pellucid.serve.studio.sources import SourceCatalog


OPTIONS: dict[str, Any] = {
    "max_tokens": 12, "temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.001, "presence_penalty": 0.5,
    "frequency_penalty": -0.25, "repetition_penalty": 1.1, "seed": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def studio(tiny_run: Path) -> Iterator[Studio]:
    with Studio([tiny_run], port=0) as served:
        yield served


def generate(studio: Studio, **asked: Any) -> Any:
    return ask(studio, "/api/generate", method="POST", body={"model": "model-1", **asked})


def test_the_answer_is_the_model_s_and_so_is_its_record(
    studio: Studio, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PELLUCID_KERNEL", "off")  # the studio watches, so PyTorch computes; equal to the bit
    model = pellucid.load(tiny_run)
    written = model.generate("the fox", logprobs=5, **OPTIONS)
    told = events(generate(studio, prompt="the fox", **OPTIONS))
    assert [name for name, _ in told] == ["begin", *["token"] * len(written.ids), "done"]
    begin, tokens, done = told[0][1], [data for name, data in told if name == "token"], told[-1][1]
    assert [token["id"] for token in begin["prompt"]] == written.prompt_ids and begin["seed"] == "3"
    assert [token["id"] for token in tokens] == written.ids
    assert [token["logprob"] for token in tokens] == written.logprobs
    assert "".join(token["text"] for token in tokens) == done["text"] == written.text
    assert written.top_logprobs is not None
    assert [[one["id"] for one in token["top"]] for token in tokens] == [[i for i, _ in top] for top in written.top_logprobs]
    assert all(token["piece"] == pellucid.text.piece(model.tokenizer.token_bytes(token["id"])) for token in tokens)
    assert tokens[-1]["finish_reason"] == done["finish_reason"] == written.finish_reason
    with pellucid.open(ask(studio, done["url"]).body) as record:
        assert record["generation/steps/drawn_ids"].tolist() == written.ids
        check(record)
        assert record.verify(model).ok
        assert record.provenance.seed == 3
    (listed,) = [one for one in ask(studio, "/api/sources").json()["records"] if one["id"] == done["record"]]
    assert listed["title"] == "answer 1, written here by tiny" and listed["text"].startswith("the fox")
    part = ask(studio, done["url"], range="bytes=0-7")
    assert (part.status, part.body) == (206, b"PELLUCID")


def test_a_studio_may_record_without_rounding(tiny_run: Path) -> None:
    with Studio([tiny_run], port=0, record_dtype="float32") as studio:
        done = events(generate(studio, prompt="the fox", **OPTIONS))[-1][1]
        with pellucid.open(ask(studio, done["url"]).body) as record:
            assert {record.entry(f"generation/{name}/0").dtype for name in ("block_inputs", "attention")} == {"float32"}
            assert record.verify(tiny_run).ok


def test_a_seed_may_have_64_bits_and_a_random_one_is_reported(studio: Studio, tiny_run: Path) -> None:
    large = 2**62 + 1
    told = events(generate(studio, prompt="the", max_tokens=2, seed=str(large)))
    assert told[-1][1]["seed"] == str(large)
    drawn = [data["id"] for name, data in told if name == "token"]
    assert drawn == pellucid.load(tiny_run).generate("the", max_tokens=2, seed=large).ids
    first = events(generate(studio, prompt="", max_tokens=2))
    assert first[-1][1]["seed"].isdigit() and len(first[0][1]["prompt"]) == 1  # end-of-text: a new document


REFUSED: dict[str, Any] = {
    "the body is not JSON": b"{",
    "must be a JSON object": b"[]",
    "unknown field 'path'": {"path": "/etc/passwd"},
    "there is no '../x'": {"model": "../x"},
    "model and prompt must be text": {"prompt": ["a"]},
    "20,001 characters, more than 20,000": {"prompt": "x" * 20_001},
    "half a character": {"prompt": "\ud800"},
    "max_tokens must be from 1 to 400 here, not 401": {"max_tokens": 401},
    "max_tokens must be from 1": {"max_tokens": 0},
    "max_tokens must be a whole number": {"max_tokens": 1.5},
    "more, not 'hot'": {"temperature": "hot"},
    "temperature must be 0": {"temperature": -1},
    "top_k must be": {"top_k": 0},
    "top_p must be": {"top_p": 2},
    "min_p must be": {"min_p": 2},
    "presence_penalty must be": {"presence_penalty": 3},
    "repetition_penalty must be from 0.01 to 100": {"repetition_penalty": "much"},
    "'-1' is no token id": {"logit_bias": {"-1": 1}},
    "logit_bias names a token twice": {"logit_bias": {"5": 100, "05": -100}},
    "a stop string must be text": {"stop": ["a", 1]},
    "record must be true or false": {"record": 1},
    "unknown field 'slide'": {"slide": True},
    "seed must be a whole number": {"seed": "one"},
    "seed must be less than": {"seed": 2**63},
    "leaves room for": {"prompt": "the fox", "max_tokens": 400},
    "the model reads 64 at most": {"prompt": "the fox " * 100},
}


@pytest.mark.parametrize("says", list(REFUSED))
def test_what_cannot_be_answered_says_why(studio: Studio, says: str) -> None:
    asked = REFUSED[says]
    body = asked if isinstance(asked, bytes) else {"model": "model-1"} | asked
    answer = ask(studio, "/api/generate", method="POST", body=body)
    assert answer.status == 400 and says in answer.error
    assert events(generate(studio, prompt="the", max_tokens=1))[-1][0] == "done"  # and the next one is answered


def test_one_at_a_time_and_a_short_line(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    asking = [start(studio, {"prompt": "the", "max_tokens": 2, "seed": 1})]
    assert slow.begun.acquire(timeout=20)
    asking += [start(studio, {"prompt": "the", "max_tokens": 2, "seed": 1}) for _ in range(generating.MAX_WAITING)]
    full = None
    for _ in range(200):  # until those three stand in line
        full = generate(studio, prompt="the", max_tokens=1) if _waiting(studio) == generating.MAX_WAITING else None
        if full is not None:
            break
        threading.Event().wait(0.02)
    assert full is not None and full.status == 429 and "3 more wait" in full.error and full.headers["retry-after"]
    assert slow.tokens == 1  # nobody else began
    slow.go.set()
    bodies = [read(connection) for connection in asking]
    assert all(b"event: done" in body for body in bodies)
    tokens = [[part for part in body.split(b"\n\n") if b"event: token" in part] for body in bodies]
    assert tokens[0] == tokens[1] == tokens[2] == tokens[3] and len(tokens[0]) == 2


def _waiting(studio: Studio) -> int:
    service: CompletionService = studio._completions
    return service._waiting


def test_a_generation_ends_when_the_page_goes_away(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    left: dict[int, threading.Event] = {}  # of each answer begun from here on; earlier ones may be left as late as now
    begin, cancel = CompletionStream.__init__, CompletionStream.cancel

    def init_and_note(stream: CompletionStream) -> None:
        begin(stream)
        left[id(stream)] = threading.Event()

    def cancel_and_note(stream: CompletionStream) -> None:
        cancel(stream)
        left.get(id(stream), threading.Event()).set()

    monkeypatch.setattr(CompletionStream, "__init__", init_and_note)
    monkeypatch.setattr(CompletionStream, "cancel", cancel_and_note)
    newest = studio.catalog._count
    connection = start(studio, {"prompt": "the", "max_tokens": 50, "seed": 1})
    response = connection.getresponse()
    assert response.status == 200 and slow.begun.acquire(timeout=20)
    response.close()
    connection.close()
    assert next(iter(left.values())).wait(20)  # the server has noticed
    slow.go.set()
    assert events(generate(studio, prompt="the", max_tokens=1, seed=1))[-1][0] == "done"  # the line moves on
    assert slow.tokens == 2  # the first of those 50, and the one of the second answer
    assert studio.catalog._count == newest + 1  # only that one became a record


def test_a_cancelled_completion_lets_the_next_one_start(tiny_run: Path) -> None:
    """The page went away between asking and the first event: nothing is ever iterated."""

    async def run() -> None:
        service = CompletionService(SourceCatalog([tiny_run]))
        body = json.dumps({"model": "model-1", "prompt": "the", "max_tokens": 3}).encode()
        (await service.start(body)).cancel()
        answer = await asyncio.wait_for(service.start(body), 20)
        assert [part async for part in answer][-1].startswith(b"event: done")
        service.close()
        with pytest.raises(PellucidError, match="the server is closing"):
            await asyncio.wait_for(service.start(body), 20)

    asyncio.run(run())


def test_an_internal_error_is_sent_to_the_page(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise PellucidError("no room for it")

    monkeypatch.setattr(SourceCatalog, "keep", broken)
    assert events(generate(studio, prompt="the", max_tokens=1))[-1] == ("error", {"error": "no room for it"})


def test_the_oldest_answers_go(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.serve.studio.sources.MAX_COMPLETIONS", 2)
    library = SourceCatalog([tiny_run])
    names = [library.keep(b"x", "m") for _ in range(3)]
    assert library.content(names[2]).size == 1
    assert SourceCatalog([tiny_run]).keep(b"x", "m") not in names  # a page may know those of a server before
    with pytest.raises(PellucidError, match="not kept any more"):
        library.content(names[0])


def test_requests_by_default() -> None:
    asked = parse_generate_request(b"{}")
    assert (asked.model, asked.prompt, asked.options, asked.record) == ("default", "", {"max_tokens": 40}, True)
    assert parse_generate_request(b'{"top_k": null, "seed": "-7"}').options == {"max_tokens": 40, "seed": -7}
    given = parse_generate_request(b'{"stop": "a", "logit_bias": {"3": -100}, "record": false}')
    assert given.options == {"max_tokens": 40, "stop": ("a",), "logit_bias": ((3, -100.0),)} and not given.record


def test_the_page_receives_the_options_of_a_request(studio: Studio) -> None:
    fields = {field["name"]: field for field in ask(studio, "/api/sources").json()["options"]}
    assert set(OPTIONS) | {"stop", "logit_bias"} == set(fields)
    assert fields["top_p"]["maximum"] == 1 and fields["top_p"]["above_minimum"] and fields["top_p"]["default"] is None


# Plain answers.


def test_plain_answers_are_given_together_and_each_is_the_model_s(studio: Studio, tiny_run: Path) -> None:
    prompts = ["the fox", "the", "", "the fox ran", "a"]
    asking = [start(studio, {"prompt": prompt, "record": False, **OPTIONS}) for prompt in prompts]
    recorded = start(studio, {"prompt": "the fox", **OPTIONS})
    model, before = pellucid.load(tiny_run), studio.catalog._count
    for prompt, connection in zip(prompts, asking, strict=True):
        told = events_of(read(connection))
        written = model.generate(prompt, logprobs=5, **OPTIONS)
        assert [name for name, _ in told] == ["begin", *["token"] * len(written.ids), "done"]
        tokens = [data for name, data in told if name == "token"]
        assert [token["id"] for token in tokens] == written.ids and told[0][1]["seed"] == "3"
        assert [token["logprob"] for token in tokens] == pytest.approx(written.logprobs, abs=1e-5)
        assert told[-1][1] == {"text": written.text, "finish_reason": written.finish_reason, "seed": "3"}
        assert len(tokens[0]["top"]) == 5
    assert events_of(read(recorded))[-1][0] == "done"
    assert studio.catalog._count <= before + 1
    driver = studio._completions._models.loaded._driver
    assert driver.stats.sequence_steps > driver.stats.steps, "none shared a step"


def test_a_page_that_goes_away_frees_its_place_within_a_step(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowEngine(monkeypatch)
    many = [
        start(studio, {"prompt": "the", "max_tokens": 50, "seed": 1, "record": False})
        for _ in range(generating.MAX_CONCURRENT)
    ]
    assert slow.begun.acquire(timeout=20)
    full = None
    for _ in range(200):
        if studio._completions._concurrent == generating.MAX_CONCURRENT:
            full = generate(studio, prompt="the", max_tokens=1, record=False)
            break
        threading.Event().wait(0.02)
    assert full is not None and full.status == 429 and "completions are being generated" in full.error
    for connection in many:
        response = connection.getresponse()
        response.close()
        connection.close()
    for _ in range(400):
        if studio._completions._concurrent == 0:
            break
        threading.Event().wait(0.02)
    assert studio._completions._concurrent == 0
    driver = studio._completions._models.loaded._driver
    steps = driver.stats.steps
    slow.go.set()
    for _ in range(400):
        if driver.unfinished == 0:
            break
        threading.Event().wait(0.02)
    assert driver.unfinished == 0 and driver.stats.steps <= steps + 1
    assert events(generate(studio, prompt="the", max_tokens=1, record=False))[-1][0] == "done"


def test_another_model_is_loaded_when_the_last_one_is_unused(tiny_run: Path, tmp_path: Path) -> None:
    pellucid.load(tiny_run).save(tmp_path / "copy")

    async def run() -> None:
        service = CompletionService(SourceCatalog([tiny_run, tmp_path / "copy"]))

        async def answer(model: str, record: bool) -> bytes:
            body = {"model": model, "prompt": "the", "max_tokens": 3, "seed": 1, "record": record}
            return [part async for part in await service.start(json.dumps(body).encode())][-1]

        asked = [answer(f"model-{1 + number % 2}", record=number % 4 == 0) for number in range(8)]
        ends = await asyncio.wait_for(asyncio.gather(*asked), 60)
        assert all(end.startswith(b"event: done") for end in ends), ends
        service.close()
        with pytest.raises(PellucidError, match="closing"):
            await service.start(json.dumps({"model": "model-1", "record": False}).encode())

    asyncio.run(run())


@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize("moment", range(3))
def test_a_server_that_closes_at_any_moment_of_a_request_says_so(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, moment: int, record: bool
) -> None:
    """moment: how many pieces of the request's work in threads are done when the server begins to close."""

    async def run() -> None:
        service, done = CompletionService(SourceCatalog([tiny_run])), 0

        def close_at_the_moment() -> None:
            if done == moment:
                service.end_streams()
                service.close()

        async def counted(function: Any) -> Any:
            nonlocal done
            result = await in_thread(function)
            done += 1
            close_at_the_moment()
            return result

        monkeypatch.setattr(generating, "in_thread", counted)
        close_at_the_moment()
        body = {"model": "model-1", "prompt": "the", "max_tokens": 3, "record": record}
        try:
            stream = await service.start(json.dumps(body).encode())
        except ClosingError:
            return
        assert record and moment > 0, "a plain request has two such pieces, a recorded one has one, before it is answered"
        service.end_streams()
        service.close()
        assert [event async for event in stream][-1].startswith((b"event: done", b"event: error"))

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one child alone")
def test_the_command_prints_its_address_when_it_answers_and_ends_cleanly(tiny_run: Path) -> None:
    command = [sys.executable, "-m", "pellucid", "studio", str(tiny_run), "--port", "0", "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            connection = http.client.HTTPConnection(urlsplit(told["url"]).netloc, timeout=20)
            connection.request("GET", "/")
            assert b"<!doctype html>" in read(connection)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, out) == (0, "") and err in ("", "Ctrl-C ends it\n")  # the signal may come before that line


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one child alone")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_every_answer_with_an_event_or_a_refusal_before_the_process_ends(
    tiny_run: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "pellucid", "studio", str(tiny_run), "--port", "0", "--no-browser", "--json"]
    ends: list[tuple[int, bytes]] = []
    begun = threading.Semaphore(0)

    def ask_it(port: int, record: bool) -> None:
        body = {"model": "model-1", "prompt": "the", "record": record, "max_tokens": 60}
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("POST", "/api/generate", json.dumps(body), {"content-type": "application/json"})
            begun.release()
            with connection.getresponse() as answer:
                begun.release()
                ends.append((answer.status, answer.read()))

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            asking = [threading.Thread(target=ask_it, args=(port, place < 3)) for place in range(8)]
            for thread in asking:
                thread.start()
            assert all(begun.acquire(timeout=30) for _ in range(9))  # all are sent, and one is being answered
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
            for thread in asking:
                thread.join(30)
        finally:
            process.kill()
    assert process.returncode == 0 and err in ("", "Ctrl-C ends it\n")
    assert len(ends) == 8
    for status, answered in ends:
        assert status == 503 or events_of(answered)[-1][0] in ("done", "error"), (status, answered)
