"""A `Runner` on the C kernel: exact by construction (`kernel.h` says why), without PyTorch.

D head width, L blocks, H heads, V vocabulary.
"""

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.runtime.kernel import library
from pellucid.runtime.kernel.library import PANEL, SequenceBuffers
from pellucid.runtime.kernel.packed import Array, PackedWeights, unsupported
from pellucid.runtime.runner import Mode, TokenSpan


CACHES = ("float32", "float16")
AT_ONCE = 512  # tokens of a pass: more would only take more scratch memory


def unavailable_reason(config: GPTConfig) -> str | None:
    """Why there is no kernel for a model of this shape, in a line; None: there is (built now, if it was not)."""
    if why := unsupported(config):
        return f"it does not know {why}"
    return library.unavailable_reason()


def pack(model: Any, weights: str | None = None) -> PackedWeights:
    """A live decoder's weights as they are now.

    Args:
        model: a `gpt.decoder.Decoder` on the CPU, of float32, float16 or bfloat16 numbers.
        weights: what the matrices are held as; None: bfloat16 if the model's are, else float32.
    """
    if weights is None:
        weights = "bfloat16" if str(model.wte.weight.dtype) == "torch.bfloat16" else "float32"
    return PackedWeights(model.config, arrays_of(model), weights=weights)


def arrays_of(model: Any) -> dict[str, Array]:
    """Its parameters as arrays, not copied: bfloat16 as its bits."""
    found = {}
    for name, parameter in model.named_parameters():
        values = parameter.detach()
        if str(values.dtype) == "torch.bfloat16":
            import torch

            values = values.view(torch.uint16)
        found[name] = values.numpy()
    return found


class KernelRunner:
    """Reads tokens; see `Runner`.

    Args:
        packed: the weights.
        cache: what keys and values are kept as, "float32" or "float16"; None: as the weights, float16 for those of 16 bits and
            fewer. Sums are float32 either way.

    Raises:
        PellucidError: an unknown cache.
    """

    mode: Mode = "exact"  # whatever was asked for

    def __init__(self, packed: PackedWeights, *, cache: str | None = None) -> None:
        usual = "float32" if packed.weights == "float32" else "float16"
        if cache not in (None, *CACHES):
            raise PellucidError(f"unknown cache {cache!r}: use {' or '.join(CACHES)}")
        self.packed = packed
        self.config = packed.config
        self.cache = cache or usual
        self.path = packed.path if self.cache == usual else f"{packed.path}, {self.cache} cache"
        self._sequences: dict[int, tuple[SequenceBuffers, Array, Array]] = {}
        self._next = 0

    def sequence_bytes(self, capacity: int) -> int:
        """Bytes of keys and values of all blocks and tracks: a sequence can be taken back to any track."""
        return sum(math.prod(shape) for shape in self._shapes(capacity)) * self._number.itemsize

    @property
    def _number(self) -> np.dtype[Any]:
        return np.dtype(np.float32 if self.cache == "float32" else np.uint16)  # float16's bits

    def _shapes(self, capacity: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of keys and of values (`struct sequence_buffers`)."""
        of_all, panels, d = (self.config.n_layers, self.config.n_heads), _panels(capacity), self.config.d_head
        rows = d if self.cache == "float32" else d + 2
        return (*of_all, panels, rows, PANEL), (*of_all, panels * PANEL, _panels(d) * PANEL)

    def open(self, capacity: int) -> int:
        """A new sequence of up to `capacity` tracks."""
        assert 0 < capacity <= self.config.n_ctx, f"{capacity} tracks, of {self.config.n_ctx}"
        keys, values = (np.empty(shape, self._number) for shape in self._shapes(capacity))
        number, self._next = self._next, self._next + 1
        kept = SequenceBuffers(keys.ctypes.data, values.ctypes.data, values.shape[2], self.cache == "float16")
        self._sequences[number] = kept, keys, values
        return number

    def close(self, sequence: int) -> None:
        """Forgets it."""
        del self._sequences[sequence]

    def copy(self, source: int, target: int, tracks: int) -> None:
        """The first `tracks` tracks, rounded up to whole panels: what is beyond is not read before it is written again."""
        (_, keys, values), (_, new_keys, new_values) = self._sequences[source], self._sequences[target]
        panels = _panels(tracks)
        assert panels <= min(keys.shape[2], new_keys.shape[2])
        new_keys[:, :, :panels] = keys[:, :, :panels]
        new_values[:, :, :tracks] = values[:, :, :tracks]

    def run(self, segments: Sequence[TokenSpan]) -> list[NDArray[np.float32] | None]:
        """Reads all segments in as few passes as their number of tokens allows; see `Runner.run`."""
        found: list[list[NDArray[np.float32]]] = [[] for _ in segments]
        now: list[tuple[int, int, int]] = []  # (segment, from, to) of its ids
        room = AT_ONCE
        for index, segment in enumerate(segments):
            start = 0
            while start < len(segment.ids):
                end = min(len(segment.ids), start + room)
                now.append((index, start, end))
                room -= end - start
                start = end
                if not room:
                    self._pass(segments, now, found)
                    now, room = [], AT_ONCE
        if now:
            self._pass(segments, now, found)
        answers: list[NDArray[np.float32] | None] = []
        for segment, rows in zip(segments, found, strict=True):
            if segment.wanted == "none":
                answers.append(None)
            else:
                answers.append(rows[-1][-1] if segment.wanted == "last" else np.concatenate(rows))
        return answers

    def _pass(
        self, segments: Sequence[TokenSpan], parts: list[tuple[int, int, int]], found: list[list[NDArray[np.float32]]]
    ) -> None:
        ids: list[int] = []
        wanted: list[int] = []
        of: list[tuple[int, int]] = []  # (segment, rows of its logits)
        listed = (library.TokenSpan * len(parts))()
        for place, (index, start, end) in enumerate(parts):
            segment = segments[index]
            kept = self._sequences[segment.sequence][0]
            first, count = segment.first + start, end - start
            assert first + count <= min(kept.capacity, self.config.n_ctx), "the sequence is full"
            listed[place] = library.TokenSpan(ctypes.pointer(kept), first, count)
            ids += segment.ids[start:end]
            rows = count if segment.wanted == "all" else int(segment.wanted == "last" and end == len(segment.ids))
            wanted += range(len(ids) - rows, len(ids))
            of.append((index, rows))
        assert all(0 <= token < self.config.vocab_size for token in ids)
        numbers, places = np.array(ids, np.int32), np.array(wanted, np.int64)
        logits = np.empty((len(wanted), self.config.vocab_size), np.float32)
        failed = self.packed.library.pellucid_forward(  # one at a time: other threads wait in there
            self.packed.model, listed, len(parts), numbers.ctypes.data, places.ctypes.data, len(wanted), logits.ctypes.data
        )
        if failed:
            raise MemoryError(f"no memory to read {len(ids)} tokens at once")
        start = 0
        for index, rows in of:
            if rows:
                found[index].append(logits[start : start + rows])
            start += rows


def _panels(numbers: int) -> int:
    """That hold so many."""
    return -(-numbers // PANEL)
