"""Hatching: the mark of an estimated number, which is never drawn as a solid area."""

from typing import Any

from pellucid.draw.components.marks import Box
from pellucid.draw.film.nodes import Group, Node, Path, Rect


def hatched(box: Box, fill: str, strong: str, *, gap: float = 5.0, rising: bool = True, **rest: Any) -> Group:
    """A pale box with diagonal lines, all within it. rest: attributes of the group (label, shows, opacity).

    Args:
        fill, strong: pale and strong colour of one meaning. gap: from line to line. rising: to the upper right, or the lower.
    """
    lines: list[tuple[Any, ...]] = []
    # Lines x + y = s (rising) from the upper left corner's sum to the lower right one's.
    s = gap * 0.5
    while s < box.w + box.h:
        x0, y0 = (s, 0.0) if s <= box.w else (box.w, s - box.w)
        x1, y1 = (0.0, s) if s <= box.h else (s - box.h, box.h)
        if not rising:
            x0, x1 = box.w - x0, box.w - x1
        lines += [("M", box.x + x0, box.y + y0), ("L", box.x + x1, box.y + y1)]
        s += gap
    nodes: list[Node] = [Rect(box.x, box.y, box.w, box.h, 0, fill)]
    if lines:
        nodes.append(Path(tuple(lines), stroke=strong, stroke_width=0.9))
    nodes.append(Rect(box.x, box.y, box.w, box.h, 0, None, strong, 0.8))
    return Group(tuple(nodes), **rest)
