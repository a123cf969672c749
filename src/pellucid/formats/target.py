"""What a format that can be written offers to `convert`."""

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
        losses: (model, quantize) -> what the result would compute otherwise, a line each. Raises PellucidError where the
            format cannot hold the model at all.
        write: (model, tokenizer, path, quantize) -> None. `path` is a directory that exists, or a file's place.
        read: path -> what computes logits from the result, and who read it.
        quantizes: what `quantize` may be.
        a_file: whether the result is a file rather than a directory.
    """

    losses: Callable[[Decoder, str | None], list[str]]
    write: Callable[[Decoder, Tokenizer | None, Path, str | None], None]
    read: Callable[[Path], tuple[Logits, str]]
    quantizes: tuple[str, ...] = ()
    a_file: bool = False


def dense_up_to(pattern: Pattern, tracks: int) -> int:
    """The longest sequence, of `tracks` at most, of which every head sees all that a dense one does."""
    if isinstance(pattern, Heads):
        return min(dense_up_to(each, tracks) for each in pattern.patterns)
    if isinstance(pattern, Compressed):
        return 0
    return bisect_right(range(1, tracks + 1), 0, key=lambda tokens: int(pattern.pairs(tokens) != Dense().pairs(tokens)))
