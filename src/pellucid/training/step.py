"""One training step: forward, loss, backward, update. B rows, T positions."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pellucid.gpt.decoder import Block, Decoder
from pellucid.gpt.document_mask import DocumentMask
from pellucid.gpt.loss import IGNORE
from pellucid.native.operators.library import compiled_operators
from pellucid.training.placement import autocast, copy_to, device_of


MICRO_BATCH_TOKENS = 4096  # enough rows to keep the matrix products busy, few enough to stay in cache


def micro_batch_of(batch: int, positions: int) -> int:
    """How many of a batch's rows of `positions` tokens go through the model at once."""
    return max(1, min(batch, MICRO_BATCH_TOKENS // positions))


def loss_of(model: Decoder, ids: Tensor, targets: Tensor, dtype: torch.dtype) -> float:
    """The sum of losses over (B, T) targets, in nats, without gradients; on the model's device."""
    device = device_of(model)
    ids, targets = copy_to(device, ids, targets)
    with torch.inference_mode(), autocast(dtype, device):
        return float(model(ids, targets, reduction="sum").item())


def loss_and_gradients(
    model: Decoder, ids: Tensor, targets: Tensor, *, micro_batch: int, dtype: torch.dtype, compiled: bool = False,
    document: int | None = None, weights: Tensor | None = None, recompute: bool = False,
) -> float:  # fmt: skip
    """Adds the gradient of the mean loss over all targets to the parameters' `.grad`; returns that loss.

    The batch goes through the model in micro-batches, on the model's device. Each adds (its sum of losses) / (targets of the
    whole batch), so the result does not depend on the micro-batch's size, up to rounding (and to dropout, drawn for each).

    Args:
        ids, targets: (B, T) int64, on any device; `loss.IGNORE` targets do not count.
        micro_batch: rows that go through the model at once.
        dtype: bfloat16 runs the matrix products under autocast; float32 runs them as they are.
        compiled: use the compiled operators (`native.operators`) where there is one for the work.
        document: the id that begins a document, if attention is to stay within one (`gpt.document_mask`).
        weights: (B, T) float32, of the targets in the mean. None: 1 each.
        recompute: whether the backward pass computes each block's activations again instead of keeping them.
    """
    counted: float = int((targets != IGNORE).sum())
    if weights is not None:
        counted = float(weights[targets != IGNORE].double().sum())
    device = device_of(model)
    tensors = copy_to(device, ids, targets, *([] if weights is None else [weights]))
    losses: list[Tensor] = []
    for x, y, *w in zip(*(torch.split(tensor, micro_batch) for tensor in tensors), strict=True):
        with autocast(dtype, device), compiled_operators(use=compiled), recomputing(model, use=recompute):
            within = None if document is None else DocumentMask(model.config, x, document)
            loss = model(x, y, reduction="sum", cache=within, target_weights=w[0] if w else None) / (counted or 1)
            torch.autograd.backward(loss)
        losses.append(loss.detach())
    total = 0.0
    for value in losses:  # read when all are queued: reading one waits for the device
        total += value.item()
    return total


@contextmanager
def recomputing(model: Decoder, *, use: bool) -> Iterator[None]:
    """Makes the blocks compute their activations again in the backward pass, which has to be inside, too."""
    blocks = [block for block in model.h if isinstance(block, Block)] if use else []
    for block in blocks:
        block.recompute = True
    try:
        yield
    finally:
        for block in blocks:
            block.recompute = False


def update(
    optimizer: torch.optim.Optimizer,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    clip: float,
    skip: Callable[[float], bool] = lambda norm: False,
) -> float:
    """Clips the gradients to a global norm, steps the optimizer, clears the gradients; returns the norm before clipping.

    Args:
        lr: the learning rate of this step. clip: the largest global norm.
        skip: called with the norm before clipping; True leaves weights and optimizer as they are.
    """
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip, error_if_nonfinite=False).item()
    if not skip(norm):
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
