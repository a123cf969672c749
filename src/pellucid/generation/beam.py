"""Beam search with a length penalty: the completion with the highest score among a few hypotheses. No torch here.

V vocabulary, R hypotheses. The paper uses it for free-form tasks (section 2.4), with a beam width of 4 and a length penalty of
0.6. The score is GNMT's (Wu et al. 2016, arXiv 1609.08144, section 7, without its coverage term, which needs a source
sentence):

    score(Y) = log P(Y | prompt) / lp(Y),   lp(Y) = (5 + |Y|)^alpha / (5 + 1)^alpha

|Y| counts every token of the completion, the one that ends it included (a choice). At each step, of the 2 x width likeliest
continuations those that end are finished, and of the others the `width` likeliest are extended.

Each hypothesis has a sequence of the runner. One that is extended twice is copied (`Runner.copy`).
"""

import math
from collections.abc import Collection, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.arguments import as_float, shown, whole_number
from pellucid.engine.completion import Completion
from pellucid.engine.detokenizer import TextAssembler
from pellucid.engine.options import SamplingOptions
from pellucid.engine.sampling import largest, log_softmax
from pellucid.errors import PellucidError
from pellucid.numpy_defaults import numpy_defaults
from pellucid.runtime.runner import Runner, TokenSpan
from pellucid.text.tokenizer import Tokenizer


BEAM_WIDTH, LENGTH_PENALTY = 4, 0.6  # the paper's, section 2.4
MAX_LENGTH_PENALTY = 10.0  # a choice: far beyond any use, and no overflow


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """An unfinished or finished completion: its tokens, their log-probabilities and the sum of those, its text."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    total: float
    text: str
    assembler: TextAssembler
    ended: bool = False

    def extended(self, token: int, logprob: float, end_ids: Collection[int], tokenizer: Tokenizer | None) -> "Hypothesis":
        """A hypothesis with one token more."""
        assembler = deepcopy(self.assembler, {id(tokenizer): tokenizer})  # the tokenizer is immutable and shared
        text = self.text + ("" if token in end_ids else assembler.push(token))
        ended = token in end_ids or assembler.stopped
        return Hypothesis((*self.ids, token), (*self.logprobs, logprob), self.total + logprob, text, assembler, ended)

    def score(self, alpha: float) -> float:
        """GNMT's score: the log-probability divided by the length penalty."""
        return self.total / length_penalty_divisor(len(self.ids), alpha)


def length_penalty_divisor(length: int, alpha: float) -> float:
    """lp(Y) of GNMT: what the log-probability of a completion of `length` tokens is divided by."""
    return float(((5 + length) / 6) ** alpha)


def check_options(width: int, length_penalty: float) -> None:
    """Raises PellucidError if the width or the length penalty is out of range."""
    whole_number("width", width, 1)
    if (found := as_float(length_penalty)) is None or not 0 <= found <= MAX_LENGTH_PENALTY:
        raise PellucidError(f"length_penalty must be from 0 (none) to {MAX_LENGTH_PENALTY:g}, not {shown(length_penalty)}")


@numpy_defaults()
def beam_search(
    runner: Runner, prompt: Sequence[int], options: SamplingOptions, width: int, alpha: float,
    tokenizer: Tokenizer | None, end_ids: Collection[int],
) -> Completion:  # fmt: skip
    """The best completion found.

    Args:
        prompt, options, width, alpha: checked. Of the options only max_tokens and stop are used.
        end_ids: any of them ends a completion.

    Raises:
        PellucidError: the model's logits are not finite.
    """
    unfinished = [Hypothesis((), (), 0.0, "", TextAssembler(tokenizer, options.stop))]
    finished = unfinished if options.max_tokens == 0 else []
    sequences = _BeamSequences(runner, min(runner.config.n_ctx, len(prompt) + max(options.max_tokens, 1)), prompt)
    try:
        for length in range(1, options.max_tokens + 1):
            logprobs = log_softmax(sequences.run([one.ids[-1:] for one in unfinished]))  # (R, V)
            sums = (np.array([one.total for one in unfinished])[:, None] + logprobs).ravel()  # float64
            best = largest(sums, min(2 * width, len(sums)))
            extended_hypotheses: list[tuple[int, Hypothesis]] = []
            for index, logprob in zip(best.tolist(), logprobs.ravel()[best].tolist(), strict=True):
                parent, token = divmod(index, logprobs.shape[1])
                extended = unfinished[parent].extended(token, logprob, end_ids, tokenizer)
                if extended.ended:
                    finished.append(extended)
                elif len(extended_hypotheses) < width:
                    extended_hypotheses.append((parent, extended))
            unfinished = [one for _, one in extended_hypotheses]
            if length == options.max_tokens:
                finished += unfinished
            # Sums only fall, and the longest completion has the largest divisor: no unfinished one can score more than this.
            best_total = max((one.total for one in unfinished), default=-math.inf)
            bound = best_total / length_penalty_divisor(options.max_tokens, alpha)
            if finished and max(one.score(alpha) for one in finished) >= bound:
                break
            sequences.select([parent for parent, _ in extended_hypotheses])
    finally:
        sequences.close()
    winner = max(finished, key=lambda one: one.score(alpha))
    text = winner.text + winner.assembler.finish()  # which may still complete a stop string
    stopped = winner.ended or winner.assembler.stopped
    return Completion(
        text=text, ids=list(winner.ids), prompt_ids=list(prompt),
        logprobs=list(winner.logprobs), top_logprobs=None, finish_reason="stop" if stopped else "length", seed=0,
    )  # fmt: skip


class _BeamSequences:
    """The runner's sequences of the unfinished hypotheses, in their order.

    Args:
        capacity: positions of each sequence.
        prompt: the first tokens of every hypothesis.
    """

    def __init__(self, runner: Runner, capacity: int, prompt: Sequence[int]) -> None:
        self.runner = runner
        self.capacity = capacity
        self.unfinished = [runner.open(capacity)]
        self.unused: list[int] = []
        self.prompt = prompt
        self.length = 0  # positions read, the same in all unfinished sequences

    def run(self, newest: Iterable[Sequence[int]]) -> NDArray[np.float32]:
        """Reads the newest token of each hypothesis (at the first step the prompt) -> (R, V) logits of what follows."""
        spans = [TokenSpan(s, self.length, ids or self.prompt) for s, ids in zip(self.unfinished, newest, strict=True)]
        logits = self.runner.run(spans)
        self.length += len(spans[0].ids)
        return np.stack([row for row in logits if row is not None])

    def select(self, parents: Sequence[int]) -> None:
        """New unfinished sequence i continues the old one of index `parents[i]`, which is copied where it is needed twice."""
        before, taken = self.unfinished, set(parents)
        self.unused += [sequence for index, sequence in enumerate(before) if index not in taken]
        self.unfinished = []
        for parent in parents:
            if parent in taken:  # the first to need it
                taken.remove(parent)
                self.unfinished.append(before[parent])
                continue
            sequence = self.unused.pop() if self.unused else self.runner.open(self.capacity)
            self.unfinished.append(sequence)
            self.runner.copy(before[parent], sequence, self.length)

    def close(self) -> None:
        """Frees all sequences."""
        for sequence in (*self.unfinished, *self.unused):
            self.runner.close(sequence)
