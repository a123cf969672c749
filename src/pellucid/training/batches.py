"""Batches of a training run: the protocol, and batches of shuffled windows of text."""

from bisect import bisect_left
from itertools import islice
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from pellucid.corpus.shards import TokenCorpus
from pellucid.corpus.windows import Windows, evenly_spaced, sequential
from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.runs.plan import Plan
from pellucid.runs.recipe import Recipe
from pellucid.text import Tokenizer
from pellucid.training.held_out import held_out_loss
from pellucid.training.step import micro_batch_of


FIRST_TOKENS = 8_192  # held-out tokens read at each evaluation of a run whose plan says nothing of windows
# Choices: what an evaluation reads, in windows spread over all held-out text. Those of a context of 2,048 are sixteen texts.
SPREAD_TOKENS, FEWEST_WINDOWS = 16_384, 16
MAX_RAMP_STEPS = 1 << 20  # each is in a table; GPT-3's ramp took some 50,000


class Batches(Protocol):
    """The batches of a run: pure functions of the step's number."""

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Ids and targets of step `step` (0, 1, 2, ...): (B, T) int64 each, on the CPU."""

    def weights(self, step: int) -> Tensor | None:
        """The weights of these targets in the training loss, (B, T) float32; None: 1 each."""

    def tokens_before(self, step: int) -> int:
        """Training tokens in all steps before `step`."""

    def epoch_at(self, step: int) -> float:
        """How many times the data has been gone through before `step`."""

    def held_out(self, model: GPT, dtype: torch.dtype) -> tuple[float, float]:
        """The model's loss on held-out data: (nats a token, bits a byte)."""

    def answers(self, model: GPT) -> tuple[int, int] | None:
        """(held-out examples that the model answers exactly, all of them); None for text, which asks nothing."""


class WindowBatches:
    """Batches of shuffled windows of n_ctx + 1 tokens that cover the text, without replacement in an epoch.

    Args:
        batch: windows in a full batch.
        ramp: windows in all steps before step 0, 1, 2, ... while the batch grows (`ramp_of`).
        held_out_windows: how many windows of the held-out text an evaluation reads, spread over all of it; 0: the first
            `FIRST_TOKENS` tokens, as before plans said.
    """

    def __init__(
        self, corpus: TokenCorpus, tokenizer: Tokenizer, n_ctx: int, batch: int, seed: int, ramp: tuple[int, ...] = (0,),
        held_out_windows: int = 0,
    ) -> None:  # fmt: skip
        self.windows = Windows(corpus.train, n_ctx, seed=seed)
        self.n_ctx, self.size, self.ramp = n_ctx, batch, ramp
        self.token_bytes = np.array(tokenizer.byte_lengths, dtype=np.int64)
        first = islice(sequential(corpus.held_out, n_ctx), -(-FIRST_TOKENS // n_ctx))
        self.held_out_windows = list(evenly_spaced(corpus.held_out, n_ctx, held_out_windows) if held_out_windows else first)

    @classmethod
    def of(cls, plan: Plan, corpus: TokenCorpus, tokenizer: Tokenizer) -> Self:
        """The batches of a planned run."""
        n_ctx = plan.config.n_ctx
        ramp = ramp_of(plan.recipe, plan.batch, n_ctx)
        return cls(corpus, tokenizer, n_ctx, plan.batch, plan.seed, ramp, plan.held_out_windows)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """(B, T) ids and the (B, T) tokens that follow them."""
        first, after = self.windows_before(step), self.windows_before(step + 1)
        windows = torch.from_numpy(self.windows.batch(first, after - first))
        return windows[:, :-1], windows[:, 1:]

    def share(self, step: int, part: int, parts: int) -> tuple[Tensor, Tensor]:
        """The rows of batch `step` that one of several ranks takes: together theirs are that batch, in its order.

        Returns:
            Ids and targets, (B / parts, T) each, where `parts` divides the batch; else some ranks have one row more.
        """
        first, after = self.windows_before(step), self.windows_before(step + 1)
        begin, end = (first + (after - first) * i // parts for i in (part, part + 1))
        windows = torch.from_numpy(self.windows.batch(begin, end - begin))
        return windows[:, :-1], windows[:, 1:]

    def weights(self, step: int) -> None:
        """None: every token of text counts alike."""

    def windows_before(self, step: int) -> int:
        """Windows in all steps before `step`."""
        last = len(self.ramp) - 1
        return self.ramp[step] if step <= last else self.ramp[last] + (step - last) * self.size

    def steps_for(self, tokens: int) -> int:
        """The fewest steps that see so many tokens."""
        windows, last = -(-tokens // self.n_ctx), len(self.ramp) - 1
        if windows <= self.ramp[last]:
            return bisect_left(self.ramp, windows)
        return last - (self.ramp[last] - windows) // self.size

    def tokens_before(self, step: int) -> int:
        """Training tokens in all steps before `step`: n_ctx a window."""
        return self.windows_before(step) * self.n_ctx

    def epoch_at(self, step: int) -> float:
        """Windows in all steps before `step`, over the windows of an epoch."""
        return self.windows_before(step) / len(self.windows)

    def held_out(self, model: GPT, dtype: torch.dtype) -> tuple[float, float]:
        """(nats a token, bits a byte) of the held-out windows."""
        rows = micro_batch_of(len(self.held_out_windows), self.n_ctx)
        return held_out_loss(model, self.held_out_windows, self.token_bytes, dtype=dtype, rows=rows)

    def answers(self, model: GPT) -> None:
        """None: text asks nothing."""


def refuse_too_little_held_out(batches: WindowBatches) -> None:
    """Refuses held-out text that no loss can be measured on.

    Raises:
        PellucidError: no token of it follows another, or those that do stand for no text.
    """
    if not sum(int(batches.token_bytes[window[1:]].sum()) for window in batches.held_out_windows):
        raise PellucidError(
            "there is too little held-out text to measure a loss on: give more text, or text of its own with --held-out"
        )


def windows_to_hold_out(corpus: TokenCorpus, n_ctx: int) -> int:
    """How many windows of the held-out text the evaluations of a new run read."""
    there = -(-(len(corpus.held_out) - 1) // n_ctx)
    return max(1, min(there, max(FEWEST_WINDOWS, -(-SPREAD_TOKENS // n_ctx))))


def ramp_of(recipe: Recipe, batch: int, n_ctx: int) -> tuple[int, ...]:
    """Windows in all steps before step 0, 1, 2, ... up to the first full batch; (0,) without a ramp.

    Raises:
        PellucidError: the batch would grow for more than `MAX_RAMP_STEPS` steps.
    """
    before = [0]
    while (tokens := before[-1] * n_ctx) < recipe.ramp_tokens:
        if len(before) > MAX_RAMP_STEPS:
            raise PellucidError(f"batch_ramp would grow the batch for more than {MAX_RAMP_STEPS:,} steps: leave it out")
        before.append(before[-1] + recipe.windows_at(tokens, batch, n_ctx))
    return tuple(before)
