"""The head under tensor parallelism: each rank has some rows of the token matrix, and no rank all logits.

N targets, E width, V tokens of the vocabulary, of which a rank has v rows. The softmax over all V is that of the ranks' largest
logits and sums, exchanged for each chunk of targets: (N,) numbers, never (N, V).
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup
from torch.distributed.tensor import DTensor

from pellucid.gpt.loss import CHUNK_VALUES, IGNORE
from pellucid.training.distributed.collectives import gather
from pellucid.training.distributed.fill import own_part


class VocabularyParallelLoss:
    """The sum of cross-entropies, as `stage.sum_of_losses`, of ranks that each have some positions and some of the vocabulary.

    Args:
        group: the ranks along `tp`.
    """

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group

    def __call__(self, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        """(B, T / tp, E) hidden vectors, the (V, E) matrix and (B, T) targets -> the sum of all, the same on every rank."""
        assert isinstance(weight, DTensor)
        _, (first, *_) = own_part(weight)
        whole = gather(hidden, self.group).transpose(0, 1).flatten(1, 2)  # (B, T, E)
        loss: Tensor = _Loss.apply(  # type: ignore[no-untyped-call]
            whole.flatten(0, 1), weight.to_local(), targets.flatten(), first, self.group
        )
        return loss


class _Loss(torch.autograd.Function):
    """Loss and both gradients of one chunk of targets after another, as `gpt.loss` computes them in one process."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, first: int, group: ProcessGroup) -> Tensor:
        matrix = weight.to(hidden.dtype)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight, dtype=torch.float32)
        rows = max(1, CHUNK_VALUES // max(1, len(weight)))
        for h, t, d in zip(hidden.split(rows), targets.split(rows), grad_hidden.split(rows), strict=True):
            logits = (h @ matrix.T).float()
            counted = t != IGNORE
            index = t - first
            here = counted & (index >= 0) & (index < len(weight))  # targets whose logit this rank has
            index = index.masked_fill(~here, 0)[:, None]
            largest = logits.amax(-1) if len(weight) else torch.full_like(t, -torch.inf, dtype=torch.float32)
            dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=group)
            logits -= largest[:, None]
            of_target = logits.gather(1, index)[:, 0] * here if len(weight) else torch.zeros_like(largest)
            logits.exp_()
            sums = torch.stack((logits.sum(-1), of_target))
            dist.all_reduce(sums, group=group)
            total += ((sums[0].log() - sums[1]) * counted).sum()
            logits /= sums[0][:, None]  # d loss / d logits = softmax - one_hot(target)
            if len(weight):
                logits.scatter_add_(1, index, -here[:, None].to(logits.dtype))
            logits[~counted] = 0.0
            grad = logits.to(hidden.dtype)
            d.copy_(grad @ matrix)
            grad_weight += grad.T @ h
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden.mul_(grads[0]), grad_weight.mul_(grads[0]).to(ctx.weight_dtype), None, None, None
