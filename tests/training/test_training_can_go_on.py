"""Any options of `train` and `finetune`: refused in a line before there is a folder, or a run that can be resumed and opened.

Values are generated from the tables of options, so an option that is added is tried as well.
"""

import itertools
import random
import shutil
from collections.abc import Callable, Mapping
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
from pellucid import Example, events
from pellucid.corpus import Document
from pellucid.errors import PellucidError
from pellucid.gpt.arrangements import alternating
from pellucid.gpt.config import GPTConfig
from pellucid.runs.plan import MAX_BYTES, read_shown_plan
from pellucid.serve.studio.sources import SourceCatalog
from pellucid.text import Tokenizer, train_tokenizer
from pellucid.training.optimizers import names
from pellucid.training.option_table import RunOption, table
from pellucid.training.options import FinetuningOptions, TrainingOptions


STORY = Document("story", story(100, 1))
TEXTS = ("ab", "the fox ran " * 30, "<|endoftext|>" * 40, "\0" * 300)
HELD_OUT = ("a", "ab", " ", "", "<|endoftext|>", "the fox ran over a hill", "\ud800")
LARGE = (2**40, 2**40 + 1, 10**13, 2**53, 2**63, 10**30, 10**400)
BY_NAME: dict[str, list[Any]] = {
    "prompt": ["", " ", "the fox", "\ud800", "a\udcff", "x" * 100_001, "\0", "<|endoftext|>", "é\U0001f600", "the fox " * 9],
    "device": ["cpu", "cpu:0", "auto", "cuda", "mps", "meta", "", "x" * 200],
    "tokenizer": ["train", "/nowhere", ""],
    "mesh": ["dp=1", "dp=2", "tp=2,pp=2", "x=1", ""],
    "preset": ["huge", "gpt3-175b", ""],
    "parameters": [1, 500, *LARGE],
    "held_out": [*(Document("h", text) for text in HELD_OUT), [], "/nowhere"],
    "optimizer": [*names(), "ADAMW", "x", ""],
    "lora_targets": ["q", "q,v", ["c_fc", "mlp.c_proj"], "attn", "", []],
    "optimizer_settings": [
        {}, {"momentum": 0.9}, {"lr": 1.0}, {"lr": "x"}, {"params": []}, {"betas": (0.9, 0.99)}, {"betas": 0.9}, {"eps": 0.0},
        {"eps": float("nan")}, {"weight_decay": 1e300}, {"weight_decay": torch.tensor(0.1)}, {"weight_decay": np.float32(0.1)},
        {"weight_decay": 10**400}, {"maximize": True}, {"fused": True, "foreach": True}, {"nesterov": True, "momentum": 0.5},
        {"amsgrad": True}, {"lambd": str}, {1: 2}, {"ns_steps": 200}, {"adjust_lr_fn": None},
    ],
}  # fmt: skip
BY_KIND: dict[Any, list[Any]] = {
    int: [1, 2, 3, np.int64(2), 16, *LARGE],
    float: [1, 0.5, 1e-300, 5e-324, 3.0, 1e9, 1.1e9, 1e38, 1e300, np.float32(0.5), np.float64(2), float("inf")],
    bool: [True, False],
}
SEEDS = (None, 0, -1, 5, -(2**63), 2**63 - 1, 2**63, np.int64(4), 10**400)


def value_of(name: str, known: RunOption, draw: random.Random) -> Any:
    return draw.choice(BY_NAME.get(name) or list(known.choices) or BY_KIND[known.kind])


def options_of(options: type, draw: random.Random, budget: dict[str, Any]) -> dict[str, Any]:
    """Up to three options with values of any size; at most one budget."""
    known = {name: each for name, each in table(options) if each.kind is not None and each.group != "shape"}
    chosen = draw.sample(sorted(known), draw.choice([0, 1, 1, 2, 2, 3]))
    found = {name: value_of(name, known[name], draw) for name in chosen}
    if "optimizer_settings" in found:
        found.setdefault("optimizer", draw.choice(names()))
    if "lora_alpha" in found or "lora_targets" in found:
        found.setdefault("lora_rank", draw.choice([1, 2, 8]))
    budgets = [name for name in found if known[name].group == "budget"]
    for name in budgets[1:]:
        del found[name]
    return found if budgets else found | budget


def shape(draw: random.Random) -> dict[str, Any]:
    layers = draw.choice([1, 2])
    config = GPTConfig(
        vocab_size=draw.choice([257, 258, 280, 300]), n_ctx=draw.choice([1, 2, 3, 8, 16]), n_layers=layers, d_model=4,
        n_heads=2, pattern=draw.choice([alternating(layers, band=2), ("dense",) * layers]), dropout=draw.choice([0.0, 0.1]),
    )  # fmt: skip
    kind = draw.choice(["config"] * 8 + ["preset", "parameters"])
    return {"config": config} if kind == "config" else {kind: draw.choice(BY_NAME[kind])}


def after(steps: int) -> Callable[[], bool]:
    """A `stop` that asks for one after so many steps."""
    count = itertools.count(1)
    return lambda: next(count) >= steps


def look(run: Path) -> None:
    """Everything that opens a run."""
    opened = pellucid.open_run(run)
    assert len(opened.losses().steps) == opened.step
    opened.held_out()
    assert read_shown_plan(run)["total_steps"] == opened.plan.total_steps
    listed = SourceCatalog([run]).listing()
    assert not [source for source in (*listed["runs"], *listed["records"]) if "problem" in source]
    assert opened.model().generate(None, max_tokens=1, seed=1).ids
    if opened.record is not None:
        with pellucid.open(opened.record) as record:
            assert record.provenance.step <= opened.step


def refused_or_goes_on(folder: Path, start: Callable[..., pellucid.Run], resume: Callable[..., pellucid.Run]) -> None:
    run = folder / "deep" / "run"
    try:
        made = start(run)
    except PellucidError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        if "no longer" in str(error):  # the loss, which nobody can know before
            pellucid.open_run(run)
        else:
            assert not list(folder.iterdir()), error
        return
    look(run)
    assert (run / "run.json").stat().st_size < MAX_BYTES
    if not made.finished:
        made = resume(run)
        look(run)
    assert made.finished or made.plan.total_steps > 4
    shutil.rmtree(folder)


@given(st.randoms(use_true_random=False))
@pytest.mark.long
@cases(15)
def test_training(tmp_path_factory: pytest.TempPathFactory, draw: random.Random) -> None:
    options = shape(draw) | options_of(TrainingOptions, draw, {"steps": draw.choice([1, 2, 3])})
    text = [STORY, Document("odd", draw.choice(TEXTS))][draw.choice([0, 0, 0, 1]):]  # fmt: skip
    seed, record, stop = draw.choice(SEEDS), draw.choice([True, False]), after(draw.choice([1, 1, 2]))
    refused_or_goes_on(
        tmp_path_factory.mktemp("train"),
        lambda run: pellucid.train(text, run, seed=seed, record=record, stop=stop, **options),
        lambda run: pellucid.train(text, run, seed=seed, record=record, stop=after(3), resume=True, **options),
    )


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([STORY.text], 270)


@given(st.randoms(use_true_random=False))
@cases(8)
def test_finetuning(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory, draw: random.Random) -> None:
    config = GPTConfig(vocab_size=tokenizer.vocab_size, n_ctx=draw.choice([1, 4, 16]), n_layers=1, d_model=4, n_heads=2)
    model = pellucid.GPT(config, tokenizer=tokenizer, seed=1)
    options = options_of(FinetuningOptions, draw, {"steps": draw.choice([1, 2, 3])})
    words = ["a", "b", "", "the fox", "é", "<|endoftext|>", "x" * draw.choice([5, 30])]
    examples = [Example(draw.choice(words), draw.choice([*words[:2], "fox"])) for _ in range(draw.choice([1, 3, 9]))]
    folder = tmp_path_factory.mktemp("finetune")
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_text(draw.choice([STORY.text, *TEXTS]), encoding="utf-8")
    given_data: Any = draw.choice([examples, examples, text])
    seed, record, stop = draw.choice(SEEDS), draw.choice([True, False]), after(draw.choice([1, 1, 2]))
    more: Mapping[str, Any] = {"model": model, "seed": seed, "record": record, **options}
    refused_or_goes_on(
        folder,
        lambda run: pellucid.finetune(given_data, run, stop=stop, **more),
        lambda run: pellucid.finetune(given_data, run, stop=after(3), resume=True, **more),
    )


def test_a_run_that_the_disk_has_no_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checkpoints are counted before its folder is made."""
    config = GPTConfig(vocab_size=258, n_ctx=8, n_layers=1, d_model=64, n_heads=1)
    real = shutil.disk_usage
    seen: list[events.Event] = []
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=2_000_000))
        with pytest.raises(PellucidError, match=r"takes 4\.6 MB on its disk, 5 checkpoints .* has 2\.0 MB left: make room"):
            pellucid.train(STORY, tmp_path / "run", config=config, steps=32, keep=3, observers=[seen.append])
        assert not list(tmp_path.iterdir())
        assert pellucid.train(STORY, tmp_path / "run", config=config, steps=1, keep=1).finished
