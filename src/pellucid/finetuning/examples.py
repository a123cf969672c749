"""Examples to fine-tune on: pairs of prompt and completion, as batches of tokens. B examples, T positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.gpt.bits_per_byte import bits_per_byte
from pellucid.gpt.loss import CHUNK_VALUES, IGNORE
from pellucid.hashing import mix, permuted
from pellucid.text import Tokenizer
from pellucid.training.placement import copy_to, device_of
from pellucid.training.step import loss_of


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt, and the completion that the model should write after it.

    Raises:
        PellucidError: not text, an empty completion, or half a surrogate pair, which UTF-8 cannot encode.
    """

    prompt: str
    completion: str

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str) or not isinstance(self.completion, str) or not self.completion:
            raise PellucidError("an example has a prompt and a completion, both text, the completion not empty")
        try:
            (self.prompt + self.completion).encode()
        except UnicodeEncodeError as error:
            raise PellucidError(f"an example holds half a character (a lone surrogate): {error.reason}") from None


class ExampleBatches:
    """Batches of examples for training, and losses and exact answers on held-out examples.

    The loss counts completions only (a choice: prompts are given, not to be learned), unless `prompt_loss_weight` is above 0,
    as in the fine-tuning service of 2021. The held-out loss counts completions only in either case.

    Prompt and completion are encoded apart, because generating encodes a prompt by itself. Each completion ends with
    end-of-text, so that the model learns where to stop. Shorter examples are padded at the end; padding has no targets.

    Args:
        n_ctx: the most positions that the model reads. batch: examples in a step.
        prompt_loss_weight: the weight of each prompt token in the training loss; a completion token has weight 1. The first
            token of a prompt follows nothing and is not a target.

    Raises:
        PellucidError: an example of more than `n_ctx` tokens, its end-of-text not counted.
    """

    def __init__(
        self, train: Sequence[Example], held_out: Sequence[Example], tokenizer: Tokenizer, n_ctx: int, batch: int, seed: int,
        prompt_loss_weight: float = 0.0,
    ) -> None:  # fmt: skip
        self.prompt_loss_weight = prompt_loss_weight
        self.tokenizer, self.eot, self.size, self.seed = tokenizer, tokenizer.eot, batch, seed
        self.train = [_encode(e, tokenizer, n_ctx) for e in train]
        self.held_out_examples = [_encode(e, tokenizer, n_ctx) for e in held_out]
        self.one_line = ["\n" not in e.completion for e in held_out]
        self.held_out_bytes = sum(len(e.completion.encode()) for e in held_out)
        self.epoch_tokens = sum(len(ids) - 1 for ids, _ in self.train)
        self._sums: tuple[int, list[int]] = (-1, [])  # an epoch, and the training tokens before each of its examples

    def _chosen(self, step: int) -> list[tuple[list[int], int]]:
        """The examples of a step: every epoch goes through all of them in an order of its own."""
        n = len(self.train)
        numbers = range(step * self.size, (step + 1) * self.size)
        return [self.train[permuted(k % n, n, key=mix(self.seed, k // n))] for k in numbers]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Ids and targets, (B, T) each; targets of padding, and of prompts that do not count, are `IGNORE`."""
        return _pad(self._chosen(step), self.eot, prompts=self.prompt_loss_weight > 0)

    def weights(self, step: int) -> Tensor | None:
        """(B, T) float32: 1 for completions, `prompt_loss_weight` for prompts; None where prompts do not count."""
        if not self.prompt_loss_weight:
            return None
        chosen = self._chosen(step)
        weights = torch.ones(len(chosen), max(len(ids) for ids, _ in chosen) - 1)
        for row, (_, start) in enumerate(chosen):
            weights[row, : start - 1] = self.prompt_loss_weight
        return weights

    def tokens_before(self, step: int) -> int:
        """Training tokens in all steps before `step`, padding not counted."""
        n = len(self.train)
        epoch, index = divmod(step * self.size, n)
        if self._sums[0] != epoch:
            lengths = (len(self.train[permuted(k, n, key=mix(self.seed, epoch))][0]) - 1 for k in range(n))
            self._sums = epoch, list(accumulate(lengths, initial=0))
        return epoch * self.epoch_tokens + self._sums[1][index]

    def epoch_at(self, step: int) -> float:
        """The epochs, a fraction, in all steps before `step`."""
        return step * self.size / len(self.train)

    def held_out(self, model: GPT, dtype: torch.dtype) -> tuple[float, float]:
        """(nats a token, bits a byte) of the held-out completions, each with its end."""
        nats, tokens = 0.0, 0
        for start in range(0, len(self.held_out_examples), self.size):
            ids, targets = _pad(self.held_out_examples[start : start + self.size], self.eot)
            nats += loss_of(model, ids, targets, dtype)
            tokens += int((targets != IGNORE).sum())
        return nats / tokens, bits_per_byte(nats, self.held_out_bytes)

    def answers(self, model: GPT) -> tuple[int, int]:
        """(the number of held-out examples that the model answers exactly at temperature 0, the number of all of them).

        An answer is exact where each token of the completion is the likeliest after the prompt and the completion's tokens
        before it, and so is the end: end-of-text, or the end of the line if the completion has one line. An answer of the same
        text in other tokens does not count. Computed in float32, as answers are generated.
        """
        right = 0
        for start in range(0, len(self.held_out_examples), self.size):
            chosen = self.held_out_examples[start : start + self.size]
            ids, targets = copy_to(device_of(model), *_pad(chosen, self.eot))
            with torch.inference_mode():
                hidden = model.hidden(ids)[targets != IGNORE]  # (n, E) of the n targets, row by row
                parts = torch.split(hidden, max(1, CHUNK_VALUES // model.config.vocab_size))
                likeliest = torch.cat([model.logits(part).argmax(-1) for part in parts]).cpu().tolist()
            for row, (wanted, first) in enumerate(chosen, start=start):
                found, likeliest = likeliest[: len(wanted) - first], likeliest[len(wanted) - first :]
                right += found[:-1] == wanted[first:-1] and self._ends(found[-1], one_line=self.one_line[row])
        return right, len(self.held_out_examples)

    def _ends(self, token: int, *, one_line: bool) -> bool:
        """Whether an answer ends where the model writes that token."""
        return token == self.eot or (one_line and self.tokenizer.token_bytes(token).startswith(b"\n"))


def _encode(example: Example, tokenizer: Tokenizer, n_ctx: int) -> tuple[list[int], int]:
    """(all ids, where the completion starts). An empty prompt starts from end-of-text, as generating does."""
    prompt = tokenizer.encode_prompt(example.prompt) or [tokenizer.eot]
    ids = [*prompt, *tokenizer.encode(example.completion, continued=True), tokenizer.eot]
    if len(ids) - 1 > n_ctx:
        raise PellucidError(
            f"an example has {len(ids) - 1} tokens, the model reads {n_ctx}: shorten the one that starts "
            f"{example.prompt[:40]!r}"
        )
    return ids, len(prompt)


def _pad(examples: Sequence[tuple[list[int], int]], padding: int, *, prompts: bool = False) -> tuple[Tensor, Tensor]:
    """Ids and targets of examples. `prompts`: whether the tokens of prompts are targets, too."""
    width = max(len(ids) for ids, _ in examples) - 1
    ids_bt = np.full((len(examples), width), padding, dtype=np.int64)
    targets_bt = np.full((len(examples), width), IGNORE, dtype=np.int64)
    for row, (ids, start) in enumerate(examples):
        ids_bt[row, : len(ids) - 1] = ids[:-1]
        first = 1 if prompts else start
        targets_bt[row, first - 1 : len(ids) - 1] = ids[first:]
    return torch.from_numpy(ids_bt), torch.from_numpy(targets_bt)
