"""Packing a model's weights into the kernel's layout: every matrix in panels of sixteen columns.

C width, F feed-forward width, H heads, L blocks, V vocabulary. K columns in and N columns out of a matrix.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.pattern import Banded, Dense
from pellucid.gpt.quantize import GROUP, QuantizedMatrix, quantize, quantized_from_file
from pellucid.resources import available_cpus
from pellucid.runtime.kernel import library
from pellucid.runtime.kernel.library import (
    BFLOAT16,
    FLOAT32,
    INT4,
    INT8,
    PANEL,
    KernelBlock,
    KernelMatrix,
    KernelModel,
    KernelNorm,
)
from pellucid.runtime.runner import ONE_THREAD


Array = NDArray[Any]
WEIGHTS = {"float32": FLOAT32, "bfloat16": BFLOAT16, "int8": INT8, "int4": INT4}
QUANTIZED = ("int8", "int4")
BLOCK_BYTES = {"int8": 544, "int4": 288}  # bytes of a panel's group
ACTIVATIONS = ("gelu_tanh", "gelu_erf", "relu")  # enum activation
CODES = {"float32": "f", "uint16": "b", "float16": "h", "int8": "i"}  # of what is packed


def unsupported(config: GPTConfig) -> str | None:
    """What the kernel does not support of a model of this shape, in a few words; None if it supports all of it."""
    others = sorted({str(p) for p in config.pattern if not isinstance(p, Dense | Banded)})
    if others:
        return f"attention by {others[0]}"
    if config.norm != "pre":
        return "LayerNorm after each branch"
    if config.d_embed != config.d_model:
        return "embeddings narrower than the stream"
    return None


class PackedWeights:
    """The weights of one model; any number of runners may read them at once.

    Args:
        config: a shape for which `unsupported` is None.
        tensors: by our names ("h.0.attn.c_attn.weight"), matrices as (out, in), any strides; float32, float16, bfloat16 as
            uint16 numbers, or with a `.scale` beside it int8 by row (float32) or as it is stored in groups (float16, see
            `gpt.directory`). Each is asked for once, and copied.
        weights: the number format of the matrices: "float32", "bfloat16", or in groups (`gpt.quantize`) "int8" or "int4"; with
            these two, activations are rounded to int8, too (`matmul_quantized.c`). All else is float32.
        threads: None: one for each CPU that this process may use, a single one for a small model.
        plain: for the kernel compiled without vector instructions.

    Raises:
        Unavailable: the kernel cannot be built or loaded.
        PellucidError: a shape or number format that the kernel does not support.
    """

    def __init__(
        self, config: GPTConfig, tensors: Mapping[str, Array], *, weights: str = "float32", threads: int | None = None,
        plain: bool = False,
    ) -> None:  # fmt: skip
        if reason := unsupported(config):
            raise PellucidError(f"the kernel does not support {reason}: leave it out (--kernel off)")
        if weights not in WEIGHTS:
            raise PellucidError(f"unknown weights {weights!r}: choose from {', '.join(WEIGHTS)}")
        self.config = config
        self.weights = weights
        self.library = library.kernel(plain=plain)
        self._buffers: list[Array] = []  # arrays that the structures point into
        if threads is None:
            threads = 1 if config.parameters() < ONE_THREAD else available_cpus()
        self.model = self._fill(tensors, threads)

    @property
    def path(self) -> str:
        """The implementation, for measurements: "kernel AVX2 int8"."""
        return f"kernel {self.library.pellucid_variant().decode()} {self.weights}"

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weights."""
        return sum(array.nbytes for array in self._buffers)

    def _fill(self, tensors: Mapping[str, Array], threads: int) -> KernelModel:
        config = self.config
        tokens = self._matrix(tensors, "wte", bias=False)  # the largest first, while little else is allocated beside it
        blocks = (KernelBlock * config.n_layers)()
        for block, pattern in enumerate(config.pattern):
            name = f"h.{block}."
            band = pattern.width if isinstance(pattern, Banded) else 0
            blocks[block] = KernelBlock(
                self._norm(tensors, name + "ln_1"), self._norm(tensors, name + "ln_2"),
                self._matrix(tensors, name + "attn.c_attn", bias=config.qkv_bias), self._matrix(tensors, name + "attn.c_proj"),
                self._matrix(tensors, name + "mlp.c_fc"), self._matrix(tensors, name + "mlp.c_proj"), band,
            )  # fmt: skip
        return KernelModel(
            config.d_model, config.n_heads, config.n_layers, config.vocab_size, ACTIVATIONS.index(config.activation), threads,
            config.norm_eps, 1 / math.sqrt(config.d_head) if config.attention_scale else 1.0,
            tokens, self._vector(tensors["wpe.weight"]),
            self._norm(tensors, "ln_f") if config.final_norm else KernelNorm(None, None), blocks,
        )  # fmt: skip

    def _norm(self, tensors: Mapping[str, Array], name: str) -> KernelNorm:
        return KernelNorm(self._vector(tensors[name + ".weight"]), self._vector(tensors[name + ".bias"]))

    def _vector(self, values: Array, *, fill: int = 1) -> int:
        """The address of a float32 copy, padded with zeros to a multiple of `fill`."""
        numbers = _to_float32(values)
        padded = np.zeros(-(-numbers.size // fill) * fill, np.float32)
        padded[: numbers.size] = numbers.reshape(-1)
        return self._add_buffer(padded)

    def _add_buffer(self, values: Array) -> int:
        self._buffers.append(values)
        return int(values.ctypes.data)

    def _matrix(self, tensors: Mapping[str, Array], name: str, *, bias: bool = True) -> KernelMatrix:
        """(out, in) weights packed into panels."""
        weight = tensors[name + ".weight"]
        bias_address = self._vector(tensors[name + ".bias"], fill=PANEL) if bias else None
        scale = tensors[name + ".weight.scale"] if weight.dtype in (np.int8, np.uint8) else None
        quantized = None
        if scale is not None and scale.dtype == np.float16:
            # Group scales do not tell the length of a row without padding: the config does.
            k = self.config.d_ff if name.endswith("mlp.c_proj") else self.config.d_model
            quantized = quantized_from_file(weight, scale, (len(weight), k))
        if self.weights in QUANTIZED:
            if quantized is None or quantized.kind != self.weights:
                quantized = quantize(_to_float32(weight, scale) if quantized is None else quantized.dequantize(), self.weights)
            return self._groups(quantized, bias_address)
        if quantized is not None:
            weight, scale = quantized.dequantize(), None
        n, k = weight.shape
        kind = WEIGHTS[self.weights]
        panels = -(-n // PANEL)
        single = kind == FLOAT32  # bfloat16 lies in pairs along k
        packed = np.empty((panels, k if single else k + k % 2, PANEL), np.float32 if single else np.uint16)
        if scale is not None:
            scale = scale.astype(np.float32).reshape(-1)
        row, column = (stride // weight.itemsize for stride in weight.strides)
        self.library.pellucid_pack(
            weight.ctypes.data, ord(CODES[weight.dtype.name]), n, k, row, column, None if scale is None else scale.ctypes.data,
            packed.ctypes.data, kind,
        )  # fmt: skip
        return KernelMatrix(kind, k, n, self._add_buffer(packed), bias_address)

    def _groups(self, groups: QuantizedMatrix, bias: int | None) -> KernelMatrix:
        rows, each = groups.scale.shape
        packed = np.empty((-(-rows // PANEL), each, BLOCK_BYTES[groups.kind]), np.uint8)
        codes, scale = np.ascontiguousarray(groups.codes), np.ascontiguousarray(groups.scale)
        assert codes.shape == (rows, each * GROUP)
        kind = WEIGHTS[groups.kind]
        self.library.pellucid_pack_groups(codes.ctypes.data, scale.ctypes.data, rows, each, packed.ctypes.data, kind)
        return KernelMatrix(kind, groups.columns, rows, self._add_buffer(packed), bias)


def _to_float32(values: Array, scale: Array | None = None) -> NDArray[np.float32]:
    if values.dtype == np.uint16:  # bfloat16's bits
        return (values.astype(np.uint32) << 16).view(np.float32)
    numbers: NDArray[np.float32] = values.astype(np.float32)
    return numbers if scale is None else numbers * scale.reshape(-1, 1)
