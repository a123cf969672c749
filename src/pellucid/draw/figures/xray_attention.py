"""The arcs of `xray`: which earlier positions the followed one attends to, drawn below the tokens."""

from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.figures.xray_grid import XrayGrid
from pellucid.draw.film import palette
from pellucid.draw.film.font import text_width
from pellucid.draw.film.nodes import Node, Path, Text
from pellucid.draw.views.labels import percent
from pellucid.draw.views.model_parts import block_name
from pellucid.languages import tr


LEAST = 0.01  # a smaller weight has no arc
THICKEST = 9.0
DEEPEST = 56.0  # an arc below the tokens


def arcs(grid: XrayGrid, attend: Transition) -> list[Node]:
    """Arcs from the followed position's token to those that it attends to, as thick as the weight, with the weight below."""
    attention, sheet, ins, position = grid.view.attention, grid.sheet, grid.ins, grid.view.followed
    box, size = ins[position], sheet.small
    deep = min(sheet.bottom - (10 if sheet.wide else 20) - 1.7 * size - box.bottom, DEEPEST)
    low = box.bottom + deep + 1.7 * size
    there = animate(0, (attend, 1))
    if attention is None:
        return [Text(sheet.left, low, tr("attention: not in this record"), size, fill=palette.QUIET, opacity=there)]
    name = block_name(attention.block) if sheet.wide else tr("b {number}", number=attention.block + 1)
    nodes: list[Node] = [Text(sheet.left, low, name, size, fill=palette.FOLLOWED, opacity=there)]
    if sheet.wide:
        nodes.append(Text(sheet.left, low - 15, tr("looks at"), size, fill=palette.FOLLOWED, opacity=there))
    shows = attention.shows  # a mean over all its heads: the label says of which place
    widest = max(abs(ins[key].middle - box.middle) for key in grid.positions)
    for key, weight in enumerate(attention.weights):
        if key not in ins:
            continue
        place = ins[key]
        label = tr(
            "position {query} to position {key}: {weight}, mean of {heads} heads",
            query=position, key=key, weight=percent(weight), heads=attention.heads,
        )  # fmt: skip
        if weight >= LEAST:
            y = box.bottom + 2
            far = abs(place.middle - box.middle)
            depth = 10 + (2 * deep - 18) * (far / widest if widest else 0)
            d = (("M", box.middle, y), ("Q", (box.middle + place.middle) / 2, y + depth, place.middle, y))
            if key == position:
                d = (("M", box.middle - 7, y), ("Q", box.middle, y + 22, box.middle + 7, y))
            thick = max(1.0, THICKEST * weight)
            grown = animate(0.0, (attend, 1.0, "move"))
            nodes.append(
                Path(d, stroke=palette.FOLLOWED, stroke_width=thick, opacity=0.75, draw=grown, label=label, shows=shows)
            )
        nodes.append(
            Text(place.middle, low, percent(weight), size, anchor="middle", fill=palette.FOLLOWED, opacity=there, label=label,
                 shows=shows)
        )  # fmt: skip
    before = sum(weight for key, weight in enumerate(attention.weights) if key not in ins)
    words = tr("positions not shown: {weight}", weight=percent(before))
    if grid.positions[0] > 0 and sheet.right - text_width(words, size) > box.right + 8:
        nodes.append(Text(sheet.right, low, words, size, anchor="end", fill=palette.FOLLOWED, opacity=there, shows=shows))
    return nodes
