"""A `Runner` on the C kernel: exact by construction (`kernel.h` says why), without PyTorch.

C width, F feed-forward width, H heads, D head width, L blocks, V vocabulary. K columns in and N columns out of a matrix.
"""

import ctypes
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import PellucidError
from pellucid.generate.kernel import library
from pellucid.generate.kernel.library import BFLOAT16, FLOAT32, PANEL, Block, Kept, Matrix, Model, Norm
from pellucid.generate.runner import Mode, Segment
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import Banded, Dense


Array = NDArray[Any]
WEIGHTS = {"float32": FLOAT32, "bfloat16": BFLOAT16}
ACTIVATIONS = ("gelu_tanh", "gelu_erf", "relu")  # enum activation
# One token's products with fewer parameters are too small to share (docs/log.md).
SMALL = 20_000_000
AT_ONCE = 512  # tokens of a pass: more would only take more scratch memory


def unsupported(config: GPTConfig) -> str | None:
    """What of this shape the kernel does not know, in a few words; None: nothing."""
    others = sorted({str(p) for p in config.pattern if not isinstance(p, Dense | Banded)})
    if others:
        return f"attention by {others[0]}"
    if config.norm != "pre":
        return "LayerNorm after each branch"
    if config.d_embed != config.d_model:
        return "embeddings narrower than the stream"
    return None


class KernelRunner:
    """Reads tokens; see `Runner`.

    Args:
        config: a shape for which `unsupported` is None.
        tensors: by our names ("h.0.attn.c_attn.weight"), matrices as (out, in), any strides; float32, float16, int8 with a
            `.scale` beside it, or bfloat16 as uint16 numbers. Each is asked for once and not kept, but for positions.
        weights: what the matrices are held as: "float32" or "bfloat16". All else is float32.
        threads: None: one for each core, one only for a small model.
        plain: the variant without vector instructions.

    Raises:
        Unavailable: there is no kernel here.
        PellucidError: a shape or kind of weights that it does not know.
    """

    mode: Mode = "exact"

    def __init__(
        self, config: GPTConfig, tensors: Mapping[str, Array], *, weights: str = "float32", threads: int | None = None,
        plain: bool = False,
    ) -> None:  # fmt: skip
        if why := unsupported(config):
            raise PellucidError(f"the kernel does not know {why}: leave it out (--kernel off)")
        if weights not in WEIGHTS:
            raise PellucidError(f"unknown weights {weights!r}: choose from {', '.join(WEIGHTS)}")
        self.config = config
        self.weights = weights
        self._library = library.kernel(plain=plain)
        self.path = f"kernel {self._library.pellucid_variant().decode()} {weights}"
        self._held: list[Array] = []  # what the structures point into
        self._sequences: dict[int, tuple[Kept, Array, Array]] = {}
        self._next = 0
        if threads is None:
            threads = 1 if config.parameters() < SMALL else os.cpu_count() or 1
        self._model = self._fill(tensors, threads)

    def sequence_bytes(self, capacity: int) -> int:
        """Bytes of keys and values, in float32, of all blocks and tracks: a sequence can be taken back to any track."""
        return 4 * capacity_filled(capacity) * self._per_track

    @property
    def _per_track(self) -> int:
        d = self.config.d_head
        return self.config.n_layers * self.config.n_heads * (d + capacity_filled(d))

    def open(self, capacity: int) -> int:
        """A new sequence of up to `capacity` tracks."""
        assert 0 < capacity <= self.config.n_ctx, f"{capacity} tracks, of {self.config.n_ctx}"
        shape = (self.config.n_layers, self.config.n_heads, capacity_filled(capacity))
        keys = np.empty((*shape, self.config.d_head), np.float32)
        values = np.empty((*shape, capacity_filled(self.config.d_head)), np.float32)
        number, self._next = self._next, self._next + 1
        self._sequences[number] = Kept(keys.ctypes.data, values.ctypes.data, shape[2]), keys, values
        return number

    def close(self, sequence: int) -> None:
        """Forgets it."""
        del self._sequences[sequence]

    def copy(self, source: int, target: int, tracks: int) -> None:
        """The first `tracks` tracks, rounded up to whole panels: what is beyond is not read before it is written again."""
        (_, keys, values), (_, new_keys, new_values) = self._sequences[source], self._sequences[target]
        filled = capacity_filled(tracks)
        assert filled <= min(keys.shape[2], new_keys.shape[2])
        new_keys[:, :, :filled] = keys[:, :, :filled]  # panels of 16 tracks follow one another
        new_values[:, :, :tracks] = values[:, :, :tracks]

    def run(self, segments: Sequence[Segment]) -> list[NDArray[np.float32] | None]:
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
        self, segments: Sequence[Segment], parts: list[tuple[int, int, int]], found: list[list[NDArray[np.float32]]]
    ) -> None:
        ids: list[int] = []
        wanted: list[int] = []
        of: list[tuple[int, int]] = []  # (segment, rows of its logits)
        listed = (library.Segment * len(parts))()
        for place, (index, start, end) in enumerate(parts):
            segment = segments[index]
            kept = self._sequences[segment.sequence][0]
            first, count = segment.first + start, end - start
            assert first + count <= min(kept.tracks, self.config.n_ctx), "the sequence is full"
            listed[place] = library.Segment(ctypes.pointer(kept), first, count)
            ids += segment.ids[start:end]
            rows = count if segment.wanted == "all" else int(segment.wanted == "last" and end == len(segment.ids))
            wanted += range(len(ids) - rows, len(ids))
            of.append((index, rows))
        assert all(0 <= token < self.config.vocab_size for token in ids)
        numbers, places = np.array(ids, np.int32), np.array(wanted, np.int64)
        logits = np.empty((len(wanted), self.config.vocab_size), np.float32)
        failed = self._library.pellucid_pass(
            self._model, listed, len(parts), numbers.ctypes.data, places.ctypes.data, len(wanted), logits.ctypes.data
        )
        if failed:
            raise MemoryError(f"no memory to read {len(ids)} tokens at once")
        start = 0
        for index, rows in of:
            if rows:
                found[index].append(logits[start : start + rows])
            start += rows

    def _fill(self, tensors: Mapping[str, Array], threads: int) -> Model:
        config = self.config
        blocks = (Block * config.n_layers)()
        for l, pattern in enumerate(config.pattern):
            name = f"h.{l}."
            band = pattern.width if isinstance(pattern, Banded) else 0
            blocks[l] = Block(
                self._norm(tensors, name + "ln_1"), self._norm(tensors, name + "ln_2"),
                self._matrix(tensors, name + "attn.c_attn", bias=config.qkv_bias), self._matrix(tensors, name + "attn.c_proj"),
                self._matrix(tensors, name + "mlp.c_fc"), self._matrix(tensors, name + "mlp.c_proj"), band,
            )  # fmt: skip
        return Model(
            config.d_model, config.n_heads, config.n_layers, config.vocab_size, ACTIVATIONS.index(config.activation), threads,
            config.norm_eps, 1 / math.sqrt(config.d_head) if config.attention_scale else 1.0,
            self._matrix(tensors, "wte", bias=False), self._vector(tensors["wpe.weight"]),
            self._norm(tensors, "ln_f") if config.final_norm else Norm(None, None), blocks,
        )  # fmt: skip

    def _norm(self, tensors: Mapping[str, Array], name: str) -> Norm:
        return Norm(self._vector(tensors[name + ".weight"]), self._vector(tensors[name + ".bias"]))

    def _vector(self, values: Array, *, fill: int = 1) -> int:
        """Where a float32 copy lies, filled up with zeros to a multiple of `fill`."""
        wide = _widened(values)
        held = np.zeros(-(-wide.size // fill) * fill, np.float32)
        held[: wide.size] = wide.reshape(-1)
        return self._hold(held)

    def _hold(self, values: Array) -> int:
        self._held.append(values)
        return int(values.ctypes.data)

    def _matrix(self, tensors: Mapping[str, Array], name: str, *, bias: bool = True) -> Matrix:
        """(out, in) weights laid into panels."""
        weight = tensors[name + ".weight"]
        n, k = weight.shape
        kind = WEIGHTS[self.weights]
        packed = np.empty((-(-n // PANEL), k, PANEL), np.float32 if kind == FLOAT32 else np.uint16)
        scale = tensors[name + ".weight.scale"].astype(np.float32).reshape(-1) if weight.dtype == np.int8 else None
        row, column = (stride // weight.itemsize for stride in weight.strides)
        self._library.pellucid_pack(
            weight.ctypes.data, ord(_CODES[weight.dtype.name]), n, k, row, column, None if scale is None else scale.ctypes.data,
            packed.ctypes.data, kind,
        )  # fmt: skip
        added = self._vector(tensors[name + ".bias"], fill=PANEL) if bias else None
        return Matrix(kind, k, n, self._hold(packed), added)


_CODES = {"float32": "f", "uint16": "b", "float16": "h", "int8": "i"}


def capacity_filled(tracks: int) -> int:
    """Up to whole panels."""
    return -(-tracks // PANEL) * PANEL


def _widened(values: Array) -> NDArray[np.float32]:
    if values.dtype == np.uint16:  # bfloat16's bits
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def tensors_of(model: Any) -> dict[str, Array]:
    """A live decoder's parameters as arrays, not copied: bfloat16 as its bits.

    Args:
        model: a `gpt.decoder.Decoder` on the CPU, float32, float16 or bfloat16.
    """
    found = {}
    for name, parameter in model.named_parameters():
        values = parameter.detach()
        if str(values.dtype) == "torch.bfloat16":
            values = values.view(__import__("torch").uint16)
        found[name] = values.numpy()
    return found
