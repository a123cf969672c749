"""Keyframes: values that change with time, how one is interpolated, and how numbers are rounded.

Everything here is done with +, -, *, /, floor and square root on IEEE doubles, in the order written, so that the same lines in
TypeScript give the same bits. `docs/film.md` states the rules; `tests/golden/film_at.json` holds both languages to them.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import floor, isfinite
from typing import Any

from pellucid.draw.film.palette import mix
from pellucid.errors import PellucidError


EASES = ("hold", "linear", "move")
LARGEST = 1e6  # no coordinate is larger: two decimals then survive in a double
HEX = re.compile(r"#[0-9a-f]{6}")


def rounded(value: float) -> float:
    """The value to two decimals, halves upwards: floor(100 value + 0.5) / 100. Never -0."""
    return floor(value * 100 + 0.5) / 100


def text_of(value: float) -> str:
    """A rounded number as text: the shortest that reads back the same, without ".0" (as JavaScript's String(value))."""
    return str(int(value)) if value == int(value) else repr(float(value))


@dataclass(frozen=True, slots=True, init=False)
class Keyframes:
    """A value by time: `Keyframes((0, 10), (1.5, 80, "move"))` is 10 at first, and 80 from 1.5 s on.

    Each key is (seconds, value, ease), in order of time; the ease says how the value is reached from the key before:
    "hold" (the default) jumps when the time comes, "linear" goes evenly, "move" goes fast and settles (1 - (1 - u)^3).
    Before the first key the value is the first one's.
    """

    points: tuple[tuple[float, Any, str], ...]

    def __init__(self, *points: tuple[float, Any] | tuple[float, Any, str]) -> None:
        object.__setattr__(self, "points", tuple((*point, "hold") if len(point) == 2 else tuple(point) for point in points))

    def at(self, t: float) -> Any:
        """The value at t seconds."""
        points = self.points
        after = bisect_right(points, t, key=lambda point: point[0])
        if after == 0:
            return points[0][1]
        start, value, _ = points[after - 1]
        if after == len(points) or points[after][2] == "hold":
            return value
        end, target, ease = points[after]
        share = (t - start) / (end - start)
        if ease == "move":
            left = 1 - share
            share = 1 - left * left * left
        return mix(value, target, share) if isinstance(value, str) else value + (target - value) * share

    def changes(self) -> list[tuple[float, float]]:
        """When the value changes: (from, to) of each movement, (t, t) of each jump."""
        found = []
        for (start, before, _), (end, after, ease) in pairwise(self.points):
            if before != after:
                found.append((end, end) if ease == "hold" else (start, end))
        return found


def is_number(value: object) -> bool:
    """Whether a value can stand on a picture as a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and abs(value) <= LARGEST


def is_colour(value: object) -> bool:
    """Whether a value is a colour: #rrggbb in lower case."""
    return isinstance(value, str) and HEX.fullmatch(value) is not None


# kind of an attribute: (what a single value must be, in words; the test; whether it can be between two keys)
KINDS: dict[str, tuple[str, Any, bool]] = {
    "number": (f"a finite number of at most {LARGEST:.0f}", is_number, True),
    "length": (f"a number from 0 to {LARGEST:.0f}", lambda value: is_number(value) and value >= 0, True),
    "fraction": ("a number from 0 to 1", lambda value: is_number(value) and 0 <= value <= 1, True),
    "colour": ("a colour #rrggbb in lower case", is_colour, True),
    "string": ("a text", lambda value: isinstance(value, str), False),
}


def check(value: object, kind: str, where: str) -> None:
    """Raises PellucidError unless a constant or `Keyframes` is right for an attribute. `where` begins the message."""
    wanted, right, between = KINDS[kind]
    if not isinstance(value, Keyframes):
        if not right(value):
            raise PellucidError(f"{where} is {value!r}: it must be {wanted}")
        return
    if not value.points:
        raise PellucidError(f"{where}: Keyframes without a key")
    last = -1.0
    for point in value.points:
        if len(point) != 3 or not is_number(point[0]) or point[0] < 0 or point[2] not in EASES:
            raise PellucidError(f"{where}: key {point!r} must be (seconds from 0, value, one of {', '.join(EASES)})")
        if not right(point[1]):
            raise PellucidError(f"{where}: the value at {point[0]} s is {point[1]!r}: it must be {wanted}")
        if point[0] <= last:
            raise PellucidError(f"{where}: the key at {point[0]} s follows one at {last} s: keys are in order of time")
        if not between and point[2] != "hold":
            raise PellucidError(f"{where}: a {kind} has nothing between two values: its keys must hold, not {point[2]}")
        last = point[0]
