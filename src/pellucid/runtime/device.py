"""Resolving a device name: cpu, cuda, mps, or `auto` for the available accelerator."""

import torch

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
    if device == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for CUDA
        reason = next(iter(str(error).strip().splitlines()), "not available")
        raise PellucidError(f"no device {str(device)!r} here: {reason}; use auto, cpu, cuda or mps") from None
    return resolved
