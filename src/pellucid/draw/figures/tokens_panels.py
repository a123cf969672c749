"""The panels of one step in `tokens`: the model that reads, the distribution and its cut, the draw.

K candidates kept a step, L blocks, T tracks.
"""

from dataclasses import dataclass
from math import isnan
from typing import Any

from pellucid.draw.components.marks import Box, paragraph
from pellucid.draw.components.parts import centred, measured, model
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.nodes import Group, Node, Path, Rect, Shows, Text
from pellucid.draw.views.labels import in_bytes, in_seconds, percent


GREEDY = "temperature 0"  # the cut in words
STEPS = "generation/steps/"
LIKELY = "#cfc3ee"  # a probability that the model gives


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the record says of one step, ready to be drawn.

    Attributes:
        number: from 0. context: tokens before it. read: how many of them went through the model in this step. drawn: its token.
        p, logprob: of the drawn token, in the model's own distribution.
        listed: (token, p, share of what was drawn from) of the candidates, the likeliest first.
        kept: tokens left by the cut. vocabulary: all there are. cut: the options of the cut, in words; "" for none.
        draw: u, NaN at temperature 0. span: the drawn token's part of [0, 1), None if not recorded. seconds: it took.
        cache, cache_last: bytes of keys and values in an evicting cache after it and after the last step.
        tracks: of each track so far, whether its keys and values were computed in this step (1), are kept by all blocks (2),
            or no longer by some of them (3). words: token -> how it is shown.
    """

    number: int
    context: tuple[int, ...]
    read: int
    drawn: int
    p: float
    logprob: float
    listed: tuple[tuple[int, float, float], ...]
    kept: int
    vocabulary: int
    draw: float
    span: tuple[float, float] | None
    seconds: float
    cache: int
    cache_last: int
    tracks: tuple[int, ...]
    cut: str
    words: dict[int, str]

    @property
    def greedy(self) -> bool:
        """Whether nothing was drawn by chance."""
        return isnan(self.draw)

    @property
    def taken(self) -> str:
        """What a greedy step takes, in words."""
        return "likeliest token" if self.cut == GREEDY else "token with the largest logit after penalties and biases"

    @property
    def changed(self) -> bool:
        """Whether what was drawn from is not the model's own distribution."""
        return bool(self.cut)

    def shows(self, chunk: str, *index: int, truth: str = "derived") -> Shows:
        """What a mark of this step shows."""
        return Shows(f"{STEPS}{chunk}", (self.number, *index), None, truth)


def panel(box: Box) -> Rect:
    """The ground of a panel."""
    return Rect(box.x, box.y, box.w, box.h, 8, palette.PANEL)


def heading(string: str, box: Box, sheet: Sheet) -> Text:
    """A panel's name at its top."""
    x = box.x + sheet.pad / 2
    return Text(x, box.y + 1.5 * sheet.size, fit(string, box.w - sheet.pad, sheet.size, "sans", 600), sheet.size, 600)


def reading(step: Step, name: str, box: Box, sheet: Sheet, read: Transition) -> list[Node]:
    """The model, what it reads in this step and what it keeps: upright on a screen, in two columns on a phone."""
    size, small = sheet.size, sheet.small
    inner = sheet.pad / 2
    phase = "prefill" if step.number == 0 else "decode"
    many = f"reads {step.read} token{'s' if step.read > 1 else ''}" + (" at once" if step.read > 1 else "")
    kept = "nothing in the cache yet" if step.number == 0 else f"{len(step.context) - 1} more are in the cache"
    if sheet.wide:
        machine = model(box.x + inner, box.y + 12, box.w - 2 * inner, 64, name, size, trained=True)
        x, y, wide = box.x + inner, box.y + 96, box.w - 2 * inner
    else:
        machine = model(box.x + inner, box.y + 8, 96, box.h - 16, name, size, trained=True)
        x, y, wide = box.x + inner + 108, box.y + 4, box.w - 2 * inner - 108
    time = Text(x, 0, in_seconds(step.seconds), size, shows=Shows("generation/timings/steps", (step.number,), None, "measured"))
    nodes: list[Node] = [machine]
    if not sheet.wide:
        nodes.append(Text(x, y + size, f"{phase}: {many}", size, 600))
        nodes.append(Text(x, y + size + 16, fit(kept, wide, small), small, fill=palette.QUIET))
        nodes += [_at(time, y + size + 33), *_cache(step, Box(x, y + size + 33 + 7, wide, 0), small)]
        return nodes
    nodes.append(Text(x, y + size, phase, size, 600))
    lines, y = paragraph(f"{many}; {kept}", x, y + 1.6 * size, wide, small, fill=palette.QUIET)
    nodes += [*lines, _at(time, y + 1.6 * size)]
    nodes += _cache(step, Box(x, y + 3.1 * size, wide, 0), small)
    y += 3.1 * size + 3.2 * small
    return nodes + _tracks(step, Box(x, y, wide, box.bottom - inner - y), small)


def _at(text: Text, y: float) -> Node:
    return measured(Text(text.x, y, text.string, text.size, fill=text.fill, shows=text.shows))


def _cache(step: Step, box: Box, size: float) -> list[Node]:
    """Bytes of keys and values in an evicting cache after this step, against those after the last."""
    told = f"evicting cache {in_bytes(step.cache)}"
    shows = Shows("provenance", (), step.number)
    long = box.w * step.cache / step.cache_last
    words = f"an evicting cache of {len(step.context)} tracks: {step.cache:,} bytes; after the last step {step.cache_last:,}"
    return [
        Text(box.x, box.y + size, told, size, shows=shows, label=words),
        Rect(box.x, box.y + 1.45 * size, box.w, 0.7 * size, 2, palette.PAPER, palette.LINE),
        Rect(box.x, box.y + 1.45 * size, long, 0.7 * size, 2, palette.TRACK, label=words, shows=shows),
    ]


def _tracks(step: Step, box: Box, size: float) -> list[Node]:
    """A square for each track: filled if it was computed in this step, hollow if its keys and values were kept."""
    side, gap = 11.0, 3.0
    across, down = int((box.w + gap) // (side + gap)), int((box.h - 1.6 * size + gap) // (side + gap))
    hidden = max(0, len(step.tracks) - across * down)
    count = len(step.tracks)
    told = f"{across * down} of {count} tracks" if hidden else f"{count} track{'s' if count > 1 else ''}"
    told += f", {step.read} new" if count > 1 else ""
    nodes: list[Node] = [Text(box.x, box.y + size, told, size)]
    for i, state in enumerate(step.tracks[hidden:]):
        x, y = box.x + i % across * (side + gap), box.y + 1.6 * size + i // across * (side + gap)
        words = ("computed in this step", "in the cache", "in the cache; in some blocks no later query can read it")[state - 1]
        fill, dash = (palette.TRACK, ()) if state == 1 else (palette.PAPER, (2.0, 2.0) if state == 3 else ())
        label, shows = f"track {hidden + i}: {words}", Shows("generation/cells", (step.number,), None)
        nodes.append(Rect(x + 0.5, y + 0.5, side - 1, side - 1, 2, fill, palette.TRACK, 1.0, dash, label=label, shows=shows))
    return nodes


def distribution(step: Step, box: Box, sheet: Sheet, count: int, read: Transition, cut: Transition | None, draw: Transition) -> list[Node]:
    """The likeliest tokens with their probabilities; the cut; the one that was drawn."""
    size, small, inner = sheet.size, sheet.small, sheet.pad / 2
    rows = _rows(step, count)
    left, right = box.x + inner, box.right - inner
    number_width = text_width("<0.01%", small)
    columns = [right - number_width - 10, right] if cut else [right]
    word_width = (right - left) * 0.29
    bar_left = left + word_width + 6
    bar_most = columns[0] - number_width - 6 - bar_left
    full = max(max(p, share) for _, _, p, share in rows)
    head_y = box.y + 1.5 * size + 1.5 * small
    nodes: list[Node] = [
        heading("how likely is each next token?", box, sheet),
        Text(columns[0], head_y, "model" if cut else "probability", small, anchor="end", fill=palette.QUIET),
    ]
    if cut:
        word = "taken" if step.greedy else "drawn"
        nodes.append(Text(columns[1], head_y, word, small, anchor="end", fill=palette.QUIET, opacity=animate(0, (cut, 1))))
    top, low = head_y + 0.5 * small, box.bottom - 2.1 * small
    pitch = (low - top) / count
    thick = min(pitch * 0.72, 22.0)
    for i, (rank, token, p, share) in enumerate(rows):
        y = top + i * pitch + (pitch - thick) / 2
        mine, gone = token == step.drawn, step.changed and share == 0
        base = centred(y, thick, small)
        about: dict[str, Any] = {"label": f"{step.words[token]}: {rank}", "shows": _source(step, token, "topk_logprobs")}
        chosen = [(draw, palette.OUTPUT, "settle")] if mine else []
        ink = animate(palette.INK, *([(cut, palette.QUIET)] if cut and gone else []), *chosen)
        fill = animate(LIKELY, *([(cut, palette.LINE)] if cut and gone else []), *chosen)
        ends = [(cut, bar_most * share / full if not gone else bar_most * p / full, "move")] if cut else []
        long = animate(0.0, (read, bar_most * p / full, "move"), *ends)
        word = fit(step.words[token], word_width, small, "mono")
        nodes.append(Text(left + word_width, base, word, small, family="mono", anchor="end", fill=ink, **about))
        nodes.append(Rect(bar_left, y, long, thick, 2, fill, **about))
        nodes.append(Text(columns[0], base, percent(p), small, anchor="end", fill=ink, **about))
        if cut:
            after = Text(
                columns[1], base, "cut" if gone else percent(share), small, anchor="end", fill=ink,
                opacity=animate(0, (cut, 1)), label=str(about["label"]), shows=_source(step, token, "topk_shares"),
            )  # fmt: skip
            nodes.append(after)
    rest = 1 - sum(p for _, _, p, _ in rows)
    others = step.vocabulary - len(rows)
    base = box.bottom - 0.8 * small
    words = f"{others:,} others: {percent(max(rest, 0.0))}" if others else "no others"
    left_over = f"{step.kept:,} of {step.vocabulary:,} left"
    later = f"{step.cut}: {left_over}" if cut else ""
    later = later if text_width(later, small) <= right - left else left_over  # the caption says it in full
    changing = animate(words, (cut, later)) if cut else words
    shows = step.shows("kept" if cut else "topk_logprobs")
    nodes.append(Text(left, base, changing, small, fill=palette.QUIET, shows=shows))
    return nodes


def _rows(step: Step, count: int) -> list[tuple[str, int, float, float]]:
    """(rank in words, token, p, share): the likeliest, the last of them the drawn one where it is not among them."""
    rows = [(f"number {i + 1} of {step.vocabulary:,}", *one) for i, one in enumerate(step.listed)]
    shown = rows[:count]
    if all(token != step.drawn for _, token, _, _ in shown):
        found = [row for row in rows if row[1] == step.drawn]
        share = step.span[1] - step.span[0] if step.span else 0.0
        beyond = (f"not among the {len(rows)} likeliest", step.drawn, step.p, share)
        shown = [*rows[: count - 1], *(found or [beyond])]
    return shown


def _source(step: Step, token: int, chunk: str) -> Shows:
    """Where the number of a listed token stands; a drawn one that is not listed has its own chunks."""
    for place, (listed, _, _) in enumerate(step.listed):
        if listed == token:
            return step.shows(chunk, place)
    return step.shows("drawn_logprobs" if chunk == "topk_logprobs" else "drawn_span")


def spans(step: Step) -> list[tuple[int, float, float]]:
    """(token, from, to) on the line from 0 to 1, in the order of ids: all of them where the record lists all that were left,
    else the drawn one alone.
    """
    kept = sorted((token, share) for token, _, share in step.listed if share > 0)
    if len(kept) == step.kept:
        total, at, found = sum(share for _, share in kept), 0.0, []
        for token, share in kept:
            found.append((token, at, at + share / total))
            at += share / total
        return found
    return [] if step.span is None else [(step.drawn, *step.span)]


def draw_line(step: Step, box: Box, sheet: Sheet, draw: Transition) -> list[Node]:
    """The line from 0 to 1 with the needle at u, and below it the drawn token's part as wide as all of it."""
    size, small, inner = sheet.size, sheet.small, sheet.pad / 2
    left, right = box.x + inner, box.right - inner
    wide = right - left
    if step.greedy:
        words = f"nothing is drawn by chance: at temperature 0 the {step.taken} is taken"
        lines, _ = paragraph(words, left, box.y + 2.2 * size, wide, small, fill=palette.QUIET)
        return [heading("the choice", box, sheet), *lines]
    told = Text(
        right, box.y + 1.5 * size, f"u = {step.draw:.4f}", size, anchor="end", fill=palette.TRACK, opacity=animate(0, (draw, 1)),
        label=f"the draw, a hash of seed and position: {step.draw!r}", shows=step.shows("draw"),
    )  # fmt: skip
    nodes: list[Node] = [heading("the draw", box, sheet), told]
    if step.span is None:
        lines, _ = paragraph("where the token lies on the line: not in this record", left, box.y + 2.2 * size, wide, small)
        return nodes + lines
    left, right = left + small, right - small
    wide, high = right - left, 24.0 if sheet.wide else 16.0
    y = box.y + (2.4 * size + 16 if sheet.wide else 2 * size + 12)
    nodes += [Rect(left, y, wide, high, 0, palette.PAPER, palette.LINE)]
    for token, start, end in spans(step):
        mine = token == step.drawn
        fill = animate(LIKELY, (draw, palette.OUTPUT_FILL, "settle")) if mine else LIKELY
        stroke = animate(palette.PAPER, (draw, palette.OUTPUT, "settle")) if mine else palette.PAPER
        label = f"{step.words[token]}: from {start:.4f} to {end:.4f}"
        shows = step.shows("drawn_span") if mine else _source(step, token, "topk_shares")
        part = max(wide * (end - start), 1.0)
        nodes.append(Rect(left + wide * start, y, part, high, 0, fill, stroke, label=label, shows=shows))
    nodes += [
        Text(left - 4, centred(y, high, small), "0", small, anchor="end", fill=palette.QUIET),
        Text(right + 4, centred(y, high, small), "1", small, fill=palette.QUIET),
    ]
    nodes += _larger(step, Box(left, y, wide, high), sheet, draw)
    at = animate(left, (draw, left + wide * step.draw, "move"))
    tip = (("M", 0, 0), ("L", -6, -11), ("L", 6, -11), ("Z",))
    hair = (("M", 0, 0), ("L", 0, high))
    nodes.append(
        Group((Path(tip, fill=palette.TRACK), Path(hair, stroke=palette.TRACK, stroke_width=2)), x=at, y=y,
              label=f"u = {step.draw:.6f}", shows=step.shows("draw"))
    )  # fmt: skip
    return nodes


def _larger(step: Step, line: Box, sheet: Sheet, draw: Transition) -> list[Node]:
    """The drawn token's part, as wide as the whole line, with its ends in numbers."""
    assert step.span is not None
    start, end = step.span
    small = sheet.small
    there = animate(0, (draw, 1, "settle"))
    y = line.bottom + (30 if sheet.wide else 18)
    a, b = line.x + line.w * start, line.x + line.w * end
    wedge: Any = (("M", a, line.bottom), ("L", b, line.bottom), ("L", line.right, y), ("L", line.x, y), ("Z",))
    at = line.x + line.w * (step.draw - start) / (end - start)
    low = y + line.h + 1.2 * small
    shows = step.shows("drawn_span")
    nodes: list[Node] = [Path(wedge, fill=palette.OUTPUT_FILL, opacity=animate(0, (draw, 0.4, "settle")))]
    group: list[Node] = [
        Rect(line.x, y, line.w, line.h, 0, palette.OUTPUT_FILL, palette.OUTPUT, shows=shows),
        Path((("M", at, y), ("L", at, y + line.h)), stroke=palette.TRACK, stroke_width=2, shows=step.shows("draw")),
        Text(line.x, low, f"{start:.4f}", small, fill=palette.QUIET, shows=shows),
        Text(line.right, low, f"{end:.4f}", small, anchor="end", fill=palette.QUIET, shows=shows),
    ]
    return [*nodes, Group(tuple(group), opacity=there)]

