"""The two grids of `step`: the gradient norm of each weight matrix, and how far the update moved it; the last block on top."""

from collections.abc import Mapping

from pellucid.draw.components import marks
from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import centred
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.figures.step_panels import MARGIN, heading
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Group, Node, Rect, Shows, Text
from pellucid.draw.views.labels import three_digits
from pellucid.draw.views.step import MatrixNorms


KINDS = (("attn.c_attn", "Q K V"), ("attn.c_proj", "out"), ("mlp.c_fc", "up"), ("mlp.c_proj", "down"))
EMBEDDINGS = (("wte", "tokens"), ("wpe", "positions"))
REVEALED = 12  # parts in which a grid appears, at most
EMBEDDING = 14.0  # height of the embeddings' row, at least
LEGENDS = 5.6  # of the lesser text's size: what stands below the grids
DENSE = 6.0  # rows less high than this touch
LEGIBLE = 15.0  # a row less high than this has no numbers


def grids(sheet: Sheet, box: Box, layers: int, norms: MatrixNorms, back: Transition, update: Transition) -> list[Node]:
    """Two grids of the model's matrices: gradient norms, and norms of the changes over those of the matrices."""
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
    """The height of a block's row where all blocks and the embeddings share `room`; at most `most`."""
    return min(most, (room - EMBEDDING) / (layers + 0.4), room / (layers + 1.4))


def grids_height(layers: int, size: float, small: float) -> float:
    """The height of the grids where room is not limited, as on a phone."""
    h = min(22.0, max(3.0, 200 / layers))
    return 1.6 * size + (3.0 + LEGENDS) * small + h * (layers + 0.4) + max(h, EMBEDDING)


def _grid(
    sheet: Sheet, place: Box, layers: int, values: Mapping[str, float], norms: MatrixNorms, transition: Transition, chunk: str,
    *, percents: bool,
) -> list[Node]:  # fmt: skip
    """One grid, which appears from the top down, and below it the embeddings and the legend."""
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
        words = f"{known}: {value * 100:.3g}% of its length" if percents else f"{known}: gradient norm {value:.4g}"
        shows = Shows(chunk, (norms.moment, order[name]), norms.step - 1, "replayed")
        found: list[Node] = [Rect(x, y, width - 1.5, h - gap, 0 if dense else 2, fill, line, 0.75, label=words, shows=shows)]
        if numbers:
            middle, base = x + (width - 1.5) / 2, centred(y, h - gap, small)
            ink = palette.ink_on(fill)
            found.append(Text(middle, base, short(value), small, anchor="middle", fill=ink, label=words, shows=shows))
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
