"""Context parallelism: each rank has some positions of every row, and attends from them to all keys.

R rows, H heads, T positions of a whole row, S = T / (2 cp) positions of a part, D head width.

A causal row's late positions see more keys than its early ones. So a row is cut into 2 cp parts, and rank i has parts i and
2 cp - 1 - i: the same work on each. The two are rows of their own for everything but attention, which gathers the keys and
values of all parts first; with a band, those it does not need are left out again. The backward pass sums the gradients of a
part's keys over the ranks that attended to it. (PyTorch's `context_parallel` has no strategy for CPUs, nor for patterns.)
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from pellucid.gpt.attention import attention, compressed_attention
from pellucid.gpt.compressor import Compressor
from pellucid.gpt.pattern import Banded, Pattern
from pellucid.training.distributed.collectives import gather


def parts_of(rank: int, ranks: int) -> tuple[int, int]:
    """The two parts of a row, of 2 * `ranks`, that a rank has."""
    return rank, 2 * ranks - 1 - rank


def own_positions(rows: Tensor, rank: int, ranks: int) -> Tensor:
    """(R, T) ids or targets -> (2 R, S): both parts of the first row, then of the second, and so on."""
    parts = rows.reshape(len(rows), 2 * ranks, -1)  # (R, 2 cp, S)
    return parts[:, list(parts_of(rank, ranks))].flatten(0, 1)


class ContextCache:
    """A `gpt.kv_cache.KVCache` of one forward pass on a rank's parts of the rows.

    Args:
        patterns: of the blocks' attention, as the rank's heads have them. group: the ranks that share the rows.
        rows: twice the rows, as there are two parts of each. positions: S.
    """

    def __init__(self, patterns: dict[int, Pattern], group: ProcessGroup, rows: int, positions: int) -> None:
        self.patterns, self.group = patterns, group
        self.rank, self.ranks = dist.get_rank(group), dist.get_world_size(group)
        self.starts = [part * positions for part in parts_of(self.rank, self.ranks)]
        self.lengths = self.starts * (rows // 2)

    def attend(self, block: int, q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None = None) -> Tensor:
        """Attention of this rank's positions, (2 R, H, S, D), to all keys of their rows."""
        keys, values = self._whole(k), self._whole(v)  # (R, H, T, D)
        queries = q.reshape(-1, 2, *q.shape[1:])  # (R, 2, H, S, D)
        if compressor is not None:
            keys, values = compressor(keys, values)
        outputs = [
            self._part(queries[:, part], start, block, keys, values, compressor) for part, start in enumerate(self.starts)
        ]
        return torch.stack(outputs, dim=1).flatten(0, 1)

    def advance(self, tokens: int) -> None:
        """Nothing is stored."""

    def _part(self, q: Tensor, start: int, block: int, keys: Tensor, values: Tensor, compressor: Compressor | None) -> Tensor:
        """One part's queries, (R, H, S, D), whose first position is `start`."""
        stop = start + q.shape[2]
        if compressor is not None:
            complete = 1 + int(compressor.pattern.count(stop))  # the null key, and those complete at the last query
            seen = keys[:, :, :complete], values[:, :, :complete]
            return compressed_attention(q, *seen, compressor.pattern, first=start)
        pattern = self.patterns[block]
        first = max(0, start + 1 - pattern.width) if isinstance(pattern, Banded) else 0  # the first query's first key
        return attention(q, keys[:, :, first:stop], values[:, :, first:stop], pattern)

    def _whole(self, x: Tensor) -> Tensor:
        """(2 R, H, S, D) of this rank -> (R, H, T, D) of all positions, in their order."""
        gathered = gather(x, self.group)  # (cp, 2 R, H, S, D)
        parts = gathered.reshape(self.ranks, -1, 2, *x.shape[1:])  # (cp, R, 2, H, S, D)
        early, late = parts[:, :, 0], parts[:, :, 1].flip(0)
        return torch.cat((early, late)).permute(1, 2, 0, 3, 4).flatten(2, 3)  # (2 cp, R, H, S, D) -> (R, H, T, D)
