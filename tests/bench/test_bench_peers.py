"""Measuring beside peers, each in a process of its own. No speed is tested: what is compared, named and said is."""

import os
import signal
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import pytest
import torch

import pellucid
from pellucid.bench import backends, generate, peer_comparison, prefill, train
from pellucid.bench.compare import Comparison
from pellucid.bench.worker import Work, Worker, WorkerExited
from pellucid.errors import PellucidError
from pellucid.gpt.arrangements import all_dense
from pellucid.text.r50k import r50k
from pellucid.training.placement import default_dtype


SHAPE = pellucid.GPTConfig(vocab_size=50257, n_ctx=64, n_layers=2, d_model=32, n_heads=2, pattern=all_dense(2))


def echo(**arguments: Any) -> tuple[Work, dict[str, Any]]:
    """A worker's work that says what it was asked, and dies of what it is result to."""

    def work(request: dict[str, Any]) -> dict[str, Any]:
        print("noise that is no answer")
        if "signal" in request:
            os.kill(os.getpid(), request["signal"])
        if "error" in request:
            raise ValueError(request["error"])
        return request

    return work, arguments


@pytest.mark.long
def test_a_worker_answers_and_its_exit_is_reported() -> None:
    with Worker("test_bench_peers", "echo", {"a": 1}) as worker:
        assert worker.ready == {"a": 1}
        assert worker.ask({"b": "\u00fc"}) == {"b": "\u00fc"}
        with pytest.raises(WorkerExited, match="ended with exit code 1: ValueError: too late"):
            worker.ask({"error": "too late"})
    with (
        Worker("test_bench_peers", "echo", {}) as worker,
        pytest.raises(WorkerExited, match=f"was killed by signal {int(signal.SIGKILL)}"),
    ):
        worker.ask({"signal": signal.SIGKILL})


def by_name(rows: list[Comparison]) -> dict[str, Comparison]:
    return {row.name: row for row in rows}


@pytest.mark.long
def test_training_is_compared_step_for_step() -> None:
    config = SHAPE.replace(vocab_size=300)
    plain = {"compiled": False, "same_allocator": False}
    shape = train.TrainingShape(name="small", config=config, positions=32, batch=4, steps=2, **plain)
    rows = by_name(train.measured(shape, 1))
    assert list(rows) == [f"train/small/{what}" for what in ("tokens_per_s", "flops", "first-step", "loss", "peak_memory")]
    loss = rows["train/small/loss"]
    # Equal weights, batches, rates and clipping: after the same steps the losses are, up to what products round.
    assert abs(loss.value - loss.peer_value) < (1e-4 if default_dtype() == torch.float32 else 2e-3)
    assert all(row.value > 0 and row.peer_value > 0 and row.ratio > 0 for row in rows.values())
    assert shape.flops == 128 * (6 * config.parameters() + 12 * 2 * 32 * 32)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short texts, no kernel, and no peer beyond those that a test names."""
    lengths = {
        "READ": 8,
        "READ_LONG": 40,
        "WRITTEN": 4,
        "WRITTEN_THEN": 4,
        "STREAMS": 3,
        "READ_BY_MANY": 8,
        "WRITTEN_BY_MANY": 4,
    }
    for name, value in lengths.items():
        monkeypatch.setattr(generate, name, value)
    monkeypatch.setattr(prefill, "READ", 16)
    monkeypatch.setattr(generate, "dtypes", lambda: ["float32"])
    monkeypatch.setattr(generate, "find_spec", lambda name: name == "transformers")
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    monkeypatch.setenv("PELLUCID_KERNEL", "off")


@pytest.mark.long
def test_generating_is_compared_on_the_same_weights(tmp_path: Path, small: None) -> None:
    files = backends.write_models(tmp_path, SHAPE)
    rows = generate.one_stream(["float32"], files, 1)
    name = "generate/gpt2-124m/float32/one-stream/built-in"
    parts = ["", "/first-token", "/token-p50", "/token-p99", "/peak-memory/vs-transformers", "/after-40"]
    parts.append("/after-40/first-token")
    assert [row.name for row in rows if row.unit != "not installed"] == [name + part for part in parts]
    assert all(row.value > 0 and row.peer_value > 0 and row.ratio > 0 for row in rows[: len(parts)])
    for place in (0, 5):  # what both wrote after a short prompt and after a long one
        assert "100% of the tokens equal" in rows[place].peer
        assert "transformers" in rows[place].peer and "ours: Pellucid, PyTorch float32, fast" in rows[place].peer
    assert generate.one_stream(["int8"], files, 1) == []  # PyTorch's operators have none


class InThisProcess:
    """A worker that is none, for tests to be quick."""

    def __init__(self, module: str, function: str, arguments: dict[str, Any], environment: dict[str, str]) -> None:
        try:
            self._work, self.ready = getattr(import_module(module), function)(**arguments)
        except RuntimeError as error:
            raise WorkerExited(f"ended: {error}") from error

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._work(request)
        return answer

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_comparison, "Worker", InThisProcess)


@pytest.mark.long
def test_many_streams_are_timed_with_their_reading(tmp_path: Path, small: None, quick: None) -> None:
    rows = by_name(generate.many_streams(backends.write_models(tmp_path, SHAPE), 1))
    name = "generate/gpt2-124m/float32/3-streams/built-in"
    assert {name, f"{name}/writing", f"{name}/unlike-prompts"} <= rows.keys()
    assert "100% of the tokens equal" in rows[name].peer and "100%" in rows[f"{name}/unlike-prompts"].peer


@pytest.mark.long
def test_reading_is_compared(tmp_path: Path, small: None, quick: None) -> None:
    rows = by_name(prefill.measured(backends.write_models(tmp_path, SHAPE), 1))
    assert {"prefill/gpt2-124m/16/float32/built-in", "prefill/gpt2-124m/16/bf16/built-in"} <= rows.keys()


def slow(seconds: float, dies: str = "") -> tuple[Work, dict[str, Any]]:
    """A side that says how long it took; it dies when it is made, or at the long request."""
    if dies == "first":
        raise RuntimeError("no such file")

    def work(request: dict[str, Any]) -> dict[str, Any]:
        if dies == "later" and request["tokens"] > 1:
            raise WorkerExited("was killed by signal 11")
        return {"first": seconds, "writing": 2 * seconds, "whole": 3 * seconds, "each": [], "ids": [[1, 2]], "peak": None}

    return work, {"path": f"takes {seconds}"}


def test_the_fastest_setting_of_the_better_peer_counts_and_crashed_peers_are_named(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_comparison, "BACKENDS", "test_bench_peers")
    peers: dict[str, list[peer_comparison.WorkerSpec]] = {
        "a": [("slow", {"seconds": 0.5}), ("slow", {"seconds": 0.25}), ("slow", {"seconds": 0.1, "dies": "first"})],
        "b": [("slow", {"seconds": 1.0})],
        "c": [("slow", {"seconds": 0.1, "dies": "later"})],
        "d": [("slow", {"seconds": 0.1, "dies": "first"})],
    }
    with peer_comparison.PeerComparison({"own": ("slow", {"seconds": 0.125})}, peers, {"tokens": 1}) as comparison:
        result = comparison.run({"tokens": 2}, 3)
        missing = {row.name: row for row in comparison.missing("own") if row.unit == "crashed"}
    assert result.peers == ["a", "b"] and result.best("first") == "a" and result.best("first", ["b"]) == "b"
    rows = by_name(result.against("own", "own", "first", work=8))
    assert list(rows) == ["own", "own/vs-a", "own/vs-b"]
    assert (rows["own"].value, rows["own"].peer_value, rows["own"].ratio) == (64.0, 32.0, 2.0)
    assert rows["own/vs-b"].ratio == 8.0
    assert "at first 2.00 times as fast as takes 0.5" in rows["own"].peer
    assert "otherwise it ended: no such file" in rows["own"].peer
    assert missing.keys() == {"own/vs-c", "own/vs-d"}
    assert "killed by signal 11" in missing["own/vs-c"].peer
    with peer_comparison.WorkerPool() as pool:  # two comparisons, and one process of each kind
        own: dict[str, peer_comparison.WorkerSpec] = {"own": ("slow", {"seconds": 0.5})}
        both = [peer_comparison.PeerComparison(own, {"b": peers["b"]}, {"tokens": 1}, pool) for _ in range(2)]
        assert all(one.run({"tokens": 2}, 1, warm_ups=0).best("first") == "b" for one in both)
        assert pool.get("slow", {"seconds": 0.5}) is pool.get("slow", {"seconds": 0.5})
    own_dies: dict[str, peer_comparison.WorkerSpec] = {"own": ("slow", {"seconds": 1.0, "dies": "first"})}
    with pytest.raises(PellucidError, match="our own side failed: ended: no such file"):
        peer_comparison.PeerComparison(own_dies, {}, {})


def test_the_tokens_of_a_prompt_are_in_the_vocabulary() -> None:
    assert all(0 <= token < r50k().vocab_size for token in backends.prompt(2000, number=3))
