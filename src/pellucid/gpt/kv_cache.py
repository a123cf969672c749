"""The KV cache protocol of a forward pass: `runtime.kv_cache` implements it for generation, `document_mask` for training."""

from typing import Protocol

from torch import Tensor

from pellucid.gpt.compressor import Compressor


class KVCache(Protocol):
    """Computes attention for the new positions of a batch, over whatever keys and values it provides.

    B sequences, H heads, T new positions, D head width.

    Attributes:
        lengths: for each of the B sequences, the position of its first new token.
    """

    lengths: list[int]

    def attend(self, block: int, q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None = None) -> Tensor:
        """Attention of one block for the new positions; their keys and values may be stored.

        Args:
            block: index of the block.
            q, k, v: (B, H, T, D) of the new positions.
            compressor: the block's own, if its pattern is compressed.

        Returns:
            (B, H, T, D).
        """

    def advance(self, tokens: int) -> None:
        """Called once after all blocks: every sequence has `tokens` more positions."""
