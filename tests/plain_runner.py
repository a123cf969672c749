"""A runner in plain Python that notes all calls: its logits are a hash of the text, and a sequence is its list of tokens."""

from collections import abc

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.options import SamplingOptions
from pellucid.engine.sequence import Sequence
from pellucid.gpt.config import GPTConfig
from pellucid.hashing import mix
from pellucid.runtime.runner import Mode, TokenSpan


VOCAB, N_CTX, POSITION_BYTES = 50, 64, 100  # bytes a position
CONFIG = GPTConfig(vocab_size=VOCAB, n_ctx=N_CTX, n_layers=1, d_model=4, n_heads=1)
BROKEN = 13  # a token after which nothing is a number


class Plain:
    """A runner whose logits are hashes of the text; a sequence is its list of tokens."""

    config, path, cached = CONFIG, "plain Python", True

    def __init__(self, mode: Mode = "exact") -> None:
        self.mode: Mode = mode
        self.sequences: dict[int, tuple[int, list[int]]] = {}
        self.passes: list[list[TokenSpan]] = []
        self.copied: list[int] = []
        self.opened = 0

    def sequence_bytes(self, capacity: int) -> int:
        return POSITION_BYTES * capacity

    def held(self) -> int:
        return sum(self.sequence_bytes(capacity) for capacity, _ in self.sequences.values())

    def open(self, capacity: int) -> int:
        self.opened += 1
        self.sequences[self.opened - 1] = (capacity, [])
        return self.opened - 1

    def close(self, sequence: int) -> None:
        del self.sequences[sequence]

    def copy(self, source: int, target: int, positions: int) -> None:
        assert 0 < positions <= len(self.sequences[source][1])
        self.copied.append(positions)
        self.sequences[target][1][:] = self.sequences[source][1][:positions]

    def run(self, segments: abc.Sequence[TokenSpan]) -> list[NDArray[np.float32] | None]:
        assert segments and len({s.sequence for s in segments}) == len(segments)
        self.passes.append(list(segments))
        answers: list[NDArray[np.float32] | None] = []
        for segment in segments:
            capacity, text = self.sequences[segment.sequence]
            assert 0 <= segment.first <= len(text) and segment.ids
            text[segment.first :] = segment.ids
            assert len(text) <= capacity
            if segment.wanted == "all":
                answers.append(np.array([logits_of(text[: end + 1]) for end in range(segment.first, len(text))]))
            else:
                answers.append(logits_of(text) if segment.wanted == "last" else None)
        return answers


def logits_of(text: abc.Sequence[int]) -> NDArray[np.float32]:
    if BROKEN in text:
        return np.full(VOCAB, np.nan, np.float32)
    seed = 0
    for token in text:
        seed = mix(seed, token, 1)
    logits = np.array([mix(seed, token, 2) % 1000 / 200 for token in range(VOCAB)], np.float32)
    logits[[BROKEN, VOCAB - 1]] = -1e9  # neither is drawn by chance
    return logits


def alone(prompt: abc.Sequence[int], options: SamplingOptions, sample: int = 0) -> list[int]:
    """The oracle: the text, read again for every token."""
    row = Sequence(list(prompt), sample, options, None, VOCAB - 1)
    text = list(prompt)
    while row.finish_reason is None:
        text.append(row.append_token(logits_of(text)).id)
    return text[len(prompt) :]
