"""The display list of some nodes at a time: primitives in paint order, every attribute a plain value.

A pure function of (nodes, t), in the arithmetic of `keyframes.py`: groups are multiplied out, clips intersected, growing lines
cut, colours mixed, and every number rounded once, at the end. The TypeScript player passes the same golden tests.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any

from pellucid.draw.film.keyframes import Keyframes, rounded
from pellucid.draw.film.nodes import Clip, Gradient, Group, Image, Matrix, Node, Path, Rect, Shows, Text


Primitive = dict[str, Any]
CHORDS = 16  # a curve of a line that is still growing is drawn as so many straight pieces


@dataclass(frozen=True, slots=True)
class _Inherited:
    """What a node inherits from the groups and clips around it: origin, scale, opacity, clip, label and source."""

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    opacity: float = 1.0
    clip: tuple[float, float, float, float] | None = None  # left, top, right, bottom
    label: str = ""
    shows: Shows | None = None


def leaves(nodes: Sequence[Node]) -> int:
    """How many nodes paint something: all but groups and clips."""
    return sum(leaves(node.children) if isinstance(node, Group | Clip) else 1 for node in nodes)


def display_list(nodes: Sequence[Node], t: float, matrices: Mapping[Matrix, int]) -> list[Primitive]:
    """The primitives at t seconds, in paint order.

    Args:
        matrices: the number by which each matrix is referred to.

    What cannot be seen is left out: opacity or a side that rounds to 0, an empty text, an empty clip. A primitive's "node" is
    its number among all nodes that paint, counted in order, seen or not: it stays the same through the film.
    """
    return list(_resolve(nodes, t, _Inherited(), 0, matrices))


def _now(value: Any, t: float) -> Any:
    return value.at(t) if isinstance(value, Keyframes) else value


def _resolve(
    nodes: Sequence[Node], t: float, place: _Inherited, number: int, matrices: Mapping[Matrix, int]
) -> Iterator[Primitive]:
    for node in nodes:
        if isinstance(node, Group | Clip):
            if (inner := _inside(node, t, place)) is not None:
                yield from _resolve(node.children, t, inner, number, matrices)
            number += leaves(node.children)
            continue
        if (drawn := _drawn(node, t, place, matrices)) is not None:
            opacity = rounded(place.opacity * _now(node.opacity, t))
            if opacity > 0:
                yield {
                    **drawn,
                    "opacity": opacity,
                    "clip": _clip(place),
                    "node": number,
                    "id": node.id,
                    "label": _now(node.label, t) or place.label,
                    "shows": _shows(node.shows or place.shows),
                }
        number += 1


def _inside(node: Group | Clip, t: float, place: _Inherited) -> _Inherited | None:
    """Where the children of a group or clip stand; None where none can be seen."""
    x, y = place.x + place.scale * _now(node.x, t), place.y + place.scale * _now(node.y, t)
    label, shows = _now(node.label, t) or place.label, node.shows or place.shows
    if isinstance(node, Group):
        scale, opacity = place.scale * _now(node.scale, t), place.opacity * _now(node.opacity, t)
        return _Inherited(x, y, scale, opacity, place.clip, label, shows) if scale > 0 and opacity > 0 else None
    right, bottom = x + place.scale * _now(node.w, t), y + place.scale * _now(node.h, t)
    if place.clip is not None:
        x, y = max(x, place.clip[0]), max(y, place.clip[1])
        right, bottom = min(right, place.clip[2]), min(bottom, place.clip[3])
    if rounded(right - x) <= 0 or rounded(bottom - y) <= 0:
        return None
    return _Inherited(place.x, place.y, place.scale, place.opacity, (x, y, right, bottom), label, shows)


def _clip(place: _Inherited) -> list[float] | None:
    if place.clip is None:
        return None
    left, top, right, bottom = place.clip
    return [rounded(left), rounded(top), rounded(right - left), rounded(bottom - top)]


def _shows(shows: Shows | None) -> dict[str, Any] | None:
    if shows is None:
        return None
    return {"chunk": shows.chunk, "index": list(shows.index), "step": shows.step, "truth": shows.truth}


def _drawn(node: Rect | Text | Path | Image, t: float, place: _Inherited, matrices: Mapping[Matrix, int]) -> Primitive | None:
    """The attributes that only this kind of primitive has; None where nothing can be seen."""

    def length(value: Any) -> float:
        return rounded(place.scale * _now(value, t))

    def point(x: Any, y: Any) -> tuple[float, float]:
        return rounded(place.x + place.scale * _now(x, t)), rounded(place.y + place.scale * _now(y, t))

    match node:
        case Rect():
            x, y = point(node.x, node.y)
            w, h = length(node.w), length(node.h)
            if not w or not h:
                return None
            return {"kind": "rect", "x": x, "y": y, "w": w, "h": h, "rx": length(node.rx), **_paint(node, t, place)}
        case Text():
            x, y = point(node.x, node.y)
            string, size = _now(node.string, t), length(node.size)
            if not string or not size:
                return None
            return {
                "kind": "text", "x": x, "y": y, "string": string, "size": size, "weight": node.weight, "family": node.family,
                "anchor": node.anchor, "fill": _now(node.fill, t),
            }  # fmt: skip
        case Path():
            draw = _now(node.draw, t)
            commands = node.d if draw >= 1 else cut(node.d, draw)
            if not commands:
                return None
            placed = [
                [name, *(n for x, y in zip(numbers[::2], numbers[1::2], strict=True) for n in point(x, y))]
                for name, *numbers in commands
            ]
            return {"kind": "path", "d": placed, **_paint(node, t, place)}
        case Image():
            x, y = point(node.x, node.y)
            w, h = length(node.w), length(node.h)
            if not w or not h:
                return None
            matrix = matrices[_now(node.matrix, t)]
            return {"kind": "image", "x": x, "y": y, "w": w, "h": h, "matrix": matrix, "palette": node.palette}


def _paint(node: Rect | Path, t: float, place: _Inherited) -> Primitive:
    fill = _now(node.fill, t)
    return {
        "fill": {"gradient": list(fill.colours), "angle": fill.angle} if isinstance(fill, Gradient) else fill,
        "stroke": _now(node.stroke, t),
        "stroke_width": rounded(place.scale * _now(node.stroke_width, t)),
        "dash": [rounded(place.scale * part) for part in node.dash],
    }


def cut(d: Sequence[tuple[Any, ...]], draw: float) -> list[tuple[Any, ...]]:
    """The first `draw` of a path's length, as moves and straight lines, curves as `CHORDS` chords; nothing if that is 0."""
    lines = list(_straight(d))
    total = 0.0
    for _, x0, y0, x1, y1 in lines:
        total += _distance(x0, y0, x1, y1)
    left = draw * total
    done: list[tuple[Any, ...]] = []
    for starts, x0, y0, x1, y1 in lines:
        if left <= 0:
            break
        if starts:
            done.append(("M", x0, y0))
        distance = _distance(x0, y0, x1, y1)
        if distance > left:
            share = left / distance
            return [*done, ("L", x0 + (x1 - x0) * share, y0 + (y1 - y0) * share)]
        left -= distance
        done.append(("L", x1, y1))
    return done


def _distance(x0: float, y0: float, x1: float, y1: float) -> float:
    x, y = x1 - x0, y1 - y0
    return sqrt(x * x + y * y)


def _straight(d: Sequence[tuple[Any, ...]]) -> Iterator[tuple[bool, float, float, float, float]]:
    """The straight pieces of a path: (whether a new stroke starts here, from x, y, to x, y)."""
    x = y = first_x = first_y = 0.0
    starts = True
    for name, *numbers in d:
        if name == "M":
            x, y = first_x, first_y = numbers
            starts = True
            continue
        if name == "L":
            ends = [tuple(numbers)]
        elif name == "Z":
            ends = [(first_x, first_y)]
        else:
            curve = [(x, y), *zip(numbers[::2], numbers[1::2], strict=True)]
            ends = [_on_curve(curve, i / CHORDS) for i in range(1, CHORDS)] + [curve[-1]]
        for to_x, to_y in ends:
            yield starts, x, y, to_x, to_y
            x, y, starts = to_x, to_y, False


def _on_curve(curve: Sequence[tuple[float, float]], u: float) -> tuple[float, float]:
    """A point of a Bézier curve by de Casteljau's construction: repeated a + (b - a) u."""
    while len(curve) > 1:
        curve = [(ax + (bx - ax) * u, ay + (by - ay) * u) for (ax, ay), (bx, by) in pairwise(curve)]
    return curve[0]
