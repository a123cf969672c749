"""Which earlier tracks one track looks at, as arcs below the tokens: part of `xray`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pellucid.draw.components.marks import Box
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.font import text_width
from pellucid.draw.film.nodes import Node, Path, Shows, Text
from pellucid.draw.views.labels import config, percent
from pellucid.record import Record


LEAST = 0.01  # a smaller weight has no arc
THICKEST = 9.0
DEEPEST = 56.0  # an arc below the tokens


@dataclass(frozen=True, slots=True)
class Attention:
    """Weights of one track (mean over heads) on the tracks up to itself, in one block."""

    block: int
    heads: int
    weights: tuple[float, ...]


def attention(record: Record, track: int) -> Attention | None:
    """Of the block in which one track, other than itself and the first, is looked at most; None if none is in the record."""
    found: list[tuple[float, Attention]] = []
    for block in range(config(record).n_layers):
        if f"generation/attention/{block}" not in record:
            continue
        heads = record[f"generation/attention/{block}"][:, track, : track + 1]
        weights = tuple(heads.mean(axis=0, dtype=float).tolist())
        found.append((max(weights[1:track], default=0.0), Attention(block, len(heads), weights)))
    return max(found, key=lambda one: one[0])[1] if found else None


def arcs(
    looks: Attention | None, ins: Mapping[int, Box], track: int, tracks: Sequence[int], sheet: Sheet, look: Transition
) -> list[Node]:
    """Arcs from the followed track's token to those it looks at, as thick as the weight, with the weight below."""
    box = ins[track]
    size = sheet.small
    deep = min(sheet.bottom - (10 if sheet.wide else 20) - 1.7 * size - box.bottom, DEEPEST)
    low = box.bottom + deep + 1.7 * size
    there = animate(0, (look, 1))
    if looks is None:
        return [Text(sheet.left, low, "attention: not in this record", size, fill=palette.QUIET, opacity=there)]
    name = f"block {looks.block}" if sheet.wide else f"b {looks.block}"
    nodes: list[Node] = [Text(sheet.left, low, name, size, fill=palette.TRACK, opacity=there)]
    if sheet.wide:
        nodes.append(Text(sheet.left, low - 15, "looks at", size, fill=palette.TRACK, opacity=there))
    shows = Shows(f"generation/attention/{looks.block}")  # a mean over all its heads: the label says of which place
    widest = max(abs(ins[key].middle - box.middle) for key in tracks)
    for key, weight in enumerate(looks.weights):
        if key not in ins:
            continue
        place = ins[key]
        label = f"track {track} to track {key}: {percent(weight)}, mean of {looks.heads} heads"
        if weight >= LEAST:
            y = box.bottom + 2
            far = abs(place.middle - box.middle)
            bend = 10 + (2 * deep - 18) * (far / widest if widest else 0)
            d = (("M", box.middle, y), ("Q", (box.middle + place.middle) / 2, y + bend, place.middle, y))
            if key == track:
                d = (("M", box.middle - 7, y), ("Q", box.middle, y + 22, box.middle + 7, y))
            thick = max(1.0, THICKEST * weight)
            grown = animate(0.0, (look, 1.0, "move"))
            nodes.append(Path(d, stroke=palette.TRACK, stroke_width=thick, opacity=0.75, draw=grown, label=label, shows=shows))
        nodes.append(
            Text(place.middle, low, percent(weight), size, anchor="middle", fill=palette.TRACK, opacity=there, label=label,
                 shows=shows)
        )  # fmt: skip
    before = sum(weight for key, weight in enumerate(looks.weights) if key not in ins)
    told = f"tracks not shown: {percent(before)}"
    if tracks[0] > 0 and sheet.right - text_width(told, size) > box.right + 8:
        nodes.append(Text(sheet.right, low, told, size, anchor="end", fill=palette.TRACK, opacity=there, shows=shows))
    return nodes
