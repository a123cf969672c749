"""`timetable`: the step of a planned training: the passes of each rank in time, and what the step's time goes into."""

from dataclasses import dataclass

from pellucid.draw.components import marks
from pellucid.draw.components.hatch import hatched
from pellucid.draw.components.marks import Box
from pellucid.draw.components.plan_words import first_lines
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Group, Image, Node, Path, Rect, Shows, Text, given
from pellucid.draw.views.labels import in_seconds, percent
from pellucid.draw.views.timetable import PARTS, TimetableView
from pellucid.languages import listed, tr


FORWARD = palette.INPUT_FILL, palette.INPUT
BACKWARD = palette.OUTPUT_FILL, palette.OUTPUT
COLOURS = {
    "compute": (palette.INPUT_FILL, palette.INPUT), "wait": (palette.FOLLOWED_FILL, palette.FOLLOWED),
    "data": (palette.PRETRAINING_FILL, palette.PRETRAINING), "messages": (palette.FINETUNING_FILL, palette.FINETUNING),
    "bubble": (palette.PANEL, palette.UNTRAINED), "optimizer": (palette.OUTPUT_FILL, palette.OUTPUT),
}  # fmt: skip
SUMMARY = Shows("plan/layout", (), None, "estimated")


@dataclass(frozen=True, slots=True, kw_only=True)
class _TimetableDrawing:
    """What every part needs: the figure's values, the sheet, and when each part appears."""

    view: TimetableView
    sheet: Sheet
    whole: Transition
    begins: Transition
    spent: Transition


def timetable(view: TimetableView, *, width: float = 960) -> Film:
    """The film of a step. Raises PellucidError for a picture less than 240 wide."""
    sheet, timeline = Sheet.of(width), Timeline()
    (whole,) = timeline.segment(tr("The whole step"), (1.0, 5.0, _of_step(view)))
    (begins,) = timeline.segment(tr("How it begins"), (3.0, 4.0, _of_beginning(view)))
    (spent,) = timeline.segment(tr("Where the time goes"), (1.0, 6.0, _of_parts(view)))
    drawing = _TimetableDrawing(view=view, sheet=sheet, whole=whole, begins=begins, spent=spent)
    if sheet.wide:
        boxes = Box(24, 82, 912, 116), Box(24, 226, 912, 176), Box(24, 424, 912, 74)
    else:
        boxes = Box(12, 76, 336, 124), Box(12, 228, 336, 190), Box(12, 444, 336, 140)
    nodes = first_lines(view.plan, sheet)
    nodes += _overview(drawing, boxes[0]) + _beginning(drawing, boxes[1]) + _parts(drawing, boxes[2])
    return sheet.film(
        view.plan, tr("A plan: the timetable of a step"), nodes, timeline, alt=_alt(view), notes=_notes(view),
        source=given("plan/inputs"),
    )  # fmt: skip


def part_names() -> dict[str, str]:
    """What a step's time is spent on."""
    return {
        "compute": tr("compute"), "wait": tr("tensor and context groups"), "data": tr("data groups"),
        "messages": tr("between stages"), "bubble": tr("bubble"), "optimizer": tr("optimizer"),
    }  # fmt: skip


def _heading(words: str, box: Box, small: float) -> Text:
    return Text(box.x, box.y + small, fit(words, box.w, small, "sans", 600), small, 600)


def _overview(drawing: _TimetableDrawing, box: Box) -> list[Node]:
    """The whole step: a row a rank, the darker the busier; hatched, since all of it is estimated."""
    view, small = drawing.view, drawing.sheet.small
    words = tr("the whole step, {time}", time=in_seconds(view.length))
    if drawing.sheet.wide:
        words = tr(
            "the whole step, {time}: a row for each rank of the pipeline, dark where it works", time=in_seconds(view.length)
        )
    top, high = box.y + small + 8, box.h - small - 8
    matrix = marks.sequential(view.shares, 0.0, 1.0)
    shows = Shows("plan/timetable/spans", (), None, "estimated")
    image = Image(matrix, "sequential", box.x, top, box.w, high, label=tr("share of the time that a rank works"), shows=shows)
    lines = []
    s = 6.0
    while s < box.w + high:
        x0, y0 = (s, 0.0) if s <= box.w else (box.w, s - box.w)
        x1, y1 = (0.0, s) if s <= high else (s - high, high)
        lines += [("M", box.x + x0, top + y0), ("L", box.x + x1, top + y1)]
        s += 7.0
    hatch = Path(tuple(lines), stroke=palette.PAPER, stroke_width=1.2)
    edge = Rect(box.x, top, box.w, high, 0, None, palette.LINE)
    there = animate(0.0, (drawing.whole, 1.0, "linear"))
    return [Group((_heading(words, box, small), image, hatch, edge), opacity=there)]


def _beginning(drawing: _TimetableDrawing, box: Box) -> list[Node]:
    """The first passes one by one, forward and backward; white is idle."""
    view, small = drawing.view, drawing.sheet.small
    pp, rows = view.plan.mesh["pp"], {rank: row for row, rank in enumerate(view.rows)}
    shown = tr("its first {time}", time=in_seconds(view.until))
    if len(rows) < pp and drawing.sheet.wide:
        shown = tr("its first {time}, on {rows} of the {ranks} ranks", time=in_seconds(view.until), rows=len(rows), ranks=pp)
    nodes: list[Node] = [Text(box.x, box.y + small, shown, small, 600)]
    x = box.right
    for (fill, strong), name in reversed(((FORWARD, tr("forward")), (BACKWARD, tr("backward")))):
        x -= text_width(name, small)
        nodes.append(Text(x, box.y + small, name, small))
        x -= 17
        nodes.append(hatched(Box(x, box.y + small - 9, 11, 9), fill, strong, gap=3.5))
        x -= 14
    top, high = box.y + small + 8, box.h - small - 8
    pitch, scale = high / len(rows), box.w / view.until
    start, moves = drawing.begins.start, drawing.begins.settled - drawing.begins.start
    nodes.append(Rect(box.x, top, box.w, high, 0, palette.PAPER, palette.LINE))
    for one in view.first:
        at = start + moves * one.start / view.until
        fill, strong = FORWARD if one.forward else BACKWARD
        y, w = top + rows[one.rank] * pitch, max(0.4, (one.end - one.start) * scale)
        place = Box(box.x + one.start * scale, y, w, pitch * 0.92)
        words = tr("forward of micro-batch {number}", number=one.micro_batch + 1)
        if not one.forward:
            words = tr("backward of micro-batch {number}", number=one.micro_batch + 1)
        label = tr("rank {rank}: {words}, {time}", rank=one.rank, words=words, time=in_seconds(one.end - one.start))
        shows = Shows("plan/timetable/spans", (one.index,), None, "estimated")
        opacity = Keyframes((0.0, 0.0), (at, 1.0)) if at > 0 else 1.0
        nodes.append(hatched(place, fill, strong, gap=4.0, rising=one.forward, label=label, shows=shows, opacity=opacity))
    there = animate(0.0, (drawing.begins, 1.0))
    return [Group(tuple(nodes), opacity=there)]


def _parts(drawing: _TimetableDrawing, box: Box) -> list[Node]:
    """The step of the slowest rank by what it is spent on, as one hatched bar with its legend."""
    view, sheet, small = drawing.view, drawing.sheet, drawing.sheet.small
    step, names = view.plan.step, part_names()
    low, expected, high = view.plan.outcomes
    words = tr(
        "the slowest rank's step, {time} ({fast} to {slow}); MFU {mfu} ({least} to {most})", time=in_seconds(step["total"]),
        fast=in_seconds(high["step"]), slow=in_seconds(low["step"]), mfu=percent(expected["mfu"]), least=percent(low["mfu"]),
        most=percent(high["mfu"]),
    )  # fmt: skip
    if not sheet.wide:
        words = tr("the step, {time}; MFU {mfu}", time=in_seconds(step["total"]), mfu=percent(expected["mfu"]))
    nodes: list[Node] = [_heading(words, box, small)]
    x, y, bar = box.x, box.y + small + 8, 20.0
    for part in PARTS:
        w = step[part] / step["total"] * box.w
        label = tr("{part}: {time}, {share}", part=names[part], time=in_seconds(step[part]),
                   share=percent(step[part] / step["total"]))  # fmt: skip
        if w > 0.3:
            rising = part not in ("wait", "messages")
            nodes.append(hatched(Box(x, y, w, bar), *COLOURS[part], rising=rising, label=label, shows=SUMMARY))
        x += w
    x, y = box.x, y + bar + 8
    for part in PARTS:
        shown = f"{names[part]} {percent(step[part] / step['total'])}"
        needed = 16 + text_width(shown, small) + 14
        if x > box.x and x + needed > sheet.right + 14:
            x, y = box.x, y + small + 6
        nodes.append(hatched(Box(x, y, 11, 9), *COLOURS[part], gap=3.5))
        nodes.append(Text(x + 16, y + 9, shown, small, shows=SUMMARY))
        x += needed
    return [Group(tuple(nodes), opacity=animate(0.0, (drawing.spent, 1.0, "linear")))]


def _of_step(view: TimetableView) -> str:
    plan, mean = view.plan, sum(view.busy) / len(view.busy)
    if plan.mesh["pp"] == 1:
        return tr("One step: {count:,} micro-batches one after the other, forward and backward.", count=plan.micro_batches)
    return tr(
        "One step: {count:,} micro-batches go through {ranks} ranks and back. On average a rank works {share} of the time.",
        count=plan.micro_batches, ranks=plan.mesh["pp"], share=percent(mean),
    )  # fmt: skip


def _of_beginning(view: TimetableView) -> str:
    if view.plan.mesh["pp"] == 1:
        return tr("Each forward pass is followed by its backward pass, which takes about twice as long.")
    return tr(
        "The pipeline fills: a rank begins when the one before hands it its first micro-batch. White is waiting: the bubble."
    )


def _of_parts(view: TimetableView) -> str:
    step = view.plan.step
    return tr(
        "Of {time}, {compute} is computing and {bubble} the bubble; the rest is communication that nothing hides, and the "
        "update.", time=in_seconds(step["total"]), compute=percent(step["compute"] / step["total"]),
        bubble=percent(step["bubble"] / step["total"]),
    )  # fmt: skip


def _alt(view: TimetableView) -> str:
    step, names = view.plan.step, part_names()
    parts = listed(f"{names[part]} {percent(step[part] / step['total'])}" for part in PARTS)
    return tr(
        "The timetable of one planned step of {line}: {passes:,} passes, {time} in all. {parts}. All numbers are estimated.",
        line=view.plan.first_line(), passes=view.passes, time=in_seconds(step["total"]), parts=parts,
    )  # fmt: skip


def _notes(view: TimetableView) -> list[str]:
    return [
        tr("Hatched: estimated from shapes and from published figures of the devices. Nothing was run."),
        tr("All passes of a stage take equally long, and messages between stages take no time of the ranks."),
        tr("The range follows from the shares of published rates that work reaches, which are choices."),
    ]
