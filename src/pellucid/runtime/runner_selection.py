"""Selecting a model's runner: the C kernel if it supports the model, else PyTorch.

The kernel is used if it can be built, supports the patterns, the weights are on the CPU, and nothing but them was changed
(`module_changes`): else the model's own modules are called. Packed weights are cached per model until a parameter's bytes
change. PELLUCID_KERNEL=off (or =only) decides where kernel="auto" is asked for. Why PyTorch is used although the kernel was
preferred is a line of the logger "pellucid" (level INFO), once for each model and reason.
"""

import os
from typing import TYPE_CHECKING, Literal, get_args
from weakref import WeakKeyDictionary

from pellucid.errors import PellucidError
from pellucid.runtime.runner import AblatingRunner, Mode, Runner


if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.gpt.ablation import MeanOutputs
    from pellucid.gpt.decoder import Decoder
    from pellucid.gpt.tap import Tap
    from pellucid.runtime.kernel.packed import PackedWeights
    from pellucid.runtime.module_changes import ModuleChange

Kernel = Literal["auto", "off", "only"]
VARIABLE = "PELLUCID_KERNEL"

_packed: "WeakKeyDictionary[Decoder, dict[str | None, tuple[object, PackedWeights]]]" = WeakKeyDictionary()
_logged: "WeakKeyDictionary[Decoder, set[str]]" = WeakKeyDictionary()


def chosen_kernel(kernel: str) -> Kernel:
    """Checks a choice of kernel; "auto" becomes what PELLUCID_KERNEL says.

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


def make_runner(
    model: "Decoder", *, mode: Mode = "exact", kernel: Kernel = "auto", weights: str | None = None, cache: str | None = None
) -> Runner:
    """A runner of a model as it is now; see `GPT.runner`."""
    if mode not in get_args(Mode):
        raise PellucidError(f"unknown mode {mode!r}: use exact or fast")
    from pellucid.runtime.module_changes import find_change

    kernel = chosen_kernel(kernel)
    change = find_change(model)
    if kernel == "off":
        if weights is not None:
            raise PellucidError(f"only the kernel computes with {weights} weights: leave out weights, or kernel='off'")
        if cache is not None:
            raise PellucidError(f"only the kernel keeps a cache of {cache}: leave out cache, or kernel='off'")
        return _torch_runner(model, change, mode)
    if (reason := _unavailable_reason(model, change)) is None:
        return _kernel_runner(model, weights, cache)
    if kernel == "only" or weights is not None or cache is not None:
        raise PellucidError(f"no kernel here: {reason}")
    _log_once(model, reason)
    return _torch_runner(model, change, mode)


def default_runner(model: "Decoder") -> Runner:
    """The runner of `generate`: the kernel, or PyTorch in fast mode; always PyTorch for a model with trainable parameters."""
    if any(parameter.requires_grad for parameter in model.parameters()):
        _packed.pop(model, None)  # each sample during training would pack them again
        return torch_runner(model)
    return make_runner(model, mode="fast")


def torch_runner(model: "Decoder", tap: "Tap | None" = None) -> Runner:
    """A runner on PyTorch, in fast mode, that computes what the model's modules compute.

    Args:
        tap: sees the tensors of its forward passes, as if all tokens of a pass were one sequence.
    """
    from pellucid.runtime.module_changes import find_change

    return _torch_runner(model, find_change(model), "fast", tap)


def mean_outputs(model: "Decoder", ids: "Sequence[int]") -> "MeanOutputs":
    """The mean outputs of a model's parts over the positions of a text, on PyTorch; see `runner.AblatingRunner`."""
    runner = torch_runner(model)
    assert isinstance(runner, AblatingRunner)
    return runner.mean_outputs(ids)


def _torch_runner(model: "Decoder", change: "ModuleChange | None", mode: Mode, tap: "Tap | None" = None) -> Runner:
    from pellucid.runtime.torch_runner import TorchRunner
    from pellucid.runtime.uncached_runner import UncachedRunner, is_cacheable

    if change is None:
        return TorchRunner(model, mode=mode, tap=tap)
    if mode == "fast" and change.kind == "module" and is_cacheable(model):
        return TorchRunner(model, tap=tap, one_sequence=True)
    return UncachedRunner(model, mode=mode, tap=tap)


def _unavailable_reason(model: "Decoder", change: "ModuleChange | None") -> str | None:
    """Why the kernel cannot compute this model, in a line; None if it can."""
    if change is not None:
        return f"it computes from the parameters alone, and {change.reason}"
    import torch

    weight = model.wte.weight
    if weight.device.type != "cpu":
        return f"it computes on the CPU, and the model is on {weight.device.type}"
    if (dtype := str(weight.dtype).removeprefix("torch.")) not in ("float32", "bfloat16"):
        return f"it takes float32 and bfloat16 weights, not {dtype}"
    for name, parameter in model.named_parameters():
        if type(parameter) is not torch.nn.Parameter or parameter.layout != torch.strided:
            return f"it takes dense tensors, and {name} is a {type(parameter).__name__} of layout {parameter.layout}"
        if parameter.is_neg():
            return f"it reads a tensor's memory, and {name} is a view that negates it"
        if parameter.device != weight.device or parameter.dtype != weight.dtype:
            return f"it takes weights of one dtype and device, and {name} is {parameter.dtype} on {parameter.device}"
    from pellucid.runtime.kernel.runner import unavailable_reason

    return unavailable_reason(model.config)


def _kernel_runner(model: "Decoder", weights: str | None, cache: str | None) -> Runner:
    """A runner over the packed weights, which are packed again if a parameter has changed since."""
    from pellucid.runtime.kernel.fingerprint import parameter_fingerprint
    from pellucid.runtime.kernel.runner import KernelRunner, arrays_of, pack

    key = (model.config, parameter_fingerprint(arrays_of(model)))
    packed_by_format = _packed.setdefault(model, {})
    if weights not in packed_by_format or packed_by_format[weights][0] != key:
        packed_by_format[weights] = (key, pack(model, weights))
    return KernelRunner(packed_by_format[weights][1], cache=cache)


def _log_once(model: "Decoder", reason: str) -> None:
    logged = _logged.setdefault(model, set())
    if reason not in logged:
        import logging  # here, for the kernel path to import little

        logged.add(reason)
        logging.getLogger("pellucid").info("using PyTorch instead of the kernel: %s", reason)
