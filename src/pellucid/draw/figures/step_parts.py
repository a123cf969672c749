"""The boxes of the figure `step`: features, candidates, error, two grids of matrices, and the step's place in its run."""

from collections.abc import Mapping
from math import exp
from typing import TYPE_CHECKING, Any

from pellucid.draw.components import marks
from pellucid.draw.components.curves import Curves
from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import arrow, centred, circle, given, token, token_width
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Group, Node, Path, Rect, Shows, Text
from pellucid.draw.views.labels import Pieces, percent, three_digits
from pellucid.draw.views.training import Training, optional
from pellucid.record import Record


if TYPE_CHECKING:
    from pellucid.draw.figures.step import Example, Norms

KINDS = (("attn.c_attn", "Q K V"), ("attn.c_proj", "out"), ("mlp.c_fc", "up"), ("mlp.c_proj", "down"))
EMBEDDINGS = (("wte", "tokens"), ("wpe", "positions"))
REVEALED = 12  # parts in which a grid appears, at most
MARGIN = 12.0  # of the model's panel
EMBEDDING = 14.0  # height of the embeddings' row, at least
LEGENDS = 5.6  # of the lesser text's size: what stands below the grids
DENSE = 6.0  # rows less high than this touch
LEGIBLE = 15.0  # a row less high than this has no numbers


def heading(sheet: Sheet, box: Box, words: str) -> Text:
    """The words above a box's contents."""
    return Text(box.x, box.y + sheet.size, words, sheet.size, 600)


def missing(sheet: Sheet, box: Box, words: str, told: str) -> list[Node]:
    """What stands in the place of something that the record does not hold."""
    return [
        heading(sheet, box, words),
        Text(box.x, box.y + 2.6 * sheet.size, told, sheet.small, fill=palette.QUIET),
    ]


def features(sheet: Sheet, box: Box, pieces: Pieces, example: "Example") -> list[Node]:
    """What the model is given, the last token being the track's."""
    small, h = sheet.small, 1.9 * sheet.small
    shown = [pieces.shown(i) for i in example.features]
    top = box.y + 1.7 * sheet.size
    places, hidden = marks.flow(shown, box.x, top, box.w, h, small, rows=int((box.bottom - top + 4) // (h + 4)))
    nodes: list[Node] = [heading(sheet, box, f"Features: {len(shown):,} token{'s' * (len(shown) > 1)}")]
    if hidden:
        nodes.append(Text(box.x, centred(top, h, small), marks.earlier(hidden), small, fill=palette.QUIET))
    nodes += marks.tokens(
        pieces, example.features, places, small, roles=["input"] * (len(shown) - 1) + ["track"],
        chunks=[given("training/example/ids", i) for i in range(len(shown))],
    )  # fmt: skip
    return nodes


def arrows(model: Box, features_end: float, bars_start: float, guess: Transition | None, back: Transition | None) -> list[Node]:
    """Forward, from the features through the model to the prediction; and back, from the error into the model."""
    y, left, right = model.y + 34, model.x - MARGIN, model.right + MARGIN
    nodes: list[Node] = []
    if guess is not None:
        there = animate(0.0, (guess, 1.0))
        nodes.append(arrow(features_end + 6, y, left - 3, y, opacity=there))
        nodes.append(arrow(right + 4, y, bars_start - 5, y, opacity=there))
    if back is None:
        return nodes
    low = model.bottom - 58
    nodes.append(arrow(bars_start - 6, low, right + 3, low, palette.OUTPUT, opacity=animate(0.0, (back, 1.0))))
    return nodes


def candidates(sheet: Sheet, box: Box, pieces: Pieces, example: "Example", guess: Transition, wrong: Transition, again: Transition) -> list[Node]:
    """The likeliest next tokens as bars, which move to where they are after the update; a line stays where they were."""
    size, small = sheet.size, sheet.small
    rows = example.candidates
    top = box.y + 1.7 * size
    step = (box.bottom - 1.7 * small - top) / len(rows)
    thick = min(step * 0.72, 1.6 * small)
    word_room = min(box.w * 0.3, max(text_width(pieces.shown(row.token), small, "mono") for row in rows))
    number_room = text_width("under 0.01%", small) + 6
    left, most = box.x + word_room + 8, box.w - word_room - number_room - 12
    full = max(share for row in rows for share in (row.before, row.after))
    nodes: list[Node] = [heading(sheet, box, "Prediction: the next token")]
    grown: list[Node] = []
    for i, row in enumerate(rows):
        y = top + i * step + (step - thick) / 2
        before, after = most * row.before / full, most * row.after / full
        fill = animate(palette.SERIES_PALE, (wrong, palette.OUTPUT_FILL, "linear")) if row.label else palette.SERIES_PALE
        ink: Any = animate(palette.INK, (wrong, palette.OUTPUT, "linear")) if row.label else palette.INK
        later = f"{row.after:.4f}" if row.known else f"under {row.after:.4f}"
        told = f"{pieces.told(row.token)}: {row.before:.4f} before, {later} after"
        word = fit(pieces.shown(row.token), word_room, small, "mono")
        baseline = centred(y, thick, small)
        # What left the likeliest has no bar: no more is known than what it is less than.
        long = animate(before, (again, after if row.known else 0.0, "move"))
        number = percent(row.after) if row.known else f"under {percent(row.after)}"
        first = Text(left + before + 5, baseline, percent(row.before), small, fill=ink, opacity=animate(1.0, (again, 0.0)))
        second = Text(
            left + max(before, after if row.known else 0.0) + 5, baseline, number, small, fill=ink,
            opacity=Keyframes((0.0, 0.0), (again.settled, 1.0)), shows=row.shows[1],
        )  # fmt: skip
        group: list[Node] = [
            Text(box.x + word_room, baseline, word, small, family="mono", anchor="end", fill=ink),
            Rect(left, y, long, thick, 2, fill),
            Path((("M", left + before, y - 1), ("L", left + before, y + thick + 1)), stroke=palette.QUIET, stroke_width=1.5,
                 opacity=animate(0.0, (again, 1.0))),
            first,
            second,
        ]  # fmt: skip
        grown.append(Group(tuple(group), label=told, shows=row.shows[0]))
    nodes.append(Group(tuple(grown), opacity=animate(0.0, (guess, 1.0, "linear"))))
    y = box.bottom - 0.3 * small
    key = (
        Path((("M", left, y - small), ("L", left, y + 0.2 * small)), stroke=palette.QUIET, stroke_width=1.5),
        Text(left + 7, y, "before the update", small, fill=palette.QUIET),
    )
    nodes.append(Group(key, opacity=animate(0.0, (again, 1.0))))
    return nodes


def error(
    sheet: Sheet, box: Box, pieces: Pieces, example: "Example", step: int, wrong: Transition, again: Transition
) -> list[Node]:  # fmt: skip
    """The label, once it is compared; its probability and its loss, before and after the update."""
    size, small = sheet.size, sheet.small
    h = 1.9 * small
    word = pieces.shown(example.label)
    at = text_width("Label", size, "sans", 600) + 10
    label = token(
        word, 0, 0, h, small, role="output", w=min(token_width(word, small), box.w - at), label=pieces.told(example.label),
        shows=given("training/example/ids", example.track + 1),
    )  # fmt: skip
    told = Text(0, centred(0, h, size), "Label", size, 600)
    nodes: list[Node] = [Group((told, Group((label,), at)), box.x, box.y, opacity=animate(0.0, (wrong, 1.0, "linear")))]
    rows = (
        ("p of the label", [percent(exp(-loss)) for loss in example.losses]),
        ("error: −log p, nats", [f"{loss:.2f}" for loss in example.losses]),
    )
    after_x = box.right
    before_x = box.right - text_width("→ 00.00%", size, "sans", 600) - 8
    for i, (words, (before, after)) in enumerate(rows):
        y = box.y + h + (1.5 + 1.7 * i) * size
        shows = [Shows("training/example/loss", (k, example.track), step, "replayed") for k in (0, 1)]
        come, later = animate(0.0, (wrong, 1.0, "linear")), Keyframes((0.0, 0.0), (again.settled, 1.0))
        nodes.append(Text(box.x, y, words, size, opacity=come))
        nodes.append(Text(before_x, y, before, size, 600, anchor="end", opacity=come, shows=shows[0]))
        nodes.append(
            Text(after_x, y, f"→ {after}", size, 600, anchor="end", fill=palette.OUTPUT, opacity=later, shows=shows[1])
        )
    return nodes


def grids(sheet: Sheet, box: Box, layers: int, norms: "Norms", back: Transition, update: Transition) -> list[Node]:
    """Two grids of the model's matrices, the last block on top: gradients, and changes against the matrices' lengths."""
    size, small = sheet.size, sheet.small
    label_room = text_width(f"block {layers - 1}", small) + 8
    gap = 14.0
    w = (box.w - label_room - gap) / 2
    top = box.y + (1.6 * size + 3.0 * small)
    h = row_height(layers, box.bottom - top - LEGENDS * small, 58.0 if sheet.wide else 22.0)
    nodes: list[Node] = []
    if sheet.wide:
        panel = Rect(box.x - MARGIN, box.y - 5, box.w + 2 * MARGIN, box.h + 5, 10, palette.PANEL, palette.TRACK, 1.5)
        nodes.append(panel)
    nodes += [heading(sheet, box, f"The model: {layers} block{'s' * (layers > 1)}, the last on top")]
    each = max(1, -(-int(small * 1.25) // max(1, int(h))))  # of how many rows one is named
    for row in range(layers):
        if (layers - 1 - row) % each == 0:
            y = top + row * h
            words = f"block {layers - 1 - row}"
            nodes.append(Text(box.x + label_room - 8, centred(y, h, small), words, small, anchor="end", fill=palette.QUIET))
    for side, (values, transition, words, chunk) in enumerate(
        (
            (norms.gradients, back, "gradient norm", "training/moments/gradients"),
            (norms.changes, update, "change, % of length", "training/moments/updates"),
        )
    ):
        place = Box(box.x + label_room + side * (w + gap), top, w, h)
        nodes.append(Text(place.x, box.y + 1.6 * size + 1.0 * small, fit(words, w, small, "sans", 600), small, 600))
        if values is None:
            nodes.append(Text(place.x, top + small, "not in this record", small, fill=palette.QUIET))
            continue
        for i, (_, name) in enumerate(KINDS):
            x = place.x + (i + 0.5) * w / 4
            nodes.append(Text(x, top - 0.4 * small, name, small, anchor="middle", fill=palette.QUIET))
        nodes += _grid(sheet, place, layers, values, norms, transition, chunk, percents=side == 1)
    return nodes


def row_height(layers: int, room: float, most: float) -> float:
    """The height of a block's row where all blocks and the embeddings share so much room."""
    return min(most, (room - EMBEDDING) / (layers + 0.4), room / (layers + 1.4))


def grids_height(layers: int, size: float, small: float) -> float:
    """What the grids take where there is as much room as they like, as on a phone."""
    h = min(22.0, max(3.0, 200 / layers))
    return 1.6 * size + (3.0 + LEGENDS) * small + h * (layers + 0.4) + max(h, EMBEDDING)


def _grid(
    sheet: Sheet, place: Box, layers: int, values: Mapping[str, float], norms: "Norms", transition: Transition, chunk: str, *,
    percents: bool,
) -> list[Node]:  # fmt: skip
    """One grid, which appears from the top down; below it the embeddings and the legend."""
    small, h, w = sheet.small, place.h, place.w
    high = max(values.values()) or 1.0
    order = {name: i for i, name in enumerate(values)}
    nodes: list[Node] = []
    empty: list[Node] = []  # where the cells will be
    short = _hundredths if percents else _short
    least = min(w / 4 - 4, w)
    numbers = h >= LEGIBLE and all(text_width(short(value), small) <= least for value in values.values())

    if dense := h < DENSE:
        empty.append(Rect(place.x, place.y, w - 1.5, layers * h, 0, palette.PAPER, palette.LINE, 0.75))

    def cell(name: str, x: float, y: float, width: float, known: str, h: float = h) -> list[Node]:
        value, gap, line = values[name], 0.0 if dense else 1.5, None if dense else palette.LINE
        fill = marks.colour("sequential", value / high)
        if not dense:
            empty.append(Rect(x, y, width - 1.5, h - gap, 2, palette.PAPER, line, 0.75))
        told = f"{known}: {value * 100:.3g}% of its length" if percents else f"{known}: gradient norm {value:.4g}"
        shows = Shows(chunk, (norms.moment, order[name]), norms.step - 1, "replayed")
        found: list[Node] = [Rect(x, y, width - 1.5, h - gap, 0 if dense else 2, fill, line, 0.75, label=told, shows=shows)]
        if numbers:
            middle, base = x + (width - 1.5) / 2, centred(y, h - gap, small)
            ink = palette.ink_on(fill)
            found.append(Text(middle, base, short(value), small, anchor="middle", fill=ink, label=told, shows=shows))
        return found

    rows: list[list[Node]] = []
    for row in range(layers):
        block = layers - 1 - row
        rows.append([])
        for i, (kind, _) in enumerate(KINDS):
            name = f"h.{block}.{kind}"
            rows[-1] += cell(name, place.x + i * w / 4, place.y + row * h, w / 4, name)
    y = place.y + layers * h + max(0.4 * h, 4.0)
    rows.append([])
    for i, (name, words) in enumerate(EMBEDDINGS):
        rows[-1] += cell(name, place.x + i * w / 2, y, w / 2, f"{name} ({words})", max(h, EMBEDDING))
    for row, drawn in enumerate(rows):
        part = row * REVEALED // len(rows) + 1 if len(rows) > REVEALED else row + 1
        at = transition.start + (transition.settled - transition.start) * part / min(len(rows), REVEALED)
        nodes.append(Group(tuple(drawn), opacity=Keyframes((0.0, 0.0), (min(round(at, 2), transition.settled), 1.0))))
    y += max(h, EMBEDDING) + 3
    for i, (_, words) in enumerate(EMBEDDINGS):
        x = place.x + (i + 0.5) * w / 2
        nodes.append(Text(x, y + small, words, small, anchor="middle", fill=palette.QUIET))
    most = f"{high * 100:.3g}%" if percents else three_digits(high)
    legend = marks.legend("sequential", Box(place.x, y + 2.0 * small, w, 6), small, "0", most)
    nodes.append(Group(tuple(legend), opacity=animate(0.0, (transition, 1.0))))
    return [*empty, *nodes]


def _hundredths(share: float) -> str:
    """A share in hundredths, short enough for a cell."""
    return _short(share * 100)


def _short(value: float) -> str:
    """A number in two digits, short enough for a cell: 12, 1.2, .12, .012, 2e-3."""
    if value == 0:
        return "0"
    if value >= 0.0995:
        return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.995 else f"{value:.2f}".lstrip("0")
    return f"{value:.3f}".lstrip("0") if value >= 0.00995 else f"{value:.0e}".replace("e-0", "e-")


def facts(record: Record, sheet: Sheet, box: Box, norms: "Norms", back: Transition, update: Transition) -> list[Node]:
    """The step in numbers: the norm of the whole gradient, and how long the step was."""
    size = sheet.size
    rate, norm = record["training/steps/lr"].tolist(), record["training/steps/grad_norm"].tolist()
    clip = optional(record, "training/plan", {}).get("recipe", {}).get("clip")
    at = norms.step - 1
    rows = [
        (
            f"gradient of step {norms.step:,}",
            f"{norm[at]:.2f}",
            back,
            Shows("training/steps/grad_norm", (at,), norms.step, "replayed"),
        ),
        ("learning rate", f"{rate[at]:.2g}", update, Shows("training/steps/lr", (at,), norms.step, "given")),
    ]
    if clip is not None:
        factor = min(1.0, clip / norm[at]) if norm[at] else 1.0
        rows.insert(1, (f"clipped to {clip:g}", f"× {factor:.2f}", update, given("training/plan")))
    nodes: list[Node] = []
    for i, (words, number, transition, shows) in enumerate(rows):
        y = box.y + (1.1 + (1.9 if sheet.wide else 1.6) * i) * size
        there = animate(0.0, (transition, 1.0, "linear"))
        pair = (Text(box.x, y, words, size), Text(box.right, y, number, size, 600, anchor="end"))
        nodes.append(Group(pair, opacity=there, shows=shows))
    return nodes


def here(curves: Curves, run: Training, step: int, there: Any) -> list[Node]:
    """The ring around the loss of that step."""
    loss = run.training[step - 1]
    ring = circle(*curves.point(loss), 5)
    told = f"step {step:,}: training loss {loss.value:.3f}"
    return [Path(ring, stroke=palette.TRACK, stroke_width=2, opacity=there, label=told, shows=loss.shows)]
