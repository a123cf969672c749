"""What a run's held-out loss is measured on, and what its steps are timed with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from stories import story

import pellucid
from pellucid.corpus import Document, Tokens, open_corpus, sequential
from pellucid.corpus.shards import TokenCorpus
from pellucid.gpt.config import GPTConfig
from pellucid.runs.plan import Plan
from pellucid.text import Tokenizer
from pellucid.training import batches, planner, throughput
from pellucid.training.batches import FIRST_TOKENS, WindowBatches, windows_to_hold_out
from pellucid.training.held_out import held_out_loss
from pellucid.training.optimizers import make_optimizer
from pellucid.training.run import dry_run


CONFIG = GPTConfig(vocab_size=300, n_ctx=32, n_layers=1, d_model=16, n_heads=2)


@pytest.fixture(scope="module")
def text() -> list[Document]:
    """Three documents; the held-out one is longer than what runs once read of it, and changes after that."""
    easy, hard = "ha " * 4500, " ".join(story(60, seed) for seed in range(100, 160))
    return [Document(str(i), story(400, i)) for i in range(2)] + [Document("held out", easy + hard)]


def train(text: list[Document], out: Path, **options: Any) -> pellucid.Run:
    return pellucid.train(
        text[:2], out, held_out=text[2], config=CONFIG, batch_tokens=128, record=False, **{"steps": 4} | options
    )


@pytest.mark.long
def test_the_loss_is_that_of_all_held_out_text(text: list[Document], tmp_path: Path) -> None:
    run = train(text, tmp_path / "run", steps=30, learning_rate=1e-2)
    corpus, tokenizer = open_corpus(run.path / "corpus"), Tokenizer.load(run.path / "corpus")
    windows = list(sequential(corpus.held_out, CONFIG.n_ctx))
    assert 0 < run.plan.held_out_windows < len(windows)
    assert json.loads((run.path / "run.json").read_text(encoding="utf-8"))["held_out_windows"] == run.plan.held_out_windows
    lengths = np.array(tokenizer.byte_lengths, dtype=np.int64)
    model = run.model().eval()
    whole = held_out_loss(model, windows, lengths, dtype=torch.float32, rows=64)
    measured = [line for line in run.metrics() if "held_out_loss" in line][-1]
    first = held_out_loss(model, windows[: FIRST_TOKENS // CONFIG.n_ctx], lengths, dtype=torch.float32, rows=64)
    assert abs(first[1] - whole[1]) > 0.5
    assert measured["bits_per_byte"] == pytest.approx(whole[1], abs=0.1)


def test_a_run_from_before_goes_on_with_the_tokens_it_began_with(text: list[Document], tmp_path: Path) -> None:
    """Its plan says nothing of windows: the first tokens, to the bit, and an interrupted run as one that was not."""
    asked = iter([False, True])
    lines = []
    for name in ("whole", "cut"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pellucid.training.pretraining.windows_to_hold_out", lambda corpus, n_ctx: 0)
            run = train(text, tmp_path / name, **({"stop": lambda: next(asked)} if name == "cut" else {}))
        assert "held_out_windows" not in json.loads((run.path / "run.json").read_text(encoding="utf-8"))
        if not run.finished:
            run = pellucid.train([], run.path, resume=True)
        lines.append([line for line in run.metrics() if "held_out_loss" in line])
    assert lines[0] == lines[1]
    corpus, tokenizer = open_corpus(run.path / "corpus"), Tokenizer.load(run.path / "corpus")
    windows = list(sequential(corpus.held_out, CONFIG.n_ctx))[: FIRST_TOKENS // CONFIG.n_ctx]
    found = WindowBatches.of(run.plan, corpus, tokenizer).held_out_windows
    assert [window.tolist() for window in found] == [window.tolist() for window in windows]


def test_windows_of_a_resumed_run_are_those_of_its_plan(
    text: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter([False, True])
    whole = train(text, tmp_path / "whole")
    train(text, tmp_path / "cut", stop=lambda: next(asked))
    monkeypatch.setattr(batches, "SPREAD_TOKENS", 64)
    cut = pellucid.train([], tmp_path / "cut", resume=True)
    assert [line for line in cut.metrics() if "held_out_loss" in line] == [
        line for line in whole.metrics() if "held_out_loss" in line
    ]


@given(tokens=st.integers(0, 20_000), n_ctx=st.sampled_from([1, 32, 256, 2048]))
def test_there_are_as_many_windows_as_the_text_has_up_to_a_choice(tokens: int, n_ctx: int) -> None:
    held_out = Tokens([np.zeros(tokens, np.uint16)], tokens)
    count = windows_to_hold_out(TokenCorpus(Path(), held_out, held_out, {}), n_ctx)
    there = len(list(sequential(held_out, n_ctx)))
    assert count == max(1, min(there, max(16, -(-16_384 // n_ctx))))


OPTIMIZERS = st.sampled_from([
    {}, {"optimizer": "muon"}, {"optimizer": "sgd", "optimizer_settings": {"momentum": 0.9}},
    {"optimizer": "adamw", "optimizer_settings": {"weight_decay": 0.5}}, {"optimizer": "adafactor"},
])  # fmt: skip


@cases(6)
@given(
    options=OPTIMIZERS, mask=st.booleans(), spikes=st.sampled_from([None, 3.0]), ramp=st.booleans(),
    budget=st.sampled_from(["minutes", "dry run"]),
)  # fmt: skip
def test_what_is_timed_is_what_will_run(
    tmp_path_factory: pytest.TempPathFactory, text: list[Document], options: dict[str, Any], mask: bool, spikes: float | None,
    ramp: bool, budget: str,
) -> None:  # fmt: skip
    """The timed steps are the run's: its optimizer with its settings and groups, its masks, its guard."""
    timed: list[tuple[Plan, torch.optim.Optimizer]] = []
    take_step = throughput.take_step

    def watched(plan: Plan, model: Any, optimizer: torch.optim.Optimizer, *others: Any) -> Any:
        timed.append((plan, optimizer))
        return take_step(plan, model, optimizer, *others)

    given_options = {"mask_documents": mask, "skip_spikes": spikes, "batch_ramp": ramp, "config": CONFIG} | options
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throughput, "take_step", watched)
        patch.setattr(planner, "calibration_seconds", lambda minutes: 0.0)
        if budget == "dry run":
            plan, _ = dry_run(text[:2], seconds=0.0, steps=3, batch_tokens=128, **given_options)
        else:
            out = tmp_path_factory.mktemp("run") / "run"
            run = pellucid.train(
                text[:2], out, minutes=0.01, batch_tokens=128, record=False, stop=lambda: True, **given_options
            )
            plan = run.plan
    assert len(timed) >= 4
    real = make_optimizer(pellucid.GPT(plan.config), plan.recipe, plan.optimizer, plan.optimizer_settings)
    own = ("config", "dtype", "compiled", "micro_batch", "optimizer", "optimizer_settings", "mask_documents", "skip_spikes")
    for step_plan, optimizer in timed:
        assert [getattr(step_plan, name) for name in own] == [getattr(plan, name) for name in own]
        assert type(optimizer) is type(real)
        assert settings_of(optimizer) == settings_of(real)


def settings_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Of each group of parameters: its settings but for the learning rate, and the shapes that they are for."""
    return [
        {name: value for name, value in group.items() if name not in ("params", "lr")}
        | {"shapes": [p.shape for p in group["params"]]}
        for group in optimizer.param_groups
    ]
