"""The article's pictures, each laid out as a `Film` from the values of its view.

This module is the registry: it hands a record to the figure's view (`views/NAME.py: NAME_view`), which reads the values out of
it, and the values to the figure's layout (`figures/NAME.py: NAME`). No other module here knows records. Every number on a film
stands in the record, or follows from it by arithmetic that the mark names; what the record does not hold is said to be missing.
Each layout reads straight down: title, sheet, timeline, then the parts in reading order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pellucid.arguments import number, plain, shown
from pellucid.errors import PellucidError
from pellucid.numpy_defaults import numpy_defaults
from pellucid.record import Kind, MissingChunk, Record, check


if TYPE_CHECKING:
    from pellucid.draw.film.film import Film

GENERATION = 'pellucid xray "Once upon a time" --out tale.pellucid'
TRAINING = "pellucid train TEXT --out RUN"
PRIMING = "pellucid prime FILE --out RECORD"
PLAN = "pellucid plan gpt3-175b --gpus 1024 --gpu h100 --record plan.pellucid"
FINETUNING = "pellucid finetune EXAMPLES.jsonl --out RUN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure that can be drawn.

    Attributes:
        name: the user's word for it. kind: of the record that it is drawn from. about: what it shows, in one line.
        command: makes a record that holds everything that the figure needs.
    """

    name: str
    kind: Kind
    about: str
    command: str

    @property
    def view(self) -> Callable[[Record], Any]:
        """Reads the figure's values out of a record. Imported here, as is the layout: a list of figures does without them."""
        return getattr(import_module(f"..views.{self.name}", __package__), f"{self.name}_view")  # type: ignore[no-any-return]

    @property
    def layout(self) -> "Callable[..., Film]":
        """(values, width=...) -> Film, a pure function."""
        return getattr(import_module(f".{self.name}", __package__), self.name)  # type: ignore[no-any-return]

    def draw(self, record: Record, *, width: float = 960) -> "Film":
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


_ALL = (
    Figure(
        name="overview", kind="generation", command=GENERATION,
        about="a prompt goes in, the blocks light up in their order, an answer comes out",
    ),
    Figure(
        name="pretraining", kind="training", command=TRAINING,
        about="a run: its losses and costs, and what the model writes at moments of it",
    ),
    Figure(
        name="windows", kind="training", command=TRAINING,
        about="training text as examples: two windows of it, and what each token cost",
    ),
    Figure(
        name="step", kind="training", command=TRAINING,
        about="one update: prediction, error, gradients, and the same example again",
    ),
    Figure(
        name="tokens", kind="generation", command=GENERATION,
        about="an answer written token by token: probabilities, cut, draw, and back into the context",
    ),
    Figure(
        name="parameters", kind="training", command=TRAINING,
        about="every weight matrix from random to trained, how many numbers each holds, and the eight sizes of GPT-3",
    ),
    Figure(
        name="context", kind="generation", command=GENERATION,
        about="the window of numbered positions: how full it is, what each block reads, what no later query can read",
    ),
    Figure(
        name="embedding", kind="generation", command=GENERATION,
        about="a token's row and its position's, the vector that comes out, and its products with the likeliest tokens' rows",
    ),
    Figure(
        name="stack", kind="generation", command=GENERATION,
        about="block after block: what attention and MLP add, where the answer is decided, time and parameters",
    ),
    Figure(
        name="xray", kind="generation", command=GENERATION,
        about="every token on its way up the blocks: what the model would say at each level, what is kept, what is fed back",
    ),
    Figure(
        name="priming", kind="priming", command=PRIMING,
        about="one question after no, one and some examples: how likely the right answer is, and what is read of the examples",
    ),
    Figure(
        name="finetuning", kind="finetuning", command=FINETUNING,
        about="a trained model goes on to one task: which numbers changed, answers before and after, what it forgot",
    ),
    Figure(
        name="memory", kind="plan", command=PLAN,
        about="a plan: a model's blocks laid out over devices, and what a device of each place holds",
    ),
    Figure(
        name="timetable", kind="plan", command=PLAN,
        about="a plan: the passes of one step on each rank, and what its time goes into",
    ),
    Figure(name="loss", kind="training", command=TRAINING, about="a plain chart: the loss by step"),
)  # fmt: skip
FIGURES = {one.name: one for one in _ALL}
ONE_PARAMETER = "one-parameter"  # the film that is drawn from points, not from a record


def unknown_figure(name: object) -> PellucidError:
    """The error for a name that no record's figure has."""
    if name == ONE_PARAMETER:
        return PellucidError(f"{name} is drawn from points, not from a record: pellucid figures --one-parameter --out DIR")
    return PellucidError(f"no figure {shown(name)}: there are {', '.join(FIGURES)}")


@numpy_defaults()
def figure(record: Record, name: str, *, width: float = 960) -> "Film":
    """The figure of that name, drawn from the record.

    Args:
        width: of the picture, 240 to 8192; less than 720 is laid out upright, for a phone.

    Raises:
        PellucidError: no such figure, another kind of record, a chunk that is not in this record (named, with the command that
            makes one which has it), values that are not possible, or a width out of range.
    """
    if not isinstance(name, str) or name not in FIGURES:
        raise unknown_figure(name)
    from pellucid.draw.components.sheet import LEAST, MOST

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
