"""How much a run does, and how long that takes on this machine."""

import time

import numpy as np
import torch

from pellucid.errors import PellucidError
from pellucid.generate.model import GPT
from pellucid.gpt.config import GPTConfig
from pellucid.train.loop import Batches
from pellucid.train.recipe import Recipe
from pellucid.train.step import loss_and_gradients, make_optimizer, update


MICRO_BATCH_TOKENS = 4096  # enough rows to keep the matrix products busy, few enough to stay in cache
CALIBRATION_STEPS = 4
# Choice: the share of a time budget left for looks at held-out text, samples, checkpoints and a machine that is shared.
TIME_RESERVE = 0.12


def one_budget(**budget: float | None) -> None:
    """Refuses two answers to "how much?".

    Raises:
        PellucidError: more than one is given.
    """
    if sum(value is not None for value in budget.values()) > 1:
        raise PellucidError(f"give one of {', '.join(budget)}, not several")


def micro_batch_of(batch: int, tracks: int) -> int:
    """How many of a batch's rows of `tracks` tokens go through the model at once."""
    return max(1, min(batch, MICRO_BATCH_TOKENS // tracks))


def steps_in(
    minutes: float, config: GPTConfig, batches: Batches, micro_batch: int, dtype: torch.dtype, seed: int
) -> int:
    """A time budget as steps: decided once, by timing a few, and kept, so that a resumed run does the same."""
    return int(minutes * 60 * (1 - TIME_RESERVE) / seconds_per_step(config, batches, micro_batch, dtype, seed))


def seconds_per_step(
    config: GPTConfig, batches: Batches, micro_batch: int, dtype: torch.dtype, seed: int
) -> float:
    """The median time of a few steps of a throw-away model (measured)."""
    model = GPT(config, seed=seed).train()
    optimizer = make_optimizer(model, Recipe.scaled(1e-4, 1))
    times = []
    for step in range(CALIBRATION_STEPS + 2):
        began = time.perf_counter()
        ids, targets = batches.batch(step)
        loss_and_gradients(model, ids, targets, micro_batch=micro_batch, dtype=dtype)
        update(optimizer, model.parameters(), lr=1e-4, clip=1.0)
        times.append(time.perf_counter() - began)
    return float(np.median(times[2:]))  # the first steps also pay for memory and set-up
