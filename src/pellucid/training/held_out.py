"""Held-out loss: the mean over windows of text in nats a token and in bits a byte."""

from collections.abc import Iterable
from itertools import groupby, islice

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.gpt.bits_per_byte import bits_per_byte
from pellucid.gpt.decoder import Decoder
from pellucid.training.step import loss_of


def held_out_loss(
    model: Decoder,
    windows: Iterable[NDArray[np.int64]],
    token_bytes: NDArray[np.int64],
    *,
    dtype: torch.dtype,
    rows: int = 1,
) -> tuple[float, float]:
    """The loss over windows of text, on the model's device.

    Args:
        windows: each (tokens + 1,): every token but the first is predicted from those before it in the window.
        token_bytes: (V,) bytes of text that each token stands for; end-of-text stands for none.
        dtype: of the matrix products, as in training.
        rows: how many windows of one length go through the model at once.

    Returns:
        (nats a token, bits a byte). Bits a byte counts all bits against the bytes of the predicted text only, so models
        with different tokenizers can be compared.
    """
    nats, tokens, text_bytes = 0.0, 0, 0
    for _, same_length in groupby(windows, key=len):
        while group := list(islice(same_length, rows)):
            ids = torch.from_numpy(np.stack(group))
            targets = ids[:, 1:]
            nats += loss_of(model, ids[:, :-1], targets, dtype)
            tokens += targets.numel()
            text_bytes += int(token_bytes[targets.numpy()].sum())
    return nats / tokens, bits_per_byte(nats, text_bytes)
