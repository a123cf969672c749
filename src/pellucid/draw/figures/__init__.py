"""The article's pictures, each laid out as a `Film` from the values of its view.

This module is the registry: it hands a record to the figure's view (`pellucid.draw.views`), which reads the values out of it,
and the values to the figure's layout, a function of the module of its name. No other module here knows records. Every number on
a film stands in the record, or follows from it by arithmetic that the mark names; what the record does not hold is said to be
missing. Each layout reads straight down: title, sheet, timeline, then the parts in reading order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pellucid.arguments import number, plain, shown
from pellucid.draw.components.sheet import LEAST, MOST, Sheet
from pellucid.draw.figures.context import context
from pellucid.draw.figures.embedding import embedding
from pellucid.draw.figures.loss import loss
from pellucid.draw.figures.overview import overview
from pellucid.draw.figures.parameters import parameters
from pellucid.draw.figures.pretraining import pretraining
from pellucid.draw.figures.stack import stack
from pellucid.draw.figures.step import step
from pellucid.draw.figures.tokens import tokens
from pellucid.draw.figures.windows import windows
from pellucid.draw.figures.xray import xray
from pellucid.draw.film.film import Film
from pellucid.draw.views.context import context_view
from pellucid.draw.views.embedding import embedding_view
from pellucid.draw.views.loss import loss_view
from pellucid.draw.views.overview import overview_view
from pellucid.draw.views.parameters import parameters_view
from pellucid.draw.views.pretraining import pretraining_view
from pellucid.draw.views.stack import stack_view
from pellucid.draw.views.step import step_view
from pellucid.draw.views.tokens import tokens_view
from pellucid.draw.views.windows import windows_view
from pellucid.draw.views.xray import xray_view
from pellucid.errors import PellucidError
from pellucid.numpy_defaults import numpy_defaults
from pellucid.record import Kind, MissingChunk, Record, check


__all__ = ["FIGURES", "Figure", "Sheet", "figure", "figures_of"]

GENERATION = 'pellucid xray "Once upon a time" --out tale.pellucid'
TRAINING = "pellucid train TEXT --out RUN"
FINETUNING = "pellucid finetune EXAMPLES.jsonl --out RUN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure that can be drawn.

    Attributes:
        kind: of the record that it is drawn from. view: reads the figure's values out of a record.
        layout: (values, width=...) -> Film, a pure function. about: what it shows, in one line.
        command: makes a record that holds everything that the figure needs.
    """

    kind: Kind
    view: Callable[[Record], Any]
    layout: Callable[..., Film]
    about: str
    command: str

    def draw(self, record: Record, *, width: float = 960) -> Film:
        """The film of a record. Raises MissingChunk where the record lacks something that the figure needs."""
        return self.layout(self.view(record), width=width)


class LacksChunk(PellucidError):
    """A record lacks a chunk that a figure needs.

    Attributes:
        why: which. command: makes a record that has it.
    """

    def __init__(self, why: str, command: str) -> None:
        super().__init__(f"{why}; make one that has it with: {command}")
        self.why, self.command = why, command


FIGURES: dict[str, Figure] = {
    "overview": Figure(
        kind="generation", view=overview_view, layout=overview, command=GENERATION,
        about="a prompt goes in, the blocks light up in their order, an answer comes out",
    ),
    "pretraining": Figure(
        kind="training", view=pretraining_view, layout=pretraining, command=TRAINING,
        about="a run: its losses and costs, and what the model writes at moments of it",
    ),
    "windows": Figure(
        kind="training", view=windows_view, layout=windows, command=TRAINING,
        about="training text as examples: two windows of it, and what each token cost",
    ),
    "step": Figure(
        kind="training", view=step_view, layout=step, command=TRAINING,
        about="one update: prediction, error, gradients, and the same example again",
    ),
    "tokens": Figure(
        kind="generation", view=tokens_view, layout=tokens, command=GENERATION,
        about="an answer written token by token: probabilities, cut, draw, and back into the context",
    ),
    "parameters": Figure(
        kind="training", view=parameters_view, layout=parameters, command=TRAINING,
        about="every weight matrix from random to trained, how many numbers each holds, and the eight sizes of GPT-3",
    ),
    "context": Figure(
        kind="generation", view=context_view, layout=context, command=GENERATION,
        about="the window of numbered positions: how full it is, what each block reads, what no later query can read",
    ),
    "embedding": Figure(
        kind="generation", view=embedding_view, layout=embedding, command=GENERATION,
        about="a token's row and its position's, the vector that comes out, and its products with the likeliest tokens' rows",
    ),
    "stack": Figure(
        kind="generation", view=stack_view, layout=stack, command=GENERATION,
        about="block after block: what attention and MLP add, where the answer is decided, time and parameters",
    ),
    "xray": Figure(
        kind="generation", view=xray_view, layout=xray, command=GENERATION,
        about="every token on its way up the blocks: what the model would say at each level, what is kept, what is fed back",
    ),
    "loss": Figure(kind="training", view=loss_view, layout=loss, command=TRAINING, about="a plain chart: the loss by step"),
}  # fmt: skip


@numpy_defaults()
def figure(record: Record, name: str, *, width: float = 960) -> Film:
    """The figure of that name, drawn from the record.

    Args:
        width: of the picture, 240 to 8192; less than 720 is laid out upright, for a phone.

    Raises:
        PellucidError: no such figure, another kind of record, a chunk that is not in this record (named, with the command that
            makes one which has it), values that are not possible, or a width out of range.
    """
    if not isinstance(name, str) or name not in FIGURES:
        raise PellucidError(f"no figure {shown(name)}: there are {', '.join(FIGURES)}")
    number("width", width := plain(width), LEAST, MOST)
    wanted = FIGURES[name]
    if record.kind != wanted.kind:
        raise PellucidError(
            f"the figure {name} is drawn from a {wanted.kind} record, and this is a {record.kind} record: make one with: "
            f"{wanted.command}"
        )
    check(record, partial=True)
    try:
        return wanted.draw(record, width=width)
    except MissingChunk as missing:
        raise LacksChunk(f"no figure {name} of it: {missing}", wanted.command) from None
    except PellucidError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Shapes and types are as the schema says, but the values contradict each other: no recorder made this file.
        where = record.path or "in memory"
        raise PellucidError(
            f"the figure {name} cannot be drawn from the record {where}: some of its values are not possible, or contradict "
            "each other (`pellucid verify` compares them with their source)"
        ) from error


def figures_of(kind: Kind) -> list[str]:
    """The figures that a record of that kind can give."""
    return [name for name, one in FIGURES.items() if one.kind == kind]
