"""Where a training run can be watched.

A step that nobody watches does what it did before there were watchers: each place to watch is one `if`. What training tells
as plain numbers are events (`events.py`); a watcher sees the model and its gradients themselves, in the few steps it asks for.
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from pellucid.events import Event
from pellucid.generation.model import GPT
from pellucid.training.checkpoint import State


class Watcher(Protocol):
    """Sees the model just before and just after the update of the steps that it asks for. It changes nothing."""

    def watches(self, step: int) -> bool:
        """Whether it wants to see the step that is taken when `step` steps are done."""

    def before(self, model: GPT, optimizer: torch.optim.Optimizer, state: State, ids: Tensor, targets: Tensor) -> None:
        """The weights before the update, their gradients (not clipped yet), and the (B, T) batch that gave them."""

    def after(self, model: GPT) -> None:
        """The weights after it."""


class Recorder(Watcher, Protocol):
    """A watcher that is an observer too, and writes what it saw and heard into `RUN/training.pellucid`."""

    def observe(self, event: Event) -> None:
        """Hears what the run tells."""


def moments(total: int) -> tuple[int, ...]:
    """Steps done when more than a line of metrics is kept: two for each doubling, 0, the last, and that of the example."""
    doublings = 2 * math.ceil(math.log2(max(total, 1))) + 1
    spaced = {round(2 ** (i / 2)) for i in range(doublings)}
    return tuple(sorted({0, total, example_moment(total)} | {step for step in spaced if step < total}))


def example_moment(total: int) -> int:
    """Steps done when the example is taken: an eighth of the run, past the warm-up and where much is still to be learned."""
    return min(max(1, total // 8), total - 1)
