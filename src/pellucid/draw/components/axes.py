"""Round numbers for the axes of a plain chart, as many as have room."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

from pellucid.draw.film.font import text_width


STEPS = (1, 2, 5)
ROOM = 0.9  # of the text's size, at least, between two labels


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from low to high laid from `start` to `end` (lengths on the picture), evenly or by their logarithms."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value stands."""
        if self.log:
            share = log10(value / self.low) / log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * share


def nice_step(span: float, most: int) -> float:
    """The smallest of ... 0.1, 0.2, 0.5, 1, 2, 5, 10 ... that divides a span into at most `most` parts."""
    assert span > 0 and most > 0
    power = floor(log10(span / most))
    for exponent in (power, power + 1):
        for digit in STEPS:
            step = float(digit * 10**exponent if exponent >= 0 else digit / 10**-exponent)
            if span / step <= most:
                return step
    raise AssertionError(f"no step for {span} in {most}")


def even_ticks(low: float, high: float, most: int) -> list[float]:
    """Multiples of a nice step in [low, high]: at most `most` + 1."""
    step = nice_step(high - low, most)
    return [i * step for i in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Powers of ten in [low, high], with 2 and 5 between them where there is room for all; some powers only where not."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    for digits in (STEPS, (1,)):
        ticks = [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
        if len(ticks) <= most + 1:
            return ticks
    return ticks[:: ceil(len(ticks) / (most + 1))]


def label(value: float, step: float) -> str:
    """A tick's number: as many decimals as its step needs, thousands set apart by commas."""
    decimals = max(0, -floor(log10(step) + 1e-9))
    return f"{value:,.{decimals}f}"


def ticks_with_room(axis: Axis, size: float, *, vertical: bool = False, whole: bool = False) -> list[tuple[float, str]]:
    """The most ticks whose labels do not touch: (value, label).

    Args:
        size: of the labels' text. vertical: whether the axis goes up. whole: whether only whole numbers make sense.
    """
    find: Callable[[float, float, int], Sequence[float]] = log_ticks if axis.log else even_ticks
    for most in range(10, 0, -1):
        values = [value for value in find(axis.low, axis.high, most) if not whole or value == floor(value)]
        if not values:
            continue
        step = 1.0 if axis.log or len(values) < 2 else values[1] - values[0]
        named = [(value, label(value, min(step, value) if axis.log and value else step)) for value in values]
        extents = sorted(
            (axis.place(value) - half, axis.place(value) + half)
            for value, text in named
            for half in [size * 0.6 if vertical else text_width(text, size) / 2]
        )
        if all(b[0] - a[1] >= ROOM * size * (0.4 if vertical else 1) for a, b in pairwise(extents)):
            return named
    return [(axis.low, label(axis.low, axis.high - axis.low))]
