"""The measured matrix-multiplication rate of a device, in FLOP/s. A training step's own rate is compared with it."""

import time
from collections.abc import Sequence

import torch

from pellucid.gpt.config import GPTConfig
from pellucid.training.placement import synchronize


Shape = tuple[int, int, int]  # (M, K, N): an (M, K) matrix times a (K, N) one
MEASURE_SECONDS = 0.2  # when a run begins
TIMED_OPERATIONS = 10**9  # of all timed products together: a hundredth of a second, so that other processes seldom come between


def time_products(
    dtype: torch.dtype, shapes: Sequence[Shape], *, seconds: float, minimum: int = 2, device: torch.device | None = None
) -> list[list[float]]:
    """Times products of matrices, all shapes in turn, for about `seconds` and at least `minimum` times.

    Args:
        device: where. None: the CPU.

    Returns:
        For each shape, the seconds of every time but the first, which also wakes the threads.
    """
    device = device or torch.device("cpu")
    # Into memory that is there already: fresh pages would take longer than a small product.
    sets = [tuple(torch.ones(*size, dtype=dtype, device=device) for size in ((m, k), (k, n), (m, n))) for m, k, n in shapes]
    took: list[list[float]] = [[] for _ in shapes]
    until = time.perf_counter() + seconds
    while len(took[0]) <= minimum or time.perf_counter() < until:
        for (a, b, into), times in zip(sets, took, strict=True):
            synchronize(device)
            began = time.perf_counter()
            torch.mm(a, b, out=into)
            synchronize(device)
            times.append(time.perf_counter() - began)
    return [times[1:] for times in took]


def matmul_flops_per_s(
    dtype: torch.dtype, shapes: Sequence[Shape], *, seconds: float | None = None, device: torch.device | None = None
) -> float:
    """Operations a second that products of these shapes reach together, each at its quickest."""
    seconds = MEASURE_SECONDS if seconds is None else seconds
    best = [min(times) for times in time_products(dtype, shapes, seconds=seconds, device=device)]
    return sum(2 * m * k * n for m, k, n in shapes) / sum(best)


def block_products(config: GPTConfig, tokens: int) -> list[Shape]:
    """The products of a block's matrices with `tokens` vectors, or with fewer where all four would take too long to time."""
    block = [shape for name, shape in config.matrices() if name.startswith("h.0.") and ".compressor." not in name]
    most = TIMED_OPERATIONS // (2 * sum(k * n for k, n in block))
    return [(max(1, min(tokens, most)), k, n) for k, n in block]
