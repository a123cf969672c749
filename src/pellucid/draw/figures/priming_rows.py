"""The rows of `priming`: a prompt as text, a row for each part of it; long parts are cut in their middle, many examples too."""

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import centred
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.nodes import Node, Number, Path, Rect, Text
from pellucid.draw.views.pieces import Pieces
from pellucid.draw.views.priming import FORMAT, OUTPUT, TASK, PrimedPrompt
from pellucid.languages import tr


PAD, GAP = 2.5, 1.5  # beside a piece in its cell; between two cells
ANSWER_FILL = palette.mix(palette.INPUT_FILL, palette.INPUT, 0.28)  # of an example's output, which is input to the model
FILLS = {TASK: palette.PAPER, OUTPUT: ANSWER_FILL, FORMAT: palette.UNTRAINED_FILL}


@dataclass(frozen=True, slots=True)
class Cell:
    """A piece in a row, or the words in the place of pieces that are left out.

    Attributes:
        place: of the piece among those of the row; None for pieces left out. x, w: left edge and width. text: as it is shown.
    """

    place: int | None
    x: float
    w: float
    text: str


def left_out(count: int) -> str:
    """The words in the place of pieces that have no room."""
    return f"… {count} …"


def row_cells(words: Sequence[str], roles: Sequence[int], room: float, size: float) -> list[Cell]:
    """The pieces of a part in one row no wider than `room`.

    Where they have no room, inputs and outputs are each cut in their middle; what the format puts between them stays.

    Args:
        roles: one a piece, as in `priming/roles`. size: of the text.
    """
    widths = [min(text_width(word, size, "mono") + 2 * PAD, room / 3) for word in words]
    whole = list(range(len(words)))
    for parts in ([(whole, True)], _cut(whole, widths, roles, room, size), _middle_out(whole, widths, room, size)):
        cells, x = list[Cell](), 0.0
        for places, stay in parts:
            for place in places if stay else places[:1]:
                text = fit(words[place], widths[place] - 1, size, "mono") if stay else left_out(len(places))
                w = widths[place] if stay else text_width(text, size) + 2 * PAD
                cells.append(Cell(place if stay else None, x, w, text))
                x += w + GAP
        if x - GAP <= room + 1e-6:
            break
    return cells


Parts = list[tuple[list[int], bool]]  # places in order, and whether they stay


def _cut(whole: list[int], widths: Sequence[float], roles: Sequence[int], room: float, size: float) -> Parts:
    """Inputs and outputs each cut in their middle, between the format's pieces, which stay."""
    runs = list[list[int]]()
    for place in whole:
        if runs and (roles[runs[-1][-1]] == FORMAT) == (roles[place] == FORMAT):
            runs[-1].append(place)
        else:
            runs.append([place])
    wide = {run[0]: sum(widths[place] + GAP for place in run) for run in runs}
    free = sorted((run for run in runs if roles[run[0]] != FORMAT), key=lambda run: wide[run[0]])
    left = room + GAP - sum(wide[run[0]] for run in runs if roles[run[0]] == FORMAT)
    rooms = dict[int, float]()
    for waiting, run in zip(range(len(free), 0, -1), free, strict=True):  # what is short leaves room to others
        rooms[run[0]] = min(wide[run[0]], left / waiting)
        left -= rooms[run[0]]
    return [
        part
        for run in runs
        for part in (_middle_out(run, widths, rooms[run[0]], size) if run[0] in rooms else [(run, True)])
    ]


def _middle_out(run: list[int], widths: Sequence[float], room: float, size: float) -> Parts:
    """The first and the last of a run that have room beside the words that say how many are between them."""
    if sum(widths[place] + GAP for place in run) <= room + 1e-6:
        return [(run, True)]
    room -= text_width(left_out(len(run)), size) + 2 * PAD + GAP
    first, last = 0, len(run)
    while first < last:
        side = first if first <= len(run) - last else last - 1
        room -= widths[run[side]] + GAP
        if room < 0:
            break
        first, last = (first + 1, last) if side == first else (first, last - 1)
    return [part for part in ((run[:first], True), (run[first:last], False), (run[last:], True)) if part[0]]


def shown_parts(prompt: PrimedPrompt, rows: int) -> list[int | None]:
    """The parts that have a row each, in order; None for the examples between them that have none.

    Args:
        rows: the most there may be, 4 at least.
    """
    task, query = [0] * (0 in prompt.parts), prompt.shots + 1
    room = rows - len(task) - 1
    examples: list[int | None] = list(range(1, query))
    if len(examples) > room:
        last = (room - 1) // 2
        examples = [*examples[: room - 1 - last], None, *examples[len(examples) - last :]]
    return [*task, *examples, query]


def part_row(
    prompt: PrimedPrompt, part: int, pieces: Pieces, box: Box, size: float, *, opacity: Number
) -> list[Node]:
    """One part of a prompt in a row; the last token of the query, the answer's place, in the followed position's colour."""
    places = prompt.tokens_of(part)
    cells = row_cells([pieces.shown(prompt.ids[place]) for place in places], [prompt.roles[p] for p in places], box.w, size)
    nodes = list[Node]()
    for cell in cells:
        x, base = box.x + cell.x, centred(box.y, box.h, size)
        if cell.place is None:
            nodes.append(Text(x + PAD, base, cell.text, size, fill=palette.QUIET, opacity=opacity))
            continue
        place = places[cell.place]
        fill, stroke = FILLS.get(prompt.roles[place], palette.INPUT_FILL), None
        if prompt.roles[place] == TASK:
            stroke = palette.LINE
        if place == len(prompt.ids) - 1:
            fill, stroke = palette.FOLLOWED_FILL, palette.FOLLOWED
        label = tr("position {place}: {token}", place=place, token=pieces.described(prompt.ids[place]))
        nodes.append(Rect(x, box.y, cell.w, box.h, 3, fill, stroke, opacity=opacity, label=label, shows=prompt.shows_id(place)))
        if cell.text:
            nodes.append(
                Text(x + cell.w / 2, base, cell.text, size, 400, "mono", "middle", opacity=opacity, label=label,
                     shows=prompt.shows_id(place))
            )  # fmt: skip
    return nodes + _characters(prompt, places, cells, pieces, box, opacity)


def _characters(
    prompt: PrimedPrompt, places: Sequence[int], cells: Sequence[Cell], pieces: Pieces, box: Box, opacity: Number
) -> list[Node]:
    """A line under pieces that only together are a character, where all of them are shown."""
    shown = {cell.place: cell for cell in cells if cell.place is not None}
    nodes = list[Node]()
    for start, end, text in pieces.characters([prompt.ids[place] for place in places]):
        row = [shown[place] for place in range(start, end) if place in shown]
        if len(row) == end - start:
            line = (("M", box.x + row[0].x + 1, box.bottom + 1.2), ("L", box.x + row[-1].x + row[-1].w - 1, box.bottom + 1.2))
            label = tr("together the text {text!r}", text=text)
            nodes.append(Path(line, stroke=palette.QUIET, stroke_width=1.2, label=label, opacity=opacity))
    return nodes
