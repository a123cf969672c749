"""A vector as a small picture of coloured cells, in a few rows of equal length."""

from collections.abc import Sequence

import numpy as np

from pellucid.draw.components.marks import Box, diverging
from pellucid.draw.film import palette
from pellucid.draw.film.nodes import Image, Node, Number, Rect, Shows


MOST_COLUMNS, MOST_ROWS = 128, 8


def cells_of(count: int) -> tuple[int, int, int]:
    """How a vector of so many numbers is laid out: (rows, columns, numbers averaged in a cell).

    One number a cell where they fit; else as few as can be are averaged. Every cell stands for equally many numbers.
    """
    for averaged in range(1, count + 1):
        if count % averaged:
            continue
        cells = count // averaged
        for columns in range(min(MOST_COLUMNS, cells), 0, -1):
            if cells % columns == 0 and cells // columns <= MOST_ROWS:
                return cells // columns, columns, averaged
    raise AssertionError("one cell always fits")


def vector(values: Sequence[float], box: Box, most: float, *, label: str, shows: Shows, opacity: Number = 1.0) -> list[Node]:
    """A vector's numbers as colours, the first at the upper left, row by row.

    Args:
        most: the largest size of a number of the diverging palette's range.
    """
    rows, columns, averaged = cells_of(len(values))
    cells = np.array(values, float).reshape(-1, averaged).mean(1).reshape(rows, columns)
    picture = Image(diverging(cells, most), "diverging", box.x, box.y, box.w, box.h, opacity=opacity, label=label, shows=shows)
    return [picture, Rect(box.x, box.y, box.w, box.h, 0, None, palette.LINE, opacity=opacity)]
