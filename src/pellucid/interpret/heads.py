"""Attention heads of known kinds, found by their scores on repeated random tokens.

B sequences of T = 2 N tokens, H heads: N tokens drawn uniformly from all ordinary tokens, then the same N again, so that only
the sequence itself can predict the next token. The score of a head is the mean of one attention weight over positions and
sequences:

- previous_token: at each position but the first, the weight of the position before it.
- duplicate_token: in the second half, the weight of the same token in the first half.
- induction: in the second half, the weight of the token after that one, which is also the token that comes next.

(Olsson et al. 2022, "In-context Learning and Induction Heads", arXiv 2209.11895, for previous-token and induction heads; Wang
et al. 2022, arXiv 2211.00593, for duplicate-token heads.) A head is named as one of a kind if its score is at least `THRESHOLD`
and at least `TIMES_UNIFORM` times that of uniform attention over the positions that it sees (choices). In a block whose band is
too short to see the first half, heads have the first score only.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pellucid.arguments import instance, whole_number
from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.gpt.attention import visible_mask
from pellucid.gpt.torch_defaults import torch_defaults
from pellucid.hashing import mix, mix_array
from pellucid.interpret.capture import check_blocks, hidden_from_tap
from pellucid.interpret.formulas import attention_weights
from pellucid.interpret.tap import ActivationTap
from pellucid.runtime.inference_mode import inference_mode


KINDS = ("previous_token", "duplicate_token", "induction")
THRESHOLD, TIMES_UNIFORM = 0.3, 5.0
LENGTH, SEQUENCES = 50, 8  # N, B


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadScore:
    """A head's score of one kind.

    Attributes:
        block, head: numbers from 0. kind: one of `KINDS`.
        score: the mean weight, 0 to 1. uniform: the score of uniform attention over the positions that the head sees.
    """

    block: int
    head: int
    kind: str
    score: float
    uniform: float

    @property
    def is_named(self) -> bool:
        """Whether the head counts as one of this kind."""
        return self.score >= THRESHOLD and self.score >= TIMES_UNIFORM * self.uniform


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadScores:
    """The scores of all heads, and how much better the model predicts the repetition.

    Attributes:
        scores: of each block, head and kind, without kinds whose positions a band hides.
        loss_first, loss_second: mean loss in nats of the tokens of the first and of the second half. Copying lowers the second;
            without it ln V, of a vocabulary of V tokens, is the lowest possible.
    """

    scores: tuple[HeadScore, ...]
    loss_first: float
    loss_second: float

    def named(self) -> list[HeadScore]:
        """The scores of the named heads, by kind, the highest first."""
        return sorted((one for one in self.scores if one.is_named), key=lambda one: (KINDS.index(one.kind), -one.score))

    def highest(self, kind: str) -> HeadScore:
        """The highest score of a kind. Raises PellucidError if no block sees the positions of that kind."""
        found = [one for one in self.scores if one.kind == kind]
        if not found:
            raise PellucidError(f"no head sees far enough for {kind}")
        return max(found, key=lambda one: one.score)


@torch_defaults()
def head_scores(model: GPT, *, length: int = LENGTH, sequences: int = SEQUENCES, seed: int = 0) -> HeadScores:
    """The scores of all heads of a model.

    Args:
        length: N, at most half of the context.
        sequences: B. seed: of the tokens.

    Raises:
        PellucidError: a context of fewer than 4 tokens, or a model that was changed so that its attention cannot be observed.
    """
    instance("model", model, GPT, "a model (pellucid.load(...))")
    length = min(whole_number("length", length, 2), model.config.n_ctx // 2)
    sequences = whole_number("sequences", sequences, 1)
    if length < 2:
        raise PellucidError(f"a context of {model.config.n_ctx} tokens holds no sequence twice: take a model with a longer one")
    check_blocks(model)
    totals: dict[tuple[int, int, str], float] = {}
    losses = np.zeros(2)
    with inference_mode(model):
        for number in range(sequences):
            ids = _repeated(model, length, mix(seed, number))
            tap = ActivationTap(model.config.n_layers, ("attention",), clock=False)
            logits = model.logits(model.hidden(ids, tap=tap))[0].float()
            if (missing := tap.missing()) is not None:
                raise hidden_from_tap(model, *missing)
            loss = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="none")
            losses += [loss[: length - 1].mean().item(), loss[length:].mean().item()]
            for block, pattern in enumerate(model.config.pattern):
                q, k = tap.queries_and_keys(block)
                weights = attention_weights(q, k, pattern, model.compressor(block))
                for kind in KINDS:
                    for head, value in enumerate(_scored_weights(weights, kind, length).mean(-1).tolist()):
                        totals[block, head, kind] = totals.get((block, head, kind), 0.0) + value / sequences
    scores = tuple(
        HeadScore(block=block, head=head, kind=kind, score=score, uniform=uniform)
        for (block, head, kind), score in totals.items()
        if (uniform := _uniform(model, block, head, kind, length)) is not None
    )
    return HeadScores(scores=scores, loss_first=float(losses[0] / sequences), loss_second=float(losses[1] / sequences))


def _repeated(model: GPT, length: int, key: int) -> Tensor:
    """(1, 2 N) tokens: N drawn, then the same again; no end-of-text."""
    vocabulary = model.config.vocab_size
    if model.tokenizer is not None:
        vocabulary = min(vocabulary, model.tokenizer.vocab_size)  # a model may have more rows than the tokenizer has tokens
    ordinary = np.array([token for token in range(vocabulary) if token not in model.end_ids])
    drawn = ordinary[(mix_array(key, np.arange(length)) % np.uint64(len(ordinary))).astype(np.int64)]
    return torch.from_numpy(np.concatenate([drawn, drawn]))[None]


def _scored_weights(weights: Tensor, kind: str, length: int) -> Tensor:
    """The weights that a score is the mean of: (H, T, T) -> (H, positions)."""
    # How many positions the key is before the query, and the first query that counts.
    offset, first = {"previous_token": (1, 1), "duplicate_token": (length, length), "induction": (length - 1, length)}[kind]
    return weights.diagonal(-offset, 1, 2)[:, first - offset :]


def _uniform(model: GPT, block: int, head: int, kind: str, length: int) -> float | None:
    """The score of uniform attention over what the head sees; None if the pattern hides some of the positions that count."""
    mask = visible_mask(model.config.pattern[block], 2 * length, 2 * length, heads=model.config.n_heads)
    seen = mask[head].float()
    weights = (seen / seen.sum(-1, keepdim=True).clamp(min=1))[None]
    scored = _scored_weights(weights, kind, length)
    return float(scored.mean()) if bool((scored > 0).all()) else None
