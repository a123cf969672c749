"""Device placement of a run: the dtype of its matrix products, autocast, threads, random generators, copies to the device.

All code of training that depends on the kind of device is here. On the CPU nothing here changes a number.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import PellucidError
from pellucid.native.operators.library import unavailable_reason
from pellucid.runs.plan import Plan
from pellucid.runtime.device import resolve_device


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's parameters."""
    return next(model.parameters()).device


def default_dtype(device: torch.device | None = None) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, float32 elsewhere. None: the CPU.

    On a CPU that is AMX or AVX512-BF16: without those instructions bfloat16 products are emulated and slower than float32.
    Parameters, optimizer and the residual stream stay float32 either way.
    """
    if device is not None and device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device is None or device.type == "cpu":
        get_capabilities = getattr(torch.cpu, "get_capabilities", None)  # newer than the oldest PyTorch we take
        has = get_capabilities() if get_capabilities else {}
        native = bool(has.get("amx_bf16") or has.get("avx512_bf16"))
    else:
        native = False
    return torch.bfloat16 if native else torch.float32


def has_operators(dtype: torch.dtype, device: torch.device | None = None) -> bool:
    """Whether steps use the compiled operators: bfloat16 on a CPU with a C compiler, unless PELLUCID_KERNEL is off."""
    return dtype == torch.bfloat16 and (device is None or device.type == "cpu") and unavailable_reason() is None


def refuse_missing_operators(*, compiled: bool) -> None:
    """Refuses to resume a run that began with the compiled operators where there are none: its numbers would differ.

    Raises:
        PellucidError: why there are none.
    """
    if compiled and (reason := unavailable_reason()):
        raise PellucidError(f"the run uses compiled operators, which are not available here ({reason}): start a new run")


def autocast(dtype: torch.dtype, device: torch.device | None = None) -> AbstractContextManager[Any]:
    """Matrix products in `dtype` on `device` (None: the CPU): autocast for bfloat16, nothing for float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast("cpu" if device is None else device.type, dtype)


def copy_to(device: torch.device, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors on `device`; to CUDA through pinned memory, without waiting. On the CPU they are returned as they are."""
    if device.type == "cuda":
        return tuple(tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors)
    return tuple(tensor.to(device) for tensor in tensors)


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what it was given, so that a clock can be read."""
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()


@contextmanager
def placed(plan: Plan, *, device: torch.device | None = None, threads: int | None = None) -> Iterator[torch.device]:
    """Sets PyTorch up for a plan (device, number of threads) and restores the threads and the random generators afterwards.

    Args:
        device, threads: of a rank, where several processes share a machine; None: the plan's.

    Raises:
        PellucidError: the plan's device is not here.
    """
    device = resolve_device(plan.device) if device is None else device
    before = torch.get_num_threads()
    torch.set_num_threads(plan.threads if threads is None else threads)
    try:
        with _kept_generators(device):
            yield device
    finally:
        torch.set_num_threads(before)


def rank_device(name: str | None) -> torch.device:
    """The device of this process of torchrun: of several CUDA devices on its host, the one of its local rank.

    Args:
        name: the kind that was asked for, as "cuda"; None: the CPU.

    Raises:
        PellucidError: it is not here, or is one that a process group cannot use.
    """
    device = resolve_device(name or "cpu")
    if device.type not in ("cpu", "cuda"):
        raise PellucidError(f"several processes train on cpu or cuda, not on {device.type}: there is no process group for that")
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % max(1, torch.cuda.device_count()))
        torch.cuda.set_device(device)
    return device


def _kept_generators(device: torch.device) -> AbstractContextManager[None]:
    """Puts the state of PyTorch's generators back: the CPU's, and that of a CUDA device."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.random.fork_rng(devices=[index])
    return torch.random.fork_rng(devices=[])
