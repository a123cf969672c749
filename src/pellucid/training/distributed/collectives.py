"""Collectives as autograd functions, and under the names of older and newer PyTorch. n rows of each rank."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup


# PyTorch 2.13 renames them.
_all_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def gather(x: Tensor, group: ProcessGroup) -> Tensor:
    """(n, ...) of every rank of a group -> (ranks, n, ...); backward, the sum of all ranks' gradients of one's own."""
    out: Tensor = _Gather.apply(x, group)  # type: ignore[no-untyped-call]
    return out


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        out = x.new_empty(dist.get_world_size(group), *x.shape)
        _all_gather(out.flatten(0, 1), x.contiguous(), group=group)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].contiguous()
        own = torch.empty_like(grad[0])
        _reduce_scatter(own, grad.flatten(0, 1), group=ctx.group)
        return own, None
