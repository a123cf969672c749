"""`xray`: the logit lens of every position block by block, what the KV cache holds, and each drawn token fed back.

`xray_grid` says which positions and levels are shown and where, `xray_attention` draws the arcs below them.
"""

from dataclasses import dataclass
from typing import Any

from pellucid.draw.components.marks import Box, colour
from pellucid.draw.components.parts import centred, token, verdict
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate, instant
from pellucid.draw.figures import cache_labels
from pellucid.draw.figures.xray_attention import arcs
from pellucid.draw.figures.xray_grid import TITLE, XrayGrid, head, row_names
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import fit
from pellucid.draw.film.nodes import Node, Path, Rect, Shows, Text
from pellucid.draw.views.labels import end_of, percent, start_of
from pellucid.draw.views.model_parts import block_name, level_name
from pellucid.draw.views.xray import CACHED, DROPPED, XrayView
from pellucid.languages import joined, listed, mark, plural, tr


RISES = 7  # jumps in which the prompt rises


@dataclass(frozen=True, slots=True, kw_only=True)
class _XrayTransitions:
    """When the prompt rises and its output appears, attention is shown, each drawn token is fed back, and all is shown."""

    rise: Transition
    out: Transition
    attend: Transition
    feeds: dict[int, Transition]  # by step
    whole: Transition

    def computed(self, grid: XrayGrid, position: int, row: int) -> float:
        """When a cell appears, in seconds."""
        step = grid.view.step_of(position)
        if step:
            return self.feeds[step].settled
        jumps = min(RISES, len(grid.levels))
        jump = row * jumps // len(grid.levels)
        return self.rise.start + (self.rise.settled - self.rise.start) * jump / max(jumps - 1, 1)

    def entered(self, grid: XrayGrid, position: int) -> Any:
        """The opacity of the token that enters a position."""
        step = grid.view.step_of(position)
        return animate(0, (self.feeds[step], 1)) if step and self.feeds[step].start else 1.0


def xray(view: XrayView, *, width: float = 960) -> Film:
    """The film of a generation. Raises PellucidError for a picture less than 240 wide."""
    sheet, timeline = Sheet.of(width), Timeline()
    grid = XrayGrid.of(view, sheet)
    transitions = _on_timeline(grid, timeline)
    nodes: list[Node] = [*head(grid), *row_names(grid, view.model.config.pattern), _followed(grid)]
    for position in grid.positions:
        nodes += _column(grid, position, transitions)
    for step in grid.later_steps:
        nodes += _fed_back(grid, step, transitions)
    nodes += arcs(grid, transitions.attend)
    return sheet.film(view.model, tr(TITLE), nodes, timeline, alt=_alt(grid), notes=_notes(grid))


def _on_timeline(grid: XrayGrid, timeline: Timeline) -> _XrayTransitions:
    view = grid.view
    first = view.pieces.shown(view.ids[view.prompt])
    heard = [tr("Only the last position is listened to: “{token}” comes out. The others' outputs are not used.", token=first)]
    if view.prompt > 1:
        right, others = view.right_outputs(), view.prompt - 1
        heard.append(tr("Of what they say, {right} of {others} would have been right.", right=right, others=others))
    rising = tr(
        "All positions rise together through {blocks} blocks. In each cell: what would be said next there. Grey: before the "
        "first block, where it is no prediction yet.", blocks=view.levels - 1,
    )  # fmt: skip
    prompt = plural(
        view.prompt, "The prompt: {count} token, each at its own position.",
        "The prompt: {count} tokens, each at its own position.",
    )
    _, rise, out = timeline.segment(
        tr("The prompt is read"), (0.0, 1.2, prompt), (1.4, 2.0, rising), (0.0, 2.6, joined(heard))
    )
    (attend,) = timeline.segment(tr("Attention"), (0.8, 4.2, _attention_words(view)))
    feeds: dict[int, Transition] = {}
    if shown := grid.later_steps:
        pace = min(1.2, 8.4 / len(shown))
        caption = cache_labels.fed_back(len(shown), view.steps - 1)
        parts = timeline.segment(tr("The answer is fed back"), *((pace * 0.4, pace * 0.6, caption) for _ in shown))
        feeds = dict(zip(shown, parts, strict=True))
    (whole,) = timeline.segment(tr("When each was decided"), (0.0, 5.0, _decided_words(grid)))
    return _XrayTransitions(rise=rise, out=out, attend=attend, feeds=feeds, whole=whole)


def _followed(grid: XrayGrid) -> Node:
    """The band behind the followed position."""
    into, out = grid.ins[grid.view.followed], grid.outs[grid.view.followed]
    return Rect(into.x - 3, out.y - 3, into.w + 6, into.bottom - out.y + 6, 6, palette.FOLLOWED_FILL)


def _column(grid: XrayGrid, position: int, transitions: _XrayTransitions) -> list[Node]:
    """A position: its token below, its cells, the token that comes out above."""
    view, size = grid.view, grid.sheet.small
    box = grid.ins[position]
    role = "followed" if position == view.followed else "input" if position < view.prompt else "output"
    nodes: list[Node] = [
        token(view.pieces.shown(view.ids[position]), box.x, box.y, box.h, size, role=role, w=box.w,
              opacity=transitions.entered(grid, position),
              label=tr("position {position}: {token}", position=position, token=view.pieces.described(view.ids[position])),
              shows=view.token_source(position),
              id=f"in-{position}"),
    ]  # fmt: skip
    for row, level in enumerate(grid.levels):
        nodes += _cell(grid, level, position, row, transitions)
    return nodes + _output(grid, position, transitions)


def _output(grid: XrayGrid, position: int, transitions: _XrayTransitions) -> list[Node]:
    """The token above a position: the drawn one, or for a position whose output is not used the likeliest, right or wrong."""
    view, out, step = grid.view, grid.outs[position], grid.view.step_of(position)
    there = animate(0, (instant(transitions.feeds[step].settled) if step else transitions.out, 1))
    role, ident, shows = "output", view.ids[position + 1], view.drawn_source(position - view.followed)
    if position < view.followed:
        role, ident = "plain", view.words[-1][position]
        shows = Shows("generation/lens/ids", (view.levels - 1, position, 0))
    label = tr("out of position {position}: {token}", position=position, token=view.pieces.described(ident))
    word = view.pieces.shown(ident)
    above = token(word, out.x, out.y, out.h, grid.sheet.small, role=role, w=out.w, opacity=there, label=label, shows=shows)
    if position >= view.followed:
        return [above]
    return [above, *_verdict(out, ident == view.ids[position + 1], there, view.pieces.shown(view.ids[position + 1]))]


def _verdict(box: Box, right: bool, there: Any, truth: str) -> list[Node]:
    """A tick or a cross at a box's corner: whether an output that is not used would have been right."""
    words = mark("right: the next token is {token}") if right else mark("wrong: the next token is {token}")
    return verdict(box.right - 2, box.y + 1, right, tr(words, token=truth), there)


def _cell(grid: XrayGrid, level: int, position: int, row: int, transitions: _XrayTransitions) -> list[Node]:
    """One level of one position: filled where it is computed, hollow in later steps, dashed where the cache has dropped it."""
    view, size, box = grid.view, grid.sheet.small, grid.cells[level, position]
    word, odds = view.words[level][position], view.odds[level][position]
    # Before any block the lens names tokens with similar rows: no prediction, and not coloured like one.
    paint = colour("sequential", min(odds, 1.0)) if level else palette.UNTRAINED_FILL
    ink_on_paint = palette.ink_on(paint) if level else palette.QUIET
    fills, strokes, inks, drops = [], [], [], []
    for step, transition in sorted(transitions.feeds.items()):
        if step <= view.step_of(position):
            continue
        dropped = (view.states[step][level - 1][position] if level else CACHED) == DROPPED
        fills.append((transition, palette.PAPER))
        strokes.append((transition, palette.LINE if dropped else paint))
        inks.append((transition, palette.QUIET if dropped else palette.INK))
        drops.append((transition, 1 if dropped else 0))
    fills.append((transitions.whole, paint))
    strokes.append((transitions.whole, paint))
    inks.append((transitions.whole, ink_on_paint))
    drops.append((transitions.whole, 0))
    where = level_name(level) if level else tr("embedding, before any block")
    about: dict[str, Any] = {
        "label": tr(
            "position {position}, {level}: {token}, {p}",
            position=position, level=where, token=view.pieces.described(word), p=percent(odds),
        ),
        "shows": Shows("generation/lens/logprobs", (level, position, 0)),
    }  # fmt: skip
    there = animate(0, (instant(transitions.computed(grid, position, row)), 1))
    inner = Box(box.x + 1.25, box.y + 1.25, box.w - 2.5, box.h - 2.5)
    fill, stroke = animate(paint, *fills), animate(paint, *strokes)
    nodes: list[Node] = [Rect(inner.x, inner.y, inner.w, inner.h, 2, fill, stroke, 2.5, opacity=there, **about)]
    if any(value for _, value in drops):
        gone = animate(0, *drops)
        nodes.append(Rect(inner.x, inner.y, inner.w, inner.h, 2, palette.PAPER, palette.UNTRAINED, 1, (2.0, 3.0), opacity=gone))
    if shown := fit(view.pieces.shown(word), box.w - 4, size, "mono"):
        ink, middle = animate(ink_on_paint, *inks), box.y + box.h / 2
        nodes.append(Text(box.middle, centred(middle, 0, size), shown, size, 400, "mono", "middle", ink, there, **about))
    if level == grid.decided_at(position):
        frame = animate(0, (transitions.whole, 1))
        nodes.append(Rect(box.x, box.y, box.w, box.h, 3, None, palette.OUTPUT, 2, opacity=frame))
    return nodes


def _fed_back(grid: XrayGrid, step: int, transitions: _XrayTransitions) -> list[Node]:
    """The way of a drawn token from the top of one position to the foot of the next."""
    position = grid.view.followed + step
    if position - 1 not in grid.outs:
        return []
    out, into = grid.outs[position - 1], grid.ins[position]
    x = (out.right + into.x) / 2
    low = into.y + into.h / 2
    way = (("M", out.right, out.y + out.h / 2), ("L", x, out.y + out.h / 2), ("L", x, low), ("L", into.x, low))
    tip = (("M", into.x, low), ("L", into.x - 3.5, low - 4), ("L", into.x - 3.5, low + 4), ("Z",))
    there = animate(0, (transitions.feeds[step], 1))
    return [Path(way, stroke=palette.OUTPUT, stroke_width=1.5, opacity=there), Path(tip, fill=palette.OUTPUT, opacity=there)]


def _attention_words(view: XrayView) -> str:
    attention = view.attention
    if attention is None:
        return tr("Attention is not in this record.")
    top = sorted(range(len(attention.weights)), key=lambda key: -attention.weights[key])[:3]
    seen = listed(
        tr("“{token}” {number}", token=view.pieces.shown(view.ids[key]), number=percent(attention.weights[key])) for key in top
    )
    return tr(
        "In {block} the position of “{token}” looks at {seen} (mean of {heads} heads).", block=block_name(attention.block),
        token=view.pieces.shown(view.ids[view.followed]), seen=seen, heads=attention.heads,
    )  # fmt: skip


def _decided_words(grid: XrayGrid) -> str:
    position = grid.view.followed
    since, word = grid.decided_at(position), grid.view.pieces.shown(grid.view.words[-1][position])
    if since == 0:
        where = tr("At the followed position that is “{token}”, from its embedding on.", token=word)
    else:
        where = tr("At the followed position that is “{token}”, from block {block} on.", token=word, block=since)
    return joined(
        [tr("Framed: from there on up the lens names the token that the last block finds likeliest."), where]
    )


def _alt(grid: XrayGrid) -> str:
    view, position = grid.view, grid.view.followed
    prompt = end_of(view.pieces.sentence(view.ids[: view.prompt]))
    answer = start_of(view.pieces.sentence(view.ids[view.prompt :]))
    column = listed(
        tr("{level} “{token}” {p}", level=level_name(level), token=view.pieces.shown(view.words[level][position]),
           p=percent(view.odds[level][position]))
        for level in grid.levels
        if level
    )  # fmt: skip
    parts = [
        tr(
            "A grid of {positions} positions by {levels} levels of {name}, which continues “{prompt}” with “{answer}”. Each "
            "cell names the likeliest next token there.", positions=len(grid.positions), levels=len(grid.levels),
            name=view.model.name, prompt=prompt, answer=answer,
        ),
        tr("At the position of the last prompt token: {column}.", column=column),
    ]  # fmt: skip
    if view.prompt > 1:
        parts.append(
            tr(
                "Of the {others} outputs before it, which are not used, {right} name the next token.",
                others=view.prompt - 1, right=view.right_outputs(),
            )
        )  # fmt: skip
    if view.attention is not None:
        parts.append(_attention_words(view))
    return joined(parts)


def _notes(grid: XrayGrid) -> list[str]:
    view = grid.view
    notes = [
        tr(
            "The raw logit lens: the last LayerNorm and the token matrix on the stream at each level, as if the blocks above "
            "did nothing. It is biased at low levels, and nothing is fitted here."
        ),
        tr(
            "The lowest row is grey: no block has read or computed anything there. Its words are no predictions, but the "
            "tokens whose rows of the token matrix have the largest products with the position's own vector."
        ),
        tr(cache_labels.HOLLOW_NOTE),
    ]
    if len(grid.positions) < view.positions:
        first, last, positions = grid.positions[0], grid.positions[-1], view.positions
        notes.append(
            tr(
                "Positions {first} to {last} of {positions} are shown; no other is.", first=first, last=last,
                positions=positions,
            )
        )
    if len(grid.levels) < view.levels:
        named = listed(tr("the embedding") if level == 0 else str(level) for level in grid.levels)
        notes.append(tr("Of {blocks} blocks these are shown: {named}.", blocks=view.levels - 1, named=named))
    if grid.drops:
        notes.append(tr(cache_labels.DASHED_NOTE))
    notes.append(
        tr(
            "Attention is the mean over the heads, of the block in which one position, other than itself and the first, is "
            "looked at most; other blocks and heads are not shown."
        )
    )
    return notes
