"""What a run can be asked for beside the default: each option resumes to the bit, and can be verified."""

import json
import shutil
import statistics
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import MEASURED

import pellucid
from pellucid import events
from pellucid.corpus import Document
from pellucid.errors import PellucidError
from pellucid.gpt.arrangements import alternating
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.loss import IGNORE
from pellucid.runs.files import checkpoint_folder
from pellucid.runs.recipe import Recipe
from pellucid.training import checkpoint
from pellucid.training.batches import WindowBatches, ramp_of
from pellucid.training.checkpoint import KeptModel
from pellucid.training.spike_guard import MIN_STEPS, WINDOW, spike_scores, with_step
from pellucid.training.step import loss_and_gradients
from pellucid.training.tensorboard import TensorBoard


CONFIG = GPTConfig(vocab_size=300, n_ctx=32, n_layers=2, d_model=32, n_heads=2, pattern=alternating(2, band=8))


def train(documents: list[Document], out: Path, **options: Any) -> pellucid.Run:
    options = {"config": CONFIG, "steps": 12, "batch_tokens": 256, "checkpoint_every": 3, "seed": 5} | options
    return pellucid.train(documents, out, **options)


def numbers(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what was measured."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in MEASURED} for line in lines]


def assert_resumes_to_the_bit(
    documents: list[Document], folder: Path, killed: tuple[int, int] = (5, 8), **options: Any
) -> pellucid.Run:
    """Stopped after every few steps and gone on with, from a checkpoint older than the stop: the same files as in one go."""
    whole = train(documents, folder / "whole", **options)

    def killed_after(steps: int) -> Callable[[events.Event], None]:
        def watch(event: events.Event) -> None:
            if isinstance(event, events.StepDone) and event.step == steps:
                raise KeyboardInterrupt

        return watch

    with pytest.raises(KeyboardInterrupt):
        train(documents, folder / "cut", observers=[killed_after(killed[0])], **options)
    with pytest.raises(KeyboardInterrupt):
        pellucid.train([], folder / "cut", resume=True, observers=[killed_after(killed[1])])
    cut = pellucid.train([], folder / "cut", resume=True)
    assert (cut.step, cut.tokens, cut.finished) == (whole.step, whole.tokens, whole.finished)
    newest = [checkpoint.newest(run.path) for run in (whole, cut)]
    assert newest[0] and newest[1] and newest[0].name == newest[1].name
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        assert (newest[0] / name).read_bytes() == (newest[1] / name).read_bytes()
    assert numbers(whole.path) == numbers(cut.path)
    models = [(run.path / "model" / "model.safetensors").read_bytes() for run in (whole, cut)]
    assert models[0] == models[1]
    return whole


def assert_verified(run: pellucid.Run, *, complete: bool = False) -> None:
    """The record's numbers, computed again, are right; complete: the loss of every step was."""
    assert run.record is not None
    with pellucid.open(run.record) as record:
        report = record.verify()
        assert report.ok, [row for row in report.chunks if not row.ok]
        assert not complete or not [row for row in report.chunks if row.chunk == "training/steps/loss" and row.unchecked]


def test_ramp_is_the_paper_s_at_its_sizes() -> None:
    """32k tokens to 500k (GPT-3 Small's batch) over 12 billion of 300."""
    assert Recipe.ramp(300_000_000_000, 500_000) == {"ramp_from": 32_000, "ramp_tokens": 12_000_000_000}
    assert Recipe.ramp(3_000_000, 5_000) == {"ramp_from": 320, "ramp_tokens": 120_000}


@given(
    full=st.integers(1, 64), n_ctx=st.sampled_from([8, 32, 100]), steps=st.integers(1, 400), tokens=st.integers(1, 10**6)
)
def test_the_batch_grows_linearly_by_tokens_and_stays_full(full: int, n_ctx: int, steps: int, tokens: int) -> None:
    ramp = Recipe.ramp(steps * full * n_ctx, full * n_ctx)
    recipe = Recipe.scaled(1e-3, steps * full * n_ctx, **ramp)
    before = ramp_of(recipe, full, n_ctx)
    sizes = [b - a for a, b in pairwise(before)]
    assert sizes == sorted(sizes)
    for size, windows in zip(sizes, before, strict=False):  # the line from ramp_from to full, in exact numbers
        exact = (recipe.ramp_from + (full * n_ctx - recipe.ramp_from) * windows * n_ctx / recipe.ramp_tokens) / n_ctx
        assert 1 <= size <= full
        assert size == 1 or size <= exact + 1e-9
        assert size > exact - 1 - 2 / n_ctx
    assert before[-1] * n_ctx >= recipe.ramp_tokens
    batches = object.__new__(WindowBatches)
    batches.n_ctx, batches.size, batches.ramp = n_ctx, full, before
    found = batches.steps_for(tokens)
    assert batches.tokens_before(found) >= tokens > batches.tokens_before(found - 1)


@pytest.mark.long
def test_a_growing_batch_takes_each_window_once_and_resumes_to_the_bit(documents: list[Document], tmp_path: Path) -> None:
    run = assert_resumes_to_the_bit(documents, tmp_path, batch_ramp=True, steps=24)
    plan = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    assert plan["recipe"]["ramp_from"] == round(256 * 0.064)
    assert plan["recipe"]["ramp_tokens"] == round(24 * 256 * 0.04)
    steps = [line["tokens"] for line in numbers(run.path) if "loss" in line]
    sizes = [(after - before) // 32 for before, after in pairwise([0, *steps])]
    assert sizes[0] == 1
    assert sizes[-1] == 8
    assert sizes == sorted(sizes)
    assert run.tokens == sum(sizes) * 32 == plan["recipe"]["total_tokens"]
    assert_verified(run)


@pytest.mark.long
def test_a_ramp_changes_how_many_steps_so_many_tokens_take(documents: list[Document], tmp_path: Path) -> None:
    plain, ramped = (
        train(documents, tmp_path / name, steps=None, tokens=4_000, batch_ramp=ramp)
        for name, ramp in (("plain", None), ("ramped", True))
    )
    assert 4_000 <= plain.tokens < 4_256
    assert 4_000 <= ramped.tokens < 4_256
    assert ramped.step > plain.step
    for key in ("ramp_from", "ramp_tokens"):
        assert key not in json.loads((plain.path / "run.json").read_text(encoding="utf-8"))["recipe"]
    with pytest.raises(PellucidError, match="batch_ramp is False in"):
        pellucid.train([], plain.path, resume=True, batch_ramp=True)


def test_a_micro_batch_without_targets_counts_for_nothing() -> None:
    """The loss is a mean over targets: rows have 32, 5, 0 and 1 of them."""
    windows = torch.randint(0, 300, (4, 33), generator=torch.Generator().manual_seed(1))
    targets = windows[:, 1:].clone()
    for row, kept in enumerate((32, 5, 0, 1)):
        targets[row, kept:] = IGNORE
    model = Decoder(CONFIG, seed=2)
    loss = loss_and_gradients(model, windows[:, :-1], targets, micro_batch=1, dtype=torch.float32)
    nats = -model(windows[:, :-1]).log_softmax(-1).gather(2, windows[:, 1:, None])[..., 0]
    assert loss == pytest.approx(nats[targets != IGNORE].mean().item(), rel=1e-5)


# Guards.


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.01, 100)), max_size=WINDOW + 40), st.floats(0.1, 10))
def test_scores_are_standard_deviations_above_the_steps_before(seen: list[tuple[float, float]], value: float) -> None:
    recent: tuple[tuple[float, float], ...] = ()
    for loss, norm in seen:
        recent = with_step(recent, loss, norm)
    assert list(recent) == seen[-WINDOW:]
    found = spike_scores(recent, value, value)
    if len(seen) < MIN_STEPS:
        assert found == (0, 0)
        return
    for of, score in zip(zip(*recent, strict=True), found, strict=True):
        mean = statistics.mean(of)
        assert score == pytest.approx((value - mean) / max(statistics.pstdev(of), 0.01 * mean), rel=1e-6, abs=1e-9)


SPIKES: dict[str, Any] = {"skip_spikes": 1.0, "steps": 32, "batch_tokens": 64, "learning_rate": 0.01, "seed": 1}


@pytest.fixture
def odd(documents: list[Document]) -> list[Document]:
    """Stories, and one document of numbers: its windows come late, and their losses stand out."""
    return [*documents, Document("numbers", " ".join(str(7919 * i * i) for i in range(60)))]


@pytest.mark.long
def test_a_spike_leaves_weights_and_optimizer_alone(
    odd: list[Document], documents: list[Document], tmp_path: Path
) -> None:
    """Every checkpoint is kept here, so each step can be looked at, and taken again to verify the record."""
    seen: list[events.Event] = []
    options = SPIKES | {"held_out": documents[0], "checkpoint_every": 1, "keep": 99}
    run = train(odd, tmp_path / "run", observers=[seen.append], **options)
    told = [event.step for event in seen if isinstance(event, events.StepSkipped)]
    lines = numbers(run.path)
    losses = [(line["loss"], line["grad_norm"]) for line in lines if "loss" in line]
    expected = [
        step for step in range(MIN_STEPS + 1, 33) if max(spike_scores(tuple(losses[: step - 1]), *losses[step - 1])) > 1
    ]
    assert told == expected == [line["step"] for line in lines if "skipped" in line]
    assert 2 <= len(told) < 8
    files = {step: checkpoint_folder(run.path, step) for step in range(1, 33)}
    for step in range(2, 33):
        for name in ("model.safetensors", "optimizer.safetensors"):
            same = (files[step] / name).read_bytes() == (files[step - 1] / name).read_bytes()
            assert same == (step in told)
    assert json.loads((files[32] / "state.json").read_text(encoding="utf-8"))["skipped"] == len(told)
    assert_verified(run, complete=True)


@pytest.mark.long
def test_a_run_that_leaves_out_steps_resumes_to_the_bit(
    odd: list[Document], documents: list[Document], tmp_path: Path
) -> None:
    run = assert_resumes_to_the_bit(odd, tmp_path, killed=(28, 29), held_out=documents[0], record=False, **SPIKES)
    assert [line for line in numbers(run.path) if "skipped" in line]


def test_without_options_nothing_of_them_is_written(documents: list[Document], tmp_path: Path) -> None:
    plain = train(documents, tmp_path / "plain", steps=4)
    with_two = train(documents, tmp_path / "two", steps=4, keep=2, skip_spikes=99)
    plan = json.loads((plain.path / "run.json").read_text(encoding="utf-8"))
    assert not {"keep", "skip_spikes", "patience"} & set(plan)
    newest = checkpoint.newest(plain.path)
    assert newest is not None
    assert set(json.loads((newest / "state.json").read_text(encoding="utf-8"))) == {"step", "tokens", "sha256"}
    assert numbers(plain.path) == numbers(with_two.path)  # a guard that finds nothing changes nothing
    for name in ("model.safetensors", "optimizer.safetensors"):
        again = checkpoint.newest(with_two.path)
        assert again is not None
        assert (newest / name).read_bytes() == (again / name).read_bytes()


@pytest.mark.long
def test_so_many_checkpoints_are_kept(documents: list[Document], tmp_path: Path) -> None:
    for keep, left in ((1, [12]), (3, [6, 9, 12])):
        run = train(documents, tmp_path / str(keep), keep=keep)
        assert sorted(p.name for p in (run.path / "checkpoints").iterdir()) == [f"step-{step:08d}" for step in left]
    with pytest.raises(PellucidError, match="keep must be a number above 0"):
        train(documents, tmp_path / "none", keep=0)


@pytest.mark.long
def test_the_best_model_is_what_remains_if_asked_for(documents: list[Document], tmp_path: Path) -> None:
    """So high a rate that held-out loss rises again; the record is of the last step all the same."""
    options: dict[str, Any] = {"batch_tokens": 64, "learning_rate": 1.0, "keep_best": True}
    run = assert_resumes_to_the_bit(documents, tmp_path, **options)
    looks = [line for line in numbers(run.path) if "held_out_loss" in line]
    best = min(looks, key=lambda line: line["held_out_loss"])
    assert best["step"] < 12
    assert run.kept == KeptModel(step=best["step"], held_out_loss=best["held_out_loss"])
    newest = checkpoint.newest(run.path)
    assert newest is not None
    model = (run.path / "model" / "model.safetensors").read_bytes()
    assert model == (run.path / "best" / "model.safetensors").read_bytes() != (newest / "model.safetensors").read_bytes()
    assert_verified(run)
    shutil.rmtree(run.path / "checkpoints")  # the model that is left is not that of the last step, and is not taken for it
    assert_verified(run)


@pytest.mark.long
def test_a_run_that_no_longer_learns_ends_early_and_resumes_to_the_bit(documents: list[Document], tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch_tokens": 64, "learning_rate": 1.0, "patience": 5}
    run = assert_resumes_to_the_bit(documents, tmp_path, killed=(4, 5), **options)
    assert run.finished
    assert run.stopped_learning
    looks = [line["held_out_loss"] for line in numbers(run.path) if "held_out_loss" in line]
    assert looks.index(min(looks)) == len(looks) - 1 - 5
    assert run.step == len(looks) - 1 < 12
    assert_verified(run)
    seen: list[events.Event] = []
    again = pellucid.train([], run.path, resume=True, observers=[seen.append])
    assert again.stopped_learning
    assert again.step == run.step
    assert [event.reason for event in seen if isinstance(event, events.RunFinished)] == ["no longer learning"]
    assert not [event for event in seen if isinstance(event, events.StepDone)]


def test_a_full_disk_is_refused_before_anything_is_written(
    documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = shutil.disk_usage, []

    def full_at_the_second_checkpoint(path: Path) -> Any:
        calls.append(path)
        return real(path)._replace(free=1_000_000_000 if len(calls) < 3 else 300_000)

    with monkeypatch.context() as patch:
        patch.setattr("pellucid.training.checkpoint.shutil.disk_usage", full_at_the_second_checkpoint)
        with pytest.raises(PellucidError, match=r"step 6: it takes 0.4 MB .* has 0.3 MB left; step-00000003 is intact"):
            train(documents, tmp_path / "cut", record=False)
    assert [p.name for p in (tmp_path / "cut" / "checkpoints").iterdir()] == ["step-00000003"]
    assert pellucid.train([], tmp_path / "cut", resume=True).finished


# TensorBoard.


class Writer:
    """Stands in for `torch.utils.tensorboard.SummaryWriter`: keeps what it is told."""

    made: ClassVar[list["Writer"]] = []

    def __init__(self, folder: str, purge_step: int | None = None) -> None:
        self.folder, self.purge_step = Path(folder), purge_step
        self.scalars: list[tuple[str, float, int]] = []
        self.texts: list[tuple[str, str, int]] = []
        self.closed = False
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def add_text(self, name: str, value: str, step: int) -> None:
        self.texts.append((name, value, step))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_tensorboard_receives_what_the_metrics_hold(
    documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    asked = iter([False] * 3 + [True])
    out = tmp_path / "run"
    train(documents, out, observers=[TensorBoard(out)], stop=lambda: next(asked))
    pellucid.train([], out, resume=True, observers=[TensorBoard(out)])
    first, second = Writer.made[-2:]
    assert (first.purge_step, second.purge_step) == (None, 5)
    assert first.folder == second.folder == out / "tensorboard"
    assert first.closed and second.closed
    for name, key in (("train/loss", "loss"), ("train/lr", "lr"), ("held_out/bits_per_byte", "bits_per_byte")):
        told = [(value, step) for writer in (first, second) for kind, value, step in writer.scalars if kind == name]
        assert told == [(line[key], line["step"]) for line in numbers(out) if key in line]
    assert [step for writer in (first, second) for _, _, step in writer.texts] == [0, 1, 2, 4, 8, 12]
    pellucid.train([], out, resume=True, observers=[TensorBoard(out)])  # nothing left to do


def test_without_tensorboard_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(PellucidError, match="pip install tensorboard"):
        TensorBoard(tmp_path)
