"""The lower panel of `embedding`: the output vector, its products with the rows of the likeliest tokens, softmax, the draw."""

from dataclasses import dataclass

from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import centred, token, token_width
from pellucid.draw.components.scales import LengthScale
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.components.vectors import vector
from pellucid.draw.figures.tokens_panels import LIKELY, heading, panel
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit
from pellucid.draw.film.nodes import Node, Path, Rect, Shows, Text
from pellucid.draw.views.embedding import EmbeddingView
from pellucid.draw.views.labels import percent
from pellucid.languages import tr


OUTPUT = "generation/output/"
STEPS = "generation/steps/"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTransitions:
    """When the output vector, the products, the probabilities and the drawn token appear."""

    normed: Transition
    multiply: Transition
    soften: Transition
    draw: Transition


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """The columns of a candidate's row: token, its row's cells, product, probability; and the height of a row."""

    token: Box
    cells: Box
    product: float  # right edge
    bar: Box
    percent: float  # left edge
    high: float

    @classmethod
    def of(cls, box: Box, sheet: Sheet) -> "_Columns":
        x = box.x + sheet.pad / 2
        if sheet.wide:
            return cls(
                token=Box(x, 0, 104, 22), cells=Box(x + 148, 0, 290, 18), product=x + 520, bar=Box(x + 536, 0, 104, 14),
                percent=x + 648, high=25.0,
            )  # fmt: skip
        return cls(
            token=Box(x, 0, 86, 19), cells=Box(x + 92, 0, 96, 15), product=x + 236, bar=Box(x + 242, 0, 36, 11),
            percent=x + 282, high=26.0,
        )  # fmt: skip


def output_panel(view: EmbeddingView, box: Box, sheet: Sheet, when: OutputTransitions) -> list[Node]:
    """The output vector, a row for each of the likeliest tokens, and the drawn token."""
    columns = _Columns.of(box, sheet)
    nodes: list[Node] = [panel(box), heading(tr("From vector to token"), box, sheet)]
    y = box.y + (2.1 if sheet.wide else 2.2) * sheet.size
    most = max(map(abs, view.output)) or 1.0
    shows = Shows(f"{OUTPUT}vector")
    there = animate(0, (when.normed, 1))
    label = tr("the output vector: the followed position after the last block and the final LayerNorm")
    name = fit(tr("output vector"), columns.cells.x - columns.token.x - 6, sheet.small)
    nodes.append(Text(columns.token.x, centred(y, 18, sheet.small), name, sheet.small, opacity=there, shows=shows))
    nodes += vector(view.output, Box(columns.cells.x, y, columns.cells.w, 18), most, label=label, shows=shows, opacity=there)
    y += 18 + (0.4 if sheet.wide else 0.6) * sheet.size
    nodes += _headings(columns, y, sheet, when)
    y += 1.5 * sheet.small
    for i in range(len(view.candidates)):
        nodes += _candidate(view, i, y + i * columns.high, columns, sheet, when)
    if sheet.wide:
        return nodes + _drawn(view, Box(columns.percent + 64, box.y, box.right - columns.percent - 76, box.h), sheet, when)
    low = y + 5 * columns.high + 4
    return nodes + _drawn(view, Box(box.x + 6, low, box.w - 12, box.bottom - low), sheet, when)


def _headings(columns: _Columns, y: float, sheet: Sheet, when: OutputTransitions) -> list[Node]:
    """The names of the columns."""
    size, base = sheet.small, y + sheet.small
    product, chance = animate(0, (when.multiply, 1)), animate(0, (when.soften, 1))
    times, equals = tr("× its row"), tr("= logit")
    if sheet.wide:
        times, equals = tr("× the token's row"), tr("= product")
    found: list[Node] = [
        Text(columns.product, base, equals, size, anchor="end", fill=palette.QUIET, opacity=product),
        Text(columns.cells.x, base, times, size, fill=palette.QUIET, opacity=product),
    ]
    if sheet.wide:
        found.append(Text(columns.bar.x, base, tr("probability"), size, fill=palette.QUIET, opacity=chance))
    return found


def _candidate(view: EmbeddingView, i: int, y: float, columns: _Columns, sheet: Sheet, when: OutputTransitions) -> list[Node]:
    """One of the likeliest tokens: its row of the token matrix, the product with the output vector, its probability."""
    one, size = view.candidates[i], sheet.small
    most = max(abs(value) for other in view.candidates for value in other.row) or 1.0
    word, middle = view.pieces.shown(one.token), y + columns.high / 2
    multiplied, softened = animate(0, (when.multiply, 1)), animate(0, (when.soften, 1))
    row, p = Shows(f"{OUTPUT}rows", (i,)), Shows(f"{STEPS}topk_logprobs", (0, i))
    fully = max(other.p for other in view.candidates)
    long = LengthScale(columns.bar.w, fully).length(one.p)
    described = view.pieces.described(one.token)
    product = f"{one.product:.2f}".replace("-", "−")
    sum_label = tr("the product of the output vector and the row of {token}, added up: its logit", token=described)
    bar, base = columns.bar, middle + 0.36 * size
    return [
        token(
            word, columns.token.x, middle - columns.token.h / 2, columns.token.h, size, role="plain",
            w=min(token_width(word, size), columns.token.w), label=described, shows=Shows(f"{STEPS}topk_ids", (0, i)),
            opacity=multiplied,
        ),
        *vector(
            one.row, Box(columns.cells.x, middle - columns.cells.h / 2, columns.cells.w, columns.cells.h), most,
            label=tr("the row of {token} in the token matrix", token=described), shows=row, opacity=multiplied,
        ),
        Text(columns.product, base, product, size, 400, "mono", "end", opacity=multiplied, label=sum_label, shows=row),
        Rect(bar.x, middle - bar.h / 2, long, bar.h, 2, LIKELY, opacity=softened, label=percent(one.p), shows=p),
        Text(columns.percent, base, percent(one.p), size, opacity=softened, shows=p),
    ]  # fmt: skip


def _drawn(view: EmbeddingView, box: Box, sheet: Sheet, when: OutputTransitions) -> list[Node]:
    """The token that comes out, how it was chosen, and its probability: on a screen one below the other, else in a row."""
    there, word, small = animate(0, (when.draw, 1)), view.pieces.shown(view.drawn), sheet.small
    how = tr("temperature 0: the likeliest") if view.greedy else tr("the draw {draw:.4f} gives", draw=view.draw)
    draw, p, drawn = (Shows(f"{STEPS}{name}", (0,)) for name in ("draw", "drawn_logprobs", "drawn_ids"))
    wide, high = min(token_width(word, sheet.size), box.w - 8), 28.0 if sheet.wide else 22.0
    y = box.y + max(0.0, (box.h - high) / 2)
    base = centred(y, high, small)
    if sheet.wide:
        x, line = box.middle - wide / 2, (("M", box.x - 8, box.y + 14), ("L", box.x - 8, box.bottom - 14))
        above = Text(box.middle, y - 10, fit(how, box.w, small), small, 400, "sans", "middle", palette.QUIET, there, shows=draw)
        below = Text(box.middle, y + high + 1.5 * small, percent(view.drawn_p), small, anchor="middle", opacity=there, shows=p)
        nodes: list[Node] = [Path(line, stroke=palette.LINE), above, below]
    else:
        x, room = box.right - wide - 56, box.w - 68 - wide
        nodes = [
            Text(box.x + 6, base, fit(how, room, small), small, fill=palette.QUIET, opacity=there, shows=draw),
            Text(box.right - 48, base, percent(view.drawn_p), small, opacity=there, shows=p),
        ]
    label = view.pieces.described(view.drawn)
    return [*nodes, token(word, x, y, high, sheet.size, role="output", w=wide, opacity=there, label=label, shows=drawn)]
