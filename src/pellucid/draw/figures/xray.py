"""`xray`: every token on its way up the blocks, what the model would say at each level, and the answer fed back.

T tracks, L blocks, S steps, P tokens of the prompt. Level l is what enters block l; level L is what the last one gives.
"""

from dataclasses import dataclass
from typing import Any

from pellucid.draw.components.marks import Box, colour
from pellucid.draw.components.parts import centred, circle, given, token
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate
from pellucid.draw.figures.xray_attention import Attention, arcs, attention
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import fit
from pellucid.draw.film.nodes import Node, Path, Rect, Shows, Text
from pellucid.draw.views.labels import Pieces, config, end_of, model_name, percent, start_of
from pellucid.draw.views.xray import CACHED, DROPPED, TITLE, View, drops, head, rows, view_of
from pellucid.record import Record


RISES = 7  # jumps in which the prompt rises


def xray(record: Record, *, width: float = 960) -> Film:
    """The figure, from a generation record. Errors: as `figures.figure`."""
    sheet = Sheet.of(width)
    pieces = Pieces.of(record)
    view = view_of(record, sheet)
    looks = attention(record, view.followed)
    timeline = Timeline()
    shape = config(record)
    read = f"{view.prompt} token{'s' if view.prompt > 1 else ''}"
    right = _right(view)
    judged = (
        f" Of what they say, {right} of {view.prompt - 1} would have been right." if view.prompt > 1 else ""
    )  # fmt: skip
    first = pieces.shown(view.ids[view.prompt])
    enter, rise, out = timeline.segment(
        "The prompt is read",
        (0.0, 1.2, f"The prompt: {read}, each on its own track."),
        (1.4, 2.0, f"All tracks rise together through {shape.n_layers} blocks. In each cell: what would be said next there."),
        (0.0, 2.6, f"Only the last track is listened to: “{first}” comes out. The others' outputs are not used.{judged}"),
    )
    (look,) = timeline.segment("Attention", (0.8, 4.2, _looking(looks, pieces, view)))
    shown = [s for s in range(1, view.steps) if view.followed + s in view.tracks]
    writes: dict[int, Transition] = {}
    if shown:
        pace = min(1.2, 8.4 / len(shown))
        told = (
            "Each token drawn is fed back as the next input. Only its own track is computed: the keys and values of the "
            f"others are kept (hollow). Shown: {len(shown)} of {view.steps - 1} further steps."
        )
        transitions = timeline.segment("The answer is fed back", *((pace * 0.4, pace * 0.6, told) for _ in shown))
        writes = dict(zip(shown, transitions, strict=True))
    (whole,) = timeline.segment("When each was decided", (0.0, 5.0, _decided(view, pieces)))
    moments = _Moments(enter, rise, out, look, writes, whole)

    nodes: list[Node] = [*head(view, sheet), *rows(view, sheet, shape)]
    band = view.ins[view.followed]
    top = view.outs[view.followed].y
    nodes.append(Rect(band.x - 3, top - 3, band.w + 6, band.bottom - top + 6, 6, palette.TRACK_FILL))
    for track in view.tracks:
        nodes += _column(view, track, pieces, sheet, moments)
    for s in shown:
        nodes += _fed_back(view, s, moments)
    nodes += arcs(looks, view.ins, view.followed, view.tracks, sheet, look)
    return sheet.film(record, TITLE, nodes, timeline, alt=_alt(view, looks, pieces, record), notes=_notes(view, record))


@dataclass(frozen=True, slots=True)
class _Moments:
    enter: Transition
    rise: Transition
    out: Transition
    look: Transition
    writes: dict[int, Transition]
    whole: Transition

    def computed(self, view: View, track: int, row: int) -> tuple[float, float]:
        """When a cell appears, and when its track's token stands below."""
        step = view.step_of(track)
        if step:
            return self.writes[step].settled, self.writes[step].start
        jumps = min(RISES, len(view.levels))
        jump = row * jumps // len(view.levels)
        return self.rise.start + (self.rise.settled - self.rise.start) * jump / max(jumps - 1, 1), 0.0


def _column(view: View, track: int, pieces: Pieces, sheet: Sheet, moments: _Moments) -> list[Node]:
    """A track: its token below, its cells, what comes out above."""
    size, step = sheet.small, view.step_of(track)
    box, out = view.ins[track], view.outs[track]
    _, enters = moments.computed(view, track, 0)
    role = "track" if track == view.followed else "input" if track < view.prompt else "output"
    source = given("generation/prompt_ids", track) if track < view.prompt else _drawn(track - view.prompt)
    opacity = 1.0 if enters == 0 else animate(0, (moments.writes[step], 1))
    nodes: list[Node] = [
        token(pieces.shown(view.ids[track]), box.x, box.y, box.h, size, role=role, w=box.w, opacity=opacity,
              label=f"track {track}: {pieces.told(view.ids[track])}", shows=source, id=f"in-{track}"),
    ]  # fmt: skip
    for row, level in enumerate(view.levels):
        nodes += _cell(view, level, track, row, pieces, size, moments)
    when = moments.out if step == 0 else Transition(moments.writes[step].settled, moments.writes[step].settled, 0, "")
    there = animate(0, (when, 1))
    if track >= view.followed:
        said, ident, shows = "output", view.ids[track + 1], _drawn(track - view.followed)
    else:
        said, ident = "plain", view.words[-1][track]
        shows = Shows("generation/lens/ids", (len(view.words) - 1, track, 0))
    label = f"out of track {track}: {pieces.told(ident)}"
    nodes.append(
        token(pieces.shown(ident), out.x, out.y, out.h, size, role=said, w=out.w, opacity=there, label=label, shows=shows)
    )
    if track < view.followed:
        nodes += _mark(out, ident == view.ids[track + 1], there, pieces.shown(view.ids[track + 1]))
    return nodes


def _drawn(step: int) -> Shows:
    return Shows("generation/steps/drawn_ids", (step,))


def _mark(box: Box, right: bool, there: Any, truth: str) -> list[Node]:
    """A tick or a cross at a box's corner: whether an output that is not used would have been right."""
    x, y, r = box.right - 2, box.y + 1, 5.5
    sign: Any = (("M", x - 2.6, y), ("L", x - 0.7, y + 2), ("L", x + 2.8, y - 2.2)) if right else (
        ("M", x - 2, y - 2), ("L", x + 2, y + 2), ("M", x + 2, y - 2), ("L", x - 2, y + 2)
    )  # fmt: skip
    told = f"{'right' if right else 'wrong'}: the next token is {truth}"
    ground = palette.INPUT if right else palette.UNTRAINED
    return [
        Path(circle(x, y, r), fill=ground, opacity=there, label=told),
        Path(sign, stroke=palette.PAPER, stroke_width=1.4, opacity=there, label=told),
    ]


def _cell(view: View, level: int, track: int, row: int, pieces: Pieces, size: float, moments: _Moments) -> list[Node]:
    """One level of one track: filled while it is computed, then hollow; dashed once no later query can read it."""
    box = view.cells[level, track]
    word, odds = view.words[level][track], view.odds[level][track]
    paint = colour("sequential", min(odds, 1.0))
    appears, _ = moments.computed(view, track, row)
    appears_at = Transition(appears, appears, 0, "")
    fills, strokes, inks, drops = [], [], [], []
    for s, transition in sorted(moments.writes.items()):
        if s <= view.step_of(track):
            continue
        state = view.states[s][level - 1][track] if level else CACHED
        fills.append((transition, palette.PAPER))
        strokes.append((transition, palette.LINE if state == DROPPED else paint))
        inks.append((transition, palette.QUIET if state == DROPPED else palette.INK))
        drops.append((transition, 1 if state == DROPPED else 0))
    fills.append((moments.whole, paint))
    strokes.append((moments.whole, paint))
    inks.append((moments.whole, palette.ink_on(paint)))
    drops.append((moments.whole, 0))
    where = "embedded" if level == 0 else f"after block {level - 1}"
    about: dict[str, Any] = {
        "label": f"track {track}, {where}: {pieces.told(word)}, {percent(odds)}",
        "shows": Shows("generation/lens/logprobs", (level, track, 0)),
    }
    there = animate(0, (appears_at, 1))
    shown = fit(pieces.shown(word), box.w - 4, size, "mono")
    inner = Box(box.x + 1.25, box.y + 1.25, box.w - 2.5, box.h - 2.5)
    nodes: list[Node] = [
        Rect(inner.x, inner.y, inner.w, inner.h, 2, animate(paint, *fills), animate(paint, *strokes), 2.5, opacity=there, **about),
    ]
    if any(value for _, value in drops):
        gone = animate(0, *drops)
        nodes.append(Rect(inner.x, inner.y, inner.w, inner.h, 2, palette.PAPER, palette.UNTRAINED, 1, (2.0, 3.0), opacity=gone))
    if shown:
        ink = animate(palette.ink_on(paint), *inks)
        middle = box.y + box.h / 2
        nodes.append(
            Text(box.middle, centred(middle, 0, size), shown, size, 400, "mono", "middle", ink, there, **about)
        )
    if level == _since(view, track):
        frame = animate(0, (moments.whole, 1))
        nodes.append(Rect(box.x, box.y, box.w, box.h, 3, None, palette.OUTPUT, 2, opacity=frame))
    return nodes


def _since(view: View, track: int) -> int:
    """The lowest of the levels shown from which on the likeliest token is the one that the last level says."""
    last, since = view.words[-1][track], view.levels[-1]
    for level in reversed(view.levels):
        if view.words[level][track] != last:
            break
        since = level
    return since


def _fed_back(view: View, step: int, moments: _Moments) -> list[Node]:
    """The way of a drawn token from the top of one track to the foot of the next."""
    track = view.followed + step
    if track - 1 not in view.outs:
        return []
    out, into = view.outs[track - 1], view.ins[track]
    x = (out.right + into.x) / 2
    low = into.y + into.h / 2
    way = (("M", out.right, out.y + out.h / 2), ("L", x, out.y + out.h / 2), ("L", x, low), ("L", into.x, low))
    tip = (("M", into.x, low), ("L", into.x - 3.5, low - 4), ("L", into.x - 3.5, low + 4), ("Z",))
    there = animate(0, (moments.writes[step], 1))
    return [Path(way, stroke=palette.OUTPUT, stroke_width=1.5, opacity=there), Path(tip, fill=palette.OUTPUT, opacity=there)]


def _right(view: View) -> int:
    """How many outputs of the prompt's tracks, which nobody listens to, name the token that follows."""
    return sum(view.words[-1][track] == view.ids[track + 1] for track in range(view.prompt - 1))


def _looking(looks: Attention | None, pieces: Pieces, view: View) -> str:
    if looks is None:
        return "Attention is not in this record."
    top = sorted(range(len(looks.weights)), key=lambda key: -looks.weights[key])[:3]
    words = ", ".join(f"“{pieces.shown(view.ids[key])}” {percent(looks.weights[key])}" for key in top)
    own = pieces.shown(view.ids[view.followed])
    return f"In block {looks.block} the track of “{own}” looks at {words} (mean of {looks.heads} heads)."


def _decided(view: View, pieces: Pieces) -> str:
    track = view.followed
    since = _since(view, track)
    where = "its embedding" if since == 0 else f"block {since - 1}"
    word = pieces.shown(view.words[-1][track])
    return (
        f"Framed: from there on up the lens names the token that the last block finds likeliest. On the followed track that is "
        f"“{word}”, from {where} on."
    )


def _alt(view: View, looks: Attention | None, pieces: Pieces, record: Record) -> str:
    prompt, answer = end_of(pieces.sentence(view.ids[: view.prompt])), start_of(pieces.sentence(view.ids[view.prompt :]))
    parts = [
        f"A grid of {len(view.tracks)} tracks by {len(view.levels)} levels of {model_name(record)}, which continues "
        f"“{prompt}” with “{answer}”. Each cell names the likeliest next token there.",
        "On the track of the last prompt token: "
        + ", ".join(
            f"{'embedded' if level == 0 else f'block {level - 1}'} “{pieces.shown(view.words[level][view.followed])}” "
            f"{percent(view.odds[level][view.followed])}"
            for level in view.levels
        )
        + ".",
    ]
    if view.prompt > 1:
        parts.append(f"Of the {view.prompt - 1} outputs before it, which are not used, {_right(view)} name the next token.")
    if looks is not None:
        parts.append(_looking(looks, pieces, view))
    return " ".join(parts)


def _notes(view: View, record: Record) -> list[str]:
    notes = [
        "The raw logit lens: the last LayerNorm and the token matrix on the stream at each level, as if the blocks above did "
        "nothing. It is biased at low levels, and nothing is fitted here.",
        "A hollow cell's keys and values are kept, not computed again; its word was recorded when it was computed.",
    ]
    if len(view.tracks) < view.all:
        notes.append(f"Tracks {view.tracks[0]} to {view.tracks[-1]} of {view.all} are shown; no other is.")
    if len(view.levels) < view.levels[-1] + 1:
        named = ", ".join("the embedding" if level == 0 else str(level - 1) for level in view.levels)
        notes.append(f"Of {view.levels[-1]} blocks these are shown: {named}.")
    if drops(view):
        notes.append(
            "No later query of its block can read a dashed cell's keys and values. The runner keeps them all the same, so that "
            "a beginning can be used again; an evicting cache would drop them."
        )
    notes.append(
        "Attention is the mean over the heads, of the block in which one track, other than itself and the first, is looked at "
        "most; other blocks and heads are not shown."
    )
    return notes
