"""What the figure `pretraining` shows of a training record: snapshots of the run with their losses and samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

from pellucid.draw.views.model_info import RecordedModel, optional_chunk, read_model
from pellucid.draw.views.training import LossPoint, TrainingHistory, read_training
from pellucid.record import Record


MAX_SNAPSHOTS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSample:
    """A text that the model wrote at a snapshot (`training/samples`, derived): its place there, the prompt, what followed."""

    place: int
    prompt: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSnapshot:
    """A snapshot of a run.

    Attributes:
        step: steps done. loss: of the model then. sample: what it wrote then; None where none was kept.
        tokens: training tokens seen. speed: tokens a second of the step before (`training/steps/tokens_per_s`, measured);
            None before the first step, and where the record holds no speeds.
    """

    step: int
    loss: LossPoint
    sample: TextSample | None
    tokens: int
    speed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingView:
    """The figure's values.

    Attributes:
        snapshots: in order, those with a sample if there are any, at most `MAX_SNAPSHOTS`. loss_kind: which loss is theirs, in
            English words. has_speeds: whether the record holds the speed of each step.
    """

    model: RecordedModel
    history: TrainingHistory
    snapshots: tuple[RunSnapshot, ...]
    loss_kind: str
    has_speeds: bool


def pretraining_view(record: Record) -> PretrainingView:
    """Reads a training record. Raises MissingChunk where it holds no losses by step, or no snapshots."""
    history = read_training(record)
    samples = optional_chunk(record, "training/samples", [])
    known = {
        sample["step"]: TextSample(place=i, prompt=sample["prompt"], text=sample["text"])
        for i, sample in enumerate(samples) if sample["step"] <= history.steps
    }  # fmt: skip
    steps = sorted(known) or [step for step in record["training/moments/steps"].tolist() if step <= history.steps]
    picked = evenly_picked(steps, MAX_SNAPSHOTS)
    losses, loss_kind = history.losses_after(picked)
    speeds = record["training/steps/tokens_per_s"].tolist() if "training/steps/tokens_per_s" in record else None
    return PretrainingView(
        model=read_model(record),
        history=history,
        snapshots=tuple(
            RunSnapshot(
                step=step, loss=loss, sample=known.get(step), tokens=history.tokens_after(step),
                speed=speeds[step - 1] if speeds and step else None,
            )
            for step, loss in zip(picked, losses, strict=True)
        ),
        loss_kind=loss_kind,
        has_speeds=speeds is not None,
    )  # fmt: skip


def evenly_picked(values: Sequence[Any], most: int) -> list[Any]:
    """At most `most` values of a sequence, evenly picked, the first and the last always among them."""
    if len(values) <= most:
        return list(values)
    return [values[floor(i * (len(values) - 1) / (most - 1) + 0.5)] for i in range(most)]
