"""The measured time of a training step on this machine, and the number of steps in a time budget."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from pellucid.generation.model import GPT
from pellucid.gpt.config import GPTConfig
from pellucid.runs.plan import EVALUATIONS
from pellucid.runs.recipe import Recipe
from pellucid.training.batches import Batches
from pellucid.training.optimizers import make_optimizer
from pellucid.training.placement import has_operators
from pellucid.training.step import loss_and_gradients, update


MIN_TIMED_STEPS = 2  # on each number of threads
# Choice: the share of a time budget left for samples, checkpoints and a machine that is shared.
TIME_RESERVE = 0.12


@dataclass(frozen=True, slots=True)
class Throughput:
    """Measured seconds of a step and of a held-out evaluation, with a number of CPU threads."""

    step_seconds: float
    evaluation_seconds: float
    threads: int

    def steps_in(self, minutes: float) -> tuple[int, int]:
        """A time budget as (steps, held-out evaluations): decided once and kept, so that a resumed run does the same.

        Evaluations take a quarter of the time at most: on a slow machine there are fewer.
        """
        seconds = minutes * 60 * (1 - TIME_RESERVE)
        evaluations = max(1, min(EVALUATIONS, int(seconds / 4 / self.evaluation_seconds)))
        return int((seconds - evaluations * self.evaluation_seconds) / self.step_seconds), evaluations


def measure_throughput(
    config: GPTConfig,
    batches: Batches,
    *,
    micro_batch: int,
    dtype: torch.dtype,
    seed: int,
    seconds: float,
    device: torch.device | None = None,
) -> Throughput:
    """Times steps of a throw-away model for about `seconds`; on a CPU with all of PyTorch's threads and with one, in turn.

    The faster number of threads wins: two threads on a core that another process wants are many times slower than one
    (docs/log.md). A step's time is the lower quartile of those measured, so that a short disturbance does not become the plan.

    Args:
        batches: of full batches. device: where. None: the CPU.
    """
    device = device or torch.device("cpu")
    available = torch.get_num_threads()
    model = GPT(config, seed=seed).to(device).train()
    optimizer = make_optimizer(model, Recipe.scaled(1e-4, 1))
    compiled = has_operators(dtype, device)
    choices = {available, 1} if device.type == "cpu" else {available}
    times: dict[int, list[float]] = {threads: [] for threads in choices}
    began = time.perf_counter()
    step = 0
    try:
        while min(map(len, times.values())) < MIN_TIMED_STEPS or time.perf_counter() - began < seconds:
            for threads, measured in times.items():
                torch.set_num_threads(threads)
                for warm_up in (True, False):  # the first step on other threads also pays for waking them
                    start = time.perf_counter()
                    ids, targets = batches.batch(step)
                    loss_and_gradients(model, ids, targets, micro_batch=micro_batch, dtype=dtype, compiled=compiled)
                    update(optimizer, model.parameters(), lr=1e-4, clip=1.0)  # reads the gradient norm: waits for the device
                    step += 1
                    if not warm_up:
                        measured.append(time.perf_counter() - start)
        quartiles = {threads: float(np.quantile(measured, 0.25)) for threads, measured in times.items()}
        best = min(quartiles, key=lambda threads: quartiles[threads])
        torch.set_num_threads(best)
        start = time.perf_counter()
        batches.held_out(model.eval(), dtype)
        return Throughput(quartiles[best], time.perf_counter() - start, best)
    finally:
        torch.set_num_threads(available)


def calibration_seconds(minutes: float) -> float:
    """How long to measure before a run of `minutes`: 4 % of it, ten seconds at most."""
    return min(10.0, 0.04 * 60 * minutes)
