"""Keys and values kept while generating, so that only new tokens are computed.

B rows (sequences), H heads, D head width, S slots. A block keeps `pattern.reach` slots: the whole context where it is
dense, only the band where it is banded. A row's track p lies in slot p % S, so a full band overwrites its oldest key.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.gpt.attention import attention
from pellucid.gpt.config import GPTConfig


class KVCache:
    """The cache of one batch; each row has a length of its own.

    Args:
        config: the model's shape.
        rows: sequences in the batch (B).
        capacity: the longest a row may become, in tracks (at most n_ctx).

    Attributes:
        lengths: tracks filled, by row; plain integers, so that reading them never waits for a device.
    """

    def __init__(self, config: GPTConfig, rows: int, capacity: int, *, device: torch.device, dtype: torch.dtype) -> None:
        assert 0 < capacity <= config.n_ctx
        self.config = config
        self.capacity = capacity
        self.lengths = [0] * rows
        self.blocks = [
            torch.zeros(2, rows, config.n_heads, p.reach(capacity), config.d_head, device=device, dtype=dtype)
            for p in config.pattern
        ]  # a block: (keys and values, B, H, S, D)

    def nbytes(self) -> int:
        """Bytes held."""
        return sum(block.nbytes for block in self.blocks)

    def attend(self, block: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of new tracks over everything their block may see; then keeps their keys and values.

        Args:
            block: which block asks.
            q, k, v: (B, H, T, D) of the T newest tracks of each row. T > 1 needs rows of one length.

        Returns:
            (B, H, T, D).
        """
        assert max(self.lengths) + q.shape[2] <= self.capacity, "the cache is full"
        if q.shape[2] == 1:
            return self._attend_one(block, q, k, v)
        length = self.lengths[0]
        assert all(n == length for n in self.lengths), "rows of different lengths go on one token at a time"
        kept = self.blocks[block]
        slots = kept.shape[3]
        new = torch.arange(length, length + q.shape[2], device=q.device)[-slots:]
        old = torch.arange(max(0, length - slots), length, device=q.device) % slots  # oldest first
        out = attention(
            q,
            torch.cat((kept[0, :, :, old], k), dim=2) if length else k,
            torch.cat((kept[1, :, :, old], v), dim=2) if length else v,
            self.config.pattern[block],
        )
        kept[0, :, :, new % slots] = k[:, :, -slots:]
        kept[1, :, :, new % slots] = v[:, :, -slots:]
        return out

    def _attend_one(self, block: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kept = self.blocks[block]
        slots = kept.shape[3]
        if len(set(self.lengths)) == 1:
            slot = self.lengths[0] % slots
            kept[0, :, :, slot] = k[:, :, 0]
            kept[1, :, :, slot] = v[:, :, 0]
            filled = min(self.lengths[0] + 1, slots)
            # Order does not matter to attention (positions are in the embeddings), so a wrapped band is read as it lies.
            return F.scaled_dot_product_attention(q, kept[0, :, :, :filled], kept[1, :, :, :filled])
        rows = torch.arange(len(self.lengths), device=q.device)
        slot_by_row = torch.tensor([n % slots for n in self.lengths], device=q.device)
        kept[0, rows, :, slot_by_row] = k[:, :, 0]
        kept[1, rows, :, slot_by_row] = v[:, :, 0]
        filled = min(max(self.lengths) + 1, slots)
        # A row that has wrapped its band has filled every slot; one that has not sees as far as its own newest.
        last = torch.tensor([min(n, slots - 1) for n in self.lengths], device=q.device)
        seen = torch.arange(filled, device=q.device) <= last[:, None]  # (B, S)
        return F.scaled_dot_product_attention(
            q, kept[0, :, :, :filled], kept[1, :, :, :filled], attn_mask=seen[:, None, None, :]
        )

    def advance(self, tokens: int) -> None:
        """Notes that every row has `tokens` more tracks; the model calls it once all blocks have attended."""
        self.lengths = [n + tokens for n in self.lengths]

    def put(self, row: int, other: "KVCache") -> None:
        """Copies a one-row cache of the same capacity into `row`: how prompts of different lengths share a batch."""
        assert other.capacity == self.capacity and len(other.lengths) == 1
        for mine, theirs in zip(self.blocks, other.blocks, strict=True):
            mine[:, row] = theirs[:, 0]
        self.lengths[row] = other.lengths[0]

    def keep(self, rows: list[int]) -> None:
        """Drops every row but these (finished sequences leave the batch)."""
        index = torch.tensor(rows, device=self.blocks[0].device)
        self.blocks = [block.index_select(1, index) for block in self.blocks]
        self.lengths = [self.lengths[row] for row in rows]
