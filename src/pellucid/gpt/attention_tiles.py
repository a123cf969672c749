"""The key subsets of sparse attention patterns, and how each is divided into tiles (see `sparse`).

N heads of the whole batch, T positions, D head width, R rows (queries) of a tile.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.gpt.pattern import Summary
from pellucid.gpt.sparse import LOWEST, Edge, Tile, accumulation_dtype


# Scores computed at once on a CPU: 1 MB of float32, so that the passes over them stay in the cache.
TILE_SCORES = 2**18
# Queries of a tile. More compute pairs outside the pattern, fewer slow the products down (measured: docs/log.md).
ROWS = 64


def _at_once(scores: int, device: torch.device) -> int:
    """How many products of `scores` scores go into one tile; on accelerators all, to save launches."""
    if device.type != "cpu":
        return 2**62
    return max(1, TILE_SCORES // scores)


def _split_blocks(x: Tensor, length: int) -> Tensor:
    """(N, T, ...) -> (N, blocks, length, ...): a view if T is whole blocks, else padded with zeros."""
    n, positions = x.shape[:2]
    if short := -positions % length:
        x = torch.cat((x, x.new_zeros(n, short, *x.shape[2:])), dim=1)
    return x.view(n, -1, length, *x.shape[2:])


def _mask_bias(seen: Tensor, queries: Tensor) -> Tensor:
    """The mask as a bias of scores: 0 where True, LOWEST elsewhere."""
    return torch.zeros(seen.shape, dtype=accumulation_dtype(queries.dtype), device=seen.device).masked_fill_(~seen, LOWEST)


def _head_tiles(queries: Tensor, rows: slice, columns: int, edges: Sequence[Edge]) -> Iterator[Tile]:
    """The product of `rows` and the first `columns` keys, for as many heads at once as fit."""
    n = queries.shape[0]
    step = _at_once((rows.stop - rows.start) * columns, queries.device)
    for head in range(0, n, step):
        yield _corner(slice(head, head + step), rows, slice(0, columns), edges)


def _corner(heads: slice, rows: slice, columns: slice, edges: Sequence[Edge]) -> Tile:
    return Tile(
        lambda x: x[heads, rows],
        lambda x: x[heads, columns],
        lambda total, x: total[heads, columns].add_(x),
        edges,
    )


@dataclass(frozen=True, slots=True)
class BandKeys:
    """The `width` newest positions, the query's own included.

    Queries are cut into blocks of R rows. A block sees one window of W + R positions that ends with it (W is the width, rounded
    up to whole blocks). All blocks have the same mask, triangular at both ends:

        row r of the block sees columns r + W - width < c <= r + W
    """

    width: int

    @property
    def rows(self) -> int:
        """R."""
        return min(ROWS, max(16, 1 << (self.width - 1).bit_length()))

    @property
    def back(self) -> int:
        """W."""
        return -(-(self.width - 1) // self.rows) * self.rows

    def queries(self, x: Tensor) -> Tensor:
        """(N, T, ...) -> (N, blocks, R, ...), zeros after the last position."""
        return _split_blocks(x, self.rows)

    def outputs(self, x: Tensor, positions: int) -> Tensor:
        """(N, blocks, R, ...) -> (N, T, ...)."""
        return x.flatten(1, 2)[:, :positions]

    def keys(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, W + blocks * R, D), zeros before the first position and after the last."""
        return F.pad(x, (0, 0, self.back, -x.shape[1] % self.rows))

    def add_keys(self, total: Tensor, x: Tensor) -> None:
        """Drops the gradients of the padding."""
        total += x[:, self.back : self.back + total.shape[1]]

    def tiles(self, queries: Tensor, keys: Tensor) -> Iterator[Tile]:
        """Blocks of one head, or all blocks of several heads."""
        n, blocks = queries.shape[:2]
        rows, back = self.rows, self.back
        window = back + rows
        r = torch.arange(rows, device=queries.device)[:, None]
        c = torch.arange(window, device=queries.device)
        partly = back + rows - self.width + 1  # columns that the last row no longer sees
        oldest = (slice(0, partly), _mask_bias(c[:partly] > r + back - self.width, queries))
        newest = (slice(back, window), _mask_bias(c[:rows] <= r, queries))
        at_once = _at_once(rows * window, queries.device)
        heads, step = (1, at_once) if at_once < blocks else (at_once // blocks, blocks)
        for head in range(0, n, heads):
            for first in range(0, blocks, step):
                last = min(first + step, blocks)
                edges = [oldest, newest]
                if first * rows < back:  # the first windows reach back before position 0
                    position = c - back + rows * torch.arange(first, last, device=queries.device)[:, None]
                    real = (position >= 0)[None].expand(min(heads, n - head), -1, -1).reshape(-1, 1, window)
                    edges.append((slice(0, back), _mask_bias(real[..., :back], queries)))
                yield self._tile(slice(head, head + heads), slice(first, last), edges)

    def _tile(self, heads: slice, blocks: slice, edges: Sequence[Edge]) -> Tile:
        rows, parts = self.rows, self.back // self.rows + 1  # of a window, in blocks
        positions = slice(blocks.start * rows, (blocks.stop + parts - 1) * rows)

        def keys(x: Tensor) -> Tensor:  # a view where it is one head; overlapping windows of several are copied
            return x[heads, positions].unfold(1, parts * rows, rows).flatten(0, 1).transpose(1, 2)

        def add(total: Tensor, x: Tensor) -> None:
            into = _split_blocks(total[heads], rows)
            pieces = x.view(into.shape[0], -1, parts, rows, x.shape[-1])
            for part in range(parts):
                into[:, blocks.start + part : blocks.stop + part] += pieces[:, :, part]

        return Tile(lambda x: x[heads, blocks].flatten(0, 1), keys, add, edges)


@dataclass(frozen=True, slots=True)
class GroupKeys:
    """Positions in groups; a query sees the keys of its own group up to itself.

    Attributes:
        length: if not `spread`, groups are blocks of `length` neighbours. Else they are the `length` columns of the positions
            written in rows of `length`.
        itself: whether a query sees its own key.
    """

    length: int
    spread: bool = False
    itself: bool = True

    def queries(self, x: Tensor) -> Tensor:
        """(N, T, ...) -> (N * groups, positions of a group, ...), zeros after the last position."""
        x = _split_blocks(x, self.length)
        return (x.transpose(1, 2) if self.spread else x).flatten(0, 1)

    def outputs(self, x: Tensor, positions: int) -> Tensor:
        """The inverse."""
        groups = self.length if self.spread else -(-positions // self.length)
        x = x.view(-1, groups, *x.shape[1:])
        return (x.transpose(1, 2) if self.spread else x).flatten(1, 2)[:, :positions]

    def keys(self, x: Tensor) -> Tensor:
        """As the queries."""
        return self.queries(x)

    def add_keys(self, total: Tensor, x: Tensor) -> None:
        """Drops the gradients of the padding."""
        total += self.outputs(x, total.shape[1])

    def tiles(self, queries: Tensor, keys: Tensor) -> Iterator[Tile]:
        """Some rows of some groups, and the positions of the group up to these rows."""
        positions = queries.shape[1]
        for first in range(0, positions, ROWS):
            last = min(first + ROWS, positions)
            seen = torch.ones(last - first, last - first, dtype=torch.bool, device=queries.device)
            edge = (slice(first, last), _mask_bias(seen.tril(0 if self.itself else -1), queries))
            yield from _head_tiles(queries, slice(first, last), last, [edge])


@dataclass(frozen=True, slots=True)
class PrefixKeys:
    """Every query sees the first `count(query)` keys; later queries see as many or more.

    Attributes:
        count: query -> how many keys it sees.
        seen: the same for many: (R, 1) queries and (columns,) keys -> (R, columns) bool.
    """

    count: Callable[[int], int]
    seen: Callable[[Tensor, Tensor], Tensor]

    def queries(self, x: Tensor) -> Tensor:
        """Unchanged."""
        return x

    def outputs(self, x: Tensor, positions: int) -> Tensor:
        """Unchanged."""
        return x

    def keys(self, x: Tensor) -> Tensor:
        """Unchanged."""
        return x

    def add_keys(self, total: Tensor, x: Tensor) -> None:
        """All of them."""
        total += x

    def tiles(self, queries: Tensor, keys: Tensor) -> Iterator[Tile]:
        """Some rows in some heads, and all keys that one of them sees."""
        for first in range(0, queries.shape[1], ROWS):
            last = min(first + ROWS, queries.shape[1])
            all_see, any_sees = self.count(first), self.count(last - 1)
            if any_sees == 0:
                continue
            edges: list[Edge] = []
            if all_see < any_sees:
                q = torch.arange(first, last, device=queries.device)[:, None]
                key = torch.arange(all_see, any_sees, device=q.device)
                edges.append((slice(all_see, any_sees), _mask_bias(self.seen(q, key), queries)))
            yield from _head_tiles(queries, slice(first, last), any_sees, edges)


@dataclass(frozen=True, slots=True)
class SummaryKeys(PrefixKeys):
    """The summary positions, gathered: key j is the (j mod c)-th of block j // c. Made by `summary_keys`."""

    summary: Summary

    def keys(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, blocks * c, D)."""
        return self._picked(_split_blocks(x, self.summary.length)).flatten(1, 2)

    def add_keys(self, total: Tensor, x: Tensor) -> None:
        """Scatters them back to their positions."""
        length, columns = self.summary.length, self.summary.columns
        spread = x.new_zeros(x.shape[0], x.shape[1] // columns, length, x.shape[2])
        self._picked(spread).copy_(x.view(x.shape[0], -1, columns, x.shape[2]))
        total += spread.flatten(1, 2)[:, : total.shape[1]]

    def _picked(self, blocks: Tensor) -> Tensor:
        return blocks[:, :, self.summary.start : self.summary.start + self.summary.columns]


def summary_keys(summary: Summary, *, own_block: bool) -> SummaryKeys:
    """The subset of the summary positions.

    Args:
        own_block: also those of the query's own block, up to itself; else only those of earlier blocks.
    """
    length, columns, start = summary.length, summary.columns, summary.start

    def seen(q: Tensor, key: Tensor) -> Tensor:
        position = key // columns * length + start + key % columns
        return position <= q if own_block else position // length < q // length

    def count(q: int) -> int:
        return summary.cached_keys(q + 1) if own_block else q // length * columns

    return SummaryKeys(count, seen, summary)
