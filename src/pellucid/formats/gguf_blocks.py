"""The number formats of GGUF's tensors: how rows of float32 become bytes, and back.

    F32, F16, BF16   each number on its own
    Q8_0             32 numbers of a row: a float16 scale d, then 32 signed bytes q; the number is d * q
    Q4_0             32 numbers of a row: a float16 scale d, then 16 bytes; byte j holds number j in its low four bits and
                     number j + 16 in its high ones; the number is d * (q - 8)

The scale of Q8_0 is the largest magnitude / 127. That of Q4_0 is the number of largest magnitude / -8, sign included, so
that this number is met exactly (up to float16) and the other sign has seven steps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import PellucidError


BLOCK = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One number format.

    Attributes:
        name: as GGUF writes it. code: ggml's number for it. file_type: llama.cpp's for a file mostly of it.
        block: numbers that share their bytes; block_bytes: how many bytes those are.
    """

    name: str
    code: int
    file_type: int
    block: int = 1
    block_bytes: int

    def bytes_of(self, numbers: int) -> int:
        """Bytes of so many numbers, a multiple of the block."""
        assert numbers % self.block == 0
        return numbers // self.block * self.block_bytes


KINDS = {
    kind.name: kind
    for kind in (
        Kind(name="F32", code=0, file_type=0, block_bytes=4),
        Kind(name="F16", code=1, file_type=1, block_bytes=2),
        Kind(name="BF16", code=30, file_type=32, block_bytes=2),
        Kind(name="Q8_0", code=8, file_type=7, block=BLOCK, block_bytes=2 + BLOCK),
        Kind(name="Q4_0", code=2, file_type=2, block=BLOCK, block_bytes=2 + BLOCK // 2),
    )
}
BY_CODE = {kind.code: kind for kind in KINDS.values()}
FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def encode(x: Tensor, kind: Kind) -> Tensor:
    """(..., n) float32 numbers, n a multiple of the block -> their bytes, one row of uint8.

    Raises:
        PellucidError: a number too large for the kind.
    """
    if kind.name in FLOATS:
        made = x.to(FLOATS[kind.name])
        if not torch.isfinite(made).all():
            raise PellucidError(f"a weight of {x.abs().max():.3g} is too large for {kind.name}: use F32 or BF16")
        return made.contiguous().view(-1).view(torch.uint8)
    blocks = x.reshape(-1, BLOCK)
    if kind.name == "Q8_0":
        scale = blocks.abs().amax(dim=1, keepdim=True) / 127
        scaled = blocks * _inverse(scale)
        size = scaled.abs()
        whole = size.floor()
        # Halves away from zero, as C's roundf; adding 0.5 first would round 0.49999997 up.
        packed = (scaled.sign() * (whole + (2 * (size - whole)).floor())).to(torch.int8).view(torch.uint8)
    else:
        largest = blocks.gather(1, blocks.abs().argmax(dim=1, keepdim=True))
        scale = largest / -8
        steps = (blocks * _inverse(scale) + 8.5).trunc().clamp(0, 15).to(torch.uint8)
        packed = steps[:, : BLOCK // 2] | (steps[:, BLOCK // 2 :] << 4)
    if not torch.isfinite(halves := scale.half()).all():
        raise PellucidError(f"a weight of {x.abs().max():.3g} is too large for {kind.name}: use F32 or BF16")
    return torch.cat((halves.view(torch.uint8), packed), dim=1).view(-1)


def _inverse(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, 0.0, 1 / scale)


def decode(raw: Tensor, kind: Kind) -> Tensor:
    """The inverse of `encode`, up to its rounding: uint8 bytes -> one row of float32."""
    if kind.name in FLOATS:
        return raw.view(FLOATS[kind.name]).float()
    blocks = raw.view(-1, kind.block_bytes)
    scale = blocks[:, :2].contiguous().view(torch.float16).float()
    packed = blocks[:, 2:].contiguous()
    if kind.name == "Q8_0":
        return (packed.view(torch.int8).float() * scale).view(-1)
    steps = torch.cat((packed & 15, packed >> 4), dim=1)
    return ((steps.float() - 8) * scale).view(-1)
