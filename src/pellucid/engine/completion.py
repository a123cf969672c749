"""The results of generation: tokens, completions and scores. No torch here."""

import math
from dataclasses import dataclass

from pellucid.errors import PellucidError


TopLogprobs = tuple[tuple[int, float], ...]  # (id, log-probability), the likeliest first


@dataclass(frozen=True, slots=True)
class Token:
    """One drawn token, as a stream gives it.

    Attributes:
        id: the token id.
        piece: its bytes (`<|endoftext|>` for end-of-text; empty for a model without a tokenizer).
        text: what the token adds to the text so far. Empty while a UTF-8 character is unfinished or a stop string may be
            starting, and for end-of-text; then it comes with a later token. All texts joined are `Completion.text`.
        logprob: natural logarithm of its probability in the model's own distribution: temperature 1, nothing cut off.
        top_logprobs: the `logprobs` likeliest tokens at this position, or None if they were not asked for.
        position: counted from 0 at the prompt's first token.
        finish_reason: None, and on the last token why it is the last: "stop" or "length".
    """

    id: int
    piece: bytes
    text: str
    logprob: float
    top_logprobs: TopLogprobs | None
    position: int
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished completion of a prompt.

    Attributes:
        text: the generated text: end-of-text, the stop string and anything after it are left out. "" for a model without a
            tokenizer. With `echo`, the prompt's text comes first.
        ids: every token drawn, a final end-of-text and the tokens of a stop string included.
        prompt_ids: the tokens it continues, end-of-text if the prompt was empty.
        logprobs: of each drawn token, as `Token.logprob`.
        top_logprobs: for each drawn token, as `Token.top_logprobs`; None if they were not asked for.
        finish_reason: "stop" (end-of-text or a stop string) or "length" (max_tokens reached).
        seed: the seed of its draws: the same seed gives the same completion again. 0 after a beam search, which draws nothing.
        slid: how many tokens at the text's beginning were no longer read at its end; 0 unless the window was let slide.
        prompt_logprobs: of each prompt token after those before it (None for the first), as `Score.logprobs`; None if they
            were not asked for. prompt_top_logprobs: as `Score.top_logprobs`.
    """

    text: str
    ids: list[int]
    prompt_ids: list[int]
    logprobs: list[float]
    top_logprobs: list[TopLogprobs] | None
    finish_reason: str
    seed: int
    slid: int = 0
    prompt_logprobs: list[float | None] | None = None
    prompt_top_logprobs: list[TopLogprobs | None] | None = None

    @property
    def mean_logprob(self) -> float:
        """Log-probability per token, by which `best_of` chooses; 0 for no token."""
        return math.fsum(self.logprobs) / len(self.logprobs) if self.logprobs else 0.0


@dataclass(frozen=True, slots=True)
class Score:
    """The log-probability of each token of a text, as GPT-3's API gave it for an echoed prompt; or of a completion.

    Attributes:
        ids: the text, or the completion alone.
        logprobs: of each token after those before it, natural logarithm; None for a text's first, which follows nothing. Those
            of a completion follow its prompt: none is None.
        top_logprobs: the `logprobs` likeliest tokens at each position (None for the first); None if they were not asked for.
    """

    ids: list[int]
    logprobs: list[float | None]
    top_logprobs: list[TopLogprobs | None] | None

    @property
    def total(self) -> float:
        """The log-probability of the whole: the sum of `logprobs`, natural logarithm; 0 for no token."""
        return math.fsum(self._known)

    @property
    def perplexity(self) -> float:
        """exp(-total / tokens), of the tokens that have a log-probability; infinity where no float holds it.

        Raises:
            PellucidError: none has one: a text of one token.
        """
        if not self._known:
            raise PellucidError("a text of one token has no perplexity: the first token follows nothing")
        try:
            return math.exp(-self.total / len(self._known))
        except OverflowError:
            return math.inf

    @property
    def _known(self) -> list[float]:
        return [logprob for logprob in self.logprobs if logprob is not None]
