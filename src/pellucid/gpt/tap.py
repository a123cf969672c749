"""Where a forward pass can be watched.

A pass that nobody watches does what it did before taps were there: each place to watch is one `if tap is not None`.
"""

from typing import Protocol

from torch import Tensor


class Tap(Protocol):
    """Sees the tensors of a forward pass as they come by (`Decoder.hidden`). It keeps references and changes nothing.

    A tap is handed to one call, not fastened to the model: what others do with the model meanwhile passes it by.
    """

    def stream(self, level: int, x: Tensor) -> None:
        """(B, T, C) vectors of the new tracks: the input of block `level`; at level L the last block's output."""

    def attention(self, block: int, q: Tensor, k: Tensor) -> None:
        """(B, H, T, D) queries and keys of the new tracks. The weights themselves are never made: attention is fused."""
