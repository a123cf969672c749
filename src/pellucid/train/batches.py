"""Batches of windows: what a training run is fed."""

from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.corpus.shards import TokenCorpus
from pellucid.corpus.windows import Windows, sequential
from pellucid.generate.model import GPT
from pellucid.text import Tokenizer
from pellucid.train.held_out import held_out_loss


HELD_OUT_TOKENS = 16_384  # read at each look; the same tokens every time


class WindowBatches:
    """Batches of shuffled windows: the article's window slid over all the text, without replacement in an epoch."""

    def __init__(self, corpus: TokenCorpus, tokenizer: Tokenizer, n_ctx: int, batch: int, seed: int) -> None:
        self.windows = Windows(corpus.train, n_ctx, seed=seed)
        self.n_ctx, self.size = n_ctx, batch
        self.token_bytes = token_lengths(tokenizer)
        looks = -(-HELD_OUT_TOKENS // n_ctx)
        self.looked_at = list(islice(sequential(corpus.held_out, n_ctx), looks))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """(B, T) ids and the (B, T) tokens that follow them."""
        windows = torch.from_numpy(self.windows.batch(step * self.size, self.size))
        return windows[:, :-1], windows[:, 1:]

    def tokens_before(self, step: int) -> int:
        """Every window trains on n_ctx tokens."""
        return step * self.size * self.n_ctx

    def epoch_at(self, step: int) -> float:
        """Windows seen over windows there are."""
        return step * self.size / len(self.windows)

    def held_out(self, model: GPT, dtype: torch.dtype) -> tuple[float, float]:
        """(nats a token, bits a byte) of the first `HELD_OUT_TOKENS` held-out tokens."""
        return held_out_loss(model, self.looked_at, self.token_bytes, dtype=dtype)


def token_lengths(tokenizer: Tokenizer) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(V,) bytes of text that each token stands for; 0 for end-of-text."""
    return np.array(
        [0 if token == tokenizer.eot else len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)]
    )
