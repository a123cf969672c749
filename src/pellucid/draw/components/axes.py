"""The parts of line charts: grid lines, the axis of steps, rows of a legend, and lines through points."""

from collections.abc import Callable, Sequence
from math import floor, isfinite
from typing import Any

from pellucid.draw.components.parts import circle
from pellucid.draw.components.scales import LinearScale, Scale, nice_step
from pellucid.draw.film import palette
from pellucid.draw.film.keyframes import rounded
from pellucid.draw.film.nodes import Node, Path, Shows, Text


MOST_DOTS = 60  # a held-out curve with more points than this has no dots

Point = tuple[float, float]


def loss_scale(values: Sequence[float], start: float, end: float) -> LinearScale:
    """An upright scale of losses between round numbers that all the values lie between."""
    low, high = min(values), max(values)
    step = nice_step(high - low, 6) if high > low else max(0.1, abs(high) * 0.1)
    return LinearScale(floor(low / step) * step, (floor(high / step) + 1) * step, start, end)


def grid_lines(scale: LinearScale, ticks: Sequence[tuple[float, str]], left: float, right: float, size: float) -> list[Node]:
    """A horizontal line for each tick (value, label) of an upright scale, from left to right, its label left of it."""
    nodes: list[Node] = []
    for value, text in ticks:
        y = scale.place(value)
        nodes.append(Path((("M", left, y), ("L", right, y)), stroke=palette.LINE))
        nodes.append(Text(left - 0.6 * size, y + 0.36 * size, text, size, anchor="end", fill=palette.QUIET))
    return nodes


def step_axis(
    ticks: Sequence[tuple[float, str]], left: float, right: float, y: float, size: float, *, name: str, name_lines: float
) -> list[Node]:
    """The line below a chart, its ticks (position, label) and its name.

    Args:
        y: of the line. name_lines: from the line down to the name's baseline, in text sizes.
    """
    nodes: list[Node] = []
    for x, text in ticks:
        nodes.append(Path((("M", x, y), ("L", x, y + 0.35 * size)), stroke=palette.QUIET))
        nodes.append(Text(x, y + 1.4 * size, text, size, anchor="middle", fill=palette.QUIET))
    nodes.append(Path((("M", left, y), ("L", right, y)), stroke=palette.QUIET))
    nodes.append(Text((left + right) / 2, y + name_lines * size, name, size, anchor="middle", fill=palette.QUIET))
    return nodes


def in_rows(widths: Sequence[float], x: float, y: float, left: float, right: float, gap: float, row: float) -> list[Point]:
    """Where the entries of a legend begin, side by side from (x, y), in rows from left to right.

    Args:
        gap: between two entries. row: from one row to the next.

    Returns:
        The position of each entry, and last that of one more.
    """
    places = []
    for width in widths:
        if x > left and x + width > right:
            x, y = left, y + row
        places.append((x, y))
        x += width + gap
    return [*places, (x, y)]


def polyline(points: Sequence[Point]) -> tuple[tuple[Any, ...], ...]:
    """A line through points as commands of a path, rounded; a single point is a line of no length."""
    (x, y), *others = [(rounded(x), rounded(y)) for x, y in points]
    return (("M", x, y), *(("L", *point) for point in others or [(x, y)]))


def decimated(points: Sequence[Point], x_scale: Scale, y_scale: Scale) -> list[list[Point]]:
    """Points (step, loss) as positions, in runs without gaps; of several in a column one unit wide the lowest and highest.

    A loss that is not finite ends a run.
    """
    runs: list[list[Point]] = []
    columns: dict[int, list[Point]] = {}

    def close() -> None:
        if columns:
            runs.append([point for column in columns.values() for point in _extremes(column)])
            columns.clear()

    for step, loss in points:
        if not isfinite(loss):
            close()
            continue
        place = (x_scale.place(step), y_scale.place(loss))
        columns.setdefault(floor(place[0]), []).append(place)
    close()
    return runs


def _extremes(column: list[Point]) -> list[Point]:
    if len(column) <= 2:
        return column
    ends = {min(column, key=lambda point: point[1]), max(column, key=lambda point: point[1])}
    return [point for point in column if point in ends]


def loss_dots(
    points: Sequence[Point], place: Callable[[Point], Point], radius: float, label: Callable[[Point], str],
    shows: Callable[[int], Shows],
) -> list[Node]:  # fmt: skip
    """A dot with a label for each finite loss (step, loss); none where there are more than `MOST_DOTS`."""
    if len(points) > MOST_DOTS:
        return []
    return [
        Path(circle(*place(point), radius), fill=palette.SERIES[1], stroke=palette.PAPER, label=label(point), shows=shows(i))
        for i, point in enumerate(points)
        if isfinite(point[1])
    ]
