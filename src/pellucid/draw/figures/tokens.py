"""`tokens`: an answer written token by token: what the model gives, what the cut leaves, where the draw falls, and back again.

The first steps are shown one by one, all of them together at the end.
"""

from math import exp
from typing import Any

from pellucid.draw.components.columns import columns
from pellucid.draw.components.marks import Box, earlier, flow
from pellucid.draw.components.marks import tokens as token_boxes
from pellucid.draw.components.parts import arrow, centred, given, measured, token, token_width
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate, visible_during
from pellucid.draw.figures.tokens_panels import GREEDY, Step, distribution, draw_line, panel, reading
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.nodes import Group, Node, Path, Rect, Shows, Text
from pellucid.draw.views.labels import Pieces, config, end_of, in_bytes, in_seconds, model_name, percent, start_of
from pellucid.record import Record


IN_FULL = 3  # steps that are shown one by one
AT_ONCE = 10  # jumps in which the others appear at the end
VALUE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}


def tokens(record: Record, *, width: float = 960) -> Film:
    """The figure, from a generation record. Errors: as `figures.figure`."""
    sheet = Sheet.of(width, narrow_height=640)
    pieces = Pieces.of(record)
    steps = read_steps(record, pieces)
    timeline = Timeline()
    nodes: list[Node] = []
    for step in steps[:IN_FULL]:
        nodes.append(_scene(step, record, pieces, sheet, timeline, len(steps)))
    nodes.append(_together(steps, record, pieces, sheet, timeline))
    return sheet.film(
        record, "Writing, token by token", nodes, timeline, alt=_alt(steps, record, pieces), notes=_notes(steps, record),
        measured=True,
    )  # fmt: skip


def read_steps(record: Record, pieces: Pieces) -> list[Step]:
    """Every step of a generation record. Errors: a chunk that it needs is not there."""
    prompt = record["generation/prompt_ids"].tolist()
    part = {
        name: record[f"generation/steps/{name}"].tolist()
        for name in ("drawn_ids", "drawn_logprobs", "topk_ids", "topk_logprobs", "topk_shares", "kept", "draw")
    }
    spans = record["generation/steps/drawn_span"].tolist() if "generation/steps/drawn_span" in record else None
    seconds = record["generation/timings/steps"].tolist()
    shape, drawn = config(record), part["drawn_ids"]
    states = _track_states(record["generation/cells"])
    size = VALUE_BYTES[record.provenance.dtype]
    last = shape.kv_bytes(len(prompt) + len(drawn) - 1, bytes_per_value=size)
    options = record.provenance.sampling or {}
    steps = []
    for i, token_drawn in enumerate(drawn):
        context = (*prompt, *drawn[:i])
        listed = zip(part["topk_ids"][i], map(exp, part["topk_logprobs"][i]), part["topk_shares"][i], strict=True)
        steps.append(
            Step(
                number=i, context=context, read=len(prompt) if i == 0 else 1, drawn=token_drawn,
                p=exp(part["drawn_logprobs"][i]), logprob=part["drawn_logprobs"][i], listed=tuple(listed),
                kept=part["kept"][i], vocabulary=shape.vocab_size, draw=part["draw"][i],
                span=None if spans is None else tuple(spans[i]), seconds=seconds[i],
                cache=shape.kv_bytes(len(context), bytes_per_value=size), cache_last=last, cut=_cut(options),
                tracks=states[i],
                words={token: pieces.shown(token) for token in {*part["topk_ids"][i], token_drawn}},
            )
        )  # fmt: skip
    return steps


def _track_states(cells: Any) -> list[tuple[int, ...]]:
    """(S, L, T) states of keys and values -> by step, of each track that is there: computed, kept by all, kept by some."""
    by_step = []
    for step in cells:
        there = step[:, (step > 0).any(axis=0)]
        by_step.append(tuple(1 if 1 in track else 3 if 3 in track else 2 for track in there.T.tolist()))
    return by_step


def _cut(options: Any) -> str:
    """The options that change what is drawn from; "" for none."""
    temperature, top_k, top_p = options.get("temperature", 1.0), options.get("top_k"), options.get("top_p")
    names = ("repetition_penalty", "frequency_penalty", "presence_penalty")
    parts = [f"{name.replace('_', ' ')} {options[name]:g}" for name in names if name in options]
    biased = len(options.get("logit_bias", ()))
    parts += [f"{biased} token{'s' if biased > 1 else ''} biased"] if biased else []
    if temperature == 0:
        return ", ".join([*parts, GREEDY])
    parts += [f"temperature {temperature:g}"] if temperature != 1 else []
    parts += [f"top-k {top_k}"] if top_k is not None else []
    parts += [f"top-p {top_p:g}"] if top_p is not None and top_p < 1 else []
    parts += [f"min-p {options['min_p']:g}"] if options.get("min_p") else []
    return ", ".join(parts)


def _scene(step: Step, record: Record, pieces: Pieces, sheet: Sheet, timeline: Timeline, count: int) -> Group:
    """One step in four transitions: read, cut, draw, back."""
    number = step.number + 1
    word = step.words[step.drawn]
    phase = f"all {step.read} tokens of the prompt go through the model at once" if step.number == 0 and step.read > 1 else (
        "only the newest token goes through the model; the keys and values of the others are in its cache"
        if step.number else "the prompt goes through the model"
    )  # fmt: skip
    said = [
        (0.6, 1.9, f"Step {number} of {count}, {'prefill' if step.number == 0 else 'decode'}: {phase}."),
        (0.6, 1.6, f"{step.cut[:1].upper()}{step.cut[1:]}: {step.kept:,} of {step.vocabulary:,} tokens are left to draw from."),
        (0.8, 1.6, f"The draw u = {step.draw:.4f} lies in the part of the line that belongs to “{word}”."),
        (0.6, 1.6, f"“{word}” had a probability of {percent(step.p)}. It joins the tokens: the model reads it next."),
    ]
    if step.greedy:
        said[1] = (0.6, 1.6, f"Temperature 0: of {step.vocabulary:,} tokens only the likeliest is left.")
        said[2] = (0.0, 1.6, f"The likeliest token is “{word}”: it is taken.")
        if step.cut != GREEDY:  # penalties or biases came first
            said[1] = (0.6, 1.6, f"{step.cut[:1].upper()}{step.cut[1:]}: of {step.vocabulary:,} tokens only one is left.")
            said[2] = (0.0, 1.6, f"The {step.taken} is “{word}”: it is taken.")
    transitions = timeline.segment(f"Step {number}", *(said if step.changed else [said[0], *said[2:]]))
    read, *cuts, draw, back = transitions
    cut = cuts[0] if cuts else None
    context, slot, below = _context(step, record, pieces, sheet, back)
    nodes = list(context)
    name = model_name(record)
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
    nodes += reading(step, name, boxes[0], sheet, read)
    nodes += distribution(step, boxes[1], sheet, count_shown, read, cut, draw)
    nodes += draw_line(step, boxes[2], sheet, draw)
    nodes += _chosen(step, boxes[2], chosen_y, slot, sheet, draw, back)
    return Group(tuple(nodes), opacity=visible_during(transitions), id=f"step-{number}")


def _context(step: Step, record: Record, pieces: Pieces, sheet: Sheet, back: Transition) -> tuple[list[Node], Box, float]:
    """The tokens so far in two rows at most, the empty place of the next one, and where the rows end."""
    ids = [*step.context, step.drawn]
    high, text = (26.0, 14.0) if sheet.wide else (21.0, 12.0)
    top = sheet.top + 18
    places, hidden = flow([pieces.shown(token) for token in ids], sheet.left, top, sheet.room, high, text, rows=2)
    told = f"{len(step.context)} token{'s' if len(step.context) > 1 else ''} so far"
    nodes: list[Node] = [Text(sheet.left, sheet.top + 10, told, sheet.small, fill=palette.QUIET)]
    nodes += _hidden(hidden, sheet.left, top, high, text)
    roles, shows = _roles(record, len(ids))
    nodes += token_boxes(pieces, ids[:-1], places[:-1], text, roles=roles[:-1], chunks=shows[:-1])
    slot = places[-1]
    assert slot is not None
    there = animate(1, (back, 0))
    nodes.append(Rect(slot.x, slot.y, slot.w, slot.h, 6, palette.PAPER, palette.OUTPUT, dash=(4.0, 3.0)))
    mark = Text(slot.middle, centred(slot.y, slot.h, text), "?", text, 400, "mono", "middle", palette.OUTPUT, there)
    return [*nodes, mark], slot, slot.bottom


def _hidden(count: int, x: float, y: float, high: float, text: float) -> list[Node]:
    return [Text(x, centred(y, high, text), earlier(count), text, fill=palette.QUIET)] if count else []


def _roles(record: Record, count: int) -> tuple[list[str], list[Shows]]:
    """Role and source of the first tokens of prompt and answer."""
    prompt = len(record["generation/prompt_ids"])
    roles = ["input" if i < prompt else "output" for i in range(count)]
    shows = [
        given("generation/prompt_ids", i) if i < prompt else Shows("generation/steps/drawn_ids", (i - prompt,))
        for i in range(count)
    ]
    return roles, shows


def _chosen(step: Step, box: Box, y: float, slot: Box, sheet: Sheet, draw: Transition, back: Transition) -> list[Node]:
    """The drawn token, its probability, and its way back to the others."""
    size, small = (14.0, 12.0) if sheet.wide else (12.0, 11.0)
    word = step.words[step.drawn]
    high = slot.h
    wide = min(token_width(word, size), 130.0)
    left = box.middle - wide / 2
    if step.greedy:
        y = box.y + 84
    told = f"probability {percent(step.p)}, its logarithm {step.logprob:.2f}".replace("-", "−")
    there = animate(0, (draw, 1, "settle"))
    logprob = step.shows("drawn_logprobs")
    p = Text(box.middle, y + high + 1.5 * small, told, small, anchor="middle", opacity=there, shows=logprob)
    edge = sheet.right + (10 if sheet.wide else 6)
    turn, end = slot.bottom + (12 if sheet.wide else 5), slot.bottom + 1
    way = (("M", left + wide, y + high / 2), ("L", edge, y + high / 2), ("L", edge, turn),
           ("L", slot.middle, turn), ("L", slot.middle, end + 3))  # fmt: skip
    tip = (("M", slot.middle, end), ("L", slot.middle - 4.5, end + 6), ("L", slot.middle + 4.5, end + 6), ("Z",))
    fed = animate(0, (back, 1))
    about: dict[str, Any] = {"label": f"token {step.drawn}", "shows": step.shows("drawn_ids")}
    nodes: list[Node] = [
        p,
        Path(way, stroke=palette.OUTPUT, stroke_width=1.5, dash=(5.0, 3.0), opacity=fed),
        Path(tip, fill=palette.OUTPUT, opacity=fed),
        Rect(left, y, wide, high, 6, palette.PAPER, palette.OUTPUT, dash=(4.0, 3.0), opacity=fed),
        token(word, animate(left, (back, slot.x, "move")), animate(y, (back, slot.y, "move")), high, size, role="output", w=wide,
              opacity=there, **about),
    ]  # fmt: skip
    return nodes


def _together(steps: list[Step], record: Record, pieces: Pieces, sheet: Sheet, timeline: Timeline) -> Group:
    """Every token, and three numbers of every step."""
    ids = [*steps[0].context, *(step.drawn for step in steps)]
    prompt, shown = len(steps[0].context), min(IN_FULL, len(steps))
    jumps = _jumps(len(steps) - shown)
    read, written = len(steps[0].context), len(steps)
    total = sum(step.seconds for step in steps)
    saying = (
        f"All {written} steps: {read} tokens read, {written} written in {in_seconds(total)} (measured). "
        f"An evicting cache would hold {in_bytes(steps[-1].cache)} of keys and values at the end."
    )
    transitions = timeline.segment("All steps", *((0.25, 0.05, saying) for _ in jumps), (0.0, 4.0, saying))
    when: list[Any] = [1.0] * shown
    for transition, size in zip(transitions, jumps, strict=False):
        when += [animate(0, (transition, 1))] * size
    high, text = (26.0, 14.0) if sheet.wide else (21.0, 12.0)
    top = sheet.top + 18
    rows = 4 if sheet.wide else 6
    places, hidden = flow([pieces.shown(token_id) for token_id in ids], sheet.left, top, sheet.room, high, text, rows=rows)
    roles, shows = _roles(record, len(ids))
    nodes: list[Node] = [
        Text(sheet.left, sheet.top + 10, f"{read} tokens read, {written} written", sheet.small, fill=palette.QUIET),
        *_hidden(hidden, sheet.left, top, high, text), *_allocated(record, sheet),
        *token_boxes(pieces, ids, places, text, roles=roles, chunks=shows, opacities=[1.0] * prompt + when),
    ]
    below = max(box.bottom for box in places if box is not None) + 14
    charts: list[dict[str, Any]] = [
        {"values": [step.p for step in steps], "title": "probability of the token", "words": percent,
         "shows": lambda i: Shows("generation/steps/drawn_logprobs", (i,)), "fills": [palette.OUTPUT] * written},
        {"values": [step.seconds for step in steps], "title": "time (first: prefill)", "words": in_seconds,
         "shows": lambda i: Shows("generation/timings/steps", (i,), None, "measured"),
         "fills": [palette.INPUT] + [palette.OUTPUT] * (written - 1)},
        {"values": [float(step.cache) for step in steps], "title": "evicting cache would hold", "words": in_bytes,
         "shows": lambda i: Shows("provenance", (), i), "fills": [palette.TRACK] * written},
    ]  # fmt: skip
    for i, chart in enumerate(charts):
        box = _chart_box(i, below, sheet)
        nodes.append(panel(box))
        inner = Box(box.x + 12, box.y + 8, box.w - 24, box.h - 14)
        nodes += columns(box=inner, size=sheet.small, opacities=when, **chart)
    return Group(tuple(nodes), opacity=animate(0, (transitions[0], 1)), id="all-steps")


def _allocated(record: Record, sheet: Sheet) -> list[Node]:
    """The runner's bytes of the sequence, where the record has them."""
    if "generation/cache_bytes" not in record:
        return []
    told = f"the runner's cache: {in_bytes(int(record['generation/cache_bytes'][0]))}"
    shows = Shows("generation/cache_bytes", (0,), None, "measured")
    return [measured(Text(sheet.right, sheet.top + 10, told, sheet.small, fill=palette.QUIET, anchor="end", shows=shows))]


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


def _alt(steps: list[Step], record: Record, pieces: Pieces) -> str:
    prompt, answer = end_of(pieces.sentence(steps[0].context)), start_of(pieces.sentence([step.drawn for step in steps]))
    parts = [f"{model_name(record)} continues “{prompt}” with “{answer}”, token by token."]
    for step in steps[:IN_FULL]:
        top = ", ".join(f"“{pieces.shown(token)}” {percent(p)}" for token, p, _ in step.listed[:3])
        how = f"The {step.taken} is taken" if step.greedy else f"The draw {step.draw:.4f} falls on “{step.words[step.drawn]}”"
        parts.append(f"Step {step.number + 1}: likeliest {top}. {how} ({percent(step.p)}), {in_seconds(step.seconds)}.")
    parts.append(f"After {len(steps)} steps an evicting cache would hold {in_bytes(steps[-1].cache)}.")
    return " ".join(parts)


def _notes(steps: list[Step], record: Record) -> list[str]:
    shape, listed = config(record), len(steps[0].listed)
    size = VALUE_BYTES[record.provenance.dtype]
    notes = [
        f"The record lists the {listed} likeliest of {shape.vocab_size:,} tokens a step; the bars show some of them.",
        f"An evicting cache's bytes follow from the shape: two vectors of {shape.d_model} numbers of {size} bytes in each of "
        f"{shape.n_layers} blocks for each track; where a band ends, no later query can read what lies before it. The runner "
        "keeps every track, so that a beginning can be used again.",
        "The model's box stands for all its blocks: the figure xray opens it.",
    ]
    if not steps[0].greedy:
        notes.insert(
            1, "On the line from 0 to 1 tokens lie side by side in the order of their ids, each as wide as its probability; "
            "where the record does not list all that were left, only the drawn token's place on it is known.",
        )  # fmt: skip
    if len(steps) > IN_FULL:
        notes.append(f"The first {IN_FULL} of {len(steps)} steps are shown one by one; the others appear together at the end.")
    return notes
