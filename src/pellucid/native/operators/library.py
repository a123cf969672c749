"""The compiled operators as Python sees them, and where they are in use."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.native.build import Library, Unavailable


# Sums may be taken in lanes, and products added without rounding between; what is no number stays none.
OPERATORS = Library("operators", Path(__file__).parent, ("-fopenmp", "-ffp-contract=fast", "-fno-trapping-math"))
_USED: ContextVar[bool] = ContextVar("compiled operators are used", default=False)
_ARGUMENTS = {
    "gelu": "nppp", "layer_norm": "nnpppfppp", "layer_norm_backward": "nnppppppp",
    "causal_softmax": "nnfp", "causal_softmax_backward": "nnfpp", "cross_entropy": "nnnppp",
}  # fmt: skip
_TYPES = {"n": ctypes.c_int64, "p": ctypes.c_void_p, "f": ctypes.c_float}


@cache
def operators() -> ctypes.CDLL:
    """The library, built if need be. It shares PyTorch's OpenMP threads, whose library the process has loaded already.

    Raises:
        Unavailable: it cannot be had, or is switched off.
    """
    library = OPERATORS.load()
    for name, arguments in _ARGUMENTS.items():
        function = getattr(library, f"pellucid_{name}")
        function.argtypes = [*(_TYPES[one] for one in arguments), ctypes.c_int]
        function.restype = None
    return library


def why_not() -> str | None:
    """Why there are none here, in a line; None: they are there (built now, if they were not)."""
    try:
        operators()
    except Unavailable as reason:
        return str(reason)
    return None


@contextmanager
def compiled_operators(*, use: bool = True) -> Iterator[None]:
    """Inside, a model's training in bfloat16 on the CPU takes the compiled operators."""
    if use:
        operators()
    before = _USED.set(use)
    try:
        yield
    finally:
        _USED.reset(before)


def in_use(*tensors: Tensor) -> bool:
    """Whether these tensors' operators are the compiled ones."""
    return _USED.get() and not torch.compiler.is_compiling() and all(one.device.type == "cpu" for one in tensors)


def call(name: str, *arguments: Any) -> None:
    """One operator, on as many threads as PyTorch takes. Tensors must lie as its C says."""
    values = [one.data_ptr() if isinstance(one, Tensor) else one for one in arguments]
    getattr(operators(), f"pellucid_{name}")(*values, torch.get_num_threads())
