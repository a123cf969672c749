"""How fast this machine multiplies matrices: measured, so never the same twice."""

from dataclasses import dataclass
from statistics import median


SIZE = 1024  # rows and columns: long enough to keep every core busy, small enough for a slow one
TIMES_AT_LEAST = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What was measured here.

    Attributes:
        flops: operations a second of a 1024 x 1024 product, the median of `times` products.
        dtype: of the products, the one that training takes here; threads: PyTorch's.
        memory: bytes of this machine, None where the system does not say.
    """

    flops: float
    dtype: str
    threads: int
    times: int
    memory: int | None


def measure(seconds: float = 1.5) -> Measured:
    """Multiplies matrices for about `seconds`."""
    import torch

    from pellucid.training.machine import compute_dtype, memory_bytes, time_products

    dtype = compute_dtype()
    (took,) = time_products(dtype, [(SIZE, SIZE, SIZE)], seconds=seconds, least=TIMES_AT_LEAST)
    return Measured(
        flops=2 * SIZE**3 / median(took), dtype=str(dtype).removeprefix("torch."), threads=torch.get_num_threads(),
        times=len(took), memory=memory_bytes(),
    )  # fmt: skip
