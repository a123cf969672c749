"""How much a run does, and how long that takes on this machine."""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.gpt.config import GPTConfig
from pellucid.runs.plan import LOOKS
from pellucid.runs.recipe import Recipe
from pellucid.training.loop import Batches
from pellucid.training.optimizers import make_optimizer
from pellucid.training.step import loss_and_gradients, update


CALIBRATION_STEPS = 2  # at least, on each number of threads
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


@dataclass(frozen=True, slots=True)
class Pace:
    """What a run costs on this machine (measured): seconds a step, seconds a look at held-out text, on so many threads."""

    step: float
    look: float
    threads: int

    def plan(self, minutes: float) -> tuple[int, int]:
        """A time budget as (steps, looks): decided once and kept, so that a resumed run does the same.

        Looks take a quarter of the time at most: on a slow machine there are fewer.
        """
        seconds = minutes * 60 * (1 - TIME_RESERVE)
        looks = max(1, min(LOOKS, int(seconds / 4 / self.look)))
        return int((seconds - looks * self.look) / self.step), looks


def measure_pace(
    config: GPTConfig, batches: Batches, micro_batch: int, dtype: torch.dtype, compiled: bool, seed: int,
    *, seconds: float
) -> Pace:
    """Times a throw-away model for about `seconds`, with all of PyTorch's threads and with one, in turn; the faster wins.

    Two threads on a core that another process wants are many times slower than one (docs/log.md). A step's time is the
    lower quartile of those seen, so that a short disturbance does not become the plan.
    """
    available = torch.get_num_threads()
    model = GPT(config, seed=seed).train()
    optimizer = make_optimizer(model, Recipe.scaled(1e-4, 1))
    times: dict[int, list[float]] = {threads: [] for threads in {available, 1}}
    began = time.perf_counter()
    step = 0
    try:
        while len(times[1]) < CALIBRATION_STEPS or time.perf_counter() - began < seconds:
            for threads, seen in times.items():
                torch.set_num_threads(threads)
                for unmeasured in (True, False):  # the first step on other threads also pays for waking them
                    start = time.perf_counter()
                    ids, targets = batches.batch(step)
                    loss_and_gradients(model, ids, targets, micro_batch=micro_batch, dtype=dtype, compiled=compiled)
                    update(optimizer, model.parameters(), lr=1e-4, clip=1.0)
                    step += 1
                    if not unmeasured:
                        seen.append(time.perf_counter() - start)
        quartiles = {threads: float(np.quantile(seen, 0.25)) for threads, seen in times.items()}
        best = min(quartiles, key=lambda threads: quartiles[threads])
        torch.set_num_threads(best)
        start = time.perf_counter()
        batches.held_out(model.eval(), dtype)
        return Pace(quartiles[best], time.perf_counter() - start, best)
    finally:
        torch.set_num_threads(available)


def calibration_seconds(minutes: float) -> float:
    """How long to time before a run of `minutes`: 4 % of it, ten seconds at most."""
    return min(10.0, 0.04 * 60 * minutes)
