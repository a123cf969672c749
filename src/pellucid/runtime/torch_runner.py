"""A runner over PyTorch: every pattern, every device, every dtype.

N tokens of all segments together, C width, V vocabulary.

fast    one pass over all tokens, each a row of the matrix products; attention sequence by sequence.
exact   the same in passes of a fixed number of rows (`SIZES`), filled up where tokens are too few, and attention in fixed
        tiles (`gpt.tracks`). That a row's bits do not depend on its place, nor on which of the sizes was taken, is a property
        of the matrix library: it is not assumed but tried, with the model's own weights, before a size is used. Where no size
        has it, one token at a time has it by itself. On the CPU; other devices promise nothing, and are refused.

All tracks of a sequence are kept, in all blocks (`gpt.tracks`): a segment may begin before the end of what was read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.gpt.compressor import Compressor
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.tap import Tap
from pellucid.runtime.inference_mode import inference_mode
from pellucid.runtime.kv_cache import SequenceKVCache, kv_cache_bytes
from pellucid.runtime.runner import Mode, TokenSpan


# How far the logits of "fast" may lie from those of "exact", as a share of the largest of them: sums in another order.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 0.05, torch.float16: 0.01}
SIZES = (4, 8, 16, 32, 64, 128, 256)  # rows of a pass in exact mode
MOST_READ_OUT = 64  # rows turned into logits together: 13 MB for GPT-3's vocabulary
_SMALL = 16  # rows up to which a pass takes about the same time
_TRIED = 4  # different tokens of a trial
# PyTorch computes elements side by side, those that are left over one by one and to other bits, and gives pieces of this
# size or more to other threads.
_SIDE_BY_SIDE, _TO_OTHERS = 64, 32768


class TorchRunner:
    """See `runner.Runner`.

    Args:
        model: the decoder. Its weights must not change while tracks that were read with them are used.
        mode: "exact" or "fast".
        tap: sees what goes through the model, as if all tokens of a pass were one sequence; "fast" only.

    Raises:
        PellucidError: exact mode on another device than the CPU.
    """

    def __init__(self, model: Decoder, *, mode: Mode = "fast", tap: Tap | None = None) -> None:
        weight = model.wte.weight
        if mode == "exact" and weight.device.type != "cpu":
            raise PellucidError(f'equal bits are promised on the CPU only, not on {weight.device.type}: use mode="fast"')
        assert tap is None or mode == "fast"
        self.model = model
        self.config = model.config
        self.mode: Mode = mode
        self.path = f"PyTorch {str(weight.dtype).removeprefix('torch.')}"
        if weight.device.type != "cpu":
            self.path += f" on {weight.device.type}"
        self._tap = None if tap is None else _AsOneSequence(tap)
        found = ((block, model.compressor(block)) for block in range(self.config.n_layers))
        self._compressors = {block: compressor for block, compressor in found if compressor is not None}
        self._sequences: dict[int, SequenceKVCache] = {}
        self._next = 0
        # What trials of exact mode showed, with so many threads: the smallest size, what it gives, and which others agree.
        self._threads = 0
        self._base: int | None = None
        self._expected = torch.empty(0)
        self._agree: dict[int, bool] = {}

    def sequence_bytes(self, capacity: int) -> int:
        """Bytes that a sequence of up to `capacity` tracks takes: all tracks in all blocks, whatever their patterns."""
        return kv_cache_bytes(self.config, capacity, self.model.wte.weight.element_size())

    def open(self, capacity: int) -> int:
        """A new, empty sequence of up to `capacity` tracks; its number."""
        assert 0 < capacity <= self.config.n_ctx
        self._next += 1
        with torch.inference_mode():
            like = self.model.wte.weight.new_empty(0)
            self._sequences[self._next] = SequenceKVCache(self.config, capacity, self._compressors, like)
        return self._next

    def close(self, sequence: int) -> None:
        """Forgets a sequence and gives its memory back."""
        del self._sequences[sequence]

    def copy(self, source: int, target: int, tracks: int) -> None:
        """Makes the first `tracks` tracks of one sequence those of another, as if they had been read there."""
        with torch.inference_mode():
            self._sequences[target].take_over(self._sequences[source], tracks)

    def run(self, segments: Sequence[TokenSpan]) -> list[NDArray[np.float32] | None]:
        """Reads all segments, of different sequences, together. See `runner.Runner.run`."""
        assert len({segment.sequence for segment in segments}) == len(segments), "one segment a sequence"
        pieces = [_Piece(self._sequences[s.sequence], s.first, list(s.ids)) for s in segments]
        rows: list[int] = []  # of all tokens: whose logits are wanted
        counts = []
        first = 0
        for segment in segments:
            tokens = len(segment.ids)
            count = {"none": 0, "last": 1, "all": tokens}[segment.wanted]
            first += tokens
            rows += range(first - count, first)
            counts.append(count)
        with inference_mode(self.model):
            hidden = torch.cat([self._pass(some, size) for some, size in self._passes(pieces, first)])
            logits = self._read_out(hidden[rows])
        answers: list[NDArray[np.float32] | None] = []
        for segment, count, end in zip(segments, counts, accumulate(counts), strict=True):
            own = logits[end - count : end]
            answers.append(None if segment.wanted == "none" else own[0] if segment.wanted == "last" else own)
        return answers

    def _pass(self, pieces: "list[_Piece]", size: int) -> Tensor:
        """Reads some tokens in one pass of `size` rows. Returns (N, E), what the token matrix turns into logits."""
        ids = [token for piece in pieces for token in piece.ids]
        tokens = torch.tensor(ids + [0] * (size - len(ids)), device=self.model.wte.weight.device)
        cache = _Packed(pieces, size, fixed=self.mode == "exact")
        return self.model.hidden(tokens[:, None], cache, self._tap)[: len(ids), 0]

    def _read_out(self, hidden: Tensor) -> NDArray[np.float32]:
        """(N, E) -> (N, V) logits."""
        if self.mode == "fast":
            return _numbers(self.model.logits(hidden))
        out = np.empty((len(hidden), self.config.vocab_size), np.float32)
        first = 0
        while first < len(hidden):
            size = self._size(len(hidden) - first, MOST_READ_OUT)
            some = hidden[first : first + size]
            filled = torch.cat((some, some.new_zeros(size - len(some), some.shape[1])))
            out[first : first + size] = _numbers(self.model.logits(filled)[: len(some)])
            first += size
        return out

    # Exact: which passes.

    def _passes(self, pieces: "list[_Piece]", tokens: int) -> "Iterator[tuple[list[_Piece], int]]":
        """Pieces of one pass and its rows; a piece that does not fit goes on in the next."""
        if self.mode == "fast":
            yield pieces, tokens
            return
        left = list(pieces)
        while left:
            size = room = self._size(sum(len(piece.ids) for piece in left), SIZES[-1])
            some = []
            while left and room:
                now, later = left[0].cut(room)
                some.append(now)
                room -= len(now.ids)
                left[:1] = [later] if later.ids else []
            yield some, size

    def _size(self, tokens: int, most: int) -> int:
        """The rows of the next pass, where so many tokens are left."""
        if self._threads != torch.get_num_threads():  # products are cut another way
            self._threads, self._base, self._agree = torch.get_num_threads(), None, {}
        if self._base is None:
            self._base = next((size for size in SIZES if size <= _SMALL and self._free_of_place(size)), 1)
        best = self._base
        for size in SIZES if self._base > 1 else ():
            # A larger one is worth it where it costs no more than the smaller one again, or is well filled.
            worth = best < tokens and size <= min(most, max(_SMALL, tokens * 4 // 3))
            if size > self._base and worth and self._agrees(size):
                best = size
        return best

    def _free_of_place(self, size: int) -> bool:
        """Whether the rows of so small a pass can change places: so it is tried, and what they give is noted."""
        if not self._unbroken(size):
            return False
        found, rolled = self._trial(size, 0), self._trial(size, 1)
        self._expected = found[:_TRIED]
        return torch.equal(found, rolled.roll(-1, 0))

    def _agrees(self, size: int) -> bool:
        """Whether every row of a larger pass gives what it would give in the smallest."""
        if size not in self._agree:
            self._agree[size] = False
            if self._unbroken(size):
                found = self._trial(size, 0)
                expected = self._expected[:, : found.shape[1]].repeat(size // _TRIED, 1)
                self._agree[size] = torch.equal(found, expected)
        return self._agree[size]

    def _trial(self, size: int, rolled: int) -> Tensor:
        """What a pass of so many rows gives for texts of one token each; a few tokens come again and again."""
        ids = (torch.arange(size) - rolled) % size % _TRIED * 7919 % self.config.vocab_size
        hidden = self.model.hidden(ids[:, None], _Alone(size))[:, 0]
        return torch.cat((hidden, self.model.logits(hidden)), 1) if size <= MOST_READ_OUT else hidden

    def _unbroken(self, size: int) -> bool:
        """Whether the bend of such a pass is computed side by side, no element of it alone: only there the bits differ."""
        elements = size * self.config.d_ff
        threads = min(self._threads, -(-elements // _TO_OTHERS))
        return -(-elements // threads) % _SIDE_BY_SIDE == 0


@dataclass(frozen=True, slots=True)
class _Piece:
    """Neighbouring tokens of one sequence."""

    tracks: SequenceKVCache
    first: int
    ids: list[int]

    def cut(self, tokens: int) -> "tuple[_Piece, _Piece]":
        return (
            _Piece(self.tracks, self.first, self.ids[:tokens]),
            _Piece(self.tracks, self.first + tokens, self.ids[tokens:]),
        )


class _Packed:
    """What a pass over pieces of several sequences asks of a cache: to the model, every token is a row of one track.

    Args:
        pieces: in the order of the rows.
        size: rows, those that only fill up included.
    """

    def __init__(self, pieces: list[_Piece], size: int, *, fixed: bool) -> None:
        self.pieces = pieces
        self.fixed = fixed
        self.lengths = [track for piece in pieces for track in range(piece.first, piece.first + len(piece.ids))]
        self.lengths += [0] * (size - len(self.lengths))

    def attend(self, block: int, q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None = None) -> Tensor:
        """(N, H, 1, D) of the new tokens -> (N, H, 1, D)."""
        keys, values = k.flatten(1), v.flatten(1)  # (N, C)
        out = torch.zeros_like(q)
        first = 0
        for piece in self.pieces:
            end = first + len(piece.ids)
            piece.tracks.put(block, piece.first, keys[first:end], values[first:end], compressor, fixed=self.fixed)
            # (T, H, 1, D) -> (H, T, D), and back
            found = piece.tracks.attend(block, piece.first, q[first:end].transpose(0, 2)[0], fixed=self.fixed)
            out[first:end] = found.transpose(0, 1)[:, :, None]
            first = end
        return out

    def advance(self, tokens: int) -> None:
        """Nothing to note: the tracks stand in the segments."""


class _Alone:
    """The cache of texts of one token: each sees itself alone, so attention gives its value."""

    def __init__(self, size: int) -> None:
        self.lengths = [0] * size

    def attend(self, block: int, q: Tensor, k: Tensor, v: Tensor, compressor: Compressor | None = None) -> Tensor:
        """The values."""
        return v

    def advance(self, tokens: int) -> None:
        """Nothing is kept."""


class _AsOneSequence:
    """Shows a tap the rows of a pass as the tracks of one sequence."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap

    def stream(self, level: int, x: Tensor) -> None:
        """(N, 1, C) -> (1, N, C)."""
        self._tap.stream(level, x.transpose(0, 1))

    def attention(self, block: int, q: Tensor, k: Tensor) -> None:
        """(N, H, 1, D) -> (1, H, N, D)."""
        self._tap.attention(block, q.permute(2, 1, 0, 3), k.permute(2, 1, 0, 3))


def _numbers(logits: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = logits.float().cpu().numpy()
    return found
