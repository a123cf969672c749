"""Keys and values kept while generating, so that only new tokens are computed.

B rows (sequences), H heads, D head width, S slots. A block keeps what its pattern can still read, and no more: the whole
context where it is dense, the band where it is banded, one block and the summaries where it is fixed (`shelf`).
"""

from typing import Protocol

import torch
from torch import Tensor

from pellucid.gpt.compressor import Compressor
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.shelf import Shelf, make_shelf


class Cache(Protocol):
    """What a pass asks of a cache.

    Attributes:
        lengths: tracks that each row has already.
    """

    lengths: list[int]

    def attend(self, block: int, q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None = None) -> Tensor:
        """Attention of new tracks, (B, H, T, D), over everything their block may see; keeps their keys and values."""

    def advance(self, tokens: int) -> None:
        """All blocks have attended to `tokens` more tracks of every row."""


class KVCache:
    """The cache of one batch; each row has a length of its own.

    Args:
        config: the model's shape.
        rows: sequences in the batch (B).
        capacity: the longest a row may become, in tracks (at most n_ctx).

    Attributes:
        lengths: tracks filled, by row; plain integers, so that reading them never waits for a device.
        shelves: what each block keeps.
    """

    def __init__(self, config: GPTConfig, rows: int, capacity: int, *, device: torch.device, dtype: torch.dtype) -> None:
        assert 0 < capacity <= config.n_ctx
        self.config = config
        self.capacity = capacity
        self.lengths = [0] * rows
        like = torch.empty(0, device=device, dtype=dtype)
        self.shelves: list[Shelf] = [
            make_shelf(pattern, capacity, like.new_zeros(2, rows, config.n_heads, 0, config.d_head))
            for pattern in config.pattern
        ]

    def nbytes(self) -> int:
        """Bytes held."""
        return sum(kept.nbytes for shelf in self.shelves for kept in shelf.tensors())

    def attend(self, block: int, q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None = None) -> Tensor:
        """Attention of new tracks over everything their block may see; then keeps their keys and values.

        Args:
            block: which block asks.
            q, k, v: (B, H, T, D) of the T newest tracks of each row. T > 1 needs rows of one length.
            compressor: the block's own, where its pattern is compressed.

        Returns:
            (B, H, T, D).
        """
        assert max(self.lengths) + q.shape[2] <= self.capacity, "the cache is full"
        shelf = self.shelves[block]
        if q.shape[2] == 1:
            return shelf.attend_one(self.lengths, q, k, v, compressor)
        assert len(set(self.lengths)) == 1, "rows of different lengths go on one token at a time"
        return shelf.attend_many(self.lengths[0], q, k, v, compressor)

    def advance(self, tokens: int) -> None:
        """Notes that every row has `tokens` more tracks; the model calls it once all blocks have attended."""
        self.lengths = [n + tokens for n in self.lengths]

    def put(self, row: int, other: "KVCache") -> None:
        """Copies a one-row cache of the same capacity into `row`: how prompts of different lengths share a batch."""
        assert other.capacity == self.capacity and len(other.lengths) == 1
        for mine, theirs in zip(self.shelves, other.shelves, strict=True):
            for kept, there in zip(mine.tensors(), theirs.tensors(), strict=True):
                kept[:, row] = there[:, 0]
        self.lengths[row] = other.lengths[0]

    def keep(self, rows: list[int]) -> None:
        """Drops every row but these (finished sequences leave the batch)."""
        index = torch.tensor(rows, device=self.shelves[0].tensors()[0].device)
        for shelf in self.shelves:
            shelf.keep(index)
        self.lengths = [self.lengths[row] for row in rows]
