"""The panels of one step in `tokens`: the model and what it reads, the distribution and its cut, the draw."""

from typing import Any

from pellucid.draw.components.marks import Box, paragraph
from pellucid.draw.components.parts import centred, measured, model
from pellucid.draw.components.scales import BandScale, LengthScale
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.figures import cache_labels
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.nodes import Group, Node, Path, Rect, Shows, Text
from pellucid.draw.views.labels import in_seconds, percent
from pellucid.draw.views.pieces import Pieces
from pellucid.draw.views.tokens import GenerationStep
from pellucid.languages import plural, tr


LIKELY = "#cfc3ee"  # a probability that the model gives


def panel(box: Box) -> Rect:
    """The background of a panel."""
    return Rect(box.x, box.y, box.w, box.h, 8, palette.PANEL)


def heading(string: str, box: Box, sheet: Sheet) -> Text:
    """The heading of a panel."""
    x = box.x + sheet.pad / 2
    return Text(x, box.y + 1.5 * sheet.size, fit(string, box.w - sheet.pad, sheet.size, "sans", 600), sheet.size, 600)


def model_panel(step: GenerationStep, name: str, box: Box, sheet: Sheet) -> list[Node]:
    """The model, the tokens that it reads in this step, its time and its cache: upright on a screen, two columns on a phone."""
    size, small = sheet.size, sheet.small
    inner = sheet.pad / 2
    phase = tr("prefill") if step.number == 0 else tr("decode")
    many = plural(step.read, "reads {count} token", "reads {count} tokens at once")
    cached = cache_labels.before_step(step)
    if sheet.wide:
        machine = model(box.x + inner, box.y + 12, box.w - 2 * inner, 64, name, size, trained=True)
        x, y, wide = box.x + inner, box.y + 96, box.w - 2 * inner
    else:
        machine = model(box.x + inner, box.y + 8, 96, box.h - 16, name, size, trained=True)
        x, y, wide = box.x + inner + 108, box.y + 4, box.w - 2 * inner - 108
    nodes: list[Node] = [machine]
    if not sheet.wide:
        nodes.append(Text(x, y + size, tr("{name}: {value}", name=phase, value=many), size, 600))
        nodes.append(Text(x, y + size + 16, fit(cached, wide, small), small, fill=palette.QUIET))
        nodes += [_time(step, x, y + size + 33, size), *_cache(step, Box(x, y + size + 33 + 7, wide, 0), small)]
        return nodes
    nodes.append(Text(x, y + size, phase, size, 600))
    lines, y = paragraph(tr("{reads}; {cached}", reads=many, cached=cached), x, y + 1.6 * size, wide, small, fill=palette.QUIET)
    nodes += [*lines, _time(step, x, y + 1.6 * size, size)]
    nodes += _cache(step, Box(x, y + 3.1 * size, wide, 0), small)
    y += 3.1 * size + 3.2 * small
    return nodes + _position_squares(step, Box(x, y, wide, box.bottom - inner - y), small)


def _time(step: GenerationStep, x: float, y: float, size: float) -> Node:
    """How long the step took, with its clock."""
    return measured(Text(x, y, in_seconds(step.seconds), size, shows=step.shows_seconds()))


def _cache(step: GenerationStep, box: Box, size: float) -> list[Node]:
    """The bytes in the cache after this step, as a bar whose full length are those after the last."""
    shows, words = step.shows_cache(), cache_labels.after_step_exactly(step)
    long = LengthScale(box.w, step.cache_last).length(step.cache)
    return [
        Text(box.x, box.y + size, cache_labels.after_step(step), size, shows=shows, label=words),
        Rect(box.x, box.y + 1.45 * size, box.w, 0.7 * size, 2, palette.PAPER, palette.LINE),
        Rect(box.x, box.y + 1.45 * size, long, 0.7 * size, 2, palette.FOLLOWED, label=words, shows=shows),
    ]


def _position_squares(step: GenerationStep, box: Box, size: float) -> list[Node]:
    """A square for each position: filled where it was computed in this step, hollow where keys and values are cached."""
    side, gap = 11.0, 3.0
    across, down = int((box.w + gap) // (side + gap)), int((box.h - 1.6 * size + gap) // (side + gap))
    hidden = max(0, len(step.position_states) - across * down)
    count = len(step.position_states)
    if hidden:
        words = tr("{shown} of {count} positions, {new} new", shown=across * down, count=count, new=step.read)
    else:
        words = plural(count, "{count} position", "{count} positions, {new} new", new=step.read)
    nodes: list[Node] = [Text(box.x, box.y + size, words, size)]
    for i, state in enumerate(step.position_states[hidden:]):
        x, y = box.x + i % across * (side + gap), box.y + 1.6 * size + i // across * (side + gap)
        fill, dash = (palette.FOLLOWED, ()) if state == 1 else (palette.PAPER, (2.0, 2.0) if state == 3 else ())
        label = tr("position {position}: {state}", position=hidden + i, state=tr(cache_labels.POSITION_STATES[state]))
        shows = Shows("generation/cells", (step.number,))
        nodes.append(Rect(x + 0.5, y + 0.5, side - 1, side - 1, 2, fill, palette.FOLLOWED, 1.0, dash, label=label, shows=shows))
    return nodes


def distribution(
    step: GenerationStep, pieces: Pieces, box: Box, sheet: Sheet, count: int, *, read: Transition, cut: Transition | None,
    draw: Transition,
) -> list[Node]:  # fmt: skip
    """The likeliest tokens with their probabilities as bars; what the cut leaves of them; the one that was drawn.

    Args:
        count: tokens shown. read, cut, draw: when the bars grow, when the cut is made (None: there is none), when the drawn
            token is marked.
    """
    size, small, inner = sheet.size, sheet.small, sheet.pad / 2
    rows = _rows(step, count)
    left, right = box.x + inner, box.right - inner
    number_width = text_width("<0.01%", small)
    columns = [right - number_width - 10, right] if cut else [right]
    word_width = (right - left) * 0.29
    bar_left = left + word_width + 6
    bars = LengthScale(columns[0] - number_width - 6 - bar_left, max(max(p, share) for _, _, p, share in rows))
    head_y = box.y + 1.5 * size + 1.5 * small
    nodes: list[Node] = [
        heading(tr("how likely is each next token?"), box, sheet),
        Text(columns[0], head_y, tr("model") if cut else tr("probability"), small, anchor="end", fill=palette.QUIET),
    ]
    if cut:
        word = tr("taken") if step.greedy else tr("drawn")
        nodes.append(Text(columns[1], head_y, word, small, anchor="end", fill=palette.QUIET, opacity=animate(0, (cut, 1))))
    top, low = head_y + 0.5 * small, box.bottom - 2.1 * small
    pitch = (low - top) / count
    bands = BandScale(top, pitch, min(pitch * 0.72, 22.0))
    for i, (rank, token, p, share) in enumerate(rows):
        y, thick = bands.place(i), bands.thickness
        mine, gone = token == step.drawn, step.changed and share == 0
        base = centred(y, thick, small)
        about: dict[str, Any] = {
            "label": tr("{name}: {value}", name=pieces.shown(token), value=rank),
            "shows": _source(step, token, "topk_logprobs"),
        }
        chosen = [(draw, palette.OUTPUT, "settle")] if mine else []
        ink = animate(palette.INK, *([(cut, palette.QUIET)] if cut and gone else []), *chosen)
        fill = animate(LIKELY, *([(cut, palette.LINE)] if cut and gone else []), *chosen)
        ends = [(cut, bars.length(p if gone else share), "move")] if cut else []
        long = animate(0.0, (read, bars.length(p), "move"), *ends)
        word = fit(pieces.shown(token), word_width, small, "mono")
        nodes.append(Text(left + word_width, base, word, small, family="mono", anchor="end", fill=ink, **about))
        nodes.append(Rect(bar_left, y, long, thick, 2, fill, **about))
        nodes.append(Text(columns[0], base, percent(p), small, anchor="end", fill=ink, **about))
        if cut:
            after = Text(
                columns[1], base, tr("cut") if gone else percent(share), small, anchor="end", fill=ink,
                opacity=animate(0, (cut, 1)), label=str(about["label"]), shows=_source(step, token, "topk_shares"),
            )  # fmt: skip
            nodes.append(after)
    rest = 1 - sum(p for _, _, p, _ in rows)
    others = step.vocabulary - len(rows)
    base = box.bottom - 0.8 * small
    words = tr("{count:,} others: {p}", count=others, p=percent(max(rest, 0.0))) if others else tr("no others")
    left_over = tr("{kept:,} of {tokens:,} left", kept=step.kept, tokens=step.vocabulary)
    later = tr("{name}: {value}", name=step.cut, value=left_over) if cut else ""
    later = later if text_width(later, small) <= right - left else left_over  # the caption says it in full
    changing = animate(words, (cut, later)) if cut else words
    shows = step.shows("kept" if cut else "topk_logprobs")
    nodes.append(Text(left, base, changing, small, fill=palette.QUIET, shows=shows))
    return nodes


def _rows(step: GenerationStep, count: int) -> list[tuple[str, int, float, float]]:
    """(rank in words, token, p, share) of the likeliest tokens; the drawn one is the last where it is not among them."""
    rows = [
        (tr("number {place} of {tokens:,}", place=i + 1, tokens=step.vocabulary), *one) for i, one in enumerate(step.listed)
    ]
    shown = rows[:count]
    if all(token != step.drawn for _, token, _, _ in shown):
        found = [row for row in rows if row[1] == step.drawn]
        share = step.span[1] - step.span[0] if step.span else 0.0
        beyond = (tr("not among the {count} likeliest", count=len(rows)), step.drawn, step.p, share)
        shown = [*rows[: count - 1], *(found or [beyond])]
    return shown


def _source(step: GenerationStep, token: int, chunk: str) -> Shows:
    """Where the number of a token stands: in a list, or, for a drawn token that is not listed, in a chunk of its own."""
    for place, (listed, _, _) in enumerate(step.listed):
        if listed == token:
            return step.shows(chunk, place)
    return step.shows("drawn_logprobs" if chunk == "topk_logprobs" else "drawn_span")


def draw_line(step: GenerationStep, pieces: Pieces, box: Box, sheet: Sheet, draw: Transition) -> list[Node]:
    """The line from 0 to 1 with the needle at u, and below it the drawn token's part of the line, enlarged to its width."""
    size, small, inner = sheet.size, sheet.small, sheet.pad / 2
    left, right = box.x + inner, box.right - inner
    wide = right - left
    if step.greedy:
        words = tr("nothing is drawn by chance: at temperature 0 the {taken} is taken", taken=step.taken)
        lines, _ = paragraph(words, left, box.y + 2.2 * size, wide, small, fill=palette.QUIET)
        return [heading(tr("the choice"), box, sheet), *lines]
    u = Text(
        right, box.y + 1.5 * size, f"u = {step.draw:.4f}", size, anchor="end", fill=palette.FOLLOWED,
        opacity=animate(0, (draw, 1)), label=tr("the draw, a hash of seed and position: {draw!r}", draw=step.draw),
        shows=step.shows("draw"),
    )  # fmt: skip
    nodes: list[Node] = [heading(tr("the draw"), box, sheet), u]
    if step.span is None:
        lines, _ = paragraph(
            tr("where the token lies on the line: not in this record"), left, box.y + 2.2 * size, wide, small
        )
        return nodes + lines
    left, right = left + small, right - small
    wide, high = right - left, 24.0 if sheet.wide else 16.0
    y = box.y + (2.4 * size + 16 if sheet.wide else 2 * size + 12)
    nodes += [Rect(left, y, wide, high, 0, palette.PAPER, palette.LINE)]
    for token, start, end in step.spans():
        mine = token == step.drawn
        fill = animate(LIKELY, (draw, palette.OUTPUT_FILL, "settle")) if mine else LIKELY
        stroke = animate(palette.PAPER, (draw, palette.OUTPUT, "settle")) if mine else palette.PAPER
        label = tr("{token}: from {start:.4f} to {end:.4f}", token=pieces.shown(token), start=start, end=end)
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
        Group((Path(tip, fill=palette.FOLLOWED), Path(hair, stroke=palette.FOLLOWED, stroke_width=2)), x=at, y=y,
              label=f"u = {step.draw:.6f}", shows=step.shows("draw"))
    )  # fmt: skip
    return nodes


def _larger(step: GenerationStep, line: Box, sheet: Sheet, draw: Transition) -> list[Node]:
    """The drawn token's part of the line, enlarged to the line's width, with its ends in numbers."""
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
        Path((("M", at, y), ("L", at, y + line.h)), stroke=palette.FOLLOWED, stroke_width=2, shows=step.shows("draw")),
        Text(line.x, low, f"{start:.4f}", small, fill=palette.QUIET, shows=shows),
        Text(line.right, low, f"{end:.4f}", small, anchor="end", fill=palette.QUIET, shows=shows),
    ]
    return [*nodes, Group(tuple(group), opacity=there)]

