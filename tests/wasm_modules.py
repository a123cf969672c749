"""The kernel's WebAssembly modules in node, called from tests as a page calls them."""

import base64
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid
from pellucid.gpt.pattern import Banded
from pellucid.runtime.kernel.packed import ACTIVATIONS, WEIGHTS


FOLDER = Path(pellucid.__file__).parent / "assets" / "wasm"
VARIANTS = ("relaxed", "exact")
MATRICES = ("wte", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
VECTORS = ("wpe.weight", "ln_f.weight", "ln_f.bias", "ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias")
TAPS = ("stream", "qkv", "attended", "writes")
Array = NDArray[Any]

SERVE = """
const { readFileSync } = require("node:fs");
const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(process.argv[1])), {});
exports._initialize();
const answers = {
  call: ({ name, args }) => exports["pellucid_" + name](...args),
  put: ({ data }) => {
    const bytes = Buffer.from(data, "base64");
    const pointer = exports.pellucid_alloc(bytes.length);
    if (pointer) new Uint8Array(exports.memory.buffer).set(bytes, pointer);
    return pointer;
  },
  get: ({ pointer, bytes }) => Buffer.from(exports.memory.buffer.slice(pointer, pointer + bytes)).toString("base64"),
  size: () => exports.memory.buffer.byteLength,
};
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const request = JSON.parse(line);
  console.log(JSON.stringify(answers[request.do](request) ?? null));
});
"""


class Module:
    """One instance of a module, in a node process."""

    def __init__(self, variant: str, *flags: str) -> None:
        node = shutil.which("node")
        if node is None:
            pytest.skip("node is not installed")
        relaxed = ("--experimental-wasm-relaxed-simd",) if variant == "relaxed" else ()  # node 20; later ones have it on
        command = [node, *relaxed, *flags, "--eval", SERVE, str(FOLDER / f"{variant}.wasm")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    def ask(self, do: str, **request: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do} | request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def call(self, name: str, *args: float) -> Any:
        return self.ask("call", name=name, args=args)

    def put(self, values: Array) -> int:
        """A copy of an array in the module's memory."""
        pointer = self.ask("put", data=base64.b64encode(np.ascontiguousarray(values).tobytes()).decode())
        assert pointer
        return int(pointer)

    def get(self, pointer: int, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        bytes_ = base64.b64decode(self.ask("get", pointer=pointer, bytes=int(np.prod(shape)) * np.dtype(dtype).itemsize))
        return np.frombuffer(bytes_, dtype).reshape(shape)

    def pointers(self, *pointers: int) -> int:
        return self.put(np.array(pointers, np.int32))

    def room(self, shape: tuple[int, ...], dtype: Any = np.float32) -> int:
        pointer = self.call("alloc", int(np.prod(shape)) * np.dtype(dtype).itemsize)
        assert pointer
        return int(pointer)

    def free(self, *pointers: int) -> None:
        for pointer in pointers:
            self.call("free", pointer)

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Model:
    """A model in a module.

    Args:
        tensors: by our names, as `PackedWeights` takes them.
        weights: what is computed with.
    """

    def __init__(
        self, module: Module, config: pellucid.GPTConfig, tensors: Mapping[str, Array], weights: str = "float32"
    ) -> None:
        self.module, self.config = module, config
        scale = 1 / np.sqrt(config.d_head) if config.attention_scale else 1.0
        self.pointer = module.call(
            "model_new", config.d_model, config.n_heads, config.n_layers, config.vocab_size, config.n_ctx, config.d_ff,
            ACTIVATIONS.index(config.activation), WEIGHTS[weights], int(config.final_norm), config.norm_eps, float(scale),
        )  # fmt: skip
        assert self.pointer
        assert module.call("model_incomplete", self.pointer) == 2 + 2 * config.final_norm + 8 * config.n_layers
        for block in range(config.n_layers):
            pattern = config.pattern[block]
            if isinstance(pattern, Banded):
                assert module.call("set_band", self.pointer, block, pattern.width) == 0
            for part, name in enumerate(MATRICES[1:], 1):
                self._matrix(tensors, f"h.{block}.{name}", block, part)
            for part, name in enumerate(VECTORS[3:], 3):
                self._vector(tensors, f"h.{block}.{name}", block, part)
        self._matrix(tensors, "wte", 0, 0)
        for part, name in enumerate(VECTORS[:3] if config.final_norm else VECTORS[:1]):
            self._vector(tensors, name, 0, part)
        assert module.call("model_incomplete", self.pointer) == 0

    def _matrix(self, tensors: Mapping[str, Array], name: str, block: int, part: int) -> None:
        module, has_bias = self.module, part > 1 or (part == 1 and self.config.qkv_bias)
        kind, data, scale, strides = _stored(tensors, name + ".weight")
        places = [module.put(data), module.put(scale) if scale is not None else 0]
        places.append(module.put(tensors[name + ".bias"].astype(np.float32)) if has_bias else 0)
        error = module.call("set_matrix", self.pointer, block, part, places[0], ord(kind), *strides, *places[1:])
        assert error == 0
        module.free(*places)

    def _vector(self, tensors: Mapping[str, Array], name: str, block: int, part: int) -> None:
        kind, data, scale, _ = _stored(tensors, name)
        places = [self.module.put(data), self.module.put(scale) if scale is not None else 0]
        assert self.module.call("set_vector", self.pointer, block, part, places[0], ord(kind), places[1]) == 0
        self.module.free(*places)

    def open(self, capacity: int) -> int:
        sequence = self.module.call("sequence_new", self.pointer, capacity)
        assert sequence
        return int(sequence)

    def read(
        self, sequence: int, first: int, ids: Sequence[int], *, wanted: int | None = None, taps: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        """Logits of the last `wanted` ids (None: all), and everything that taps show."""
        c, blocks, count, module = self.config.d_model, self.config.n_layers, len(ids), self.module
        rows = count if wanted is None else wanted
        shapes = dict(zip(TAPS, ((blocks + 1, count, c), (blocks, count, 3 * c), (blocks, count, c), (blocks, 2, count, c)),
                          strict=True))  # fmt: skip
        places = {name: module.room(shape) for name, shape in shapes.items()} if taps else {}
        struct = module.pointers(*places.values()) if taps else 0
        tokens, logits = module.put(np.array(ids, np.int32)), module.room((rows, self.config.vocab_size))
        assert module.call("read", self.pointer, sequence, first, tokens, count, rows, logits, struct) == 0
        found = module.get(logits, (rows, self.config.vocab_size))
        shown = {name: module.get(place, shapes[name]) for name, place in places.items()}
        module.free(tokens, logits, *places.values(), *([struct] if struct else []))
        return found, shown

    def close(self) -> None:
        self.module.call("model_free", self.pointer)


def _stored(tensors: Mapping[str, Array], name: str) -> tuple[str, Array, Array | None, tuple[int, int]]:
    """The type, numbers, scales and (row, column) strides of a tensor as a file holds it."""
    weight = tensors[name]
    scale = tensors[name + ".scale"] if weight.dtype.itemsize == 1 else None
    grouped = scale is not None and scale.dtype == np.float16
    kind = {"float32": "f", "float16": "h", "uint16": "b", "int8": "q" if grouped else "i", "uint8": "n"}[weight.dtype.name]
    turned = weight.ndim == 2 and not weight.flags.c_contiguous  # stored as (in, out)
    strides = (1, len(weight)) if turned else (weight.shape[-1], 1)
    return kind, weight.T if turned else weight, scale, strides
