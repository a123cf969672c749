"""The hook protocol of a forward pass: it receives the residual stream between blocks, queries, keys and what is added.

Without a tap a pass is unchanged: each hook is one `if tap is not None`.
"""

from typing import Protocol

from torch import Tensor


class Tap(Protocol):
    """Receives tensors of a forward pass (`Decoder.forward`). It may keep references, and changes nothing.

    A tap is an argument of one call, not registered on the model, so it sees no other calls.
    """

    def stream(self, level: int, x: Tensor) -> None:
        """(B, T, C) residual stream: the input of block `level`; at level L the output of the last block."""

    def attention(self, block: int, q: Tensor, k: Tensor) -> None:
        """(B, H, T, D) queries and keys. Attention weights are never materialised: attention is fused."""

    def writes(self, block: int, attention: Tensor, mlp: Tensor) -> None:
        """(B, T, C) each: what the block's attention and MLP add to the residual stream."""
