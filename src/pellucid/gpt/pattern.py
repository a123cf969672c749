"""Attention patterns: which keys a query may see, block by block. No torch here.

Position q is the query's position, k the key's; both count from 0. Every pattern is causal (k <= q).

    dense            k <= q
    banded(w)        q - w < k <= q             w keys, the query's own included (GPT-3 paper, section 2.1)
    local(l)         k in the query's own block of l positions (arXiv 1801.10198; block 256)
    column(l)        (q - k) mod l = 0
    strided(l)       q - l <= k, or (q - k) mod l = 0              Sparse Transformer (arXiv 1904.10509)
    summary(l, c)    l - c <= k mod l           the last c positions of every block of l
    fixed(l, c)      own block of l, or l - c <= k mod l           the same
    compressed(m, s) every key is made of m positions, s apart (arXiv 1801.10198; m = s = 3); and a null key
    heads(a, b ...)  head h takes pattern h mod their number

The band counts the query itself. So do `get_attn_mask(..., 'local', local_attn_ctx=w)` of the Sparse Transformer's
code, GPT-Neo's `window_size` and gpt-oss's `sliding_window`: the three masks are equal for equal w.

The Sparse Transformer factorises attention in two, A1 and A2, and joins them in one of three ways:

    merged        both in every head: `strided(l)`, `fixed(l, c)`
    interleaved   block r takes factor r mod 2: `arrangements.interleaved`
    multi-head    the heads of a block take the factors in turn: `arrangements.multi_head`

A1 of strided is {t, ..., q} with t = max(0, q - l): l + 1 positions, `banded(l + 1)`; the paper's code takes l. Merged, both
are the same set, for q - l lies in the column. A2 of fixed is written {k : k mod l in {t, ..., l}}, t = l - c; as k mod l
never is l, these are the last c positions of a block. A query of the first block that comes before them sees nothing in A2:
as a block of its own, `summary(l, c)` answers such a query with zeros (a choice; the paper does not say).
`fixed(l, c, i)` takes the (i + 1)-th sub-block of c from the end, for heads with sub-blocks of their own, as the paper prefers.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from pellucid.arguments import shown
from pellucid.errors import PellucidError


MAX_TEXT_LENGTH = 4096  # of a pattern as text: heads(...) may name one for each head


def _earlier(tokens: int, length: int) -> int:
    """Sum of q // length over all queries q < tokens."""
    whole, rest = divmod(tokens, length)
    return length * whole * (whole - 1) // 2 + whole * rest


def _triangle(tokens: int) -> int:
    return tokens * (tokens + 1) // 2


class Pattern(ABC):
    """A pattern: which keys a query sees, and what that costs.

    q, k and positions may be integers or tensors: the definitions use arithmetic that works on both.
    """

    __slots__ = ()

    @abstractmethod
    def visible(self, q: Any, k: Any) -> Any:
        """Whether q sees k: the definition itself; every fast path is tested against it."""

    @abstractmethod
    def pairs(self, tokens: int) -> int:
        """How many (query, key) pairs a sequence of `tokens` has: what attention costs, in one head."""

    def still_readable(self, position: Any, newest: Any) -> Any:
        """Whether `newest` or any later query can read this position (if it exists yet)."""
        return position <= newest

    def cached_keys(self, positions: int) -> int:
        """How many keys an evicting cache holds for a sequence of up to `positions`, in one head."""
        return positions

    def of_head(self, head: int) -> "Pattern":
        """The pattern of one head."""
        return self


class _Evictable(Pattern):
    """A pattern in which no later query sees what a query does not see."""

    __slots__ = ()

    def still_readable(self, position: Any, newest: Any) -> Any:
        return self.visible(newest, position)


@dataclass(frozen=True, slots=True)
class Dense(Pattern):
    """Every earlier position and the query's own."""

    def __str__(self) -> str:
        return "dense"

    def visible(self, q: Any, k: Any) -> Any:
        """Whether q sees k."""
        return k <= q

    def pairs(self, tokens: int) -> int:
        """(query, key) pairs of a sequence."""
        return _triangle(tokens)


@dataclass(frozen=True, slots=True)
class Banded(_Evictable):
    """The `width` newest positions, the query's own included ("locally banded", GPT-3 paper, section 2.1)."""

    width: int

    def __post_init__(self) -> None:
        if self.width < 1:
            raise PellucidError(f"a band holds at least the query itself: banded({self.width}) must be banded(1) or more")

    def __str__(self) -> str:
        return f"banded({self.width})"

    def visible(self, q: Any, k: Any) -> Any:
        """Whether q sees k."""
        return (q - self.width < k) & (k <= q)

    def cached_keys(self, positions: int) -> int:
        """Keys that an evicting cache holds."""
        return min(self.width, positions)

    def pairs(self, tokens: int) -> int:
        """(query, key) pairs of a sequence."""
        w = min(self.width, tokens)
        return _triangle(w) + (tokens - w) * w


@dataclass(frozen=True, slots=True)
class Local(_Evictable):
    """The query's own block of `length` positions, as far as itself; blocks do not overlap. Also A1 of fixed."""

    length: int = 256

    def __post_init__(self) -> None:
        _at_least_one(self, self.length)

    def __str__(self) -> str:
        return f"local({self.length})"

    def visible(self, q: Any, k: Any) -> Any:
        """Whether q sees k."""
        return (q // self.length == k // self.length) & (k <= q)

    def cached_keys(self, positions: int) -> int:
        """Keys that an evicting cache holds."""
        return min(self.length, positions)

    def pairs(self, tokens: int) -> int:
        """(query, key) pairs of a sequence."""
        whole, rest = divmod(tokens, self.length)
        return whole * _triangle(self.length) + _triangle(rest)


@dataclass(frozen=True, slots=True)
class Column(Pattern):
    """Every `stride`-th position back from the query, its own included: A2 of strided."""

    stride: int

    def __post_init__(self) -> None:
        _at_least_one(self, self.stride)

    def __str__(self) -> str:
        return f"column({self.stride})"

    def visible(self, q: Any, k: Any) -> Any:
        """Whether q sees k."""
        return (k <= q) & ((q - k) % self.stride == 0)

    def pairs(self, tokens: int) -> int:
        """(query, key) pairs of a sequence."""
        return tokens + _earlier(tokens, self.stride)


@dataclass(frozen=True, slots=True)
class Strided(Pattern):
    """The `stride` positions before the query, its own, and every `stride`-th further back: both factors merged."""

    stride: int

    def __post_init__(self) -> None:
        _at_least_one(self, self.stride)

    def __str__(self) -> str:
        return f"strided({self.stride})"

    @property
    def factors(self) -> "tuple[Banded, Column]":
        """A1 and A2."""
        return Banded(self.stride + 1), Column(self.stride)

    def visible(self, q: Any, k: Any) -> Any:
        """Whether q sees k."""
        return (k <= q) & ((q - k <= self.stride) | ((q - k) % self.stride == 0))

    def pairs(self, tokens: int) -> int:
        """A band of `stride`, and the rest of the column."""
        return Banded(self.stride).pairs(tokens) + _earlier(tokens, self.stride)


@dataclass(frozen=True, slots=True)
class Summary(_Evictable):
    """The last `columns` positions of every block of `length` (or the sub-block `back` sub-blocks earlier): A2 of fixed."""

    length: int
    columns: int
    back: int = 0

    def __post_init__(self) -> None:
        _at_least_one(self, self.length, self.columns)
        if self.back < 0 or self.start < 0:
            raise PellucidError(f"{self} names positions outside its block: c (i + 1) must not be more than l")

    def __str__(self) -> str:
        return f"summary({self.length},{self.columns}" + (f",{self.back})" if self.back else ")")

    @property
    def start(self) -> int:
        """The first summary position within its block."""
        return self.length - self.columns * (self.back + 1)

    def contains(self, k: Any) -> Any:
        """Whether a position is one of the summary's."""
        place = k % self.length
        return (place >= self.start) & (place < self.start + self.columns)

    def visible(self, q: Any, k: Any) -> Any:
        """Whether q sees k."""
        return (k <= q) & self.contains(k)

    def cached_keys(self, positions: int) -> int:
        """Keys that an evicting cache holds."""
        whole, rest = divmod(positions, self.length)
        return whole * self.columns + min(max(rest - self.start, 0), self.columns)

    def pairs(self, tokens: int) -> int:
        """(query, key) pairs of a sequence."""
        whole, rest = divmod(tokens, self.length)
        return self.columns * _earlier(tokens, self.length) + whole * self._own(self.length) + self._own(rest)

    def _own(self, positions: int) -> int:
        """Pairs inside one block of which `positions` are there."""
        past = max(positions - self.start, 0)
        return _triangle(min(past, self.columns)) + max(past - self.columns, 0) * self.columns


@dataclass(frozen=True, slots=True)
class Fixed(_Evictable):
    """The query's own block of `length` positions and the last `columns` of every earlier block: both factors merged."""

    length: int
    columns: int
    back: int = 0

    def __post_init__(self) -> None:
        Summary(self.length, self.columns, self.back)

    def __str__(self) -> str:
        return f"fixed({self.length},{self.columns}" + (f",{self.back})" if self.back else ")")

    @property
    def factors(self) -> tuple[Local, Summary]:
        """A1 and A2."""
        return Local(self.length), Summary(self.length, self.columns, self.back)

    def visible(self, q: Any, k: Any) -> Any:
        """Whether q sees k."""
        local, summary = self.factors
        return local.visible(q, k) | summary.visible(q, k)

    def cached_keys(self, positions: int) -> int:
        """One block, and the summaries of the blocks before it."""
        return min(self.length, positions) + self.columns * ((positions - 1) // self.length)

    def pairs(self, tokens: int) -> int:
        """(query, key) pairs of a sequence."""
        return Local(self.length).pairs(tokens) + self.columns * _earlier(tokens, self.length)


@dataclass(frozen=True, slots=True)
class Compressed(Pattern):
    """Keys and values through a convolution: key m is made of positions m * stride ... m * stride + kernel - 1.

    A query sees the keys that are made of its own and earlier positions only, and a null key (a learned vector), because the
    first kernel - 1 queries would see none otherwise. The null key is a choice, and so is that the convolution mixes the
    channels of a head but not the heads; the paper says "kernel of size 3 with stride 3" and no more.

    A key counts as being at its last position: `visible(q, k)` says whether q sees the key that ends on position k.
    """

    kernel: int = 3
    stride: int = 3

    def __post_init__(self) -> None:
        _at_least_one(self, self.kernel, self.stride)
        if self.kernel < self.stride:
            raise PellucidError(f"{self} would leave positions out: its kernel must be at least its stride")

    def __str__(self) -> str:
        return f"compressed({self.kernel},{self.stride})"

    def count(self, positions: Any) -> Any:
        """How many keys are complete in a sequence of `positions`, without the null key."""
        return (positions + (self.stride - self.kernel)) // self.stride * (positions >= self.kernel)

    def visible(self, q: Any, k: Any) -> Any:
        """See `Pattern`, and above."""
        first = k - (self.kernel - 1)
        return (k <= q) & (first >= 0) & (first % self.stride == 0)

    def cached_keys(self, positions: int) -> int:
        """The null key, the complete keys, and the positions of the next one."""
        return 1 + int(self.count(positions)) + min(self.kernel, positions)

    def pairs(self, tokens: int) -> int:
        """See `Pattern`; the null key included."""
        keys = max(tokens - self.kernel + 1, 0)  # queries that see one key at least
        return tokens + keys + _earlier(keys, self.stride)


@dataclass(frozen=True, slots=True)
class Heads(Pattern):
    """A pattern for each head: head h takes `patterns[h % len(patterns)]`."""

    patterns: tuple[Pattern, ...]

    def __post_init__(self) -> None:
        if len(self.patterns) < 2 or any(isinstance(p, Compressed | Heads) for p in self.patterns):
            raise PellucidError("heads(a,b) takes two patterns or more, none of them compressed or heads itself")

    def __str__(self) -> str:
        return f"heads({','.join(map(str, self.patterns))})"

    def of_head(self, head: int) -> Pattern:
        """The pattern of one head."""
        return self.patterns[head % len(self.patterns)]

    def visible(self, q: Any, k: Any) -> Any:
        """In any head."""
        return reduce(or_, (pattern.visible(q, k) for pattern in self.patterns))

    def still_readable(self, position: Any, newest: Any) -> Any:
        """Whether `newest` or a later query can read it."""
        return reduce(or_, (pattern.still_readable(position, newest) for pattern in self.patterns))

    def cached_keys(self, positions: int) -> int:
        """Keys that an evicting cache holds."""
        raise AssertionError("ask of_head")

    def pairs(self, tokens: int) -> int:
        """(query, key) pairs of a sequence."""
        raise AssertionError("ask of_head")


def _at_least_one(pattern: Pattern, *numbers: int) -> None:
    if min(numbers) < 1:
        raise PellucidError(f"{pattern} must name numbers of 1 or more")


# By name: how many numbers it takes, at least and at most, and what they make.
_KINDS: dict[str, tuple[int, int, Callable[..., Pattern]]] = {
    "dense": (0, 0, Dense), "banded": (1, 1, Banded), "local": (1, 1, Local), "column": (1, 1, Column),
    "strided": (1, 1, Strided), "summary": (2, 3, Summary), "fixed": (2, 3, Fixed), "compressed": (2, 2, Compressed),
}  # fmt: skip


def parse(text: str) -> Pattern:
    """`"dense"`, `"banded(128)"`, `"heads(local(8),column(8))"` -> the pattern, as `str` wrote it; else a `PellucidError`."""
    if not isinstance(text, str) or len(text) > MAX_TEXT_LENGTH:
        raise PellucidError(f"an attention pattern is text of at most {MAX_TEXT_LENGTH:,} characters, not {shown(text)}")
    if match := re.fullmatch(r"heads\((.*)\)", text):
        parts = re.split(r",(?=[a-z])", match[1])
        if any(part.startswith("heads") for part in parts):  # which `Heads` refuses, too, but not before all are parsed
            raise PellucidError("heads(a,b) takes two patterns or more, none of them compressed or heads itself")
        return Heads(tuple(map(parse, parts)))
    if match := re.fullmatch(r"([a-z]+)(?:\(([0-9]{1,9}(?:,[0-9]{1,9})*)\))?", text.replace(" ", "")):
        least, most, make = _KINDS.get(match[1], (1, 0, Dense))
        numbers = [int(number) for number in (match[2] or "").split(",") if number]
        if least <= len(numbers) <= most:
            return make(*numbers)
    raise PellucidError(
        f"unknown attention pattern {shown(text)}: use dense, banded(w), local(l), strided(l), fixed(l,c), column(l), "
        "summary(l,c), compressed(kernel,stride), or heads(a,b) of several"
    )
