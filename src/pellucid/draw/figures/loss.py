"""`loss`, no figure of the article but a plain chart: the loss of a run by step."""

from pellucid.draw.components.chart import loss_chart
from pellucid.draw.film.film import Film
from pellucid.draw.views.labels import model_name
from pellucid.draw.views.training import Training
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
