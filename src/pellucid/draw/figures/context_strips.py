"""The strips and masks of `context`: for each attention pattern, which positions are read, and which no longer can be."""

from collections.abc import Sequence

from pellucid.draw.components.marks import Box, sequential
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.nodes import Image, Matrix, Node, Path, Rect, Shows, Text
from pellucid.draw.views.context import ContextView, PatternRow
from pellucid.draw.views.model_parts import block_name, pattern_name
from pellucid.languages import counted, listed, tr


FREE, THERE, READ = 0, 70, 190  # codes of the sequential palette: no token yet, a token that is not read, one that is read
NO_LONGER = 170  # of the grey palette
TALLEST = 34.0
LEAST_MASK, LARGEST_MASK = 56.0, 150.0


def strips(
    view: ContextView, box: Box, zoomed: int, sheet: Sheet, moves: Sequence[Transition], end: Transition
) -> list[Node]:
    """A name, a strip of positions and a thin strip of those that no later query can read, for each pattern.

    Args:
        box: for all of them. zoomed: positions of a strip. moves: when each step shown is reached. end: when the thin strips
            are spoken of.
    """
    pitch = min((box.h - 2 * sheet.small) / len(view.rows), 74.0 if sheet.wide else 72.0)
    nodes: list[Node] = []
    for i, row in enumerate(view.rows):
        place = Box(box.x, box.y + i * pitch, box.w, pitch)
        nodes += _strip(view, row, place, zoomed, sheet, moves, end)
    low = box.y + len(view.rows) * pitch
    nodes += _numbers(zoomed, Box(box.x, low, box.w, 0), sheet)
    return nodes + _masks(view, Box(box.x, low + 1.6 * sheet.small, box.w, box.bottom - low - 1.6 * sheet.small), sheet)


def _masks(view: ContextView, box: Box, sheet: Sheet) -> list[Node]:
    """The whole window of each pattern as a square, query by key, where there is room for squares."""
    size, gap = sheet.small, 16.0
    across = len(view.rows)
    said = 0.0 if sheet.wide else 4.3 * size  # what a square means stands below it on a phone
    side = min(box.h - 1.7 * size - said, (box.w - (across - 1) * gap) / across, LARGEST_MASK)
    if side < LEAST_MASK:
        return []
    shows = Shows("provenance", (), None, "given")
    nodes: list[Node] = []
    wide = min((box.w - (across - 1) * gap) / across, 300.0)
    for i, row in enumerate(view.rows):
        x, y = box.x + i * (wide + gap), box.y + 1.5 * size
        total = row.pattern.pairs(view.n_ctx)
        pattern = pattern_name(row.pattern)
        label = tr("the whole window of {pattern}: {pairs:,} pairs of query and key", pattern=pattern, pairs=total)
        title = fit(tr("{pattern}, whole window", pattern=pattern), wide, size, "sans", 600)
        nodes += [
            Text(x, box.y + size, title, size, 600, label=label, shows=shows),
            Image(sequential(row.mask, 0, 1), "sequential", x, y, side, side, label=label, shows=shows),
            Rect(x, y, side, side, 0, None, palette.LINE),
        ]
        lines = (tr("{count:,} pairs", count=total), tr("down: queries"), tr("across: positions"))
        if not sheet.wide or wide - side > 90:
            left, first = (x + side + 10, y) if sheet.wide else (x, y + side + 0.4 * size)
            room = wide - (left - x)
            nodes += [
                Text(left, first + (1 + 1.35 * j) * size, fit(line, room, size), size, fill=palette.QUIET, label=label)
                for j, line in enumerate(lines)
            ]
    return nodes


def _strip(
    view: ContextView, row: PatternRow, place: Box, zoomed: int, sheet: Sheet, moves: Sequence[Transition], end: Transition
) -> list[Node]:
    size = sheet.small
    provenance, cells = Shows("provenance", (), None, "given"), Shows("generation/cells")
    pattern, blocks = pattern_name(row.pattern), _blocks(row.blocks)
    named = f"{pattern} · {blocks}"
    counts = [
        tr("reads {count:,} of {all:,}", count=sum(reads), all=view.newest(step) + 1)
        for reads, step in zip(row.reads, view.steps, strict=True)
    ]
    changing = animate("", *((move, count) for move, count in zip(moves, counts, strict=True)))
    widest = max(text_width(count, size, "sans", 600) for count in counts)
    y = place.y + size
    high = min(place.h - 1.5 * size - 14, TALLEST)
    strip = Box(place.x, y + 0.5 * size, place.w, high)
    free = [FREE] * zoomed
    codes = [_codes(view, reads, step, zoomed) for reads, step in zip(row.reads, view.steps, strict=True)]
    before = [THERE] * view.prompt + free[view.prompt :]
    matrix = animate(Matrix.of([before]), *((move, Matrix.of([code])) for move, code in zip(moves, codes, strict=True)))
    label = tr("what the newest query reads in {blocks}, by the pattern {pattern}", blocks=blocks, pattern=pattern)
    gone = [[NO_LONGER * int(lost) for lost in lost_of] + [0] * (zoomed - len(lost_of)) for lost_of in row.unreadable]
    thin = animate(Matrix.of([free]), *((move, Matrix.of([code])) for move, code in zip(moves, gone, strict=True)))
    nodes: list[Node] = [
        Text(place.x, y, fit(named, place.w - widest - size, size, "sans", 600), size, 600, label=label, shows=provenance),
        Text(place.right, y, changing, size, anchor="end", fill=palette.FOLLOWED, shows=provenance),
        Image(matrix, "sequential", strip.x, strip.y, strip.w, strip.h, label=label, shows=provenance),
        Rect(strip.x, strip.y, strip.w, strip.h, 0, None, palette.LINE),
    ]
    cell = strip.w / zoomed
    if cell >= 6:  # lines between positions
        at = [strip.x + i * cell for i in range(1, zoomed)]
        lines = tuple(part for x in at for part in (("M", x, strip.y), ("L", x, strip.bottom)))
        nodes.append(Path(lines, stroke=palette.PAPER, stroke_width=1.0 if cell < 16 else 2.0))
    if any(any(lost_of) for lost_of in row.unreadable):
        lost = counted(sum(row.unreadable[-1]), "position")
        words = tr("no later query can read {positions} in {blocks}", positions=lost, blocks=blocks)
        nodes.append(Image(thin, "grey", strip.x, strip.bottom + 2, strip.w, 4, label=words, shows=cells))
        nodes.append(
            Rect(strip.x, strip.bottom + 2, strip.w, 4, 0, None, palette.UNTRAINED, 1.0, opacity=animate(0, (end, 1)))
        )
    return nodes


def _codes(view: ContextView, reads: Sequence[bool], step: int, zoomed: int) -> list[int]:
    """The palette's codes of a strip at one step."""
    newest = view.newest(step)
    found = [READ if read and position <= newest else THERE for position, read in enumerate(reads[: newest + 1])]
    return found + [FREE] * (zoomed - len(found))


def _blocks(blocks: Sequence[int]) -> str:
    """Some blocks in words: block 3; blocks 0, 2, 4; blocks 1, 3 ... 95."""
    if len(blocks) == 1:
        return block_name(blocks[0])
    if len(blocks) <= 6:
        return tr("blocks {numbers}", numbers=listed(str(block + 1) for block in blocks))
    if blocks == tuple(range(blocks[0], blocks[-1] + 1)):
        return tr("blocks {first} to {last}", first=blocks[0] + 1, last=blocks[-1] + 1)
    numbers = f"{listed(str(block + 1) for block in blocks[:2])} … {blocks[-1] + 1}"
    return tr("blocks {numbers}", numbers=numbers)


def _numbers(zoomed: int, line: Box, sheet: Sheet) -> list[Node]:
    """The numbers of the first and the last position of a strip, and of one in the middle."""
    size, cell = sheet.small, line.w / zoomed
    places = sorted({0, zoomed // 2, zoomed - 1})
    nodes: list[Node] = []
    taken = line.x - size
    for position in places:
        text, anchor = f"{position:,}", "start" if position == 0 else "end" if position == zoomed - 1 else "middle"
        x = {"start": line.x, "end": line.right, "middle": line.x + (position + 0.5) * cell}[anchor]
        w = text_width(text, size)
        left = {"start": x, "end": x - w, "middle": x - w / 2}[anchor]
        if left >= taken + size:
            nodes.append(Text(x, line.y + 0.4 * size, text, size, anchor=anchor, fill=palette.QUIET))
            taken = left + w
    return nodes


def key(view: ContextView, sheet: Sheet) -> list[Node]:
    """What the colours of the cells mean, in one line above the footer."""
    table = palette.table("sequential")
    swatches = [(tr("read now"), table[READ]), (tr("not read"), table[THERE]), (tr("free"), table[FREE])]
    if any(any(lost) for row in view.rows for lost in row.unreadable):
        swatches.append((tr("never again"), palette.table("grey")[NO_LONGER]))
    nodes: list[Node] = []
    x, y = sheet.left, sheet.bottom - 2
    for word, fill in swatches:
        nodes.append(Rect(x, y - 10, 15, 11, 2, fill, palette.LINE))
        nodes.append(Text(x + 20, y, word, sheet.small, fill=palette.QUIET))
        x += 20 + text_width(word, sheet.small) + (18.0 if sheet.wide else 10.0)
    return nodes
