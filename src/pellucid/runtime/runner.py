"""The runner protocol: token ids of many sequences in, logits out; keys and values stay cached between calls.

The engine needs no more than these few calls for continuous batching, chunked prefill, shared prefixes and speculative decoding
(which writes positions and discards them again). A runner takes the tokens at given positions of given sequences and returns
logits. It neither samples nor decodes text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pellucid.gpt.ablation import MeanOutputs, Replacements
from pellucid.gpt.config import GPTConfig


# Parameters below which one thread computes a token as fast as several, and never waits for another that runs on a busy core
# (docs/log.md).
ONE_THREAD = 20_000_000
Mode = Literal["exact", "fast"]
Wanted = Literal["none", "last", "all"]


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """Consecutive tokens of one sequence, to be processed in one pass.

    Attributes:
        sequence: a number that `Runner.open` returned.
        first: the position of the first token. Positions before it have been read; what was at it and after it is discarded.
        ids: token ids, at least one.
        wanted: which logits are returned: none, those of the last token, or those of all tokens.
    """

    sequence: int
    first: int
    ids: Sequence[int]
    wanted: Wanted = "last"


@runtime_checkable
class AblatingRunner(Protocol):
    """A `Runner` whose sequences may have ablations."""

    def ablate(self, sequence: int, what: Replacements) -> None:
        """Replaces outputs for all tokens that an empty sequence will read. It must not be copied from, or to another's."""

    def mean_outputs(self, ids: Sequence[int]) -> MeanOutputs:
        """The mean outputs of all parts of the whole model over the positions of a text."""


class Runner(Protocol):
    """Computes logits, and caches the keys and values of its sequences.

    Attributes:
        config: the model's shape.
        mode: "exact": the bits of a token's logits, keys and values depend on the sequence's tokens alone: not on what else is
            read with it, nor on how the sequence was divided into spans, nor on whether its prefix was read or copied. "fast":
            they agree within a tolerance that the runner states.
        cached: whether what was computed for a text holds for every text that begins with it. False: each pass computes whole
            texts, so nothing is gained by dividing, sharing or drafting them.
        path: the implementation, for measurements and messages: "PyTorch float32", "kernel AVX2 int8".
    """

    config: GPTConfig
    mode: Mode
    cached: bool
    path: str

    def sequence_bytes(self, capacity: int) -> int:
        """Bytes of the keys and values of a sequence of up to `capacity` positions, as allocated."""

    def open(self, capacity: int) -> int:
        """A new, empty sequence of up to `capacity` positions; its number."""

    def close(self, sequence: int) -> None:
        """Frees a sequence."""

    def copy(self, source: int, target: int, positions: int) -> None:
        """Makes the first `positions` positions of `target` those of `source`, as if they had been read there."""

    def run(self, spans: Sequence[TokenSpan]) -> list[NDArray[np.float32] | None]:
        """Reads all spans, of different sequences, together.

        Returns:
            For each span (V,) float32 logits ("last"), (len(ids), V) ("all") or None ("none"); the arrays are the caller's.
        """
