"""The panels of `one-parameter`: the points with the line, the error over w, the steps as a table, all parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

from pellucid.draw.components.axes import grid_lines, polyline, step_axis
from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import arrow, centred, circle
from pellucid.draw.components.scales import LinearScale, nice_step, ticks_with_room
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.keyframes import rounded
from pellucid.draw.film.nodes import Clip, Gradient, Group, Node, Path, Rect, Text, given
from pellucid.draw.views.labels import SUPERSCRIPTS, four_digits
from pellucid.draw.views.one_parameter import GradientStep, OneParameterView
from pellucid.languages import tr


LINE, LINE_PALE = palette.SERIES[0], palette.SERIES_PALE
WRONG, WRONG_PALE = palette.SERIES[1], palette.PRETRAINING_FILL  # residuals, and the error made of them
SLOPE = palette.SERIES[2]
BEYOND = 1.25  # of the way from the start to the best w, on either side of it: how much of the curve is shown
FLAT = 0.6  # an error axis begins at 0 unless the least error is more than this share of the largest
SQUARE = 8.0  # side of a square that stands for one parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class FitTransitions:
    """When each part is shown. moves: one for each step."""

    points: Transition
    line: Transition
    residuals: Transition
    curve: Transition
    tangent: Transition
    moves: tuple[Transition, ...]
    best: Transition
    many: Transition

    def by_step(self, values: Sequence[Any]) -> Any:
        """A value that jumps with each step: the first holds until the first step."""
        return animate(values[0], *zip(self.moves, values[1:], strict=True))


@dataclass(frozen=True, slots=True)
class _Axis:
    """A scale in units of a power of ten, for which its numbers are short."""

    scale: LinearScale
    power: int

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float) -> "_Axis":
        """Between round numbers that all the values, of which two differ, lie between."""
        largest = max(map(abs, values))
        power = 0 if 0.01 <= largest < 1e5 else 3 * floor(log10(largest) / 3)
        low, high = min(values) / 10.0**power, max(values) / 10.0**power
        step = nice_step(high - low, 5)
        return cls(LinearScale(floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step, start, end), power)

    def place(self, value: float) -> float:
        """The position of a value."""
        return rounded(self.scale.place(value / 10.0**self.power))

    def named(self, name: str, room: float, size: float) -> str:
        """The axis's name, with the power of ten that its numbers leave out."""
        unit = f" (× 10{str(self.power).translate(SUPERSCRIPTS)})" if self.power else ""
        return fit(name, room - text_width(unit, size), size) + unit


@dataclass(frozen=True, slots=True)
class _Plot:
    """A pair of axes in a panel, and their nodes."""

    across: _Axis
    up: _Axis
    nodes: tuple[Node, ...]

    def point(self, x: float, y: float) -> tuple[float, float]:
        """The position of a point."""
        return self.across.place(x), self.up.place(y)

    def inside(self, nodes: Sequence[Node]) -> Clip:
        """Nodes cut off at the plot's edges."""
        left, right, low, top = self.across.scale.start, self.across.scale.end, self.up.scale.start, self.up.scale.end
        return Clip(tuple(nodes), left - 6, top - 6, right - left + 12, low - top + 12)


def _plot(sheet: Sheet, box: Box, xs: Sequence[float], ys: Sequence[float], x: str, y: str) -> _Plot:
    """Axes below the heading of a panel; x and y are their names."""
    size = sheet.small
    top, low = box.y + 1.6 * sheet.size + 1.6 * size, box.bottom - 2.9 * size
    up = _Axis.of(ys, low, top)
    ticks = ticks_with_room(up.scale, size, vertical=True)
    left = box.x + max(text_width(words, size) for _, words in ticks) + 0.6 * size
    across = _Axis.of(xs, left, box.right - 1.5 * size)
    nodes: list[Node] = [Text(box.x, top - 0.9 * size, up.named(y, box.w, size), size, fill=palette.QUIET)]
    nodes += grid_lines(up.scale, ticks, left, across.scale.end, size)
    below = [(across.scale.place(value), words) for value, words in ticks_with_room(across.scale, size)]
    name = across.named(x, across.scale.end - left, size)
    nodes += step_axis(below, left, across.scale.end, low, size, name=name, name_lines=2.6)
    return _Plot(across, up, tuple(nodes))


def _heading(sheet: Sheet, box: Box, words: str, value: Any, colour: str, **rest: Any) -> list[Node]:
    """A panel's heading, and at its right end the present value of what it shows."""
    y = box.y + sheet.size
    return [
        Text(box.x, y, words, sheet.size, 600),
        Text(box.right, y, value, sheet.size, 600, anchor="end", fill=colour, **rest),
    ]


def _label(number: int, step: GradientStep) -> str:
    w, error, slope = map(four_digits, (step.w, step.error, step.slope))
    return tr("after step {number}: w = {w}, error = {error}, slope = {slope}", number=number, w=w, error=error, slope=slope)


def points(view: OneParameterView, sheet: Sheet, box: Box, when: FitTransitions) -> list[Node]:
    """The points, the line of the present w with the earlier ones pale behind it, and the residuals."""
    ws = [step.w for step in view.steps]
    xs = [0.0, *(x for x, _ in view.points)]
    low, high = min(xs), max(xs)
    ys = [0.0, *(y for _, y in view.points), *(w * x for w in (ws[0], ws[-1]) for x in (low, high))]
    plot = _plot(sheet, box, xs, ys, view.table.x, view.table.y)
    nodes: list[Node] = [*plot.nodes]
    now = when.by_step([f"w = {four_digits(w)}" for w in ws])
    last = len(ws) - 1
    nodes += _heading(
        sheet, box, tr("The points, and y = w x"), now, LINE, opacity=animate(0, (when.line, 1)), shows=view.shows_step(last)
    )
    for number, step in enumerate(view.steps):
        appears = when.moves[number - 1] if number else when.line
        passed = () if number == last else ((when.moves[number], LINE_PALE),)
        thin = () if number == last else ((when.moves[number], 1.0),)
        ends = [plot.point(x, step.w * x) for x in (low, high)]
        nodes.append(
            Path(polyline(ends), stroke=animate(LINE, *passed), stroke_width=animate(2.5, *thin),
                 opacity=animate(0, (appears, 1)), label=_label(number, step), shows=view.shows_step(number))
        )  # fmt: skip
    nodes += _residuals(view, plot, when)
    for number in view.drawn:
        x, y = view.points[number]
        name = view.table.names[number]
        nodes.append(
            Path(circle(*plot.point(x, y), 3.6), fill=palette.INK, stroke=palette.PAPER,
                 label=f"{name}{': ' if name else ''}x = {x:g}, y = {y:g}", shows=view.shows_point(number))
        )  # fmt: skip
    return nodes


def _residuals(view: OneParameterView, plot: _Plot, when: FitTransitions) -> list[Node]:
    """An upright line from each point to the line of the present w."""
    nodes: list[Node] = []
    for number in view.drawn:
        x, y = view.points[number]
        at, end = plot.point(x, y)
        places = [plot.up.place(step.w * x) for step in view.steps]
        nodes.append(
            Rect(at - 0.9, when.by_step([min(end, place) for place in places]), 1.8,
                 when.by_step([abs(end - place) for place in places]), 0, WRONG, opacity=animate(0, (when.residuals, 1)))
        )  # fmt: skip
    return nodes


def error_curve(view: OneParameterView, sheet: Sheet, box: Box, when: FitTransitions) -> list[Node]:
    """The error over w, a dot for each step so far, the slope at the present one, and at the end the best w."""
    best, size = view.best, sheet.small
    reach = BEYOND * abs(view.steps[0].w - best.w)
    left, right = best.w - reach, best.w + reach
    high = view.error(left)
    low = best.error if best.error > FLAT * high else 0.0
    plot = _plot(sheet, box, [left, right], [low, high], "w", tr("mean of the squares"))
    there = animate(0, (when.curve, 1))
    now = when.by_step([tr("error = {error}", error=four_digits(step.error)) for step in view.steps])
    last = len(view.steps) - 1
    heading = _heading(sheet, box, tr("The error of every w"), now, WRONG, shows=view.shows_step(last))
    # A parabola is one quadratic curve, whose middle point is where the tangents of its ends meet: half-way across.
    slope = 2 * (high - best.error) / (left - best.w)
    ends, middle = (plot.point(left, high), plot.point(right, high)), plot.point(best.w, high + slope * (best.w - left))
    curve = Path((("M", *ends[0]), ("Q", *middle, *ends[1])), stroke=WRONG, stroke_width=2, label=tr("the error of every w"))
    drawn: list[Node] = [curve, *_tangents(view, plot, when)]
    for number, step in enumerate(view.steps):
        appears = when.moves[number - 1] if number else when.curve
        passed = () if number == last else ((when.moves[number], WRONG_PALE),)
        drawn.append(
            Path(circle(*plot.point(step.w, step.error), 4.6), fill=animate(WRONG, *passed), stroke=WRONG,
                 opacity=animate(0, (appears, 1)), label=_label(number, step), shows=view.shows_step(number))
        )  # fmt: skip
    x, low = plot.point(best.w, best.error)
    words = tr("best w = {w}", w=four_digits(best.w))
    top = plot.up.scale.end + size
    mark: list[Node] = [
        Path((("M", x, top + 6), ("L", x, low)), stroke=palette.QUIET, dash=(3.0, 3.0)),
        Text(x, top, words, size, anchor="middle", fill=palette.QUIET, shows=view.shows_step(last)),
    ]
    whole = Group((*plot.nodes, plot.inside(drawn), Group(tuple(mark), opacity=animate(0, (when.best, 1)))), opacity=there)
    return [Group(tuple(heading), opacity=animate(0, (when.residuals, 1))), whole]


def _tangents(view: OneParameterView, plot: _Plot, when: FitTransitions) -> list[Node]:
    """The slope at each w from which a step is taken, down to the next w, and from there up to the curve."""
    nodes: list[Node] = []
    for number, (step, after) in enumerate(zip(view.steps, view.steps[1:], strict=False)):
        appears = when.moves[number - 1] if number else when.tangent
        later = when.moves[number + 1] if number + 1 < len(when.moves) else when.best
        moves = after.w - step.w
        ends = [plot.point(step.w + share * moves, step.error + step.slope * share * moves) for share in (-0.25, 1.0)]
        lands = [ends[1], plot.point(after.w, after.error)]
        label = tr("slope {slope} at w = {w}", slope=four_digits(step.slope), w=four_digits(step.w))
        gone = animate(0, (appears, 1), (later, 0))
        shows = view.shows_step(number)
        nodes.append(Path(polyline(ends), stroke=SLOPE, stroke_width=2, opacity=gone, label=label, shows=shows))
        nodes.append(
            Path(polyline(lands), stroke=SLOPE, dash=(3.0, 3.0), opacity=animate(0, (when.moves[number], 1), (later, 0)))
        )
    return nodes


def steps_table(view: OneParameterView, sheet: Sheet, box: Box, when: FitTransitions) -> list[Node]:
    """Each step in numbers: w, its slope, what is added to w, the error."""
    size = sheet.small
    rate = tr("learning rate = {rate}", rate=four_digits(view.rate))
    nodes: list[Node] = _heading(sheet, box, tr("Step by step"), rate, SLOPE, opacity=animate(0, (when.tangent, 1)))
    rights = [box.x + 30 + (i + 1) * (box.w - 30) / 4 for i in range(4)]
    y = box.y + sheet.size + 1.6 * size
    row = (box.bottom - y) / len(view.steps)
    heads = ("w", tr("slope"), tr("w moves by"), tr("error"))
    nodes.append(Text(box.x, y, tr("step"), size, 600))
    nodes += [Text(right, y, head, size, 600, anchor="end") for right, head in zip(rights, heads, strict=True)]
    for number, step in enumerate(view.steps):
        y += row
        first = when.moves[number - 1] if number else when.curve
        slope = animate(0, (when.tangent, 1)) if number == 0 else 1.0
        shows = view.shows_step(number)
        values = ((step.w, 1.0), (step.slope, slope), (-view.rate * step.slope, slope), (step.error, 1.0))
        cells: list[Node] = [Text(box.x, y, f"{number}", size, fill=palette.QUIET)]
        for right, (value, seen) in zip(rights, values, strict=True):
            cells.append(Text(right, y, four_digits(value), size, anchor="end", opacity=seen, shows=shows))
        nodes.append(Group(tuple(cells), opacity=animate(0, (first, 1))))
    return [Group(tuple(nodes), opacity=animate(0, (when.curve, 1), (when.many, 0)))]


def parameters(view: OneParameterView, sheet: Sheet, box: Box, when: FitTransitions) -> list[Node]:
    """One square for w, and beside it as many of all parameters' squares as have room."""
    size, count = sheet.small, view.parameters
    top, left = box.y + sheet.size + 0.8 * size, box.x + 92
    columns, rows = int((box.right - left) // SQUARE), int((box.bottom - 2.2 * size - top) // SQUARE)
    w, h = columns * SQUARE, rows * SQUARE
    shown, middle = columns * rows, top + rows * SQUARE / 2
    lines = [(("M", left + i * SQUARE, top), ("L", left + i * SQUARE, top + h)) for i in range(1, columns)]
    lines += [(("M", left, top + i * SQUARE), ("L", left + w, top + i * SQUARE)) for i in range(1, rows)]
    source = given("config")
    panels = f"{count / shown:,.0f}"
    words = tr(
        "{shown:,} of {count:,} squares: all would fill {panels} such panels", shown=shown, count=count, panels=panels
    )
    label = tr("{model}: {count:,} numbers", model=view.model, count=count)
    nodes: list[Node] = [
        Text(box.x, box.y + sheet.size, tr("Now {count:,} of them", count=count), sheet.size, 600, shows=source),
        Text(box.x, centred(middle - 6, 12, size), "w", size, 600, fill=LINE),
        Rect(box.x + 16, middle - SQUARE / 2, SQUARE, SQUARE, 0, LINE, label=tr("one number")),
        arrow(box.x + 34, middle, left - 10, middle),
        Rect(left, top, w, h, 0, Gradient(palette.TRAINED), label=label, shows=source),
        Path(tuple(part for line in lines for part in line), stroke=palette.PAPER, stroke_width=1.0),
        Rect(left, top, w, h, 0, None, palette.FOLLOWED),
        Text(box.x, box.bottom - 0.4 * size, words, size, fill=palette.QUIET, shows=source),
    ]
    return [Group(tuple(nodes), opacity=animate(0, (when.many, 1)))]
