"""figures/: the article's pictures, each drawn from a record.

In: a record of the right kind. Out: a `Film`. Every number on it stands in the record, or follows from the record by arithmetic
that the mark names; what the record does not hold is said, not made up. One module a figure; `sheet` (where there is room),
`timeline` (when things happen), `facts` (what the record says, in words) and `marks` (boxes, bars, strips) are what they share.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pellucid.draw.components.sheet import Sheet
from pellucid.draw.figures.loss import loss
from pellucid.draw.figures.parameters import parameters
from pellucid.draw.figures.pretraining import pretraining
from pellucid.draw.figures.step import step
from pellucid.draw.figures.tokens import tokens
from pellucid.draw.figures.windows import windows
from pellucid.draw.figures.xray import xray
from pellucid.draw.film.film import Film
from pellucid.errors import PellucidError
from pellucid.record import Kind, MissingChunk, Record


__all__ = ["FIGURES", "Figure", "Sheet", "figure", "figures_of"]

GENERATION = 'pellucid xray "Once upon a time" --out tale.pellucid'
TRAINING = "pellucid train TEXT --out RUN"
FINETUNING = "pellucid finetune EXAMPLES.jsonl --out RUN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure that can be drawn.

    Attributes:
        kind: of the record that it is drawn from. draw: (record, width=...) -> Film, a pure function.
        about: what it shows, in one line. command: what makes a record that has everything for it.
    """

    kind: Kind
    draw: Callable[..., Film]
    about: str
    command: str


FIGURES: dict[str, Figure] = {
    "pretraining": Figure(
        kind="training", draw=pretraining, command=TRAINING,
        about="a run: its losses and costs, and what the model writes at moments of it",
    ),
    "windows": Figure(
        kind="training", draw=windows, command=TRAINING,
        about="training text as examples: two windows of it, and what each token cost",
    ),
    "step": Figure(
        kind="training", draw=step, command=TRAINING,
        about="one update: prediction, error, gradients, and the same example again",
    ),
    "tokens": Figure(
        kind="generation", draw=tokens, command=GENERATION,
        about="an answer written token by token: probabilities, cut, draw, and back into the context",
    ),
    "parameters": Figure(
        kind="training", draw=parameters, command=TRAINING,
        about="every weight matrix from random to trained, how many numbers each holds, and the eight sizes of GPT-3",
    ),
    "xray": Figure(
        kind="generation", draw=xray, command=GENERATION,
        about="every token on its way up the blocks: what the model would say at each level, what is kept, what is fed back",
    ),
    "loss": Figure(kind="training", draw=loss, command=TRAINING, about="a plain chart: the loss by step"),
}  # fmt: skip


def figure(record: Record, name: str, *, width: float = 960) -> Film:
    """The figure of that name, drawn from the record.

    Args:
        width: of the picture; less than 720 is laid out upright, for a phone.

    Raises:
        PellucidError: no such figure, another kind of record, a chunk that is not in this record (named, with the command that
            makes one which has it), or a picture less than 240 wide.
    """
    if name not in FIGURES:
        raise PellucidError(f"no figure {name!r}: there are {', '.join(FIGURES)}")
    wanted = FIGURES[name]
    if record.kind != wanted.kind:
        raise PellucidError(
            f"the figure {name} is drawn from a {wanted.kind} record, and this is a {record.kind} record: make one with: "
            f"{wanted.command}"
        )
    try:
        return wanted.draw(record, width=width)
    except MissingChunk as missing:
        raise PellucidError(f"no figure {name} of it: {missing}; make one that has it with: {wanted.command}") from None


def figures_of(kind: Kind) -> list[str]:
    """The figures that a record of that kind can give."""
    return [name for name, one in FIGURES.items() if one.kind == kind]
