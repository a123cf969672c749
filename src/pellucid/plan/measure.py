"""How fast this machine multiplies matrices: measured, so never the same twice."""

import time
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

    from pellucid.train.machine import compute_dtype, memory_bytes

    dtype = compute_dtype()
    a, b = (torch.full((SIZE, SIZE), value).to(dtype) for value in (0.5, 0.25))
    a @ b  # the first one also wakes the threads
    took: list[float] = []
    began = time.perf_counter()
    while len(took) < TIMES_AT_LEAST or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        a @ b
        took.append(time.perf_counter() - start)
    return Measured(
        flops=2 * SIZE**3 / median(took), dtype=str(dtype).removeprefix("torch."), threads=torch.get_num_threads(),
        times=len(took), memory=memory_bytes(),
    )  # fmt: skip
