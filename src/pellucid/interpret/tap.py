"""`ActivationTap`: keeps the residual stream, what is added to it, queries, keys and block times of a generation while it runs.

T positions, C width, H heads, D head width, L blocks, S steps.
"""

from collections.abc import Collection
from itertools import pairwise
from time import perf_counter

import torch
from torch import Tensor

from pellucid.gpt.tap import WritingPart


class ActivationTap:
    """A tap (`gpt.tap.Tap`) on one sequence. It keeps references and computes nothing, so it costs next to no time.

    Args:
        blocks: L.
        keep: groups of `capture.KEEP`: "block_inputs" and "lens" need the residual stream, "attention" queries and keys,
            "writes" what attention and MLP add to the stream.
        clock: note when each block begins. Meaningful on the CPU only: elsewhere kernels are queued, not run.
    """

    def __init__(self, blocks: int, keep: Collection[str], *, clock: bool) -> None:
        self._stream: list[list[Tensor]] = [[] for _ in range(blocks + 1)]
        self._queries: list[list[Tensor]] = [[] for _ in range(blocks)]
        self._keys: list[list[Tensor]] = [[] for _ in range(blocks)]
        self._writes: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in range(blocks)]
        self._times: list[float] = []
        self._keeps_stream = "block_inputs" in keep or "lens" in keep
        self._keeps_attention = "attention" in keep
        self._keeps_writes = "writes" in keep
        self._clock = clock

    def stream(self, level: int, x: Tensor) -> None:
        """Keeps (1, T, C): the new positions' input of block `level`, or the last block's output."""
        if self._clock:
            self._times.append(perf_counter())
        if self._keeps_stream:
            self._stream[level].append(x[0])

    def attention(self, block: int, q: Tensor, k: Tensor) -> None:
        """Keeps (1, H, T, D) queries and keys of the new positions."""
        if self._keeps_attention:
            self._queries[block].append(q[0])
            self._keys[block].append(k[0])

    def writes(self, block: int, attention: Tensor, mlp: Tensor) -> None:
        """Keeps (1, T, C) of the new positions: what the block's attention and MLP add to the stream."""
        if self._keeps_writes:
            self._writes[block][0].append(attention[0])
            self._writes[block][1].append(mlp[0])

    def heads(self, block: int, out: Tensor) -> Tensor:
        """Changes nothing."""
        return out

    def write(self, block: int, part: WritingPart, out: Tensor) -> Tensor:
        """Changes nothing."""
        return out

    def missing(self) -> tuple[int, str] | None:
        """The first block that showed nothing of a group that is kept, and the group. None where all did.

        A module that a user put into the model may not call the tap, or not pass it on.
        """
        for group, kept, blocks in (
            ("attention", self._keeps_attention, self._queries),
            ("writes", self._keeps_writes, [attention for attention, _ in self._writes]),
        ):
            for block, tensors in enumerate(blocks):
                if kept and not tensors:
                    return block, group
        return None

    def block_input(self, level: int) -> Tensor:
        """(T, C): the input of block `level` at all positions; for level L the last block's output."""
        return torch.cat(self._stream[level])

    def queries_and_keys(self, block: int) -> tuple[Tensor, Tensor]:
        """(H, T, D) each, of all positions, those outside of the block's band included."""
        return torch.cat(self._queries[block], dim=1), torch.cat(self._keys[block], dim=1)

    def written(self, block: int) -> tuple[Tensor, Tensor]:
        """(T, C) each: what the block's attention and MLP add to the stream at all positions."""
        attention, mlp = self._writes[block]
        return torch.cat(attention), torch.cat(mlp)

    def block_times(self) -> list[list[float]]:
        """(S, L) seconds, by forward pass and block; empty without a clock."""
        levels = len(self._stream)
        passes = [self._times[i : i + levels] for i in range(0, len(self._times), levels)]
        return [[after - before for before, after in pairwise(one)] for one in passes]
