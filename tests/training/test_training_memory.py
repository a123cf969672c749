"""What a training step takes: the formula beside a process's peak, what optimizers remember, and refusals that say it all."""

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import TIMES

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.memory import step_memory
from pellucid.gpt.presets import PRESETS
from pellucid.native.operators.library import unavailable_reason
from pellucid.runs.recipe import Recipe
from pellucid.training import memory_limit
from pellucid.training.memory_limit import refuse_too_large
from pellucid.training.optimizers import make_optimizer, names, optimizer_bytes, state_of


# Holes in the heap and the library's own scratch memory differ by version; what counts is no surprise of another size.
TOLERANCE = 0.15
PRECISIONS = ["float32", *(["bfloat16", "bfloat16, compiled"] if TIMES > 1 else [])]  # PELLUCID_TEST_CASES=2: all


def measured(precision: str, **options: int) -> Any:
    """Bytes by which a process grows that trains `cpu-2m` in this precision (`benchmarks/training_memory.py`)."""
    if not sys.platform.startswith("linux"):
        pytest.skip("a process's peak is read from /proc")
    if precision.endswith("compiled") and (reason := unavailable_reason()):
        pytest.skip(reason)
    file = Path(__file__).parents[2] / "benchmarks" / "training_memory.py"
    return runpy.run_path(str(file))["measured"](GPTConfig.preset("cpu-2m"), precision=precision, **options)


@pytest.mark.long
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_formula_is_what_a_process_takes_and_grows_as_it_does(precision: str) -> None:
    took = [measured(precision, micro_batch=windows, count=2) for windows in (4, 16)]
    says = [step_memory(GPTConfig.preset("cpu-2m"), windows, precision).peak for windows in (4, 16)]
    assert says == pytest.approx(took, rel=TOLERANCE)
    assert says[1] - says[0] == pytest.approx(took[1] - took[0], rel=TOLERANCE)


@pytest.mark.long
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_formula_is_what_a_process_takes_whose_steps_have_several_micro_batches(precision: str) -> None:
    took = measured(precision, micro_batch=4, micro_batches=3, count=3)
    says = step_memory(GPTConfig.preset("cpu-2m"), 4, precision, accumulates=True).peak
    assert says == pytest.approx(took, rel=TOLERANCE)


@pytest.mark.parametrize("name", names())
def test_what_an_optimizer_remembers_is_known_before_there_is_a_model(name: str) -> None:
    config = GPTConfig(vocab_size=30, n_ctx=12, n_layers=2, d_model=16, n_heads=2, pattern=("dense", "compressed(3,3)"))
    model = Decoder(config)
    optimizer = make_optimizer(model, Recipe.scaled(1e-3, 1), name)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept = sum(tensor.nbytes for key, tensor in state_of(model, optimizer) if not key.endswith(".number"))
    assert optimizer_bytes(config, name) == kept


def test_settings_change_the_optimizer_state() -> None:
    config = GPTConfig.preset("tiny")
    assert optimizer_bytes(config, "sgd") == 0
    assert optimizer_bytes(config, "sgd", {"momentum": 0.9}) == 4 * config.parameters()


def test_a_shape_is_refused_by_what_its_own_optimizer_and_batch_take(monkeypatch: pytest.MonkeyPatch) -> None:
    config, batch = GPTConfig.preset("cpu-30m"), PRESETS["cpu-30m"].batch_tokens
    plain, full = (
        step_memory(config, 8, "float32", accumulates=True, optimizer_state=optimizer_bytes(config, name)).peak
        for name in ("sgd", "adamw")
    )
    assert plain + 8 * config.parameters() == pytest.approx(full, rel=1e-3)
    monkeypatch.setattr(memory_limit, "memory_bytes", lambda device: (plain + full) // 2)
    refuse_too_large(config, batch, torch.float32, "sgd")
    with pytest.raises(PellucidError, match="gradients and adamw") as refused:
        refuse_too_large(config, batch, torch.float32)
    missing = re.search(r"so ([\d.]+) GB are missing: a batch of ([\d,]+) tokens would fit", str(refused.value))
    assert missing and float(missing[1]) == pytest.approx((full - plain) / 2e9, abs=0.05)
    refuse_too_large(config, int(missing[2].replace(",", "")), torch.float32)  # what is said to fit does


def test_a_shape_that_fits_with_no_batch_is_refused_with_the_largest_preset_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    config = GPTConfig.preset("gpt3-13b")
    monkeypatch.setattr(memory_limit, "memory_bytes", lambda device: 2_000_000_000)
    with pytest.raises(PellucidError, match=r"205\.7 for weights, .* GB are missing") as refused:
        refuse_too_large(config, 2_000_000, torch.float32)
    name = re.search(r"missing: (\S+) \(", str(refused.value))
    assert name
    refuse_too_large(GPTConfig.preset(name[1]), PRESETS[name[1]].batch_tokens, torch.float32)
    monkeypatch.setattr(memory_limit, "memory_bytes", lambda device: 1_000_000)
    with pytest.raises(PellucidError, match="a shape of your own"):
        refuse_too_large(config, 2_000_000, torch.float32)
