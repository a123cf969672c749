"""`parameters`: every weight matrix of a model from random to trained, its number of parameters, and the sizes of GPT-3."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.draw.components.marks import Box, diverging, legend
from pellucid.draw.components.ruler import PUBLISHED, published, ruler
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Timeline, Transition
from pellucid.draw.film import palette
from pellucid.draw.film.film import Film
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.keyframes import Keyframes
from pellucid.draw.film.nodes import Gradient, Image, Node, Rect, Shows, Text, given
from pellucid.draw.views.labels import in_short, three_digits
from pellucid.draw.views.model_parts import BRIEF, MATRICES, SHORT, block_name
from pellucid.draw.views.parameters import EMBEDDINGS, OUTSIDE, ParametersView
from pellucid.gpt.config import GPTConfig
from pellucid.languages import counted, joined, listed, tr


STRONG = ("#8d6fd1", "#d15c9c", "#e5a04c")  # the gradient of what is trained, dark enough for a thin frame
LEAST = 5.0  # height of a square matrix that can be seen


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawing:
    """What every part needs: the figure's values, the sheet, and when each snapshot is shown, in seconds of the film."""

    view: ParametersView
    sheet: Sheet
    times: tuple[float, ...]

    def over_time(self, value: Callable[[int], Any]) -> Any:
        """A value that jumps from snapshot to snapshot; `value` takes the number of the snapshot."""
        values = [value(i) for i in range(len(self.times))]
        return values[0] if all(one == values[0] for one in values) else Keyframes(*zip(self.times, values, strict=True))


def parameters(view: ParametersView, *, width: float = 960) -> Film:
    """The film of a model's weight matrices. Raises PellucidError for a picture less than 240 wide."""
    sheet, timeline = Sheet.of(width, narrow_height=760), Timeline()
    learn, count = _on_timeline(view, timeline)
    gap = (learn.settled - learn.start) / max(view.snapshots - 1, 1)
    times = tuple(0.0 if i == 0 else learn.start + gap * i for i in range(view.snapshots))
    drawing = _Drawing(view=view, sheet=sheet, times=times)
    nodes = _head(drawing)
    if sheet.wide:
        nodes += _block(drawing, Box(24, 72, 330, 262))
        nodes += _table(drawing, Box(24, 342, 330, 154))
        nodes += _all_blocks(drawing, Box(382, 72, 554, 224))
        nodes += _embeddings(drawing, Box(382, 304, 554, 86))
        ruled = Box(382, 400, 554, 96)
    else:
        nodes += _block(drawing, Box(12, 100, 336, 214))
        nodes += _all_blocks(drawing, Box(12, 324, 336, 130))
        nodes += _embeddings(drawing, Box(12, 464, 336, 74))
        nodes += _table(drawing, Box(12, 546, 336, 66))
        ruled = Box(12, 624, 336, 86)
    nodes += ruler(view.model.config.parameters(), view.model.name, ruled, sheet, count)
    return sheet.film(view.model, tr("From random to trained"), nodes, timeline, alt=_alt(view), notes=_notes(view))


def _on_timeline(view: ParametersView, timeline: Timeline) -> tuple[Transition, Transition]:
    """When the snapshots are shown, and when the parameters are counted."""
    total, many = view.model.config.parameters(), len(view.sizes)
    untrained = tr(
        "Before training: {matrices} matrices of random values, {parameters:,} parameters in all. It can say nothing yet.",
        matrices=many, parameters=total,
    )  # fmt: skip
    timeline.segment(tr("Random values"), (0.0, 5.0, untrained))
    steps = counted(view.last_step, "step")
    caption = tr("Training moves all of them a little at each step: after {steps}, these are their values.", steps=steps)
    if view.last_step < view.run_steps:
        taken = counted(view.run_steps, "step")
        caption = joined([caption, tr("The run took {steps}; these are the last that the record holds.", steps=taken)])
    (learn,) = timeline.segment(tr("Training"), (0.5 * (view.snapshots - 1), 3.0, caption))
    (count,) = timeline.segment(tr("How many"), (0.0, 6.0, _compared(view)))
    return learn, count


def _picture(drawing: _Drawing, name: str, box: Box) -> list[Node]:
    """A matrix by tiles, from snapshot to snapshot, on grey before training and on the trained gradient as the loss falls."""
    view = drawing.view
    most = view.range_of(name)
    tiles = np.clip(view.tiles[name], -most, most)
    matrix = drawing.over_time(lambda i: diverging(tiles[i], most))
    rows, columns = view.sizes[name]
    label = tr(
        "{matrix}: {rows:,} x {columns:,} = {count:,} numbers", matrix=name, rows=rows, columns=columns, count=rows * columns
    )
    shows = Shows(f"training/thumbnails/{name}")  # one snapshot after the other
    learned = drawing.over_time(lambda i: view.learned[i])
    edge = 2.0 if box.h > 24 else 1.0
    around = Box(box.x - edge, box.y - edge, box.w + 2 * edge, box.h + 2 * edge)
    return [
        Rect(around.x, around.y, around.w, around.h, 1, palette.UNTRAINED),
        Rect(around.x, around.y, around.w, around.h, 1, Gradient(STRONG), opacity=learned),
        Image(matrix, "diverging", box.x, box.y, box.w, box.h, label=label, shows=shows),
    ]


def _head(drawing: _Drawing) -> list[Node]:
    """Which snapshot is shown, and what the colours mean."""
    view, sheet = drawing.view, drawing.sheet

    def words(i: int) -> str:
        step = view.steps[i]
        if step == 0:
            return tr("step 0 of {steps:,}: random values", steps=view.run_steps)
        tokens = in_short(view.tokens[i])
        return tr("step {step:,} of {steps:,}, {tokens} tokens seen", step=step, steps=view.run_steps, tokens=tokens)

    if sheet.wide:
        title = text_width(tr("From random to trained"), sheet.big, "sans", 600)
        x, y, box = sheet.left + title + 20, 44.0, Box(746, 26, 190, 9)
    else:
        x, y, box = sheet.left, sheet.top + 10, Box(12, sheet.top + 20, 200, 9)
    most = three_digits(view.ranges[0])
    shows = given("training/moments/steps")
    snapshot = Text(x, y, drawing.over_time(words), sheet.small, fill=palette.QUIET, shows=shows, id="moment")
    return [snapshot, *legend("diverging", box, sheet.small, f"−{most}", most, "0")]


def _block(drawing: _Drawing, box: Box) -> list[Node]:
    """The first block, its four matrices to scale, with their names and norms."""
    names = [name for name in drawing.view.names if name.startswith("h.0.")]
    small, gap = drawing.sheet.small, 14.0
    line = small + 6
    shapes, wide, high = _block_shapes(drawing.view)
    unit = min((box.w - gap - 6) / wide, (box.h - (small + 8) - 3 * (line + 8)) / high)
    nodes: list[Node] = [Text(box.x, box.y + small, tr("block 1, to scale"), small, 600)]
    y = box.y + small + 8
    x = box.x + 3
    for i, name in enumerate(names):
        w, h = shapes[i][0] * unit, shapes[i][1] * unit
        room = w if i < 2 else box.w
        nodes += _norm(drawing, name, Box(x - 3, y, room, line), small)
        nodes += _picture(drawing, name, Box(x, y + line, w, h))
        if i == 0:
            x += w + gap
        else:
            x = box.x + 3
            y += line + max(h, shapes[0][1] * unit if i == 1 else 0) + 8
    return nodes


def _norm(drawing: _Drawing, matrix: str, box: Box, size: float) -> list[Node]:
    """A matrix's name with its norm from snapshot to snapshot; the name alone where there is no room."""
    kind = matrix.removeprefix("h.0.")
    names = (tr(MATRICES[kind]), tr(SHORT[kind]))

    def with_norm(name: str, norm: str) -> str:
        return tr("{matrix}, norm {norm}", matrix=name, norm=norm)

    words: Any = next((word for word in (*names, tr(BRIEF[kind])) if text_width(word, size) <= box.w), "")
    if name := next((word for word in names if text_width(with_norm(word, "0.000"), size) <= box.w), ""):
        words = drawing.over_time(lambda i: with_norm(name, three_digits(drawing.view.norm(i, matrix))))
    shows = Shows("training/moments/weights")  # one snapshot after the other
    return [Text(box.x, box.y + size, words, size, fill=palette.QUIET, label=matrix, shows=shows)] if words else []


def _across(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a matrix with its longer side across."""
    return max(size), min(size)


def _block_shapes(view: ParametersView) -> tuple[list[tuple[int, int]], int, int]:
    """The sides of a block's matrices in numbers, and those of the block, the first two of them side by side."""
    shapes = [_across(view.sizes[name]) for name in view.names if name.startswith("h.0.")]
    wide = max(shapes[0][0] + shapes[1][0], shapes[2][0], shapes[3][0])
    return shapes, wide, max(shapes[0][1], shapes[1][1]) + shapes[2][1] + shapes[3][1]


def _all_blocks(drawing: _Drawing, box: Box) -> list[Node]:
    """All blocks, each as the one that is shown large; evenly chosen ones where all would be too small to be seen."""
    view, small = drawing.view, drawing.sheet.small
    count = view.model.config.n_layers
    shapes, wide, high = _block_shapes(view)
    top = box.y + small + 8
    down = box.bottom - top

    def fitted(columns: int, many: int) -> tuple[float, int, float, float, bool]:
        """Pixels a number, columns, gaps within and between blocks, and whether blocks have names."""
        lines = -(-many // columns)
        inner, outer = (6.0, 16.0) if many <= 12 else (3.0, 9.0)
        sideways = ((box.w + outer) / columns - outer - inner) / wide
        named = (down + outer) / lines - outer > 60
        upright = ((down + outer) / lines - outer - 2 * inner - (small + 4 if named else 0)) / high
        return min(sideways, upright), columns, inner, outer, named

    many = count
    while True:
        ways = [fitted(columns, many) for columns in range(1, many + 1)]  # the largest; of equals that in fewest columns
        unit, columns, inner, outer, named = max(ways, key=lambda way: (round(way[0], 9), -way[1]))
        if unit * view.model.config.d_model >= LEAST or many == 1:
            break
        many -= 1
    blocks = [i * (count - 1) // max(many - 1, 1) for i in range(many)]
    if many < count:
        shown = tr("{shown} of {count} blocks, {matrices} matrices", shown=many, count=count, matrices=4 * many)
    elif count > 1:
        shown = tr("all {count} blocks, {matrices} matrices", count=count, matrices=4 * many)
    else:
        shown = tr("the only block, {matrices} matrices", matrices=4 * many)
    nodes: list[Node] = [Text(box.x, box.y + small, shown, small, 600)]
    pitch_x, pitch_y = (box.w + outer) / columns, (down + outer) / -(-many // columns)
    for i, block in enumerate(blocks):
        x, y = box.x + i % columns * pitch_x, top + i // columns * pitch_y
        if named:
            nodes.append(Text(x, y + small, block_name(block), small, fill=palette.QUIET))
            y += small + 6
        names = [name for name in view.names if name.startswith(f"h.{block}.")]
        sides = [(w * unit, h * unit) for w, h in shapes]
        places = (
            (x, y), (x + sides[0][0] + inner, y), (x, y + sides[0][1] + inner), (x, y + sides[0][1] + sides[2][1] + 2 * inner),
        )  # fmt: skip
        for name, (left, up), (w, h) in zip(names, places, sides, strict=True):
            nodes += _picture(drawing, name, Box(left + 1, up + 1, w, h))
    return nodes


def _embeddings(drawing: _Drawing, box: Box) -> list[Node]:
    """The token and the position matrix, to one scale of their own."""
    view, small, gap = drawing.view, drawing.sheet.small, 26.0
    line = small + 8
    words = {"wte": tr("tokens"), "wpe": tr("positions")}
    shapes = {name: _across(view.sizes[name]) for name in words}
    label = text_width(words["wpe"], small)
    (long, high), (short, other) = shapes["wte"], shapes["wpe"]
    unit = min(
        (box.w - gap - label - 3) / long, (box.w - gap - 6) / (long + short), (box.h - 2 * line - 6) / max(high, other)
    )  # fmt: skip
    most = three_digits(view.ranges[1])
    heading = tr("embeddings, to a scale of their own, colours to ±{most}", most=most)
    nodes: list[Node] = [Text(box.x, box.y + small, fit(heading, box.w, small, "sans", 600), small, 600)]
    x, y = box.x + 3, box.y + 2 * line
    for name, (w, h) in shapes.items():
        nodes.append(Text(x - 3, y - 6, words[name], small, fill=palette.QUIET, label=f"{name}: {view.sizes[name]}"))
        nodes += _picture(drawing, name, Box(x, y, w * unit, h * unit))
        x += max(w * unit, label) + gap
    return nodes


def _table(drawing: _Drawing, box: Box) -> list[Node]:
    """The sum of all parameters line by line; on a phone its last lines only."""
    sheet, lines, total = drawing.sheet, drawing.view.sums(), drawing.view.model.config.parameters()
    assert sum(count for _, _, count in lines[5:]) == total, "the lines add up"
    if not sheet.wide:
        lines = lines[5:]
    small = sheet.small
    pitch = box.h / (len(lines) + 1)
    middle, whole = box.x + box.w * 0.68, tr("all parameters")
    nodes: list[Node] = []
    for i, (what, product, count) in enumerate([*lines, (whole, "", total)]):
        strong = 600 if what in (tr("blocks"), whole) else 400
        base = box.y + (i + 0.75) * pitch
        nodes.append(Text(box.x, base, what, small, strong, shows=given("provenance")))
        if product:
            nodes.append(Text(middle, base, product, small, anchor="end", fill=palette.QUIET, shows=given("provenance")))
        nodes.append(Text(box.right, base, f"{count:,}", small, strong, anchor="end", shows=given("provenance")))
    return nodes


def _compared(view: ParametersView) -> str:
    """The model's parameters against those of GPT-3's 175B."""
    total, largest = view.model.config.parameters(), GPTConfig.preset(PUBLISHED[-1])
    times = largest.parameters() / total
    words = f"{float(f'{times:.3g}'):,.0f}" if times >= 100 else three_digits(times)
    return tr(
        "{model} has {parameters:,} parameters. GPT-3's 175B has {blocks} blocks of {each:.2f} billion each, about {times} "
        "times as many in all.",
        model=view.model.name, parameters=total, blocks=largest.n_layers, each=largest.block_parameters() / 1e9, times=words,
    )  # fmt: skip


def _alt(view: ParametersView) -> str:
    lines = listed(f"{what} {count:,}" for what, _, count in view.sums()[5:])
    changes = listed(
        tr(
            "{matrix} from {before} to {after}", matrix=tr(SHORT[name.removeprefix("h.0.")]),
            before=three_digits(view.norm(0, name)), after=three_digits(view.norm(-1, name)),
        )
        for name in view.names if name.startswith("h.0.") or name in EMBEDDINGS
    )  # fmt: skip
    return tr(
        "The {matrices} weight matrices of {model} as coloured tiles, at {moments} moments, from step 0 to step {steps:,}. "
        "Parameters: {lines}, together {parameters:,}. Norms of the embeddings and of block 1: {changes}. {compared}",
        matrices=len(view.names), model=view.model.name, moments=view.snapshots, steps=view.steps[-1], lines=lines,
        parameters=view.model.config.parameters(), changes=changes, compared=_compared(view),
    )  # fmt: skip


def _notes(view: ParametersView) -> list[str]:
    sizes = listed(f"{size.removeprefix('gpt3-').upper()} {published(size):,}" for size in PUBLISHED)
    return [
        tr("A matrix is shown as at most 32 x 32 tiles, each the mean of the numbers in it: single weights are larger."),
        tr(
            "Colours tell numbers up to ±{blocks} apart in blocks, up to ±{embeddings} in embeddings; what lies beyond, "
            "{outside:g}% at the end, has the strongest colour.",
            blocks=three_digits(view.ranges[0]), embeddings=three_digits(view.ranges[1]), outside=OUTSIDE,
        ),
        tr("Every matrix lies with its longer side across. Areas are to scale within a block, and within the embeddings."),
        tr(
            "The frames turn from grey to coloured as far as the loss on one fixed window of text has come on its way from the "
            "first moment to the last."
        ),
        tr("A matrix's norm is the square root of the sum of the squares of its numbers."),
        tr(
            "Biases and LayerNorms are counted, but not drawn. The output matrix is the token matrix again: it is counted once."
        ),
        tr(
            "The eight sizes of GPT-3 follow from their published shapes (arXiv 2005.14165, Tables 2.1 and D.1): {sizes}.",
            sizes=sizes,
        ),
    ]  # fmt: skip
