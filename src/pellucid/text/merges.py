"""BPE merges: derived from token ranks, and checked so that merging by pairs and by ranks encode all text alike."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

from pellucid.errors import PellucidError


# SHA-256 of lists of merges, as tokenizer files write them, that `check_merges` has passed (a test repeats it). The check takes
# most of the time of opening a tokenizer.
CHECKED_MERGES = {
    "04e3597d7996f292ca9b8b7285ca4d58a6ae171ac47d73fc7140ceb0c7a6bbc0": "GPT-2's and GPT-3's 50,000",
    "9bf882ae304b5d1e546c5c154fa4781cc72acfd4e3aa6b6469227f55dc20f561": "the embedded model's",
}


MOST_WORK = 1 << 26  # some seconds; GPT-2's tokens take 3 million


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
    for i, (found, pair) in enumerate(zip(merges_from_ranks(tokens), merges, strict=True), start=256):
        if found != pair:
            raise PellucidError(f"token {i} is merged from {pair}, but by rank from {found}")


def merges_from_ranks(tokens: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """The pair that each token from 256 on is merged from, derived from the ranks alone.

    Raises PellucidError for a token that the merges before it do not reduce to two parts: no text would ever be encoded to it.
    """
    if sum(len(token) ** 2 for token in tokens) > MOST_WORK:  # reducing a token of n bytes takes n * n / 2 steps
        raise PellucidError(f"its tokens are too long: the longest has {max(map(len, tokens)):,} bytes")
    ranks = {token: i for i, token in enumerate(tokens)}
    merges: list[tuple[bytes, bytes]] = []
    for i, token in enumerate(tokens[256:], start=256):
        parts = [token[k : k + 1] for k in range(len(token))]
        while len(parts) > 2:
            joined = [ranks.get(a + b, i) for a, b in pairwise(parts)]
            lowest = min(joined)
            if lowest >= i:
                break
            k = joined.index(lowest)
            parts[k : k + 2] = [tokens[lowest]]
        if len(parts) != 2:
            raise PellucidError(f"token {i}, {token!r}, cannot be reached: the merges before it leave {parts}")
        merges.append((parts[0], parts[1]))
    return merges
