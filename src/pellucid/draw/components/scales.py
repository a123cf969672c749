"""Scales: from values to coordinates, bar lengths and ticks. Lengths are in film units."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

from pellucid.draw.film.font import text_width


STEPS = (1, 2, 5)
ROOM = 0.9  # of the text's size, at least, between two labels


@dataclass(frozen=True, slots=True)
class LinearScale:
    """Values from `low` to `high` laid evenly from position `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """The position of a value."""
        return self.start + (self.end - self.start) * ((value - self.low) / (self.high - self.low))

    def ticks(self, most: int) -> list[float]:
        """Multiples of a round step from low to high: at most `most` + 1."""
        step = nice_step(self.high - self.low, most)
        return [i * step for i in range(ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9) + 1)]

    def tick_labels(self, values: Sequence[float]) -> list[str]:
        """The labels of some ticks, with as many decimals as their step needs."""
        step = 1.0 if len(values) < 2 else values[1] - values[0]
        return [tick_label(value, step) for value in values]


@dataclass(frozen=True, slots=True)
class LogScale:
    """Values from `low` to `high`, above 0, laid by their logarithms from position `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """The position of a value."""
        return self.start + (self.end - self.start) * (log10(value / self.low) / log10(self.high / self.low))

    def ticks(self, most: int) -> list[float]:
        """Powers of ten from low to high, with 2 and 5 between them where all fit into `most` + 1; else some powers only."""
        powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        ticks: list[float] = []
        for digits in (STEPS, (1,)):
            ticks = [tick for power in powers for digit in digits if self.low <= (tick := digit * 10.0**power) <= self.high]
            if len(ticks) <= most + 1:
                return ticks
        return ticks[:: ceil(len(ticks) / (most + 1))]

    def tick_labels(self, values: Sequence[float]) -> list[str]:
        """The labels of some ticks."""
        return [tick_label(value, min(1.0, value)) for value in values]


Scale = LinearScale | LogScale


@dataclass(frozen=True, slots=True)
class LengthScale:
    """Bars from 0: the value `full` is `room` long."""

    room: float
    full: float

    def length(self, value: float) -> float:
        """How long the bar of a value is."""
        return self.room * value / self.full if self.full else 0.0


@dataclass(frozen=True, slots=True)
class BandScale:
    """Places side by side from `start` on, one every `step`, with a bar of `thickness` in the middle of each."""

    start: float
    step: float
    thickness: float

    def place(self, i: int) -> float:
        """Where bar i begins."""
        return self.start + i * self.step + (self.step - self.thickness) / 2


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


def tick_label(value: float, step: float) -> str:
    """A tick's number with as many decimals as its step needs, thousands set apart by commas."""
    decimals = max(0, -floor(log10(step) + 1e-9))
    return f"{value:,.{decimals}f}"


def ticks_with_room(scale: Scale, size: float, *, vertical: bool = False, whole: bool = False) -> list[tuple[float, str]]:
    """The most ticks whose labels do not touch: (value, label).

    Args:
        size: of the labels' text. vertical: whether the scale goes up. whole: whether only whole numbers make sense.
    """
    for most in range(10, 0, -1):
        values = [value for value in scale.ticks(most) if not whole or value == floor(value)]
        if not values:
            continue
        ticks = list(zip(values, scale.tick_labels(values), strict=True))
        if have_room(scale, ticks, size, vertical=vertical):
            return ticks
    return [(scale.low, tick_label(scale.low, scale.high - scale.low))]


def have_room(scale: Scale, ticks: Sequence[tuple[float, str]], size: float, *, vertical: bool = False) -> bool:
    """Whether the labels of some ticks (value, label) stand apart from each other."""
    extents = sorted(
        (scale.place(value) - half, scale.place(value) + half)
        for value, text in ticks
        for half in [size * 0.6 if vertical else text_width(text, size) / 2]
    )
    return all(b[0] - a[1] >= ROOM * size * (0.4 if vertical else 1) for a, b in pairwise(extents))
