"""A description of the machine (platform, CPU, versions, accelerator), for `run.json`, records and benchmarks."""

import os
import platform

import torch


def describe(device: torch.device | None = None) -> dict[str, str | int]:
    """Platform, processor and versions; with an accelerator, its name too.

    Args:
        device: where the work is done. None: the CPU.
    """
    described: dict[str, str | int] = {
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device is not None and device.type != "cpu":
        named = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
        described["device"] = named or device.type
    return described
