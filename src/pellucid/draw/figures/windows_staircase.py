"""The staircase of `windows`: in row i the first i tokens of a window are given, and the next one is the label."""

from collections.abc import Sequence
from typing import Any

from pellucid.draw.components import marks
from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import centred, token_width
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate, visible_from
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Group, Node, Rect, Text
from pellucid.draw.views.windows import TextWindow, WindowsView
from pellucid.languages import tr


GAP = 4.0  # between tokens

Column = tuple[float, float]  # left edge of a token, from that of the first; its width


def token_columns(view: WindowsView, window: TextWindow, table: Box, size: float) -> list[Column]:
    """The columns of as many of a window's tokens as have room, two at least: those too long for it are cut."""
    # After the last token stands a loss, or how many tokens more there are.
    width = table.w - _gutter(size) - text_width(_more(len(window.ids)), size) - 10
    found: list[Column] = []
    at = 0.0
    for ident in window.ids:
        w = min(token_width(view.pieces.shown(ident), size), width / 2 - GAP)
        if len(found) >= 2 and at + w > width:
            break
        found.append((at, w))
        at += w + GAP
    return found


def staircase(
    view: WindowsView, window: TextWindow, columns: Sequence[Column], table: Box, sheet: Sheet, *, cell: float, rows: int,
    most: float, grow: Transition | None, cost: Transition | None,
) -> list[Node]:  # fmt: skip
    """The window's first tokens in a row, and below them an example a row: what is given, the label, its loss.

    Args:
        columns: from `token_columns`. cell: height of a token. rows: the most there may be.
        most: the loss of the darkest label.
        grow, cost: when the rows and the losses appear; None: all are there from the start.
    """
    small = sheet.small
    x0, y0 = table.x + _gutter(small), table.y
    rows = min(rows, len(columns) - 1)
    step = cell + GAP
    nodes = _first_row(view, window, columns, x0, y0, cell, small)
    for row in range(1, rows + 1):
        y = y0 + step * row + 6
        boxes = [Box(x0 + left, y, w, cell) for left, w in columns[: row + 1]]
        visible: Any = 1.0
        if grow is not None:
            at = grow.start + (grow.settled - grow.start) * row / rows
            visible = Keyframes((0.0, 0.0), (min(round(at, 2), grow.settled), 1.0))
        number = Text(x0 - 6, centred(y, cell, small), f"{row}", small, anchor="end", fill=palette.QUIET)
        features: list[Node] = []
        for i in range(row):  # one by one: characters of several tokens are marked in the first row only
            ids, box = window.ids[i : i + 1], boxes[i]
            features += marks.token_boxes(view.pieces, ids, [box], small, roles=["input"], sources=[window.token(i)])
        label = _label(view, window, row, boxes[row], most, small, cost)
        loss = Text(
            boxes[row].right + 6, centred(y, cell, small), f"{window.losses[row - 1]:.2f}", small,
            opacity=1.0 if cost is None else animate(0.0, (cost, 1.0, "linear")), shows=window.loss(row),
        )  # fmt: skip
        nodes.append(Group((number, *features, label, loss), opacity=visible))
    y = y0 + step * (rows + 1) + 6 + sheet.small
    if left := len(window.losses) - rows:
        words = tr("… and {left:,} more rows, the last with {given:,} tokens given", left=left, given=len(window.losses))
        visible = 1.0 if grow is None else visible_from(grow)
        nodes.append(Text(x0, y, fit(words, sheet.right - x0, small), small, fill=palette.QUIET, opacity=visible))
    return nodes


def _gutter(size: float) -> float:
    """Room for the rows' numbers."""
    return text_width("10", size) + 8


def _more(count: int) -> str:
    """The words in the place of tokens that have no room."""
    return tr("… {count:,} more", count=count)


def _first_row(
    view: WindowsView, window: TextWindow, columns: Sequence[Column], x: float, y: float, cell: float, size: float
) -> list[Node]:
    """The tokens that have columns, and how many more there are."""
    count = len(columns)
    boxes = [Box(x + left, y, w, cell) for left, w in columns]
    nodes = marks.token_boxes(
        view.pieces, window.ids[:count], boxes, size, roles=["plain"] * count, sources=[window.token(i) for i in range(count)]
    )
    if more := len(window.ids) - count:
        left, w = columns[-1]
        nodes.append(Text(x + left + w + 6, centred(y, cell, size), _more(more), size, fill=palette.QUIET))
    return nodes


def _label(
    view: WindowsView, window: TextWindow, i: int, box: Box, most: float, size: float, cost: Transition | None
) -> Node:
    """The token to be predicted: pink, then as dark as it was unexpected."""
    loss = window.losses[i - 1]
    dark = marks.colour("sequential", loss / most)
    fill, ink = dark, palette.ink_on(dark)
    if cost is not None:
        fill = animate(palette.OUTPUT_FILL, (cost, dark, "linear"))
        ink = animate(palette.INK, (cost, ink, "linear"))
    words = fit(view.pieces.shown(window.ids[i]), box.w - 0.5 * size, size, "mono")
    text = Text(box.middle, centred(box.y, box.h, size), words, size, 400, "mono", "middle", ink)
    frame = Rect(box.x, box.y, box.w, box.h, min(6.0, box.h / 4), fill, palette.OUTPUT, 1.5)
    label = tr("label {token}: loss {loss:.3f}", token=view.pieces.described(window.ids[i]), loss=loss)
    return Group((frame, text), label=label, shows=window.loss(i))
