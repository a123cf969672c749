"""Encoding and decoding GGUF's tensor types: float32 rows to bytes, and back.

    F32, F16, BF16   each number on its own
    Q8_0             32 numbers of a row: a float16 scale d, then 32 signed bytes q; the number is d * q
    Q4_0             32 numbers of a row: a float16 scale d, then 16 bytes; byte j holds number j in its low four bits and
                     number j + 16 in its high ones; the number is d * (q - 8)

`gpt.quantize` chooses scales and codes for groups of the same size; here they become the format's bytes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.gpt.quantize import GROUP, pack_nibbles, quantize_groups, unpack_nibbles


BLOCK = GROUP
QUANTIZED_TYPES = {"Q8_0": "int8", "Q4_0": "int4"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorType:
    """One tensor type.

    Attributes:
        name: ggml's. code: ggml's number for it. file_type: llama.cpp's number for a file mostly of this type.
        block: numbers in a block; block_bytes: bytes of a block.
    """

    name: str
    code: int
    file_type: int
    block: int = 1
    block_bytes: int

    def bytes_of(self, numbers: int) -> int:
        """Bytes of a number of numbers that is a multiple of the block."""
        assert numbers % self.block == 0
        return numbers // self.block * self.block_bytes


TENSOR_TYPES = {
    kind.name: kind
    for kind in (
        TensorType(name="F32", code=0, file_type=0, block_bytes=4),
        TensorType(name="F16", code=1, file_type=1, block_bytes=2),
        TensorType(name="BF16", code=30, file_type=32, block_bytes=2),
        TensorType(name="Q8_0", code=8, file_type=7, block=BLOCK, block_bytes=2 + BLOCK),
        TensorType(name="Q4_0", code=2, file_type=2, block=BLOCK, block_bytes=2 + BLOCK // 2),
    )
}
TYPE_BY_CODE = {kind.code: kind for kind in TENSOR_TYPES.values()}
FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def encode(x: Tensor, kind: TensorType, *, search: bool = True) -> Tensor:
    """(..., n) float32 numbers, n a multiple of the block -> their bytes, one row of uint8.

    Args:
        search: Q4_0 only: False takes ggml's scale (`gpt.quantize`).

    Raises:
        PellucidError: a number too large for the type.
    """
    if kind.name in FLOATS:
        made = x.to(FLOATS[kind.name])
        if not torch.isfinite(made).all():
            raise _too_large(x, kind)
        return made.contiguous().view(-1).view(torch.uint8)
    try:
        scale, codes = quantize_groups(x.reshape(-1, BLOCK).numpy(), QUANTIZED_TYPES[kind.name], search=search)
    except PellucidError:
        raise _too_large(x, kind) from None
    packed = codes.view("u1") if kind.name == "Q8_0" else pack_nibbles(codes)
    halves = torch.from_numpy(scale)[:, None].view(torch.uint8)
    return torch.cat((halves, torch.from_numpy(packed)), dim=1).view(-1)


def _too_large(x: Tensor, kind: TensorType) -> PellucidError:
    return PellucidError(f"a weight of {x.abs().max():.3g} is too large for {kind.name}: use F32 or BF16")


def decode(raw: Tensor, kind: TensorType) -> Tensor:
    """The inverse of `encode`, up to its rounding: uint8 bytes -> one row of float32."""
    if kind.name in FLOATS:
        return raw.view(FLOATS[kind.name]).float()
    blocks = raw.view(-1, kind.block_bytes)
    scale = blocks[:, :2].contiguous().view(torch.float16).float()
    packed = blocks[:, 2:].contiguous()
    codes = packed.view(torch.int8) if kind.name == "Q8_0" else torch.from_numpy(unpack_nibbles(packed.numpy()))
    return (codes.float() * scale).view(-1)
