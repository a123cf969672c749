"""One dial: a number of parameters becomes a shape and a recipe, and a dry run says what they take."""

import json
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid.cli import main
from pellucid.corpus import Document
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.memory import activation_bytes, precision_of
from pellucid.gpt.presets import PRESETS
from pellucid.gpt.published import PUBLISHED
from pellucid.gpt.scaling import MAX_PARAMETERS, MIN_PARAMETERS, shape_for
from pellucid.planning.preview import Preview
from pellucid.training.run import dry_run
from pellucid.training.throughput import Throughput


@pytest.mark.parametrize("name", list(PUBLISHED))
@pytest.mark.parametrize("off", [0.985, 1.0, 1.015])
def test_the_paper_s_sizes_are_the_paper_s_shapes(name: str, off: float) -> None:
    derived = shape_for(PUBLISHED[name].parameters * off) if name != "gpt3-760m" else shape_for(760e6 * off)
    assert derived.config == GPTConfig.preset(name)
    assert (derived.learning_rate, derived.batch_tokens) == (PRESETS[name].learning_rate, PRESETS[name].batch_tokens)


@cases(60)
@given(st.floats(math.log(MIN_PARAMETERS), math.log(MAX_PARAMETERS)).map(math.exp))
def test_any_number_gives_a_shape_near_it(parameters: float) -> None:
    derived = shape_for(max(MIN_PARAMETERS, min(MAX_PARAMETERS, parameters)))
    config = derived.config
    off = 1.3 if parameters < 1e6 else 1.2 if parameters < 1e7 else 1.08  # of few parameters a head of 64 more is many
    assert 1 / off < config.parameters() / parameters < off
    assert config.d_head in (64, 80, 96, 128)
    assert derived.batch_tokens >= config.n_ctx
    assert 256 < config.vocab_size <= 50257
    assert 32 <= config.n_ctx <= 2048
    assert set(derived.reasons) == {
        "n_layers", "d_model", "n_heads", "n_ctx", "vocab_size", "learning_rate", "batch_tokens",
    }  # fmt: skip


def test_more_parameters_never_mean_a_higher_rate_or_a_smaller_vocabulary_context_or_batch() -> None:
    sizes = [shape_for(MIN_PARAMETERS * 1.3**i) for i in range(54)]
    for less, more in pairwise(sizes):
        assert more.learning_rate <= less.learning_rate * (1 + 1e-9)
        assert more.config.vocab_size >= less.config.vocab_size
        assert more.config.n_ctx >= less.config.n_ctx
        assert more.config.parameters() >= less.config.parameters()
        assert more.batch_tokens >= 0.8 * less.batch_tokens  # whole windows, which grow


def test_what_lies_outside_is_refused() -> None:
    for parameters in (0, -5, 99_999, 1e12):
        with pytest.raises(PellucidError, match="parameters go from 100,000"):
            shape_for(parameters)


def test_a_dry_run_says_what_the_run_would_be(
    documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pellucid.training.planner.measure_throughput", lambda *_, **__: Throughput(0.5, 0.25, threads=1))
    plan, throughput = dry_run(documents, parameters=100_000, steps=3, batch_ramp=True, patience=2)
    done = pellucid.train(documents, tmp_path / "run", parameters=100_000, steps=3, batch_ramp=True, patience=2)
    assert done.plan == plan
    preview = Preview(plan=plan, throughput=throughput, scaled_shape=shape_for(100_000))
    assert preview.seconds == 3 * 0.5 + 4 * 0.25
    assert len([line for line in done.metrics() if "held_out_loss" in line]) == 4
    assert "growing from" in dict((what, much) for what, much, _ in preview.rows())["batch"]
    assert preview.reasons()["vocab_size"] == "the tokenizer's, of 512 that would suit"  # the stories are too short for more
    assert "batch_tokens" in preview.reasons()
    given, _ = dry_run(documents, parameters=100_000, steps=3, batch_tokens=640, learning_rate=1e-3)
    other = Preview(plan=given, throughput=throughput, scaled_shape=shape_for(100_000))
    assert not {"batch_tokens", "learning_rate"} & set(other.reasons())
    assert preview.memory.persistent == pytest.approx(16 * plan.config.parameters(), rel=1e-3)  # and the number of Adam's steps
    assert preview.memory.activations == activation_bytes(
        plan.config, plan.micro_batch, precision_of(plan.dtype, compiled=plan.compiled),
        accumulates=plan.batch > plan.micro_batch,
    )


def test_a_dry_run_keeps_nothing_and_is_one_object(
    stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pellucid.training.planner.measure_throughput", lambda *_, **__: Throughput(0.5, 0.25, threads=1))
    asked = ["train", str(stories), "--parameters", "0.3M", "--tokens", "5000", "--dry-run"]
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dry_run"] is True
    assert found["tokens"] >= 5000 > found["tokens"] - found["batch_tokens"]
    assert found["seconds"] > found["steps"] * 0.5
    assert found["memory"]["state"] == pytest.approx(16 * found["parameters"], rel=1e-3)
    assert found["end_loss"] is None  # so few tokens
    assert not any(tmp_path.iterdir())
    asked[asked.index("5000")] = "50000"
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert re.search(r"end loss +~\d\.\d\d +bits/byte held out", shown)
    for words in ("learning rate", "on the line through Table 2.1's first and last size", "measured: 0.5 s a step"):
        assert words in shown
    assert main(["train", str(stories)]) == 2
    assert main(["train", "--resume", "--dry-run", "--out", "x"]) == 2


def test_a_run_of_so_many_parameters_says_what_follows(
    stories: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["train", str(stories), "--parameters", "100k", "--steps", "1", "--no-record", "--prompt", ""]
    assert main([*asked, "--out", str(tmp_path / "run"), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["finished"] is True
    assert "n_layers 1: about one a head, as GPT-3 Small has (a choice)" in said.err
    with pytest.raises(PellucidError, match="one of preset, config, parameters"):
        pellucid.train(stories, tmp_path / "other", parameters=100_000, preset="tiny")
