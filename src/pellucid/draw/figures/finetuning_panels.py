"""The panels of `finetuning`: answers before and after, losses on the task, the loss on general text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pellucid.draw.components.axes import decimated, grid_lines, loss_dots, loss_scale, polyline, step_axis
from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import centred, verdict
from pellucid.draw.components.scales import LengthScale, LinearScale, ticks_with_room
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.keyframes import rounded
from pellucid.draw.film.nodes import Clip, Node, Path, Rect, Shows, Text
from pellucid.draw.views.finetuning import FinetuningView, HeldOutAnswer
from pellucid.draw.views.labels import readable, start_of
from pellucid.languages import mark, tr


COLUMNS = (mark("prompt"), mark("expected"), mark("before"), mark("after"))  # attributes of an answer, and their names
INKS = {"prompt": palette.INPUT, "expected": palette.INK, "before": palette.QUIET, "after": palette.OUTPUT}
GAP = 12.0  # between two columns
MARK = 15.0  # room for a verdict after an answer
MISSING = mark("not in this record")


def answers(view: FinetuningView, sheet: Sheet, box: Box, answer: Transition) -> list[Node]:
    """Held-out examples, a row each: prompt, what is expected, both answers, right or wrong; above, how many are right."""
    size = sheet.small
    nodes: list[Node] = [Text(box.x, box.y + size, tr("Examples it never saw"), size, 600)]
    if not view.answers:
        missing = tr("it learned from plain text: there are no questions")
        return [*nodes, Text(box.x, box.y + 2.8 * size, fit(missing, box.w, size), size, fill=palette.QUIET)]
    nodes += _count(view, sheet, box, answer)
    table = _Table.of(view, sheet, box)
    for line in table.lines:
        for name, place in line.items():
            nodes.append(Text(place.x, centred(place.y, table.pitch, size), fit(tr(name), place.w + 8, size), size,
                              fill=palette.QUIET))  # fmt: skip
    rule = table.top + len(table.lines) * table.pitch + 0.1 * size
    nodes.append(Path((("M", box.x, rule), ("L", box.right, rule)), stroke=palette.LINE))
    there = animate(0, (answer, 1))
    for row, one in enumerate(table.shown, start=1):
        for line in table.lines:
            for name, place in line.items():
                nodes += _cell(one, name, replace(place, y=place.y + table.row * row), size, there)
    return nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """The table of answers: on a screen a line an example, on a phone two, so that no answer is cut that has room in one.

    Attributes:
        shown: the examples that have room. lines: of the heading, each with the place of every column; an example's lines stand
            a multiple of `row` lower. pitch: height of a line. top: of the heading.
    """

    shown: tuple[HeldOutAnswer, ...]
    lines: tuple[dict[str, Box], ...]
    pitch: float
    row: float
    top: float

    @classmethod
    def of(cls, view: FinetuningView, sheet: Sheet, box: Box) -> "_Table":
        size = sheet.small
        names = (COLUMNS,) if sheet.wide else (COLUMNS[:2], COLUMNS[2:])
        pitch = (1.62 if sheet.wide else 1.35) * size
        row = len(names) * pitch + (0.0 if sheet.wide else 0.5 * size)
        top = box.y + (2.2 if sheet.wide else 3.7) * size
        shown = view.answers[: int((box.bottom - top) / row) - 1]
        marks = (0.0, 0.0, MARK, MARK)
        wanted = [
            max([text_width(tr(name), size), *(text_width(_words(one, name), size) for one in shown)]) + extra
            for name, extra in zip(COLUMNS, marks, strict=True)
        ]
        if sheet.wide:
            widths = shared_out(wanted, box.w - 3 * GAP)
        else:  # two columns, each as wide as the wider of its two
            widths = 2 * shared_out([max(wanted[0], wanted[2]), max(wanted[1], wanted[3])], box.w - GAP)
        lines, at = [], iter(zip(widths, marks, strict=True))
        for i, line in enumerate(names):
            x, places = box.x, {}
            for name in line:
                wide, extra = next(at)
                places[name] = Box(x, top + i * pitch, wide - extra, pitch)
                x += wide + GAP
            lines.append(places)
        return cls(shown=shown, lines=tuple(lines), pitch=pitch, row=row, top=top)


def _words(one: HeldOutAnswer, name: str) -> str:
    """A cell's text, with spaces and line ends made visible."""
    return start_of(readable(getattr(one, name)), 400).strip()


def _cell(one: HeldOutAnswer, name: str, place: Box, size: float, there: Any) -> list[Node]:
    """One cell of the table; an answer with its verdict. there: the opacity of what the model says after."""
    opacity = there if name == "after" else 1.0
    label = tr("{name}: {text!r}", name=tr(name), text=getattr(one, name))
    nodes: list[Node] = [
        Text(place.x, centred(place.y, place.h, size), fit(_words(one, name), place.w, size), size, fill=INKS[name],
             opacity=opacity, label=label, shows=one.shows)
    ]  # fmt: skip
    if name in ("before", "after"):
        right = one.is_right(name)
        nodes += verdict(place.right + 9, place.y + place.h / 2, right, tr("right") if right else tr("wrong"), opacity)
    return nodes


def _count(view: FinetuningView, sheet: Sheet, box: Box, answer: Transition) -> list[Node]:
    """How many are right before, and after."""
    right, size = view.right, sheet.small
    assert right is not None
    before = tr("right: {right:,} of {count:,} before", right=right.before, count=right.count)
    if not right.all_held_out:
        before = tr("right: {right:,} of these {count:,} before", right=right.before, count=right.count)
    after = tr(", {right:,} after", right=right.after)
    y = box.y + (1 if sheet.wide else 2.5) * size
    end = text_width(after, size, "sans", 600)
    start = box.right - end - text_width(before, size) if sheet.wide else box.x
    x = start + text_width(before, size)
    there = animate(0, (answer, 1))
    return [
        Text(start, y, before, size, shows=right.shows[0]),
        Text(x, y, after, size, 600, fill=palette.OUTPUT, opacity=there, shows=right.shows[1]),
    ]


def shared_out(wanted: Sequence[float], room: float) -> list[float]:
    """Widths for columns that want so much: what is asked for where it fits, else an equal share of what the others leave."""
    found, left, open_columns = [0.0] * len(wanted), room, sorted(range(len(wanted)), key=lambda i: wanted[i])
    for place, i in enumerate(open_columns):
        found[i] = min(wanted[i], left / (len(wanted) - place))
        left -= found[i]
    return found


def losses(view: FinetuningView, sheet: Sheet, box: Box, learn: Transition) -> list[Node]:
    """The task's loss: training by step, held out at each evaluation, and the step whose model was kept."""
    size = sheet.small
    nodes: list[Node] = [Text(box.x, box.y + size, tr("Loss on the task, nats a token"), size, 600)]
    points = [*view.training, *view.held_out]
    if not points:
        return [*nodes, Text(box.x, box.y + 2.8 * size, tr(MISSING), size, fill=palette.QUIET)]
    y = loss_scale([point.value for point in points], start=box.bottom - 2.9 * size, end=box.y + 3.4 * size)
    y_ticks = ticks_with_room(y, size, vertical=True)
    left = box.x + max(text_width(words, size) for _, words in y_ticks) + 0.6 * size
    x = LinearScale(0.0, float(max(view.steps, 1)), left, box.right - text_width(f"{view.steps:,}", size) / 2 - 1)
    x_ticks = [(x.place(value), words) for value, words in ticks_with_room(x, size, whole=True)]
    nodes += _loss_legend(view, box, size)
    nodes += grid_lines(y, y_ticks, left, x.end, size)
    nodes += step_axis(x_ticks, left, x.end, y.start, size, name=tr("step"), name_lines=2.6)
    curves: list[Node] = []
    for losses_of, colour, thick in ((view.training, palette.SERIES_PALE, 1.5), (view.held_out, palette.SERIES[1], 2.0)):
        for run in decimated([(point.step, point.value) for point in losses_of], x, y):
            whole = Shows(losses_of[0].shows.chunk, (), None, losses_of[0].shows.truth)
            curves.append(Path(polyline(run), stroke=colour, stroke_width=thick, shows=whole))
    count = view.right.count if view.right is not None else 0
    curves += loss_dots(
        [(point.step, point.value) for point in view.held_out],
        lambda point: (rounded(x.place(point[0])), rounded(y.place(point[1]))),
        3,
        lambda point: _evaluation(int(point[0]), point[1], view.rights.get(int(point[0])), count),
        lambda i: view.held_out[i].shows,
    )
    place, margin = x.place(view.kept), size / 2
    kept = (("M", place, y.end), ("L", place, y.start))
    label = tr("kept: step {step:,}", step=view.kept)
    curves.append(Path(kept, stroke=palette.FINETUNING, stroke_width=1.5, dash=(4.0, 3.0), label=label))
    reach = animate(0.0, (learn, x.end - left + 2 * margin, "linear"))
    nodes.append(Clip(tuple(curves), left - margin, y.end - margin, reach, y.start - y.end + 2 * margin))
    return nodes


def _evaluation(step: int, loss: float, right: int | None, count: int) -> str:
    """An evaluation in words."""
    if right is None:
        return tr("held-out loss {loss:.4f} after {steps:,} steps", loss=loss, steps=step)
    return tr(
        "held-out loss {loss:.4f} after {steps:,} steps; {right:,} of {count:,} answers right", loss=loss, steps=step,
        right=right, count=count,
    )  # fmt: skip


def _loss_legend(view: FinetuningView, box: Box, size: float) -> list[Node]:
    """The lines' names, and a dashed line for the step that was kept."""
    entries: list[tuple[str, str, tuple[float, ...]]] = []
    if view.training:
        entries.append((tr("training"), palette.SERIES_PALE, ()))
    if view.held_out:
        entries.append((tr("held out"), palette.SERIES[1], ()))
    entries.append((tr("kept: {step:,}", step=view.kept), palette.FINETUNING, (4.0, 3.0)))
    nodes: list[Node] = []
    x, y = box.x, box.y + 2.5 * size
    for words, colour, dash in entries:
        line = (("M", x, y - 0.36 * size), ("L", x + 16, y - 0.36 * size))
        nodes.append(Path(line, stroke=colour, stroke_width=2.0, dash=dash))
        nodes.append(Text(x + 21, y, words, size))
        x += 21 + text_width(words, size) + 12
    return nodes


def general(view: FinetuningView, sheet: Sheet, box: Box, forget: Transition | None) -> list[Node]:
    """The loss on text that is not of the task, before and after, as two bars."""
    size, found = sheet.small, view.general
    nodes: list[Node] = [Text(box.x, box.y + size, tr("Loss on general text"), size, 600)]
    if found is None or forget is None:
        return [*nodes, Text(box.x, box.y + 2.8 * size, tr(MISSING), size, fill=palette.QUIET)]
    full = max(found.before, found.after)
    number = text_width("00.00", size) + 6
    names = tr("before"), tr("after")
    name = 0.0 if sheet.wide else max(text_width(words, size) for words in names) + 10
    bars = LengthScale(box.w - number - name, full)
    label = tr("{origin}, {tokens:,} tokens: nats a token", origin=found.origin, tokens=found.tokens)
    y = box.y + 2.0 * size
    for i, (words, value) in enumerate(zip(names, (found.before, found.after), strict=True)):
        there = animate(0, (forget, 1)) if i else 1.0
        colour = palette.FINETUNING if i else palette.UNTRAINED
        length = bars.length(value)
        at = y
        if sheet.wide:
            nodes.append(Text(box.x, at + size, words, size, fill=palette.QUIET))
            at += 1.4 * size
        else:
            nodes.append(Text(box.x, at + 1.1 * size, words, size, fill=palette.QUIET))
        tall = 1.35 * size
        wide = animate(0.0, (forget, length, "move")) if i else length
        whole = tr("{name}: {text}", name=words, text=label)
        nodes.append(Rect(box.x + name, at, wide, tall, 2, colour, label=whole, shows=found.shows[i]))
        nodes.append(Text(box.x + name + length + 6, centred(at, tall, size), f"{value:.2f}", size, opacity=there,
                          shows=found.shows[i]))  # fmt: skip
        y = at + tall + 0.5 * size
    change = found.after - found.before
    moved = f"{'+' if change >= 0 else '−'}{abs(change):.2f}"
    nodes.append(Text(box.x, y + size, tr("{number} nats a token", number=moved), size, 600, opacity=animate(0, (forget, 1)),
                      shows=Shows("finetuning/general/loss")))  # fmt: skip
    return nodes
