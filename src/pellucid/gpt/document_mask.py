"""A mask that keeps attention within documents, for training windows that hold several.

B windows, T positions, H heads, D head width. GPT-3 packs documents into windows, end-of-text between them, and lets attention
cross document borders ("without any special masking", section 2.3 of its paper); this is the alternative.
"""

from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.gpt.attention import masked_sdpa, visible_mask
from pellucid.gpt.compressor import Compressor
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import Compressed, Heads, Pattern


class DocumentMask:
    """A `kv_cache.KVCache` that stores nothing and masks attention across documents, in addition to each block's pattern.

    A document begins at each end-of-text, as a generated text does; the tokens before a window's first end-of-text are a
    document, too. Positions are not reset within the window (a choice). A mask over all pairs of positions is made for each
    head: the cost is that of dense attention, whatever the pattern.

    Args:
        config: the model's shape.
        ids: (B, T) int64.
        end_of_text: the id that begins a document.

    Raises:
        PellucidError: a block is compressed: its keys would be made of positions of several documents.
    """

    def __init__(self, config: GPTConfig, ids: Tensor, end_of_text: int) -> None:
        check_patterns(config)
        self.config = config
        self.lengths = [0] * ids.shape[0]
        document = (ids == end_of_text).cumsum(dim=1)
        self.same_document = (document[:, :, None] == document[:, None, :])[:, None]  # (B, 1, T, T)
        self._masks: dict[Pattern, Tensor] = {}

    def attend(self, block: int, q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None = None) -> Tensor:
        """Attention of all positions, (B, H, T, D), within their documents."""
        assert compressor is None
        pattern = self.config.pattern[block]
        if pattern not in self._masks:
            length, heads = q.shape[2], q.shape[1] if isinstance(pattern, Heads) else None
            seen = visible_mask(pattern, length, length, q.device, heads=heads)  # (T, T) or (H, T, T)
            self._masks[pattern] = (self.same_document & seen).expand(-1, q.shape[1], -1, -1).flatten(0, 1)
        out = masked_sdpa(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), self._masks[pattern])
        return out.view_as(q)

    def advance(self, tokens: int) -> None:
        """Nothing is stored."""


def check_patterns(config: GPTConfig) -> None:
    """Raises PellucidError if a block of this shape cannot stay within documents."""
    if any(isinstance(pattern, Compressed) for pattern in config.pattern):
        raise PellucidError("compressed attention makes keys of several documents at once: leave out mask_documents")
