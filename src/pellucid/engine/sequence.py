"""`Sequence`: one completion being generated; and the checks that a prompt and its options fit a model. No torch here.

T positions, V vocabulary.
"""

from collections import abc
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.arguments import shown
from pellucid.engine.completion import Completion, Token, TopLogprobs
from pellucid.engine.detokenizer import TextAssembler
from pellucid.engine.options import SamplingOptions
from pellucid.engine.sampling import draw, largest, log_softmax, uniform
from pellucid.errors import PellucidError
from pellucid.gpt.ablation import Ablation
from pellucid.gpt.config import GPTConfig
from pellucid.text.tokenizer import Tokenizer


@dataclass(slots=True)
class PromptLogprobs:
    """Log-probabilities of a prompt's tokens, as far as they are computed.

    Attributes:
        top: how many of the likeliest tokens are kept at each position.
        logprobs: of each token after those before it; None for the first.
        top_logprobs: the `top` likeliest at each position; None for the first.
    """

    top: int
    logprobs: list[float | None]
    top_logprobs: list[TopLogprobs | None]

    @classmethod
    def empty(cls, top: int) -> "PromptLogprobs":
        """Those of a prompt of which nothing was read: the first token has none."""
        return cls(top, [None], [None])

    def __len__(self) -> int:
        return len(self.logprobs)

    def prefix(self, length: int, top: int) -> "PromptLogprobs":
        """Those of the first `length` tokens, with fewer likeliest tokens at each position."""
        tops = [one if one is None else one[:top] for one in self.top_logprobs[:length]]
        return PromptLogprobs(top, self.logprobs[:length], tops)

    def extend(self, logits: NDArray[np.float32], ids: abc.Sequence[int]) -> None:
        """Adds (T, V) logits, each followed by one of T token ids.

        Raises:
            PellucidError: the logits are not finite.
        """
        rows = log_softmax(logits)
        self.logprobs += rows[np.arange(len(ids)), list(ids)].tolist()
        for row in rows:
            best = largest(row, self.top)
            self.top_logprobs.append(tuple(zip(best.tolist(), row[best].tolist(), strict=True)))


class Sequence:
    """One completion being generated: its prompt, the tokens drawn so far, its text, and why it ended.

    Args:
        prompt: token ids, one at least.
        sample: index of the completion among those of its prompt, from 0: the draws depend on it.
        options: how its tokens are drawn.
        tokenizer: None leaves the text empty.
        end_of_text: the id that ends it, or all that do.
        prompt_logprobs: compute the log-probability of each token of the prompt, and list this many of the likeliest tokens at
            each position; None: neither.
        ablation: what is replaced in the model while it reads the text; None: nothing.

    Attributes:
        end_ids: any of them ends it.
        tokens: drawn so far.
        finish_reason: None while it is generated; then "stop", "length", "cancelled" or "error".
        error: what ended it, where `finish_reason` is "error".
        drafting: whether a drafter is asked for it; False after one has failed for it.
        token_counts: how often each token was drawn, where the options need it.
        start: position of the first token that is read; more than 0 only where the window slides.
        prompt_logprobs: as far as they are computed; None if they are not asked for.

    Raises:
        PellucidError: the prompt is empty.
    """

    def __init__(
        self, prompt: list[int], sample: int, options: SamplingOptions, tokenizer: Tokenizer | None,
        end_of_text: int | abc.Collection[int], *, prompt_logprobs: int | None = None, ablation: Ablation | None = None,
    ) -> None:  # fmt: skip
        check_not_empty(prompt)
        self.prompt = prompt
        self.sample = sample
        self.options = options
        self.ablation = ablation
        self.tokenizer = tokenizer
        self.end_ids = frozenset((end_of_text,) if isinstance(end_of_text, int) else end_of_text)
        self.prompt_logprobs = None if prompt_logprobs is None else PromptLogprobs.empty(prompt_logprobs)
        self.tokens: list[Token] = []
        self.token_counts: dict[int, int] | None = {} if options.uses_counts else None
        self.error: Exception | None = None
        self.drafting = True
        self.start = 0
        self.finish_reason: str | None = None
        if options.max_tokens == 0 and not self.lacks_prompt_logprobs:
            self.finish_reason = "length"
        self._text = TextAssembler(tokenizer, options.stop)

    @property
    def lacks_prompt_logprobs(self) -> bool:
        """Whether log-probabilities of the prompt are still to be computed."""
        return self.prompt_logprobs is not None and len(self.prompt_logprobs) < len(self.prompt)

    @property
    def read_length(self) -> int:
        """How many tokens of the prompt are read: all, or all but the last where nothing is drawn after it."""
        return len(self.prompt) - (self.options.max_tokens == 0)

    def append_token(self, logits: NDArray[np.float32]) -> Token:
        """Draws the next token from (V,) logits.

        Raises:
            PellucidError: the logits are not finite.
        """
        assert self.finish_reason is None
        position = len(self.prompt) + len(self.tokens)
        drawn = draw(logits, self.options, uniform(self.options.seed, self.sample, position), self.token_counts)
        if self.token_counts is not None:
            self.token_counts[drawn.id] = self.token_counts.get(drawn.id, 0) + 1
        ended = drawn.id in self.end_ids
        text = "" if ended else self._text.push(drawn.id)
        if ended or self._text.stopped or len(self.tokens) + 1 == self.options.max_tokens:
            text += self._text.finish()
            self.finish_reason = "stop" if ended or self._text.stopped else "length"
        piece = self.tokenizer.token_bytes(drawn.id) if self.tokenizer else b""
        token = Token(drawn.id, piece, text, drawn.logprob, drawn.top_logprobs, position, self.finish_reason)
        self.tokens.append(token)
        return token

    def fail(self, error: Exception) -> None:
        """Ends it by an error, which `completion` raises."""
        self.error, self.finish_reason = error, "error"

    def completion(self) -> Completion:
        """The result, once it is finished.

        Raises:
            PellucidError: it is not finished. Exception: the error that ended it.
        """
        if self.error is not None:
            raise self.error
        if self.finish_reason is None:
            raise PellucidError("this completion is not finished: step the engine until its finish_reason is set")
        tops = None if self.options.logprobs is None else [t.top_logprobs or () for t in self.tokens]
        return Completion(
            text="".join(t.text for t in self.tokens),
            ids=[t.id for t in self.tokens],
            prompt_ids=list(self.prompt),
            logprobs=[t.logprob for t in self.tokens],
            top_logprobs=tops,
            finish_reason=self.finish_reason,
            seed=self.options.seed,
            slid=self.start,
        )


def window_start(length: int, n_ctx: int) -> int:
    """Position of the first token that is read of a text of `length` tokens, for a window that slides.

    The window moves on by half of itself whenever it is full (a choice: moved by one token, all would be read again for each,
    since positions are learned). It depends on the length alone, so a text can be cut anywhere and continued.
    """
    half = n_ctx // 2
    return half * max(0, -((n_ctx - length) // half))


def check_not_empty(prompt: abc.Sequence[int]) -> None:
    """Refuses a prompt without tokens: there is none whose logits the first token could be drawn from.

    Raises:
        PellucidError: it is empty.
    """
    if not prompt:
        raise PellucidError("the prompt is empty: begin with the token that begins a text (end-of-text, as a rule)")


def check_fits(
    prompt: abc.Sequence[int], options: SamplingOptions, config: GPTConfig, prompt_logprobs: int | None = None
) -> None:
    """Refuses what the model cannot read or write; the last token of a text is never read, so it needs no position.

    Args:
        prompt_logprobs: as `Sequence` takes it. The prompt must then fit in one window.

    Raises:
        PellucidError: ids outside the vocabulary, a prompt longer than n_ctx or without room for max_tokens, more
            `logprobs` than tokens, or a bias for a token that is none.
    """
    for token in prompt:
        if not 0 <= token < config.vocab_size:
            raise PellucidError(f"token id {shown(token)} is outside the vocabulary: ids go from 0 to {config.vocab_size - 1}")
    if options.slide and config.n_ctx < 2:
        raise PellucidError("a window of one token cannot slide: leave out slide")
    room = config.n_ctx + 1 - len(prompt)
    if prompt_logprobs is not None and options.max_tokens == 0:
        if room < 0:
            raise PellucidError(f"the text has {len(prompt)} tokens, but {config.n_ctx + 1} can be scored at most: shorten it")
    elif len(prompt) > config.n_ctx and (prompt_logprobs is not None or not options.slide):
        way_out = ", or generate with slide=True (--slide)" if prompt_logprobs is None else ""
        raise PellucidError(
            f"the prompt has {len(prompt)} tokens, but the model reads {config.n_ctx} at most: shorten the prompt{way_out}"
        )
    elif options.max_tokens > room and not options.slide:
        raise PellucidError(
            f"a prompt of {len(prompt)} tokens leaves room for {room} in a context of {config.n_ctx}, "
            f"but max_tokens is {options.max_tokens}: shorten the prompt, or set max_tokens to {room} or less, "
            "or generate with slide=True (--slide)"
        )
    for asked in (options.logprobs, prompt_logprobs):
        if asked is not None and asked > config.vocab_size:
            raise PellucidError(f"logprobs is {asked}, but there are only {config.vocab_size} tokens")
    for token, _ in options.logit_bias:
        if token >= config.vocab_size:
            raise PellucidError(f"logit_bias names token {token}, but ids go from 0 to {config.vocab_size - 1}")
