"""The statistics of a training record: norms and thumbnails of matrices, losses by token, the example, the stretch.

T positions, W of them in the fixed window, X in the example, Q weight matrices, C width, V vocabulary, K candidates.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.corpus.windows import Windows
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.loss import CHUNK_VALUES
from pellucid.training.batches import WindowBatches
from pellucid.training.placement import autocast, device_of


Array = Any
TILES = 32  # rows and columns of a thumbnail, at most
WINDOW = 256  # positions of the held-out window, at most
CANDIDATES = 20  # likeliest tokens listed for the example
SEARCHED_PAIRS = 1_000  # of neighbouring windows, searched for the end of a document


def weights_of(model: Decoder) -> list[Tensor]:
    """The weight matrices in the order of `GPTConfig.matrices()`; a Linear's is stored columns out by rows in."""
    named = dict(model.named_parameters())
    return [named[f"{name}.weight"].detach() for name, _ in model.config.matrices()]


def norms(tensors: Iterable[Tensor]) -> Tensor:
    """(Q,) float32: the L2 norm of each; an iterator may make them one at a time."""
    return torch.stack([torch.linalg.vector_norm(tensor.detach()) for tensor in tensors]).float().cpu()


def thumbnail(name: str, weight: Tensor) -> Array:
    """A matrix averaged over tiles, at most `TILES` by `TILES`, rows in by columns out: float32.

    Tile i of r covers rows from i n / r up to (i + 1) n / r, rounded down: all equal where r divides n, else to within 1.
    """
    matrix = weight.detach().float().cpu().numpy()
    if name not in ("wte", "wpe"):  # an embedding has a row for each token or position already
        matrix = matrix.T
    rows, columns = (edges(size) for size in matrix.shape)
    if matrix.flags.c_contiguous:
        sums = np.add.reduceat(np.add.reduceat(matrix, rows[:-1], axis=0), columns[:-1], axis=1)
    else:
        sums = np.add.reduceat(np.add.reduceat(matrix, columns[:-1], axis=1), rows[:-1], axis=0)
    return (sums / np.outer(np.diff(rows), np.diff(columns))).astype(np.float32)


def edges(size: int) -> Array:
    """Where the tiles of an axis begin, and where the last one ends."""
    tiles = min(TILES, size)
    return np.arange(tiles + 1) * size // tiles


def logits_of(model: Decoder, ids: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
    """Float32 logits of (B, T) ids, some of the B T positions at a time, with matrix products in `dtype` as in training.

    Yields:
        (n, V).
    """
    with autocast(dtype, ids.device):
        hidden = model.hidden(ids)
    hidden = hidden.flatten(0, 1).to(dtype)
    matrix = model.wte.weight.to(dtype)
    for positions in torch.split(hidden, max(1, CHUNK_VALUES // len(matrix))):
        yield F.linear(positions, matrix).float()


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
    """A window's losses, (T,) nats, and the likeliest next tokens at each position: (T, K) ids, (T, K) log-probabilities."""
    ids = torch.from_numpy(np.asarray(window, np.int64)).to(device_of(model))
    count = min(CANDIDATES, model.config.vocab_size)
    tops: list[tuple[Tensor, Tensor]] = []

    def logprobs_of_groups() -> Iterator[Tensor]:
        for logits in logits_of(model, ids[None, :-1], dtype):
            logprobs = logits.log_softmax(-1)
            values, listed = logprobs.topk(count)
            tops.append((listed, values))
            yield logprobs

    found = -_of_targets(logprobs_of_groups(), ids[1:]).cpu().numpy()
    listed, values = (torch.cat(parts).cpu().numpy() for parts in zip(*tops, strict=True))
    return found, listed.astype(np.int32), values


def _of_targets(groups: Iterator[Tensor], targets: Tensor) -> Tensor:
    """Picks each position's target out of groups of (n, V) numbers, as one (T,)."""
    found: list[Tensor] = []
    done = 0
    for logprobs in groups:
        wanted = targets[done : done + len(logprobs)]
        found.append(logprobs.gather(1, wanted[:, None])[:, 0])
        done += len(logprobs)
    return torch.cat(found)


def chosen_position(before: Sequence[Array], after: Sequence[Array], targets: Array) -> tuple[int, bool]:
    """The position to follow through an update, and whether the update corrected its prediction.

    Of the positions whose likeliest token was wrong before and is right after it, or of all where there is none, it is the one
    whose target gained most probability.

    Args:
        before, after: `losses_and_tops` before and after the update. targets: (T,) ids.
    """
    corrected = (before[1][:, 0] != targets) & (after[1][:, 0] == targets)
    gains = np.exp(-after[0].astype(np.float64)) - np.exp(-before[0].astype(np.float64))
    found = bool(corrected.any())
    return int(np.where(corrected, gains, -np.inf).argmax() if found else gains.argmax()), found


def held_out_window(batches: WindowBatches) -> Array:
    """(W + 1,): the fixed window, the first held-out tokens, at most `WINDOW` + 1 of them."""
    return batches.held_out_windows[0][: WINDOW + 1]


def example_stats(window: Array, before: Sequence[Array], after: Sequence[Array]) -> dict[str, Array]:
    """The example's statistics.

    Args:
        window: (X + 1,) ids. before, after: `losses_and_tops` of the window before and after the update.
    """
    position, corrected = chosen_position(before, after, window[1:])
    return {
        "example.ids": window.astype(np.int32),
        "example.track": np.array([position]),
        "example.corrected": np.array([int(corrected)]),
        "example.loss": np.stack([before[0], after[0]]),
        "example.topk_ids": np.stack([before[1][position], after[1][position]]),
        "example.topk_logprobs": np.stack([before[2][position], after[2][position]]),
    }


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring windows of the training text.

    Attributes:
        ids: (R,) tokens in reading order. starts: (Z,) where each window begins in them.
    """

    ids: Array
    starts: Array

    def windows(self, n_ctx: int) -> Array:
        """(Z, T + 1): each window's tokens."""
        return np.stack([self.ids[start : start + n_ctx + 1] for start in self.starts])


def stretch(windows: Windows, end_of_text: int) -> Stretch | None:
    """Two neighbouring windows of the first epoch; None if there is only one window.

    The first two, in reading order, that have an end of text inside them and not at an edge; the very first two if none of
    the first `SEARCHED_PAIRS` has.
    """
    if len(windows) < 2:
        return None
    n_ctx, first = windows.n_ctx, windows.first_start(0)
    pairs = min(len(windows) - 1, SEARCHED_PAIRS)
    text = windows.tokens[first : first + (pairs + 1) * n_ctx + 1]
    ends = np.flatnonzero(text[1:-1] == end_of_text) + 1  # an end of text at the very edge separates nothing in these windows
    first_window = 0
    if len(ends):
        first_window = min(max((int(ends[0]) - 1) // n_ctx, 0), pairs - 1)
    ids = text[first_window * n_ctx : (first_window + 2) * n_ctx + 1]
    return Stretch(ids.astype(np.int32), np.array([0, n_ctx], np.int32))
