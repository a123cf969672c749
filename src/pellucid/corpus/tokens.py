"""`Tokens`: a read-only sequence of token ids over several arrays, such as memory-mapped shards."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray


class Tokens:
    """A read-only sequence of token ids: arrays joined end to end without a copy.

    `tokens[a:b]` is a new (b - a,) int64 array, with a list's bounds; `tokens[i]` is an int.

    Args:
        parts: arrays of integers, such as memory-mapped shards.
        n_bytes: bytes of UTF-8 text that the tokens decode to, end-of-text counted as none.
    """

    def __init__(self, parts: Sequence[NDArray[Any]], n_bytes: int) -> None:
        self._parts = [part for part in parts if len(part)]
        self._ends = list(accumulate(len(part) for part in self._parts))
        self.n_bytes = n_bytes

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> NDArray[np.int64]: ...
    def __getitem__(self, index: int | slice) -> int | NDArray[np.int64]:
        if not isinstance(index, slice):
            i = range(len(self))[index]  # counts from the end, and raises IndexError, as a list does
            return int(self[i : i + 1][0])
        start, stop, step = index.indices(len(self))
        if step != 1:
            raise ValueError("Tokens are sliced without a step")
        out = np.empty(max(0, stop - start), dtype=np.int64)
        done = 0
        for part, end in zip(self._parts, self._ends, strict=True):
            if start + done < end and done < len(out):
                begin = start + done - (end - len(part))
                taken = part[begin : begin + len(out) - done]
                out[done : done + len(taken)] = taken
                done += len(taken)
        assert done == len(out)
        return out
