"""A small chart of one number a step: upright bars on one line, with the largest value."""

from collections.abc import Callable, Sequence
from typing import Any

from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import measured
from pellucid.draw.components.scales import BandScale, LengthScale
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.nodes import Node, Path, Rect, Shows, Text
from pellucid.languages import tr


MOST_GAP, WIDEST = 3.0, 40.0  # between two bars; a bar


def columns(
    values: Sequence[float], box: Box, size: float, *, title: str, words: Callable[[float], str], shows: Callable[[int], Shows],
    fills: Sequence[str], opacities: Sequence[Any] | None = None,
) -> list[Node]:  # fmt: skip
    """Upright bars, one a step, as high as their values; the largest value is written above them.

    Args:
        values: one a step, from 0 up. box: for all of it: title and largest value above the bars, the numbers of the first and
            last step below. size: of the text. title: what the values are. words: a value as text.
        shows: the source of bar i; where that was measured, the number carries a clock. fills: one a bar.
        opacities: one a bar, where they appear with time.
    """
    top, low = box.y + 1.9 * size, box.bottom - 1.5 * size
    most = max(range(len(values)), key=lambda i: values[i])
    greatest = tr("at most {value}", value=words(values[most]))
    text = Text(box.right, box.y + size, greatest, size, anchor="end", fill=palette.QUIET, shows=shows(most))
    clocked = shows(most).truth == "measured"
    taken = text_width(str(text.string), size) + (1.3 * size if clocked else 0.0)
    nodes: list[Node] = [
        Text(box.x, box.y + size, fit(title, box.w - taken - size, size, "sans", 600), size, 600),
        measured(text) if clocked else text,
    ]
    step = box.w / len(values)
    bands = BandScale(box.x, step, min(step - min(MOST_GAP, step * 0.25), WIDEST))
    heights = LengthScale(low - top, values[most])
    for i, value in enumerate(values):
        high = heights.length(value)
        about: dict[str, Any] = {} if opacities is None else {"opacity": opacities[i]}
        label = tr("step {step}: {value}", step=i + 1, value=words(value))
        bar = Rect(bands.place(i), low - high, bands.thickness, high, 1, fills[i], label=label, shows=shows(i), **about)
        nodes.append(bar)
    nodes.append(Path((("M", box.x, low), ("L", box.right, low)), stroke=palette.QUIET))
    nodes.append(Text(box.x, low + 1.25 * size, tr("step {step}", step=1), size, fill=palette.QUIET))
    if len(values) > 1:
        nodes.append(Text(box.right, low + 1.25 * size, f"{len(values)}", size, anchor="end", fill=palette.QUIET))
    return nodes
