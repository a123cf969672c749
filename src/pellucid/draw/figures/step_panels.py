"""The panels of `step`: features, candidates, error, the step in numbers, and its place in the run."""

from math import exp
from typing import Any

from pellucid.draw.components import marks
from pellucid.draw.components.curves import LossCurves
from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import arrow, centred, circle, token, token_width
from pellucid.draw.components.scales import BandScale, LengthScale
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate, visible_from
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.nodes import Group, Node, Path, Rect, Shows, Text, given
from pellucid.draw.views.labels import percent
from pellucid.draw.views.pieces import Pieces
from pellucid.draw.views.step import LikelyToken, StepView, TrainingExample
from pellucid.languages import plural, tr


MARGIN = 12.0  # of the model's panel


def heading(sheet: Sheet, box: Box, words: str) -> Text:
    """The heading of a panel."""
    return Text(box.x, box.y + sheet.size, words, sheet.size, 600)


def missing(sheet: Sheet, box: Box, words: str, reason: str) -> list[Node]:
    """The words in the place of something that the record does not hold."""
    return [
        heading(sheet, box, words),
        Text(box.x, box.y + 2.6 * sheet.size, reason, sheet.small, fill=palette.QUIET),
    ]


def features(sheet: Sheet, box: Box, pieces: Pieces, example: TrainingExample) -> list[Node]:
    """The tokens that the model is given; the last one is that of the followed position."""
    small, h = sheet.small, 1.9 * sheet.small
    shown = [pieces.shown(i) for i in example.features]
    top = box.y + 1.7 * sheet.size
    places, hidden = marks.flow(shown, box.x, top, box.w, h, small, rows=int((box.bottom - top + 4) // (h + 4)))
    words = plural(len(shown), "Features: {count:,} token", "Features: {count:,} tokens")
    nodes: list[Node] = [heading(sheet, box, words)]
    if hidden:
        nodes.append(Text(box.x, centred(top, h, small), marks.earlier(hidden), small, fill=palette.QUIET))
    nodes += marks.token_boxes(
        pieces, example.features, places, small, roles=["input"] * (len(shown) - 1) + ["followed"],
        sources=[given("training/example/ids", i) for i in range(len(shown))],
    )  # fmt: skip
    return nodes


def arrows(
    model: Box, features_end: float, bars_start: float, predict: Transition | None, back: Transition | None
) -> list[Node]:
    """Arrows forward, from the features through the model to the prediction, and back from the error into the model.

    Args:
        predict, back: when each appears; None: never.
    """
    y, left, right = model.y + 34, model.x - MARGIN, model.right + MARGIN
    nodes: list[Node] = []
    if predict is not None:
        there = animate(0.0, (predict, 1.0))
        nodes.append(arrow(features_end + 6, y, left - 3, y, opacity=there))
        nodes.append(arrow(right + 4, y, bars_start - 5, y, opacity=there))
    if back is None:
        return nodes
    low = model.bottom - 58
    nodes.append(arrow(bars_start - 6, low, right + 3, low, palette.OUTPUT, opacity=animate(0.0, (back, 1.0))))
    return nodes


def candidates(
    sheet: Sheet, box: Box, pieces: Pieces, example: TrainingExample, *,
    predict: Transition, wrong: Transition, again: Transition,
) -> list[Node]:  # fmt: skip
    """The likeliest next tokens as bars.

    Args:
        predict, wrong, again: when the bars appear; when the label is marked; when they move to the probabilities after the
            update, while a line stays where they were.
    """
    small, rows = sheet.small, example.candidates
    top = box.y + 1.7 * sheet.size
    step = (box.bottom - 1.7 * small - top) / len(rows)
    bands = BandScale(top, step, min(step * 0.72, 1.6 * small))
    word_room = min(box.w * 0.3, max(text_width(pieces.shown(row.token), small, "mono") for row in rows))
    number_room = text_width(_under("0.01%"), small) + 6
    left = box.x + word_room + 8
    bars = LengthScale(box.w - word_room - number_room - 12, max(share for row in rows for share in (row.before, row.after)))
    drawn: list[Node] = []
    for i, row in enumerate(rows):
        y, thick = bands.place(i), bands.thickness
        before, after = bars.length(row.before), bars.length(row.after)
        fill = animate(palette.SERIES_PALE, (wrong, palette.OUTPUT_FILL, "linear")) if row.label else palette.SERIES_PALE
        ink: Any = animate(palette.INK, (wrong, palette.OUTPUT, "linear")) if row.label else palette.INK
        word = fit(pieces.shown(row.token), word_room, small, "mono")
        baseline = centred(y, thick, small)
        # What left the likeliest has no bar: no more is known than what it is less than.
        length = animate(before, (again, after if row.known else 0.0, "move"))
        number = percent(row.after) if row.known else _under(percent(row.after))
        group: list[Node] = [
            Text(box.x + word_room, baseline, word, small, family="mono", anchor="end", fill=ink),
            Rect(left, y, length, thick, 2, fill),
            Path((("M", left + before, y - 1), ("L", left + before, y + thick + 1)), stroke=palette.QUIET, stroke_width=1.5,
                 opacity=animate(0.0, (again, 1.0))),
            Text(left + before + 5, baseline, percent(row.before), small, fill=ink, opacity=animate(1.0, (again, 0.0))),
            Text(left + max(before, after if row.known else 0.0) + 5, baseline, number, small, fill=ink,
                 opacity=visible_from(again), shows=row.shows[1]),
        ]  # fmt: skip
        drawn.append(Group(tuple(group), label=_before_and_after(pieces, row), shows=row.shows[0]))
    y = box.bottom - 0.3 * small
    key = (
        Path((("M", left, y - small), ("L", left, y + 0.2 * small)), stroke=palette.QUIET, stroke_width=1.5),
        Text(left + 7, y, tr("before the update"), small, fill=palette.QUIET),
    )
    return [
        heading(sheet, box, tr("Prediction: the next token")),
        Group(tuple(drawn), opacity=animate(0.0, (predict, 1.0, "linear"))),
        Group(key, opacity=animate(0.0, (again, 1.0))),
    ]


def _under(number: str) -> str:
    """The words for a probability of which no more is known."""
    return tr("under {number}", number=number)


def _before_and_after(pieces: Pieces, row: LikelyToken) -> str:
    later = f"{row.after:.4f}" if row.known else _under(f"{row.after:.4f}")
    return tr("{token}: {before:.4f} before, {after} after", token=pieces.described(row.token), before=row.before, after=later)


def error(
    sheet: Sheet, box: Box, pieces: Pieces, example: TrainingExample, wrong: Transition, again: Transition
) -> list[Node]:  # fmt: skip
    """The label, its probability and its loss, before and after the update."""
    size, small = sheet.size, sheet.small
    h = 1.9 * small
    word = pieces.shown(example.label)
    title = tr("Label")
    at = text_width(title, size, "sans", 600) + 10
    label = token(
        word, 0, 0, h, small, role="output", w=min(token_width(word, small), box.w - at), label=pieces.described(example.label),
        shows=given("training/example/ids", example.position + 1),
    )  # fmt: skip
    name = Text(0, centred(0, h, size), title, size, 600)
    nodes: list[Node] = [Group((name, Group((label,), at)), box.x, box.y, opacity=animate(0.0, (wrong, 1.0, "linear")))]
    rows = (
        (tr("p of the label"), [percent(exp(-loss)) for loss in example.losses]),
        (tr("error: −log p, nats"), [f"{loss:.2f}" for loss in example.losses]),
    )
    after_x = box.right
    before_x = box.right - text_width("→ 00.00%", size, "sans", 600) - 8
    for i, (words, (before, after)) in enumerate(rows):
        y = box.y + h + (1.5 + 1.7 * i) * size
        shows = example.shows
        come, later = animate(0.0, (wrong, 1.0, "linear")), visible_from(again)
        nodes.append(Text(box.x, y, words, size, opacity=come))
        nodes.append(Text(before_x, y, before, size, 600, anchor="end", opacity=come, shows=shows[0]))
        nodes.append(
            Text(after_x, y, f"→ {after}", size, 600, anchor="end", fill=palette.OUTPUT, opacity=later, shows=shows[1])
        )
    return nodes


def numbers(view: StepView, sheet: Sheet, box: Box, back: Transition, update: Transition) -> list[Node]:
    """The step in numbers: the norm of the whole gradient, how much it was clipped, and the learning rate."""
    size, step = sheet.size, view.norms.step
    norm_source = Shows("training/steps/grad_norm", (step - 1,), step, "replayed")
    rate_source = Shows("training/steps/lr", (step - 1,), step, "given")
    rows = [(tr("gradient of step {step:,}", step=step), f"{view.grad_norm:.2f}", back, norm_source)]
    if view.clip is not None:
        factor = min(1.0, view.clip / view.grad_norm) if view.grad_norm else 1.0
        rows.append((tr("clipped to {norm:g}", norm=view.clip), f"× {factor:.2f}", update, given("training/plan")))
    rows.append((tr("learning rate"), f"{view.learning_rate:.2g}", update, rate_source))
    nodes: list[Node] = []
    for i, (words, number, transition, shows) in enumerate(rows):
        y = box.y + (1.1 + (1.9 if sheet.wide else 1.6) * i) * size
        pair = (Text(box.x, y, words, size), Text(box.right, y, number, size, 600, anchor="end"))
        nodes.append(Group(pair, opacity=animate(0.0, (transition, 1.0, "linear")), shows=shows))
    return nodes


def run_so_far(view: StepView, sheet: Sheet, box: Box, repeat: Transition) -> list[Node]:
    """The losses of the run up to the step, with a ring around the step's own; then of the whole run."""
    history, step = view.history, view.norms.step
    curves = LossCurves(history, box, sheet.small, short=True)
    loss = history.training[step - 1]
    label = tr("step {step:,}: training loss {loss:.3f}", step=step, loss=loss.value)
    ring = Path(
        circle(*curves.point(loss), 5), stroke=palette.FOLLOWED, stroke_width=2, opacity=animate(1.0, (repeat, 1.0)),
        label=label, shows=loss.shows,
    )  # fmt: skip
    return [*curves.nodes(step, [(repeat, history.steps)]), ring]
