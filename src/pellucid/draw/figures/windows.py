"""`windows`, the article's sliding window: how training text becomes examples.

From far to near: the whole text in a line of words, two neighbouring windows of it with one cell a token, and the first pieces
of a window as a staircase (`windows_staircase`): in row i the first i tokens are given and the next one is to be predicted.
Every row is one of the window's examples, and all of them are learned from in one pass, under the causal mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from pellucid.draw.components import marks
from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import centred
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate, visible_from
from pellucid.draw.figures.windows_staircase import Column, staircase, token_columns
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Group, Image, Node, Path, Rect, Shows, Text, given
from pellucid.draw.views.windows import WindowsView
from pellucid.languages import joined, tr


CELLS = 450  # of a strip at most: beyond, neighbouring tokens share one
MOST_ROWS = 9  # of a staircase on a phone


@dataclass(frozen=True, slots=True, kw_only=True)
class _WindowsLayout:
    """Where the parts stand. key: the legend. cell: height of a token. rows: examples shown, at most."""

    sheet: Sheet
    strip: Box
    table: Box
    key: Box
    cell: float
    rows: int

    @classmethod
    def of(cls, width: float, rows: int = MOST_ROWS) -> "_WindowsLayout":
        less = (MOST_ROWS - rows) * 27  # a phone's sheet ends below the last row and the legend
        sheet = Sheet.of(width, narrow_height=644 - less)
        if sheet.wide:
            return cls(
                sheet=sheet, strip=Box(24, 116, 912, 18), table=Box(24, 154, 690, 348), key=Box(744, 158, 192, 340), cell=25,
                rows=10,
            )  # fmt: skip
        return cls(
            sheet=sheet, strip=Box(12, 104, 336, 14), table=Box(12, 140, 336, 290 - less), key=Box(12, 448 - less, 336, 140),
            cell=23, rows=rows,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _WindowsTransitions:
    """When a window is cut out, the staircase grows, losses appear, and the window slides (None: there is one window)."""

    cut: Transition
    grow: Transition
    cost: Transition
    slide: Transition | None

    def window(self, place: int) -> Keyframes:
        """The opacity of what shows the first window (0) or the second."""
        if place == 0:
            come: list[Any] = [(0.0, 0.0), (self.cut.start, 0.0), (self.cut.settled, 1.0, "linear")]
            goes: list[Any] = [] if self.slide is None else [(self.slide.start, 1.0), (self.slide.start + 0.4, 0.0, "linear")]
            return Keyframes(*come, *goes)
        assert self.slide is not None
        return Keyframes((0.0, 0.0), (self.slide.start + 1.4, 0.0), (self.slide.settled, 1.0, "linear"))


def windows(view: WindowsView, *, width: float = 960) -> Film:
    """The film of two neighbouring windows of a run's text. Raises PellucidError for a picture less than 240 wide."""
    layout = _WindowsLayout.of(width)
    stairs = [token_columns(view, window, layout.table, layout.sheet.small) for window in view.windows[:2]]
    layout = _WindowsLayout.of(width, max(min(layout.rows, len(columns) - 1) for columns in stairs))
    sheet, timeline = layout.sheet, Timeline()
    transitions = _on_timeline(view, timeline)
    most = max(max(window.losses) for window in view.windows) or 1.0
    nodes = _words(view, layout)
    nodes += _strip(view, layout, most, transitions)
    nodes += _staircases(view, layout, stairs, most, transitions)
    nodes += _key(view, layout, most, transitions)
    return sheet.film(
        view.model, tr("Training examples: a sliding window"), nodes, timeline, alt=_alt(view), notes=_notes(view)
    )


def _on_timeline(view: WindowsView, timeline: Timeline) -> _WindowsTransitions:
    first, t = view.windows[0], len(view.windows[0].losses)
    if view.of_training_text:
        what = tr("The run's training text is one row of tokens: words and parts of words.")
        costs = tr(
            "The darker, the less the finished model expected the label: loss = −log p. The mean over this window is "
            "{mean:.2f}.",
            mean=first.mean,
        )
    else:
        what = tr("Its text is one row of tokens: words and parts of words.")
        costs = tr(
            "The darker, the less the model at the end expected the label: loss = −log p. The mean over this window is "
            "{mean:.2f}.",
            mean=first.mean,
        )
    _, cut = timeline.segment(
        tr("The text in tokens"),
        (0.0, 2.6, joined((what, _counts(view) or tr("Here is some of it.")))),
        (0.6, 2.4, tr("A window is {count:,} tokens in a row. A dot is a space that belongs to the piece.", count=t + 1)),
    )
    grow, _ = timeline.segment(
        tr("One window, many examples"),
        (2.4, 1.6, tr("In each row the green tokens are given, and the next one is the label, to be predicted.")),
        (0.0, 3.0, tr("A window holds {count:,} such examples. One pass learns from all of them: no position sees what comes "
                      "after it.", count=t)),
    )  # fmt: skip
    (cost,) = timeline.segment(tr("What each label costs"), (1.0, 5.0, costs))
    slide = None
    if len(view.windows) > 1:
        slides = tr(
            "The next window begins at this one's last label, so that each token is a label once. Mean {mean:.2f}.",
            mean=view.windows[1].mean,
        )
        (slide,) = timeline.segment(tr("The window slides"), (1.8, 4.6, slides))
    return _WindowsTransitions(cut=cut, grow=grow, cost=cost, slide=slide)


def _counts(view: WindowsView) -> str:
    """How much text there is, in words; "" where the record does not say."""
    if view.train_tokens is None:
        return ""
    windows = (view.train_tokens - 1) // len(view.windows[0].losses)
    return tr("{tokens:,} tokens make {windows:,} windows.", tokens=view.train_tokens, windows=windows)


def _words(view: WindowsView, layout: _WindowsLayout) -> list[Node]:
    """The line of words above the strip."""
    sheet, counts, plan = layout.sheet, _counts(view), given("training/plan")
    words = tr("The run's training text")
    if not view.of_training_text:
        words = tr("Held-out text (training text is not in this record)")
    if sheet.wide:
        line = tr("{words}: {counts}", words=words, counts=counts) if counts else words
        return [Text(layout.strip.x, 80, line, sheet.size, shows=plan)]
    nodes: list[Node] = [Text(layout.strip.x, 54, fit(words, sheet.room, sheet.size), sheet.size)]
    if counts:
        nodes.append(Text(layout.strip.x, 70, counts, sheet.small, shows=plan))
    return nodes


def _strip(view: WindowsView, layout: _WindowsLayout, most: float, transitions: _WindowsTransitions) -> list[Node]:
    """One cell a token of all windows together, coloured by loss; a frame around the window that is looked at."""
    strip, windows = layout.strip, view.windows
    t = len(windows[0].losses)
    losses = [loss for window in windows for loss in window.losses]
    ids = [*windows[0].ids, *(token for window in windows[1:] for token in window.ids[1:])]
    each = strip.w / len(ids)
    together = ceil(len(losses) / CELLS)
    means = [float(np.mean(losses[i : i + together])) for i in range(0, len(losses), together)]
    ends = [i for i, token in enumerate(ids) if view.ends_text(token)]
    nodes = _strip_words(view, layout, together, ends=bool(ends))
    nodes.append(Rect(strip.x, strip.y, strip.w, strip.h, 0, palette.UNTRAINED_FILL))
    whole = Shows(windows[0].loss_chunk, (), windows[0].step, "derived")
    nodes.append(
        Image(marks.sequential([means], 0.0, most), "sequential", strip.x + each, strip.y, strip.w - each, strip.h,
              opacity=animate(0.0, (transitions.cost, 1.0, "linear")), id="strip", label=tr("loss of each token as a label"),
              shows=whole)
    )  # fmt: skip
    nodes.append(Rect(strip.x, strip.y, strip.w, strip.h, 0, None, palette.LINE))
    for i in ends:
        x = strip.x + (i + 0.5) * each
        nodes.append(Path(_wedge(x, strip.y - 1, 4), fill=palette.INK, label=tr("end of text, token {place} here", place=i)))
        nodes.append(Path((("M", x, strip.y), ("L", x, strip.bottom)), stroke=palette.INK))
    at: Any = strip.x
    if transitions.slide is not None:
        start = transitions.slide.start
        at = Keyframes((0.0, strip.x), (start, strip.x), (start + 1.4, strip.x + t * each, "move"))
    nodes.append(
        Rect(at, strip.y - 2, (t + 1) * each, strip.h + 4, 3, None, palette.FOLLOWED, 2.5,
             opacity=animate(0.0, (transitions.cut, 1.0, "linear")), id="window",
             label=tr("a window of {count} tokens", count=t + 1))
    )  # fmt: skip
    return nodes


def _strip_words(view: WindowsView, layout: _WindowsLayout, together: int, *, ends: bool) -> list[Node]:
    """The words above the strip: what a cell is, and what a wedge means, if there is one."""
    strip, small = layout.strip, layout.sheet.small
    y = strip.y - 1 * small
    if len(view.windows) > 1:
        words = tr("two neighbouring windows, one cell a token")
        if together > 1:
            words = tr("two neighbouring windows, one cell for {count} tokens", count=together)
    else:
        words = tr("one window, one cell a token")
        if together > 1:
            words = tr("one window, one cell for {count} tokens", count=together)
    nodes: list[Node] = [Text(strip.x, y, words, small, fill=palette.QUIET)]
    if ends:
        end = tr("end of text")
        left = strip.right - text_width(end, small) - 8
        nodes.append(Path(_wedge(left, strip.y - 1.1 * small, 4), fill=palette.INK))
        nodes.append(Text(strip.right, y, end, small, anchor="end", fill=palette.QUIET))
    return nodes


def _wedge(x: float, y: float, r: float) -> tuple[tuple[Any, ...], ...]:
    """A small triangle that points down to (x, y)."""
    return (("M", x, y), ("L", x - r, y - 1.4 * r), ("L", x + r, y - 1.4 * r), ("Z",))


def _staircases(
    view: WindowsView, layout: _WindowsLayout, stairs: Sequence[list[Column]], most: float, transitions: _WindowsTransitions
) -> list[Node]:
    """The staircase of the first window, and that of the second once the window has slid."""
    nodes: list[Node] = []
    for i, (window, columns) in enumerate(zip(view.windows, stairs, strict=False)):
        drawn = staircase(
            view, window, columns, layout.table, layout.sheet, cell=layout.cell, rows=layout.rows, most=most,
            grow=None if i else transitions.grow, cost=None if i else transitions.cost,
        )  # fmt: skip
        nodes.append(Group(tuple(drawn), opacity=transitions.window(i)))
    return nodes


def _key(view: WindowsView, layout: _WindowsLayout, most: float, transitions: _WindowsTransitions) -> list[Node]:
    """What the colours mean, and the mean loss of each window."""
    sheet, box = layout.sheet, layout.key
    size, small, h = sheet.size, sheet.small, layout.cell
    cost = transitions.cost
    nodes: list[Node] = []
    y = box.y
    for fill, strong, words in (
        (palette.INPUT_FILL, palette.INPUT, tr("given: the features")),
        (palette.OUTPUT_FILL, palette.OUTPUT, tr("to be predicted: the label")),
    ):
        row = (Rect(box.x, y, 22, h - 7, 5, fill, strong), Text(box.x + 30, centred(y, h - 7, small), words, small))
        nodes.append(Group(row, opacity=animate(0.0, (transitions.grow, 1.0))))
        y += h
    y += 0.6 * size
    legend: list[Node] = [Text(box.x, y + small, tr("loss of the label, −log p, in nats"), small)]
    y += 1.6 * small
    w = box.w if sheet.wide else box.w * 0.62
    ends = tr("0: expected"), tr("{loss:.1f}: least expected", loss=most)
    legend += marks.legend("sequential", Box(box.x, y, w, 10), small, *ends)
    nodes.append(Group(tuple(legend), opacity=animate(0.0, (cost, 1.0, "linear"))))
    y += 10 + 1.4 * small + 0.9 * size
    for i, window in enumerate(view.windows[:2]):
        name = tr("mean of the window")
        if len(view.windows) > 1:
            name = tr("mean of this window") if i == 0 else tr("mean of the next one")
        there = animate(0.0, (cost, 1.0, "linear"))
        if i:
            assert transitions.slide is not None
            there = visible_from(transitions.slide)
        shows = Shows(window.loss_chunk, (window.row,), window.step, "derived")
        mean = (
            Text(box.x, y + size, name, size),
            Text(box.x + w, y + size, f"{window.mean:.2f}", size, 600, anchor="end"),
        )
        nodes.append(Group(mean, opacity=there, shows=shows))
        y += 1.6 * size
    return nodes


def _alt(view: WindowsView) -> str:
    first, pieces = view.windows[0], view.pieces
    t = len(first.losses)
    start = pieces.sentence(first.ids[:6])
    hardest = max(range(t), key=lambda i: first.losses[i])
    parts = [
        tr(
            "How text becomes training examples for {model}. A window of {tokens} tokens in a row, which begins {start!r}, "
            "holds {examples} examples: the first i tokens are given, the next one is to be predicted. Mean loss {mean:.2f} "
            "nats; the least expected label is {label} with {loss:.2f}.",
            model=view.model.name, tokens=t + 1, start=start, examples=t, mean=first.mean,
            label=pieces.described(first.ids[hardest + 1]), loss=first.losses[hardest],
        )
    ]  # fmt: skip
    if len(view.windows) > 1:
        parts.append(
            tr(
                "The next window starts with the last token of this one; its mean is {mean:.2f}.", mean=view.windows[1].mean
            )
        )
    return joined(parts)


def _notes(view: WindowsView) -> tuple[str, ...]:
    notes = [
        tr(
            "The article draws whole words, a window that grows from row to row, and rows as examples of their own. A model "
            "reads pieces, its window always has the same length, and the rows are the beginnings of one window, learned from "
            "together."
        ),
        tr("Training takes windows in a shuffled order; the two shown are neighbours in the text.")
        if len(view.windows) > 1
        else tr("Neighbouring windows of training text are not in this record: this is one window of held-out text."),
        tr("Tokens given may belong to the document before: an end of text is a token like any other, and hides nothing."),
    ]
    if any(str(pattern).startswith("banded") for pattern in view.model.config.pattern):
        notes.append(
            tr("A banded block sees the nearest of the tokens given; those farther back come through the other blocks.")
        )
    return tuple(notes)
