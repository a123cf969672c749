"""`loss`, a plain chart beside the article's pictures: the loss of a run by step."""

from pellucid.draw.components.chart import loss_chart
from pellucid.draw.film.film import Film
from pellucid.draw.views.loss import LossView
from pellucid.languages import tr


def loss(view: LossView, *, width: float = 960) -> Film:
    """The chart as a film. Raises PellucidError for a picture less than 240 wide, and where no loss is finite."""
    history = view.history
    return loss_chart(
        [loss.step for loss in history.training],
        [loss.value for loss in history.training],
        [(loss.step, loss.value) for loss in history.held_out],
        history.ln_v,
        title=tr("Loss while training {name}", name=view.model.name),
        width=width,
        chunk="training/steps/loss",
        held_out_chunk="training/held_out/loss",
    )
