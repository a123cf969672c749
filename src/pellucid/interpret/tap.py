"""What is kept of a generation while it runs: references to tensors that exist anyway, and the time.

T tracks, C width, H heads, D head width, L blocks, S steps.
"""

from collections.abc import Collection
from itertools import pairwise
from time import perf_counter

import torch
from torch import Tensor


class Watch:
    """A tap (`gpt.tap.Tap`) on one row. Computing waits until the answer is written, so watching takes next to no time.

    Args:
        blocks: L.
        keep: "block_inputs" and "lens" need the stream, "attention" needs queries and keys.
        clock: note when each block begins. Sensible on the CPU only: elsewhere work is queued, not done.
    """

    def __init__(self, blocks: int, keep: Collection[str], *, clock: bool) -> None:
        self._stream: list[list[Tensor]] = [[] for _ in range(blocks + 1)]
        self._queries: list[list[Tensor]] = [[] for _ in range(blocks)]
        self._keys: list[list[Tensor]] = [[] for _ in range(blocks)]
        self._times: list[float] = []
        self._streaming = "block_inputs" in keep or "lens" in keep
        self._attending = "attention" in keep
        self._clock = clock

    def stream(self, level: int, x: Tensor) -> None:
        """Keeps (1, T, C) of the new tracks."""
        if self._clock:
            self._times.append(perf_counter())
        if self._streaming:
            self._stream[level].append(x[0])

    def attention(self, block: int, q: Tensor, k: Tensor) -> None:
        """Keeps (1, H, T, D) queries and keys of the new tracks."""
        if self._attending:
            self._queries[block].append(q[0])
            self._keys[block].append(k[0])

    def level(self, level: int) -> Tensor:
        """(T, C): the stream of all tracks at one level."""
        return torch.cat(self._stream[level])

    def queries_and_keys(self, block: int) -> tuple[Tensor, Tensor]:
        """(H, T, D) each, of all tracks; also of those that the cache has dropped since."""
        return torch.cat(self._queries[block], dim=1), torch.cat(self._keys[block], dim=1)

    def block_times(self) -> list[list[float]]:
        """(S, L) seconds, by pass and block; empty without a clock."""
        levels = len(self._stream)
        passes = [self._times[i : i + levels] for i in range(0, len(self._times), levels)]
        return [[after - before for before, after in pairwise(one)] for one in passes]
