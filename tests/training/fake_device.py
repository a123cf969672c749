"""A second device for tests: a PyTorch backend named "fake", computed on the CPU but never mixed with its tensors.

Importing this registers the backend for the whole process, so it is used in a process of its own. As on a GPU, an operation
that takes tensors of both devices is an error, numbers (0-dim tensors) and copies aside.
"""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend


NAME = "fake"
_setup_privateuseone_for_python_backend(NAME)
aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}


class FakeDeviceTensor(torch.Tensor):
    """A tensor of the fake device; its numbers are in a tensor on the CPU."""

    data_on_cpu: torch.Tensor

    @staticmethod
    def __new__(cls, data: torch.Tensor) -> "FakeDeviceTensor":
        made: FakeDeviceTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, data.shape, strides=data.stride(), storage_offset=data.storage_offset(), dtype=data.dtype,
            device=torch.device(NAME, 0),
        )  # fmt: skip
        made.data_on_cpu = data
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class FakeDevice(TorchDispatchMode):
    """While it is entered, tensors can be made on the device. Attributes: operations: how many took tensors of the device."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += any(isinstance(leaf, FakeDeviceTensor) for leaf in tree_leaves((args, kwargs)))
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Runs an operation on the CPU tensors inside, and puts its results on the device where they would be."""
    leaves = tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    fake = [tensor for tensor in tensors if isinstance(tensor, FakeDeviceTensor)]
    devices = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
    if not fake and not any(device.type == NAME for device in devices):
        return func(*args, **kwargs)
    others = [tuple(tensor.shape) for tensor in tensors if not isinstance(tensor, FakeDeviceTensor) and tensor.dim()]
    if fake and others and func not in COPIES:
        raise RuntimeError(f"{func} mixes tensors of both devices; those of the CPU have shapes {others}")
    stays = devices[0].type == NAME if devices else isinstance(tensors[0], FakeDeviceTensor) or func not in COPIES
    outer = {id(tensor.data_on_cpu): tensor for tensor in fake}  # an operation in place returns the tensor it was given

    def inner(leaf: Any) -> Any:
        if isinstance(leaf, torch.device):
            return torch.device("cpu")
        return leaf.data_on_cpu if isinstance(leaf, FakeDeviceTensor) else leaf

    def wrapped(leaf: Any) -> Any:
        if not stays or not isinstance(leaf, torch.Tensor):
            return leaf
        return outer[id(leaf)] if id(leaf) in outer else FakeDeviceTensor(leaf)

    args, kwargs = tree_map(inner, (args, kwargs))
    return tree_map(wrapped, func(*args, **kwargs))


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> torch.Tensor:
    return FakeDeviceTensor(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: Any, target: Any, non_blocking: bool = False) -> Any:
    data = source.data_on_cpu if isinstance(source, FakeDeviceTensor) else source
    (target.data_on_cpu if isinstance(target, FakeDeviceTensor) else target).copy_(data)
    return target


# `torch.tensor(..., device="fake")` goes past Python's dispatch.
_library = torch.library.Library("aten", "IMPL")
_library.impl("empty_strided", _empty_strided, "PrivateUse1")
_library.impl("_copy_from", _copy_from, "PrivateUse1")
