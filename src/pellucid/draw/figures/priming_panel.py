"""A panel of `priming`: a prompt with some number of examples, the right answer's probability, likeliest tokens, attention."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from pellucid.draw.components.marks import Box, paragraph, sequential, strip
from pellucid.draw.components.parts import centred, token, token_width
from pellucid.draw.components.scales import LengthScale
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.figures.priming_rows import part_row, shown_parts
from pellucid.draw.figures.tokens_panels import LIKELY, panel
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Group, Image, Node, Number, Rect, Shows, Text
from pellucid.draw.views.labels import percent, three_digits
from pellucid.draw.views.model_parts import block_name
from pellucid.draw.views.priming import PrimedPrompt, PrimingView
from pellucid.languages import counted, listed, tr


ROW_GAP, PANEL_GAP = 3.0, 14.0
BAR = 4.1  # of the small text's size: the height of the right answer's line, its bar and the bar's scale
BLOCKS_SHOWN = 24  # rows of the attention map; of more blocks, several share a row


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelPlan:
    """How the panels of a sheet are laid out, and the scales that they share.

    Attributes:
        sheet: in whose units. across: panels side by side on a screen. rows: of the prompt, at most. row: height of one.
        likely: candidates listed. map: height of the map.
        best: the largest probability of the right answer. top: that of any first token. darkest: the largest attention share.
    """

    sheet: Sheet
    across: int
    rows: int
    row: float
    likely: int
    map: float
    best: float
    top: float
    darkest: float

    @property
    def label(self) -> float:
        """The width of the rows' names."""
        return 30.0 if self.sheet.wide else 28.0

    def rows_of(self, prompt: PrimedPrompt) -> int:
        """The rows of a prompt: those it has on a phone; on a screen as many as all, so that what is below stands level."""
        return self.rows if self.sheet.wide else len(shown_parts(prompt, self.rows))

    def high(self, prompt: PrimedPrompt) -> float:
        """The height of a panel."""
        size, small = self.sheet.size, self.sheet.small
        above = 2.0 * size + (self.rows_of(prompt) + 1) * (self.row + ROW_GAP) + 0.4 * small
        bar = BAR * small
        likely = 1.6 * small + self.likely * 1.45 * small
        heat = 1.9 * small + self.map + 1.6 * small
        return above + bar + (likely + 0.6 * small + heat if self.sheet.wide else max(likely, heat)) + 0.5 * small


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelTimes:
    """When a panel's prompt is read, its numbers appear, its attention does, and its answer is written, token by token."""

    read: Transition
    say: Transition
    attend: Transition
    write: Sequence[Transition]


def examples_words(count: int) -> str:
    """A number of examples: "no example", "1 example", "8 examples"."""
    return counted(count, "example") if count else tr("no example")


def chance(p: float) -> str:
    """A probability: in percent, below a hundredth of that as a power of ten."""
    return percent(p) if p >= 0.00005 or p == 0 else three_digits(p)


def parts_shown(view: PrimingView, prompt: PrimedPrompt) -> list[int]:
    """The columns of the attention map: the task, where there is one, the examples, the query."""
    return list(range(0 if view.has_task else 1, prompt.shots + 2))


def priming_panel(view: PrimingView, prompt: PrimedPrompt, plan: PanelPlan, box: Box, times: PanelTimes) -> list[Node]:
    """The panel of one prompt in a box `plan.high(prompt)` high."""
    sheet, pad = plan.sheet, plan.sheet.pad / 3
    inner = Box(box.x + pad, box.y, box.w - 2 * pad, box.h)
    there = animate(0, (times.read, 1)) if times.read.start else 1.0
    frame = panel(box)
    nodes: list[Node] = [
        Rect(frame.x, frame.y, frame.w, frame.h, 8, palette.PANEL, opacity=there),
        *_heading(prompt, inner, sheet, there),
    ]
    y = box.y + 2.0 * sheet.size
    nodes += _prompt(view, prompt, plan, Box(inner.x, y, inner.w, 0), times)
    y += plan.rows_of(prompt) * (plan.row + ROW_GAP)
    nodes += _written(view, prompt, plan, Box(inner.x, y, inner.w, plan.row), times)
    y += plan.row + ROW_GAP + 0.4 * sheet.small
    nodes += _right_answer(view, prompt, plan, Box(inner.x, y, inner.w, 0), times.say)
    y += BAR * sheet.small
    if sheet.wide:
        nodes += _likeliest(view, prompt, plan, Box(inner.x, y, inner.w, 0), times.say)
        y += 1.6 * sheet.small + plan.likely * 1.45 * sheet.small + 0.6 * sheet.small
        return nodes + _attention(view, prompt, plan, Box(inner.x, y, inner.w, 0), times.attend)
    left = 0.44 * inner.w
    nodes += _likeliest(view, prompt, plan, Box(inner.x, y, left - 10, 0), times.say)
    return nodes + _attention(view, prompt, plan, Box(inner.x + left, y, inner.w - left, 0), times.attend)


def _heading(prompt: PrimedPrompt, box: Box, sheet: Sheet, there: Number) -> list[Node]:
    base = box.y + 1.4 * sheet.size
    shows = Shows("priming/shots", (prompt.number,), None, "given")
    return [
        Text(box.x, base, examples_words(prompt.shots), sheet.size, 600, opacity=there, shows=shows),
        Text(box.right, base, counted(len(prompt.ids), "token"), sheet.small, anchor="end", fill=palette.QUIET, opacity=there,
             shows=Shows("priming/ids", (), None, "given")),
    ]  # fmt: skip


def _prompt(view: PrimingView, prompt: PrimedPrompt, plan: PanelPlan, box: Box, times: PanelTimes) -> list[Node]:
    """The prompt's parts, a row each, which appear one after the other while it is read."""
    small, parts = plan.sheet.small, shown_parts(prompt, plan.rows)
    nodes, read = list[Node](), times.read
    for row, part in enumerate(parts):
        at = read.start + (read.settled - read.start) * row / len(parts)
        there: Number = Keyframes((0.0, 0.0), (round(at, 4), 1.0)) if at else 1.0
        y = box.y + row * (plan.row + ROW_GAP)
        base = centred(y, plan.row, small)
        if part is None:
            hidden = prompt.shots - sum(1 for one in parts if one not in (None, 0, prompt.shots + 1))
            words = tr("… {examples} …", examples=counted(hidden, "more example"))
            nodes.append(Text(box.x + plan.label, base, words, small, fill=palette.QUIET, opacity=there))
            continue
        nodes.append(Text(box.x, base, _part_name(prompt, part), small, fill=palette.QUIET, opacity=there))
        place = Box(box.x + plan.label, y, box.w - plan.label, plan.row)
        nodes += part_row(prompt, part, view.pieces, place, small, opacity=there)
    return nodes


def _part_name(prompt: PrimedPrompt, part: int) -> str:
    """The short name of a part of a prompt: the number of an example."""
    return tr("task") if part == 0 else tr("ask") if part > prompt.shots else f"{part}"


def _more(count: int) -> str:
    """The words in the place of tokens that have no room."""
    return tr("… {count} more", count=count)


def _written(view: PrimingView, prompt: PrimedPrompt, plan: PanelPlan, box: Box, times: PanelTimes) -> list[Node]:
    """The answer at temperature 0, whose tokens appear one after the other; as many as have room."""
    small, room, x = plan.sheet.small, box.w - plan.label, box.x + plan.label
    row = len(shown_parts(prompt, plan.rows))
    y = box.y - (plan.rows_of(prompt) - row) * (plan.row + ROW_GAP)  # below the last row of the prompt
    nodes = list[Node]()
    first = times.write[0]
    said = animate(0, (first, 1))
    nodes.append(Text(box.x, centred(y, plan.row, small), tr("says"), small, fill=palette.QUIET, opacity=said))
    count = shown_answer(view, prompt, plan)
    for i, (ident, p) in enumerate(prompt.greedy[:count]):
        word = view.pieces.shown(ident)
        w = min(token_width(word, small), room / 3)
        when = times.write[min(i, len(times.write) - 1)]
        nodes.append(
            token(word, x, y, plan.row, small, role="output", w=w, opacity=animate(0, (when, 1)),
                  label=f"{view.pieces.described(ident)}: {chance(p)}", shows=prompt.shows("greedy_ids", i))
        )  # fmt: skip
        x += w + 3
    if count < len(prompt.greedy):
        more, when = _more(len(prompt.greedy) - count), times.write[-1]
        nodes.append(Text(x + 2, centred(y, plan.row, small), more, small, fill=palette.QUIET, opacity=animate(0, (when, 1))))
    return nodes


def shown_answer(view: PrimingView, prompt: PrimedPrompt, plan: PanelPlan) -> int:
    """How many tokens of the likeliest answer have room in its row."""
    small = plan.sheet.small
    room = panel_room(plan) - plan.label
    widths = [min(token_width(view.pieces.shown(ident), small), room / 3) + 3 for ident, _ in prompt.greedy]
    if sum(widths) <= room:
        return len(widths)
    room -= text_width(_more(len(widths)), small) + 5
    count = 0
    while count < len(widths) and sum(widths[: count + 1]) <= room:
        count += 1
    return count


def panel_room(plan: PanelPlan) -> float:
    """The width inside a panel: of some side by side, or of one below the other."""
    sheet, across = plan.sheet, plan.across if plan.sheet.wide else 1
    return (sheet.room - (across - 1) * PANEL_GAP) / across - 2 * sheet.pad / 3


def _right_answer(view: PrimingView, prompt: PrimedPrompt, plan: PanelPlan, box: Box, say: Transition) -> list[Node]:
    """The probability of the right answer as a bar; all panels have one scale."""
    small, there = plan.sheet.small, animate(0, (say, 1))
    shows = Shows("priming/logprobs", (prompt.number,))
    value = chance(prompt.p)
    room = box.w - text_width(value, small, "sans", 600) - small
    answer = view.pieces.sentence(view.answer).strip() or view.pieces.shown(view.answer[0])
    words = fit(tr("right answer “{answer}”", answer=" ".join(answer.split())), room, small)
    long = LengthScale(box.w, plan.best).length(prompt.p)
    label = tr("right answer: {share}, its logarithm {logprob:.2f}", share=value, logprob=prompt.logprob)
    y = box.y + 1.5 * small
    return [
        Text(box.x, box.y + small, words, small, opacity=there, shows=Shows("priming/answer_ids", (), None, "given")),
        Text(box.right, box.y + small, value, small, 600, anchor="end", opacity=there, shows=shows),
        Rect(box.x, y, box.w, 0.7 * small, 2, palette.PAPER, palette.LINE, opacity=there),
        Rect(box.x, y, animate(0.0, (say, long, "move")), 0.7 * small, 2, palette.OUTPUT, opacity=there, label=label,
             shows=shows),
        Text(box.x, y + 1.65 * small, "0", small, fill=palette.QUIET, opacity=there),
        Text(box.right, y + 1.65 * small, chance(plan.best), small, anchor="end", fill=palette.QUIET, opacity=there),
    ]  # fmt: skip


def _likeliest(view: PrimingView, prompt: PrimedPrompt, plan: PanelPlan, box: Box, say: Transition) -> list[Node]:
    """The likeliest first tokens of an answer, the right one in the output's colour."""
    small, there = plan.sheet.small, animate(0, (say, 1))
    title = tr("likeliest first tokens of an answer") if plan.sheet.wide else tr("first tokens")
    nodes: list[Node] = [Text(box.x, box.y + small, title, small, fill=palette.QUIET, opacity=there)]
    word, number = 0.36 * box.w, 4.0 * small
    bars = LengthScale(box.w - word - number, plan.top)
    for i, (ident, p) in enumerate(prompt.likeliest[: plan.likely]):
        y = box.y + 1.6 * small + i * 1.45 * small
        right = ident == view.answer[0]
        label = f"{view.pieces.described(ident)}: {chance(p)}"
        if right:
            label = tr("{token}: {share}, the right first token", token=view.pieces.described(ident), share=chance(p))
        base = centred(y, 1.3 * small, small)
        nodes += [
            Text(box.x, base, fit(view.pieces.shown(ident), word - 6, small, "mono"), small, 600 if right else 400, "mono",
                 fill=palette.OUTPUT if right else palette.INK, opacity=there, label=label, shows=prompt.shows("topk_ids", i)),
            Rect(box.x + word, y + 0.25 * small, bars.length(p), 0.8 * small, 2, palette.OUTPUT if right else LIKELY,
                 opacity=there, label=label, shows=prompt.shows("topk_logprobs", i)),
            Text(box.right, base, percent(p), small, anchor="end", fill=palette.QUIET, opacity=there,
                 shows=prompt.shows("topk_logprobs", i)),
        ]  # fmt: skip
    return nodes


def map_rows(blocks: int) -> list[range]:
    """The blocks of each row of the map, the first block's row first."""
    rows = min(blocks, BLOCKS_SHOWN)
    return [range(blocks * i // rows, blocks * (i + 1) // rows) for i in range(rows)]


def _attention(view: PrimingView, prompt: PrimedPrompt, plan: PanelPlan, box: Box, attend: Transition) -> list[Node]:
    """What the answer's place reads from each part, a row a block, the first at the bottom."""
    small, there = plan.sheet.small, animate(0, (attend, 1))
    rows, parts = map_rows(len(prompt.shares)), parts_shown(view, prompt)
    wide = plan.sheet.wide
    if len(parts) == 1:
        words = tr("attention: all of it goes to the question itself")
        lines, _ = paragraph(words, box.x, box.y, box.w, small, fill=palette.QUIET, opacity=there)
        return lines
    most = percent(plan.darkest)
    scale = Box(box.right - text_width(most, small) - 4 - 40, box.y + 0.3 * small, 40, 0.65 * small)
    title = fit(tr("attention to each part") if wide else tr("attention"), scale.x - box.x - 6, small)
    nodes: list[Node] = [
        Text(box.x, box.y + small, title, small, fill=palette.QUIET, opacity=there),
        Group(tuple(strip("sequential", scale)), opacity=there),
        Text(box.right, box.y + small, most, small, anchor="end", fill=palette.QUIET, opacity=there,
             label=tr("the darkest: {share} of the attention, averaged over the heads", share=most)),
    ]  # fmt: skip
    label = 58.0 if wide else 28.0
    area = Box(box.x + label, box.y + 1.9 * small, box.w - label, plan.map)
    values = np.array([np.mean([prompt.shares[block] for block in blocks], axis=0)[parts] for blocks in rows])[::-1]
    ends = [(area.bottom - 0.2 * small, 0)]
    if len(prompt.shares) > 1 and plan.map >= 2.2 * small:
        ends.append((area.y + 0.85 * small, len(prompt.shares) - 1))
    for base, block in ends:
        name = block_name(block) if wide else tr("b {number}", number=block + 1)
        nodes.append(Text(box.x, base, name, small, fill=palette.QUIET, opacity=there))
    for place, column in _columns(parts, area, plan).items():
        first, last = column
        cells = np.minimum(values[:, first : last + 1], plan.darkest)
        nodes.append(
            Image(sequential(cells, 0.0, plan.darkest), "sequential", place.x, area.y, place.w, area.h, opacity=there)
        )
        nodes.append(Rect(place.x, area.y, place.w, area.h, 0, None, palette.LINE, opacity=there))
        nodes += _column_names(prompt, parts, first, last, place, area.bottom + 1.15 * small, small, there)
    high = area.h / len(rows)
    for row, blocks in enumerate(rows):  # an area for each row, which answers to hover
        words = "\n".join(_row_label(prompt, parts, block) for block in blocks)
        nodes.append(
            Rect(area.x, area.bottom - (row + 1) * high, area.w, high, opacity=there, label=words,
                 shows=Shows(f"priming/attention/{blocks[0]}"))
        )  # fmt: skip
    return nodes


def _columns(parts: Sequence[int], area: Box, plan: PanelPlan) -> dict[Box, tuple[int, int]]:
    """The places of task, examples and query on the map, with the first and the last of their columns."""
    end = 36.0 if plan.sheet.wide else 30.0
    last, task, gap = len(parts) - 1, parts[0] == 0, 4.0
    examples = last - task
    if not examples:
        each = (area.w - gap * task) / (1 + task)
        found = {Box(area.x, area.y, each, area.h): (0, 0)} if task else {}
        return found | {Box(area.right - each, area.y, each, area.h): (last, last)}
    left = area.x + (end + gap if task else 0.0)
    found = {Box(area.x, area.y, end, area.h): (0, 0)} if task else {}
    found[Box(left, area.y, area.right - end - gap - left, area.h)] = (int(task), last - 1)
    return found | {Box(area.right - end, area.y, end, area.h): (last, last)}


def _column_names(
    prompt: PrimedPrompt, parts: Sequence[int], first: int, last: int, place: Box, y: float, size: float, there: Number
) -> list[Node]:
    """Below the map: "task", "ask", and the numbers of as many examples as have room."""
    names = [_part_name(prompt, part) for part in parts[first : last + 1]]
    step = place.w / len(names)
    widest = max(text_width(name, size) for name in names) + 5
    every = max(1, ceil(widest / step))
    nodes = list[Node]()
    for i, name in enumerate(names):
        shown = i == len(names) - 1 or (i % every == 0 and (i == 0 or (len(names) - 1 - i) * step >= widest))
        if shown and not (i == 0 and len(names) > 1 and step * (len(names) - 1) < widest):
            nodes.append(Text(place.x + (i + 0.5) * step, y, name, size, anchor="middle", fill=palette.QUIET, opacity=there))
    return nodes


def _row_label(prompt: PrimedPrompt, parts: Sequence[int], block: int) -> str:
    """A block's shares in words; of many examples, the four that most is read from."""
    shares = prompt.shares[block]
    examples = sorted((part for part in parts if 0 < part <= prompt.shots), key=lambda part: (-shares[part], part))[:4]
    named = [(tr("task"), 0)] if parts[0] == 0 else []
    named += [(tr("example {number}", number=part), part) for part in sorted(examples)]
    named.append((tr("question"), prompt.shots + 1))
    read = listed(f"{name} {percent(min(1.0, shares[part]))}" for name, part in named)
    return tr("{block}: {parts}", block=block_name(block), parts=read)
