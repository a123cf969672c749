"""Training windows of n_ctx + 1 tokens, the k-th a pure function of (seed, k).

A window is n_ctx + 1 contiguous tokens; the model reads the first n_ctx of them, and at each learns to predict the next
one. Brown et al. 2020 train on full windows of n_ctx = 2048 tokens, documents packed with end-of-text between them
(section 2.3 and appendix B).

Which window is the k-th to be trained on is a pure function of (seed, k): a resumed run asks for the next k, and needs
no saved state. k counts through the epochs (epoch k // len): each has every window once, in its own order and from its own
offset, so that a token is not always at the same position.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pellucid.corpus.tokens import Tokens
from pellucid.errors import PellucidError
from pellucid.hashing import mix, permuted


class ShortTextError(PellucidError):
    """There is too little text.

    Attributes:
        lack: what it is too little for, without the advice.
    """

    def __init__(self, lack: str, advice: str) -> None:
        super().__init__(f"{lack}: {advice}")
        self.lack = lack


_ORDER, _OFFSET = 1, 2  # salts of the two hashes of an epoch, so that they are independent


class Windows:
    """Windows of n_ctx + 1 tokens, for training.

    `len(windows)` is the number in one epoch, (N - 1) // n_ctx for N tokens. Neighbours share one token, the last target of
    one and the first input of the next, so each token is a target at most once in an epoch.

    Args:
        n_ctx: positions of the model's input. seed: any integer.

    Raises:
        ShortTextError: the tokens do not fill one window.
    """

    def __init__(self, tokens: Tokens, n_ctx: int, *, seed: int) -> None:
        assert n_ctx > 0
        if len(tokens) < n_ctx + 1:
            raise ShortTextError(
                f"the text has {len(tokens):,} tokens, and one window takes {n_ctx + 1:,}",
                f"give more text, or choose a preset or config with a shorter context (n_ctx) than {n_ctx:,}"
            )
        self.tokens = tokens
        self.n_ctx = n_ctx
        self.seed = seed
        self._n = (len(tokens) - 1) // n_ctx
        self._slack = (len(tokens) - 1) % n_ctx

    def __len__(self) -> int:
        return self._n

    def start(self, k: int) -> int:
        """The index of the k-th window's first token, for any k >= 0."""
        assert k >= 0
        epoch, index = divmod(k, self._n)
        place = permuted(index, self._n, key=mix(self.seed, epoch, _ORDER))
        return self.first_start(epoch) + place * self.n_ctx

    def first_start(self, epoch: int) -> int:
        """The index of the first token of an epoch's first window in reading order; the next begins n_ctx tokens later."""
        # `slack` tokens belong to no window; the offset is how many of them come before the first.
        return mix(self.seed, epoch, _OFFSET) % (self._slack + 1)

    def window(self, k: int) -> NDArray[np.int64]:
        """The k-th window, (n_ctx + 1,)."""
        start = self.start(k)
        return self.tokens[start : start + self.n_ctx + 1]

    def batch(self, start: int, count: int) -> NDArray[np.int64]:
        """Windows start ... start + count - 1, (count, n_ctx + 1)."""
        out = np.empty((count, self.n_ctx + 1), dtype=np.int64)
        for row in range(count):
            out[row] = self.window(start + row)
        return out


def evenly_spaced(tokens: Tokens, n_ctx: int, count: int) -> Iterator[NDArray[np.int64]]:
    """`count` of the windows of `sequential`, in text order and evenly spaced over all the text; all if there are no more.

    The first window and the last whole one are among them.
    """
    assert n_ctx > 0 and count > 0
    if -(-(len(tokens) - 1) // n_ctx) <= count:
        yield from sequential(tokens, n_ctx)
        return
    whole = (len(tokens) - 1) // n_ctx
    for i in range(count):
        start = n_ctx * (i * (whole - 1) // max(1, count - 1))
        yield tokens[start : start + n_ctx + 1]


def sequential(tokens: Tokens, n_ctx: int) -> Iterator[NDArray[np.int64]]:
    """Windows in text order, for a loss over all the text: every token after the first is a target exactly once.

    Each has shape (n_ctx + 1,); the last may be shorter (at least two tokens). Fewer tokens than a window are allowed.
    """
    assert n_ctx > 0
    for start in range(0, len(tokens) - 1, n_ctx):
        yield tokens[start : start + n_ctx + 1]
