"""Pseudo-random draws as a function of a key, without Python's or NumPy's generators, whose values may differ by version."""

from collections.abc import Sequence
from typing import TypeVar

from pellucid.hashing import mix


T = TypeVar("T")


class Draws:
    """A sequence of draws that is a pure function of the integers it is made with.

    Args:
        key: any integers, such as (seed, purpose, index).
    """

    def __init__(self, *key: int) -> None:
        self._key = mix(*key)
        self._count = 0

    def below(self, n: int) -> int:
        """A whole number, 0 <= number < n."""
        assert n > 0
        self._count += 1
        return mix(self._key, self._count) % n

    def between(self, least: int, most: int) -> int:
        """A whole number, least <= number <= most."""
        return least + self.below(most - least + 1)

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return self.below(1 << 53) / (1 << 53)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.fraction() < probability

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """`count` items without replacement, in random order."""
        assert count <= len(items)
        if count * 4 < len(items):  # few of many: drawing until they differ is cheaper than shuffling
            places: list[int] = []
            while len(places) < count:
                place = self.below(len(items))
                if place not in places:
                    places.append(place)
            return [items[place] for place in places]
        return self.shuffled(items)[:count]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order (Fisher-Yates)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order
