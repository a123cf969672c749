"""Resolving a device name: cpu, cuda, mps, or `auto` for the available accelerator."""

import torch

from pellucid.arguments import shown
from pellucid.errors import PellucidError


AUTO = "auto"


def resolve_device(device: str | torch.device) -> torch.device:
    """The device of that name, which is tried with an empty tensor.

    Args:
        device: "auto" takes cuda where PyTorch can use it, else mps, else cpu. Any other name is PyTorch's: "cpu", "cuda",
            "cuda:1", "mps", "meta".

    Raises:
        PellucidError: no such device here; the message says why.
    """
    if not isinstance(device, str | torch.device):
        raise PellucidError(f"device must be auto, cpu, cuda (cuda:1, ...) or mps, not {shown(device)}")
    if device == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, ValueError):
        raise PellucidError(f"unknown device {shown(str(device))}: use auto, cpu, cuda (cuda:1, ...) or mps") from None
    try:
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError):  # PyTorch asserts that it was built for CUDA; its own text is a page long
        raise PellucidError(f"no device {str(device)!r} here: this PyTorch can use {', '.join(_available())}") from None
    return resolved


def _available() -> list[str]:
    """The kinds of device that can be used here."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]
