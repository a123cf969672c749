"""Texts that were read already: who comes with the same beginning copies it.

No torch here.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """A sequence that nobody writes on any more.

    Attributes:
        ids: the tokens that were read, from its first track on.
        sequence: the runner's number. capacity: its tracks. nbytes: what it takes.
    """

    ids: list[int]
    sequence: int
    capacity: int
    nbytes: int


class PrefixCache:
    """CachedPrefix sequences, the one used last at the end.

    Attributes:
        nbytes: of all of them.
    """

    def __init__(self) -> None:
        self._kept: list[CachedPrefix] = []
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def best(self, ids: Sequence[int]) -> tuple[CachedPrefix | None, int]:
        """The kept sequence that shares the longest beginning with a text (the one used last, of equals), and its length."""
        found, longest = None, 0
        for kept in self._kept:
            shared = shared_beginning(kept.ids, ids)
            if shared and shared >= longest:
                found, longest = kept, shared
        return found, longest

    def use(self, kept: CachedPrefix) -> None:
        """Notes that it was used now."""
        self._kept.remove(kept)
        self._kept.append(kept)

    def add(self, new: CachedPrefix) -> list[CachedPrefix]:
        """Keeps one more. Returns those that are not needed any more, for who adds to close them: itself, if one holds
        all of its text, or those whose texts it holds."""
        for kept in self._kept:
            if shared_beginning(kept.ids, new.ids) == len(new.ids):
                self.use(kept)
                return [new]
        needless = [kept for kept in self._kept if shared_beginning(kept.ids, new.ids) == len(kept.ids)]
        for kept in needless:
            self.drop(kept)
        self._kept.append(new)
        self.nbytes += new.nbytes
        return needless

    def drop(self, kept: CachedPrefix) -> None:
        """Forgets one; the sequence is not closed here."""
        self._kept.remove(kept)
        self.nbytes -= kept.nbytes

    def oldest(self, spared: CachedPrefix | None = None) -> CachedPrefix | None:
        """The one that was not used for longest, and is not spared."""
        return next((kept for kept in self._kept if kept is not spared), None)


def shared_beginning(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts have in common from the first on."""
    least, most = 0, min(len(a), len(b))
    if a[:most] == b[:most]:
        return most
    while least < most:  # slices are compared much faster than tokens one by one
        middle = (least + most + 1) // 2
        if a[least:middle] == b[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least
