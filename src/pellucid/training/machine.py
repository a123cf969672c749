"""What this machine can do, asked once when a run is planned and kept in `run.json`."""

import ctypes
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.memory import step_memory, way_of
from pellucid.gpt.presets import PRESETS
from pellucid.native.operators.library import why_not
from pellucid.runs.recipe import DEFAULT
from pellucid.training.optimizers import remembered_bytes
from pellucid.training.step import micro_batch_of


Shape = tuple[int, int, int]
PRODUCTS_SECONDS = 0.2  # for timing products when a run begins
TIMED_OPERATIONS = 10**9  # of all timed products together: a hundredth of a second, so that other processes seldom come between


def compute_dtype() -> torch.dtype:
    """bfloat16 where the CPU multiplies it natively (AMX or AVX512-BF16), float32 elsewhere.

    Without those instructions bfloat16 products are emulated and slower than float32. Parameters, optimizer and the
    residual stream stay float32 either way.
    """
    get_capabilities = getattr(torch.cpu, "get_capabilities", None)  # newer than the oldest PyTorch we take
    has = get_capabilities() if get_capabilities else {}
    return torch.bfloat16 if has.get("amx_bf16") or has.get("avx512_bf16") else torch.float32


def dtype_of(choice: str | None) -> torch.dtype:
    """The dtype of a run's matrix products: the one asked for, or what suits this machine.

    Raises:
        PellucidError: neither float32 nor bfloat16.
    """
    if choice not in (None, "float32", "bfloat16"):
        raise PellucidError(f"dtype must be float32 or bfloat16, not {choice!r}")
    return compute_dtype() if choice is None else getattr(torch, choice)


def has_operators(dtype: torch.dtype) -> bool:
    """Whether steps in `dtype` take the compiled operators here: bfloat16, with a C compiler, unless PELLUCID_KERNEL is off."""
    return dtype == torch.bfloat16 and why_not() is None


def refuse_other_operators(*, compiled: bool) -> None:
    """Refuses to go on with a run that was begun with the compiled operators where there are none: other bits would follow.

    Raises:
        PellucidError: why there are none.
    """
    if compiled and (reason := why_not()):
        raise PellucidError(f"the run was begun with compiled operators, which cannot be had here ({reason}): start a new run")


def refuse_too_large(
    config: GPTConfig,
    batch_tokens: int,
    dtype: torch.dtype,
    optimizer: str = DEFAULT,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Refuses a shape whose training step cannot fit, before anything is allocated (`gpt.memory` says what it takes).

    Args:
        batch_tokens: of a full batch. dtype: of the products. optimizer, settings: as `optimizers.make_optimizer` takes them.

    Raises:
        PellucidError: that is more than this machine's memory; the message says how much, for what, and what would fit.
    """
    have, batch = memory_bytes(), max(1, batch_tokens // config.n_ctx)
    windows, way = micro_batch_of(batch, config.n_ctx), way_of(str(dtype).removeprefix("torch."), compiled=has_operators(dtype))
    remembered = remembered_bytes(config, optimizer, settings)
    need = step_memory(config, windows, way, accumulates=batch > windows, remembered=remembered)
    if have is None or need.peak <= have:
        return
    smaller = (less for less in range(windows - 1, 0, -1) if step_memory(config, less, way, remembered=remembered).peak <= have)
    fewer = next(smaller, None)
    fits = f"a batch of {fewer * config.n_ctx:,} tokens would fit" if fewer else _what_fits(have, way, optimizer, settings)
    raise PellucidError(
        f"training {config.parameters():,} parameters takes {need.peak / 1e9:,.1f} GB ({need.stays / 1e9:,.1f} for weights, "
        f"gradients and {optimizer}, {(need.peak - need.stays) / 1e9:,.1f} for {windows} window{'s' * (windows != 1)} of "
        f"{config.n_ctx:,} tokens), this machine has {have / 1e9:,.1f} GB, so "
        f"{(need.peak - have) / 1e9:,.1f} GB are missing: {fits}"
    )


def _what_fits(have: int, way: str, optimizer: str, settings: Mapping[str, Any] | None) -> str:
    """The largest preset that a machine of so many bytes trains."""
    best: tuple[int, str] | None = None
    for name, chosen in PRESETS.items():
        config = GPTConfig.preset(name)
        batch = max(1, chosen.batch_tokens // config.n_ctx)
        windows, remembered = micro_batch_of(batch, config.n_ctx), remembered_bytes(config, optimizer, settings)
        if step_memory(config, windows, way, accumulates=batch > windows, remembered=remembered).peak <= have:
            best = max(best or (0, ""), (config.parameters(), name))
    return f"{best[1]} ({best[0]:,}) would fit" if best else "take a shape of your own with fewer"


def memory_bytes() -> int | None:
    """This machine's memory, where the system says."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def describe() -> dict[str, str | int]:
    """The machine in a few words, for `run.json` and for anyone who compares speeds."""
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def time_products(dtype: torch.dtype, shapes: Sequence[Shape], *, seconds: float, least: int = 2) -> list[list[float]]:
    """Times products of matrices here and now, all shapes in turn, for about `seconds` and `least` times at least.

    Args:
        shapes: (M, K, N) each: an (M, K) matrix times a (K, N) one.

    Returns:
        For each shape, the seconds of every time but the first, which also wakes the threads.
    """
    # Into memory that is there already: fresh pages would take longer than a small product.
    sets = [tuple(torch.ones(*size, dtype=dtype) for size in ((m, k), (k, n), (m, n))) for m, k, n in shapes]
    took: list[list[float]] = [[] for _ in shapes]
    until = time.perf_counter() + seconds
    while len(took[0]) <= least or time.perf_counter() < until:
        for (a, b, into), times in zip(sets, took, strict=True):
            began = time.perf_counter()
            torch.mm(a, b, out=into)
            times.append(time.perf_counter() - began)
    return [times[1:] for times in took]


def products_per_s(dtype: torch.dtype, shapes: Sequence[Shape], *, seconds: float | None = None) -> float:
    """Operations a second that products of these shapes reach together, each at its quickest."""
    seconds = PRODUCTS_SECONDS if seconds is None else seconds
    best = [min(times) for times in time_products(dtype, shapes, seconds=seconds)]
    return sum(2 * m * k * n for m, k, n in shapes) / sum(best)


def typical_products(config: GPTConfig, tokens: int) -> list[Shape]:
    """The products of a block's matrices with `tokens` vectors, or with fewer where all four would take too long to time."""
    block = [shape for name, shape in config.matrices() if name.startswith("h.0.") and ".compressor." not in name]
    most = TIMED_OPERATIONS // (2 * sum(k * n for k, n in block))
    return [(max(1, min(tokens, most)), k, n) for k, n in block]


def keep_freed_memory() -> None:
    """Asks glibc to keep freed memory instead of handing it back to the system after every step.

    A training step frees and takes the same hundreds of megabytes again; by default each block above 32 MB is mapped
    afresh and zeroed by the kernel. Keeping it gave 1.1 to 1.4 times the tokens a second (docs/log.md). No number changes.
    Elsewhere than on Linux with glibc this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library, musl for one
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # <malloc.h>
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, -1)  # never
    mallopt(top_pad, 256 * 2**20)
