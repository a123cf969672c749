"""`memory`: a planned model laid out over its devices, the blocks of each place of the pipeline, and what a device holds."""

from dataclasses import dataclass
from math import ceil

from pellucid.draw.components.hatch import hatched
from pellucid.draw.components.marks import Box
from pellucid.draw.components.plan_words import first_lines
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.nodes import Group, Node, Path, Rect, Shows, Text, given
from pellucid.draw.views.labels import in_bytes, percent
from pellucid.draw.views.memory import MemoryView
from pellucid.draw.views.model_parts import block_name
from pellucid.draw.views.plan import kind_names, shown_sum
from pellucid.languages import counted, listed, tr


COLOURS = (
    (palette.INPUT_FILL, palette.INPUT), (palette.OUTPUT_FILL, palette.OUTPUT), (palette.FOLLOWED_FILL, palette.FOLLOWED),
    (palette.PRETRAINING_FILL, palette.PRETRAINING), (palette.FINETUNING_FILL, palette.FINETUNING),
)  # fmt: skip
MOST_ROWS = {True: 16, False: 12}
MOST_SQUARES = 256  # devices of a row that are drawn one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class _MemoryDrawing:
    """What every part needs. rows: the places of the pipeline that are shown. top, pitch: of the rows."""

    view: MemoryView
    sheet: Sheet
    rows: tuple[int, ...]
    top: float
    pitch: float
    devices: Transition
    blocks: Transition
    memory: Transition


def memory(view: MemoryView, *, width: float = 960) -> Film:
    """The film of a layout and its memory. Raises PellucidError for a picture less than 240 wide."""
    sheet, timeline = Sheet.of(width), Timeline()
    pp = view.plan.mesh["pp"]
    most = min(pp, MOST_ROWS[sheet.wide])
    rows = tuple(sorted({i * (pp - 1) // max(1, most - 1) for i in range(most)}))
    (devices,) = timeline.segment(tr("The devices"), (1.0, 5.0, _of_devices(view)))
    (blocks,) = timeline.segment(tr("The blocks"), (1.0, 5.0, _of_blocks(view)))
    (held,) = timeline.segment(tr("The memory"), (1.5, 6.0, _of_memory(view)))
    top = sheet.top + (62 if sheet.wide else 92)
    pitch = min(44.0, (sheet.bottom - 6 - top) / len(rows))
    drawing = _MemoryDrawing(
        view=view, sheet=sheet, rows=rows, top=top, pitch=pitch, devices=devices, blocks=blocks, memory=held
    )
    nodes = _words(drawing) + _devices(drawing) + _blocks(drawing) + _bars(drawing)
    return sheet.film(
        view.plan, tr("A plan: blocks and memory"), nodes, timeline, alt=_alt(view), notes=_notes(view),
        source=given("plan/inputs"),
    )  # fmt: skip


def _columns(sheet: Sheet) -> tuple[Box, Box, Box]:
    """Where the devices, the blocks and the bars stand, between the margins; only x and w are used."""
    if sheet.wide:
        return Box(24, 0, 300, 0), Box(340, 0, 130, 0), Box(486, 0, 366, 0)
    return Box(12, 0, 84, 0), Box(104, 0, 60, 0), Box(172, 0, 176, 0)


def _words(drawing: _MemoryDrawing) -> list[Node]:
    """The line under the title, the colours' legend, and the columns' headings."""
    view, sheet = drawing.view, drawing.sheet
    small, y = sheet.small, sheet.top + 2
    nodes = first_lines(view.plan, sheet)
    x, line = sheet.left, y + (14 if sheet.wide else 28)
    for (fill, strong), name in zip(COLOURS, kind_names(), strict=True):
        needed = 16 + text_width(name, small) + 14
        if x + needed > sheet.right:
            x, line = sheet.left, line + small + 6
        nodes.append(hatched(Box(x, line, 11, 9), fill, strong, gap=3.5))
        nodes.append(Text(x + 16, line + 9, name, small))
        x += needed
    heading = drawing.top - 8
    for box, words, when in zip(
        _columns(sheet), (tr("devices"), tr("blocks"), tr("memory of a device")),
        (drawing.devices, drawing.blocks, drawing.memory), strict=True,
    ):  # fmt: skip
        opacity = animate(0.0, (when, 1.0, "linear"))
        nodes.append(Text(box.x, heading, fit(words, box.w, small, "sans", 600), small, 600, opacity=opacity))
    return nodes


def _devices(drawing: _MemoryDrawing) -> list[Node]:
    """The devices at each place, a square each; a row of one area where they are too many."""
    view, box = drawing.view, _columns(drawing.sheet)[0]
    count, high = view.plan.stage_devices, drawing.pitch - 4
    nodes: list[Node] = []
    lines = max(range(1, 13), key=lambda n: min(high / n, box.w / ceil(count / n)))
    across = ceil(count / lines)
    side = min(high / lines, box.w / across)
    label = tr("{count:,} devices: {axes}", count=count, axes=view.plan.axes())
    for i, _place in enumerate(drawing.rows):
        y = drawing.top + i * drawing.pitch
        if count <= MOST_SQUARES:
            gap = side * 0.18
            path = []
            for k in range(count):
                x0, y0 = box.x + k % across * side, y + k // across * side
                w = side - gap
                path += [("M", x0, y0), ("L", x0 + w, y0), ("L", x0 + w, y0 + w), ("L", x0, y0 + w), ("Z",)]
            mark: Node = Path(tuple(path), fill=palette.UNTRAINED, label=label, shows=given("plan/inputs"))
        else:
            mark = Rect(box.x, y, box.w, high, 2, palette.UNTRAINED_FILL, palette.UNTRAINED, label=label,
                        shows=given("plan/inputs"))  # fmt: skip
        nodes.append(Group((mark,), opacity=animate(0.0, (drawing.devices, 1.0, "linear"))))
    return nodes


def _ranges(blocks: tuple[int, ...]) -> str:
    """Numbers of blocks, counted from 1, runs of them joined: "1, 17, 33"; "1-6"."""
    runs: list[list[int]] = []
    for block in blocks:
        if runs and block == runs[-1][1] + 1:
            runs[-1][1] = block
        else:
            runs.append([block, block])
    return ", ".join(str(a + 1) if a == b else f"{a + 1}-{b + 1}" for a, b in runs)


def _blocks(drawing: _MemoryDrawing) -> list[Node]:
    """The numbers of the blocks at each place."""
    view, box, small = drawing.view, _columns(drawing.sheet)[1], drawing.sheet.small
    nodes: list[Node] = []
    for i, place in enumerate(drawing.rows):
        y = drawing.top + i * drawing.pitch + (drawing.pitch - 4) / 2 + small * 0.36
        words = _ranges(view.blocks[place])
        if text_width(words, small) > box.w:  # the first and the last of them
            first, *_, last = words.split(", ")
            words = fit(f"{first} … {last}", box.w, small)
        label = listed(block_name(block) for block in view.blocks[place])
        shows = Shows("plan/stages", (), None, "estimated")
        opacity = animate(0.0, (drawing.blocks, 1.0, "linear"))
        nodes.append(Text(box.x, y, words, small, label=label, shows=shows, opacity=opacity))
    return nodes


def _bars(drawing: _MemoryDrawing) -> list[Node]:
    """What a device of each place holds at its peak, by kind, beside what it may hold."""
    view, sheet, box = drawing.view, drawing.sheet, _columns(drawing.sheet)[2]
    most, limited = _most(view)
    room = box.w - (0 if sheet.wide else 44)
    scale = room / most
    names, high = kind_names(), drawing.pitch - 6
    nodes: list[Node] = []
    for i, place in enumerate(drawing.rows):
        y, x = drawing.top + i * drawing.pitch, box.x
        row: list[Node] = []
        for k, value in enumerate(view.memory[place]):
            w = value * scale
            label = tr("{kind}: {size}", kind=names[k], size=in_bytes(value))
            shows = Shows("plan/memory", (place, k), None, "estimated")
            if w > 0.5:
                row.append(hatched(Box(x, y, w, high), *COLOURS[k], rising=k % 2 == 0, label=label, shows=shows))
            x += w
        total = Shows("plan/memory", (place,), None, "estimated")
        words = shown_sum(view.memory[place])
        # Right of the budget's line, so that no bar runs through it.
        row.append(Text(box.x + room + 6, y + high / 2 + sheet.small * 0.36, words, sheet.small, shows=total))
        nodes.append(Group(tuple(row), opacity=animate(0.0, (drawing.memory, 1.0, "linear"))))
    if not limited:
        return nodes
    x = box.x + view.plan.budget * scale
    bottom = drawing.top + len(drawing.rows) * drawing.pitch - 4
    line = Path((("M", x, drawing.top - 4), ("L", x, bottom)), stroke=palette.INK, stroke_width=1.4, dash=(4.0, 3.0),
                label=tr("{size} of a device may be used", size=in_bytes(view.plan.budget)))  # fmt: skip
    nodes.append(Group((line,), opacity=animate(0.0, (drawing.memory, 1.0, "linear"))))
    return nodes


def _most(view: MemoryView) -> tuple[float, bool]:
    """Bytes of the longest bar there is room for, and whether what may be used is among them: not where it is far more."""
    fullest = float(sum(view.memory[view.fullest]))
    limited = fullest >= view.plan.budget / 20
    return (max(view.plan.budget, fullest) if limited else fullest), limited


def _of_devices(view: MemoryView) -> str:
    plan = view.plan
    if plan.mesh["pp"] == 1:
        return tr("{devices:,} devices, each with a part of every block: {axes}.", devices=plan.devices, axes=plan.axes())
    return tr(
        "{devices:,} devices stand in {places} rows, the places of a pipeline. The {each:,} of a row share its blocks: {axes}.",
        devices=plan.devices, places=plan.mesh["pp"], each=plan.stage_devices, axes=plan.axes(),
    )  # fmt: skip


def _of_blocks(view: MemoryView) -> str:
    each = len(view.blocks[0])
    if view.plan.chunks > 1:
        return tr(
            "Each row has {blocks} of the {all}, in {chunks} groups that are not neighbours: the pipeline goes round.",
            blocks=counted(each, "block"), all=view.plan.config.n_layers, chunks=view.plan.chunks,
        )  # fmt: skip
    return tr("Each row has {blocks} of the {all}.", blocks=counted(each, "block"), all=view.plan.config.n_layers)


def _of_memory(view: MemoryView) -> str:
    most = view.fullest
    if not _most(view)[1]:
        return tr(
            "The fullest device holds {size}, {share} of what may be used: it keeps {count} passes' activations.",
            size=shown_sum(view.memory[most]), share=percent(sum(view.memory[most]) / view.plan.budget),
            count=view.in_flight[most],
        )  # fmt: skip
    return tr(
        "The fullest device holds {size}, {share} of what may be used (dashed): it keeps {count} passes' activations.",
        size=shown_sum(view.memory[most]), share=percent(sum(view.memory[most]) / view.plan.budget),
        count=view.in_flight[most],
    )  # fmt: skip


def _alt(view: MemoryView) -> str:
    most = view.fullest
    kinds = listed(
        tr("{kind} {size}", kind=name, size=in_bytes(value))
        for name, value in zip(kind_names(), view.memory[most], strict=True)
    )
    return tr(
        "A plan of training {line}. One row for each place of the pipeline: its devices, its blocks, and a hatched bar of the "
        "memory that one device needs. The fullest needs {size} of {budget}: {kinds}. All numbers are estimated.",
        line=view.plan.first_line(), size=shown_sum(view.memory[most]), budget=in_bytes(view.plan.budget), kinds=kinds,
    )  # fmt: skip


def _notes(view: MemoryView) -> list[str]:
    notes = [
        tr("Hatched: estimated from shapes and from published figures of the devices. Nothing was run."),
        tr("Of the devices in a row, the one with the most is shown; others hold a little less where sizes do not divide."),
        tr("Bytes at the peak of a step: with the activations of all passes that are begun and not ended."),
    ]
    if len(view.memory) > MOST_ROWS[True]:
        notes.append(tr("Evenly chosen places of the pipeline are shown."))
    return notes
