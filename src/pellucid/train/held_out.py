"""How well a model predicts text that it was not trained on."""

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.gpt.decoder import Decoder


def precision(dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Matrix products in `dtype`: autocast for bfloat16, nothing for float32."""
    return torch.autocast("cpu", dtype) if dtype != torch.float32 else nullcontext()


def loss_of(model: Decoder, ids: Tensor, targets: Tensor, dtype: torch.dtype) -> float:
    """The sum of losses over (B, T) targets, in nats, without gradients."""
    with torch.inference_mode(), precision(dtype):
        return model.loss_sum(ids, targets).item()


def bits_per_byte(nats: float, text_bytes: int) -> float:
    """Nats spent on `text_bytes` bytes of text, as bits a byte."""
    return nats / math.log(2) / max(1, text_bytes)


def held_out_loss(
    model: Decoder, windows: Iterable[NDArray[np.int64]], token_bytes: NDArray[np.int64], *, dtype: torch.dtype
) -> tuple[float, float]:
    """The loss over windows of text.

    Args:
        windows: each (tokens + 1,): every token but the first is predicted from those before it in the window.
        token_bytes: (V,) bytes of text a token stands for; end-of-text stands for none.
        dtype: of the matrix products, as in training.

    Returns:
        (nats a token, bits a byte). Bits a byte counts all bits against the bytes of the predicted text only, so models
        with different tokenizers can be compared.
    """
    nats, tokens, text_bytes = 0.0, 0, 0
    for window in windows:
        ids = torch.from_numpy(window)[None]
        nats += loss_of(model, ids[:, :-1], ids[:, 1:], dtype)
        tokens += len(window) - 1
        text_bytes += int(token_bytes[window[1:]].sum())
    return nats / tokens, bits_per_byte(nats, text_bytes)
