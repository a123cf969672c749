"""Attention by pattern: the plain definition, and fast paths that agree with it.

B batch, H heads, T tracks (queries), S tracks (keys), D head width, W band.

Queries are the newest tracks: query i sits on track (S - T + i), so that one function serves training (T == S) and
reading on from a cache (T < S).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.gpt.pattern import Banded, Pattern


def visible_mask(pattern: Pattern, queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """The pattern as a (T, S) bool mask, True where a query sees a key."""
    q = torch.arange(keys - queries, keys, device=device)[:, None]
    k = torch.arange(keys, device=device)[None, :]
    seen = k <= q
    if isinstance(pattern, Banded):
        seen &= k > q - pattern.width
    return seen


def masked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D) where seen) v: the definition, and the oracle of every other path.

    Args:
        q: (B, H, T, D). k, v: (B, H, S, D). mask: bool, broadcastable to (B, H, T, S); each row sees one key at least.

    Returns:
        (B, H, T, D) in q's dtype; scores and softmax are taken in float32.
    """
    scores = (q.float() @ k.float().transpose(-2, -1)) / math.sqrt(q.shape[-1])
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
    return (weights @ v.float()).to(q.dtype)


def attention(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
    """Causal attention by `pattern`: (B, H, T, D) queries on the newest tracks of (B, H, S, D) keys and values."""
    queries, keys = q.shape[-2], k.shape[-2]
    if isinstance(pattern, Banded) and keys > pattern.width:
        if queries == keys:
            return _banded(q, k, v, pattern.width)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=visible_mask(pattern, queries, keys, q.device))
    return _dense(q, k, v)


def _dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    queries, keys = q.shape[-2], k.shape[-2]
    if queries == 1:  # the newest track sees everything: no mask
        return F.scaled_dot_product_attention(q, k, v)
    if queries < keys:
        mask = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    if _slow_backward(q):
        mask = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril()
        return _with_saved_weights(q, k, v, mask)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def _banded(q: Tensor, k: Tensor, v: Tensor, width: int) -> Tensor:
    """Banded attention whose cost falls with the band: T * 2W pairs in place of T * T.

    Tracks are cut into blocks of W. A query sees keys of its own block and of the one before, never further:

        block 0      sees itself: plain causal attention
        block n > 0  sees 2W keys through one and the same (W, 2W) mask
    """
    b, h, t, d = q.shape
    # Fill up the last block: a filling key lies after every real query, so causality hides it.
    short = -t % width
    q, k, v = (F.pad(x, (0, 0, 0, short)) for x in (q, k, v))
    first = _dense(q[:, :, :width], k[:, :, :width], v[:, :, :width])

    def blocks(x: Tensor) -> Tensor:  # (B, H, T, D) -> (B, H, blocks, W, D)
        return x.view(b, h, -1, width, d)

    keys, values = (torch.cat((blocks(x)[:, :, :-1], blocks(x)[:, :, 1:]), dim=3).flatten(0, 2) for x in (k, v))
    queries = blocks(q)[:, :, 1:].flatten(0, 2)  # (B * H * (blocks - 1), W, D)
    mask = visible_mask(Banded(width), width, 2 * width, q.device)
    if _slow_backward(q):
        rest = _with_saved_weights(queries, keys, values, mask)
    else:
        rest = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return torch.cat((first, rest.view(b, h, -1, d)), dim=2)[:, :, :t]


def _slow_backward(q: Tensor) -> bool:
    """Whether PyTorch's fused kernel would be slow to go back through: bfloat16 on the CPU (docs/log.md)."""
    return q.requires_grad and q.dtype == torch.bfloat16 and q.device.type == "cpu"


def _with_saved_weights(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """The definition in the dtype of its inputs, its softmax kept for the backward pass. (..., T, D) -> (..., T, D).

    In bfloat16 on the CPU, going forward and back through this is 1.6-2 times faster than through PyTorch's fused kernel,
    for the price of one (T, S) matrix a head. In float32 the fused kernel is faster.
    """
    lead = q.shape[:-2]
    q, k, v = (x.flatten(0, -3) for x in (q, k, v))  # (B * H, T or S, D)
    # Added to the scores rather than filled into them: one pass less, here and in the backward.
    bias = torch.zeros(mask.shape, dtype=v.dtype, device=v.device).masked_fill_(~mask, -math.inf)
    weights = torch.baddbmm(bias, q, k.transpose(-2, -1), alpha=1.0 / math.sqrt(q.shape[-1])).softmax(-1)
    return (weights @ v).view(*lead, *q.shape[-2:])
