"""Attention over parts of the keys, forward and backward by hand: its cost is what the parts hold, never T x T.

N heads of the whole batch (B * H), T tracks, D head width.

A sparse pattern is a union of parts that share no key: strided attention, say, is a band and what lies further back in
the query's column. Each part rearranges its tracks so that what it sees becomes small dense products ("tiles"), each
without a mask but for its triangular edges. A query's answer in one part is a softmax over that part's keys; the parts are
then mixed by their log-sum-exps, which gives the softmax over all of them:

    out = sum_p share_p out_p,   share_p = exp(lse_p) / sum_p exp(lse_p)

Going back, parts do not need each other either: a weight is its part's share times its weight there. (The algebra is that
of FlashAttention, arXiv 2205.14135.) Weights are computed again in the backward pass: what is kept between the passes is
q, k, v, the output, and one number a query and part.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


LOWEST = -1e30  # a score that weighs nothing; finite, so that a row of nothing else stays a number

Edge = tuple[slice, Tensor]  # columns of a tile, and what is added to their scores: 0, or LOWEST where nothing is seen


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


def wide_of(dtype: torch.dtype) -> torch.dtype:
    """The dtype of scores and sums: float32 at least."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


class _Union(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, parts: tuple[Part, ...]) -> Tensor:
        shape = q.shape
        q, k, v = (x.flatten(0, 1).contiguous() for x in (q, k, v))  # (N, T or S, D)
        with _as_given(q.device):
            found = [_part_forward(q, k, v, part) for part in parts]
        lse = torch.stack([lse for _, lse in found])  # (parts, N, T)
        shares = (lse - lse.logsumexp(0)).exp_().masked_fill_(lse <= LOWEST / 2, 0.0)  # of each part in the answer
        out = found[0][0].mul_(shares[0, ..., None])
        for (more, _), share in zip(found[1:], shares[1:], strict=True):
            out.addcmul_(more, share[..., None])
        out = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, shares)
        ctx.parts = parts
        return out.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, out, shares = ctx.saved_tensors
        shape = grad.shape
        grad = grad.flatten(0, 1).contiguous()
        # d score = weight (d weight - sum over keys of weight d weight), and that sum is out . grad
        mean = (out * grad).sum(-1, dtype=shares.dtype)
        dq, dk, dv = (torch.zeros(x.shape, dtype=shares.dtype, device=x.device) for x in (q, k, v))
        for part, share in zip(ctx.parts, shares, strict=True):
            _part_backward(q, k, v, grad, mean, share, part, (dq, dk, dv))
        dq, dk, dv = (d.to(x.dtype).view(*shape[:2], *x.shape[1:]) for d, x in ((dq, q), (dk, k), (dv, v)))
        return dq, dk, dv, None


class _Desk:
    """Room for the numbers of one tile, used again for the next: fresh memory would cost as much as the products."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.sheets: dict[str, Tensor] = {}

    def room(self, name: str, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """A contiguous tensor of that shape, with anything in it."""
        size = math.prod(shape)
        if name not in self.sheets or self.sheets[name].numel() < size:
            self.sheets[name] = self.like.new_empty(size, dtype=dtype)
        return self.sheets[name][:size].view(shape)

    def product(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """a b, batch by batch."""
        return torch.bmm(a, b, out=self.room(name, a.shape[0], a.shape[1], b.shape[2]))


def _weights(q: Tensor, k: Tensor, tile: Tile, wide: torch.dtype, desk: _Desk) -> tuple[Tensor, Tensor]:
    """(n, rows, columns) scores of one tile, and their softmax, in the wide dtype.

    PyTorch's softmax, not exp(score - lse): exp takes five to forty times longer where it comes near to zero.
    """
    scores = desk.product("scores", tile.queries(q), tile.keys(k).transpose(1, 2)).to(wide)
    for columns, bias in tile.edges:
        scores[..., columns] += bias
    return scores, torch.softmax(scores, -1, out=desk.room("weights", *scores.shape, dtype=wide))


def _part_forward(q: Tensor, k: Tensor, v: Tensor, part: Part) -> tuple[Tensor, Tensor]:
    """(N, T, D) answers over one part and (N, T) logs of its softmax's denominator, both in the wide dtype."""
    tracks, wide, desk = q.shape[1], wide_of(q.dtype), _Desk(q)
    q, k, v = part.queries(q * (1.0 / math.sqrt(q.shape[-1]))), part.keys(k), part.keys(v)
    out = torch.zeros(q.shape, dtype=wide, device=q.device)
    lse = torch.full(q.shape[:-1], LOWEST, dtype=wide, device=q.device)
    for tile in part.tiles(q, k):
        scores, weights = _weights(q, k, tile, wide, desk)
        # The largest weight is exp(the largest score - lse).
        tile.queries(lse).copy_(scores.amax(-1) - weights.amax(-1).log_())
        tile.queries(out).copy_(desk.product("answer", weights.to(v.dtype), tile.keys(v)))
    return part.answers(out, tracks), part.answers(lse, tracks)


def _part_backward(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, mean: Tensor, share: Tensor, part: Part,
    totals: tuple[Tensor, Tensor, Tensor],
) -> None:  # fmt: skip
    """Adds one part's gradients to `totals`."""
    tracks, wide, scale, desk = q.shape[1], wide_of(q.dtype), 1.0 / math.sqrt(q.shape[-1]), _Desk(q)
    q, k, v = part.queries(q * scale), part.keys(k), part.keys(v)
    grad, mean, share = (part.queries(x) for x in (grad * share[..., None].to(grad.dtype), mean * share, share))
    dq = torch.zeros(q.shape, dtype=wide, device=q.device)
    dk, dv = (torch.zeros(x.shape, dtype=wide, device=x.device) for x in (k, v))
    for tile in part.tiles(q, k):
        _, weights = _weights(q, k, tile, wide, desk)
        d_answer = tile.queries(grad)
        tile.add(dv, desk.product("keys", weights.to(v.dtype).transpose(1, 2), d_answer))
        d_weights = desk.product("scores", d_answer, tile.keys(v).transpose(1, 2)).to(wide)
        d_scores = d_weights.sub_(tile.queries(mean)[..., None]).mul_(weights).to(q.dtype)
        tile.queries(dq).copy_(desk.product("answer", d_scores, tile.keys(k)))
        tile.add(dk, desk.product("keys", d_scores.transpose(1, 2), tile.queries(q)))
    totals[0].add_(part.answers(dq, tracks), alpha=scale)
    part.add_keys(totals[1], dk)
    part.add_keys(totals[2], dv)
