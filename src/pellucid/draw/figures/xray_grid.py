"""The grid of `xray`: the positions and levels that have room, the places of their cells, and the legend."""

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.draw.components.marks import Box, colour, legend
from pellucid.draw.components.parts import centred
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.figures import cache_labels
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.nodes import Node, Rect, Text
from pellucid.draw.views.model_parts import pattern_name
from pellucid.draw.views.xray import DROPPED, XrayView
from pellucid.gpt.pattern import Banded, Pattern
from pellucid.languages import listed, mark, tr


COLUMNS_WIDE, COLUMNS_NARROW = 16, 6  # positions that are shown
ROWS = 13  # levels that are shown
TITLE = mark("X-ray of an answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class XrayGrid:
    """Where positions and levels stand.

    Attributes:
        positions: those shown, in order. levels: those shown, lowest first. cells: places by (level, position).
        ins, outs: places of the tokens below and above the cells, by position.
    """

    view: XrayView
    sheet: Sheet
    positions: tuple[int, ...]
    levels: tuple[int, ...]
    cells: dict[tuple[int, int], Box]
    ins: dict[int, Box]
    outs: dict[int, Box]

    @classmethod
    def of(cls, view: XrayView, sheet: Sheet) -> "XrayGrid":
        """The positions around the end of the prompt and the levels for which the sheet has room."""
        most, count = COLUMNS_WIDE if sheet.wide else COLUMNS_NARROW, view.levels
        first = 0 if view.positions <= most else max(0, min(view.prompt - 1 - most // 3, view.positions - most))
        positions = tuple(range(first, min(view.positions, first + most)))
        levels = tuple(range(count)) if count <= ROWS else tuple(i * (count - 1) // (ROWS - 1) for i in range(ROWS))
        label, gap = (72.0, 7.0) if sheet.wide else (34.0, 5.0)
        left, top = sheet.left + label, sheet.top + (14.0 if sheet.wide else 36.0)
        out, into, below = (26.0, 26.0, 64.0) if sheet.wide else (22.0, 22.0, 76.0)
        pitch = min((sheet.right - left + gap) / len(positions), 150.0)
        room = sheet.bottom - 6 - below - into - 8 - (top + out + 8)
        high = min(room / len(levels), 72.0 if sheet.wide else 64.0)
        cells, ins, outs = {}, {}, {}
        for place, position in enumerate(positions):
            x, wide = left + place * pitch, pitch - gap
            outs[position] = Box(x, top, wide, out)
            for row, level in enumerate(levels):
                y = top + out + 8 + (len(levels) - 1 - row) * high
                cells[level, position] = Box(x, y, wide, high - 3)
            ins[position] = Box(x, top + out + 8 + len(levels) * high + 5, wide, into)
        return cls(view=view, sheet=sheet, positions=positions, levels=levels, cells=cells, ins=ins, outs=outs)

    @property
    def later_steps(self) -> list[int]:
        """The steps after the first whose position is shown."""
        return [step for step in range(1, self.view.steps) if self.view.followed + step in self.positions]

    @property
    def drops(self) -> bool:
        """Whether any position that is shown falls out of what a block can still read."""
        states = self.view.states
        return any(block[position] == DROPPED for step in states for block in step for position in self.positions)

    def decided_at(self, position: int) -> int:
        """The lowest of the levels shown from which on the likeliest token is that of the last level."""
        words, since = self.view.words, self.levels[-1]
        for level in reversed(self.levels):
            if words[level][position] != words[-1][position]:
                break
            since = level
        return since


def head(grid: XrayGrid) -> list[Node]:
    """Which part of the record is shown, and what colours, frames and dashes mean."""
    view, sheet = grid.view, grid.sheet
    some = len(grid.positions) < view.positions
    parts = [_tracks(grid)] if some else []
    if len(grid.levels) < view.levels:
        parts.append(tr("{shown} of {levels} levels", shown=len(grid.levels), levels=view.levels))
    wide, y = (190.0, 26.0) if sheet.wide else (160.0, sheet.top + 2)
    nodes = legend("sequential", Box(sheet.right - wide, y, wide, 9.0), sheet.small, "0", "100%", tr("probability"))
    if sheet.wide:
        after = sheet.left + text_width(tr(TITLE), sheet.big, "sans", 600) + 20
        nodes.append(Text(after, sheet.pad + sheet.big, listed(parts), sheet.small, fill=palette.QUIET))
        return nodes + _key(grid, 62.0)
    for i, part in enumerate(parts):
        nodes.append(Text(sheet.left, sheet.top + 10 + 15 * i, part, sheet.small, fill=palette.QUIET))
    return nodes + _key(grid, sheet.bottom - 2)


def _tracks(grid: XrayGrid) -> str:
    """Which positions are shown."""
    first, last = grid.positions[0], grid.positions[-1]
    return tr("positions {first} to {last} of {positions}", first=first, last=last, positions=grid.view.positions)


def _key(grid: XrayGrid, y: float) -> list[Node]:
    """How a cell looks in each of its states, in one line of text with its baseline at y."""
    sheet, middle = grid.sheet, colour("sequential", 0.35)
    swatches: list[tuple[str, str | None, str, float, tuple[float, ...]]] = [
        (tr(cache_labels.COMPUTED_CELL), middle, middle, 1.0, ()),
        (tr(cache_labels.KEPT_CELL), None, middle, 2.5, ()),
        (tr("decided"), None, palette.OUTPUT, 2.0, ()),
    ]
    if sheet.wide or not grid.drops:  # a phone has no room for five: the caption says it
        swatches.append((tr("no block yet"), palette.UNTRAINED_FILL, palette.UNTRAINED_FILL, 1.0, ()))
    if grid.drops:
        swatches.insert(2, (tr(cache_labels.DROPPED_CELL), None, palette.UNTRAINED, 1.0, (2.0, 3.0)))
    nodes: list[Node] = []
    x, gap = sheet.left, 18.0 if sheet.wide else 10.0
    for word, fill, stroke, thick, dash in swatches:
        nodes.append(Rect(x + 1, y - 10, 15, 11, 2, fill, stroke, thick, dash))
        nodes.append(Text(x + 21, y, word, sheet.small, fill=palette.QUIET))
        x += 21 + text_width(word, sheet.small) + gap
    return nodes


def row_names(grid: XrayGrid, patterns: Sequence[Pattern]) -> list[Node]:
    """The names of the rows, with the attention pattern of each block where there is room."""
    sheet, nodes = grid.sheet, list[Node]()
    position = grid.positions[0]

    def name(box: Box, wide: str, narrow: str, under: str = "", label: str = "") -> None:
        word = wide if sheet.wide else narrow
        two = bool(under) and sheet.wide and box.h >= 30
        base = centred(box.y, box.h, sheet.small) - (7 if two else 0)
        nodes.append(Text(sheet.left, base, word, sheet.small, fill=palette.QUIET, label=label))
        if two:
            nodes.append(Text(sheet.left, base + 14, under, sheet.small, fill=palette.QUIET))

    name(grid.outs[position], tr("comes out"), tr("out"))
    name(grid.ins[position], tr("goes in"), tr("in"))
    for level in grid.levels:
        box = grid.cells[level, position]
        if level == 0:
            name(box, tr("embedding"), tr("emb."), label=tr("the token's and the position's vector, before any block"))
            continue
        pattern = patterns[level - 1]
        if isinstance(pattern, Banded):
            band = tr("band {width}", width=pattern.width)
        else:
            band = fit(pattern_name(pattern), 68, sheet.small)
        label = tr("after block {number} ({pattern})", number=level, pattern=pattern_name(pattern))
        name(box, tr("block {number}", number=level), tr("b {number}", number=level), band, label)
    return nodes
