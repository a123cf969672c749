"""`loss`, no figure of the article but a plain chart: the loss of a run by step."""

from pellucid.draw.chart import loss_chart
from pellucid.draw.figures.facts import model_name
from pellucid.draw.figures.training import Training
from pellucid.draw.film import Film
from pellucid.record import Record


def loss(record: Record, *, width: float = 960) -> Film:
    """The chart, drawn from a training record.

    Raises:
        MissingChunk: the record holds no losses by step. PellucidError: a picture less than 240 wide, or no finite loss.
    """
    run = Training.of(record)
    return loss_chart(
        [loss.step for loss in run.training],
        [loss.value for loss in run.training],
        [(loss.step, loss.value) for loss in run.held_out],
        run.ln_v,
        title=f"Loss while training {model_name(record)}",
        width=width,
        chunk="training/steps/loss",
        held_out_chunk="training/held_out/loss",
    )
