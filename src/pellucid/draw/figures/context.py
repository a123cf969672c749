"""`context`: the window of numbered positions, how full it is, and which positions each block reads at a step.

`context_strips` draws the strips of positions, one for each attention pattern, and the masks of the whole window.
"""

from collections.abc import Sequence

from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import centred, token, token_width
from pellucid.draw.components.scales import LinearScale, ticks_with_room
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate
from pellucid.draw.figures.context_strips import key, strips
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import text_width
from pellucid.draw.film.nodes import Group, Node, Path, Rect, Shows, Text
from pellucid.draw.views.context import ContextView, PatternRow
from pellucid.draw.views.labels import percent
from pellucid.draw.views.model_parts import pattern_name
from pellucid.gpt.pattern import Dense
from pellucid.languages import counted, joined, listed, tr


MOST_ROWS = 3  # of tokens over their positions: where one row has no room for whole words, they take turns in two or three


def context(view: ContextView, *, width: float = 960) -> Film:
    """The film of a context window. Raises PellucidError for a picture less than 240 wide."""
    sheet, timeline = Sheet.of(width), Timeline()
    fill, zoom = timeline.segment(tr("The window"), (0.8, 2.2, _window_words(view)), (0.6, 2.4, _zoom_words(view)))
    (look,) = timeline.segment(tr("What a block can read"), (0.6, 4.8, _reading_words(view)))
    later: tuple[Transition, ...] = ()
    if len(view.steps) > 1:
        pace = 9.0 / (len(view.steps) - 1)
        saying = _later_words(view)
        later = timeline.segment(tr("Token after token"), *((0.3, min(pace, 2.0) - 0.3, saying) for _ in view.steps[1:]))
    (end,) = timeline.segment(tr("What no later query can read"), (0.4, 5.0, _unreadable_words(view)))
    moves = (look, *later)
    box = Box(sheet.left, sheet.top + (1.6 if sheet.wide else 3.0) * sheet.small, sheet.room, 16)
    below = Box(sheet.left, box.bottom + (34 if sheet.wide else 30), sheet.room, 0)
    zoomed = _zoomed(view)
    rows = _token_rows(view, below.w / zoomed, sheet)
    nodes = _window(view, box, sheet, fill, moves)
    nodes += _lens_lines(view, box, below, zoomed, zoom)
    top = below.y + _row_height(sheet) * max(rows, 1) + (8 if sheet.wide else 7)
    nodes += _tokens(view, below, zoomed, sheet, moves) if rows else _newest(view, below, zoomed, sheet, moves)
    nodes += strips(view, Box(sheet.left, top, sheet.room, sheet.bottom - 24 - top), zoomed, sheet, moves, end)
    nodes += key(view, sheet)
    return sheet.film(view.model, tr("The context window"), nodes, timeline, alt=_alt(view), notes=_notes(view, zoomed))


def _zoomed(view: ContextView) -> int:
    """How many positions the strips show: those in use, and a few free ones."""
    return min(view.n_ctx, view.positions + max(1, view.positions // 8))


def _window(view: ContextView, box: Box, sheet: Sheet, fill: Transition, moves: Sequence[Transition]) -> list[Node]:
    """The whole window as a bar of numbered positions, filled as far as tokens have come."""
    scale = LinearScale(0, view.n_ctx, box.x, box.right)
    prompt = scale.place(view.prompt) - box.x
    shows, provenance = Shows("generation/prompt_ids", (), None, "given"), Shows("provenance", (), None, "given")
    answer = [(move, scale.place(view.newest(step) + 1) - box.x - prompt) for move, step in zip(moves, view.steps, strict=True)]
    nodes: list[Node] = [
        Rect(box.x, box.y, box.w, box.h, 3, palette.PANEL, palette.LINE, label=tr("{count:,} positions", count=view.n_ctx),
             shows=provenance),
        Rect(box.x, box.y, animate(0.0, (fill, prompt, "move")), box.h, 0, palette.INPUT,
             label=tr("the prompt: {positions}", positions=counted(view.prompt, "position")), shows=shows),
        Rect(box.x + prompt, box.y, animate(0.0, *((move, w, "move") for move, w in answer)), box.h, 0, palette.OUTPUT,
             label=tr("the answer"), shows=Shows("generation/steps/drawn_ids")),
    ]  # fmt: skip
    if not sheet.wide:
        used = tr("a window of {positions}", positions=counted(view.n_ctx, "position"))
        nodes.append(Text(box.x, box.y - 1.85 * sheet.small, used, sheet.small, fill=palette.INK, shows=provenance))
    for value, text in ticks_with_room(scale, sheet.small, whole=True):
        x = scale.place(value)
        anchor = "start" if x - box.x < 12 else "end" if box.right - x < 12 else "middle"
        nodes.append(Text(x, box.y - 0.4 * sheet.small, text, sheet.small, anchor=anchor, fill=palette.QUIET))
    return nodes


def _lens_lines(view: ContextView, box: Box, below: Box, zoomed: int, zoom: Transition) -> list[Node]:
    """Two lines from the window's used part down to the strips that show it enlarged."""
    if zoomed == view.n_ctx:
        return []
    right = box.x + box.w * zoomed / view.n_ctx
    there, low = animate(0, (zoom, 1)), below.y - 4
    return [
        Path((("M", box.x, box.bottom), ("L", box.x, low)), stroke=palette.FOLLOWED, opacity=there, dash=(3.0, 3.0)),
        Path((("M", right, box.bottom), ("L", below.right, low)), stroke=palette.FOLLOWED, opacity=there, dash=(3.0, 3.0)),
    ]


def _row_height(sheet: Sheet) -> float:
    """From one row of tokens to the next."""
    return 24.0 if sheet.wide else 21.0


def _token_rows(view: ContextView, cell: float, sheet: Sheet) -> int:
    """In how many rows all tokens stand whole over their positions; 0 where they have no room."""
    widest = max(token_width(view.pieces.shown(ident), sheet.small) for ident in view.ids[: view.positions])
    return next((rows for rows in range(1, MOST_ROWS + 1) if widest <= rows * cell - 2), 0)


def _tokens(view: ContextView, below: Box, zoomed: int, sheet: Sheet, moves: Sequence[Transition]) -> list[Node]:
    """The tokens over their positions, in one row or taking turns in two or three, each with a line down to its position."""
    cell, row = below.w / zoomed, _row_height(sheet)
    rows, size = _token_rows(view, cell, sheet), sheet.small
    lines, boxes = list[Node](), list[Node]()
    for position in range(view.positions):
        came = [i for i, step in enumerate(view.steps) if view.newest(step) >= position]
        there = 1.0 if position < view.prompt else animate(0, (moves[came[0]], 1))
        role = "input" if position < view.prompt else "output"
        word = view.pieces.shown(view.ids[position])
        wide = max(token_width(word, size), cell - 2) if rows == 1 else token_width(word, size)
        middle = below.x + (position + 0.5) * cell
        x = min(max(middle - wide / 2, below.x), below.right - wide)
        y = below.y + (position % rows) * row
        low = below.y + rows * row + 2
        lines.append(Path((("M", middle, y + row - 2), ("L", middle, low)), stroke=palette.LINE, opacity=there))
        boxes.append(
            token(word, x, y, row - 2, size, role=role, w=wide, opacity=there, label=_position_words(view, position),
                  shows=view.token_source(position))
        )  # fmt: skip
    return lines + boxes


def _newest(view: ContextView, below: Box, zoomed: int, sheet: Sheet, moves: Sequence[Transition]) -> list[Node]:
    """The newest token alone, with its position's number, over its place."""
    cell, high, size = below.w / zoomed, _row_height(sheet) - 2, sheet.small
    most, nodes = 110.0 if sheet.wide else 80.0, list[Node]()
    for i, step in enumerate(view.steps):
        position = view.newest(step)
        middle = below.x + (position + 0.5) * cell
        word, number = view.pieces.shown(view.ids[position]), tr("position {position}", position=position)
        w, named = min(token_width(word, size), most), text_width(number, size) + 0.6 * size
        x = min(max(middle - w / 2, below.x), below.right - w)
        there = animate(0, (moves[i], 1), *([(moves[i + 1], 0)] if i + 1 < len(moves) else []))
        role = "followed" if position < view.prompt else "output"
        source, left = view.token_source(position), x - named >= below.x
        beside = Text(x - 0.6 * size if left else x + w + 0.6 * size, centred(below.y, high, size), number, size,
                      anchor="end" if left else "start", fill=palette.QUIET, shows=source)  # fmt: skip
        stem = Path((("M", middle, below.y + high), ("L", middle, below.y + high + 4)), stroke=palette.QUIET)
        box = token(word, x, below.y, high, size, role=role, w=w, label=_position_words(view, position), shows=source)
        nodes.append(Group((beside, stem, box), opacity=there))
    return nodes


def _position_words(view: ContextView, position: int) -> str:
    """A position with its token."""
    return tr("position {position}: {token}", position=position, token=view.pieces.described(view.ids[position]))


def _window_words(view: ContextView) -> str:
    used = view.newest(view.steps[-1]) + 1
    return tr(
        "The window has {positions}. The prompt takes the first {prompt:,}, the answer the next ones: {used:,} in all, {share} "
        "of it.", positions=counted(view.n_ctx, "position"), prompt=view.prompt, used=used, share=percent(used / view.n_ctx),
    )  # fmt: skip


def _zoom_words(view: ContextView) -> str:
    return tr("The part in use, enlarged: a cell for each position, a row for each kind of attention.")


def _name(row: PatternRow) -> str:
    return tr("{pattern} ({blocks})", pattern=pattern_name(row.pattern), blocks=counted(len(row.blocks), "block"))


def _reading_words(view: ContextView) -> str:
    newest = view.newest(view.steps[0])
    reads = listed(
        tr("{pattern} reads {count:,}", pattern=pattern_name(row.pattern), count=sum(row.reads[0])) for row in view.rows[:3]
    )
    return tr(
        "To draw the first token, the query of position {newest:,} looks back: of {positions:,} positions {reads}.",
        newest=newest, positions=newest + 1, reads=reads,
    )  # fmt: skip


def _later_words(view: ContextView) -> str:
    parts = [tr("Each drawn token takes the next position and becomes the query.")]
    if len(view.steps) < view.total_steps:
        shown, later = len(view.steps) - 1, view.total_steps - 1
        parts.append(tr("{shown} of {later} later steps are shown.", shown=shown, later=later))
    return joined(parts)


def _unreadable_words(view: ContextView) -> str:
    lost = [
        tr("{count:,} in {pattern}", count=sum(row.unreadable[-1]), pattern=pattern_name(row.pattern))
        for row in view.rows if any(row.unreadable[-1])
    ]  # fmt: skip
    if lost:
        return tr(
            "Positions that no later query can read any more: {lost}. An evicting cache would drop them.", lost=listed(lost)
        )
    if all(isinstance(row.pattern, Dense) for row in view.rows):
        return tr("Dense attention reads every position before it: all can still be read.")
    return tr("So far every position can still be read by a later query, in every block.")


def _alt(view: ContextView) -> str:
    parts = [_window_words(view), _reading_words(view)]
    newest = view.newest(view.steps[-1])
    last = listed(tr("{pattern} {count:,}", pattern=_name(row), count=sum(row.reads[-1])) for row in view.rows)
    parts.append(tr("In the last step the query of position {newest:,} reads: {last}.", newest=newest, last=last))
    return joined([*parts, _unreadable_words(view)])


def _notes(view: ContextView, zoomed: int) -> list[str]:
    notes = [
        tr("What a block reads follows from its attention pattern; the weight that each position gets is in the figure xray."),
        tr(
            "A square is the whole window (at most its first 2,048 positions), in tiles: a row is a query, a column a position "
            "that it can read."
        ),
        tr("All positions stay in this program's cache; what no later query can read is what an evicting cache would drop."),
    ]
    if view.other_patterns:
        patterns = counted(view.other_patterns, "more attention pattern")
        notes.append(tr("{patterns} of this model are not shown.", patterns=patterns))
    if zoomed < view.n_ctx:
        notes.append(
            tr(
                "The strips show positions 0 to {last:,} of {positions:,}; the others are free.", last=zoomed - 1,
                positions=view.n_ctx,
            )
        )
    return notes
