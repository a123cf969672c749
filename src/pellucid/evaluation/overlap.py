"""The longest common substring of a model's samples and a text, in tokens: what the model memorized. No torch here.

Exact for substrings of `least` tokens or more. All windows of `least` tokens of the samples are hashed. The text is read in
blocks and its windows are hashed, too (a polynomial modulo 2^64, from cumulative sums); where a sample has a window of the same
hash, both are compared token by token, as far as they agree. Memory is that of a block, whatever the text's length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.arguments import whole_number
from pellucid.corpus.tokens import Tokens


LEAST = 8  # tokens: shorter stretches are common phrases
BLOCK = 1 << 20  # tokens of the text at a time
_BASE = 0x9E3779B97F4A7C15  # odd, so that its powers have inverses
_WORD = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedStretch:
    """The longest stretch of one sample that is in the text.

    Attributes:
        tokens: its length; 0 where no stretch of `least` tokens is in the text.
        start: the token of the sample where it begins. place: the token of the text where it first begins.
    """

    tokens: int = 0
    start: int = 0
    place: int = 0


def longest_shared(
    samples: Sequence[Sequence[int]], text: Tokens, *, least: int = LEAST, block: int = BLOCK
) -> list[SharedStretch]:  # fmt: skip
    """The longest stretch that each sample has in common with a text, of `least` tokens or more.

    Args:
        samples: token ids, of the same vocabulary as the text.
        block: tokens of the text that are read at a time.

    Returns:
        One for each sample, in order.

    Raises:
        PellucidError: `least` or `block` is no whole number from 1.
    """
    least, block = whole_number("least", least, 1), whole_number("block", block, 1)
    found = [SharedStretch()] * len(samples)
    rows = [np.array(sample, dtype=np.int64) for sample in samples]
    starts = [(row, start) for row, ids in enumerate(rows) for start in range(len(ids) - least + 1)]
    if not starts:
        return found
    hashes = np.concatenate([_hashes(ids, least) for ids in rows if len(ids) >= least])
    order = np.argsort(hashes, kind="stable")
    ranked = hashes[order]
    longest = max(len(ids) for ids in rows)
    for first in range(0, len(text), block):
        part = text[first : first + block + longest]
        for place, hashed in _candidates(part, least, min(block, len(part) - least + 1), ranked):
            for at in range(int(np.searchsorted(ranked, hashed)), int(np.searchsorted(ranked, hashed, side="right"))):
                row, start = starts[order[at]]
                tokens = _agree(rows[row][start:], part[place:])
                if tokens >= least and tokens > found[row].tokens:
                    found[row] = SharedStretch(tokens=tokens, start=start, place=first + place)
    return found


def _hashes(ids: NDArray[np.int64], length: int) -> NDArray[np.uint64]:
    """(windows,) the hash of each window of `length` tokens: sum of (token + 1) * base^k over the window's positions k."""
    powers = _powers(_BASE, len(ids) + 1)
    terms = (ids.astype(np.uint64) + np.uint64(1)) * powers[: len(ids)]
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)))
    back = _powers(pow(_BASE, -1, _WORD), len(ids) - length + 1)
    hashed: NDArray[np.uint64] = (sums[length:] - sums[: len(ids) - length + 1]) * back
    return hashed


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    """base^0, base^1, ... modulo 2^64."""
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)


def _candidates(
    part: NDArray[np.int64], length: int, count: int, ranked: NDArray[np.uint64]
) -> list[tuple[int, np.uint64]]:  # fmt: skip
    """(place, hash) of those of the first `count` windows whose hash is in `ranked`, the sorted hashes of the samples."""
    if count <= 0:
        return []
    hashed = _hashes(part[: count + length - 1], length)
    at = np.searchsorted(ranked, hashed)
    at[at == len(ranked)] = 0
    places = np.flatnonzero(ranked[at] == hashed)
    return [(int(place), hashed[place]) for place in places]


def _agree(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    """The length of the common prefix of two sequences."""
    length = min(len(a), len(b))
    apart = np.flatnonzero(a[:length] != b[:length])
    return int(apart[0]) if len(apart) else length
