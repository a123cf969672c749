"""The two grids of `step`: the gradient norm of each weight matrix, and how far the update moved it; the last block on top."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pellucid.draw.components import marks
from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import centred
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.figures.step_panels import MARGIN, heading
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Group, Node, Rect, Shows, Text
from pellucid.draw.views.labels import three_digits
from pellucid.draw.views.model_parts import BRIEF, block_name, matrix_name
from pellucid.draw.views.step import MatrixNorms
from pellucid.languages import mark, plural, tr


KINDS = tuple(BRIEF)
EMBEDDINGS = (("wte", mark("tokens")), ("wpe", mark("positions")))
REVEALED = 12  # parts in which a grid appears, at most
EMBEDDING = 14.0  # height of the embeddings' row, at least
LEGENDS = 5.6  # of the lesser text's size: what stands below the grids
DENSE = 6.0  # rows less high than this touch
LEGIBLE = 15.0  # a row less high than this has no numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """The place of a weight matrix in a grid, and its name in words."""

    matrix: str
    words: str
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """One of the two grids.

    Attributes:
        place: of the top row, as high as a row. values: a norm for each matrix. percents: whether they are shares of the
            matrix's own norm. source: of the value at a place among the matrices. appear: when the grid appears.
    """

    place: Box
    layers: int
    values: Mapping[str, float]
    percents: bool
    source: Callable[[int], Shows]
    appear: Transition

    @property
    def dense(self) -> bool:
        """Whether its rows touch each other."""
        return self.place.h < DENSE

    def rows(self) -> list[list[_Cell]]:
        """The cells row by row: the blocks, the last on top, and below them the embeddings."""
        x, y, w, h = self.place.x, self.place.y, self.place.w, self.place.h
        rows = []
        for row in range(self.layers):
            names = [f"h.{self.layers - 1 - row}.{kind}" for kind in KINDS]
            boxes = [Box(x + i * w / 4, y + row * h, w / 4, h) for i in range(len(KINDS))]
            words = [f"{matrix_name(name)} ({name})" for name in names]
            rows.append([_Cell(matrix=each, words=said, box=box) for each, said, box in zip(names, words, boxes, strict=True)])
        below = y + self.layers * h + max(0.4 * h, 4.0)
        rows.append([
            _Cell(matrix=name, words=f"{matrix_name(name)} ({name})", box=Box(x + i * w / 2, below, w / 2, max(h, EMBEDDING)))
            for i, (name, _) in enumerate(EMBEDDINGS)
        ])  # fmt: skip
        return rows


def grids(sheet: Sheet, box: Box, layers: int, norms: MatrixNorms, back: Transition, update: Transition) -> list[Node]:
    """Two grids of the model's matrices: gradient norms, and norms of the changes over those of the matrices."""
    size, small = sheet.size, sheet.small
    label_room = text_width(block_name(layers - 1), small) + 8
    gap = 14.0
    w = (box.w - label_room - gap) / 2
    top = box.y + (1.6 * size + 3.0 * small)
    h = row_height(layers, box.bottom - top - LEGENDS * small, 58.0 if sheet.wide else 22.0)
    nodes: list[Node] = []
    if sheet.wide:
        nodes.append(Rect(box.x - MARGIN, box.y - 5, box.w + 2 * MARGIN, box.h + 5, 10, palette.PANEL, palette.FOLLOWED, 1.5))
    words = plural(layers, "The model: {count} block, the last on top", "The model: {count} blocks, the last on top")
    nodes.append(heading(sheet, box, words))
    nodes += _row_names(layers, Box(box.x, top, label_room - 8, h), small)
    sides = (
        (tr("gradient norm"), norms.gradients, norms.gradient_source, back),
        (tr("change, % of length"), norms.changes, norms.change_source, update),
    )
    for side, (words, values, source, appear) in enumerate(sides):
        place = Box(box.x + label_room + side * (w + gap), top, w, h)
        nodes.append(Text(place.x, box.y + 1.6 * size + 1.0 * small, fit(words, w, small, "sans", 600), small, 600))
        if values is None:
            nodes.append(Text(place.x, top + small, tr("not in this record"), small, fill=palette.QUIET))
            continue
        for i, kind in enumerate(KINDS):
            x = place.x + (i + 0.5) * w / 4
            nodes.append(Text(x, top - 0.4 * small, tr(BRIEF[kind]), small, anchor="middle", fill=palette.QUIET))
        grid = _Grid(place=place, layers=layers, values=values, percents=side == 1, source=source, appear=appear)
        nodes += [*_empty_cells(grid), *_filled_rows(grid, small), *_foot(grid, small)]
    return nodes


def _row_names(layers: int, first: Box, size: float) -> list[Node]:
    """The names of the blocks, right-aligned in boxes below `first`: of as many as have room."""
    each = max(1, -(-int(size * 1.25) // max(1, int(first.h))))
    nodes: list[Node] = []
    for row in range(layers):
        if (layers - 1 - row) % each == 0:
            base = centred(first.y + row * first.h, first.h, size)
            words = block_name(layers - 1 - row)
            nodes.append(Text(first.x + first.w, base, words, size, anchor="end", fill=palette.QUIET))
    return nodes


def row_height(layers: int, room: float, most: float) -> float:
    """The height of a block's row where all blocks and the embeddings share `room`; at most `most`."""
    return min(most, (room - EMBEDDING) / (layers + 0.4), room / (layers + 1.4))


def grids_height(layers: int, size: float, small: float) -> float:
    """The height of the grids where room is not limited, as on a phone."""
    h = min(22.0, max(3.0, 200 / layers))
    return 1.6 * size + (3.0 + LEGENDS) * small + h * (layers + 0.4) + max(h, EMBEDDING)


def _empty_cells(grid: _Grid) -> list[Node]:
    """The frames that are there before the values appear: of each cell, or of all blocks where rows touch."""
    place = grid.place
    if grid.dense:
        frame = Rect(place.x, place.y, place.w - 1.5, grid.layers * place.h, 0, palette.PAPER, palette.LINE, 0.75)
        return [frame]
    boxes = [cell.box for row in grid.rows() for cell in row]
    return [Rect(box.x, box.y, box.w - 1.5, box.h - 1.5, 2, palette.PAPER, palette.LINE, 0.75) for box in boxes]


def _filled_rows(grid: _Grid, size: float) -> list[Node]:
    """The rows with their values, which appear from the top down, in at most `REVEALED` jumps."""
    rows, start, settled = grid.rows(), grid.appear.start, grid.appear.settled
    short = _hundredths if grid.percents else _short
    room = min(grid.place.w / 4 - 4, grid.place.w)
    numbers = grid.place.h >= LEGIBLE and all(text_width(short(value), size) <= room for value in grid.values.values())
    nodes: list[Node] = []
    for i, row in enumerate(rows):
        part = i * REVEALED // len(rows) + 1 if len(rows) > REVEALED else i + 1
        at = start + (settled - start) * part / min(len(rows), REVEALED)
        cells = [node for cell in row for node in _filled_cell(grid, cell, size, short if numbers else None)]
        nodes.append(Group(tuple(cells), opacity=Keyframes((0.0, 0.0), (min(round(at, 2), settled), 1.0))))
    return nodes


def _filled_cell(grid: _Grid, cell: _Cell, size: float, number: Callable[[float], str] | None) -> list[Node]:
    """A cell as dark as its value is large against the largest, with its number where there is room."""
    value, box = grid.values[cell.matrix], cell.box
    gap, radius, line = (0.0, 0, None) if grid.dense else (1.5, 2, palette.LINE)
    fill = marks.colour("sequential", value / (max(grid.values.values()) or 1.0))
    if grid.percents:
        label = tr("{matrix}: {percent:.3g}% of its length", matrix=cell.words, percent=value * 100)
    else:
        label = tr("{matrix}: gradient norm {value:.4g}", matrix=cell.words, value=value)
    shows = grid.source(list(grid.values).index(cell.matrix))
    w, h = box.w - 1.5, box.h - gap
    nodes: list[Node] = [Rect(box.x, box.y, w, h, radius, fill, line, 0.75, label=label, shows=shows)]
    if number is not None:
        base, ink = centred(box.y, h, size), palette.ink_on(fill)
        nodes.append(Text(box.x + w / 2, base, number(value), size, anchor="middle", fill=ink, label=label, shows=shows))
    return nodes


def _foot(grid: _Grid, size: float) -> list[Node]:
    """Below a grid: the names of the embeddings, and the legend of its colours."""
    place, high = grid.place, max(grid.values.values()) or 1.0
    y = grid.rows()[-1][0].box.y
    y += max(place.h, EMBEDDING) + 3
    nodes: list[Node] = []
    for i, (_, words) in enumerate(EMBEDDINGS):
        x = place.x + (i + 0.5) * place.w / 2
        nodes.append(Text(x, y + size, tr(words), size, anchor="middle", fill=palette.QUIET))
    most = f"{high * 100:.3g}%" if grid.percents else three_digits(high)
    legend = marks.legend("sequential", Box(place.x, y + 2.0 * size, place.w, 6), size, "0", most)
    return [*nodes, Group(tuple(legend), opacity=animate(0.0, (grid.appear, 1.0)))]


def _hundredths(share: float) -> str:
    """A share in hundredths, short enough for a cell."""
    return _short(share * 100)


def _short(value: float) -> str:
    """A number in two digits, short enough for a cell: 12, 1.2, .12, .012, 2e-3."""
    if value == 0:
        return "0"
    if value >= 0.0995:
        return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.995 else f"{value:.2f}".lstrip("0")
    return f"{value:.3f}".lstrip("0") if value >= 0.00995 else f"{value:.0e}".replace("e-0", "e-")
