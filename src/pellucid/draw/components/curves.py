"""The losses of a run inside of a figure: the same numbers as the plain chart's, in a corner, growing with the transitions."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from pellucid.draw.components.axes import ROOM, Axis, ticks_with_room
from pellucid.draw.components.chart import MOST_DOTS, columns, loss_axis
from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import circle, given
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.font import text_width
from pellucid.draw.film.keyframes import rounded
from pellucid.draw.film.nodes import Clip, Node, Path, Shows, Text
from pellucid.draw.views.training import Loss, Training, finite


Line = tuple[str, str, tuple[float, ...]]  # of a legend: words, colour, dashes


class Curves:
    """Where a run's losses stand in a box: steps by the logarithm of step + 1, so that step 0 has its place.

    Args:
        size: of the text. short: whether the legend has room for a few words only. ring: what a ring stands for,
            if the legend is to say it.
    """

    def __init__(self, run: Training, box: Box, size: float, *, short: bool = False, ring: str = "") -> None:
        self.run, self.size = run, size
        pale = bool(run.held_out)
        self._lines: list[Line] = [
            ("training" if short else "training loss, each step", palette.SERIES_PALE if pale else palette.SERIES[0], ())
        ]
        if run.held_out:
            self._lines.append(("held out" if short else "held-out loss", palette.SERIES[1], ()))
        guessing = f"ln V = {run.ln_v:.2f}" + (": guessing" if short else ": all tokens equally likely")
        self._lines.append((guessing, palette.QUIET, (5.0, 3.0)))
        self._head, top = _legend(self._lines, box, size, ring)
        values = [loss.value for loss in finite((*run.training, *run.held_out, *run.window))] + [run.ln_v]
        self.y = loss_axis(values, start=box.bottom - 2.9 * size, end=top + 0.7 * size)
        self._ticks = ticks_with_room(self.y, size, vertical=True)
        left = box.x + max(text_width(words, size) for _, words in self._ticks) + 0.6 * size
        right = box.right - text_width(f"{run.steps:,}", size) / 2 - 1
        self._axis = Axis(1.0, run.steps + 1.0, left, right, log=True)

    def x(self, step: float) -> float:
        """Where a step stands."""
        return self._axis.place(step + 1)

    def point(self, loss: Loss) -> tuple[float, float]:
        """Where a loss stands."""
        return rounded(self.x(loss.step)), rounded(self.y.place(loss.value))

    def nodes(self, first: int, reach: Sequence[tuple[Transition, int]]) -> list[Node]:
        """The chart; its lines go to step `first`, and from there on with the transitions."""
        size, low = self.size, self.y.start
        left, right = self.x(0), self.x(self.run.steps)
        nodes: list[Node] = [*self._head]
        for value, words in self._ticks:
            y = self.y.place(value)
            nodes.append(Path((("M", left, y), ("L", right, y)), stroke=palette.LINE))
            nodes.append(Text(left - 0.6 * size, y + 0.36 * size, words, size, anchor="end", fill=palette.QUIET))
        for step, words in self._step_ticks():
            x = self.x(step)
            nodes.append(Path((("M", x, low), ("L", x, low + 0.35 * size)), stroke=palette.QUIET))
            nodes.append(Text(x, low + 1.4 * size, words, size, anchor="middle", fill=palette.QUIET))
        nodes.append(Path((("M", left, low), ("L", right, low)), stroke=palette.QUIET))
        name = "step, on a logarithmic scale"
        nodes.append(Text((left + right) / 2, low + 2.6 * size, name, size, anchor="middle", fill=palette.QUIET))
        _, colour, dash = self._lines[-1]
        y = self.y.place(self.run.ln_v)
        nodes.append(
            Path((("M", left, y), ("L", right, y)), stroke=colour, stroke_width=1.5, dash=dash, shows=given("provenance"))
        )
        margin = size / 2

        def edge(step: int) -> float:
            return margin + self.x(step) - left + (margin if step == self.run.steps else 0)  # the last dot is whole

        goes = animate(edge(first), *((transition, edge(step), "linear") for transition, step in reach))
        nodes.append(Clip(tuple(self._drawn()), left - margin, self.y.end - margin, goes, low - self.y.end + 2 * margin))
        return nodes

    def _drawn(self) -> list[Node]:
        run = self.run
        nodes: list[Node] = []
        for losses, (_, colour, _), thick in zip((run.training, run.held_out), self._lines, (1.5, 2.0), strict=False):
            for line in columns([(loss.step + 1, loss.value) for loss in losses], self._axis, self.y):
                (x, y), *others = [(rounded(x), rounded(y)) for x, y in line]
                d = (("M", x, y), *(("L", *point) for point in others or [(x, y)]))
                whole = Shows(losses[0].shows.chunk, (), None, losses[0].shows.truth)
                nodes.append(Path(d, stroke=colour, stroke_width=thick, shows=whole))
        if len(run.held_out) <= MOST_DOTS:
            for loss in finite(run.held_out):
                told = f"held-out loss {loss.value:.4f} after {loss.step:,} steps"
                dot = circle(*self.point(loss), 3)
                nodes.append(Path(dot, fill=palette.SERIES[1], stroke=palette.PAPER, label=told, shows=loss.shows))
        return nodes

    def _step_ticks(self) -> list[tuple[int, str]]:
        """0, then as many round numbers as have room."""
        last = self.run.steps
        powers = [10**i for i in range(len(str(last)))]
        for digits in (tuple(range(1, 10)) if last < 8 else (1, 2, 5), (1, 3), (1,)):
            steps = [0, *(step for power in powers for digit in digits if (step := digit * power) <= last)]
            ticks = [(step, f"{step:,}") for step in steps]
            ends = [(self.x(step) - text_width(words, self.size) / 2, self.x(step) + text_width(words, self.size) / 2)
                    for step, words in ticks]  # fmt: skip
            if all(after[0] - before[1] >= ROOM * self.size for before, after in pairwise(ends)):
                return ticks
        return ticks[::2]


def _legend(lines: Sequence[Line], box: Box, size: float, ring: str) -> tuple[list[Node], float]:
    """The lines' words, in as many rows as they need, and where they end; what the numbers are comes first."""
    nodes: list[Node] = []
    x, y, swatch, gap = box.x, box.y, 1.7 * size, 0.5 * size
    unit = "nats a token"
    nodes.append(Text(x, y + size, unit, size, fill=palette.QUIET))
    x += text_width(unit, size) + 1.2 * size
    for words, colour, dash in lines:
        wide = swatch + gap + text_width(words, size)
        if x > box.x and x + wide > box.right:
            x, y = box.x, y + 1.45 * size
        rest: dict[str, Any] = {"stroke": colour, "stroke_width": 2.0, "dash": dash}
        nodes.append(Path((("M", x, y + 0.64 * size), ("L", x + swatch, y + 0.64 * size)), **rest))
        nodes.append(Text(x + swatch + gap, y + size, words, size))
        x += wide + 1.2 * size
    if ring:
        if x + swatch + text_width(ring, size) > box.right:
            x, y = box.x, y + 1.45 * size
        nodes.append(Path(circle(x + 5, y + 0.64 * size, 4.5), stroke=palette.TRACK, stroke_width=2))
        nodes.append(Text(x + 10 + gap, y + size, ring, size))
    return nodes, y + 1.3 * size
