"""Refuses a training step that does not fit into memory, before anything is allocated; keeps glibc from returning memory."""

import ctypes
import sys
from collections.abc import Mapping
from typing import Any

import torch

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.memory import precision_of, step_memory
from pellucid.gpt.presets import PRESETS
from pellucid.resources import memory_limit
from pellucid.runs.recipe import DEFAULT_OPTIMIZER
from pellucid.training.optimizers import optimizer_bytes
from pellucid.training.placement import has_operators
from pellucid.training.step import micro_batch_of


def refuse_too_large(
    config: GPTConfig,
    batch_tokens: int,
    dtype: torch.dtype,
    optimizer: str = DEFAULT_OPTIMIZER,
    settings: Mapping[str, Any] | None = None,
    device: torch.device | None = None,
) -> None:
    """Refuses a shape whose training step cannot fit, before anything is allocated (`gpt.memory` has the formulas).

    Args:
        batch_tokens: in a full batch. dtype: of the products. optimizer, settings: as `optimizers.make_optimizer` takes them.
        device: whose memory it must fit. None: the CPU's.

    Raises:
        PellucidError: it takes more than there is; the message says how much, for what, and what would fit.
    """
    have, batch = memory_bytes(device), max(1, batch_tokens // config.n_ctx)
    windows = micro_batch_of(batch, config.n_ctx)
    precision = precision_of(str(dtype).removeprefix("torch."), compiled=has_operators(dtype, device))
    optimizer_state = optimizer_bytes(config, optimizer, settings)
    need = step_memory(config, windows, precision, accumulates=batch > windows, optimizer_state=optimizer_state)
    refuse_large_batch(batch * config.n_ctx)
    if have is None or need.peak <= have:
        return
    smaller = (
        less for less in range(windows - 1, 0, -1)
        if step_memory(config, less, precision, optimizer_state=optimizer_state).peak <= have
    )  # fmt: skip
    fewer = next(smaller, None)
    if fewer:
        fits = f"a batch of {fewer * config.n_ctx:,} tokens would fit"
    else:
        fits = _what_fits(have, precision, optimizer, settings)
    where = "this machine" if device is None or device.type == "cpu" else str(device)
    raise PellucidError(
        f"training {config.parameters():,} parameters takes {need.peak / 1e9:,.1f} GB ({need.persistent / 1e9:,.1f} for "
        f"weights, gradients and {optimizer}, {(need.peak - need.persistent) / 1e9:,.1f} for {windows} "
        f"window{'s' * (windows != 1)} of {config.n_ctx:,} tokens), {where} has {have / 1e9:,.1f} GB, so "
        f"{(need.peak - have) / 1e9:,.1f} GB are missing: {fits}"
    )


def refuse_large_batch(tokens: int) -> None:
    """Refuses a batch whose ids and targets alone do not fit into this machine's memory.

    Raises:
        PellucidError: they take more than there is.
    """
    have, need = memory_limit(), 16 * tokens
    if have is not None and need > have:
        raise PellucidError(f"a batch of {tokens:,} tokens takes {need / 1e9:,.1f} GB for its ids alone: take a smaller one")


def _what_fits(have: int, precision: str, optimizer: str, settings: Mapping[str, Any] | None) -> str:
    """The largest preset that `have` bytes train."""
    best: tuple[int, str] | None = None
    for name, chosen in PRESETS.items():
        config = GPTConfig.preset(name)
        batch = max(1, chosen.batch_tokens // config.n_ctx)
        windows, optimizer_state = micro_batch_of(batch, config.n_ctx), optimizer_bytes(config, optimizer, settings)
        if step_memory(config, windows, precision, accumulates=batch > windows, optimizer_state=optimizer_state).peak <= have:
            best = max(best or (0, ""), (config.parameters(), name))
    return f"{best[1]} ({best[0]:,}) would fit" if best else "take a shape of your own with fewer"


def memory_bytes(device: torch.device | None = None) -> int | None:
    """The memory of a device; for None and the CPU, what this process may use. None: the system does not say."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device is not None and device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return memory_limit()


def retain_freed_memory() -> None:
    """Asks glibc to keep freed memory instead of returning it to the system after every step.

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
