"""Token by token: each prompt is read once, then all rows go on together, one token a step.

B rows, T tracks, C width, V vocabulary. Rows with prompts of different lengths share a batch, rows of one prompt share
its reading, and a row leaves the batch when it is finished.

An answer does not depend on its neighbours as far as floating point allows: in float32 a product over more rows may
round another way, which moves log-probabilities by about 1e-6. A token changes only if its draw falls into such a gap.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.generate.completion import Completion, Token
from pellucid.generate.sampling import SamplingOptions, draw, uniform
from pellucid.generate.stopping import TextAssembler
from pellucid.gpt.cache import KVCache
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.tap import Tap
from pellucid.text.tokenizer import Tokenizer


class Row:
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
        self.start = 0  # of the text that is read; more than 0 only where the window slides
        self._text = TextAssembler(tokenizer, options.stop)

    def take(self, logits: Tensor) -> Token:
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

    def completion(self) -> Completion:
        """What was written, once it is finished."""
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


def check_fits(prompt: Sequence[int], options: SamplingOptions, config: GPTConfig) -> None:
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


class Batch:
    """Rows that go on together, each at a length of its own.

    `read_prompts` comes first, then `draw` and `feed` in turn until no row is left.

    Args:
        model: the decoder.
        rows: unfinished rows, checked with `check_fits`.
        tap: sees what goes through the model; rows of different prompts, read one after the other, would be mixed up.

    Attributes:
        rows: those that still run, in the cache's order.
    """

    def __init__(self, model: Decoder, rows: Sequence[Row], tap: Tap | None = None) -> None:
        self.model = model
        self.tap = tap
        self.rows = list(rows)
        longest = max(len(row.prompt) + row.options.max_tokens for row in rows)
        self.capacity = min(model.config.n_ctx, longest)
        self.cache = model.new_cache(len(rows), self.capacity)
        self.logits = torch.empty(0)  # (B, V), of the token that comes next
        self.slides = any(row.options.slide for row in rows)
        for row in rows if self.slides else ():
            row.start = window_start(len(row.prompt), model.config.n_ctx)

    def read_prompts(self) -> None:
        """Reads every distinct prompt once, alone, all of its tracks together ("prefill")."""
        with reading(self.model):
            self.logits = self._prefill(self.cache, self.capacity)

    def _prefill(self, cache: KVCache, capacity: int) -> Tensor:
        logits: list[Tensor] = [torch.empty(0)] * len(self.rows)
        sharing: dict[tuple[int, ...], list[int]] = {}
        for index, row in enumerate(self.rows):
            sharing.setdefault(tuple(row.prompt[row.start :]), []).append(index)
        for prompt, indices in sharing.items():
            alone = cache if len(self.rows) == 1 else self.model.new_cache(1, capacity)
            ids = torch.tensor([prompt], device=self.model.wte.weight.device)
            last = self.model.hidden(ids, alone, self.tap)[0, -1]  # (C,): only the last track's logits are needed
            next_logits = self.model.logits(last)
            for index in indices:
                logits[index] = next_logits
                if alone is not cache:
                    cache.put(index, alone)
        return torch.stack(logits).float()

    def draw(self) -> list[tuple[Row, Token]]:
        """Draws a token for every row."""
        return [(row, row.take(logits)) for row, logits in zip(self.rows, self.logits, strict=True)]

    def feed(self) -> None:
        """Lets finished rows go; reads the other rows' newest token, all in one pass."""
        going = [index for index, row in enumerate(self.rows) if row.finish_reason is None]
        with reading(self.model):
            if 0 < len(going) < len(self.rows):
                self.cache.keep(going)
            self.rows = [self.rows[index] for index in going]
            if self.slides:
                self._slide()
            if self.rows:
                newest = [[row.tokens[-1].id] for row in self.rows]
                ids = torch.tensor(newest, device=self.model.wte.weight.device)  # (B, 1)
                self.logits = self.model.logits(self.model.hidden(ids, self.cache, self.tap)[:, -1]).float()

    def _slide(self) -> None:
        """Reads the last part of each text that has come to the end of its window again, all but the newest token."""
        for index, row in enumerate(self.rows):
            start = window_start(len(row.prompt) + len(row.tokens), self.model.config.n_ctx)
            if start == row.start:
                continue
            row.start = start
            text = [*row.prompt, *(token.id for token in row.tokens)]
            alone = self.model.new_cache(1, self.capacity)
            self.model.hidden(torch.tensor([text[start:-1]], device=self.model.wte.weight.device), alone, self.tap)
            self.cache.put(index, alone)


def decode(model: Decoder, rows: Sequence[Row]) -> Iterator[tuple[Row, Token]]:
    """Finishes all rows, giving each token as soon as it is drawn (before it is read again)."""
    going = [row for row in rows if row.finish_reason is None]
    if not going:
        return
    batch = Batch(model, going)
    batch.read_prompts()
    while batch.rows:
        yield from batch.draw()
        batch.feed()


@contextmanager
def reading(model: Decoder) -> Iterator[None]:
    """No autograd and no dropout, for the length of one pass: a stream's user may do anything between two tokens."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if was_training:
            model.train()
