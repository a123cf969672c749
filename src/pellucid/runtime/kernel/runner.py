"""`KernelRunner`: a runner on the C kernel, exact by construction (`kernel.h` says why), without PyTorch.

T positions, C width, D head width, L blocks, H heads, V vocabulary.
"""

import ctypes
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import PellucidError
from pellucid.gpt.ablation import MeanOutputs, Replacements, mean_over_positions
from pellucid.gpt.config import GPTConfig
from pellucid.runtime.kernel import library
from pellucid.runtime.kernel.library import PANEL, SequenceBuffers
from pellucid.runtime.kernel.packed import Array, PackedWeights, unsupported
from pellucid.runtime.runner import Mode, TokenSpan


CACHES = ("float32", "float16")
PASS_TOKENS = 512  # tokens of a pass: more would only take more scratch memory


def unavailable_reason(config: GPTConfig) -> str | None:
    """The reason why the kernel cannot compute a model of this shape, in one line; None if it can (built now if necessary)."""
    if reason := unsupported(config):
        return f"it does not support {reason}"
    return library.unavailable_reason()


def pack(model: Any, weights: str | None = None) -> PackedWeights:
    """Packs a decoder's present weights.

    Args:
        model: a `gpt.decoder.Decoder` on the CPU, of float32, float16 or bfloat16 token_ids.
        weights: the number format of the packed matrices; None: bfloat16 if the model's are, else float32.
    """
    if weights is None:
        weights = "bfloat16" if str(model.wte.weight.dtype) == "torch.bfloat16" else "float32"
    return PackedWeights(model.config, arrays_of(model), weights=weights)


def arrays_of(model: Any) -> dict[str, Array]:
    """A model's parameters as arrays, not copied; bfloat16 as uint16 bits."""
    outputs = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):  # a module may stand in two places
        values = parameter.detach()
        if str(values.dtype) == "torch.bfloat16":
            import torch

            values = values.view(torch.uint16)
        outputs[name] = values.numpy()
    return outputs


@dataclass(frozen=True, kw_only=True, slots=True)
class PassActivations:
    """What a pass computes for T tokens on the way to their logits (`struct taps`), float32.

    Attributes:
        stream: (L + 1, T, C) the input of each block, and the output of the last.
        qkv: (L, T, 3, H, D) queries, keys and values.
        attended: (L, T, C) the heads' outputs side by side, before attn.c_proj.
        writes: (L, 2, T, C) what attention, then MLP, add to the stream.
    """

    stream: NDArray[np.float32]
    qkv: NDArray[np.float32]
    attended: NDArray[np.float32]
    writes: NDArray[np.float32]


class KernelRunner:
    """A runner on the C kernel; see `runtime.runner.Runner`.

    Args:
        packed: the weights.
        cache: the number format of cached keys and values, "float32" or "float16"; None: float32 for float32 weights, else
            float16. Sums are float32 in both.

    Raises:
        PellucidError: an unknown cache.
    """

    mode: Mode = "exact"  # in any case
    cached = True

    def __init__(self, packed: PackedWeights, *, cache: str | None = None) -> None:
        default_cache = "float32" if packed.weights == "float32" else "float16"
        if cache not in (None, *CACHES):
            raise PellucidError(f"unknown cache {cache!r}: use {' or '.join(CACHES)}")
        self.packed = packed
        self.config = packed.config
        self.cache = cache or default_cache
        self.path = packed.path if self.cache == default_cache else f"{packed.path}, {self.cache} cache"
        self._sequences: dict[int, tuple[SequenceBuffers, Array, Array]] = {}
        self._ablations: dict[int, tuple[library.KernelAblation, list[Array]]] = {}  # with the arrays that it points into
        self._numbers = itertools.count()  # whose next number is taken at once: two threads never get the same

    def sequence_bytes(self, capacity: int) -> int:
        """Bytes of keys and values of all blocks and positions, whatever the band: a sequence can go back to any position."""
        return sum(math.prod(shape) for shape in self._shapes(capacity)) * self._dtype.itemsize

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32 if self.cache == "float32" else np.uint16)  # float16's bits

    def _shapes(self, capacity: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of keys and of values (`struct sequence_buffers`)."""
        of_all, panels, d = (self.config.n_layers, self.config.n_heads), _panels(capacity), self.config.d_head
        rows = d if self.cache == "float32" else d + 2
        return (*of_all, panels, rows, PANEL), (*of_all, panels * PANEL, _panels(d) * PANEL)

    def open(self, capacity: int) -> int:
        """A new, empty sequence of up to `capacity` positions; its number."""
        assert 0 < capacity <= self.config.n_ctx, f"{capacity} positions, of {self.config.n_ctx}"
        keys, values = (np.empty(shape, self._dtype) for shape in self._shapes(capacity))
        number = next(self._numbers)
        buffers = SequenceBuffers(keys.ctypes.data, values.ctypes.data, values.shape[2], self.cache == "float16")
        self._sequences[number] = buffers, keys, values
        return number

    def close(self, sequence: int) -> None:
        """Frees a sequence."""
        del self._sequences[sequence]
        self._ablations.pop(sequence, None)

    def ablate(self, sequence: int, what: Replacements) -> None:
        """See `runtime.runner.AblatingRunner`."""
        means = what.means
        values = (None, None, None) if means is None else (means.heads, means.attention, means.mlp)
        masks = [np.ascontiguousarray(mask, np.uint8) for mask in (what.heads, what.attention, what.mlp)]
        rows = [None if one is None else np.ascontiguousarray(one, np.float32) for one in values]
        kept: list[Array] = [*masks, *(row for row in rows if row is not None)]
        addresses = [None if one is None else one.ctypes.data for one in (*masks, *rows)]
        self._ablations[sequence] = library.KernelAblation(*addresses), kept

    def mean_outputs(self, ids: Sequence[int]) -> MeanOutputs:
        """See `runtime.runner.AblatingRunner`."""
        sequence = self.open(len(ids))
        try:
            shown = self.activations(sequence, 0, ids)
        finally:
            self.close(sequence)
        heads, attention, mlp = map(mean_over_positions, (shown.attended, shown.writes[:, 0], shown.writes[:, 1]))
        return MeanOutputs(heads=heads, attention=attention, mlp=mlp)

    def copy(self, source: int, target: int, positions: int) -> None:
        """Makes the first `positions` positions of `target` those of `source`; keys are copied in whole panels."""
        (_, keys, values), (_, new_keys, new_values) = self._sequences[source], self._sequences[target]
        panels = _panels(positions)
        assert panels <= min(keys.shape[2], new_keys.shape[2])
        new_keys[:, :, :panels] = keys[:, :, :panels]
        new_values[:, :, :positions] = values[:, :, :positions]

    def run(self, spans: Sequence[TokenSpan]) -> list[NDArray[np.float32] | None]:
        """Reads all spans in as few passes as their number of tokens allows; see `Runner.run`."""
        outputs: list[list[NDArray[np.float32]]] = [[] for _ in spans]
        parts: list[tuple[int, int, int]] = []  # of the next pass: (index of a span, first and last + 1 of its ids)
        room = PASS_TOKENS
        for index, span in enumerate(spans):
            start = 0
            while start < len(span.ids):
                end = min(len(span.ids), start + room)
                parts.append((index, start, end))
                room -= end - start
                start = end
                if not room:
                    self._pass(spans, parts, outputs)
                    parts, room = [], PASS_TOKENS
        if parts:
            self._pass(spans, parts, outputs)
        results: list[NDArray[np.float32] | None] = []
        for span, rows in zip(spans, outputs, strict=True):
            if span.wanted == "none":
                results.append(None)
            else:
                results.append(rows[-1][-1] if span.wanted == "last" else np.concatenate(rows))
        return results

    def activations(self, sequence: int, first: int, ids: Sequence[int]) -> PassActivations:
        """Reads tokens as `run` does, to the same keys and values, and keeps what is computed on the way.

        Args:
            sequence, first, ids: as in `TokenSpan`.
        """
        config, passes = self.config, []
        for start in range(0, len(ids), PASS_TOKENS):
            part = TokenSpan(sequence, first + start, ids[start : start + PASS_TOKENS], "none")
            blocks, t, c = config.n_layers, len(part.ids), config.d_model
            shapes = (blocks + 1, t, c), (blocks, t, 3, config.n_heads, config.d_head), (blocks, t, c), (blocks, 2, t, c)
            arrays = [np.empty(shape, np.float32) for shape in shapes]
            self._pass([part], [(0, 0, t)], [[]], library.KernelTaps(*(array.ctypes.data for array in arrays)))
            passes.append(arrays)
        joined = zip(zip(*passes, strict=True), (1, 1, 1, 2), strict=True)
        stream, qkv, attended, writes = (np.concatenate(each, axis) for each, axis in joined)
        return PassActivations(stream=stream, qkv=qkv, attended=attended, writes=writes)

    def _ablation(self, sequence: int) -> Any:
        """A pointer, None where there is none."""
        return ctypes.pointer(self._ablations[sequence][0]) if sequence in self._ablations else None

    def _pass(
        self, spans: Sequence[TokenSpan], parts: list[tuple[int, int, int]], outputs: list[list[NDArray[np.float32]]],
        taps: library.KernelTaps | None = None,
    ) -> None:  # fmt: skip
        ids: list[int] = []
        wanted: list[int] = []
        logit_rows: list[tuple[int, int]] = []  # (index of a span, number of its logits)
        token_spans = (library.KernelTokenSpan * len(parts))()
        for place, (index, start, end) in enumerate(parts):
            span = spans[index]
            buffers = self._sequences[span.sequence][0]
            first, count = span.first + start, end - start
            assert first + count <= min(buffers.capacity, self.config.n_ctx), "the sequence is full"
            token_spans[place] = library.KernelTokenSpan(ctypes.pointer(buffers), self._ablation(span.sequence), first, count)
            ids += span.ids[start:end]
            rows = count if span.wanted == "all" else int(span.wanted == "last" and end == len(span.ids))
            wanted += range(len(ids) - rows, len(ids))
            logit_rows.append((index, rows))
        assert all(0 <= token < self.config.vocab_size for token in ids)
        token_ids, wanted_rows = np.array(ids, np.int32), np.array(wanted, np.int64)
        logits = np.empty((len(wanted), self.config.vocab_size), np.float32)
        failed = self.packed.library.pellucid_forward(  # one at a time: other threads wait in there
            self.packed.model, token_spans, len(parts), token_ids.ctypes.data, wanted_rows.ctypes.data, len(wanted),
            logits.ctypes.data, taps,
        )  # fmt: skip
        if failed:
            raise MemoryError(f"no memory to read {len(ids)} tokens at once")
        start = 0
        for index, rows in logit_rows:
            if rows:
                outputs[index].append(logits[start : start + rows])
            start += rows


def _panels(numbers: int) -> int:
    """The number of panels of that many numbers."""
    return -(-numbers // PANEL)
