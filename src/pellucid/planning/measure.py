"""The measured matrix-multiplication rate and the memory of this machine. Torch is imported only to measure."""

from dataclasses import dataclass
from statistics import median


SIZE = 1024  # rows and columns: long enough to keep every core busy, small enough for a slow one
MIN_TIMES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Measured figures of this machine.

    Attributes:
        flops: operations a second of a 1024 x 1024 product, the median of `times` products.
        dtype: of the products, training's default here; threads: PyTorch's.
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

    from pellucid.training.matmul_rate import time_products
    from pellucid.training.memory_limit import memory_bytes
    from pellucid.training.placement import default_dtype

    dtype = default_dtype()
    (took,) = time_products(dtype, [(SIZE, SIZE, SIZE)], seconds=seconds, minimum=MIN_TIMES)
    return Measured(
        flops=2 * SIZE**3 / median(took), dtype=str(dtype).removeprefix("torch."), threads=torch.get_num_threads(),
        times=len(took), memory=memory_bytes(),
    )  # fmt: skip
