"""Which numbers changed: part of `finetuning`. A row for each kind of matrix, a column for each block.

Where a model has more blocks than maps have room, neighbouring blocks share one map, the mean of theirs; the bars below it are
still one a block.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from pellucid.draw.components.marks import Box, legend, sequential
from pellucid.draw.components.scales import LengthScale
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.nodes import Image, Matrix, Node, Path, Rect, Shows, Text
from pellucid.draw.views.finetuning import FinetuningView, MatrixChange
from pellucid.draw.views.labels import percent, three_digits
from pellucid.draw.views.model_parts import MATRICES, SHORT, block_name, matrix_name
from pellucid.languages import tr


MOST_MAPS = 12  # in a row


@dataclass(frozen=True, slots=True, kw_only=True)
class _ChangeGrid:
    """Where the blocks stand: `x` of block 0, from block to block, how many share a map; sizes of a row's map and bars."""

    view: FinetuningView
    sheet: Sheet
    x: float
    pitch: float
    group: int
    map_w: float
    map_h: float
    bar_h: float
    full: float

    def starts(self, count: int) -> range:
        """The first block of each map."""
        return range(0, count, self.group)


def changes(view: FinetuningView, sheet: Sheet, box: Box, out: Transition) -> list[Node]:
    """The maps and bars of every block and of the embeddings, empty until the model comes out."""
    small, count = sheet.small, view.model.config.n_layers
    nodes: list[Node] = [Text(box.x, box.y + small, tr("Which numbers changed"), small, 600)]
    label = max(text_width(tr(SHORT[kind]), small) for kind in view.blocks) + 10
    x, top = box.x + label, box.y + 1.9 * small
    pitch, group = (box.right - x) / count, ceil(count / MOST_MAPS)
    low = box.bottom - 3.0 * small - 3.6 * small  # legend, embeddings
    row = (low - top - 1.3 * small) / len(view.blocks)
    bar_h = 1.5 * small
    map_h = row - bar_h - 9
    map_w = min(pitch * group - 2, 4 * map_h)
    moved = [one.moved for one in view.drawn if one.moved is not None]
    grid = _ChangeGrid(view=view, sheet=sheet, x=x, pitch=pitch, group=group, map_w=map_w, map_h=map_h, bar_h=bar_h,
                 full=max(moved, default=0.0))  # fmt: skip
    for i, kind in enumerate(view.blocks):
        nodes += _row(grid, kind, box, top + i * row, out)
    y = top + len(view.blocks) * row + small
    every = group * ceil(26 / (pitch * group))
    for block in sorted({count - 1, *range(0, count, every)}):
        if block in (0, count - 1) or count - 1 - block >= every:
            nodes.append(Text(x + (block + 0.5) * pitch, y, f"{block + 1}", small, anchor="middle", fill=palette.QUIET,
                              label=block_name(block)))  # fmt: skip
    nodes.append(Text(box.x, y, tr("block"), small, fill=palette.QUIET))
    nodes += _embeddings(grid, box, y + 0.9 * small, out)
    return nodes + _legend(view, sheet, box)


def _row(grid: _ChangeGrid, kind: str, box: Box, y: float, out: Transition) -> list[Node]:
    """One kind of matrix: its name and its largest change, a map for each block or group of blocks, a bar for each block."""
    view, small = grid.view, grid.sheet.small
    row = view.blocks[kind]
    count = len(row)
    nodes: list[Node] = [Text(box.x, y + 1.1 * small, tr(SHORT[kind]), small, label=f"{kind}: {tr(MATRICES[kind])}")]
    known = [one for one in row if one is not None and one.moved is not None]
    if known:
        most = max(known, key=lambda one: one.moved or 0.0)
        words = f"≤ {percent(most.moved or 0.0)}"
        nodes.append(Text(box.x, y + grid.map_h + 0.95 * grid.bar_h, words, small, fill=palette.QUIET,
                          opacity=animate(0, (out, 1)), shows=most.shows))  # fmt: skip
    for first in grid.starts(count):
        of_map = [one for one in row[first : first + grid.group] if one is not None]
        wide = grid.pitch * min(grid.group, count - first)
        nodes += _map(grid, of_map, Box(grid.x + first * grid.pitch + (wide - grid.map_w) / 2, y, grid.map_w, grid.map_h), out)
    low = y + grid.map_h + 3 + grid.bar_h
    bars = LengthScale(grid.bar_h, grid.full)
    thick = min(0.7 * grid.pitch, 26.0)
    for block, one in enumerate(row):
        if one is None or one.moved is None:
            continue
        tall = bars.length(one.moved)
        label = tr(
            "{matrix} ({tensor}): moved by {share} of its length", matrix=matrix_name(one.name), tensor=one.name,
            share=percent(one.moved),
        )  # fmt: skip
        nodes.append(
            Rect(grid.x + (block + 0.5) * grid.pitch - thick / 2, animate(low, (out, low - tall, "move")), thick,
                 animate(0.0, (out, tall, "move")), 0, palette.FINETUNING, label=label, shows=one.shows)
        )  # fmt: skip
    nodes.append(Path((("M", grid.x, low), ("L", box.right, low)), stroke=palette.LINE))
    return nodes


def _map(grid: _ChangeGrid, of_map: list[MatrixChange], box: Box, out: Transition) -> list[Node]:
    """The mean |change| by tile, of one matrix or the mean of several; a frame where the record has none."""
    edge = Rect(box.x, box.y, box.w, box.h, 0, None, palette.LINE)
    tiles = [one.tiles for one in of_map if one.tiles is not None]
    if not tiles or not grid.view.most:
        return [edge]
    values = np.minimum(np.mean(tiles, axis=0), grid.view.most)
    first, last = (matrix_name(one.name) for one in (of_map[0], of_map[-1]))
    names = first if len(of_map) == 1 else tr("{first} to {last}, mean", first=first, last=last)
    none: Any = Matrix.of(np.zeros(values.shape, np.uint8))
    picture = Image(
        animate(none, (out, sequential(values, 0.0, grid.view.most), "settle")), "sequential", box.x, box.y, box.w, box.h,
        label=tr("{matrix}: |change| by tile, {mean} on average", matrix=names, mean=three_digits(float(np.mean(tiles)))),
        shows=Shows(f"finetuning/thumbnails/{of_map[0].name}"),
    )  # fmt: skip
    return [picture, edge]


def _embeddings(grid: _ChangeGrid, box: Box, y: float, out: Transition) -> list[Node]:
    """The token and the position matrix, each with its change."""
    view, small = grid.view, grid.sheet.small
    high, wide = 2.4 * small, 5.0 * small
    nodes: list[Node] = [Text(box.x, y + 1.6 * small, tr("embeddings"), small, fill=palette.QUIET)]
    x = grid.x
    room = (box.right - x) / max(1, len(view.embeddings))
    for one in view.embeddings:
        nodes += _map(grid, [one], Box(x, y, wide, high), out)
        label, name = f"{one.name}: {tr(MATRICES[one.name])}", tr("token") if one.name == "wte" else tr("position")
        nodes.append(Text(x + wide + 6, y + 1.0 * small, fit(name, room - wide - 10, small), small, label=label))
        if one.moved is not None:
            nodes.append(Text(x + wide + 6, y + 2.3 * small, percent(one.moved), small, fill=palette.QUIET,
                              opacity=animate(0, (out, 1)), shows=one.shows))  # fmt: skip
        x += room
    return nodes


def _legend(view: FinetuningView, sheet: Sheet, box: Box) -> list[Node]:
    """What the maps' colours mean; in their place, that the record has none."""
    small = sheet.small
    y = box.bottom - 2.2 * small
    if not view.most:
        known = any(one.tiles is not None for one in view.drawn)
        words = tr("no number has changed") if known else tr("maps of the changes: not in this record")
        return [Text(box.x, box.bottom - 0.4 * small, words, small, fill=palette.QUIET)]
    wide = 110.0
    nodes = legend("sequential", Box(box.x, y, wide, 8), small, "0", f"≥ {three_digits(view.most)}")
    for i, words in enumerate((tr("maps: size of the change, by tile"), tr("bars: change in % of the matrix"))):
        base = y + 0.6 * small + i * 1.35 * small
        nodes.append(Text(box.x + wide + 14, base, fit(words, box.w - wide - 14, small), small, fill=palette.QUIET))
    return nodes
