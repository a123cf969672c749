"""The KV cache of one sequence, and attention of new positions over it.

T new positions, S positions, C width, H heads, D head width, L blocks, M compressed keys.

All positions of all blocks stay cached, each at its own index, so that a prefix can be copied to another sequence and any
position can be overwritten (speculative decoding discards rejected tokens). A banded block therefore takes as much memory as a
dense one. What a cache would hold that evicts what no later query can read is `GPTConfig.kv_bytes`.

Attention has two modes. Fast mode chooses the quickest operation for the positions of the call. Exact mode computes queries in
tiles of `TILE` consecutive positions. A tile always begins at a multiple of `TILE` and always reads the
same number of keys, whichever of its queries are asked for, so the bits of an output depend on the sequence's own tokens alone.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.gpt.attention import attention, compressed_attention, masked_sdpa
from pellucid.gpt.compressor import Compressor
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import Banded, Compressed, Dense, Heads, Local, Pattern


# Queries of one tile in exact mode. Fewer waste less when one token is read at a time, more are faster for a prompt
# (docs/log.md).
TILE = 8
# Queries that attend together to what is already in the cache: the mask over them and all keys stays small.
QUERY_CHUNK = 256
_ALL = slice(None)


def kv_cache_bytes(config: GPTConfig, capacity: int, bytes_per_value: int) -> int:
    """Bytes of a `SequenceKVCache` of `capacity` positions."""
    keys = config.n_layers * _whole_tiles(capacity)
    keys += sum(_compressed_keys(pattern, capacity) for pattern in config.pattern if isinstance(pattern, Compressed))
    return 2 * keys * config.d_model * bytes_per_value


def _whole_tiles(positions: int) -> int:
    return -(-positions // TILE) * TILE


def _compressed_keys(pattern: Compressed, capacity: int) -> int:
    return 1 + int(pattern.count(_whole_tiles(capacity)))


class SequenceKVCache:
    """Keys and values of one sequence.

    Args:
        config: the model's shape.
        capacity: the maximum length of the sequence, in positions.
        compressors: the compressor of each compressed block, by block index.
        like: an empty tensor of the dtype and device to use.

    Attributes:
        kv: (L, 2, S, C) keys and values by position; zeros where nothing was written yet.
        compressed: by block index, (2, 1 + M, C): the null key and value, then the compressed ones that are complete.
    """

    def __init__(self, config: GPTConfig, capacity: int, compressors: dict[int, Compressor], like: Tensor) -> None:
        self.config = config
        self.capacity = capacity
        self.kv = like.new_zeros(config.n_layers, 2, _whole_tiles(capacity), config.d_model)
        by_head = self.kv.view(*self.kv.shape[:3], config.n_heads, config.d_head).transpose(2, 3)
        self._views = [(keys[None], values[None]) for keys, values in by_head]  # by block, (1, H, S, D) each
        self.compressed: dict[int, Tensor] = {}
        for block, compressor in compressors.items():
            compressed = like.new_zeros(2, _compressed_keys(compressor.pattern, capacity), config.d_model)
            compressed[0, 0], compressed[1, 0] = compressor.nothing_k, compressor.nothing_v
            self.compressed[block] = compressed

    @property
    def nbytes(self) -> int:
        """Bytes allocated; `kv_cache_bytes` computes the same in advance."""
        return self.kv.nbytes + sum(compressed.nbytes for compressed in self.compressed.values())

    def copy_prefix(self, source: "SequenceKVCache", positions: int) -> None:
        """Copies the first `positions` positions of another sequence."""
        assert positions <= min(self.capacity, source.capacity)
        self.kv[:, :, :positions] = source.kv[:, :, :positions]
        for block, compressed in self.compressed.items():
            pattern = self.config.pattern[block]
            assert isinstance(pattern, Compressed)
            complete = 1 + int(pattern.count(positions))
            compressed[:, :complete] = source.compressed[block][:, :complete]

    def write(self, block: int, first: int, k: Tensor, v: Tensor, compressor: Compressor | None, *, exact: bool) -> None:
        """Stores (T, C) keys and values at positions `first` and following, and what a compressor makes of them."""
        end = first + len(k)
        assert end <= self.capacity, "the sequence is full"
        kv = self.kv[block]
        kv[0, first:end], kv[1, first:end] = k, v
        if compressor is None:
            return
        pattern, compressed = compressor.pattern, self.compressed[block]
        before, after = int(pattern.count(first)), int(pattern.count(end))
        # One call for all new keys, or in exact mode one for each, so that a key's bits depend on its own positions only.
        for key in range(before, after) if exact else range(before, min(after, before + 1)):
            stop = key + 1 if exact else after
            span = kv[:, key * pattern.stride : (stop - 1) * pattern.stride + pattern.kernel]
            new = compressor.keys(self._split_heads(span[0]), self._split_heads(span[1]))
            compressed[0, 1 + key : 1 + stop], compressed[1, 1 + key : 1 + stop] = (
                x[0].transpose(0, 1).flatten(1) for x in new
            )

    def _split_heads(self, x: Tensor) -> Tensor:
        """(S, C) -> (1, H, S, D), a view."""
        return x.view(1, len(x), self.config.n_heads, self.config.d_head).transpose(1, 2)

    def attend(self, block: int, first: int, q: Tensor, *, exact: bool) -> Tensor:
        """Attention of new positions, whose keys and values have been written.

        Args:
            q: (H, T, D) of positions `first` and following.

        Returns:
            (H, T, D).
        """
        pattern = self.config.pattern[block]
        attend = self._attend_in_tiles if exact else self._attend_fast
        if not isinstance(pattern, Heads):
            return attend(block, pattern, _ALL, first, q)
        out, count = torch.empty_like(q), len(pattern.patterns)
        for index, own in enumerate(pattern.patterns[: len(q)]):
            heads = slice(index, None, count)
            out[heads] = attend(block, own, heads, first, q[heads])
        return out

    def _attend_fast(self, block: int, pattern: Pattern, heads: slice, first: int, q: Tensor) -> Tensor:
        last = first + q.shape[1] - 1
        if isinstance(pattern, Compressed):
            compressed = self.compressed[block][:, : 1 + int(pattern.count(last + 1))]
            keys, values = self._split_heads(compressed[0]), self._split_heads(compressed[1])
            if first == last:
                return F.scaled_dot_product_attention(q[None], keys, values)[0]
            return compressed_attention(q[None], keys, values, pattern, first=first)[0]
        if first == last:
            keys, values = self._read(block, visible_positions(pattern, first, first, q.device), heads)
            return F.scaled_dot_product_attention(q[None], keys, values)[0] if keys.shape[2] else torch.zeros_like(q)
        if first == 0:
            keys, values = self._read(block, slice(0, last + 1), heads)
            return attention(q[None], keys, values, pattern)[0]
        outputs = []
        for start in range(first, last + 1, QUERY_CHUNK):
            end = min(start + QUERY_CHUNK, last + 1)
            positions = visible_positions(pattern, start, end - 1, q.device)
            keys, values = self._read(block, positions, heads)
            mask = _mask(pattern, start, end, positions, q.device)
            outputs.append(masked_sdpa(q[None, :, start - first : end - first], keys, values, mask)[0])
        return torch.cat(outputs, dim=1)

    def _read(self, block: int, positions: slice | Tensor, heads: slice) -> tuple[Tensor, Tensor]:
        """(1, H, S, D) keys and values of some positions and heads."""
        keys, values = self._views[block]
        if heads != _ALL:
            keys, values = keys[:, heads], values[:, heads]
        return keys[:, :, positions], values[:, :, positions]

    def _attend_in_tiles(self, block: int, pattern: Pattern, heads: slice, first: int, q: Tensor) -> Tensor:
        out, end = torch.empty_like(q), first + q.shape[1]
        for start in range(first // TILE * TILE, end, TILE):
            low, high = max(start, first), min(start + TILE, end)  # the positions of this tile that are asked for
            in_tile, in_q = slice(low - start, high - start), slice(low - first, high - first)
            queries = q.new_zeros(1, len(q), TILE, q.shape[2])
            queries[0, :, in_tile] = q[:, in_q]
            mask = tile_mask(pattern, start, q.dtype, q.device)
            if isinstance(mask.keys, int):
                compressed = self.compressed[block][:, : mask.keys]
                keys, values = self._split_heads(compressed[0]), self._split_heads(compressed[1])
            else:
                keys, values = self._read(block, mask.keys, heads)
            if not keys.shape[2]:
                out[:, in_q] = 0
                continue
            output = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask.bias)
            if mask.empty is not None:
                output = output.masked_fill(mask.empty, 0.0)
            out[:, in_q] = output[0, :, in_tile]
        return out


def visible_positions(pattern: Pattern, first: int, last: int, device: torch.device) -> slice | Tensor:
    """The positions that at least one query from `first` to `last` sees."""
    match pattern:
        case Dense():
            return slice(0, last + 1)
        case Banded(width):
            return slice(max(0, first - width + 1), last + 1)
        case Local(length) if first // length == last // length:
            return slice(first // length * length, last + 1)
    positions = torch.arange(last + 1, device=device)
    queries = torch.arange(first, last + 1, device=device)[:, None]
    return torch.as_tensor(pattern.visible(queries, positions)).any(0).nonzero()[:, 0]


def _mask(pattern: Pattern, first: int, end: int, positions: slice | Tensor, device: torch.device) -> Tensor:
    """(T, S) bool: which of some positions the queries from `first` to `end` - 1 see."""
    if isinstance(positions, slice):
        positions = torch.arange(positions.start, positions.stop, device=device)
    return torch.as_tensor(pattern.visible(torch.arange(first, end, device=device)[:, None], positions))


@dataclass(frozen=True, slots=True)
class TileMask:
    """What the queries of one tile see.

    Attributes:
        keys: the positions, or how many compressed keys, counted from the first.
        bias: (TILE, S), 0 where a query sees a key and -inf elsewhere; 0 throughout for a query that sees nothing.
        empty: (TILE, 1) bool, True for queries that see nothing; None if there are none.
    """

    keys: slice | Tensor | int
    bias: Tensor
    empty: Tensor | None


@lru_cache(maxsize=512)
def tile_mask(pattern: Pattern, start: int, dtype: torch.dtype, device: torch.device) -> TileMask:
    """The mask of the tile that begins at position `start`."""
    keys: slice | Tensor | int
    with torch.inference_mode(False):  # the tensors outlive the pass that made them
        if isinstance(pattern, Compressed):
            keys = 1 + int(pattern.count(start + TILE))
            last = (torch.arange(keys, device=device) - 1) * pattern.stride + pattern.kernel - 1  # position of each key
            last[0] = 0
            seen = last <= torch.arange(start, start + TILE, device=device)[:, None]
        else:
            keys = visible_positions(pattern, start, start + TILE - 1, device)
            seen = _mask(pattern, start, start + TILE, keys, device)
        empty = ~seen.any(-1, keepdim=True)
        bias = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~(seen | empty), float("-inf"))
    return TileMask(keys, bias, empty if empty.any() else None)
