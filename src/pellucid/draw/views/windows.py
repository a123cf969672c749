"""What the figure `windows` shows of a training record: neighbouring windows of its text with the loss of each token."""

from dataclasses import dataclass

import numpy as np

from pellucid.draw.film.nodes import Shows, given
from pellucid.draw.views.model_info import RecordedModel, optional_chunk, read_model
from pellucid.draw.views.pieces import Pieces, read_pieces
from pellucid.record import Record
from pellucid.text import END_OF_TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class TextWindow:
    """T + 1 consecutive tokens, the losses of the last T of them, and where the record holds both.

    Attributes:
        ids: of the tokens. losses: nats, of tokens 1 to T as labels. start: of its first token in `ids_chunk` (given).
        row: of its losses in `loss_chunk` (derived). step: of the model that they are the losses of.
    """

    ids: tuple[int, ...]
    losses: tuple[float, ...]
    start: int
    ids_chunk: str
    loss_chunk: str
    row: int
    step: int | None

    @property
    def mean(self) -> float:
        """The mean of its losses, nats a token."""
        return sum(self.losses) / len(self.losses)

    def token(self, i: int) -> Shows:
        """Where token i stands in the record."""
        return given(self.ids_chunk, self.start + i)

    def loss(self, i: int) -> Shows:
        """Where the loss of token i, which is target i - 1, stands in the record."""
        return Shows(self.loss_chunk, (self.row, i - 1), self.step, "derived")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowsView:
    """The figure's values.

    Attributes:
        windows: consecutive ones, each beginning at the label that ends the one before. of_training_text: whether they are of
            the run's training text, else one window of held-out text. train_tokens: of the whole training text; None if the
            record does not say.
    """

    model: RecordedModel
    pieces: Pieces
    windows: tuple[TextWindow, ...]
    of_training_text: bool
    train_tokens: int | None

    def ends_text(self, token: int) -> bool:
        """Whether a token is the end of a text."""
        return self.pieces.bytes_of(token) == END_OF_TEXT.encode()


def windows_view(record: Record) -> WindowsView:
    """Reads a training record. Raises MissingChunk where it holds neither a stretch of training text nor the fixed window."""
    return WindowsView(
        model=read_model(record),
        pieces=read_pieces(record),
        windows=_read_windows(record),
        of_training_text="training/stretch/ids" in record,
        train_tokens=optional_chunk(record, "training/plan", {}).get("source", {}).get("train_tokens"),
    )


def _read_windows(record: Record) -> tuple[TextWindow, ...]:
    """The windows of the stretch of training text; without one, the fixed window with its losses at the last recorded step."""
    if "training/stretch/ids" in record:
        ids, losses = record["training/stretch/ids"].tolist(), record["training/stretch/loss"].tolist()
        return tuple(
            TextWindow(
                ids=tuple(ids[start : start + len(row) + 1]), losses=tuple(row), start=start, ids_chunk="training/stretch/ids",
                loss_chunk="training/stretch/loss", row=i, step=record.provenance.step,
            )
            for i, (start, row) in enumerate(zip(record["training/stretch/starts"].tolist(), losses, strict=True))
        )  # fmt: skip
    losses = np.asarray(record["training/window/loss"], np.float32)
    row = len(losses) - 1
    step = int(record["training/moments/steps"][row])
    window = TextWindow(
        ids=tuple(record["training/window/ids"].tolist()), losses=tuple(losses[row].tolist()), start=0,
        ids_chunk="training/window/ids", loss_chunk="training/window/loss", row=row, step=step,
    )  # fmt: skip
    return (window,)
