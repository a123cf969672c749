"""The events of a run, and the observers that receive them.

Everything that trains, generates or fine-tunes takes `observers`: plain callables that receive events. The live display, the
metrics file and the recorder are observers; what emits the events knows none of them. An event is a frozen dataclass of plain
numbers and text. Nothing is computed for an event that the work does not need anyway, except where it says so.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal


EndReason = Literal["done", "no longer learning", "out of time", "interrupted"]
StopReason = Literal["out of time"]  # of a `stop` that says more than that the run is to stop


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a long preparation.

    Attributes:
        stage: what is being prepared. done, total: in `unit`; total 0: not known.
    """

    stage: str
    done: int
    total: int = 0
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or a subfolder, or lines of a file, that were not read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What the user should know of the data before the run: how it was read, or what is wrong with it."""

    text: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run is about to take its first step, or its first after a resume.

    Attributes:
        plan: what `run.json` holds: shape, recipe, seed and every choice made once.
        step, tokens: done before it starts (0 for a new run).
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
        flops_per_s: operations of its matrix products a second, forward and backward (measured time, counted operations).
        matmul_share: `flops_per_s` over what matrix products alone reach on this device (measured when the run started).
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
    """A step whose update was skipped because its loss or gradient norm was a spike.

    Attributes:
        loss_score, grad_norm_score: how many standard deviations they lie above those of the steps before it.
        allowed: the largest score that is not a spike.
    """

    step: int
    tokens: int
    loss_score: float
    grad_norm_score: float
    allowed: float


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The loss on held-out text: nats a token, and bits a byte of text (which does not depend on the tokenizer).

    Attributes:
        right, examples: how many held-out examples the model answers exactly, of how many; None for text.
    """

    step: int
    tokens: int
    held_out_loss: float
    bits_per_byte: float
    right: int | None = None
    examples: int | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """Text that the model generates at this step after a fixed prompt with a fixed seed.

    Attributes:
        ids: the tokens of `text`.
    """

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
    """The run ended.

    Attributes:
        reason: "done" (all steps taken), "no longer learning" (held-out loss did not fall for as long as `patience` allows),
            or, of a run that can be resumed, "out of time" or "interrupted".
    """

    step: int
    tokens: int
    reason: EndReason


Event = (
    Progress | Skipped | Notice | RunStarted | StepDone | StepSkipped | HeldOut | Sampled | CheckpointSaved | RunFinished
)
Observer = Callable[[Event], None]


def emit(observers: Iterable[Observer], event: Event) -> None:
    """Sends an event to every observer, in order."""
    for observer in observers:
        observer(event)
