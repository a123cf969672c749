"""Beam search: the likeliest answer as a whole, among those that a few best beginnings lead to. Nothing is drawn.

V vocabulary, R live beginnings. The paper's free-form tasks are answered so (section 2.4), with a beam of 4 and a length
penalty of 0.6. Its score is that of GNMT (Wu et al. 2016, arXiv 1609.08144, section 7, without its coverage
term, which has a source sentence to cover):

    score(Y) = log P(Y | prompt) / lp(Y),   lp(Y) = (5 + |Y|)^alpha / (5 + 1)^alpha

|Y| counts every token of the answer, the one that ends it too (a choice). At each step, of the 2 x width likeliest
continuations those that end are set aside, and of the others the `width` likeliest go on.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch

from pellucid.engine.completion import Completion
from pellucid.engine.detokenizer import TextAssembler
from pellucid.engine.options import SamplingOptions
from pellucid.engine.sampling import largest, log_softmax
from pellucid.errors import PellucidError
from pellucid.gpt.decoder import Decoder
from pellucid.runtime.inference_mode import inference_mode
from pellucid.text.tokenizer import Tokenizer


WIDTH, LENGTH_PENALTY = 4, 0.6  # the paper's, section 2.4
MOST_LENGTH_PENALTY = 10.0  # a choice: far beyond any use, and no overflow


@dataclass(frozen=True, slots=True)
class Beginning:
    """An answer as far as it has come: its tokens, their log-probabilities and the sum of those, its text."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    total: float
    text: str
    assembler: TextAssembler
    ended: bool = False

    def grown(self, token: int, logprob: float, end_of_text: int, tokenizer: Tokenizer | None) -> "Beginning":
        """With one token more."""
        assembler = deepcopy(self.assembler, {id(tokenizer): tokenizer})  # the tokenizer, which nothing changes, is shared
        text = self.text + ("" if token == end_of_text else assembler.push(token))
        ended = token == end_of_text or assembler.stopped
        return Beginning((*self.ids, token), (*self.logprobs, logprob), self.total + logprob, text, assembler, ended)


def length_penalty_of(length: int, alpha: float) -> float:
    """lp(Y) of GNMT: what the log-probability of an answer of this many tokens is divided by."""
    return float(((5 + length) / 6) ** alpha)


def beam_search(
    model: Decoder, prompt: Sequence[int], options: SamplingOptions, width: int, alpha: float,
    tokenizer: Tokenizer | None, end_of_text: int,
) -> Completion:  # fmt: skip
    """The best answer found. Of `options` only max_tokens and stop count; prompt and options are checked.

    Raises:
        PellucidError: a width or length penalty out of range, or a model that gives no numbers.
    """
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise PellucidError(f"width must be a whole number, 1 or more, not {width!r}")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 <= alpha <= MOST_LENGTH_PENALTY:
        raise PellucidError(f"length_penalty must be from 0 (none) to {MOST_LENGTH_PENALTY:g}, not {alpha!r}")
    live = [Beginning((), (), 0.0, "", TextAssembler(tokenizer, options.stop))]
    done = live if options.max_tokens == 0 else []
    cache = model.new_cache(1, min(model.config.n_ctx, len(prompt) + max(options.max_tokens, 1)))
    read = [list(prompt)]
    for length in range(1, options.max_tokens + 1):
        with inference_mode(model):
            hidden = model.hidden(torch.tensor(read, device=model.wte.weight.device), cache)[:, -1]
            logprobs = log_softmax(model.logits(hidden).float().cpu().numpy())  # (R, V)
        sums = (np.array([one.total for one in live])[:, None] + logprobs).ravel()  # float64
        best = largest(sums, min(2 * width, len(sums)))
        kept: list[tuple[int, Beginning]] = []
        for place, logprob in zip(best.tolist(), logprobs.ravel()[best].tolist(), strict=True):
            parent, token = divmod(place, logprobs.shape[1])
            grown = live[parent].grown(token, logprob, end_of_text, tokenizer)
            if grown.ended:
                done.append(grown)
            elif len(kept) < width:
                kept.append((parent, grown))
        live = [one for _, one in kept]
        if length == options.max_tokens:
            done += live
        # A sum only falls, and the longest answer has the largest divisor: no live one can come to more than this.
        most = max((one.total for one in live), default=-math.inf) / length_penalty_of(options.max_tokens, alpha)
        if done and max(one.total / length_penalty_of(len(one.ids), alpha) for one in done) >= most:
            break
        cache.keep([parent for parent, _ in kept])  # a beginning that goes on twice is copied
        read = [[one.ids[-1]] for one in live]
    answer = max(done, key=lambda one: one.total / length_penalty_of(len(one.ids), alpha))
    text = answer.text + answer.assembler.finish()  # which may still complete a stop string
    stopped = answer.ended or answer.assembler.stopped
    return Completion(
        text=text, ids=list(answer.ids), prompt_ids=list(prompt),
        logprobs=list(answer.logprobs), top_logprobs=None, finish_reason="stop" if stopped else "length", seed=0,
    )  # fmt: skip
