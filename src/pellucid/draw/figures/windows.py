"""`windows`, the article's sliding window: how training text becomes examples.

From far to near: the whole text in a line of words, two neighbouring windows of it with one cell a token, and the first pieces
of a window as a staircase: in row i the first i tokens are given and the next one is to be predicted. Every row is one of the
window's examples, and all of them are learned from in one pass, under the causal mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from pellucid.draw.components import marks
from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import centred, given, token_width
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Group, Image, Node, Path, Rect, Shows, Text
from pellucid.draw.views.labels import Pieces, config, model_name
from pellucid.draw.views.training import optional
from pellucid.record import Record
from pellucid.text import END_OF_TEXT


CELLS = 450  # of a strip at most: beyond, neighbouring tokens share one
GAP = 4.0  # between tokens


@dataclass(frozen=True, slots=True)
class _Window:
    """T + 1 tokens in a row, the losses of the last T of them, and where the record holds both."""

    ids: list[int]
    losses: list[float]
    at: int  # of its first token in the chunk of ids
    ids_chunk: str
    loss_chunk: str
    row: int  # of its losses
    step: int | None

    def token(self, i: int) -> Shows:
        return given(self.ids_chunk, self.at + i)

    def loss(self, i: int) -> Shows:
        """Of token i, which is target i - 1."""
        return Shows(self.loss_chunk, (self.row, i - 1), self.step, "derived")


@dataclass(frozen=True, slots=True)
class _Layout:
    sheet: Sheet
    strip: Box
    table: Box
    key: Box  # the legend
    cell: float  # height of a token
    rows: int  # examples shown, at most

    @classmethod
    def of(cls, width: float, rows: int = 9) -> "_Layout":
        less = (9 - rows) * 27  # a phone's sheet ends below the last row and the legend
        sheet = Sheet.of(width, narrow_height=644 - less)
        if sheet.wide:
            return cls(sheet, Box(24, 116, 912, 18), Box(24, 154, 690, 348), Box(744, 158, 192, 340), 25, 10)
        return cls(sheet, Box(12, 104, 336, 14), Box(12, 140, 336, 290 - less), Box(12, 448 - less, 336, 140), 23, rows)


def windows(record: Record, *, width: float = 960) -> Film:
    """The film of two neighbouring windows of a run's text, drawn from its training record.

    Raises:
        MissingChunk: the record holds neither a stretch of training text nor the fixed window. PellucidError: a picture less
            than 240 wide.
    """
    pieces, found = Pieces.of(record), _windows(record)
    place = _Layout.of(width)
    stairs = [_stairs(place, pieces, window) for window in found[:2]]
    place = _Layout.of(width, max(min(place.rows, len(columns) - 1) for columns in stairs))
    sheet, timeline, t = place.sheet, Timeline(), len(found[0].losses)
    most = max(max(window.losses) for window in found) or 1.0
    counts = _counts(record, t)
    stretch = found[0].ids_chunk == "training/stretch/ids"
    what = "The run's training text" if stretch else "Its text"
    _, cut = timeline.segment(
        "The text in tokens",
        (0.0, 2.6, f"{what} is one row of tokens: words and parts of words. {counts or 'Here is some of it.'}"),
        (0.6, 2.4, f"A window is {t + 1:,} tokens in a row. A dot is a space that belongs to the piece."),
    )
    grow, _ = timeline.segment(
        "One window, many examples",
        (2.4, 1.6, "In each row the green tokens are given, and the next one is the label, to be predicted."),
        (0.0, 3.0, f"A window holds {t:,} such examples. One pass learns from all of them: no track sees what comes after it."),
    )
    mean = sum(found[0].losses) / t
    by = "the finished model" if stretch else "the model at the end"
    (cost,) = timeline.segment(
        "What each label costs",
        (1.0, 5.0, f"The darker, the less {by} expected the label: loss = −log p. The mean over this window is {mean:.2f}."),
    )
    slide = None
    if len(found) > 1:
        mean = sum(found[1].losses) / t
        (slide,) = timeline.segment(
            "The window slides",
            (
                1.8,
                4.6,
                f"The next window begins at this one's last label, so that each token is a label once. Mean {mean:.2f}.",
            ),
        )

    nodes = _text(place, record, counts, stretch)
    nodes += _strip(place, pieces, found, most, cut=cut, cost=cost, slide=slide)
    for i, (window, columns) in enumerate(zip(found, stairs, strict=False)):
        drawn = _staircase(place, pieces, window, columns, most, grow, cost, slides=i > 0)
        nodes.append(Group(tuple(drawn), opacity=_there(i, cut, slide)))
    nodes += _key(place, found, most, grow, cost, slide)
    return sheet.film(
        record,
        "Training examples: a sliding window",
        nodes,
        timeline,
        alt=_alt(record, pieces, found),
        notes=_notes(record, found),
    )


def _windows(record: Record) -> list[_Window]:
    """The stretch's windows; the fixed window alone, as it is at the last moment, where no stretch was kept."""
    step = record.provenance.step
    if "training/stretch/ids" in record:
        ids, losses = record["training/stretch/ids"].tolist(), record["training/stretch/loss"].tolist()
        return [
            _Window(ids[at : at + len(row) + 1], row, at, "training/stretch/ids", "training/stretch/loss", i, step)
            for i, (at, row) in enumerate(zip(record["training/stretch/starts"].tolist(), losses, strict=True))
        ]
    losses = np.asarray(record["training/window/loss"], np.float32)
    moment = len(losses) - 1
    step = int(record["training/moments/steps"][moment])
    ids = record["training/window/ids"].tolist()
    return [_Window(ids, losses[moment].tolist(), 0, "training/window/ids", "training/window/loss", moment, step)]


def _counts(record: Record, t: int) -> str:
    """How much text there is, as the run's plan says; "" where the record holds no plan."""
    source = optional(record, "training/plan", {}).get("source", {})
    if "train_tokens" not in source:
        return ""
    tokens = source["train_tokens"]
    return f"{tokens:,} tokens make {(tokens - 1) // t:,} windows."


def _there(place: int, cut: Transition, slide: Transition | None) -> Any:
    """When the tokens of the first window (0) or of the second are there."""
    if place == 0:
        come: list[Any] = [(0.0, 0.0), (cut.start, 0.0), (cut.settled, 1.0, "linear")]
        return Keyframes(*come, (slide.start, 1.0), (slide.start + 0.4, 0.0, "linear")) if slide else Keyframes(*come)
    assert slide is not None
    return Keyframes((0.0, 0.0), (slide.start + 1.4, 0.0), (slide.settled, 1.0, "linear"))


def _text(place: _Layout, record: Record, counts: str, stretch: bool) -> list[Node]:
    """The line of words above the strip."""
    sheet = place.sheet
    words = "the run's training text" if stretch else "held-out text (training text is not in this record)"
    if sheet.wide:
        told = f"{words}: {counts}" if counts else words
        return [Text(place.strip.x, 80, told[0].upper() + told[1:], sheet.size, shows=given("training/plan"))]
    nodes: list[Node] = [Text(place.strip.x, 54, fit(words[0].upper() + words[1:], sheet.room, sheet.size), sheet.size)]
    if counts:
        nodes.append(Text(place.strip.x, 70, counts, sheet.small, shows=given("training/plan")))
    return nodes


def _strip(
    place: _Layout, pieces: Pieces, found: Sequence[_Window], most: float, *, cut: Transition, cost: Transition, slide: Transition | None
) -> list[Node]:
    """One cell a token of all windows together, coloured by loss; a frame around the window that is looked at."""
    strip, small = place.strip, place.sheet.small
    t = len(found[0].losses)
    losses = [loss for window in found for loss in window.losses]
    tokens = found[0].ids + [token for window in found[1:] for token in window.ids[1:]]
    each = strip.w / len(tokens)
    together = ceil(len(losses) / CELLS)
    means = [float(np.mean(losses[i : i + together])) for i in range(0, len(losses), together)]
    nodes: list[Node] = []
    ends = [i for i, token in enumerate(tokens) if pieces.bytes_of(token) == END_OF_TEXT.encode()]
    many = "two neighbouring windows" if len(found) > 1 else "one window"
    told = f"{many}, one cell a token" if together == 1 else f"{many}, one cell for {together} tokens"
    nodes.append(Text(strip.x, strip.y - 1 * small, told, small, fill=palette.QUIET))
    if ends:
        left = strip.right - text_width("end of text", small) - 8
        nodes.append(Path(_wedge(left, strip.y - 1.1 * small, 4), fill=palette.INK))
        nodes.append(Text(strip.right, strip.y - 1 * small, "end of text", small, anchor="end", fill=palette.QUIET))
    nodes.append(Rect(strip.x, strip.y, strip.w, strip.h, 0, palette.UNTRAINED_FILL))
    whole = Shows(found[0].loss_chunk, (), found[0].step, "derived")
    nodes.append(
        Image(marks.sequential([means], 0.0, most), "sequential", strip.x + each, strip.y, strip.w - each, strip.h,
              opacity=animate(0.0, (cost, 1.0, "linear")), id="strip", label="loss of each token as a label", shows=whole)
    )  # fmt: skip
    nodes.append(Rect(strip.x, strip.y, strip.w, strip.h, 0, None, palette.LINE))
    for i in ends:
        x = strip.x + (i + 0.5) * each
        nodes.append(Path(_wedge(x, strip.y - 1, 4), fill=palette.INK, label=f"end of text, token {i} here"))
        nodes.append(Path((("M", x, strip.y), ("L", x, strip.bottom)), stroke=palette.INK))
    at: Any = strip.x
    if slide is not None:
        at = Keyframes((0.0, strip.x), (slide.start, strip.x), (slide.start + 1.4, strip.x + t * each, "move"))
    come = animate(0.0, (cut, 1.0, "linear"))
    nodes.append(
        Rect(at, strip.y - 2, (t + 1) * each, strip.h + 4, 3, None, palette.TRACK, 2.5, opacity=come, id="window",
             label=f"a window of {t + 1} tokens")
    )  # fmt: skip
    return nodes


def _wedge(x: float, y: float, r: float) -> tuple[tuple[Any, ...], ...]:
    """A small triangle that points down to (x, y)."""
    return (("M", x, y), ("L", x - r, y - 1.4 * r), ("L", x + r, y - 1.4 * r), ("Z",))


def _staircase(
    place: _Layout, pieces: Pieces, window: _Window, columns: Sequence[tuple[float, float]], most: float, grow: Transition,
    cost: Transition, *, slides: bool,
) -> list[Node]:  # fmt: skip
    """The window's first tokens in a row, and below them an example a row: what is given, the label, what it cost."""
    sheet, table, h = place.sheet, place.table, place.cell
    size, small = sheet.small, sheet.small
    gutter, rows = _gutter(place), min(place.rows, len(columns) - 1)
    x0, y0 = table.x + gutter, table.y
    places: list[Box | None] = [Box(x0 + left, y0, w, h) for left, w in columns]
    nodes = marks.tokens(
        pieces, window.ids[: len(columns)], places, size, roles=["plain"] * len(columns),
        chunks=[window.token(i) for i in range(len(columns))],
    )  # fmt: skip
    if more := len(window.ids) - len(columns):
        last, told = columns[-1], f"… {more:,} more"
        nodes.append(Text(x0 + last[0] + last[1] + 6, centred(y0, h, small), told, small, fill=palette.QUIET))
    step = h + GAP
    for row in range(1, rows + 1):
        y = y0 + step * row + 6
        there: Any = 1.0
        if not slides:
            at = grow.start + (grow.settled - grow.start) * row / rows
            there = Keyframes((0.0, 0.0), (min(round(at, 2), grow.settled), 1.0))
        given_tokens: list[Node] = []
        for i in range(row):
            box = Box(x0 + columns[i][0], y, columns[i][1], h)
            given_tokens += marks.tokens(
                pieces, [window.ids[i]], [box], size, roles=["input"], chunks=[window.token(i)]
            )  # fmt: skip
        label = _label(pieces, window, row, Box(x0 + columns[row][0], y, columns[row][1], h), most, size, cost, coloured=slides)
        number = Text(table.x + gutter - 6, centred(y, h, small), f"{row}", small, anchor="end", fill=palette.QUIET)
        loss = Text(
            x0 + columns[row][0] + columns[row][1] + 6, centred(y, h, small), f"{window.losses[row - 1]:.2f}", small,
            opacity=1.0 if slides else animate(0.0, (cost, 1.0, "linear")), shows=window.loss(row),
        )  # fmt: skip
        nodes.append(Group((number, *given_tokens, *label, loss), opacity=there))
    y = y0 + step * (rows + 1) + 6 + size
    left = len(window.losses) - rows
    if left:
        told = f"… and {left:,} more rows, the last with {len(window.losses):,} tokens given"
        there = 1.0 if slides else Keyframes((0.0, 0.0), (grow.settled, 1.0))
        nodes.append(Text(x0, y, fit(told, sheet.right - x0, small), small, fill=palette.QUIET, opacity=there))
    return nodes


def _gutter(place: _Layout) -> float:
    """Room for the rows' numbers."""
    return text_width("10", place.sheet.small) + 8


def _stairs(place: _Layout, pieces: Pieces, window: _Window) -> list[tuple[float, float]]:
    """(left, width) of as many of a window's tokens as have room, two at least: those too long for it are cut."""
    size = place.sheet.small
    # After the last token stands a loss, or how many tokens more there are.
    width = place.table.w - _gutter(place) - text_width(f"… {len(window.ids):,} more", size) - 10
    found: list[tuple[float, float]] = []
    at = 0.0
    for ident in window.ids:
        w = min(token_width(pieces.shown(ident), size), width / 2 - GAP)
        if len(found) >= 2 and at + w > width:
            break
        found.append((at, w))
        at += w + GAP
    return found


def _label(
    pieces: Pieces, window: _Window, i: int, box: Box, most: float, size: float, cost: Transition, *, coloured: bool
) -> list[Node]:
    """The token to be predicted: pink, then as dark as it was unexpected."""
    loss = window.losses[i - 1]
    dark = marks.colour("sequential", loss / most)
    fill = dark if coloured else animate(palette.OUTPUT_FILL, (cost, dark, "linear"))
    ink = palette.ink_on(dark)
    ink = ink if coloured else animate(palette.INK, (cost, ink, "linear"))
    told = f"label {pieces.told(window.ids[i])}: loss {loss:.3f}"
    words = fit(pieces.shown(window.ids[i]), box.w - 0.5 * size, size, "mono")
    text = Text(box.middle, centred(box.y, box.h, size), words, size, 400, "mono", "middle", ink)
    return [
        Group(
            (Rect(box.x, box.y, box.w, box.h, min(6.0, box.h / 4), fill, palette.OUTPUT, 1.5), text), label=told,
            shows=window.loss(i),
        )
    ]  # fmt: skip


def _key(place: _Layout, found: Sequence[_Window], most: float, grow: Transition, cost: Transition, slide: Transition | None) -> list[Node]:
    """What colours mean, and the means."""
    sheet, box = place.sheet, place.key
    size, small, h = sheet.size, sheet.small, place.cell
    nodes: list[Node] = []
    y = box.y
    for fill, strong, words in (
        (palette.INPUT_FILL, palette.INPUT, "given: the features"),
        (palette.OUTPUT_FILL, palette.OUTPUT, "to be predicted: the label"),
    ):
        row = (Rect(box.x, y, 22, h - 7, 5, fill, strong), Text(box.x + 30, centred(y, h - 7, small), words, small))
        nodes.append(Group(row, opacity=animate(0.0, (grow, 1.0))))
        y += h
    y += 0.6 * size
    told: list[Node] = [Text(box.x, y + small, "loss of the label, −log p, in nats", small)]
    y += 1.6 * small
    w = box.w if sheet.wide else box.w * 0.62
    told += marks.legend("sequential", Box(box.x, y, w, 10), small, "0: expected", f"{most:.1f}: least expected")
    nodes.append(Group(tuple(told), opacity=animate(0.0, (cost, 1.0, "linear"))))
    y += 10 + 1.4 * small + 0.9 * size
    for i, window in enumerate(found[:2]):
        mean = sum(window.losses) / len(window.losses)
        name = ("this window" if i == 0 else "the next one") if len(found) > 1 else "the window"
        transition = cost if i == 0 else slide
        assert transition is not None
        there = animate(0.0, (transition, 1.0, "linear")) if i == 0 else Keyframes((0.0, 0.0), (transition.settled, 1.0))
        shows = Shows(window.loss_chunk, (window.row,), window.step, "derived")
        nodes.append(
            Group(
                (
                    Text(box.x, y + size, f"mean of {name}", size),
                    Text(box.x + w, y + size, f"{mean:.2f}", size, 600, anchor="end"),
                ),
                opacity=there, shows=shows,
            )
        )  # fmt: skip
        y += 1.6 * size
    return nodes


def _alt(record: Record, pieces: Pieces, found: Sequence[_Window]) -> str:
    first, t = found[0], len(found[0].losses)
    start = pieces.sentence(first.ids[:6])
    hardest = max(range(t), key=lambda i: first.losses[i])
    parts = [
        f"How text becomes training examples for {model_name(record)}. A window of {t + 1} tokens in a row, which begins "
        f"{start!r}, holds {t} examples: the first i tokens are given, the next one is to be predicted. Mean loss "
        f"{sum(first.losses) / t:.2f} nats; the least expected label is {pieces.told(first.ids[hardest + 1])} with "
        f"{first.losses[hardest]:.2f}."
    ]
    if len(found) > 1:
        parts.append(f"The next window starts with the last token of this one; its mean is {sum(found[1].losses) / t:.2f}.")
    return " ".join(parts)


def _notes(record: Record, found: Sequence[_Window]) -> tuple[str, ...]:
    notes = [
        "The article draws whole words, a window that grows from row to row, and rows as examples of their own. A model reads "
        "pieces, its window always has the same length, and the rows are the beginnings of one window, learned from together.",
        "Training takes windows in a shuffled order; the two shown are neighbours in the text."
        if len(found) > 1
        else "Neighbouring windows of training text are not in this record: this is one window of held-out text.",
        "Tokens given may belong to the document before: an end of text is a token like any other, and hides nothing.",
    ]
    if any(str(pattern).startswith("banded") for pattern in config(record).pattern):
        notes.append("A banded block sees the nearest of the tokens given; those farther back come through the other blocks.")
    return tuple(notes)
