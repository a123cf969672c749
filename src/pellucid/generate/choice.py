"""Who computes: the choice between the kernel and PyTorch, as users name it. No torch here."""

import os
from typing import Literal, get_args

from pellucid.errors import PellucidError


Kernel = Literal["auto", "off", "only"]
VARIABLE = "PELLUCID_KERNEL"
# One token's products with fewer parameters are too small to share: one thread is as fast, and never waits for another
# that runs on a busy core (docs/log.md).
SMALL = 20_000_000


def chosen_kernel(kernel: str) -> Kernel:
    """The choice, checked; what PELLUCID_KERNEL says where it is "auto".

    Raises:
        PellucidError: neither auto, off nor only.
    """
    if kernel not in get_args(Kernel):
        raise PellucidError(f"unknown choice of kernel {kernel!r}: use auto, off or only")
    if kernel != "auto":
        return "off" if kernel == "off" else "only"
    match os.environ.get(VARIABLE, "auto"):
        case "auto" | "":
            return "auto"
        case "off":
            return "off"
        case "only":
            return "only"
        case other:
            raise PellucidError(f"{VARIABLE} is {other!r}: set it to auto, off or only")
