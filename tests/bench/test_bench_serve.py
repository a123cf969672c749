"""`bench serve` with tiny models: rows against a server and the engine, and servers that do not answer as asked."""

import asyncio
from pathlib import Path

import pytest

from pellucid.bench import serve
from pellucid.bench.peer_comparison import WorkerPool
from pellucid.errors import PellucidError
from pellucid.generation.text_generator import open_text_generator


pytestmark = pytest.mark.long


def test_rows_are_against_every_server_and_the_engine(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "WRITTEN", 3)
    monkeypatch.setattr(serve, "WORDS_READ", 5)
    encode = open_text_generator(tiny_run).require_tokenizer().encode
    assert len({tuple(encode(serve.prompt_text(number))[:3]) for number in range(40)}) == 40  # no prefix is there twice
    with serve.our_server(str(tiny_run)) as ours, serve.our_server(str(tiny_run)) as other, WorkerPool() as pool:
        engine = pool.get("ours", {"directory": str(tiny_run), "kernel": "auto", "weights": "float32"})
        rows = {row.name: row for row in serve.at_load(4, ours, {"other": other}, engine, encode, 2)}
        base = "serve/gpt2-124m/4-clients"
        named = ("vs-other", "vs-engine", "first-token-p50/vs-other", "first-token-p99/vs-other")
        assert set(rows) == {base, *(f"{base}/{name}" for name in named)}
        assert all(row.value > 0 and row.peer_value > 0 and row.ratio > 0 for row in rows.values())
        longer = " ".join(serve.prompt_text(number) for number in range(20))  # than the model reads
        with pytest.raises(PellucidError, match="did not answer with 3 tokens"):
            asyncio.run(serve.load(ours, [longer]))


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"pellucid serve, float32 did not start: .*no such directory"):
        serve.our_server(str(tmp_path / "nothing"))
