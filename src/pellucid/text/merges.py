"""BPE merges: derived from token ranks, and checked so that merging by pairs and by ranks encode all text alike."""

import hashlib
from collections.abc import Sequence
from heapq import heappop, heappush

from pellucid.errors import PellucidError
from pellucid.text.bytes_to_characters import BYTE_ORDER


# SHA-256 of lists of merges, as tokenizer files write them, that `check_merges` has passed (a test repeats it). The check takes
# most of the time of opening a tokenizer.
CHECKED_MERGES = {
    "04e3597d7996f292ca9b8b7285ca4d58a6ae171ac47d73fc7140ceb0c7a6bbc0": "GPT-2's and GPT-3's 50,000",
    "9bf882ae304b5d1e546c5c154fa4781cc72acfd4e3aa6b6469227f55dc20f561": "the embedded model's",
}


JOINED = -1  # in place of a token: it is part of the one before
SHORT = 32  # bytes of a token of which every cut is tried: faster than to merge its bytes


def already_checked(merges: Sequence[tuple[str, str]]) -> bool:
    """Whether these merges, of byte characters, are a list that `check_merges` has passed before (`CHECKED_MERGES`)."""
    return hashlib.sha256("\n".join(map(" ".join, merges)).encode()).hexdigest() in CHECKED_MERGES


def check_merges(tokens: Sequence[bytes], merges: Sequence[tuple[bytes, bytes]]) -> None:
    """Raises PellucidError unless merging by pairs and merging by ranks encode all text alike.

    `tokenizers` joins the pairs that its list of merges names. `tiktoken` joins any two neighbours whose bytes together
    are a token. Both give the same ids when, for each merged token of id r, the merges below r reduce its bytes to two
    tokens, and these two are the pair of the list. For then, by induction over r: where in a text the bytes of token r
    stand between two piece or token borders that no lower merge has crossed, both have reduced them to that very pair.
    """
    for i, pair in enumerate(merges, start=256):
        if b"".join(pair) != tokens[i]:
            raise PellucidError(f"merge {i - 256} makes {b''.join(pair)!r}, but id {i} is {tokens[i]!r}")
    known = Merges(tokens[:256])
    for i, pair in enumerate(merges, start=256):
        left, right = (known.ranks.get(part, i) for part in pair)
        if left == i or right == i or not known.stay_apart(left, right):
            found = known.pair(tokens[i])
            raise PellucidError(f"token {i} is merged from {pair}, but by rank from {found}")
        known.add(left, right)


def merges_from_ranks(tokens: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """The pair that each token from 256 on is merged from, derived from the ranks alone.

    Raises PellucidError for a token that the merges before it do not reduce to two parts: no text would ever be encoded to it.
    """
    known = Merges(tokens[:256])
    for token in tokens[256:]:
        known.add(*(known.ranks[part] for part in known.pair(token)))
    return [(known.tokens[left], known.tokens[right]) for left, right in known.halves[256:]]


class Merges:
    """Merges in order, and what they make of bytes.

    Args:
        first: the 256 tokens of one byte.

    Attributes:
        tokens: bytes of each token. ranks: the other way round.
        halves: of each token the pair that it is merged from; a byte's is itself, twice.
    """

    def __init__(self, first: Sequence[bytes]) -> None:
        self.tokens = list(first)
        self.ranks = {token: i for i, token in enumerate(first)}
        self.halves = [(i, i) for i in range(len(first))]
        self._pairs: dict[tuple[int, int], int] = {}

    def add(self, left: int, right: int) -> None:
        """Appends a merge."""
        new, token = len(self.tokens), self.tokens[left] + self.tokens[right]
        self.tokens.append(token)
        self.ranks[token] = new
        self.halves.append((left, right))
        self._pairs[left, right] = new

    def stay_apart(self, left: int, right: int) -> bool:
        """Whether the bytes of two tokens, joined, are encoded as these two: no merge crosses the border between them.

        It takes as many steps as the merges beside the border are deep, not as the tokens are long. The later of the two
        tokens is undone, again and again; while one is whole, a pair across the border is joined only if it has a lower
        rank, or the same and stands to the left. (The `bpe` crate of github/rust-gems finds the border so.)
        """
        below = len(self.tokens)  # ranks that come before what was undone last
        while True:
            if self._pairs.get((left, right), below) < below:
                return False
            if max(left, right) < len(BYTE_ORDER):
                return True
            if left > right:
                below, left = left, self.halves[left][1]
            else:
                below, right = right + 1, self.halves[right][0]

    def pair(self, token: bytes) -> tuple[bytes, bytes]:
        """The two tokens to which the merges reduce the bytes of the next one.

        Raises:
            PellucidError: they do not.
        """
        if len(token) <= SHORT:
            for k in range(1, len(token)):
                left, right = self.ranks.get(token[:k]), self.ranks.get(token[k:])
                if left is not None and right is not None and self.stay_apart(left, right):
                    return token[:k], token[k:]
        parts = [self.tokens[part] for part in self.reduce(token)]
        if len(parts) != 2:
            raise PellucidError(f"token {len(self.tokens)}, {token!r}, cannot be reached: the merges before it leave {parts}")
        return parts[0], parts[1]

    def reduce(self, text: bytes) -> list[int]:
        """The tokens of a piece of text: the pair with the lowest rank is joined, the leftmost first, until none is left.

        n bytes take O(n log n) time: a heap of the pairs, of which those that are gone when they come are skipped.
        """
        ids = [self.ranks[text[i : i + 1]] for i in range(len(text))]
        before, after = list(range(-1, len(ids) - 1)), list(range(1, len(ids) + 1))
        queue: list[tuple[int, int]] = []

        def look_at(i: int) -> None:
            if i >= 0 and after[i] < len(ids) and (rank := self._pairs.get((ids[i], ids[after[i]]))) is not None:
                heappush(queue, (rank, i))

        for i in range(len(ids)):
            look_at(i)
        while queue:
            rank, i = heappop(queue)
            k = after[i]
            if k == len(ids) or self._pairs.get((ids[i], ids[k])) != rank:
                continue
            ids[i], ids[k] = rank, JOINED
            after[i] = after[k]
            if after[i] < len(ids):
                before[after[i]] = i
            look_at(before[i])
            look_at(i)
        return [i for i in ids if i != JOINED]
