"""Perplexity and bits per byte of a text. No torch here.

T tokens of the text, N tokens of the context.

Every token is predicted once, the first one after end-of-text, the token that texts start from. The text is read in windows:
the first predicts N tokens; each further one predicts the next N, the first of these from the token before it; the last one
begins earlier, so that it has N tokens, too. So no token is scored twice (the rolling log-likelihood of lm-eval).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.arguments import path_of
from pellucid.errors import PellucidError
from pellucid.strict_json import read_named_file


MAX_TEXT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTask:
    """A text whose perplexity is measured.

    Raises:
        PellucidError: it is empty.
    """

    name: str
    text: str

    def __post_init__(self) -> None:
        if not self.text:
            raise PellucidError(f"the text {self.name} is empty: there is nothing to predict")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScore:
    """The loss of a model on a text.

    Attributes:
        nats: the sum of the losses of all `tokens`. text_bytes: the length of the text in UTF-8.
    """

    task: str
    nats: float
    tokens: int
    text_bytes: int

    @property
    def perplexity(self) -> float:
        """exp(nats / tokens); infinity where that overflows a float."""
        mean = self.nats / self.tokens
        return math.exp(mean) if mean < 700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """The loss in bits per byte of the text: comparable between tokenizers."""
        return self.nats / math.log(2) / self.text_bytes


def read_text_task(path: str | Path) -> TextTask:
    """A text file, UTF-8, as a task; its name is the file's without the ending.

    Raises:
        PellucidError: no such file, not UTF-8, empty, or more than 1 GiB.
    """
    path = path_of("a text", path)
    data = read_named_file(path, MAX_TEXT_BYTES)
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise PellucidError(f"{path} is not UTF-8 at byte {error.start:,}: save it as UTF-8") from None
    if len(data) > MAX_TEXT_BYTES:
        raise PellucidError(f"{path} has more than {MAX_TEXT_BYTES:,} bytes: take a part of it")
    return TextTask(name=path.stem, text=text)


def windows(ids: Sequence[int], start_id: int, n_ctx: int) -> Iterator[tuple[list[int], list[int]]]:
    """(context, predicted tokens) of each window, together at most N + 1 tokens; every context but the last has one token.

    Args:
        ids: (T,) of the text. start_id: the token that the first one is predicted from. n_ctx: N.
    """
    whole = [start_id, *ids]
    for first in range(0, len(ids), n_ctx):
        last = min(first + n_ctx, len(ids))
        begin = max(0, last - n_ctx)  # in `whole`, whose token i is what predicts ids[i]
        yield whole[begin : first + 1], list(ids[first:last])
