"""Batches of windows: what a training run is fed."""

from itertools import islice

import numpy as np
import torch
from torch import Tensor

from pellucid.corpus.shards import TokenCorpus
from pellucid.corpus.windows import Windows, sequential
from pellucid.generate.model import GPT
from pellucid.text import Tokenizer
from pellucid.train.held_out import held_out_loss
from pellucid.train.step import micro_batch_of


HELD_OUT_TOKENS = 8_192  # read at each look; the same tokens every time


class WindowBatches:
    """Batches of shuffled windows: the article's window slid over all the text, without replacement in an epoch."""

    def __init__(self, corpus: TokenCorpus, tokenizer: Tokenizer, n_ctx: int, batch: int, seed: int) -> None:
        self.windows = Windows(corpus.train, n_ctx, seed=seed)
        self.n_ctx, self.size = n_ctx, batch
        self.token_bytes = np.array(tokenizer.byte_lengths, dtype=np.int64)
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
        rows = micro_batch_of(len(self.looked_at), self.n_ctx)
        return held_out_loss(model, self.looked_at, self.token_bytes, dtype=dtype, rows=rows)
