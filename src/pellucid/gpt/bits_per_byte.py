"""Bits per byte: the loss on a text in a unit that is comparable between tokenizers.

B windows, T positions, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import PellucidError


@dataclass(frozen=True, slots=True)
class TextLoss:
    """The loss on a text.

    Attributes:
        nats: the sum of the losses. tokens: how many were predicted. text_bytes: how many bytes of text they stand for.
    """

    nats: float
    tokens: int
    text_bytes: int

    @property
    def bits_per_byte(self) -> float:
        """Bits a byte of the text. Errors as `bits_per_byte`."""
        return bits_per_byte(self.nats, self.text_bytes)


def bits_per_byte(nats: float, text_bytes: int) -> float:
    """Converts a loss of `nats` over `text_bytes` bytes of text to bits per byte.

    Raises:
        PellucidError: no bytes at all.
    """
    if text_bytes < 1:
        raise PellucidError("there is too little text to measure on: give more text")
    return nats / math.log(2) / text_bytes


@torch.inference_mode()
def text_loss(
    logits: Callable[[Tensor], Tensor], texts: Sequence[Sequence[int]], byte_lengths: Sequence[int], n_ctx: int
) -> TextLoss:
    """The loss on texts, window by window as for held-out text: each token but the first of a text is predicted once, from
    those before it in its window.

    Args:
        logits: (1, T) ids -> (1, T, V), T up to n_ctx.
        texts: as token ids.
        byte_lengths: bytes of text that each token of the vocabulary stands for.
    """
    nats, tokens, text_bytes = 0.0, 0, 0
    for ids in texts:
        for first in range(0, len(ids) - 1, n_ctx):
            window = torch.tensor([list(ids[first : first + n_ctx + 1])])
            targets = window[0, 1:]
            log_p = logits(window[:, :-1])[0].float().cpu().log_softmax(-1)
            nats -= log_p.gather(1, targets[:, None]).double().sum().item()
            tokens += len(targets)
            text_bytes += sum(byte_lengths[token] for token in targets.tolist())
    return TextLoss(nats, tokens, text_bytes)
