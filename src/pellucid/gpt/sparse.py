"""Attention over subsets of the keys, with its own backward pass: the cost is that of the subsets, never T x T.

N heads of the whole batch (B * H), T positions, D head width.

A sparse pattern is a union of disjoint key subsets: strided attention, for example, is a band and what lies further back in the
query's column. Each subset rearranges its positions so that attention over it is a number of small dense products ("tiles"),
unmasked but for their triangular edges. A query's output over one subset is a softmax over that subset's keys; the outputs are
combined by their log-sum-exps, which gives the softmax over all subsets:

    out = sum_p share_p out_p,   share_p = exp(lse_p) / sum_p exp(lse_p)

The backward pass is by subset too: a weight is the subset's share times the weight within the subset. (The algebra is that of
FlashAttention, arXiv 2205.14135.) Weights are recomputed in the backward pass: what is saved is q, k, v, the output, and one
number per query and subset.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


LOWEST = -1e30  # the score of a masked key; finite, so that a row of nothing else has no NaN

Edge = tuple[slice, Tensor]  # columns of a tile, and the bias of their scores: 0, or LOWEST where masked


@dataclass(frozen=True, slots=True)
class Tile:
    """One dense product: `queries` selects (n, rows, ...) of what `KeySubset.queries` returned, `keys` selects (n, columns, D).

    Attributes:
        add: adds (n, columns, D) key gradients to a buffer shaped as `KeySubset.keys` returned.
        edges: columns in which some queries are masked.
    """

    queries: Callable[[Tensor], Tensor]
    keys: Callable[[Tensor], Tensor]
    add: Callable[[Tensor, Tensor], object]
    edges: Sequence[Edge] = ()


class KeySubset(Protocol):
    """For each query, a subset of the keys; subsets that are attended to together share no key."""

    def queries(self, x: Tensor) -> Tensor:
        """(N, T, ...) of the queries -> rearranged."""

    def outputs(self, x: Tensor, positions: int) -> Tensor:
        """The inverse: -> (N, T, ...)."""

    def keys(self, x: Tensor) -> Tensor:
        """(N, S, D) of the keys -> rearranged."""

    def add_keys(self, total: Tensor, x: Tensor) -> None:
        """Adds gradients, rearranged, to (N, S, D)."""

    def tiles(self, queries: Tensor, keys: Tensor) -> Iterator[Tile]:
        """All tiles, for the rearranged queries and keys; a query is in at most one."""


def attend(q: Tensor, k: Tensor, v: Tensor, *subsets: KeySubset) -> Tensor:
    """Attention over the union of the subsets; zero for a query that sees nothing.

    Args:
        q: (B, H, T, D). k, v: (B, H, S, D), arranged as the subsets expect them.

    Returns:
        (B, H, T, D) in q's dtype. Gradients reach q, k and v, once (no second derivatives).
    """
    out: Tensor = _Union.apply(q, k, v, subsets)  # type: ignore[no-untyped-call]
    return out


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Autocast off: it would compute the softmax in low precision; the backward pass runs without it anyway."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of scores and sums: float32 at least."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


class _Union(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, subsets: tuple[KeySubset, ...]) -> Tensor:
        shape = q.shape
        q, k, v = (x.flatten(0, 1).contiguous() for x in (q, k, v))  # (N, T or S, D)
        with _without_autocast(q.device):
            results = [_subset_forward(q, k, v, subset) for subset in subsets]
        lse = torch.stack([lse for _, lse in results])  # (subsets, N, T)
        shares = (lse - lse.logsumexp(0)).exp_().masked_fill_(lse <= LOWEST / 2, 0.0)  # of each subset in the output
        out = results[0][0].mul_(shares[0, ..., None])
        for (more, _), share in zip(results[1:], shares[1:], strict=True):
            out.addcmul_(more, share[..., None])
        out = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, shares)
        ctx.subsets = subsets
        return out.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, out, shares = ctx.saved_tensors
        shape = grad.shape
        grad = grad.flatten(0, 1).contiguous()
        # d score = weight (d weight - sum over keys of weight d weight), and that sum is out . grad
        delta = (out * grad).sum(-1, dtype=shares.dtype)
        dq, dk, dv = (torch.zeros(x.shape, dtype=shares.dtype, device=x.device) for x in (q, k, v))
        for subset, share in zip(ctx.subsets, shares, strict=True):
            _subset_backward(q, k, v, grad, delta, share, subset, (dq, dk, dv))
        dq, dk, dv = (d.to(x.dtype).view(*shape[:2], *x.shape[1:]) for d, x in ((dq, q), (dk, k), (dv, v)))
        return dq, dk, dv, None


class _Workspace:
    """Buffers for one tile, reused for the next: allocating them would take as long as the products."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.buffers: dict[str, Tensor] = {}

    def empty(self, name: str, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """A contiguous tensor of that shape with arbitrary contents."""
        size = math.prod(shape)
        if name not in self.buffers or self.buffers[name].numel() < size:
            self.buffers[name] = self.like.new_empty(size, dtype=dtype)
        return self.buffers[name][:size].view(shape)

    def product(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """torch.bmm(a, b) into a reused buffer."""
        return torch.bmm(a, b, out=self.empty(name, a.shape[0], a.shape[1], b.shape[2]))


def _weights(q: Tensor, k: Tensor, tile: Tile, wide: torch.dtype, workspace: _Workspace) -> tuple[Tensor, Tensor]:
    """(n, rows, columns) scores of one tile, and their softmax, in the wide dtype.

    PyTorch's softmax, not exp(score - lse): exp takes 5 to 40 times longer where results are near zero.
    """
    scores = workspace.product("scores", tile.queries(q), tile.keys(k).transpose(1, 2)).to(wide)
    for columns, bias in tile.edges:
        scores[..., columns] += bias
    return scores, torch.softmax(scores, -1, out=workspace.empty("weights", *scores.shape, dtype=wide))


def _subset_forward(q: Tensor, k: Tensor, v: Tensor, subset: KeySubset) -> tuple[Tensor, Tensor]:
    """(N, T, D) outputs over one subset and (N, T) log-sum-exps of its scores, both in the wide dtype."""
    positions, wide, workspace = q.shape[1], accumulation_dtype(q.dtype), _Workspace(q)
    q, k, v = subset.queries(q * (1.0 / math.sqrt(q.shape[-1]))), subset.keys(k), subset.keys(v)
    out = torch.zeros(q.shape, dtype=wide, device=q.device)
    lse = torch.full(q.shape[:-1], LOWEST, dtype=wide, device=q.device)
    for tile in subset.tiles(q, k):
        scores, weights = _weights(q, k, tile, wide, workspace)
        # The largest weight is exp(the largest score - lse).
        tile.queries(lse).copy_(scores.amax(-1) - weights.amax(-1).log_())
        tile.queries(out).copy_(workspace.product("output", weights.to(v.dtype), tile.keys(v)))
    return subset.outputs(out, positions), subset.outputs(lse, positions)


def _subset_backward(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, delta: Tensor, share: Tensor, subset: KeySubset,
    totals: tuple[Tensor, Tensor, Tensor],
) -> None:  # fmt: skip
    """Adds one subset's gradients to `totals`."""
    positions, wide, scale, workspace = q.shape[1], accumulation_dtype(q.dtype), 1.0 / math.sqrt(q.shape[-1]), _Workspace(q)
    q, k, v = subset.queries(q * scale), subset.keys(k), subset.keys(v)
    grad, delta, share = (subset.queries(x) for x in (grad * share[..., None].to(grad.dtype), delta * share, share))
    dq = torch.zeros(q.shape, dtype=wide, device=q.device)
    dk, dv = (torch.zeros(x.shape, dtype=wide, device=x.device) for x in (k, v))
    for tile in subset.tiles(q, k):
        _, weights = _weights(q, k, tile, wide, workspace)
        d_output = tile.queries(grad)
        tile.add(dv, workspace.product("keys", weights.to(v.dtype).transpose(1, 2), d_output))
        d_weights = workspace.product("scores", d_output, tile.keys(v).transpose(1, 2)).to(wide)
        d_scores = d_weights.sub_(tile.queries(delta)[..., None]).mul_(weights).to(q.dtype)
        tile.queries(dq).copy_(workspace.product("output", d_scores, tile.keys(k)))
        tile.add(dk, workspace.product("keys", d_scores.transpose(1, 2), tile.queries(q)))
    totals[0].add_(subset.outputs(dq, positions), alpha=scale)
    subset.add_keys(totals[1], dk)
    subset.add_keys(totals[2], dv)
