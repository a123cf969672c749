"""What the plain chart `loss` shows of a training record: the losses of its run by step."""

from dataclasses import dataclass

from pellucid.draw.views.model_info import RecordedModel, read_model
from pellucid.draw.views.training import TrainingHistory, read_training
from pellucid.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class LossView:
    """The chart's values: the model and the history of its losses."""

    model: RecordedModel
    history: TrainingHistory


def loss_view(record: Record) -> LossView:
    """Reads a training record. Raises MissingChunk where it holds no losses by step."""
    return LossView(model=read_model(record), history=read_training(record))
