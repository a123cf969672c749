"""What a training record's numbers are: norms and thumbnails of matrices, losses by token, the example, the stretch.

T tracks, C width, V vocabulary, K candidates.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.corpus.windows import Windows
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.loss import CHUNK_VALUES
from pellucid.training.placement import autocast, device_of


Array = Any
TILES = 32  # a thumbnail's rows and columns, at most
WINDOW = 256  # tracks of the held-out window, at most
CANDIDATES = 20  # of the example
LOOKED_THROUGH = 1_000  # pairs of neighbouring windows in which the end of a document is looked for


def weights_of(model: Decoder) -> list[Tensor]:
    """The weight matrices in the order of `GPTConfig.matrices()`; a Linear's is stored columns out by rows in."""
    named = dict(model.named_parameters())
    return [named[f"{name}.weight"].detach() for name, _ in model.config.matrices()]


def norms(tensors: Iterable[Tensor]) -> Tensor:
    """(Q,) float32: the L2 norm of each; one of them at a time need exist."""
    return torch.stack([torch.linalg.vector_norm(tensor.detach()) for tensor in tensors]).float().cpu()


def thumbnail(name: str, weight: Tensor) -> Array:
    """A matrix averaged over tiles, at most `TILES` by `TILES`, rows in by columns out: float32.

    Row i of r belongs to tiles from i n / r up to (i + 1) n / r, rounded down: all equal where r divides n, else to within 1.
    """
    matrix = weight.detach().float().cpu().numpy()
    if name not in ("wte", "wpe"):  # an embedding has a row for each token or track already
        matrix = matrix.T
    rows, columns = (edges(size) for size in matrix.shape)
    if matrix.flags.c_contiguous:
        sums = np.add.reduceat(np.add.reduceat(matrix, rows[:-1], axis=0), columns[:-1], axis=1)
    else:
        sums = np.add.reduceat(np.add.reduceat(matrix, columns[:-1], axis=1), rows[:-1], axis=0)
    return (sums / np.outer(np.diff(rows), np.diff(columns))).astype(np.float32)


def edges(size: int) -> Array:
    """Where the tiles of an axis begin, and where the last ends."""
    tiles = min(TILES, size)
    return np.arange(tiles + 1) * size // tiles


def logits_of(model: Decoder, ids: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
    """Float32 logits of (B, T) ids, a group of the B T tracks after the other, from products in `dtype` as in training.

    Yields:
        (n, V).
    """
    with autocast(dtype, ids.device):
        hidden = model.hidden(ids)
    hidden = hidden.flatten(0, 1).to(dtype)
    matrix = model.wte.weight.to(dtype)
    for tracks in torch.split(hidden, max(1, CHUNK_VALUES // len(matrix))):
        yield F.linear(tracks, matrix).float()


def losses(model: Decoder, windows: Array, dtype: torch.dtype) -> Array:
    """-log p(target) of every target, in nats.

    Args:
        windows: (B, T + 1) ids; ids[:, 1:] are the targets of ids[:, :-1].

    Returns:
        (B, T) float32.
    """
    ids = torch.from_numpy(np.asarray(windows, np.int64)).to(device_of(model))
    logprobs = (logits.log_softmax(-1) for logits in logits_of(model, ids[:, :-1], dtype))
    return -_of_targets(logprobs, ids[:, 1:].flatten()).view(ids[:, 1:].shape).cpu().numpy()


def losses_and_tops(model: Decoder, window: Array, dtype: torch.dtype) -> tuple[Array, Array, Array]:
    """A window's losses, (T,) nats, and at each track the likeliest next tokens: (T, K) ids, (T, K) log-probabilities."""
    ids = torch.from_numpy(np.asarray(window, np.int64)).to(device_of(model))
    count = min(CANDIDATES, model.config.vocab_size)
    tops: list[tuple[Tensor, Tensor]] = []

    def seen() -> Iterator[Tensor]:
        for logits in logits_of(model, ids[None, :-1], dtype):
            logprobs = logits.log_softmax(-1)
            values, listed = logprobs.topk(count)
            tops.append((listed, values))
            yield logprobs

    found = -_of_targets(seen(), ids[1:]).cpu().numpy()
    listed, values = (torch.cat(parts).cpu().numpy() for parts in zip(*tops, strict=True))
    return found, listed.astype(np.int32), values


def _of_targets(groups: Iterator[Tensor], targets: Tensor) -> Tensor:
    """The (n, V) groups' numbers at each one's target, as one (T,)."""
    found: list[Tensor] = []
    done = 0
    for logprobs in groups:
        wanted = targets[done : done + len(logprobs)]
        found.append(logprobs.gather(1, wanted[:, None])[:, 0])
        done += len(logprobs)
    return torch.cat(found)


def chosen_track(before: Array, after: Array) -> int:
    """The track whose target's probability an update raised most, of (T,) losses before and after it."""
    return int((np.exp(-after.astype(np.float64)) - np.exp(-before.astype(np.float64))).argmax())


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring windows of the training text. ids: (R,). starts: (Z,) where each window begins in it."""

    ids: Array
    starts: Array

    def windows(self, n_ctx: int) -> Array:
        """(Z, T + 1): each window's tokens."""
        return np.stack([self.ids[start : start + n_ctx + 1] for start in self.starts])


def stretch(windows: Windows, end_of_text: int) -> Stretch | None:
    """Two windows of the first epoch that lie side by side; None if there is only one.

    They are the first two, in reading order, with an end of text inside both of them together and at neither end; the first
    two of all if there are none among the first `LOOKED_THROUGH`.
    """
    if len(windows) < 2:
        return None
    n_ctx, first = windows.n_ctx, windows.first_start(0)
    pairs = min(len(windows) - 1, LOOKED_THROUGH)
    text = windows.tokens[first : first + (pairs + 1) * n_ctx + 1]
    ends = np.flatnonzero(text[1:-1] == end_of_text) + 1  # an end of text at the very edge is no border to be seen
    place = 0
    if len(ends):
        place = min(max((int(ends[0]) - 1) // n_ctx, 0), pairs - 1)
    ids = text[place * n_ctx : (place + 2) * n_ctx + 1]
    return Stretch(ids.astype(np.int32), np.array([0, n_ctx], np.int32))
