"""The hook protocol of a forward pass: it receives the residual stream between blocks, queries, keys and what is added, and may
replace the outputs of heads, attention and MLP.

Without a tap a pass is unchanged: each hook is one `if tap is not None`.
"""

from typing import Literal, Protocol

from torch import Tensor


WritingPart = Literal["attention", "mlp"]  # of a block: what adds to the residual stream


class Tap(Protocol):
    """Receives tensors of a forward pass (`Decoder.forward`). It may keep references, and changes none of them.

    A tap is an argument of one call, not registered on the model, so it sees no other calls.
    """

    def stream(self, level: int, x: Tensor) -> None:
        """(B, T, C) residual stream: the input of block `level`; at level L the output of the last block."""

    def attention(self, block: int, q: Tensor, k: Tensor) -> None:
        """(B, H, T, D) queries and keys. Attention weights are never materialised: attention is fused."""

    def writes(self, block: int, attention: Tensor, mlp: Tensor) -> None:
        """(B, T, C) each: what the block's attention and MLP add to the residual stream."""

    def heads(self, block: int, out: Tensor) -> Tensor:
        """(B, T, C) outputs of a block's heads, side by side. attn.c_proj takes what this returns: `out`, or others."""

    def write(self, block: int, part: WritingPart, out: Tensor) -> Tensor:
        """(B, T, C) output of a block's attention or MLP. What this returns is added to the stream: `out`, or another."""
