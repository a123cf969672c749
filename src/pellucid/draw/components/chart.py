"""The plain chart of a run's losses by step. What is joined or averaged in it says so in the legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Any

from pellucid.draw.components.axes import decimated, grid_lines, in_rows, loss_dots, loss_scale, polyline, step_axis
from pellucid.draw.components.scales import LinearScale, LogScale, Scale, nice_step, ticks_with_room
from pellucid.draw.film import palette
from pellucid.draw.film.film import Caption, Film, FilmSegment
from pellucid.draw.film.font import fit, text_width, wrap
from pellucid.draw.film.keyframes import Keyframes, rounded
from pellucid.draw.film.nodes import Clip, Node, Path, Shows, Text, given
from pellucid.errors import PellucidError
from pellucid.languages import joined, tr


GROWS, ENDS = 3.0, 6.0  # seconds: how long the lines take to be drawn, and the film
MEANS = 120  # about so many averages a curve
PLOT = 20  # of the text's size, at least, from below the legend to the lower edge
TRAINING, TRAINING_PALE, HELD_OUT = palette.SERIES[0], palette.SERIES_PALE, palette.SERIES[1]

Points = Sequence[tuple[float, float]]  # (step, loss)


@dataclass(frozen=True, slots=True)
class _LegendEntry:
    """One line of the legend: its words, and the colour, width and dashes of the line that they name."""

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
    title: str = "",
    width: float = 960,
    height: float | None = None,
    log_steps: bool = False,
    chunk: str = "metrics",
    held_out_chunk: str = "",
) -> Film:
    """The film of a run's loss by step: lines that grow with the steps for 3 s and then rest.

    Args:
        steps, losses: one of each a training step, in order; nats a token. A loss that is not finite leaves a gap.
        held_out: (step, loss) on held-out text, in order.
        ln_v: the loss where all tokens are equally likely: the natural logarithm of the vocabulary's size.
        title: "Loss while training" where there is none.
        width, height: of the picture in film units; text keeps its size on a narrow one.
        log_steps: whether steps are laid out by their logarithms.
        chunk, held_out_chunk: where in the record the losses stand; the first also for held-out ones where the second is "".

    Raises:
        PellucidError: no finite loss; lists of unequal length; steps that do not rise; a picture less than 240 wide.
    """
    if len(steps) != len(losses):
        raise PellucidError(f"{len(steps)} steps and {len(losses)} losses: give one loss for each step")
    if width < 240:
        raise PellucidError(f"a chart {width} wide has no room for its numbers: make it at least 240")
    training, held = _drawable(zip(steps, losses, strict=True), log_steps), _drawable(held_out, log_steps)
    if not any(map(_finite, (*training, *held))):
        raise PellucidError("there is no finite loss to draw: the run needs at least one step")
    title = title or tr("Loss while training")
    every = _mean_over(len(training))
    size = max(13.0, rounded(8 + width / 120))
    thick = size / 16

    entries = [_LegendEntry(tr("training loss, each step"), TRAINING if every == 1 else TRAINING_PALE, 2 * thick)]
    if every > 1:
        entries.append(_LegendEntry(tr("its mean over {every} steps", every=every), TRAINING, 2.5 * thick))
    if held:
        entries.append(_LegendEntry(tr("held-out loss"), HELD_OUT, 2 * thick))
    if ln_v is not None:
        dash = (6 * thick, 4 * thick)
        guessing = tr("ln V = {loss:.2f}: all tokens equally likely", loss=ln_v)
        entries.append(_LegendEntry(guessing, palette.QUIET, 1.5 * thick, dash))

    pad = size
    head, top = _head(title, entries, width, size, pad)
    height = max(rounded(width * 0.5), rounded(top + size * PLOT)) if height is None else height
    finite = [point for point in (*training, *held) if _finite(point)]
    values = [loss for _, loss in finite] + ([] if ln_v is None else [ln_v])
    y_scale = loss_scale(values, start=height - pad - 2.9 * size, end=top + 1.9 * size)
    y_ticks = ticks_with_room(y_scale, size, vertical=True)
    left = pad + max(text_width(text, size) for _, text in y_ticks) + 0.6 * size
    right = width - pad - text_width(f"{max(step for step, _ in finite):,.0f}", size) / 2
    x_scale = _step_scale([step for step, _ in finite], log_steps, left, right)
    x_ticks = [(x_scale.place(value), text) for value, text in ticks_with_room(x_scale, size, whole=True)]
    axis_name = tr("step, on a logarithmic scale") if log_steps else tr("step")

    nodes: list[Node] = [*head]
    nodes.append(Text(pad, top + size, fit(tr("loss, nats a token"), width - 2 * pad, size), size, fill=palette.QUIET))
    nodes += grid_lines(y_scale, y_ticks, left, right, size)
    nodes += step_axis(x_ticks, left, right, y_scale.start, size, name=axis_name, name_lines=2.7)
    if ln_v is not None:
        y = y_scale.place(ln_v)
        nodes.append(_line(((left, y), (right, y)), entries[-1], id="ln-v", shows=given("vocab_size")))
    lines: list[Node] = []
    if training:
        shows = Shows(chunk, (), None, "replayed")
        lines += [_line(run, entries[0], shows=shows) for run in decimated(training, x_scale, y_scale)]
        if every > 1:
            means = [(x_scale.place(step), y_scale.place(loss)) for step, loss in _means(training, every)]
            lines += [_line(means, entries[1], id="training-mean", shows=shows)]
    if held:
        lines += _held_out(held, x_scale, y_scale, Shows(held_out_chunk or chunk, (), None, "derived"), thick)
    reach = Keyframes((0.0, 0.0), (GROWS, width - left + size, "linear"))
    nodes.append(Clip(tuple(lines), left - size, 0.0, reach, height))

    return Film(
        title=title,
        width=width,
        height=height,
        segments=(FilmSegment(tr("The loss falls") if _falls(training) else tr("The loss"), 0.0, ENDS, ((GROWS, ENDS),)),),
        nodes=tuple(nodes),
        captions=(Caption(0.0, ENDS, _sentence(training, held, every)),),
        alt=_alt(title, training, held, every, ln_v),
        notes=_notes(training, held, steps, held_out, log_steps),
    )


def _finite(point: tuple[float, float]) -> bool:
    return isfinite(point[1])


def _drawable(points: Any, log_steps: bool) -> list[tuple[float, float]]:
    """The points that the scale can hold: a logarithmic one begins at step 1. Raises PellucidError if steps do not rise."""
    found = [(float(step), float(loss)) for step, loss in points]
    for (before, _), (after, _) in pairwise(found):
        if after <= before:
            raise PellucidError(f"step {after:g} follows step {before:g}: give steps in order, each once")
    return [point for point in found if point[0] >= 1 or not log_steps]


def _mean_over(count: int) -> int:
    """Over how many steps means are taken: a round number that leaves about `MEANS` of them; 1 for a short run."""
    return 1 if count <= 2 * MEANS else int(nice_step(count, MEANS))


def _means(points: Points, every: int) -> list[tuple[float, float]]:
    """(mean step, mean loss) of each group of `every` consecutive steps without a gap."""
    found = []
    for i in range(0, len(points) - every + 1, every):
        group = points[i : i + every]
        if all(map(_finite, group)):
            found.append((sum(step for step, _ in group) / every, sum(loss for _, loss in group) / every))
    return found


def _step_scale(steps: Sequence[float], log: bool, start: float, end: float) -> Scale:
    low, high = (min(steps) if log else 0.0), max(steps)
    return (LogScale if log else LinearScale)(low, high if high > low else low + 1, start, end)


def _head(
    title: str, entries: Sequence[_LegendEntry], width: float, size: float, pad: float
) -> tuple[list[Node], float]:  # fmt: skip
    """The title and the legend, in as many rows as they need, and the position below them."""
    big = size * 1.25
    nodes: list[Node] = []
    y = pad
    for line in wrap(title, width - 2 * pad, big, "sans", 600, lines=2):
        nodes.append(Text(pad, y + big, line, big, 600))
        y += big * 1.3
    swatch, gap = 1.8 * size, 0.6 * size
    words = [fit(entry.words, width - 2 * pad - swatch - gap, size) for entry in entries]
    widths = [swatch + gap + text_width(word, size) for word in words]
    *places, (_, last) = in_rows(widths, pad, y + 0.4 * size, pad, width - pad, 1.4 * size, 1.5 * size)
    for entry, word, (x, y) in zip(entries, words, places, strict=True):
        nodes.append(_line(((x, y + 0.75 * size), (x + swatch, y + 0.75 * size)), entry))
        nodes.append(Text(x + swatch + gap, y + 1.1 * size, word, size))
    return nodes, last + 2.0 * size


def _line(points: Sequence[tuple[float, float]], entry: _LegendEntry, **rest: Any) -> Path:
    return Path(polyline(points), stroke=entry.colour, stroke_width=entry.width, dash=entry.dash, **rest)


def _held_out(points: Points, x_scale: Scale, y_scale: Scale, shows: Shows, thick: float) -> list[Node]:
    """The line of held-out losses, and a dot for each where there are few."""
    entry = _LegendEntry("", HELD_OUT, 2 * thick)
    lines = [_line(run, entry, shows=shows) for run in decimated(points, x_scale, y_scale)]
    dots = loss_dots(
        points,
        lambda point: (rounded(x_scale.place(point[0])), rounded(y_scale.place(point[1]))),
        3.5 * thick,
        lambda point: tr("held-out loss {loss:.4f} at step {step:,.0f}", loss=point[1], step=point[0]),
        lambda _: shows,
    )
    return [*lines, *dots]


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
    values = {"start": start, "first": first, "end": end, "last": last}
    if every > 1 and training:
        return tr(
            "Loss {start:.2f} at step {first:,.0f}, {end:.2f} at step {last:,.0f} (mean of the last {every} steps).",
            every=every, **values,
        )  # fmt: skip
    return tr("Loss {start:.2f} at step {first:,.0f}, {end:.2f} at step {last:,.0f}.", **values)


def _alt(title: str, training: Points, held: Points, every: int, ln_v: float | None) -> str:
    parts = [
        tr("{title}: a line chart of the loss in nats a token by training step.", title=title),
        _sentence(training, held, every),
    ]
    if finite := [point for point in held if _finite(point)]:
        step, least = min(finite, key=lambda point: point[1])
        parts.append(
            tr(
                "Held-out loss {end:.2f} at the end; lowest {least:.2f} at step {step:,.0f}.",
                end=finite[-1][1], least=least, step=step,
            )
        )  # fmt: skip
    if ln_v is not None:
        parts.append(tr("A model to which all tokens are equally likely has ln V = {loss:.2f}.", loss=ln_v))
    return joined(parts)


def _notes(training: Points, held: Points, steps: Sequence[int], held_out: Points, log_steps: bool) -> tuple[str, ...]:
    notes = []
    if len(training) > 2 * MEANS:
        notes.append(
            tr("Where steps are closer than the picture's dots, only the lowest and highest loss of each dot is drawn.")
        )
    if gaps := sum(not _finite(point) for point in (*training, *held)):
        notes.append(tr("{gaps} values are not finite numbers: they are gaps in the lines.", gaps=gaps))
    if log_steps and len(training) + len(held) < len(steps) + len(held_out):
        notes.append(tr("Step 0 has no place on a logarithmic axis and is left out."))
    return tuple(notes)
