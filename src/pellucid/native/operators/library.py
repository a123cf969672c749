"""ctypes bindings of the compiled operators, and the context manager that enables them."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.native.errors import Unavailable
from pellucid.native.shared_library import Library


_USED: ContextVar[bool] = ContextVar("compiled operators are used", default=False)
_ARGUMENTS = {
    "gelu": "nppp", "layer_norm": "nnpppfppp", "layer_norm_backward": "nnppppppp",
    "causal_softmax": "nnfp", "causal_softmax_backward": "nnfpp", "cross_entropy": "nnnppp",
}  # fmt: skip
# Sums may be reassociated and fused multiply-adds used; NaN and infinity are preserved.
OPERATORS = Library(
    "operators", Path(__file__).parent, ("-fopenmp", "-ffp-contract=fast", "-fno-trapping-math"),
    symbols=tuple(f"pellucid_{name}" for name in _ARGUMENTS),
)  # fmt: skip
_TYPES = {"n": ctypes.c_int64, "p": ctypes.c_void_p, "f": ctypes.c_float}


@cache
def operators() -> ctypes.CDLL:
    """The library, built if necessary. It shares PyTorch's OpenMP threads, whose library the process has loaded already.

    Raises:
        Unavailable: it cannot be built or loaded, or is switched off.
    """
    library = OPERATORS.load()
    for name, arguments in _ARGUMENTS.items():
        function = getattr(library, f"pellucid_{name}")
        function.argtypes = [*(_TYPES[one] for one in arguments), ctypes.c_int]
        function.restype = None
    return library


def unavailable_reason() -> str | None:
    """The reason why the operators are unavailable, in one line; None if they are available (built now if necessary)."""
    try:
        operators()
    except Unavailable as reason:
        return str(reason)
    return None


@contextmanager
def compiled_operators(*, use: bool = True) -> Iterator[None]:
    """Enables the compiled operators for bfloat16 training on the CPU."""
    if use:
        operators()
    before = _USED.set(use)
    try:
        yield
    finally:
        _USED.reset(before)


def in_use(*tensors: Tensor) -> bool:
    """Whether the compiled operators are enabled, and usable for these tensors."""
    return _USED.get() and not torch.compiler.is_compiling() and all(one.device.type == "cpu" for one in tensors)


def call(name: str, *arguments: Any) -> None:
    """Calls one operator, on as many threads as PyTorch uses. Tensors must have the layout that its C function expects."""
    values = [one.data_ptr() if isinstance(one, Tensor) else one for one in arguments]
    getattr(operators(), f"pellucid_{name}")(*values, torch.get_num_threads())
