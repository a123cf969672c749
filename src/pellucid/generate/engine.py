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

from pellucid.generate.completion import Token
from pellucid.generate.row import Row, window_start
from pellucid.gpt.cache import KVCache
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.tap import Tap


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
        return [(row, row.take(logits)) for row, logits in zip(self.rows, self.logits.cpu().numpy(), strict=True)]

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
