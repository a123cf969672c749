"""The columns of `stack`: bars and words with a row for each level, legible from 2 blocks to 96."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import CLOCK_GAP, measured
from pellucid.draw.components.scales import LengthScale
from pellucid.draw.components.sheet import NARROW as NARROW_SHEET
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.nodes import Node, Number, Path, Rect, Shows, Text
from pellucid.draw.views.labels import in_seconds
from pellucid.draw.views.model_parts import pattern_name
from pellucid.draw.views.stack import BLOCK_TIMES, StackView
from pellucid.gpt.pattern import Banded
from pellucid.languages import tr


TALLEST = 56.0  # of a row
HEADINGS = 104.0  # below which the rows begin
FOOT = 52.0  # of a phone's sheet, from the rows down
# Left edge and width of each column, in the units of the sheet.
WIDE = {
    "attention": (150, 116), "mlp": (280, 116), "length": (410, 96), "p": (524, 120), "rank": (654, 52),
    "likeliest": (712, 104), "time": (832, 104),
}  # fmt: skip
NARROW = {"attention": (64, 46), "mlp": (120, 46), "p": (174, 44), "likeliest": (224, 56), "time": (290, 58)}


def narrow_height(rows: int) -> float:
    """The height of a phone's sheet for so many rows: no more than they need."""
    return min(NARROW_SHEET[1], HEADINGS + rows * TALLEST + FOOT)


def column(name: str, sheet: Sheet) -> Box:
    """The column of that name: its left edge and its width; its height is that of the rows."""
    x, w = (WIDE if sheet.wide else NARROW)[name]
    return Box(float(x), 0, float(w), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRows:
    """The rows, level 0 at the bottom.

    Attributes:
        count: of them. low: lower edge of the lowest. high: of each. every: of how many one is written out, for text's room.
        marker: where the followed position is drawn.
    """

    count: int
    low: float
    high: float
    every: int
    marker: Box

    @classmethod
    def of(cls, count: int, sheet: Sheet) -> "StackRows":
        """The rows for which the sheet has room below the columns' headings."""
        low = sheet.bottom - 6
        high = min((low - HEADINGS) / count, TALLEST)
        every = max(1, ceil(1.25 * sheet.small / high))
        x = 132.0 if sheet.wide else 54.0
        return cls(count=count, low=low, high=high, every=every, marker=Box(x, low - count * high, 5, count * high))

    def top(self, row: int) -> float:
        """The upper edge of a row."""
        return self.low - (row + 1) * self.high

    def written(self, row: int) -> bool:
        """Whether a row is written out: the first, the last, and between them as many as have room."""
        last = self.count - 1
        return row == last or (row % self.every == 0 and (row == 0 or last - row >= self.every))

    def base(self, row: int, size: float) -> float:
        """The baseline of a row's text."""
        return self.top(row) + self.high / 2 + 0.36 * size


def row_names(view: StackView, rows: StackRows, sheet: Sheet) -> list[Node]:
    """The embedding and the blocks, with each block's attention pattern where there is room."""
    size, nodes = sheet.small, list[Node]()
    for row in range(rows.count):
        if not rows.written(row):
            continue
        if row == 0:
            name = tr("embedding") if sheet.wide else tr("emb.")
            label = tr("the token's and the position's vector, before any block")
            under = ""
        else:
            pattern = view.blocks[row - 1].pattern
            name = tr("block {number}", number=row) if sheet.wide else tr("b {number}", number=row)
            label = tr("after block {number} ({pattern})", number=row, pattern=pattern_name(pattern))
            under = tr("band {width}", width=pattern.width) if isinstance(pattern, Banded) else pattern_name(pattern)
        two, room = bool(under) and sheet.wide and rows.high >= 2.6 * size, rows.marker.x - sheet.left - 6
        base = rows.base(row, size) - (0.6 * size if two else 0.0)
        nodes.append(Text(sheet.left, base, fit(name, room, size), size, fill=palette.QUIET, label=label))
        if two:
            nodes.append(Text(sheet.left, base + 1.2 * size, fit(under, room, size), size, fill=palette.QUIET, label=label))
    line = (("M", rows.marker.right + 4, rows.low), ("L", sheet.right, rows.low))
    return [*nodes, Path(line, stroke=palette.LINE)]


def bars(
    values: Sequence[float | None], column: Box, rows: StackRows, sheet: Sheet, *, title: str, fill: str, full: float,
    words: Callable[[float], str], shows: Callable[[int], Shows], opacities: Sequence[Number],
) -> list[Node]:  # fmt: skip
    """A horizontal bar for each row, from the column's left edge; above them the title and the largest value.

    Args:
        values: one a row; None for none. full: the value of a bar as wide as the column. words: a value as text.
        shows: the source of a row's value.
    """
    size = sheet.small
    most = max((row for row in range(rows.count) if values[row] is not None), key=lambda row: values[row] or 0.0)
    greatest = values[most]
    assert greatest is not None
    top = rows.top(rows.count - 1)
    lengths = LengthScale(column.w, full)
    nodes = [_title(title, column, top, size)]
    words_of_most = f"≤ {words(greatest)}"
    nodes.append(Text(column.x, top - 6, words_of_most, size, fill=palette.QUIET, shows=shows(most), opacity=opacities[most]))
    thick = min(rows.high * 0.72, 16.0)
    for row, value in enumerate(values):
        if value is not None:
            y = rows.top(row) + (rows.high - thick) / 2
            nodes.append(
                Rect(column.x, y, lengths.length(value), thick, min(2.0, thick / 3), fill, opacity=opacities[row],
                     label=words(value), shows=shows(row))
            )  # fmt: skip
    return nodes


def words(
    strings: Sequence[str], column: Box, rows: StackRows, sheet: Sheet, *, title: str, shows: Callable[[int], Shows],
    opacity: Number, labels: Sequence[str], family: str = "sans", strong: Sequence[bool] | None = None,
) -> list[Node]:  # fmt: skip
    """A word for each row that has room for it.

    Args:
        labels: in full, for hover. strong: which rows are written in the output's colour.
    """
    size, nodes = sheet.small, [_title(title, column, rows.top(rows.count - 1), sheet.small)]
    for row, string in enumerate(strings):
        if rows.written(row):
            fill = palette.OUTPUT if strong is not None and strong[row] else palette.INK if row else palette.QUIET
            fitted = fit(string, column.w, size, family)
            nodes.append(
                Text(column.x, rows.base(row, size), fitted, size, 400, family, fill=fill, opacity=opacity, label=labels[row],
                     shows=shows(row))
            )  # fmt: skip
    return nodes


def times(view: StackView, rows: StackRows, sheet: Sheet) -> list[Node]:
    """The time of each block while the prompt was read, as a number, and that of all together above.

    No bars: all blocks do nearly the same work, and one measurement of it varies with whatever else the machine does.
    """
    seconds = [block.seconds for block in view.blocks if block.seconds is not None]
    if not seconds:
        return []
    size, place, top = sheet.small, column("time", sheet), rows.top(rows.count - 1)

    def clocked(y: float, words: str, *index: int) -> Node:
        wide = text_width(words, size) + (1 + CLOCK_GAP) * size
        shows = Shows(BLOCK_TIMES, (0, *index), None, "measured")
        return measured(Text(min(place.x, sheet.right - wide), y, words, size, fill=palette.QUIET, shows=shows))

    nodes = [_title(tr("time"), place, top, size), clocked(top - 6, tr("{time} in all", time=in_seconds(sum(seconds))))]
    for block, each in enumerate(view.blocks):
        if each.seconds is not None and rows.written(block + 1):
            nodes.append(clocked(rows.base(block + 1, size), in_seconds(each.seconds), block))
    return nodes


def _title(title: str, column: Box, top: float, size: float) -> Node:
    assert text_width(title, size, "sans", 600) <= column.w + 8, f"the title {title!r} has no room"
    return Text(column.x, top - 6 - 1.35 * size, title, size, 600)
