"""What this machine can do, asked once when a run is planned and kept in `run.json`."""

import ctypes
import os
import platform
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.memory import step_memory
from pellucid.gpt.presets import PRESETS
from pellucid.operators.library import why_not
from pellucid.train.optimizers import remembered_bytes
from pellucid.train.recipe import DEFAULT
from pellucid.train.step import micro_batch_of


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
    windows, way = micro_batch_of(batch, config.n_ctx), str(dtype).removeprefix("torch.")
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


def products_per_s(dtype: torch.dtype, *, size: int = 512, seconds: float = 0.03) -> float:
    """Operations a second of square matrix products here and now: the best of as many as fit in `seconds`, two at least."""
    a, b = (torch.ones(size, size, dtype=dtype) for _ in range(2))
    best, done, until = 0.0, 0, time.perf_counter() + seconds
    while done < 2 or time.perf_counter() < until:
        began = time.perf_counter()
        torch.mm(a, b)
        best, done = max(best, 2 * size**3 / (time.perf_counter() - began)), done + 1
    return best


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
