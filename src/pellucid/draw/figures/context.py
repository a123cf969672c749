"""`context`: the window of numbered positions, how full it is, and which positions each block reads at a step.

`context_strips` draws the strips of positions, one for each attention pattern, and the masks of the whole window.
"""

from collections.abc import Sequence

from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import token
from pellucid.draw.components.scales import LinearScale, ticks_with_room
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate
from pellucid.draw.figures.context_strips import key, strips
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.nodes import Node, Path, Rect, Shows, Text
from pellucid.draw.views.context import ContextView, PatternRow
from pellucid.draw.views.labels import percent
from pellucid.gpt.pattern import Dense
from pellucid.languages import counted


LEAST_TOKEN = 30.0  # a token is written over its position where positions are at least this wide


def context(view: ContextView, *, width: float = 960) -> Film:
    """The film of a context window. Raises PellucidError for a picture less than 240 wide."""
    sheet, timeline = Sheet.of(width), Timeline()
    fill, zoom = timeline.segment("The window", (0.8, 2.2, _window_words(view)), (0.6, 2.4, _zoom_words(view)))
    (look,) = timeline.segment("What a block can read", (0.6, 4.8, _reading_words(view)))
    later: tuple[Transition, ...] = ()
    if len(view.steps) > 1:
        pace = 9.0 / (len(view.steps) - 1)
        saying = _later_words(view)
        later = timeline.segment("Token after token", *((0.3, min(pace, 2.0) - 0.3, saying) for _ in view.steps[1:]))
    (end,) = timeline.segment("What no later query can read", (0.4, 5.0, _unreadable_words(view)))
    moves = (look, *later)
    box = Box(sheet.left, sheet.top + 1.6 * sheet.small, sheet.room, 16)
    below = Box(sheet.left, box.bottom + (34 if sheet.wide else 30), sheet.room, 0)
    zoomed = _zoomed(view)
    nodes = _window(view, box, sheet, fill, moves)
    nodes += _lens_lines(view, box, below, zoomed, zoom)
    nodes += _tokens(view, below, zoomed, sheet, moves)
    top = below.y + (30 if sheet.wide else 26)
    nodes += strips(view, Box(sheet.left, top, sheet.room, sheet.bottom - 24 - top), zoomed, sheet, moves, end)
    nodes += key(view, sheet)
    return sheet.film(view.model, "The context window", nodes, timeline, alt=_alt(view), notes=_notes(view, zoomed))


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
        Rect(box.x, box.y, box.w, box.h, 3, palette.PANEL, palette.LINE, label=f"{view.n_ctx:,} tracks", shows=provenance),
        Rect(box.x, box.y, animate(0.0, (fill, prompt, "move")), box.h, 0, palette.INPUT,
             label=f"the prompt: {counted(view.prompt, 'track')}", shows=shows),
        Rect(box.x + prompt, box.y, animate(0.0, *((move, w, "move") for move, w in answer)), box.h, 0, palette.OUTPUT,
             label="the answer", shows=Shows("generation/steps/drawn_ids")),
    ]  # fmt: skip
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


def _tokens(view: ContextView, below: Box, zoomed: int, sheet: Sheet, moves: Sequence[Transition]) -> list[Node]:
    """The tokens over their positions where there is room for words; else the newest one alone, over its place."""
    wide, high, size = below.w / zoomed, 22.0 if sheet.wide else 19.0, sheet.small
    nodes: list[Node] = []
    if wide >= LEAST_TOKEN:
        for position in range(view.positions):
            came = [i for i, step in enumerate(view.steps) if view.newest(step) >= position]
            there = 1.0 if position < view.prompt else animate(0, (moves[came[0]], 1))
            role = "input" if position < view.prompt else "output"
            word, ident = view.pieces.shown(view.ids[position]), view.ids[position]
            nodes.append(
                token(word, below.x + position * wide + 1, below.y, high, size, role=role, w=wide - 2, opacity=there,
                      label=f"track {position}: {view.pieces.described(ident)}", shows=view.token_source(position))
            )  # fmt: skip
        return nodes
    w = 110.0 if sheet.wide else 80.0
    for i, step in enumerate(view.steps):
        position = view.newest(step)
        middle = below.x + (position + 0.5) * wide
        x = min(max(middle - w / 2, below.x), below.right - w)
        changes = [(moves[i], 1)] + ([(moves[i + 1], 0)] if i + 1 < len(moves) else [])
        role = "followed" if position < view.prompt else "output"
        word = view.pieces.shown(view.ids[position])
        nodes.append(
            token(word, x, below.y, high, size, role=role, w=w, opacity=animate(0, *changes),
                  label=f"track {position}: {view.pieces.described(view.ids[position])}", shows=view.token_source(position))
        )  # fmt: skip
    return nodes


def _window_words(view: ContextView) -> str:
    used = view.newest(view.steps[-1]) + 1
    return (
        f"The window has {counted(view.n_ctx, 'track')}. The prompt takes the first {view.prompt:,}, the answer the next ones: "
        f"{used:,} in all, {percent(used / view.n_ctx)} of it."
    )


def _zoom_words(view: ContextView) -> str:
    return "The part in use, enlarged: a cell for each track, a row for each kind of attention."


def _name(row: PatternRow) -> str:
    return f"{row.pattern} ({counted(len(row.blocks), 'block')})"


def _reading_words(view: ContextView) -> str:
    newest = view.newest(view.steps[0])
    parts = [f"{row.pattern} reads {sum(row.reads[0]):,}" for row in view.rows[:3]]
    return f"To draw the first token, the query of track {newest:,} looks back: of {newest + 1:,} tracks {', '.join(parts)}."


def _later_words(view: ContextView) -> str:
    some = len(view.steps) < view.total_steps
    shown = f" {len(view.steps) - 1} of {view.total_steps - 1} later steps are shown." if some else ""
    return f"Each drawn token takes the next track and becomes the query.{shown}"


def _unreadable_words(view: ContextView) -> str:
    parts = [f"{sum(row.unreadable[-1]):,} in {row.pattern}" for row in view.rows if any(row.unreadable[-1])]
    if parts:
        return f"Tracks that no later query can read any more: {', '.join(parts)}. An evicting cache would drop them."
    if all(isinstance(row.pattern, Dense) for row in view.rows):
        return "Dense attention reads every track before it: all can still be read."
    return "So far every track can still be read by a later query, in every block."


def _alt(view: ContextView) -> str:
    parts = [_window_words(view), _reading_words(view)]
    newest = view.newest(view.steps[-1])
    last = ", ".join(f"{_name(row)} {sum(row.reads[-1]):,}" for row in view.rows)
    parts.append(f"In the last step the query of track {newest:,} reads: {last}.")
    return " ".join([*parts, _unreadable_words(view)])


def _notes(view: ContextView, zoomed: int) -> list[str]:
    notes = [
        "What a block reads follows from its attention pattern; the weight that each track gets is in the figure xray.",
        "A square is the whole window (at most its first 2,048 tracks), in tiles: a row is a query, a column a track that it "
        "can read.",
        "All positions stay in this program's cache; what no later query can read is what an evicting cache would drop.",
    ]
    if view.other_patterns:
        notes.append(f"{counted(view.other_patterns, 'more attention pattern')} of this model are not shown.")
    if zoomed < view.n_ctx:
        notes.append(f"The strips show tracks 0 to {zoomed - 1:,} of {view.n_ctx:,}; the others are free.")
    return notes
