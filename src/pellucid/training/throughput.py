"""The measured time of a training step on this machine, and the number of steps in a time budget."""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from pellucid.generation.model import GPT
from pellucid.runs.plan import EVALUATIONS, Plan
from pellucid.training.batches import Batches
from pellucid.training.checkpoint import State
from pellucid.training.execution import take_step
from pellucid.training.optimizers import make_optimizer


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


def measure_throughput(plan: Plan, batches: Batches, model: GPT, *, seconds: float) -> Throughput:
    """Times steps of a throw-away model for about `seconds`; on a CPU with all of PyTorch's threads and with one, in turn.

    The steps are those of the run (`execution.take_step`): its optimizer and settings, its masks, its guard against spikes.
    The faster number of threads wins: two threads on a core that another process wants are many times slower than one
    (docs/log.md). A step's time is the lower quartile of those measured, so that a short disturbance does not become the plan.

    Args:
        plan: of the run, whose number of steps, schedule and threads do not matter here. batches: of full batches.
        model: made like the run's; it is changed.
    """
    device = torch.device(plan.device)
    available = torch.get_num_threads()
    model.to(device)
    optimizer = make_optimizer(model, plan.recipe, plan.optimizer, plan.optimizer_settings)
    choices = {available, 1} if device.type == "cpu" else {available}
    times: dict[int, list[float]] = {threads: [] for threads in choices}
    began = time.perf_counter()
    state = State(step=0, tokens=0)
    try:
        while min(map(len, times.values())) < MIN_TIMED_STEPS or time.perf_counter() - began < seconds:
            for threads, measured in times.items():
                torch.set_num_threads(threads)
                for warm_up in (True, False):  # the first step on other threads also pays for waking them
                    start = time.perf_counter()
                    take_step(plan, model, optimizer, batches, state)  # reads the gradient norm: waits for the device
                    state = replace(state, step=state.step + 1)
                    if not warm_up:
                        measured.append(time.perf_counter() - start)
        quartiles = {threads: float(np.quantile(measured, 0.25)) for threads, measured in times.items()}
        best = min(quartiles, key=lambda threads: quartiles[threads])
        torch.set_num_threads(best)
        start = time.perf_counter()
        batches.held_out(model.eval(), getattr(torch, plan.dtype))
        return Throughput(quartiles[best], time.perf_counter() - start, best)
    finally:
        torch.set_num_threads(available)


def calibration_seconds(minutes: float) -> float:
    """How long to measure before a run of `minutes`: 4 % of it, ten seconds at most."""
    return min(10.0, 0.04 * 60 * minutes)
