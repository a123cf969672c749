"""A record's figures as JSON for the page."""

from pellucid.draw import figures
from pellucid.errors import PellucidError
from pellucid.record import Record


MIN_WIDTH, MAX_WIDTH = 240, 2400


def figure_json(record: Record, name: str, width: int) -> str:
    """The film of a figure as JSON, with glyph outlines, so that a page needs no font.

    Raises:
        PellucidError: no such figure, not of this kind of record, or a chunk that it needs is missing.
    """
    if not MIN_WIDTH <= width <= MAX_WIDTH:
        raise PellucidError(f"a figure is from {MIN_WIDTH} to {MAX_WIDTH} wide, not {width}")
    return figures.figure(record, name, width=width).to_json(glyphs=True)
