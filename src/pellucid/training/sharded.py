"""Sharded checkpoints: what several processes write, read back whole, without a process group.

Beside `config.json`, the tokenizer and `state.json` the folder of such a checkpoint holds `shard-00000.safetensors`, ..., a
file of each rank that wrote something, and `shards.json`: for every tensor its dtype, its shape and its chunks, each with its
offset and shape in the tensor and its file and name there. `model.NAME` is a parameter, `optimizer.NAME.KEY` a part of its
optimizer state; rows of `c_attn` are head by head (`by_head`), in files of one process queries, keys, values. The chunks say
nothing of a mesh, so a run goes on with another.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.files import write_whole
from pellucid.strict_json import Fields, read_json
from pellucid.training.by_head import to_plain


SHARDS_FILE = "shards.json"
MODEL, OPTIMIZER = "model.", "optimizer."
MAX_INDEX_BYTES = 1 << 30  # a million chunks take some 200 MB
VERSION = 1
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "int64": torch.int64}


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A part of a tensor: where it begins in it, its shape, and the file and the name under which it is stored."""

    offset: tuple[int, ...]
    shape: tuple[int, ...]
    file: str
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharded:
    """A tensor in chunks."""

    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[Chunk, ...]


def is_sharded(checkpoint: Path) -> bool:
    """Whether several processes wrote a checkpoint."""
    return (checkpoint / SHARDS_FILE).is_file()


def shard_file(rank: int) -> str:
    """The name of a rank's file."""
    return f"shard-{rank:05d}.safetensors"


def write_index(folder: Path, tensors: dict[str, Sharded]) -> None:
    """Writes `shards.json`."""
    values = {
        name: {
            "dtype": tensor.dtype, "shape": tensor.shape,
            "chunks": [{"offset": c.offset, "shape": c.shape, "file": c.file, "key": c.key} for c in tensor.chunks],
        }
        for name, tensor in sorted(tensors.items())
    }  # fmt: skip
    write_whole(folder / SHARDS_FILE, json.dumps({"version": VERSION, "tensors": values}, indent=1) + "\n")


def read_index(folder: Path) -> dict[str, Sharded]:
    """The tensors of a sharded checkpoint.

    Raises:
        PellucidError: `shards.json` is damaged, or its chunks do not fill a tensor.
        OSError: it cannot be read.
    """
    where = folder / SHARDS_FILE
    found = Fields(read_json(where, max_bytes=MAX_INDEX_BYTES), where)
    if found.integer("version") > VERSION:
        raise PellucidError(f"{where} was written by a newer version of pellucid: upgrade to go on with it")
    tensors = found.object("tensors")
    return {name: _tensor(name, tensors.object(name)) for name in tensors}


def _tensor(name: str, found: Fields) -> Sharded:
    dtype, shape = found.text("dtype", max_length=20), tuple(found.integers("shape"))
    if dtype not in DTYPES:
        raise found.wrong("dtype", " or ".join(DTYPES))
    chunks = []
    for value in found.list("chunks"):
        chunk = Fields(value, name)
        file = chunk.text("file", max_length=255)
        if Path(file).name != file:
            raise chunk.wrong("file", "a name of a file beside it")
        chunks.append(
            Chunk(
                offset=tuple(chunk.integers("offset")), shape=tuple(chunk.integers("shape")), file=file,
                key=chunk.text("key", max_length=1000),
            )
        )  # fmt: skip
    fits = all(
        len(c.offset) == len(c.shape) == len(shape)
        and all(begin + size <= whole for begin, size, whole in zip(c.offset, c.shape, shape, strict=True))
        for c in chunks
    )
    if not fits or sum(_numbers(c.shape) for c in chunks) != _numbers(shape):
        raise PellucidError(f"{SHARDS_FILE}: the chunks of {name} do not make up its shape {shape}")
    return Sharded(dtype=dtype, shape=shape, chunks=tuple(chunks))


def _numbers(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


class ShardedTensors:
    """The tensors of a sharded checkpoint, in the order of one process; one at a time is in memory.

    Args:
        n_heads: of the model.

    Raises:
        PellucidError: as `read_index`, or a file that it names is missing or damaged.
    """

    def __init__(self, folder: Path, n_heads: int) -> None:
        self.folder, self.n_heads = folder, n_heads
        self.index = read_index(folder)
        self._files: dict[str, Any] = {}

    def names(self, prefix: str) -> Iterator[str]:
        """The names that begin so, without it."""
        return (name.removeprefix(prefix) for name in self.index if name.startswith(prefix))

    def whole(self, name: str) -> Tensor:
        """A tensor, put together from its chunks."""
        tensor = self.index[name]
        out = torch.empty(tensor.shape, dtype=DTYPES[tensor.dtype])
        for chunk in tensor.chunks:
            places = tuple(slice(begin, begin + size) for begin, size in zip(chunk.offset, chunk.shape, strict=True))
            out[places] = self.chunk(chunk)
        stem = name.removeprefix(MODEL).removeprefix(OPTIMIZER)
        return to_plain(stem, out, self.n_heads)

    def chunk(self, chunk: Chunk) -> Tensor:
        """The numbers of a chunk."""
        try:
            if chunk.file not in self._files:
                self._files[chunk.file] = safe_open(self.folder / chunk.file, "pt")
            found: Tensor = self._files[chunk.file].get_tensor(chunk.key)
        except (OSError, SafetensorError) as error:
            raise PellucidError(f"{self.folder / chunk.file} is missing or damaged ({error})") from None
        if tuple(found.shape) != chunk.shape:
            raise PellucidError(f"{self.folder / chunk.file}: {chunk.key} has another shape than {SHARDS_FILE} says")
        return found
