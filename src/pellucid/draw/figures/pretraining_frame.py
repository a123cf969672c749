"""The frame of `pretraining`: the model in its colour, and below it the numbers of the run, one a row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import circle, measured
from pellucid.draw.components.scales import LengthScale
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Gradient, Group, Node, Path, Rect, Shows, Text, given
from pellucid.draw.views.labels import in_short, percent, power
from pellucid.draw.views.pretraining import PretrainingView, RunSnapshot
from pellucid.draw.views.training import GPT3_FLOPS
from pellucid.languages import tr


WHOLE = 10_000_000  # up to so many tokens every digit is written


@dataclass(frozen=True, slots=True)
class ShownSnapshot:
    """A snapshot of the run on the film: its values, its transition, and the opacity of what belongs to it alone."""

    values: RunSnapshot
    transition: Transition
    visible: float | Keyframes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """The column in the frame: its edges, its sizes of text, the snapshots that its numbers go through."""

    view: PretrainingView
    snapshots: Sequence[ShownSnapshot]
    x: float
    w: float
    right: float
    size: float
    small: float

    def evenly(self, values: Sequence[float]) -> Any:
        """A value that goes evenly from snapshot to snapshot."""
        later = zip(self.snapshots[1:], values[1:], strict=True)
        return animate(values[0], *((snapshot.transition, value, "linear") for snapshot, value in later))

    def number(
        self, y: float, words: Callable[[RunSnapshot], str], source: Callable[[RunSnapshot], Shows], **rest: Any
    ) -> list[Node]:
        """A number on the right for each snapshot, seen in its time."""
        return [
            Group(
                (Text(self.right, y, words(shown.values), self.size, 600, anchor="end", shows=source(shown.values), **rest),),
                opacity=shown.visible,
            )
            for shown in self.snapshots
        ]  # fmt: skip


def in_frame(
    view: PretrainingView, snapshots: Sequence[ShownSnapshot], frame: Box, sheet: Sheet, *, model_height: float, row: float
) -> list[Node]:
    """The model, then the rows from top to bottom.

    Args:
        model_height: of the model's box. row: from one number to the next.
    """
    size, small = sheet.size, sheet.small
    column = _Column(
        view=view, snapshots=snapshots, x=frame.x + 16, w=frame.w - 32, right=frame.right - 16, size=size, small=small
    )
    y = frame.y + 1.3 * size
    nodes = _model(column, Box(column.x, y, column.w, model_height))
    y = y + model_height + 1.5 * small
    nodes += _colour_scale(column, y)
    y += 0.5 * small
    y += 8 + 1.1 * small
    y += row
    nodes += _steps(column, y)
    y += row
    nodes += _tokens(column, y)
    y += 0.5 * size
    y += 5 + row
    nodes += _operations(column, y)
    y += 0.5 * size + 10 + 1.1 * small + row
    nodes += _speed(column, y)
    if view.history.train_tokens is not None:
        y += row
        nodes += _text_length(column, y, view.history.train_tokens)
    return nodes


def _shares(column: _Column) -> list[float]:
    """1 - loss / ln V at each snapshot, within 0 to 1: what lies outside is explained in a note."""
    return [min(1.0, max(0.0, column.view.history.share(snapshot.values.loss))) for snapshot in column.snapshots]


def _model(column: _Column, box: Box) -> list[Node]:
    """The model: grey, and over it the gradient, as much of it as the loss has come from ln V to 0."""
    view, size, small = column.view, column.size, column.small
    shows = column.snapshots[0].values.loss.shows
    middle = box.y + box.h / 2
    name = fit(view.model.name, box.w - size, size * 1.15, "sans", 600)
    count = tr("{count:,} parameters", count=view.model.parameters)
    return [
        Rect(box.x, box.y, box.w, box.h, 10, palette.UNTRAINED_FILL, palette.UNTRAINED, 1.5),
        Rect(box.x, box.y, box.w, box.h, 10, Gradient(palette.TRAINED), palette.FOLLOWED, 1.5,
             opacity=column.evenly(_shares(column)), id="model", label=tr("colour: 1 - {loss} / ln V", loss=tr(view.loss_kind)),
             shows=Shows(shows.chunk, (), None, shows.truth)),
        Text(box.middle, middle - 2, name, size * 1.15, 600, anchor="middle"),
        Text(box.middle, middle + 1.25 * small, count, small, anchor="middle", shows=given("provenance")),
    ]  # fmt: skip


def _colour_scale(column: _Column, y: float) -> list[Node]:
    """What the colour means: the formula with its value, and below it the gradient with a needle."""
    view, x, w, right, small = column.view, column.x, column.w, column.right, column.small
    words = tr("colour: 1 − {loss} / ln V", loss=tr(view.loss_kind))
    nodes: list[Node] = [Text(x, y, fit(words, w - 3 * small, small), small)]
    for snapshot in column.snapshots:
        loss = snapshot.values.loss
        share = _signed(view.history.share(loss))
        nodes.append(Text(right, y, share, small, 600, anchor="end", opacity=snapshot.visible, shows=loss.shows))
    y += 0.5 * small
    nodes.append(Rect(x, y, w, 6, 3, Gradient((palette.UNTRAINED_FILL, *palette.TRAINED), 0), palette.LINE))
    places = [x + w * share for share in _shares(column)]
    nodes.append(Rect(column.evenly([place - 1.5 for place in places]), y - 2, 3, 10, 1, palette.FOLLOWED))
    y += 8 + 1.1 * small
    nodes.append(Text(x, y, tr("0: guessing"), small, fill=palette.QUIET))
    nodes.append(Text(right, y, tr("1: certain"), small, anchor="end", fill=palette.QUIET))
    return nodes


def _steps(column: _Column, y: float) -> list[Node]:
    total = column.view.history.steps
    return [
        Text(column.x, y, tr("steps"), column.size),
        *column.number(
            y, lambda m: _of(f"{m.step:,}", f"{total:,}"), lambda m: Shows("training/moments/steps", (), m.step, "given")
        ),
    ]


def _of(done: str, all_of_them: str) -> str:
    """How much of something is done: 1,000 of 2,000."""
    return tr("{done} of {total}", done=done, total=all_of_them)


def _tokens(column: _Column, y: float) -> list[Node]:
    """Tokens seen, of those that the run saw, as numbers and as a bar."""
    total = column.view.history.tokens[-1]
    written = in_short if total > WHOLE else "{:,}".format  # both numbers in the same way
    bar = LengthScale(column.w, total)
    below = y + 0.5 * column.size
    lengths = column.evenly([bar.length(snapshot.values.tokens) for snapshot in column.snapshots])
    return [
        Text(column.x, y, tr("tokens seen"), column.size),
        *column.number(y, lambda m: _of(written(m.tokens), written(total)), _tokens_source),
        Rect(column.x, below, column.w, 5, 2, palette.LINE),
        Rect(column.x, below, lengths, 5, 2, palette.PRETRAINING, id="tokens-seen",
             label=tr("tokens seen, of those the run saw"), shows=Shows("training/steps/tokens", (), None, "given")),
    ]  # fmt: skip


def _tokens_source(snapshot: RunSnapshot) -> Shows:
    return Shows("training/steps/tokens", (snapshot.step - 1,) if snapshot.step else (), snapshot.step, "given")


def _operations(column: _Column, y: float) -> list[Node]:
    """Operations so far, as a number and on a logarithmic line that ends at GPT-3's."""
    history, x, w, small = column.view.history, column.x, column.w, column.small
    nodes: list[Node] = [Text(x, y, tr("operations"), column.size)]
    nodes += column.number(
        y, lambda m: power(history.operations(m.tokens)), _tokens_source,
        label=tr("floating-point operations so far: 3 times those of the forward pass over the tokens seen"),
    )  # fmt: skip
    done = [history.operations(snapshot.values.tokens) for snapshot in column.snapshots]
    line, end = y + 0.5 * column.size + 4, x + w - 4
    low = 3 * (int(log10(min(count for count in [*done, GPT3_FLOPS] if count))) // 3)
    exponents = LengthScale(end - x - 4, log10(GPT3_FLOPS) - low)

    def place(count: float) -> float:
        return x + 4 + exponents.length(log10(count) - low)

    nodes.append(Path((("M", x + 4, line), ("L", end, line)), stroke=palette.QUIET))
    for exponent in range(low, 24, 3):
        at = place(10.0**exponent)
        nodes.append(Path((("M", at, line - 3), ("L", at, line + 3)), stroke=palette.QUIET))
    visible: float | Keyframes = 1.0
    if not done[0]:  # nothing was done before the first moment: the dot comes with the second
        later = column.snapshots[1:]
        visible = Keyframes((0.0, 0.0), (later[0].transition.start, 1.0)) if later else 0.0
    dot = Path(circle(0, 0, 4.5), fill=palette.PRETRAINING, shows=Shows("training/steps/tokens", (), None, "given"))
    nodes.append(Group((dot,), column.evenly([place(max(count, 10.0**low)) for count in done]), line, opacity=visible))
    published = given("gpt3/table-d.1")
    nodes.append(Path(circle(end, line, 4.5), fill=palette.INK, label="GPT-3 175B: 3.14e23", shows=published))
    words = f"GPT-3 175B: {power(GPT3_FLOPS)}"
    below = line + 6 + 1.1 * small
    nodes.append(Text(x + w, below, words, small, anchor="end", shows=published))
    marks = tr("× 1000 a mark")
    if x + text_width(marks, small) + column.size < x + w - text_width(words, small):
        nodes.append(Text(x, below, marks, small, fill=palette.QUIET))
    return nodes


def _speed(column: _Column, y: float) -> list[Node]:
    """Tokens a second of the snapshot's step, measured."""
    if not column.view.has_speeds:
        return [Text(column.x, y, tr("speed: not in this record"), column.size, fill=palette.QUIET)]
    nodes: list[Node] = [Text(column.x, y, tr("speed of that step"), column.size)]
    for snapshot in column.snapshots:
        step, speed = snapshot.values.step, snapshot.values.speed
        if speed is None:
            none = Text(
                column.right, y, tr("no step yet"), column.size, anchor="end", fill=palette.QUIET, opacity=snapshot.visible
            )  # fmt: skip
            nodes.append(none)
            continue
        text = Text(
            column.right, y, tr("{speed:,.0f} tokens/s", speed=speed), column.size, 600, anchor="end",
            shows=Shows("training/steps/tokens_per_s", (step - 1,), step, "measured"),
        )  # fmt: skip
        nodes.append(Group((measured(text),), opacity=snapshot.visible))
    return nodes


def _text_length(column: _Column, y: float, tokens: int) -> list[Node]:
    """How long the training text is, and how often the run went through it."""
    through = column.view.history.tokens[-1] / tokens
    if through >= 0.995:
        words = tr("{count} tokens, {times:.1f} times through", count=in_short(tokens), times=through)
    else:
        words = tr("{count} tokens, {share} of it", count=in_short(tokens), share=percent(through))
    return [
        Text(column.x, y, tr("text"), column.size),
        Text(column.right, y, words, column.size, 600, anchor="end", shows=given("training/plan")),
    ]


def _signed(share: float) -> str:
    """Two decimals, with a minus only where they are not all zero."""
    text = f"{abs(share):.2f}"
    return f"−{text}" if share < 0 and text != "0.00" else text
