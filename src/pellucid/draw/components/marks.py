"""What several figures draw: rows of tokens, bars of a distribution, a matrix in colours with its legend, paragraphs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from pellucid.draw.components.parts import centred, token, token_width
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width, wrap
from pellucid.draw.film.nodes import Image, Matrix, Node, Path, Rect, Shows, Text
from pellucid.draw.views.labels import Pieces


LEADING = 1.35  # from line to line of a paragraph, of its size


@dataclass(frozen=True, slots=True)
class Box:
    """A place on the sheet."""

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
    """Where the boxes of tokens stand, row by row from (x, y), in rows no wider than `width`.

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
    """What stands for tokens that have no room."""
    return f"… {count} earlier"


def earlier_width(count: int, size: float) -> float:
    """How wide that is."""
    return text_width(earlier(count), size)


def tokens(
    pieces: Pieces, ids: Sequence[int], places: Sequence[Box | None], size: float, *, roles: Sequence[str],
    chunks: Sequence[Shows], opacities: Sequence[Any] | None = None, names: str = "",
) -> list[Node]:  # fmt: skip
    """Tokens in their boxes, with brackets under those that make a character only together.

    Args:
        places: from `flow`; a token without one is left out. roles: input, output, track or plain, one each. chunks: what each
        shows. opacities: one each, if they come and go. names: begins each box's id ("context" gives context-3); "" for none.
    """
    nodes: list[Node] = []
    for i, (ident, box) in enumerate(zip(ids, places, strict=True)):
        if box is not None:
            rest: dict[str, Any] = {} if opacities is None else {"opacity": opacities[i]}
            named = {"id": f"{names}-{i}"} if names else {}
            nodes.append(
                token(
                    pieces.shown(ident), box.x, box.y, box.h, size, role=roles[i], w=box.w, label=pieces.told(ident),
                    shows=chunks[i], **named, **rest,
                )
            )  # fmt: skip
    for start, end, text in pieces.characters(ids):
        row = [(i, box) for i in range(start, end) if (box := places[i]) is not None]
        for y in sorted({box.y for _, box in row}):
            line = [(i, box) for i, box in row if box.y == y]
            left, right, low = line[0][1].x + 2, line[-1][1].right - 2, line[0][1].bottom + 1.5
            over: dict[str, Any] = {} if opacities is None else {"opacity": opacities[line[-1][0]]}
            told = f"together the text {text!r}"
            mark = (("M", left, low), ("L", right, low))
            nodes.append(Path(mark, stroke=palette.QUIET, stroke_width=1.5, label=told, **over))
    return nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of a bar chart: a word, a share from 0 to `full`, and the number in words."""

    word: str
    share: float
    told: str
    fill: Any = palette.SERIES_PALE
    ink: Any = palette.INK
    label: str = ""
    shows: Shows | None = None
    opacity: Any = 1.0


def bars(
    rows: Sequence[Bar], box: Box, size: float, *, full: float, word_width: float, told_width: float, family: str = "mono",
    grows: Any = 1.0,
) -> list[Node]:  # fmt: skip
    """Horizontal bars under each other: word, bar, number. Each row takes an equal part of the box's height.

    Args:
        full: the share that reaches the end of the room for bars. word_width, told_width: room for the words left of the bars,
        and for the numbers, which stand right after each bar's end. grows: scales the bars' lengths (`Keyframes` from 0 to 1).
    """
    step = box.h / len(rows)
    thick = min(step * 0.72, size * 1.5)
    left, most = box.x + word_width + 6, box.w - word_width - told_width - 12
    nodes: list[Node] = []
    for i, row in enumerate(rows):
        y = box.y + i * step + (step - thick) / 2
        long = most * row.share / full if full else 0.0
        word = fit(row.word, word_width, size, family)
        baseline = centred(y, thick, size)
        about: dict[str, Any] = {"label": row.label, "shows": row.shows}
        if word:
            nodes.append(
                Text(box.x + word_width, baseline, word, size, family=family, anchor="end", fill=row.ink, opacity=row.opacity,
                     **about)
            )  # fmt: skip
        nodes.append(Rect(left, y, long, thick, 2, row.fill, opacity=row.opacity, **about))
        nodes.append(Text(left + long + 5, baseline, row.told, size, fill=row.ink, opacity=row.opacity, **about))
    return nodes


def sequential(values: Any, low: float, high: float) -> Matrix:
    """Numbers as codes of the sequential palette, `low` as 0 and `high` as 255. Errors: a number outside that range."""
    array = np.asarray(values, dtype=np.float64)
    codes = np.floor((array - low) / (high - low) * 255 + 0.5)
    assert codes.min() >= 0 and codes.max() <= 255, "a number lies outside of the legend's range"
    return Matrix.of(codes.astype(np.uint8))


def diverging(values: Any, most: float) -> Matrix:
    """Numbers as codes of the diverging palette, 0 as 128, -most as 1 and most as 255. Errors: a number outside that range."""
    assert most > 0 and isfinite(most)
    codes = 128 + np.floor(np.asarray(values, dtype=np.float64) / most * 127 + 0.5)
    assert codes.min() >= 1 and codes.max() <= 255, "a number lies outside of the legend's range"
    return Matrix.of(codes.astype(np.uint8))


def strip(name: str, box: Box) -> list[Node]:
    """All colours of a palette side by side, for a legend: from what is lowest to what is highest."""
    codes = range(1, 256) if name == "diverging" else range(256)
    return [
        Image(Matrix.of([list(codes)]), name, box.x, box.y, box.w, box.h),
        Rect(box.x, box.y, box.w, box.h, 0, None, palette.LINE),
    ]


def legend(name: str, box: Box, size: float, low: str, high: str, middle: str = "") -> list[Node]:
    """A palette's colours with what its ends stand for below: it takes `box.h` and another 1.4 of the text's size."""
    y = box.bottom + 1.15 * size
    nodes = strip(name, box)
    nodes.append(Text(box.x, y, low, size, fill=palette.QUIET))
    nodes.append(Text(box.right, y, high, size, anchor="end", fill=palette.QUIET))
    if middle:
        nodes.append(Text(box.middle, y, middle, size, anchor="middle", fill=palette.QUIET))
    return nodes


def colour(name: str, share: float) -> str:
    """The sequential palettes' colour of a share from 0 to 1."""
    assert 0 <= share <= 1
    return palette.table(name)[int(share * 255 + 0.5)]


def paragraph(
    string: str, x: float, y: float, width: float, size: float, *, lines: int | None = None, weight: int = 400, **rest: Any
) -> tuple[list[Node], float]:
    """A text in lines no wider than `width`, the top of the first at y; and where the paragraph ends."""
    told = wrap(string, width, size, "sans", weight, lines=lines)
    nodes: list[Node] = [Text(x, y + (i * LEADING + 1) * size, line, size, weight, **rest) for i, line in enumerate(told)]
    return nodes, y + len(told) * LEADING * size
