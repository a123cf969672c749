"""One training step: predict, compute the error, update. B windows, T tracks."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.gpt.decoder import Decoder
from pellucid.gpt.documents import Documents
from pellucid.gpt.loss import IGNORE
from pellucid.native.operators.library import compiled_operators


MICRO_BATCH_TOKENS = 4096  # enough rows to keep the matrix products busy, few enough to stay in cache


def micro_batch_of(batch: int, tracks: int) -> int:
    """How many of a batch's rows of `tracks` tokens go through the model at once."""
    return max(1, min(batch, MICRO_BATCH_TOKENS // tracks))


def precision(dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Matrix products in `dtype`: autocast for bfloat16, nothing for float32."""
    return torch.autocast("cpu", dtype) if dtype != torch.float32 else nullcontext()


def loss_of(model: Decoder, ids: Tensor, targets: Tensor, dtype: torch.dtype) -> float:
    """The sum of losses over (B, T) targets, in nats, without gradients."""
    with torch.inference_mode(), precision(dtype):
        return float(model(ids, targets, reduction="sum").item())


def loss_and_gradients(
    model: Decoder, ids: Tensor, targets: Tensor, *, micro_batch: int, dtype: torch.dtype, compiled: bool = False,
    document: int | None = None,
) -> float:  # fmt: skip
    """Adds the gradient of the mean loss over all targets; returns that loss.

    The batch goes through in micro-batches. Each adds (its sum of losses) / (targets of the whole batch), so the result
    does not depend on how the batch is cut, up to rounding (and to dropout, which is drawn for each).

    Args:
        ids, targets: (B, T) int64; `loss.IGNORE` targets do not count.
        dtype: bfloat16 runs the matrix products under autocast; float32 runs them as they are.
        compiled: take the compiled operators (`pellucid.operators`) where there is one for the work.
        document: the id that begins a document, if attention is to stay within one (`gpt.documents`).
    """
    counted = int((targets != IGNORE).sum())
    total = 0.0
    for x, y in zip(torch.split(ids, micro_batch), torch.split(targets, micro_batch), strict=True):
        with precision(dtype), compiled_operators(use=compiled):
            within = None if document is None else Documents(model.config, x, document)
            loss = model(x, y, reduction="sum", cache=within) / max(1, counted)
        torch.autograd.backward(loss)
        total += loss.item()
    return total


def update(
    optimizer: torch.optim.Optimizer,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    clip: float,
    unless: Callable[[float], bool] = lambda norm: False,
) -> float:
    """Clips the gradients to a global norm, steps, clears them; returns the norm before clipping.

    `unless` is asked with that norm: True leaves weights and optimizer as they are.
    """
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip, error_if_nonfinite=False).item()
    if not unless(norm):
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
