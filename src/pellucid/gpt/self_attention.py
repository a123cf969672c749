"""Self-attention of a block: selects the implementation that computes it from the projected queries, keys and values.

B batch, T positions, C width, H heads, D head width.
"""

import math

import torch
from torch import Tensor

from pellucid.gpt.attention import attention, compressed_attention
from pellucid.gpt.compressor import Compressor
from pellucid.gpt.kv_cache import KVCache
from pellucid.gpt.pattern import Dense, Pattern
from pellucid.gpt.tap import Tap
from pellucid.native.operators import functions
from pellucid.native.operators.library import in_use


def self_attention(
    qkv: Tensor, block: int, pattern: Pattern, compressor: Compressor | None = None, *, scaled: bool = True,
    cache: KVCache | None = None, tap: Tap | None = None,
) -> Tensor:  # fmt: skip
    """Causal self-attention of one block.

    Args:
        qkv: (B, T, 3, H, D) queries, keys and values of the new positions.
        block: index of the block.
        compressor: of a compressed pattern.
        scaled: whether scores are divided by sqrt(D), as GPT-3's are.
        cache: attends to earlier positions too, and stores the new ones.
        tap: sees the queries and keys, and may replace the heads' outputs.

    Returns:
        (B, T, C), heads side by side.
    """
    b, t, _, h, d = qkv.shape
    whole_and_dense = cache is None and isinstance(pattern, Dense)
    if whole_and_dense and tap is None and scaled and qkv.dtype == torch.bfloat16 and in_use(qkv):
        return functions.causal_attention(qkv)
    if whole_and_dense and qkv.dtype == torch.float32:
        q, k, v = (one.transpose(1, 2) for one in qkv.unbind(2))  # (B, H, T, D), views: PyTorch's kernel takes the strides
    else:  # one copy here makes every product below faster
        q, k, v = qkv.permute(2, 0, 3, 1, 4).contiguous().unbind(0)
    if not scaled:  # everything below divides scores by sqrt(D)
        q = q * math.sqrt(d)
    if tap is not None:
        tap.attention(block, q, k)
    if cache is not None:
        out = cache.attend(block, q, k, v, compressor)
    elif compressor is not None:
        keys, values = compressor(k, v)
        out = compressed_attention(q, keys, values, compressor.pattern)
    else:
        out = attention(q, k, v, pattern)
    joined = out.transpose(1, 2).reshape(b, t, h * d)
    return joined if tap is None else tap.heads(block, joined)
