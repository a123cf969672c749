"""The article's figures of a record, for the page."""

from pellucid.draw import figures
from pellucid.errors import PellucidError
from pellucid.record import Record


LEAST_WIDTH, MOST_WIDTH = 240, 2400


def figures_of(record: Record) -> list[str]:
    """The figures that a record of this kind may give; whether it holds enough is known when one is drawn."""
    return figures.figures_of(record.kind)


def figure_json(record: Record, name: str, width: int) -> str:
    """The film of a figure as JSON, with the outlines of its letters: a page then needs no font.

    Raises:
        PellucidError: no such figure, not of this kind of record, or something it needs is not in this record.
    """
    if not LEAST_WIDTH <= width <= MOST_WIDTH:
        raise PellucidError(f"a figure is from {LEAST_WIDTH} to {MOST_WIDTH} wide, not {width}")
    return figures.figure(record, name, width=width).to_json(glyphs=True)
