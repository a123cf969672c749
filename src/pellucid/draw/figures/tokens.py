"""`tokens`: an answer written token by token: the distribution, its cut by the sampling options, the draw, the token fed back.

The first steps are shown one by one, all of them together at the end. `tokens_panels` draws the three panels of a step.
"""

from typing import Any

from pellucid.draw.components.columns import columns
from pellucid.draw.components.marks import Box, earlier, flow, token_boxes
from pellucid.draw.components.parts import arrow, centred, measured, token, token_width
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate, visible_during
from pellucid.draw.figures import cache_labels
from pellucid.draw.figures.tokens_panels import distribution, draw_line, model_panel, panel
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.nodes import Group, Node, Path, Rect, Text
from pellucid.draw.views.labels import end_of, in_bytes, in_seconds, percent, start_of
from pellucid.draw.views.tokens import GenerationStep, TokensView
from pellucid.languages import joined, listed, plural, tr


IN_FULL = 3  # steps that are shown one by one
AT_ONCE = 10  # jumps in which the others appear at the end


def tokens(view: TokensView, *, width: float = 960) -> Film:
    """The film of an answer. Raises PellucidError for a picture less than 240 wide."""
    sheet, timeline = Sheet.of(width, narrow_height=640), Timeline()
    nodes: list[Node] = [_one_step(view, step, sheet, timeline) for step in view.steps[:IN_FULL]]
    nodes.append(_all_steps(view, sheet, timeline))
    return sheet.film(
        view.model, tr("Writing, token by token"), nodes, timeline, alt=_alt(view), notes=_notes(view), measured=True
    )


def _one_step(view: TokensView, step: GenerationStep, sheet: Sheet, timeline: Timeline) -> Group:
    """One step in four transitions: read, cut, draw, back; without the cut where there is none."""
    transitions = timeline.segment(tr("Step {step}", step=step.number + 1), *_sayings(view, step))
    read, *cuts, draw, back = transitions
    context, slot, below = _context(view, step, sheet, back)
    nodes = list(context)
    if sheet.wide:
        top, low = max(below + 22, 150.0), sheet.bottom - 6
        boxes = (Box(24, top, 196, low - top), Box(236, top, 344, low - top), Box(596, top, 340, low - top))
        for left, right in ((boxes[0], boxes[1]), (boxes[1], boxes[2])):
            nodes.append(arrow(left.right + 2, top + 44, right.x - 2, top + 44, head=8))
        count_shown, chosen_y = 10, boxes[2].y + 168
    else:
        top = max(below + 10, 108.0)
        boxes = (Box(12, top, 336, 86), Box(12, top + 94, 336, 204), Box(12, top + 306, 336, sheet.bottom - 6 - top - 306))
        count_shown, chosen_y = 7, boxes[2].y + 124
    nodes += [panel(box) for box in boxes]
    nodes += model_panel(step, view.model.name, boxes[0], sheet)
    cut = cuts[0] if cuts else None
    nodes += distribution(step, view.pieces, boxes[1], sheet, count_shown, read=read, cut=cut, draw=draw)
    nodes += draw_line(step, view.pieces, boxes[2], sheet, draw)
    nodes += _chosen(view, step, boxes[2], chosen_y, slot, sheet, draw, back)
    return Group(tuple(nodes), opacity=visible_during(transitions), id=f"step-{step.number + 1}")


def _sayings(view: TokensView, step: GenerationStep) -> list[tuple[float, float, str]]:
    """The transitions of a step: seconds of movement, seconds of rest, caption."""
    word = view.pieces.shown(step.drawn)
    if step.number:
        kind, phase = tr("decode"), tr(cache_labels.DECODE)
    else:
        kind, phase = tr("prefill"), tr("the prompt goes through the model")
        if step.read > 1:
            phase = tr("all {count} tokens of the prompt go through the model at once", count=step.read)
    begins = tr(
        "Step {step} of {steps}, {kind}: {phase}.", step=step.number + 1, steps=len(view.steps), kind=kind, phase=phase
    )
    cut, vocabulary = f"{step.cut[:1].upper()}{step.cut[1:]}", step.vocabulary
    seconds = 0.0
    if not step.greedy:
        seconds = 0.8
        left = tr("{cut}: {kept:,} of {tokens:,} tokens are left to draw from.", cut=cut, kept=step.kept, tokens=vocabulary)
        drawing = tr(
            "The draw u = {draw:.4f} lies in the part of the line that belongs to “{word}”.", draw=step.draw, word=word
        )
    else:
        drawing = tr("The {taken} is “{word}”: it is taken.", taken=step.taken, word=word)
        if step.likeliest:
            left = tr("Temperature 0: of {tokens:,} tokens only the likeliest is left.", tokens=vocabulary)
        else:  # penalties or biases came first
            left = tr("{cut}: of {tokens:,} tokens only one is left.", cut=cut, tokens=vocabulary)
    joins = tr("“{word}” had a probability of {p}. It joins the tokens: the model reads it next.", word=word, p=percent(step.p))
    return [
        (0.6, 1.9, begins),
        *([(0.6, 1.6, left)] if step.changed else []),
        (seconds, 1.6, drawing),
        (0.6, 1.6, joins),
    ]


def _context(view: TokensView, step: GenerationStep, sheet: Sheet, back: Transition) -> tuple[list[Node], Box, float]:
    """The tokens so far in two rows at most, the empty place of the next one, and the position below the rows."""
    ids = [*step.context, step.drawn]
    high, text = (26.0, 14.0) if sheet.wide else (21.0, 12.0)
    top = sheet.top + 18
    places, hidden = flow([view.pieces.shown(ident) for ident in ids], sheet.left, top, sheet.room, high, text, rows=2)
    so_far = plural(len(step.context), "{count} token so far", "{count} tokens so far")
    nodes: list[Node] = [Text(sheet.left, sheet.top + 10, so_far, sheet.small, fill=palette.QUIET)]
    nodes += _earlier(hidden, sheet.left, top, high, text)
    roles, sources = _roles(view, len(ids)), [view.source(i) for i in range(len(ids))]
    nodes += token_boxes(view.pieces, ids[:-1], places[:-1], text, roles=roles[:-1], sources=sources[:-1])
    slot = places[-1]
    assert slot is not None
    there = animate(1, (back, 0))
    nodes.append(Rect(slot.x, slot.y, slot.w, slot.h, 6, palette.PAPER, palette.OUTPUT, dash=(4.0, 3.0)))
    mark = Text(slot.middle, centred(slot.y, slot.h, text), "?", text, 400, "mono", "middle", palette.OUTPUT, there)
    return [*nodes, mark], slot, slot.bottom


def _earlier(count: int, x: float, y: float, high: float, text: float) -> list[Node]:
    return [Text(x, centred(y, high, text), earlier(count), text, fill=palette.QUIET)] if count else []


def _roles(view: TokensView, count: int) -> list[str]:
    """The roles of the first tokens of prompt and answer."""
    return ["input" if i < view.prompt else "output" for i in range(count)]


def _chosen(
    view: TokensView, step: GenerationStep, box: Box, y: float, slot: Box, sheet: Sheet, draw: Transition, back: Transition
) -> list[Node]:
    """The drawn token, its probability, and its way back to the others."""
    size, small = (14.0, 12.0) if sheet.wide else (12.0, 11.0)
    word = view.pieces.shown(step.drawn)
    high = slot.h
    wide = min(token_width(word, size), 130.0)
    left = box.middle - wide / 2
    if step.greedy:
        y = box.y + 84
    words = tr("probability {p}, its logarithm {logarithm:.2f}", p=percent(step.p), logarithm=step.logprob)
    there = animate(0, (draw, 1, "settle"))
    source = step.shows("drawn_logprobs")
    edge = sheet.right + (10 if sheet.wide else 6)
    turn, end = slot.bottom + (12 if sheet.wide else 5), slot.bottom + 1
    way = (("M", left + wide, y + high / 2), ("L", edge, y + high / 2), ("L", edge, turn),
           ("L", slot.middle, turn), ("L", slot.middle, end + 3))  # fmt: skip
    tip = (("M", slot.middle, end), ("L", slot.middle - 4.5, end + 6), ("L", slot.middle + 4.5, end + 6), ("Z",))
    fed, x, low = animate(0, (back, 1)), animate(left, (back, slot.x, "move")), animate(y, (back, slot.y, "move"))
    return [
        Text(box.middle, y + high + 1.5 * small, words.replace("-", "−"), small, anchor="middle", opacity=there, shows=source),
        Path(way, stroke=palette.OUTPUT, stroke_width=1.5, dash=(5.0, 3.0), opacity=fed),
        Path(tip, fill=palette.OUTPUT, opacity=fed),
        Rect(left, y, wide, high, 6, palette.PAPER, palette.OUTPUT, dash=(4.0, 3.0), opacity=fed),
        token(word, x, low, high, size, role="output", w=wide, opacity=there, label=tr("token {token}", token=step.drawn),
              shows=step.shows("drawn_ids")),
    ]  # fmt: skip


def _all_steps(view: TokensView, sheet: Sheet, timeline: Timeline) -> Group:
    """Every token, and three numbers of every step."""
    read, written = view.prompt, len(view.steps)
    one_by_one = min(IN_FULL, written)
    jumps = _jumps(written - one_by_one)
    total = sum(step.seconds for step in view.steps)
    summary = tr(
        "All {written} steps: {read} tokens read, {written} written in {time} (measured).",
        written=written, read=read, time=in_seconds(total),
    )  # fmt: skip
    saying = joined([summary, cache_labels.at_the_end(view.steps[-1])])
    transitions = timeline.segment(tr("All steps"), *((0.25, 0.05, saying) for _ in jumps), (0.0, 4.0, saying))
    when: list[Any] = [1.0] * one_by_one
    for transition, count in zip(transitions, jumps, strict=False):
        when += [animate(0, (transition, 1))] * count
    ids = view.ids
    high, text = (26.0, 14.0) if sheet.wide else (21.0, 12.0)
    top = sheet.top + 18
    rows = 4 if sheet.wide else 6
    places, hidden = flow([view.pieces.shown(ident) for ident in ids], sheet.left, top, sheet.room, high, text, rows=rows)
    sources = [view.source(i) for i in range(len(ids))]
    nodes: list[Node] = [
        Text(sheet.left, sheet.top + 10, tr("{read} tokens read, {written} written", read=read, written=written), sheet.small,
             fill=palette.QUIET),
        *_earlier(hidden, sheet.left, top, high, text), *_allocated(view, sheet),
        *token_boxes(
            view.pieces, ids, places, text, roles=_roles(view, len(ids)), sources=sources, opacities=[1.0] * read + when
        ),
    ]
    below = max(box.bottom for box in places if box is not None) + 14
    charts: list[dict[str, Any]] = [
        {"values": [step.p for step in view.steps], "title": tr("probability of the token"), "words": percent,
         "shows": lambda i: view.steps[i].shows("drawn_logprobs"), "fills": [palette.OUTPUT] * written},
        {"values": [step.seconds for step in view.steps], "title": tr("time (first: prefill)"), "words": in_seconds,
         "shows": lambda i: view.steps[i].shows_seconds(), "fills": [palette.INPUT] + [palette.OUTPUT] * (written - 1)},
        {"values": [float(step.cache) for step in view.steps], "title": tr(cache_labels.CHART_TITLE), "words": in_bytes,
         "shows": lambda i: view.steps[i].shows_cache(), "fills": [palette.FOLLOWED] * written},
    ]  # fmt: skip
    for i, chart in enumerate(charts):
        box = _chart_box(i, below, sheet)
        nodes.append(panel(box))
        inner = Box(box.x + 12, box.y + 8, box.w - 24, box.h - 14)
        nodes += columns(box=inner, size=sheet.small, opacities=when, **chart)
    return Group(tuple(nodes), opacity=animate(0, (transitions[0], 1)), id="all-steps")


def _allocated(view: TokensView, sheet: Sheet) -> list[Node]:
    """The bytes that the runner allocated for the sequence, where the record has them."""
    if view.cache_bytes is None:
        return []
    words, shows = cache_labels.allocated(view.cache_bytes), view.shows_cache_bytes()
    return [measured(Text(sheet.right, sheet.top + 10, words, sheet.small, fill=palette.QUIET, anchor="end", shows=shows))]


def _chart_box(i: int, top: float, sheet: Sheet) -> Box:
    gap = 14.0 if sheet.wide else 8.0
    low = sheet.bottom - 6
    if sheet.wide:
        wide = (sheet.room - 2 * gap) / 3
        return Box(sheet.left + i * (wide + gap), top, wide, min(low - top, 320.0))
    high = min((low - top - 2 * gap) / 3, 150.0)
    return Box(sheet.left, top + i * (high + gap), sheet.room, high)


def _jumps(count: int) -> list[int]:
    """So many tokens in a few jumps, as equal as can be."""
    most = min(count, AT_ONCE)
    return [count * (i + 1) // most - count * i // most for i in range(most)]


def _alt(view: TokensView) -> str:
    prompt = end_of(view.pieces.sentence(view.steps[0].context))
    answer = start_of(view.pieces.sentence([step.drawn for step in view.steps]))
    parts = [
        tr(
            "{name} continues “{prompt}” with “{answer}”, token by token.",
            name=view.model.name, prompt=prompt, answer=answer,
        )
    ]  # fmt: skip
    for step in view.steps[:IN_FULL]:
        top = listed(
            tr("“{token}” {number}", token=view.pieces.shown(ident), number=percent(p)) for ident, p, _ in step.listed[:3]
        )
        parts.append(tr("Step {step}: likeliest {top}.", step=step.number + 1, top=top))
        values = {"p": percent(step.p), "time": in_seconds(step.seconds)}
        if step.greedy:
            parts.append(tr("The {taken} is taken ({p}), {time}.", taken=step.taken, **values))
        else:
            word = view.pieces.shown(step.drawn)
            parts.append(tr("The draw {draw:.4f} falls on “{word}” ({p}), {time}.", draw=step.draw, word=word, **values))
    return joined([*parts, cache_labels.alt_at_the_end(view)])


def _notes(view: TokensView) -> list[str]:
    notes = [
        tr(
            "The record lists the {listed} likeliest of {tokens:,} tokens a step; the bars show some of them.",
            listed=len(view.steps[0].listed), tokens=view.model.config.vocab_size,
        ),
        cache_labels.bytes_note(view),
        tr("The model's box stands for all its blocks: the figure xray opens it."),
    ]  # fmt: skip
    if not view.steps[0].greedy:
        notes.insert(
            1,
            tr(
                "On the line from 0 to 1 tokens lie side by side in the order of their ids, each as wide as its probability; "
                "where the record does not list all that were left, only the drawn token's place on it is known."
            ),
        )
    if len(view.steps) > IN_FULL:
        notes.append(
            tr(
                "The first {shown} of {steps} steps are shown one by one; the others appear together at the end.",
                shown=IN_FULL, steps=len(view.steps),
            )
        )  # fmt: skip
    return notes
