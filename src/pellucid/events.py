"""What happens in a run, told to whoever listens.

Everything that trains, generates or fine-tunes takes `observers`: plain callables that receive events. The live display,
the metrics file and the recorder are observers; the engines know none of them. An event is a frozen dataclass of
plain numbers and text. Nothing is computed for an event that the work does not need anyway, save where it says so.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Progress:
    """A long preparation moved on: `stage` names it; done and total are in `unit` (total 0: not known)."""

    stage: str
    done: int
    total: int = 0
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file of a folder was not read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run is about to take its first step, or its first after a resume.

    Attributes:
        plan: what `run.json` holds: shape, recipe, seed and every choice made once.
        step, tokens: where it starts (0 for a new run).
    """

    plan: dict[str, Any]
    step: int
    tokens: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimizer step.

    Attributes:
        step: steps done, this one included. tokens: training tokens seen in all.
        loss: mean over this step's targets before the update, nats a token.
        lr: the learning rate used. grad_norm: global L2 norm before clipping.
        tokens_per_s: of this step alone (measured).
        epoch: how many times the data has been gone through (epochs), as a fraction.
        waiting: the share of the step's time in which it waited for its batch (measured).
        flops_per_s: operations of its matrix products, forward and backward, a second (measured time, counted operations).
        matmul_share: that over what this machine's matrix products reach by themselves (measured when the run began to go).
    """

    step: int
    tokens: int
    loss: float
    lr: float
    grad_norm: float
    tokens_per_s: float
    epoch: float
    waiting: float = 0.0
    flops_per_s: float = 0.0
    matmul_share: float = 0.0


@dataclass(frozen=True, slots=True)
class StepSkipped:
    """The step's update was left out, since it would do harm: how many standard deviations its loss and its gradient's norm
    lie above those of the steps before it, and how many are allowed.
    """

    step: int
    tokens: int
    loss_score: float
    grad_norm_score: float
    allowed: float


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The loss on held-out text: nats a token, and bits a byte of text (which does not depend on the tokenizer)."""

    step: int
    tokens: int
    held_out_loss: float
    bits_per_byte: float


@dataclass(frozen=True, slots=True)
class Sampled:
    """What the model writes at this step after a fixed prompt with a fixed seed; ids are the tokens of the text."""

    step: int
    tokens: int
    prompt: str
    text: str
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """A checkpoint is complete on disk."""

    step: int
    path: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run ended: `reason` is "done" (all tokens seen), "no longer learning" (held-out loss did not fall for as long as
    was asked for) or "interrupted" (it can be resumed).
    """

    step: int
    tokens: int
    reason: str


Event = Progress | Skipped | RunStarted | StepDone | StepSkipped | HeldOut | Sampled | CheckpointSaved | RunFinished
Observer = Callable[[Event], None]


def emit(observers: Iterable[Observer], event: Event) -> None:
    """Tells every observer, in order."""
    for observer in observers:
        observer(event)
