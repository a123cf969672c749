"""Measuring beside peers, each in a process of its own. No speed is tested: what is compared, named and said is."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import pellucid
from pellucid.bench import generate, prefill, train
from pellucid.bench.compare import Comparison
from pellucid.bench.worker import Work, Worker, WorkerDied
from pellucid.gpt.pattern import all_dense
from pellucid.text.r50k import r50k


SHAPE = pellucid.GPTConfig(vocab_size=50257, n_ctx=64, n_layers=2, d_model=32, n_heads=2, pattern=all_dense(2))


def echo(**arguments: Any) -> tuple[Work, dict[str, Any]]:
    """A worker's work that says what it was asked, and dies of what it is told to."""

    def work(request: dict[str, Any]) -> dict[str, Any]:
        print("noise that is no answer")
        if "signal" in request:
            os.kill(os.getpid(), request["signal"])
        if "error" in request:
            raise ValueError(request["error"])
        return request

    return work, arguments


def test_a_worker_answers_and_its_death_is_told() -> None:
    with Worker("test_bench_peers", "echo", {"a": 1}) as worker:
        assert worker.ready == {"a": 1}
        assert worker.ask({"b": "\u00fc"}) == {"b": "\u00fc"}
        with pytest.raises(WorkerDied, match="ended with exit code 1: ValueError: too late"):
            worker.ask({"error": "too late"})
    with (
        Worker("test_bench_peers", "echo", {}) as worker,
        pytest.raises(WorkerDied, match=f"was killed by signal {int(signal.SIGKILL)}"),
    ):
        worker.ask({"signal": signal.SIGKILL})


def by_name(rows: list[Comparison]) -> dict[str, Comparison]:
    return {row.name: row for row in rows}


def test_training_is_compared_step_for_step() -> None:
    config = SHAPE.replace(vocab_size=300)
    shape = train.Shape(name="small", config=config, tracks=32, batch=4, steps=2, compiled=False)
    rows = by_name(train.measured(shape, 1))
    assert list(rows) == [
        f"train/small/{what}"
        for what in ("tokens_per_s", "tokens_per_s/same-allocator", "flops", "first-step", "loss", "peak_memory")
    ]
    loss = rows["train/small/loss"]
    assert abs(loss.value - loss.peer_value) < 1e-4  # equal weights, batches, rates and clipping: three steps later still
    assert all(row.value > 0 and row.peer_value > 0 and row.ratio > 0 for row in rows.values())
    assert shape.flops == 128 * (6 * config.parameters() + 12 * 2 * 32 * 32)


def test_generating_and_reading_are_compared_on_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "GGUF", {"float32": "none"})
    monkeypatch.setattr(generate, "READ", 8)
    monkeypatch.setattr(generate, "WRITTEN", 4)
    files = generate.written(tmp_path, SHAPE)
    ours = {"PyTorch": ("ours", {"directory": files["model"], "kernel": "off", "weights": None})}
    peers = {
        "transformers": ("transformers", {"directory": files["model"], "dtype": "float32"}),
        "broken": ("transformers", {"directory": str(tmp_path / "nothing"), "dtype": "float32"}),
    }
    request = {"prompt": generate.prompt(8), "tokens": 4, "streams": 3}
    rows = by_name(generate.compared("generate/small/{}", ours, peers, request, 1))
    assert list(rows) == [
        "generate/small/broken",
        *(f"generate/small/PyTorch{what}" for what in ("", "/first-token", "/slowest-token", "/peak_memory")),
    ]
    assert "broken ended with exit code 1" in rows["generate/small/broken"].peer
    speed = rows["generate/small/PyTorch"]
    assert "100% of the tokens equal" in speed.peer and "Pellucid, PyTorch float32" in speed.peer
    assert speed.value > 0 and speed.ratio > 0
    told = generate.answered(ours, {"transformers": peers["transformers"]}, request | {"tokens": 1}, 1)
    assert prefill.rounds_of(told, "PyTorch", "transformers", "first").ratio > 0


def test_the_tokens_of_a_prompt_are_in_the_vocabulary() -> None:
    assert all(0 <= token < r50k().vocab_size for token in generate.prompt(2000))
