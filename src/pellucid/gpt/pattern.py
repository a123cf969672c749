"""Attention patterns: which keys a query may see, block by block. No torch here.

Position q is the query's track, k the key's; both count from 0. Every pattern is causal (k <= q).

    dense        k <= q
    banded(w)    q - w < k <= q      w keys, the query's own included

The band counts the query itself. So do `get_attn_mask(..., 'local', local_attn_ctx=w)` of the Sparse Transformer's
code, GPT-Neo's `window_size` and gpt-oss's `sliding_window`: the three masks are equal for equal w.
"""

import re
from dataclasses import dataclass

from pellucid.errors import PellucidError


@dataclass(frozen=True, slots=True)
class Dense:
    """Every earlier track and the query's own."""

    def __str__(self) -> str:
        return "dense"

    def visible(self, q: int, k: int) -> bool:
        """The definition itself; every fast path is tested against it."""
        return k <= q

    def reach(self, n_ctx: int) -> int:
        """The most keys that one query reads: what a key-value cache must hold, in tracks."""
        return n_ctx

    def pairs(self, tokens: int) -> int:
        """How many (query, key) pairs a sequence of `tokens` has: what attention costs."""
        return tokens * (tokens + 1) // 2


@dataclass(frozen=True, slots=True)
class Banded:
    """The `width` newest tracks, the query's own included ("locally banded", GPT-3 paper, section 2.1)."""

    width: int

    def __post_init__(self) -> None:
        if self.width < 1:
            raise PellucidError(f"a band holds at least the query itself: banded({self.width}) must be banded(1) or more")

    def __str__(self) -> str:
        return f"banded({self.width})"

    def visible(self, q: int, k: int) -> bool:
        """The definition itself; every fast path is tested against it."""
        return q - self.width < k <= q

    def reach(self, n_ctx: int) -> int:
        """The most keys that one query reads: what a key-value cache must hold, in tracks."""
        return min(self.width, n_ctx)

    def pairs(self, tokens: int) -> int:
        """How many (query, key) pairs a sequence of `tokens` has: what attention costs."""
        w = min(self.width, tokens)
        return w * (w + 1) // 2 + (tokens - w) * w


Pattern = Dense | Banded

# Choice. The GPT-3 paper says only "alternating dense and locally banded sparse attention patterns". The width and
# the parity are read from gpt-oss (arXiv 2508.10925: "Following GPT-3, attention blocks alternate between banded window
# and fully dense patterns, where the bandwidth is 128 tokens"; in its code block 0 is banded).
GPT3_BAND = 128


def alternating(n_layers: int, *, band: int = GPT3_BAND) -> tuple[Pattern, ...]:
    """Banded and dense in turn, block 0 banded: the gpt-oss reading of GPT-3."""
    return tuple(Banded(band) if block % 2 == 0 else Dense() for block in range(n_layers))


def all_dense(n_layers: int) -> tuple[Pattern, ...]:
    """GPT-2's pattern."""
    return (Dense(),) * n_layers


def parse(text: str) -> Pattern:
    """`"dense"` or `"banded(128)"` -> the pattern; the inverse of `str`.

    Raises:
        PellucidError: any other text.
    """
    if text == "dense":
        return Dense()
    if match := re.fullmatch(r"banded\((\d+)\)", text):
        return Banded(int(match[1]))
    raise PellucidError(f"unknown attention pattern {text!r}: use dense or banded(w)")
