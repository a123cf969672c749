"""`priming`: one question after no, one and some examples, side by side: what is read, and how likely the right answer is.

`priming_panel` draws one number of examples, `priming_rows` its prompt as text.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import exp

from pellucid.draw.components.marks import Box
from pellucid.draw.components.scales import LengthScale
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate
from pellucid.draw.figures.priming_panel import (
    BLOCKS_SHOWN,
    PANEL_GAP,
    PanelPlan,
    PanelTimes,
    chance,
    examples_words,
    panel_room,
    parts_shown,
    priming_panel,
    shown_answer,
)
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import text_width
from pellucid.draw.film.nodes import Node, Path, Rect, Shows, Text
from pellucid.draw.views.labels import percent, start_of, three_digits
from pellucid.draw.views.model_parts import block_name
from pellucid.draw.views.priming import PrimedPrompt, PrimingView
from pellucid.languages import counted, joined, listed, tr


PANELS = 3  # numbers of examples that are drawn in full
ONE_BY_ONE = 8  # groups in which the answers' tokens appear
STRIP = 66.0  # height of the bars of all numbers of examples, where not all have a panel


def priming(view: PrimingView, *, width: float = 960) -> Film:
    """The film of a question with and without examples. Raises PellucidError for a picture less than 240 wide."""
    shown, strip = shown_prompts(view), len(view.prompts) > PANELS
    sheet = Sheet.of(width)
    if not sheet.wide:
        plan = _plan(view, sheet, strip=strip)
        high = 40 + 46 + sum(plan.high(prompt) + PANEL_GAP for prompt in shown) + (STRIP if strip else -6.0)
        sheet = Sheet.of(width, narrow_height=round(high))
    plan, timeline = _plan(view, sheet, strip=strip), Timeline()
    times = _on_timeline(view, shown, plan, timeline)
    (whole,) = timeline.segment(tr("Did examples help?"), (0.0, 5.0, verdict(view)))
    nodes, x, y = list[Node](), sheet.left, sheet.top
    w = panel_room(plan) + 2 * sheet.pad / 3
    for prompt, when in zip(shown, times, strict=True):
        nodes += priming_panel(view, prompt, plan, Box(x, y, w, plan.high(prompt)), when)
        x, y = (x + w + PANEL_GAP, y) if sheet.wide else (x, y + plan.high(prompt) + PANEL_GAP)
    if strip:
        nodes += _strip(view, Box(sheet.left, sheet.bottom - STRIP, sheet.room, STRIP - 4), sheet, whole)
    title = tr("One question, with and without examples")
    return sheet.film(view.model, title, nodes, timeline, alt=_alt(view), notes=_notes(view, shown))


def shown_prompts(view: PrimingView) -> list[PrimedPrompt]:
    """The prompts with a panel: all, or the two with the fewest examples and the one with the most."""
    if len(view.prompts) <= PANELS:
        return list(view.prompts)
    return [*view.prompts[: PANELS - 1], view.prompts[-1]]


def _plan(view: PrimingView, sheet: Sheet, *, strip: bool) -> PanelPlan:
    """The panels' layout: on a screen the map takes what room is left, on a phone the sheet is as high as it must be."""
    several = [prompt for prompt in view.prompts if len(parts_shown(view, prompt)) > 1]
    shares = [share for prompt in several for block in prompt.shares for share in block]
    rows, likely = (5, 4) if not sheet.wide else (5, 3) if strip else (7, 4)
    plan = PanelPlan(
        sheet=sheet, across=min(PANELS, len(view.prompts)), rows=rows, row=17.0 if sheet.wide else 16.0, likely=likely,
        map=0.0 if sheet.wide else 44.0,
        best=max(prompt.p for prompt in view.prompts),
        top=max(p for prompt in view.prompts for _, p in prompt.likeliest),
        darkest=max(shares, default=0.0) or 1.0,
    )  # fmt: skip
    if not sheet.wide:
        return plan
    room = sheet.bottom - 4 - sheet.top - (STRIP + PANEL_GAP / 2 if strip else 0.0)
    return replace(plan, map=room - plan.high(view.prompts[-1]))


def _on_timeline(
    view: PrimingView, shown: Sequence[PrimedPrompt], plan: PanelPlan, timeline: Timeline
) -> list[PanelTimes]:
    """One column after the other, then the answers, token by token."""
    columns = [
        timeline.segment(
            tr("With {examples}", examples=examples_words(prompt.shots)),
            (1.0, 1.2, _read_words(view, prompt)),
            (0.4, 2.2, _said_words(view, prompt)),
            (0.4, 2.2, _attention_words(view, prompt)),
        )
        for prompt in shown
    ]
    count = min(max([1, *(shown_answer(view, prompt, plan) for prompt in shown)]), ONE_BY_ONE)
    pace = max(5.0, min(9.0, count * 1.2)) / count
    saying = tr("Each prompt is answered at temperature 0: the likeliest token, then the next one after it.")
    writes = timeline.segment(tr("The answers"), *((0.3 * pace, 0.7 * pace, saying) for _ in range(count)))
    return [PanelTimes(read=read, say=say, attend=attend, write=writes) for read, say, attend in columns]


def _strip(view: PrimingView, box: Box, sheet: Sheet, whole: Transition) -> list[Node]:
    """The right answer's probability by number of examples, upright bars of all prompts."""
    small, there = sheet.small, animate(0, (whole, 1))
    best = max(prompt.p for prompt in view.prompts)
    most = tr("at most {share}", share=chance(best))
    title = tr("right answer by number of examples") if sheet.wide else tr("right answer by examples")
    top, low = box.y + 1.6 * small, box.bottom - 1.4 * small
    step = box.w / len(view.prompts)
    heights = LengthScale(low - top, best)
    labels = [f"{prompt.shots}" for prompt in view.prompts]
    every = max(1, -int(-(max(text_width(label, small) for label in labels) + 4) // step))
    nodes: list[Node] = [
        Text(box.x, box.y + small, title, small, 600, opacity=there),
        Text(box.right, box.y + small, most, small, anchor="end", fill=palette.QUIET, opacity=there),
        Path((("M", box.x, low), ("L", box.right, low)), stroke=palette.QUIET, opacity=there),
    ]
    for i, prompt in enumerate(view.prompts):
        high, thick = heights.length(prompt.p), min(0.6 * step, 26.0)
        x = box.x + (i + 0.5) * step
        label = tr("{examples}: {share}", examples=examples_words(prompt.shots), share=chance(prompt.p))
        nodes.append(
            Rect(x - thick / 2, low - high, thick, high, 1, palette.OUTPUT, opacity=there, label=label,
                 shows=Shows("priming/logprobs", (prompt.number,)))
        )  # fmt: skip
        if i % every == 0:
            nodes.append(
                Text(x, low + 1.15 * small, labels[i], small, anchor="middle", fill=palette.QUIET, opacity=there,
                     shows=Shows("priming/shots", (prompt.number,), None, "given"))
            )  # fmt: skip
    return nodes


def _read_words(view: PrimingView, prompt: PrimedPrompt) -> str:
    count = counted(len(prompt.ids), "token")
    if prompt.shots:
        return tr(
            "With {examples} the prompt has {tokens}. No weight changes: the model only reads them.",
            examples=examples_words(prompt.shots), tokens=count,
        )  # fmt: skip
    if view.has_task:
        return tr("Without an example the model reads the task and the question: {tokens}.", tokens=count)
    return tr("Without an example the model reads the question alone: {tokens}.", tokens=count)


def _said_words(view: PrimingView, prompt: PrimedPrompt) -> str:
    answer, right = _answer_words(view), chance(prompt.p)
    ident, p = prompt.likeliest[0]
    word = view.pieces.shown(ident)
    if ident == view.answer[0]:
        return tr(
            "The right answer “{answer}” has {right}; its first token “{word}” is the likeliest, with {share}.",
            answer=answer, right=right, word=word, share=chance(p),
        )  # fmt: skip
    return tr(
        "The right answer “{answer}” has {right}; the likeliest first token is “{word}”, with {share}.",
        answer=answer, right=right, word=word, share=chance(p),
    )  # fmt: skip


def _attention_words(view: PrimingView, prompt: PrimedPrompt) -> str:
    if not prompt.shots:
        return tr("What the answer's place reads, by attention: a row for each block. Here there is no example to read.")
    examples = [(sum(block[1:-1]), number) for number, block in enumerate(prompt.shares)]
    share, block = max(examples, key=lambda pair: (pair[0], -pair[1]))
    part = max(range(1, prompt.shots + 1), key=lambda one: prompt.shares[block][one])
    most, where = percent(min(1.0, share)), block_name(block)
    if prompt.shots == 1:
        return tr(
            "By attention, the answer's place reads most from the example in {block}: {share}, the mean of its heads.",
            block=where, share=most,
        )  # fmt: skip
    return tr(
        "By attention, the answer's place reads most from the examples in {block}: {share}, the mean of its heads; there most "
        "from example {number}.",
        block=where, share=most, number=part,
    )  # fmt: skip


def verdict(view: PrimingView) -> str:
    """Whether the right answer is likelier with the most examples than with the fewest, and what the model then says."""
    first, last, answer = view.prompts[0], view.prompts[-1], _answer_words(view)
    many, few = examples_words(last.shots), examples_words(first.shots)
    if first is last:
        return tr(
            "With {examples} the right answer “{answer}” has {share}. There is nothing to compare it with.",
            examples=many, answer=answer, share=chance(last.p),
        )  # fmt: skip
    p, q, gain = chance(last.p), chance(first.p), last.logprob - first.logprob
    if gain <= 0:
        return tr(
            "Examples did not help this model: with {many} the right answer “{answer}” has {share}, with {few} {before}.",
            many=many, answer=answer, share=p, few=few, before=q,
        )  # fmt: skip
    factor = three_digits(exp(min(gain, 700.0)))
    if view.is_right(last):
        return tr(
            "With {many} the model says “{answer}”, which is right: {factor} times as likely as with {few} ({share}, not "
            "{before}).",
            many=many, answer=answer, factor=factor, few=few, share=p, before=q,
        )  # fmt: skip
    return tr(
        "With {many} the right answer “{answer}” is {factor} times as likely as with {few} ({share}, not {before}), but the "
        "model says something else.",
        many=many, answer=answer, factor=factor, few=few, share=p, before=q,
    )  # fmt: skip


def _answer_words(view: PrimingView) -> str:
    return _text(view, view.answer, 40)


def _text(view: PrimingView, ids: Sequence[int], most: int) -> str:
    """Tokens as text, in one line; where that is blank, as pieces."""
    return start_of(view.pieces.sentence(ids).strip(), most) or "".join(map(view.pieces.shown, ids))[:most]


def _alt(view: PrimingView) -> str:
    query = view.prompts[0]
    question = _text(view, [query.ids[place] for place in query.tokens_of(query.shots + 1)], 80)
    asked = tr("{model} is asked “{question}” after different numbers of examples.", model=view.model.name, question=question)
    return joined([asked, *(_one_alt(view, prompt) for prompt in shown_prompts(view)), verdict(view)])


def _one_alt(view: PrimingView, prompt: PrimedPrompt) -> str:
    says = _text(view, [ident for ident, _ in prompt.greedy], 60)
    shares = [sum(block[1:-1]) for block in prompt.shares]
    return tr(
        "With {examples} ({tokens}): the right answer has {share}, the model says “{says}”, and {reads} of the attention of "
        "the answer's place goes to examples, over all heads and blocks.",
        examples=examples_words(prompt.shots), tokens=counted(len(prompt.ids), "token"), share=chance(prompt.p), says=says,
        reads=percent(min(1.0, sum(shares) / len(shares))),
    )  # fmt: skip


def _notes(view: PrimingView, shown: Sequence[PrimedPrompt]) -> list[str]:
    best = chance(max(prompt.p for prompt in view.prompts))
    notes = [
        tr(
            "Attention is averaged over the heads of each block and added over the tokens of each part: what is read, not what "
            "it is used for. A large share is no proof that an example causes the answer."
        ),
        tr(
            "The probability of the right answer is the product of those of its tokens, by the model itself at temperature 1. "
            "Its bars share one scale, from 0 to {best}; those of first tokens have another.",
            best=best,
        ),
        tr(
            "Inputs are light green, outputs of examples darker green, what the format puts between them grey; the answer's "
            "place is purple."
        ),
        tr("Answers are as long as the right one; nothing ends them earlier."),
    ]
    if len(view.prompts) > len(shown):
        numbers = listed(str(prompt.shots) for prompt in view.prompts)
        notes.append(
            tr("The record has the numbers of examples {numbers}; three of them are drawn in full.", numbers=numbers)
        )
    if view.model.config.n_layers > BLOCKS_SHOWN:
        count = view.model.config.n_layers
        notes.append(
            tr(
                "On the map {rows} rows stand for {blocks} blocks, each with the mean of its blocks.", rows=BLOCKS_SHOWN,
                blocks=count,
            )
        )  # fmt: skip
    return notes
