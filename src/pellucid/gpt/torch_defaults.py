"""PyTorch's and NumPy's settings as they are when a process starts, whatever the caller's program set."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from pellucid.numpy_defaults import numpy_defaults


_CPU = torch.device("cpu")
_AUTOCAST = ("cpu", "cuda", "mps")


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Computes with PyTorch's own defaults, and puts what the caller had set back at the end; a decorator as well.

    The default device (`torch.set_default_device`, `with torch.device`), the default dtype, autocast, inference mode, gradients
    switched off, and `numpy.seterr`: what is trained, verified or converted depends on its arguments alone. All but the default
    dtype are the thread's own; that one is the process's, and is touched only where it is not float32.
    """
    with ExitStack() as stack:
        stack.enter_context(numpy_defaults())
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        enter_creation_defaults(stack)
        yield


def enter_creation_defaults(stack: ExitStack) -> None:
    """Enters the defaults of new tensors and of matrix products: device CPU, dtype float32, autocast off."""
    made = torch.empty(0)
    if made.device != _CPU:
        stack.enter_context(_CPU)
    if made.dtype != torch.float32:
        torch.set_default_dtype(torch.float32)
        stack.callback(torch.set_default_dtype, made.dtype)
    for device in _AUTOCAST:
        if torch.is_autocast_enabled(device):
            stack.enter_context(torch.autocast(device, enabled=False))
