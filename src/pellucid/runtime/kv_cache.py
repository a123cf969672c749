"""All tracks of one sequence, and attention of new tracks over them.

T new tracks, S tracks, C width, H heads, D head width, L blocks, M compressed keys.

A `KVCache` holds what its patterns can still read, for sequences that only grow. Here every track of every block stays where
it was put, so that any of them can be written again: a text can be taken back to any track, and its beginning be copied. The
price is memory: a banded block holds as much as a dense one.

Attention comes in two kinds. "Free" takes the fastest way for what is asked. "Fixed" computes queries in tiles of `TILE`
neighbouring tracks, each always in its own place and always over the same number of keys, whichever of them are asked for and
whatever else is: then the bits of an answer depend on the query's own text alone.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.gpt.attention import attention, compressed_attention, picked_attention
from pellucid.gpt.compressor import Compressor
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import Banded, Compressed, Dense, Heads, Local, Pattern
from pellucid.gpt.shelf import AT_ONCE


# Queries of one tile: fewer waste less where one token is read at a time, more are faster where a prompt is (docs/log.md).
TILE = 8
_ALL = slice(None)


def kv_cache_bytes(config: GPTConfig, capacity: int, bytes_per_value: int) -> int:
    """Bytes of a `SequenceKVCache` of so many tracks."""
    keys = config.n_layers * _whole_tiles(capacity)
    keys += sum(_compressed_keys(pattern, capacity) for pattern in config.pattern if isinstance(pattern, Compressed))
    return 2 * keys * config.d_model * bytes_per_value


def _whole_tiles(tracks: int) -> int:
    return -(-tracks // TILE) * TILE


def _compressed_keys(pattern: Compressed, capacity: int) -> int:
    return 1 + int(pattern.count(_whole_tiles(capacity)))


class SequenceKVCache:
    """Keys and values of one sequence.

    Args:
        config: the model's shape.
        capacity: the longest that the sequence may become, in tracks.
        compressors: of the blocks that have one, by block.
        like: an empty tensor of the right dtype and device.

    Attributes:
        kept: (L, 2, S, C) keys and values by track, zeros where nothing was written yet.
        made: (2, 1 + M, C) by block: the key of nothing, and those that a compressed block has finished.
    """

    def __init__(self, config: GPTConfig, capacity: int, compressors: dict[int, Compressor], like: Tensor) -> None:
        self.config = config
        self.capacity = capacity
        self.kept = like.new_zeros(config.n_layers, 2, _whole_tiles(capacity), config.d_model)
        shaped = self.kept.view(*self.kept.shape[:3], config.n_heads, config.d_head).transpose(2, 3)
        self._views = [(one[0][None], one[1][None]) for one in shaped]  # by block, (1, H, S, D) keys and values
        self.made: dict[int, Tensor] = {}
        for block, compressor in compressors.items():
            made = like.new_zeros(2, _compressed_keys(compressor.pattern, capacity), config.d_model)
            made[0, 0], made[1, 0] = compressor.nothing_k, compressor.nothing_v
            self.made[block] = made

    def take_over(self, other: "SequenceKVCache", tracks: int) -> None:
        """Copies the first tracks of another sequence."""
        assert tracks <= min(self.capacity, other.capacity)
        self.kept[:, :, :tracks] = other.kept[:, :, :tracks]
        for block, made in self.made.items():
            pattern = self.config.pattern[block]
            assert isinstance(pattern, Compressed)
            finished = 1 + int(pattern.count(tracks))
            made[:, :finished] = other.made[block][:, :finished]

    def put(self, block: int, first: int, k: Tensor, v: Tensor, compressor: Compressor | None, *, fixed: bool) -> None:
        """Keeps (T, C) keys and values of new tracks, `first` and those after it."""
        end = first + len(k)
        assert end <= self.capacity, "the sequence is full"
        kept = self.kept[block]
        kept[0, first:end], kept[1, first:end] = k, v
        if compressor is not None:
            pattern = compressor.pattern
            had, has = int(pattern.count(first)), int(pattern.count(end))
            for key in range(had, has) if fixed else range(had, min(has, had + 1)):  # one by one, or all at once
                until = key + 1 if fixed else has
                span = kept[:, key * pattern.stride : (until - 1) * pattern.stride + pattern.kernel]
                new_k, new_v = compressor.keys(self._by_head(span[0]), self._by_head(span[1]))
                made = self.made[block]
                made[0, 1 + key : 1 + until], made[1, 1 + key : 1 + until] = (
                    x[0].transpose(0, 1).flatten(1) for x in (new_k, new_v)
                )

    def _by_head(self, x: Tensor) -> Tensor:
        """(S, C) -> (1, H, S, D), a view."""
        return x.view(1, len(x), self.config.n_heads, self.config.d_head).transpose(1, 2)

    def attend(self, block: int, first: int, q: Tensor, *, fixed: bool) -> Tensor:
        """Attention of new tracks, whose keys and values are kept already.

        Args:
            q: (H, T, D) of track `first` and those after it.

        Returns:
            (H, T, D).
        """
        pattern = self.config.pattern[block]
        attend = self._in_tiles if fixed else self._freely
        if not isinstance(pattern, Heads):
            return attend(block, pattern, _ALL, first, q)
        out, ways = torch.empty_like(q), len(pattern.patterns)
        for way, own in enumerate(pattern.patterns[: len(q)]):
            heads = slice(way, None, ways)
            out[heads] = attend(block, own, heads, first, q[heads])
        return out

    # Free.

    def _freely(self, block: int, pattern: Pattern, heads: slice, first: int, q: Tensor) -> Tensor:
        last = first + q.shape[1] - 1
        if isinstance(pattern, Compressed):
            made = self.made[block][:, : 1 + int(pattern.count(last + 1))]
            keys, values = self._by_head(made[0]), self._by_head(made[1])
            if first == last:
                return F.scaled_dot_product_attention(q[None], keys, values)[0]
            return compressed_attention(q[None], keys, values, pattern, first=first)[0]
        if first == last:
            tracks = seen_by(pattern, first, first, q.device)
            keys, values = self._keys(block, tracks, heads)
            return F.scaled_dot_product_attention(q[None], keys, values)[0] if keys.shape[2] else torch.zeros_like(q)
        if first == 0:
            keys, values = self._keys(block, slice(0, last + 1), heads)
            return attention(q[None], keys, values, pattern)[0]
        answers = []
        for start in range(first, last + 1, AT_ONCE):  # the mask over them and all they see stays small
            end = min(start + AT_ONCE, last + 1)
            tracks = seen_by(pattern, start, end - 1, q.device)
            keys, values = self._keys(block, tracks, heads)
            mask = _visible(pattern, start, end, tracks, q.device)
            answers.append(picked_attention(q[None, :, start - first : end - first], keys, values, mask)[0])
        return torch.cat(answers, dim=1)

    def _keys(self, block: int, tracks: slice | Tensor, heads: slice) -> tuple[Tensor, Tensor]:
        """(1, H, S, D) keys and values of some tracks and heads."""
        keys, values = self._views[block]
        if heads != _ALL:
            keys, values = keys[:, heads], values[:, heads]
        return keys[:, :, tracks], values[:, :, tracks]

    # Fixed.

    def _in_tiles(self, block: int, pattern: Pattern, heads: slice, first: int, q: Tensor) -> Tensor:
        out, end = torch.empty_like(q), first + q.shape[1]
        for start in range(first // TILE * TILE, end, TILE):
            asked = slice(max(start, first), min(start + TILE, end))
            here, there = slice(asked.start - start, asked.stop - start), slice(asked.start - first, asked.stop - first)
            tile = q.new_zeros(1, len(q), TILE, q.shape[2])
            tile[0, :, here] = q[:, there]
            sight = sight_of(pattern, start, q.dtype, q.device)
            if isinstance(sight.keys, int):
                made = self.made[block][:, : sight.keys]
                keys, values = self._by_head(made[0]), self._by_head(made[1])
            else:
                keys, values = self._keys(block, sight.keys, heads)
            if not keys.shape[2]:
                out[:, there] = 0
                continue
            answer = F.scaled_dot_product_attention(tile, keys, values, attn_mask=sight.bias)
            if sight.nothing is not None:
                answer = answer.masked_fill(sight.nothing, 0.0)
            out[:, there] = answer[0, :, here]
        return out


def seen_by(pattern: Pattern, first: int, last: int, device: torch.device) -> slice | Tensor:
    """The tracks that any of some queries sees, `first` to `last`."""
    match pattern:
        case Dense():
            return slice(0, last + 1)
        case Banded(width):
            return slice(max(0, first - width + 1), last + 1)
        case Local(length) if first // length == last // length:
            return slice(first // length * length, last + 1)
    tracks = torch.arange(last + 1, device=device)
    queries = torch.arange(first, last + 1, device=device)[:, None]
    return torch.as_tensor(pattern.visible(queries, tracks)).any(0).nonzero()[:, 0]


def _visible(pattern: Pattern, first: int, end: int, tracks: slice | Tensor, device: torch.device) -> Tensor:
    """(T, S) bool, of some queries over some tracks."""
    if isinstance(tracks, slice):
        tracks = torch.arange(tracks.start, tracks.stop, device=device)
    return torch.as_tensor(pattern.visible(torch.arange(first, end, device=device)[:, None], tracks))


@dataclass(frozen=True, slots=True)
class Sight:
    """What the queries of one tile see.

    Attributes:
        keys: the tracks, or how many compressed keys from the first on.
        bias: (TILE, S), 0 where a query sees a key and -inf elsewhere; 0 throughout for a query that sees nothing.
        nothing: (TILE, 1) bool, the queries that see nothing; None: there are none.
    """

    keys: slice | Tensor | int
    bias: Tensor
    nothing: Tensor | None


@lru_cache(maxsize=512)
def sight_of(pattern: Pattern, start: int, dtype: torch.dtype, device: torch.device) -> Sight:
    """What the tile that begins on track `start` sees."""
    keys: slice | Tensor | int
    with torch.inference_mode(False):  # kept beyond the pass that asked first
        if isinstance(pattern, Compressed):
            keys = 1 + int(pattern.count(start + TILE))
            done = (torch.arange(keys, device=device) - 1) * pattern.stride + pattern.kernel - 1  # when each is finished
            done[0] = 0
            seen = done <= torch.arange(start, start + TILE, device=device)[:, None]
        else:
            keys = seen_by(pattern, start, start + TILE - 1, device)
            seen = _visible(pattern, start, start + TILE, keys, device)
        nothing = ~seen.any(-1, keepdim=True)
        bias = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~(seen | nothing), float("-inf"))
    return Sight(keys, bias, nothing if nothing.any() else None)
