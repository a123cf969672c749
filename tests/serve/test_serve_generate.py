"""Answers through the server: the model's own, token by token, each with its record; one at a time."""

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
from serving import ask, events

import pellucid
from pellucid.errors import PellucidError
from pellucid.record import check
from pellucid.serve import Studio
from pellucid.serve.studio import generation as generating
from pellucid.serve.studio.generation import Answer, Generator, read_request
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
    assert listed["title"] == "written here by tiny" and listed["text"].startswith("the fox")
    part = ask(studio, done["url"], range="bytes=0-7")
    assert (part.status, part.body) == (206, b"PELLUCID")


def test_a_seed_may_have_64_bits_and_none_is_drawn_and_told(studio: Studio, tiny_run: Path) -> None:
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
    "temperature must be a number": {"temperature": "hot"},
    "temperature must be 0": {"temperature": -1},
    "top_k must be": {"top_k": 0},
    "top_p must be": {"top_p": 2},
    "min_p must be": {"min_p": 2},
    "presence_penalty must be": {"presence_penalty": 3},
    "repetition_penalty must be a number": {"repetition_penalty": "much"},
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


class Slow:
    """Holds every generation before each of its tokens until it is let go; counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.begun = threading.Event(), threading.Semaphore(0)
        self.tokens = 0
        from pellucid.interpret import capture

        original = capture.step_distribution

        def held(*given: Any, **named: Any) -> Any:
            self.tokens += 1
            self.begun.release()
            assert self.go.wait(20)
            return original(*given, **named)

        monkeypatch.setattr(capture, "step_distribution", held)


def start(studio: Studio, body: dict[str, Any]) -> http.client.HTTPConnection:
    """Asks without waiting for the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=20)
    connection.request("POST", "/api/generate", json.dumps({"model": "model-1"} | body), {"Content-Type": "application/json"})
    return connection


def read(connection: http.client.HTTPConnection) -> bytes:
    with closing(connection), connection.getresponse() as response:
        return response.read()


def test_one_at_a_time_and_a_short_line(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    asking = [start(studio, {"prompt": "the", "max_tokens": 2, "seed": 1})]
    assert slow.begun.acquire(timeout=20)
    asking += [start(studio, {"prompt": "the", "max_tokens": 2, "seed": 1}) for _ in range(generating.MOST_WAITING)]
    full = None
    for _ in range(200):  # until those three stand in line
        full = generate(studio, prompt="the", max_tokens=1) if _waiting(studio) == generating.MOST_WAITING else None
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
    generator: Generator = studio._generator
    return generator._waiting


def test_a_generation_ends_when_the_page_goes_away(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    left: dict[int, threading.Event] = {}  # of each answer begun from here on; earlier ones may be left as late as now
    begin, leave = Answer.__init__, Answer.leave
    monkeypatch.setattr(Answer, "__init__", lambda answer: (begin(answer), left.update({id(answer): threading.Event()}))[0])
    monkeypatch.setattr(Answer, "leave", lambda answer: (leave(answer), left.get(id(answer), threading.Event()).set())[0])
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


def test_an_answer_nobody_waits_for_lets_the_next_one_go(tiny_run: Path) -> None:
    """The page went away between asking and the first event: nothing is ever iterated."""

    async def run() -> None:
        generator = Generator(SourceCatalog([tiny_run]))
        body = json.dumps({"model": "model-1", "prompt": "the", "max_tokens": 3}).encode()
        (await generator.begin(body)).leave()
        answer = await asyncio.wait_for(generator.begin(body), 20)
        assert [part async for part in answer][-1].startswith(b"event: done")
        generator.close()
        closing = await asyncio.wait_for(generator.begin(body), 20)
        assert [part async for part in closing][-1] == b'event: error\ndata: {"error": "the server is closing"}\n\n'

    asyncio.run(run())


def test_what_goes_wrong_inside_is_told(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise PellucidError("no room for it")

    monkeypatch.setattr(SourceCatalog, "keep", broken)
    assert events(generate(studio, prompt="the", max_tokens=1))[-1] == ("error", {"error": "no room for it"})


def test_the_oldest_answers_go(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.serve.studio.sources.MAX_ANSWERS", 2)
    library = SourceCatalog([tiny_run])
    names = [library.keep(b"x", "m") for _ in range(3)]
    assert library.content(names[2]).size == 1
    with pytest.raises(PellucidError, match="not kept any more"):
        library.content(names[0])


def test_requests_by_default() -> None:
    assert read_request(b"{}") == ("default", "", {"max_tokens": 40})
    assert read_request(b'{"top_k": null, "seed": "-7"}') == ("default", "", {"max_tokens": 40, "seed": -7})


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
