"""The eight sizes of GPT-3 on a line by their logarithm, and where a model stands among them: part of `parameters`."""

from math import floor, log10
from typing import Any

from pellucid.draw.components.marks import Box
from pellucid.draw.components.parts import circle
from pellucid.draw.components.scales import LogScale
from pellucid.draw.components.sheet import Sheet
from pellucid.draw.components.timeline import Transition, animate
from pellucid.draw.film import palette
from pellucid.draw.film.font import fit, text_width
from pellucid.draw.film.nodes import Node, Path, Text, given
from pellucid.draw.views.labels import in_short
from pellucid.gpt.config import GPTConfig
from pellucid.languages import tr


PUBLISHED = tuple(f"gpt3-{size}" for size in ("125m", "350m", "760m", "1.3b", "2.7b", "6.7b", "13b", "175b"))
SOURCE = "arXiv 2005.14165, Tables 2.1 and D.1"
NAMED_NARROW = ("gpt3-125m", "gpt3-1.3b", "gpt3-13b", "gpt3-175b")


def published(name: str) -> int:
    """Parameters of a published size."""
    return GPTConfig.preset(name).parameters()


def ruler(total: int, name: str, box: Box, sheet: Sheet, count: Transition) -> list[Node]:
    """The line, with a mark for each published size and one for the model.

    Args:
        total: the model's parameters. name: what it is called. count: when the published sizes turn dark.
    """
    small = sheet.small
    low = 10.0 ** floor(log10(min(total, 1e6)))
    scale = LogScale(low, 1e12, box.x + 4, box.right - 4)
    y = box.y + 4.0 * small
    nodes: list[Node] = [
        Text(box.x, box.y + small, fit(tr("parameters, on a logarithmic line"), box.w, small, "sans", 600), small, 600),
        Path((("M", scale.start, y), ("L", scale.end, y)), stroke=palette.QUIET),
    ]
    for place, size in enumerate(PUBLISHED):
        numbers = published(size)
        x = scale.place(numbers)
        shape = GPTConfig.preset(size)
        label = tr(
            "{size}: {count:,} parameters, {blocks} blocks of {each:,}",
            size=size, count=numbers, blocks=shape.n_layers, each=shape.block_parameters(),
        )  # fmt: skip
        about: dict[str, Any] = {"label": label, "shows": given(SOURCE)}
        nodes.append(Path(circle(x, y, 3.5), fill=animate(palette.LINE, (count, palette.INK)), **about))
        if not sheet.wide and size not in NAMED_NARROW:
            continue
        second = sheet.wide and place % 2 == 1
        base = y + (2.9 if second else 1.5) * small
        word = size.removeprefix("gpt3-").upper()
        nodes.append(Text(x, base, word, small, anchor="middle", fill=palette.QUIET, **about))
    x = scale.place(total)
    text = tr("{name}: {value}", name=name, value=in_short(total))
    half = text_width(text, small, "sans", 600) / 2
    middle = min(max(x, box.x + half), box.right - half)
    tip = (("M", x, y - 3), ("L", x - 5, y - 12), ("L", x + 5, y - 12), ("Z",))
    nodes.append(Path(tip, fill=palette.FOLLOWED, label=text, shows=given("provenance")))
    nodes.append(Text(middle, y - 16, text, small, 600, anchor="middle", fill=palette.FOLLOWED, shows=given("provenance")))
    largest = GPTConfig.preset(PUBLISHED[-1])
    words = tr("175B: {blocks} blocks × {each:.2f} B", blocks=largest.n_layers, each=largest.block_parameters() / 1e9)
    base = y + (4.4 if sheet.wide else 3.0) * small
    nodes.append(Text(box.right, base, words, small, anchor="end", fill=palette.QUIET, shows=given(SOURCE)))
    return nodes
