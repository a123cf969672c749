"""One answer being written, and what a model can read and write at all. No torch here."""

from collections import abc

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.completion import Completion, Token
from pellucid.engine.detokenizer import TextAssembler
from pellucid.engine.sampling import SamplingOptions, draw, uniform
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.text.tokenizer import Tokenizer


class Sequence:
    """One answer being written.

    Args:
        prompt: token ids, one at least.
        sample: which of its prompt's answers this is, from 0.
        tokenizer: None leaves the text empty.
        end_of_text: the id that ends it.
    """

    def __init__(
        self, prompt: list[int], sample: int, options: SamplingOptions, tokenizer: Tokenizer | None, end_of_text: int
    ) -> None:
        self.prompt = prompt
        self.sample = sample
        self.options = options
        self.tokenizer = tokenizer
        self.end_of_text = end_of_text
        self.tokens: list[Token] = []
        self.finish_reason: str | None = None if options.max_tokens else "length"
        self.counts: dict[int, int] | None = {} if options.counts else None  # how often each token was drawn
        self.error: PellucidError | None = None  # what ended it, where that was no answer
        self.start = 0  # of the text that is read; more than 0 only where the window slides
        self._text = TextAssembler(tokenizer, options.stop)

    def take(self, logits: NDArray[np.float32]) -> Token:
        """Draws the next token from (V,) logits."""
        assert self.finish_reason is None
        position = len(self.prompt) + len(self.tokens)
        drawn = draw(logits, self.options, uniform(self.options.seed, self.sample, position), self.counts)
        if self.counts is not None:
            self.counts[drawn.id] = self.counts.get(drawn.id, 0) + 1
        ended = drawn.id == self.end_of_text
        text = "" if ended else self._text.push(drawn.id)
        if ended or self._text.stopped or len(self.tokens) + 1 == self.options.max_tokens:
            text += self._text.finish()
            self.finish_reason = "stop" if ended or self._text.stopped else "length"
        piece = self.tokenizer.token_bytes(drawn.id) if self.tokenizer else b""
        token = Token(drawn.id, piece, text, drawn.logprob, drawn.top_logprobs, position, self.finish_reason)
        self.tokens.append(token)
        return token

    def fail(self, error: PellucidError) -> None:
        """Ends it by an error, which `completion` raises."""
        self.error, self.finish_reason = error, "error"

    def completion(self) -> Completion:
        """What was written, once it is finished.

        Raises:
            PellucidError: what ended it.
        """
        if self.error is not None:
            raise self.error
        assert self.finish_reason
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
    """Where the part that is read of a text of `length` tokens begins, for a window that slides.

    The window moves on by half of itself whenever it is full (a choice: moved by one token, all would be read again for each;
    positions belong to tracks). It depends on the length alone, so a text can be cut anywhere and continued.
    """
    half = n_ctx // 2
    return half * max(0, -((n_ctx - length) // half))


def check_fits(prompt: abc.Sequence[int], options: SamplingOptions, config: GPTConfig) -> None:
    """Refuses what the model cannot read or write; the last token drawn is never read, so it needs no track.

    Raises:
        PellucidError: ids outside the vocabulary, a prompt longer than n_ctx or without room for max_tokens, more
            `logprobs` than tokens, or a bias for a token that is none.
    """
    for token in prompt:
        if not 0 <= token < config.vocab_size:
            raise PellucidError(f"token id {token} is outside the vocabulary: ids go from 0 to {config.vocab_size - 1}")
    if options.slide and config.n_ctx < 2:
        raise PellucidError("a window of one token cannot slide: leave out slide")
    if len(prompt) > config.n_ctx and not options.slide:
        raise PellucidError(
            f"the prompt has {len(prompt)} tokens, but the model reads {config.n_ctx} at most: shorten the prompt, "
            "or generate with slide=True (--slide)"
        )
    room = config.n_ctx + 1 - len(prompt)
    if options.max_tokens > room and not options.slide:
        raise PellucidError(
            f"a prompt of {len(prompt)} tokens leaves room for {room} in a context of {config.n_ctx}, "
            f"but max_tokens is {options.max_tokens}: shorten the prompt, or set max_tokens to {room} or less, "
            "or generate with slide=True (--slide)"
        )
    if options.logprobs is not None and options.logprobs > config.vocab_size:
        raise PellucidError(f"logprobs is {options.logprobs}, but there are only {config.vocab_size} tokens")
    for token, _ in options.logit_bias:
        if token >= config.vocab_size:
            raise PellucidError(f"logit_bias names token {token}, but ids go from 0 to {config.vocab_size - 1}")
