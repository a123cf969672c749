"""Protocols of watchers, which read the model and its gradients at some steps of a run; and which steps are recorded.

Events (`events.py`) carry plain numbers of every step. A watcher is called with the model itself, before and after the update
of the few steps that it selects; an unwatched step pays one `if`. The caller of `train` passes the recorder in: nothing here
imports one.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from pellucid.events import Event
from pellucid.generation.model import GPT
from pellucid.runs.plan import Plan
from pellucid.training.batches import WindowBatches
from pellucid.training.checkpoint import State


class Watcher(Protocol):
    """Called just before and just after the update of the steps that it selects. It changes nothing."""

    def watches(self, step: int) -> bool:
        """Whether to watch the step that is taken after `step` completed steps."""

    def before(self, model: GPT, optimizer: torch.optim.Optimizer, state: State, ids: Tensor, targets: Tensor) -> None:
        """Called with the weights before the update, their unclipped gradients, and the (B, T) batch that gave them."""

    def after(self, model: GPT) -> None:
        """Called with the weights after the update."""


class Recorder(Watcher, Protocol):
    """A watcher that also receives the run's events and writes both into `RUN/training.pellucid`."""

    def observe(self, event: Event) -> None:
        """Receives an event of the run."""


# Makes the recorder of a run from its directory, its plan, the model that is trained and the batches it is trained on.
MakeRecorder = Callable[[Path, Plan, GPT, WindowBatches], Recorder]


def recorded_steps(total: int) -> tuple[int, ...]:
    """The numbers of completed steps at which a recorder keeps statistics of the weights: two for each doubling, 0, the last,
    and the number before the example's step.
    """
    doublings = 2 * math.ceil(math.log2(max(total, 1))) + 1
    spaced = {round(2 ** (i / 2)) for i in range(doublings)}
    return tuple(sorted({0, total, steps_before_example(total)} | {step for step in spaced if step < total}))


def steps_before_example(total: int) -> int:
    """The number of completed steps before the example's step: an eighth of the run, past warm-up, while the loss falls."""
    return min(max(1, total // 8), total - 1)
