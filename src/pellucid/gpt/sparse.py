"""Attention over parts of the keys, forward and backward by hand: its cost is what the parts hold, never T x T.

N heads of the whole batch (B * H), T tracks, D head width.

A sparse pattern is a union of parts that share no key: strided attention, say, is a band and what lies further back in
the query's column. Each part rearranges its tracks so that what it sees becomes small dense products ("tiles"), each
without a mask but for its triangular edges. A query's answer in one part is a softmax over that part's keys; the parts are
then mixed by their log-sum-exps, which gives the softmax over all of them:

    out = sum_p out_p exp(lse_p - lse),   lse = log sum_p exp(lse_p)

Going back, a weight is exp(score - lse) with the lse of the whole, so that parts do not need each other (the same algebra
as in FlashAttention, arXiv 2205.14135, section 3.1 and appendix B.4). Weights are computed again in the backward pass:
what is kept between the passes is q, k, v, the output and one number a query.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


LOWEST = -1e30  # stands for the log of an empty sum, and stays finite in differences

Edge = tuple[slice, Tensor]  # columns of a tile, and the bool mask of what is seen in them


@dataclass(frozen=True, slots=True)
class Tile:
    """One dense product: `queries` picks (n, rows, ...) out of what `Part.queries` made, `keys` picks (n, columns, D).

    Attributes:
        add: adds (n, columns, D) gradients of the keys to a buffer of the shape that `Part.keys` made.
        edges: where a query does not see every key.
    """

    queries: Callable[[Tensor], Tensor]
    keys: Callable[[Tensor], Tensor]
    add: Callable[[Tensor, Tensor], object]
    edges: Sequence[Edge] = ()


class Part(Protocol):
    """Some keys of every query, no two parts the same."""

    def queries(self, x: Tensor) -> Tensor:
        """(N, T, ...) of the queries -> rearranged."""

    def answers(self, x: Tensor, tracks: int) -> Tensor:
        """The inverse: -> (N, T, ...)."""

    def keys(self, x: Tensor) -> Tensor:
        """(N, S, D) of the keys -> rearranged."""

    def add_keys(self, total: Tensor, x: Tensor) -> None:
        """Adds gradients, rearranged, to (N, S, D)."""

    def tiles(self, queries: Tensor, keys: Tensor) -> Iterator[Tile]:
        """All products, for the rearranged queries and keys; a query is in one tile at most."""


def attend(q: Tensor, k: Tensor, v: Tensor, *parts: Part) -> Tensor:
    """softmax over the union of the parts; zero for a query that sees nothing.

    Args:
        q: (B, H, T, D). k, v: (B, H, S, D), arranged as the parts expect them.

    Returns:
        (B, H, T, D) in q's dtype. Gradients reach q, k and v, once (no second derivatives).
    """
    out: Tensor = _Union.apply(q, k, v, parts)  # type: ignore[no-untyped-call]
    return out


def _as_given(device: torch.device) -> AbstractContextManager[object]:
    """Autocast would narrow the softmax; the backward pass runs outside of it anyway."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


class _Union(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, parts: tuple[Part, ...]) -> Tensor:
        shape = q.shape
        q, k, v = (x.flatten(0, 1).contiguous() for x in (q, k, v))  # (N, T or S, D)
        with _as_given(q.device):
            out, lse = _part_forward(q, k, v, parts[0])
            for part in parts[1:]:
                more, more_lse = _part_forward(q, k, v, part)
                both = torch.logaddexp(lse, more_lse)
                out = out.mul_((lse - both).exp_()[..., None]).add_(more.mul_((more_lse - both).exp_()[..., None]))
                lse = both
        out = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.parts = parts
        return out.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, out, lse = ctx.saved_tensors
        shape = grad.shape
        grad = grad.flatten(0, 1).contiguous()
        # d score = weight (d weight - sum over keys of weight d weight), and that sum is out . grad
        shared = (out.to(lse.dtype) * grad).sum(-1)
        dq, dk, dv = (torch.zeros(x.shape, dtype=lse.dtype, device=x.device) for x in (q, k, v))
        for part in ctx.parts:
            _part_backward(q, k, v, grad, lse, shared, part, (dq, dk, dv))
        dq, dk, dv = (d.to(x.dtype).view(*shape[:2], *x.shape[1:]) for d, x in ((dq, q), (dk, k), (dv, v)))
        return dq, dk, dv, None


def _scores(q: Tensor, k: Tensor, tile: Tile, dtype: torch.dtype) -> Tensor:
    """(n, rows, columns) of one tile, -inf where a query does not see the key."""
    scores = torch.bmm(tile.queries(q), tile.keys(k).transpose(1, 2)).to(dtype)
    for columns, seen in tile.edges:
        scores[..., columns].masked_fill_(~seen, -math.inf)
    return scores


def _part_forward(q: Tensor, k: Tensor, v: Tensor, part: Part) -> tuple[Tensor, Tensor]:
    """(N, T, D) answers over one part and (N, T) logs of its softmax's denominator, both in the wide dtype."""
    tracks, wide = q.shape[1], _wide(q.dtype)
    q, k, v = part.queries(q * (1.0 / math.sqrt(q.shape[-1]))), part.keys(k), part.keys(v)
    out = torch.zeros(q.shape, dtype=wide, device=q.device)
    lse = torch.full(q.shape[:-1], LOWEST, dtype=wide, device=q.device)
    for tile in part.tiles(q, k):
        weights = _scores(q, k, tile, wide)
        highest = weights.amax(-1, keepdim=True).clamp_min_(LOWEST)
        weights = weights.sub_(highest).exp_()
        total = weights.sum(-1, keepdim=True)
        answer = torch.bmm(weights.to(v.dtype), tile.keys(v)).to(wide)
        tile.queries(out).copy_(answer.div_(total.clamp_min(1e-30)))
        tile.queries(lse).copy_((highest + total.log_()).clamp_min_(LOWEST)[..., 0])
    return part.answers(out, tracks), part.answers(lse, tracks)


def _part_backward(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, lse: Tensor, shared: Tensor, part: Part,
    totals: tuple[Tensor, Tensor, Tensor],
) -> None:  # fmt: skip
    """Adds one part's gradients to `totals`."""
    tracks, wide, scale = q.shape[1], _wide(q.dtype), 1.0 / math.sqrt(q.shape[-1])
    q, k, v = part.queries(q * scale), part.keys(k), part.keys(v)
    grad, lse, shared = (part.queries(x) for x in (grad, lse, shared))
    dq = torch.zeros(q.shape, dtype=wide, device=q.device)
    dk, dv = (torch.zeros(x.shape, dtype=wide, device=x.device) for x in (k, v))
    for tile in part.tiles(q, k):
        weights = _scores(q, k, tile, wide).sub_(tile.queries(lse)[..., None]).exp_()
        d_answer = tile.queries(grad)
        tile.add(dv, torch.bmm(weights.to(v.dtype).transpose(1, 2), d_answer))
        d_weights = torch.bmm(d_answer, tile.keys(v).transpose(1, 2)).to(wide)
        d_scores = d_weights.sub_(tile.queries(shared)[..., None]).mul_(weights).to(q.dtype)
        tile.queries(dq).copy_(torch.bmm(d_scores, tile.keys(k)))
        tile.add(dk, torch.bmm(d_scores.transpose(1, 2), tile.queries(q)))
    totals[0].add_(part.answers(dq, tracks), alpha=scale)
    part.add_keys(totals[1], dk)
    part.add_keys(totals[2], dv)
