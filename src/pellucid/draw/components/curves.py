"""`LossCurves`: the losses of a run as a part of a figure, drawn up to a step that grows with the film."""

from collections.abc import Sequence

from pellucid.draw.components.axes import decimated, grid_lines, in_rows, loss_dots, loss_scale, polyline, step_axis
from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import circle
from pellucid.draw.components.scales import LogScale, have_room, ticks_with_room
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.font import text_width
from pellucid.draw.film.keyframes import rounded
from pellucid.draw.film.nodes import Clip, Node, Path, Shows, Text, given
from pellucid.draw.views.training import LossPoint, TrainingHistory, finite
from pellucid.languages import tr


LegendLine = tuple[str, str, tuple[float, ...]]  # words, colour, dashes


class LossCurves:
    """A chart of a run's losses in a box: steps by the logarithm of step + 1, so that step 0 has its place.

    Args:
        history: of the run. box: for the legend, the chart and its axes. size: of the text.
        short: whether the legend has room for a few words only. ring: what a ring stands for, if the legend is to say it.
    """

    def __init__(self, history: TrainingHistory, box: Box, size: float, *, short: bool = False, ring: str = "") -> None:
        self.history, self.size = history, size
        colour = palette.SERIES_PALE if history.held_out else palette.SERIES[0]
        self._lines: list[LegendLine] = [(tr("training") if short else tr("training loss, each step"), colour, ())]
        if history.held_out:
            self._lines.append((tr("held out") if short else tr("held-out loss"), palette.SERIES[1], ()))
        if short:
            guessing = tr("ln V = {loss:.2f}: guessing", loss=history.ln_v)
        else:
            guessing = tr("ln V = {loss:.2f}: all tokens equally likely", loss=history.ln_v)
        self._lines.append((guessing, palette.QUIET, (5.0, 3.0)))
        self._head, top = _legend(self._lines, box, size, ring)
        losses = finite((*history.training, *history.held_out, *history.window))
        values = [loss.value for loss in losses] + [history.ln_v]
        self._y = loss_scale(values, start=box.bottom - 2.9 * size, end=top + 0.7 * size)
        self._ticks = ticks_with_room(self._y, size, vertical=True)
        left = box.x + max(text_width(words, size) for _, words in self._ticks) + 0.6 * size
        right = box.right - text_width(f"{history.steps:,}", size) / 2 - 1
        self._x = LogScale(1.0, history.steps + 1.0, left, right)

    def _step(self, step: float) -> float:
        """The position of a step."""
        return self._x.place(step + 1)

    def point(self, loss: LossPoint) -> tuple[float, float]:
        """The position of a loss."""
        return rounded(self._step(loss.step)), rounded(self._y.place(loss.value))

    def nodes(self, first: int, reach: Sequence[tuple[Transition, int]]) -> list[Node]:
        """The chart. Its lines are drawn up to step `first`, and then up to that of each transition."""
        size, low, last = self.size, self._y.start, self.history.steps
        left, right = self._step(0), self._step(last)
        nodes: list[Node] = [*self._head]
        nodes += grid_lines(self._y, self._ticks, left, right, size)
        ticks = [(self._step(step), words) for step, words in self._step_ticks()]
        nodes += step_axis(ticks, left, right, low, size, name=tr("step, on a logarithmic scale"), name_lines=2.6)
        _, colour, dash = self._lines[-1]
        y = self._y.place(self.history.ln_v)
        nodes.append(
            Path((("M", left, y), ("L", right, y)), stroke=colour, stroke_width=1.5, dash=dash, shows=given("provenance"))
        )
        margin = size / 2

        def edge(step: int) -> float:
            return margin + self._step(step) - left + (margin if step == last else 0)  # the last dot is whole

        goes = animate(edge(first), *((transition, edge(step), "linear") for transition, step in reach))
        nodes.append(Clip(tuple(self._curves()), left - margin, self._y.end - margin, goes, low - self._y.end + 2 * margin))
        return nodes

    def _curves(self) -> list[Node]:
        """The lines, and a dot for each held-out loss where there are few."""
        nodes: list[Node] = []
        both = (self.history.training, self.history.held_out)
        for losses, (_, colour, _), thick in zip(both, self._lines, (1.5, 2.0), strict=False):
            for run in decimated([(loss.step + 1, loss.value) for loss in losses], self._x, self._y):
                whole = Shows(losses[0].shows.chunk, (), None, losses[0].shows.truth)
                nodes.append(Path(polyline(run), stroke=colour, stroke_width=thick, shows=whole))
        held_out = self.history.held_out
        return nodes + loss_dots(
            [(loss.step, loss.value) for loss in held_out],
            lambda point: (rounded(self._step(point[0])), rounded(self._y.place(point[1]))),
            3,
            lambda point: tr("held-out loss {loss:.4f} after {steps:,} steps", loss=point[1], steps=point[0]),
            lambda i: held_out[i].shows,
        )

    def _step_ticks(self) -> list[tuple[int, str]]:
        """Step 0, and as many round numbers after it as have room."""
        last = self.history.steps
        powers = [10**i for i in range(len(str(last)))]
        ticks: list[tuple[int, str]] = []
        for digits in (tuple(range(1, 10)) if last < 8 else (1, 2, 5), (1, 3), (1,)):
            steps = [0, *(step for power in powers for digit in digits if (step := digit * power) <= last)]
            ticks = [(step, f"{step:,}") for step in steps]
            if have_room(self._x, [(step + 1, words) for step, words in ticks], self.size):
                return ticks
        return ticks[::2]


def _legend(lines: Sequence[LegendLine], box: Box, size: float, ring: str) -> tuple[list[Node], float]:
    """The unit, and the lines' words in as many rows as they need; and the position below them."""
    swatch, gap, between, row = 1.7 * size, 0.5 * size, 1.2 * size, 1.45 * size
    unit = tr("nats a token")
    nodes: list[Node] = [Text(box.x, box.y + size, unit, size, fill=palette.QUIET)]
    widths = [swatch + gap + text_width(words, size) for words, _, _ in lines]
    first = box.x + (text_width(unit, size) + between)
    *places, (x, y) = in_rows(widths, first, box.y, box.x, box.right, between, row)
    for (words, colour, dash), (left, top) in zip(lines, places, strict=True):
        line = (("M", left, top + 0.64 * size), ("L", left + swatch, top + 0.64 * size))
        nodes.append(Path(line, stroke=colour, stroke_width=2.0, dash=dash))
        nodes.append(Text(left + swatch + gap, top + size, words, size))
    if ring:
        if x + swatch + text_width(ring, size) > box.right:
            x, y = box.x, y + row
        nodes.append(Path(circle(x + 5, y + 0.64 * size, 4.5), stroke=palette.FOLLOWED, stroke_width=2))
        nodes.append(Text(x + 10 + gap, y + size, ring, size))
    return nodes, y + 1.3 * size
