"""Writing tensors as a safetensors file, byte for byte as the library `safetensors` writes it, but through `files.replacing`.

The library opens its files by name. Here they are written as every other file is: whole or not at all, under a random name
first, with the mode that the umask gives.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pellucid.files import replacing


# The names of dtypes in the format, in the order in which the library writes them.
_NAMES = {
    torch.int64: "I64", torch.float64: "F64", torch.float32: "F32", torch.int32: "I32", torch.bfloat16: "BF16",
    torch.float16: "F16", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_ALIGNMENT = 8  # of the first tensor's bytes


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None, durable: bool = False
) -> None:
    """Writes a safetensors file.

    Args:
        tensors: of any shapes and devices. metadata: words for the header. durable: as `files.replacing` takes it.

    Raises:
        PellucidError: the file cannot be written.
    """
    assert sys.byteorder == "little", "the format's numbers are little-endian"
    order = list(_NAMES)
    names = sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        begin, end = end, end + tensors[name].nbytes
        header[name] = {
            "dtype": _NAMES[tensors[name].dtype], "shape": list(tensors[name].shape), "data_offsets": [begin, end],
        }  # fmt: skip
    head = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    head += b" " * (-len(head) % _ALIGNMENT)
    with replacing(path, durable=durable) as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name in names:
            file.write(tensors[name].detach().cpu().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy().data)
