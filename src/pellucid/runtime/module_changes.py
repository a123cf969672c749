"""What a model computes beyond its config and its parameters: hooks, modes, replaced methods, functions and modules.

A kernel reads the parameters and never calls a module, so it must not compute a model that was changed in one of these ways.
The comparison is with a decoder of the same config as this package makes it, attribute by attribute, so that a change is seen
whatever tool made it (LoRA, parametrizations, quantization, hooks of any library). Functions of PyTorch and of the decoder are
compared with those that were there when the decoder was imported.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import nn
from torch._C import _len_torch_dispatch_stack
from torch.nn.modules import module as torch_module
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import DEFINED_FUNCTIONS, DEFINED_METHODS, Decoder


_OF_EVERY_MODULE = frozenset(vars(nn.Module()))  # parameters, submodules, hooks, the training flag


@dataclass(frozen=True, slots=True)
class ModuleChange:
    """The first change that was found.

    Attributes:
        reason: what was changed, in a few words: "h.0.mlp has a forward hook".
        kind: "code": a hook or a replaced method runs in the forward pass, and may combine the positions of its tensors in
            any way. "module": a submodule, parameter or attribute was replaced.
    """

    reason: str
    kind: Literal["code", "module"]


def find_change(model: Decoder) -> ModuleChange | None:
    """The first change of a model; None if its config and parameters determine what it computes."""
    if reason := next(_hooks_and_methods(model), None):
        return ModuleChange(reason, kind="code")
    if reason := next(_replaced(model), None):
        return ModuleChange(reason, kind="module")
    return None


def _hooks_and_methods(model: Decoder) -> Iterator[str]:
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        yield "there is a forward hook on all modules"
    if _active_modes():
        yield "a TorchFunctionMode or TorchDispatchMode is active"
    for place, functions in DEFINED_FUNCTIONS.items():
        for name, function in functions.items():
            if vars(place).get(name) is not function:
                yield f"{place.__name__}.{name} was replaced"
    for cls, methods in DEFINED_METHODS.items():
        for name, method in methods.items():
            if vars(cls).get(name) is not method:
                yield f"{cls.__name__}.{name} was replaced"
    for cls in (Decoder, nn.Module):  # of a subclass
        for name in DEFINED_METHODS[cls]:
            if getattr(type(model), name) is not getattr(cls, name):
                yield f"{type(model).__name__} has a {name} of its own"
    for name, module in model.named_modules(remove_duplicate=False):
        where = name or "the model"
        if module._forward_hooks or module._forward_pre_hooks:
            yield f"{where} has a forward hook"
        compiled = vars(module).get("_compiled_call_impl")
        if compiled is not None and getattr(compiled, "_torchdynamo_orig_callable", None) != module._call_impl:
            yield f"{where} has a _compiled_call_impl of its own"
        for attribute in vars(module):
            if attribute in module._parameters or attribute in module._modules:
                yield f"{where} has another {attribute} before its own"
            if attribute not in _OF_EVERY_MODULE and callable(getattr(type(module), attribute, None)):
                yield f"{where} has a {attribute} of its own"


def _active_modes() -> bool:
    """Whether a mode sees the calls of this thread; one that only says where tensors are made does not count."""
    functions = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return _len_torch_dispatch_stack() > 0 or any(not isinstance(mode, DeviceContext) for mode in functions)


def _replaced(model: Decoder) -> Iterator[str]:
    expected = _unchanged_modules(model.config)
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, module in modules.items():
        where = name or "the model"
        if name not in expected:
            yield f"{where} is a module that a decoder does not have"
            return
        unchanged = expected[name]
        if name and type(module) is not type(unchanged):
            yield f"{where} is a {type(module).__name__}, not a {type(unchanged).__name__}"
        for attribute, value in vars(unchanged).items():
            if attribute in _OF_EVERY_MODULE:
                continue
            own = vars(module).get(attribute, nn.Module)  # a default that no attribute equals
            if type(own) is not type(value) or own != value:
                yield f"{where} has another {attribute}"
        for parameter, like in unchanged._parameters.items():
            own = module._parameters.get(parameter)
            if (None if own is None else own.shape) != (None if like is None else like.shape):
                yield f"{where} has another {parameter}, or none"
    for name in expected:
        if name not in modules:
            yield f"{name} is missing"


@lru_cache(maxsize=8)
def _unchanged_modules(config: GPTConfig) -> dict[str, nn.Module]:
    """The modules of a decoder of this shape by name, without memory for its parameters."""
    with torch.device("meta"):
        return dict(Decoder(config).named_modules(remove_duplicate=False))
