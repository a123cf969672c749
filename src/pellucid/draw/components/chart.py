"""Plain charts: a loss by step. The numbers are drawn as they are; what is joined or averaged says so in the legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor, isfinite
from typing import Any

from pellucid.draw.components.axes import Axis, nice_step, ticks_with_room
from pellucid.draw.components.parts import circle, given
from pellucid.draw.film import palette
from pellucid.draw.film.film import Caption, Film, FilmSegment
from pellucid.draw.film.font import fit, text_width, wrap
from pellucid.draw.film.keyframes import Keyframes, rounded
from pellucid.draw.film.nodes import Clip, Node, Path, Shows, Text
from pellucid.errors import PellucidError


GROWS, ENDS = 3.0, 6.0  # seconds: how long the lines take to be there, and the film
MEANS = 120  # about so many averages a curve
PLOT = 20  # of the text's size, at least, from below the legend to the lower edge
MOST_DOTS = 60  # a held-out curve with more points than this has no dots
TRAINING, TRAINING_PALE, HELD_OUT = palette.SERIES[0], palette.SERIES_PALE, palette.SERIES[1]

Points = Sequence[tuple[float, float]]  # (step, loss)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of the legend: the colour, width and dashes of what it stands for, and its words."""

    words: str
    colour: str
    width: float
    dash: tuple[float, ...] = ()


def loss_chart(
    steps: Sequence[int],
    losses: Sequence[float],
    held_out: Points = (),
    ln_v: float | None = None,
    *,
    title: str = "Loss while training",
    width: float = 960,
    height: float | None = None,
    log_steps: bool = False,
    chunk: str = "metrics",
    held_out_chunk: str = "",
) -> Film:
    """The loss of a run by step, as lines that grow with the steps and then rest.

    Args:
        steps, losses: one of each a training step, in order; nats a token. A loss that is not finite leaves a gap.
        held_out: (step, loss) on held-out text, in order.
        ln_v: the loss of a model to which all tokens are equally likely: the natural logarithm of the vocabulary's size.
        width, height: of the picture; text keeps its size on a narrow one. log_steps: whether steps are laid by logarithm.
        chunk, held_out_chunk: where in the record the numbers stand; the same one where only the first is given.

    Errors: no finite loss to draw; lists of unequal length; a picture less than 240 wide.
    """
    if len(steps) != len(losses):
        raise PellucidError(f"{len(steps)} steps and {len(losses)} losses: give one loss for each step")
    if width < 240:
        raise PellucidError(f"a chart {width} wide has no room for its numbers: make it at least 240")
    training, held = _drawable(zip(steps, losses, strict=True), log_steps), _drawable(held_out, log_steps)
    if not any(map(_finite, (*training, *held))):
        raise PellucidError("there is no finite loss to draw: the run needs at least one step")
    every = _mean_over(len(training))
    size = max(13.0, rounded(8 + width / 120))
    thick = size / 16

    entries = [_Entry("training loss, each step", TRAINING if every == 1 else TRAINING_PALE, 2 * thick)]
    if every > 1:
        entries.append(_Entry(f"its mean over {every} steps", TRAINING, 2.5 * thick))
    if held:
        entries.append(_Entry("held-out loss", HELD_OUT, 2 * thick))
    if ln_v is not None:
        entries.append(
            _Entry(f"ln V = {ln_v:.2f}: all tokens equally likely", palette.QUIET, 1.5 * thick, (6 * thick, 4 * thick))
        )

    pad = size
    head, top = _head(title, entries, width, size, pad)
    height = max(rounded(width * 0.5), rounded(top + size * PLOT)) if height is None else height
    finite = [point for point in (*training, *held) if _finite(point)]
    values = [loss for _, loss in finite] + ([] if ln_v is None else [ln_v])
    y_axis = loss_axis(values, start=height - pad - 2.9 * size, end=top + 1.9 * size)
    y_ticks = ticks_with_room(y_axis, size, vertical=True)
    left = pad + max(text_width(text, size) for _, text in y_ticks) + 0.6 * size
    right = width - pad - text_width(f"{max(step for step, _ in finite):,.0f}", size) / 2
    x_axis = _step_axis([step for step, _ in finite], log_steps, left, right)
    x_ticks = ticks_with_room(x_axis, size, whole=True)

    low = y_axis.start
    nodes: list[Node] = [*head]
    nodes.append(Text(pad, top + size, fit("loss, nats a token", width - 2 * pad, size), size, fill=palette.QUIET))
    for value, text in y_ticks:
        y = y_axis.place(value)
        nodes.append(Path((("M", left, y), ("L", right, y)), stroke=palette.LINE, stroke_width=1))
        nodes.append(Text(left - 0.6 * size, y + 0.36 * size, text, size, anchor="end", fill=palette.QUIET))
    for value, text in x_ticks:
        x = x_axis.place(value)
        nodes.append(Path((("M", x, low), ("L", x, low + 0.35 * size)), stroke=palette.QUIET, stroke_width=1))
        nodes.append(Text(x, low + 1.4 * size, text, size, anchor="middle", fill=palette.QUIET))
    nodes.append(Path((("M", left, low), ("L", right, low)), stroke=palette.QUIET, stroke_width=1))
    axis_name = "step, on a logarithmic scale" if log_steps else "step"
    nodes.append(Text((left + right) / 2, low + 2.7 * size, axis_name, size, anchor="middle", fill=palette.QUIET))
    if ln_v is not None:
        y = y_axis.place(ln_v)
        nodes.append(_line(((left, y), (right, y)), entries[-1], id="ln-v", shows=given("vocab_size")))
    grown: list[Node] = []
    if training:
        shows = Shows(chunk, (), None, "replayed")
        drawn = columns(training, x_axis, y_axis)
        grown += [_line(run, entries[0], shows=shows) for run in drawn]
        if every > 1:
            means = [(x_axis.place(step), y_axis.place(loss)) for step, loss in _means(training, every)]
            grown += [_line(means, entries[1], id="training-mean", shows=shows)]
    if held:
        grown += _held_out(held, x_axis, y_axis, Shows(held_out_chunk or chunk, (), None, "derived"), thick)
    reach = Keyframes((0.0, 0.0), (GROWS, width - left + size, "linear"))
    nodes.append(Clip(tuple(grown), left - size, 0.0, reach, height))

    return Film(
        title=title,
        width=width,
        height=height,
        segments=(FilmSegment("The loss falls" if _falls(training) else "The loss", 0.0, ENDS, ((GROWS, ENDS),)),),
        nodes=tuple(nodes),
        captions=(Caption(0.0, ENDS, _sentence(training, held, every)),),
        alt=_alt(title, training, held, every, ln_v),
        notes=_notes(training, held, steps, held_out, log_steps),
    )


def _finite(point: tuple[float, float]) -> bool:
    return isfinite(point[1])


def _drawable(points: Any, log_steps: bool) -> list[tuple[float, float]]:
    """The points that the axis can hold: a logarithmic one begins at step 1. Errors: steps that do not rise."""
    found = [(float(step), float(loss)) for step, loss in points]
    for (before, _), (after, _) in pairwise(found):
        if after <= before:
            raise PellucidError(f"step {after:g} follows step {before:g}: give steps in order, each once")
    return [point for point in found if point[0] >= 1 or not log_steps]


def _mean_over(count: int) -> int:
    """Over how many steps the mean is taken: a round number that leaves about `MEANS` of them; 1 for a short run."""
    return 1 if count <= 2 * MEANS else int(nice_step(count, MEANS))


def _means(points: Points, every: int) -> list[tuple[float, float]]:
    """(mean step, mean loss) of each full stretch of so many steps; a stretch with a gap has none."""
    found = []
    for i in range(0, len(points) - every + 1, every):
        stretch = points[i : i + every]
        if all(map(_finite, stretch)):
            found.append((sum(step for step, _ in stretch) / every, sum(loss for _, loss in stretch) / every))
    return found


def loss_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An upright axis of losses between round numbers, with all of them on it."""
    low, high = min(values), max(values)
    step = nice_step(high - low, 6) if high > low else max(0.1, abs(high) * 0.1)
    return Axis(floor(low / step) * step, (floor(high / step) + 1) * step, start, end)


def _step_axis(steps: Sequence[float], log: bool, start: float, end: float) -> Axis:
    low, high = (min(steps) if log else 0.0), max(steps)
    return Axis(low, high if high > low else low + 1, start, end, log)


def _head(title: str, entries: Sequence[_Entry], width: float, size: float, pad: float) -> tuple[list[Node], float]:
    """The title and the legend, in as many rows as they need, and where they end."""
    big = size * 1.25
    nodes: list[Node] = []
    y = pad
    for line in wrap(title, width - 2 * pad, big, "sans", 600, lines=2):
        nodes.append(Text(pad, y + big, line, big, 600))
        y += big * 1.3
    y += 0.4 * size
    x, swatch, gap = pad, 1.8 * size, 0.6 * size
    for entry in entries:
        words = fit(entry.words, width - 2 * pad - swatch - gap, size)
        wide = swatch + gap + text_width(words, size)
        if x > pad and x + wide > width - pad:
            x, y = pad, y + 1.5 * size
        nodes.append(_line(((x, y + 0.75 * size), (x + swatch, y + 0.75 * size)), entry))
        nodes.append(Text(x + swatch + gap, y + 1.1 * size, words, size))
        x += wide + 1.4 * size
    return nodes, y + 2.0 * size


def _line(points: Sequence[tuple[float, float]], entry: _Entry, **rest: Any) -> Path:
    (x, y), *others = [(rounded(x), rounded(y)) for x, y in points]
    d = (("M", x, y), *(("L", *point) for point in others or [(x, y)]))
    return Path(d, stroke=entry.colour, stroke_width=entry.width, dash=entry.dash, **rest)


def columns(points: Points, x_axis: Axis, y_axis: Axis) -> list[list[tuple[float, float]]]:
    """The points as lines without gaps; where a column one unit wide holds several, only its lowest and highest."""
    runs: list[list[tuple[float, float]]] = []
    held: dict[int, list[tuple[float, float]]] = {}

    def close() -> None:
        if held:
            runs.append([point for column in held.values() for point in _extremes(column)])
            held.clear()

    for step, loss in points:
        if not isfinite(loss):
            close()
            continue
        place = (x_axis.place(step), y_axis.place(loss))
        held.setdefault(floor(place[0]), []).append(place)
    close()
    return runs


def _extremes(column: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(column) <= 2:
        return column
    ends = {min(column, key=lambda point: point[1]), max(column, key=lambda point: point[1])}
    return [point for point in column if point in ends]


def _held_out(points: Points, x_axis: Axis, y_axis: Axis, shows: Shows, thick: float) -> list[Node]:
    entry = _Entry("", HELD_OUT, 2 * thick)
    nodes: list[Node] = [_line(run, entry, shows=shows) for run in columns(points, x_axis, y_axis)]
    if len(points) <= MOST_DOTS:
        for step, loss in filter(_finite, points):
            place = (rounded(x_axis.place(step)), rounded(y_axis.place(loss)))
            told = f"held-out loss {loss:.4f} at step {step:,.0f}"
            dot = Path(circle(*place, 3.5 * thick), fill=HELD_OUT, stroke=palette.PAPER, label=told, shows=shows)
            nodes.append(dot)
    return nodes


def _ends(points: Points, every: int) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The first finite loss and the last mean, each with its step."""
    finite = [point for point in points if _finite(point)]
    if not finite:
        return None
    last = finite[-every:]
    return finite[0], (finite[-1][0], sum(loss for _, loss in last) / len(last))


def _falls(points: Points) -> bool:
    ends = _ends(points, 1)
    return ends is not None and ends[1][1] < ends[0][1]


def _sentence(training: Points, held: Points, every: int) -> str:
    ends = _ends(training, every) or _ends(held, 1)
    assert ends is not None
    (first, start), (last, end) = ends
    mean = f" (mean of the last {every} steps)" if every > 1 and training else ""
    return f"Loss {start:.2f} at step {first:,.0f}, {end:.2f} at step {last:,.0f}{mean}."


def _alt(title: str, training: Points, held: Points, every: int, ln_v: float | None) -> str:
    parts = [f"{title}: a line chart of the loss in nats a token by training step.", _sentence(training, held, every)]
    if finite := [point for point in held if _finite(point)]:
        step, least = min(finite, key=lambda point: point[1])
        parts.append(f"Held-out loss {finite[-1][1]:.2f} at the end; lowest {least:.2f} at step {step:,.0f}.")
    if ln_v is not None:
        parts.append(f"A model to which all tokens are equally likely has ln V = {ln_v:.2f}.")
    return " ".join(parts)


def _notes(training: Points, held: Points, steps: Sequence[int], held_out: Points, log_steps: bool) -> tuple[str, ...]:
    notes = []
    if len(training) > 2 * MEANS:
        notes.append("Where steps are closer than the picture's dots, only the lowest and highest loss of each dot is drawn.")
    if gaps := sum(not _finite(point) for point in (*training, *held)):
        notes.append(f"{gaps} values are not finite numbers: they are gaps in the lines.")
    if log_steps and len(training) + len(held) < len(steps) + len(held_out):
        notes.append("Step 0 has no place on a logarithmic axis and is left out.")
    return tuple(notes)
