"""Marks that several figures draw: rows of tokens, a matrix in colours with its legend, paragraphs; and `Box`, a place."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from pellucid.draw.components.parts import token, token_width
from pellucid.draw.film import palette
from pellucid.draw.film.font import text_width, wrap
from pellucid.draw.film.nodes import Image, Matrix, Node, Path, Rect, Shows, Text
from pellucid.draw.views.pieces import Pieces
from pellucid.languages import tr


LEADING = 1.35  # from line to line of a paragraph, of its size


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on the sheet, in its units."""

    x: float
    y: float
    w: float
    h: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.w

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.h

    @property
    def middle(self) -> float:
        """Half-way across."""
        return self.x + self.w / 2


def flow(
    strings: Sequence[str], x: float, y: float, width: float, h: float, size: float, *, gap: float = 4, rows: int = 99
) -> tuple[list[Box | None], int]:
    """Places for the boxes of tokens, row by row from (x, y), in rows no wider than `width`; the newest are always shown.

    Args:
        h: of a box. size: of its text. rows: the most there may be.

    Returns:
        A place for each token, and how many of the first have none because all would take more rows: "… so many earlier" then
        stands at the start, as wide as `earlier_width` says.
    """
    widths = [min(token_width(string, size), width) for string in strings]
    most = int(rows * (width + gap) / (min(widths, default=1.0) + gap))  # boxes that have room at all
    for hidden in range(max(0, len(strings) - most - 1), len(strings) + 1):
        lead = earlier_width(hidden, size) + gap if hidden else 0.0
        places: list[Box | None] = [None] * hidden
        at, row = x + lead, 0
        for w in widths[hidden:]:
            if at > x and at + w > x + width + 1e-9:
                at, row = x, row + 1
            places.append(Box(at, y + row * (h + gap), w, h))
            at += w + gap
        if row < rows:
            return places, hidden
    raise AssertionError("no token at all always fits")


def earlier(count: int) -> str:
    """The words in the place of tokens that have no room."""
    return tr("… {count} earlier", count=count)


def earlier_width(count: int, size: float) -> float:
    """The width of these words."""
    return text_width(earlier(count), size)


def token_boxes(
    pieces: Pieces, ids: Sequence[int], places: Sequence[Box | None], size: float, *, roles: Sequence[str],
    sources: Sequence[Shows], opacities: Sequence[Any] | None = None,
) -> list[Node]:  # fmt: skip
    """Tokens in their boxes, with a line under those that only together are a character.

    Args:
        places: from `flow`; a token without one is left out. size: of the text. roles: of `parts.token`, one each.
        sources: where each stands in the record. opacities: one each, where they change with time.
    """
    nodes: list[Node] = []
    for i, (ident, box) in enumerate(zip(ids, places, strict=True)):
        if box is not None:
            rest: dict[str, Any] = {} if opacities is None else {"opacity": opacities[i]}
            nodes.append(
                token(
                    pieces.shown(ident), box.x, box.y, box.h, size, role=roles[i], w=box.w, label=pieces.described(ident),
                    shows=sources[i], **rest,
                )
            )  # fmt: skip
    for start, end, text in pieces.characters(ids):
        row = [(i, box) for i in range(start, end) if (box := places[i]) is not None]
        for y in sorted({box.y for _, box in row}):
            line = [(i, box) for i, box in row if box.y == y]
            left, right, low = line[0][1].x + 2, line[-1][1].right - 2, line[0][1].bottom + 1.5
            over: dict[str, Any] = {} if opacities is None else {"opacity": opacities[line[-1][0]]}
            together = tr("together the text {text!r}", text=text)
            mark = (("M", left, low), ("L", right, low))
            nodes.append(Path(mark, stroke=palette.QUIET, stroke_width=1.5, label=together, **over))
    return nodes


def sequential(values: Any, low: float, high: float) -> Matrix:
    """Numbers as codes of the sequential palette, `low` as 0 and `high` as 255; none may lie outside."""
    array = np.asarray(values, dtype=np.float64)
    codes = np.floor((array - low) / (high - low) * 255 + 0.5)
    assert codes.min() >= 0 and codes.max() <= 255, "a number lies outside of the legend's range"
    return Matrix.of(codes.astype(np.uint8))


def diverging(values: Any, most: float) -> Matrix:
    """Numbers as codes of the diverging palette, 0 as 128, -most as 1 and most as 255; none may lie outside."""
    assert most > 0 and isfinite(most)
    codes = 128 + np.floor(np.asarray(values, dtype=np.float64) / most * 127 + 0.5)
    assert codes.min() >= 1 and codes.max() <= 255, "a number lies outside of the legend's range"
    return Matrix.of(codes.astype(np.uint8))


def strip(name: str, box: Box) -> list[Node]:
    """All colours of a palette side by side, from the lowest to the highest number."""
    codes = range(1, 256) if name == "diverging" else range(256)
    return [
        Image(Matrix.of([list(codes)]), name, box.x, box.y, box.w, box.h),
        Rect(box.x, box.y, box.w, box.h, 0, None, palette.LINE),
    ]


def legend(name: str, box: Box, size: float, low: str, high: str, middle: str = "") -> list[Node]:
    """A palette's colours, below them the numbers of its ends and middle: `box.h` high, and 1.4 of the text's size more."""
    y = box.bottom + 1.15 * size
    nodes = strip(name, box)
    nodes.append(Text(box.x, y, low, size, fill=palette.QUIET))
    nodes.append(Text(box.right, y, high, size, anchor="end", fill=palette.QUIET))
    if middle:
        nodes.append(Text(box.middle, y, middle, size, anchor="middle", fill=palette.QUIET))
    return nodes


def colour(name: str, share: float) -> str:
    """The colour of a share from 0 to 1 in a sequential palette."""
    assert 0 <= share <= 1
    return palette.table(name)[int(share * 255 + 0.5)]


def paragraph(
    string: str, x: float, y: float, width: float, size: float, *, lines: int | None = None, weight: int = 400, **rest: Any
) -> tuple[list[Node], float]:
    """A text in lines no wider than `width`, from y down; and the position below the last."""
    broken = wrap(string, width, size, "sans", weight, lines=lines)
    nodes: list[Node] = [Text(x, y + (i * LEADING + 1) * size, line, size, weight, **rest) for i, line in enumerate(broken)]
    return nodes, y + len(broken) * LEADING * size
