"""What the engine runs on: something that reads tokens and keeps their keys and values.

Everything that generates quickly stands on these few calls: continuous batching, reading a prompt in chunks, prompts that
share a beginning, and speculation, which writes tracks and takes them back. A runner is told which tokens stand on which
tracks of which sequence, and gives back logits. It draws nothing and knows no text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pellucid.gpt.config import GPTConfig


# Parameters below which one thread computes a token as fast as several, and never waits for another that runs on a busy core
# (docs/log.md).
ONE_THREAD = 20_000_000
Mode = Literal["exact", "fast"]
Wanted = Literal["none", "last", "all"]


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """Neighbouring tokens of one sequence, to be read together.

    Attributes:
        sequence: a number that `Runner.open` gave.
        first: the track of the first token. Positions before it have been read; what stood on it and after it is forgotten.
        ids: token ids, one at least.
        wanted: whose logits come back: nobody's, the last token's, or those of all.
    """

    sequence: int
    first: int
    ids: Sequence[int]
    wanted: Wanted = "last"


class Runner(Protocol):
    """Reads tokens.

    Attributes:
        config: the model's shape.
        mode: "exact": the bits of a token's logits, keys and values depend on its text alone: not on what else is read with
            it, nor on how its text was cut into segments, nor on whether its beginning was read or copied. "fast": they agree
            within a tolerance that the runner states.
        path: what computes, in words for a measurement: "PyTorch float32", "kernel AVX2 int8".
    """

    config: GPTConfig
    mode: Mode
    path: str

    def sequence_bytes(self, capacity: int) -> int:
        """Bytes that a sequence of up to `capacity` tracks takes."""

    def open(self, capacity: int) -> int:
        """A new, empty sequence of up to `capacity` tracks; its number."""

    def close(self, sequence: int) -> None:
        """Forgets a sequence and gives its memory back."""

    def copy(self, source: int, target: int, tracks: int) -> None:
        """Makes the first `tracks` tracks of one sequence those of another, as if they had been read there."""

    def run(self, segments: Sequence[TokenSpan]) -> list[NDArray[np.float32] | None]:
        """Reads all segments, of different sequences, together.

        Returns:
            For each segment (V,) float32 logits ("last"), (len(ids), V) ("all") or None ("none"), for the caller to keep.
        """
