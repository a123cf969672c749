"""How much a run does, and how long that takes on this machine."""

import math
import time

import numpy as np
import torch

from pellucid.errors import PellucidError
from pellucid.generate.model import GPT
from pellucid.gpt.config import GPTConfig
from pellucid.train.loop import Batches
from pellucid.train.plan import LOOKS
from pellucid.train.recipe import Recipe
from pellucid.train.step import loss_and_gradients, make_optimizer, update


CALIBRATION_STEPS = 4
# Choice: the share of a time budget left for samples, checkpoints and a machine that is shared.
TIME_RESERVE = 0.12


def one_budget(**budget: float | None) -> None:
    """Refuses two answers to "how much?".

    Raises:
        PellucidError: more than one is given.
    """
    if sum(value is not None for value in budget.values()) > 1:
        raise PellucidError(f"give one of {', '.join(budget)}, not several")


def check_positive(**values: float | None) -> None:
    """Refuses numbers that are given and are not above zero.

    Raises:
        PellucidError: the first such number, by name.
    """
    for name, value in values.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise PellucidError(f"{name} must be a number above 0, not {value}")


def steps_in(
    minutes: float, config: GPTConfig, batches: Batches, micro_batch: int, dtype: torch.dtype, seed: int
) -> int:
    """A time budget as steps: decided once, by timing a few, and kept, so that a resumed run does the same."""
    step, look = seconds_per_step_and_look(config, batches, micro_batch, dtype, seed)
    return int((minutes * 60 * (1 - TIME_RESERVE) - (LOOKS + 1) * look) / step)


def seconds_per_step_and_look(
    config: GPTConfig, batches: Batches, micro_batch: int, dtype: torch.dtype, seed: int
) -> tuple[float, float]:
    """The median time of a few steps of a throw-away model, and of one look at held-out text (measured)."""
    model = GPT(config, seed=seed).train()
    optimizer = make_optimizer(model, Recipe.scaled(1e-4, 1))
    times = []
    for step in range(CALIBRATION_STEPS + 2):
        began = time.perf_counter()
        ids, targets = batches.batch(step)
        loss_and_gradients(model, ids, targets, micro_batch=micro_batch, dtype=dtype)
        update(optimizer, model.parameters(), lr=1e-4, clip=1.0)
        times.append(time.perf_counter() - began)
    began = time.perf_counter()
    batches.held_out(model.eval(), dtype)
    look = time.perf_counter() - began
    return float(np.median(times[2:])), look  # the first steps also pay for memory and set-up
