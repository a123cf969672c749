"""Cross-entropy of next tokens, computed from hidden vectors without materialising all logits.

N rows (tokens with a target), C width, V vocabulary.

Logits for a whole batch would be the largest tensor of a training step (4,096 tokens x 50,257 x 4 bytes = 823 MB) and
autograd would keep several. Here rows are processed in chunks: logits, loss and both gradients of a chunk are computed together
in the forward pass, so only one chunk's logits exist at a time.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pellucid.native.operators.functions import cross_entropy_
from pellucid.native.operators.library import in_use


IGNORE = -100  # a target that does not count, as in torch.nn.functional.cross_entropy
CHUNK_VALUES = 2**24  # logits alive at once: 64 MB in float32
WHOLE_VECTORS = 64
VOCABULARY_AT_ONCE = 8192  # rows of the token matrix's gradient taken together: few enough that their products stay in cache


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, row_weights: Tensor | None, need_grad: bool, frozen: bool
    ) -> Tensor:
        if need_grad and hidden.dtype == torch.bfloat16 and in_use(hidden):
            total, grad_hidden, grad_weight = _compiled(hidden, weight, targets, row_weights, frozen)
        else:
            total, grad_hidden, grad_weight = _plain(hidden, weight, targets, row_weights, need_grad, frozen)
        if need_grad:
            ctx.save_for_backward(grad_hidden, grad_weight)
            ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        # In place, as (V, C) may be the largest tensor of a step: a second backward pass is refused by PyTorch.
        of_weight = None if grad_weight is None else grad_weight.mul_(grads[0]).to(ctx.weight_dtype)
        return grad_hidden.mul_(grads[0]), of_weight, None, None, None, None


def _plain(
    hidden: Tensor, weight: Tensor, targets: Tensor, row_weights: Tensor | None, need_grad: bool, frozen: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The loss, and the gradients of `hidden` and, unless it is frozen, `weight`."""
    vocab = weight.shape[0]
    matrix = weight.to(hidden.dtype)
    grad_hidden = torch.empty_like(hidden) if need_grad else None
    fresh = torch.empty_like if len(hidden) else torch.zeros_like  # the first chunk writes, later ones add
    grad_weight = fresh(weight, dtype=torch.float32) if need_grad and not frozen else None
    total = torch.zeros((), dtype=torch.float32, device=hidden.device)
    for start, stop in _chunks(len(hidden), CHUNK_VALUES // vocab):
        h, t = hidden[start:stop], targets[start:stop]
        counted = t != IGNORE
        index = t.masked_fill(~counted, 0)[:, None]  # an ignored row may point anywhere: it becomes zero below
        log_p = torch.log_softmax((h @ matrix.T).float(), dim=-1)
        losses = log_p.gather(1, index)[:, 0] * counted
        total -= (losses if row_weights is None else losses * row_weights[start:stop]).sum()
        if grad_hidden is not None:
            # d loss / d logits = softmax - one_hot(target)
            grad_logits = log_p.exp_()
            grad_logits.scatter_add_(1, index, torch.full_like(index, -1, dtype=grad_logits.dtype))
            grad_logits[~counted] = 0.0
            if row_weights is not None:
                grad_logits *= row_weights[start:stop, None]
            grad_logits = grad_logits.to(hidden.dtype)
            torch.mm(grad_logits, matrix, out=grad_hidden[start:stop])
            if grad_weight is not None:
                _add_product(grad_weight, grad_logits.T, h, first=start == 0)
    return total, grad_hidden, grad_weight


def _compiled(
    hidden: Tensor, weight: Tensor, targets: Tensor, row_weights: Tensor | None, frozen: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The same by the compiled operator, with bfloat16 logits: four times as many fit into a chunk."""
    vocab, width = weight.shape
    # Rows of whole vectors: a product with 50,304 columns takes three quarters of the time of one with 50,257 (docs/log.md).
    matrix = hidden.new_zeros(vocab + -vocab % WHOLE_VECTORS, width)
    matrix[:vocab] = weight
    grad_hidden = torch.empty_like(hidden)
    fresh = torch.empty_like if len(hidden) else torch.zeros_like
    grad_weight = None if frozen else fresh(weight, dtype=torch.float32)
    total = torch.zeros((), dtype=torch.float32)
    for start, stop in _chunks(len(hidden), 4 * CHUNK_VALUES // vocab):
        h = hidden[start:stop]
        logits = h @ matrix.T
        losses = cross_entropy_(logits[:, :vocab], targets[start:stop])  # logits are their gradient from here on
        if row_weights is None:
            total += losses.sum()
        else:
            total += (losses * row_weights[start:stop]).sum()
            logits *= row_weights[start:stop, None]
        torch.mm(logits, matrix, out=grad_hidden[start:stop])
        if grad_weight is None:
            continue
        for first, last in _chunks(vocab, VOCABULARY_AT_ONCE):
            _add_product(grad_weight[first:last], logits[:, first:last].T, h, first=start == 0)
    return total, grad_hidden, grad_weight


def _chunks(rows: int, most: int) -> list[tuple[int, int]]:
    """Where chunks of rows begin and end: as few as will do of at most `most` rows, of one size up to one row."""
    parts = -(-rows // max(1, most))
    ends = [rows * part // max(1, parts) for part in range(parts + 1)]
    return list(pairwise(ends))


def _add_product(total: Tensor, a: Tensor, b: Tensor, *, first: bool) -> None:
    """total += a b, or total = a b where it is the `first`: within the product itself where the dtypes are one."""
    if total.dtype == a.dtype:
        torch.addmm(total, a, b, beta=0 if first else 1, out=total)
    elif first:
        total.copy_(a @ b)
    else:
        total.add_(a @ b)


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, row_weights: Tensor | None = None) -> Tensor:
    """Sum over targets of -log softmax(hidden weight^T)[target], in nats.

    Args:
        hidden: (N, C); products are taken in its dtype, the softmax in float32.
        weight: (V, C), the tied token matrix.
        targets: (N,) int64; `IGNORE` rows add nothing.
        row_weights: (N,) float32, by which each row's loss is multiplied. None: 1 each.

    Returns:
        A float32 scalar: the sum, not the mean, so that micro-batches add up.
    """
    # Decided here: inside `forward` of an autograd function gradients are always disabled.
    wanted = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    loss: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, weight, targets, row_weights, wanted, not weight.requires_grad
    )
    return loss
