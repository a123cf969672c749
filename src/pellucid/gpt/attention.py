"""Causal attention by pattern: the definition (`masked_attention`), and fast implementations that agree with it.

B batch, H heads, T positions (queries), S positions (keys), D head width.

Queries are the newest positions: query i is at position S - T + i, so one function serves training (T == S) and decoding with a
cache (T < S).

Every path but the dense one consists of key subsets (`attention_tiles`) and a softmax over their union (`sparse`, forward and
backward); its cost falls with the pattern, in time and in memory. The dense path is PyTorch's own kernel. Under `torch.compile`
the others are that kernel with a mask: correct, but as slow as dense.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.gpt.attention_tiles import BandKeys, GroupKeys, PrefixKeys, summary_keys
from pellucid.gpt.pattern import Banded, Column, Compressed, Dense, Fixed, Heads, Local, Pattern, Strided, Summary
from pellucid.gpt.sparse import KeySubset, attend


# Up to this many positions a mask over all pairs takes less time than tiles (measured: docs/log.md).
SHORT = 256


def visible_mask(
    pattern: Pattern, queries: int, keys: int, device: torch.device | None = None, *, heads: int | None = None
) -> Tensor:
    """The pattern as a bool mask, True where a query sees a key: (T, S), or (H, T, S) if `heads` is given."""
    q = torch.arange(keys - queries, keys, device=device)[:, None]
    k = torch.arange(keys, device=device)[None, :]
    if heads is None:
        assert not isinstance(pattern, Heads), "this pattern differs by head: give heads"
        return torch.as_tensor(pattern.visible(q, k))
    return torch.stack([torch.as_tensor(pattern.of_head(head).visible(q, k)) for head in range(heads)])


def masked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D) where seen) v: the definition, and the oracle of every other path.

    Args:
        q: (B, H, T, D). k, v: (B, H, S, D). mask: bool, broadcastable to (B, H, T, S).

    Returns:
        (B, H, T, D) in q's dtype, zero for a query that sees nothing; scores and softmax are taken in float32 at least.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = (q.to(wide) @ k.to(wide).transpose(-2, -1)) / math.sqrt(q.shape[-1])
    weights = scores.masked_fill(~mask, torch.finfo(wide).min).softmax(-1) * mask.any(-1, keepdim=True)
    return (weights @ v.to(wide)).to(q.dtype)


def attention(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
    """Causal attention by `pattern`: (B, H, T, D) queries at the newest positions of (B, H, S, D) keys and values.

    A compressed pattern has keys of its own: see `compressed_attention`.
    """
    queries, keys = q.shape[-2], k.shape[-2]
    if isinstance(pattern, Heads):
        return _by_head(q, k, v, pattern)
    if isinstance(pattern, Dense) or _sees_all(pattern, keys):
        return _dense(q, k, v)
    if queries == keys > SHORT and not torch.compiler.is_compiling():  # TorchDynamo does not trace `sparse`
        return attend(q, k, v, *_key_subsets(pattern))
    return masked_sdpa(q, k, v, visible_mask(pattern, queries, keys, q.device))


def masked_sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """`masked_attention` by PyTorch's `scaled_dot_product_attention`: the fastest implementation for few pairs."""
    nothing = ~mask.any(-1, keepdim=True)
    if _slow_backward(q):
        out = _with_saved_weights(q, k, v, mask | nothing)
    else:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask | nothing)
    return out.masked_fill(nothing, 0.0)


def compressed_attention(q: Tensor, k: Tensor, v: Tensor, pattern: Compressed, *, first: int = 0) -> Tensor:
    """Queries over compressed keys.

    Args:
        q: (B, H, T, D) at positions `first` and following.
        k, v: (B, H, S, D): the null key and value, then all that are complete at the last query.
    """

    def seen(query: Tensor, key: Tensor) -> Tensor:  # key 0 is the null key
        return (key - 1) * pattern.stride + pattern.kernel - 1 <= query + first

    if torch.compiler.is_compiling():
        queries, keys = (torch.arange(x.shape[2], device=x.device) for x in (q, k))
        return masked_sdpa(q, k, v, seen(queries[:, None], keys))
    return attend(q, k, v, PrefixKeys(lambda query: 1 + int(pattern.count(query + first + 1)), seen))


def _sees_all(pattern: Pattern, positions: int) -> bool:
    """Whether the pattern lets every query see all of this many positions."""
    match pattern:
        case Banded(width):
            return positions <= width
        case Local(length) | Fixed(length):
            return positions <= length
        case Strided(stride):
            return positions <= stride + 1
    return False


def _key_subsets(pattern: Pattern) -> tuple[KeySubset, ...]:
    """The disjoint subsets whose union the pattern is."""
    match pattern:
        case Banded(width):
            return (BandKeys(width),)
        case Local(length):
            return (GroupKeys(length),)
        case Column(stride):
            return (GroupKeys(stride, spread=True),)
        case Strided(stride):  # the band is one shorter: the key `stride` back is in the column
            return BandKeys(stride), GroupKeys(stride, spread=True, itself=False)
        case Summary():
            return (summary_keys(pattern, own_block=True),)
        case Fixed(length):
            return GroupKeys(length), summary_keys(pattern.factors[1], own_block=False)
    raise AssertionError(pattern)


def _by_head(q: Tensor, k: Tensor, v: Tensor, pattern: Heads) -> Tensor:
    """Each head by its own pattern: head h takes `patterns[h % len(patterns)]`."""
    step = len(pattern.patterns)
    outputs = [attention(q[:, i::step], k[:, i::step], v[:, i::step], p) for i, p in enumerate(pattern.patterns[: q.shape[1]])]
    order = torch.cat([torch.arange(i, q.shape[1], step) for i in range(len(outputs))]).argsort()
    return torch.cat(outputs, dim=1)[:, order.to(q.device)]


def _dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    queries, keys = q.shape[-2], k.shape[-2]
    if queries == 1:  # the newest position sees all keys: no mask
        return F.scaled_dot_product_attention(q, k, v)
    if queries < keys:
        mask = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    if _slow_backward(q):
        mask = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril()
        return _with_saved_weights(q, k, v, mask)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def _slow_backward(q: Tensor) -> bool:
    """Whether the backward pass of PyTorch's fused kernel is slow: bfloat16 on the CPU (docs/log.md)."""
    return q.requires_grad and q.dtype == torch.bfloat16 and q.device.type == "cpu"


def _with_saved_weights(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """The definition in the dtype of its inputs, saving the softmax for the backward pass. (..., T, D) -> (..., T, D).

    In bfloat16 on the CPU, forward and backward together are 1.6-2 times faster than PyTorch's fused kernel, at the cost of one
    (T, S) matrix a head in memory. In float32 the fused kernel is faster.
    """
    lead = q.shape[:-2]
    q, k, v = (x.flatten(0, -3) for x in (q, k, v))  # (B * H, T or S, D)
    # Adding a bias to the scores takes one pass less than masked_fill, here and in the backward pass.
    bias = torch.zeros(mask.shape, dtype=v.dtype, device=v.device).masked_fill_(~mask, -math.inf)
    weights = torch.baddbmm(bias, q, k.transpose(-2, -1), alpha=1.0 / math.sqrt(q.shape[-1])).softmax(-1)
    return (weights @ v).view(*lead, *q.shape[-2:])
