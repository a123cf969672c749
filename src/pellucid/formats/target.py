"""The interface of a format that `convert` can write."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pellucid.gpt.decoder import Decoder
from pellucid.gpt.pattern import Compressed, Dense, Heads, Pattern
from pellucid.text.tokenizer import Tokenizer


Logits = Callable[[Tensor], Tensor]  # (B, T) ids -> (B, T, V)


@dataclass(frozen=True, slots=True)
class Target:
    """A format that can be written.

    Attributes:
        losses: (model, quantize) -> what the result would compute differently, a line each. Raises PellucidError where the
            format cannot hold the model at all.
        write: (model, tokenizer, path, quantize) -> None. `path` is an existing directory, or a file to write.
        read: path -> (a function that computes the result's logits, the reader's name).
        quantizes: allowed values of `quantize`.
        is_file: whether the result is a file rather than a directory.
    """

    losses: Callable[[Decoder, str | None], list[str]]
    write: Callable[[Decoder, Tokenizer | None, Path, str | None], None]
    read: Callable[[Path], tuple[Logits, str]]
    quantizes: tuple[str, ...] = ()
    is_file: bool = False


def dense_up_to(pattern: Pattern, positions: int) -> int:
    """The longest sequence, at most `positions`, in which every head attends to all that a dense one does."""
    if isinstance(pattern, Heads):
        return min(dense_up_to(each, positions) for each in pattern.patterns)
    if isinstance(pattern, Compressed):
        return 0
    return bisect_right(range(1, positions + 1), 0, key=lambda tokens: int(pattern.pairs(tokens) != Dense().pairs(tokens)))
