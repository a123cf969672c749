"""Selecting a model's runner: the C kernel if it supports the model, else PyTorch.

The kernel is used if it can be built, supports the patterns, and the weights are on the CPU. Packed weights are cached per
model until a weight changes. PELLUCID_KERNEL=off (or =only) decides where kernel="auto" is asked for.
"""

import os
from typing import TYPE_CHECKING, Literal, get_args
from weakref import WeakKeyDictionary

from pellucid.errors import PellucidError
from pellucid.runtime.runner import Mode, Runner


if TYPE_CHECKING:
    from pellucid.gpt.decoder import Decoder
    from pellucid.runtime.kernel.packed import PackedWeights

Kernel = Literal["auto", "off", "only"]
VARIABLE = "PELLUCID_KERNEL"

_packed: "WeakKeyDictionary[Decoder, dict[str | None, tuple[object, PackedWeights]]]" = WeakKeyDictionary()


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
    from pellucid.runtime.torch_runner import TorchRunner

    kernel = chosen_kernel(kernel)
    if kernel == "off":
        if weights is not None:
            raise PellucidError(f"only the kernel computes with {weights} weights: leave out weights, or kernel='off'")
        if cache is not None:
            raise PellucidError(f"only the kernel keeps a cache of {cache}: leave out cache, or kernel='off'")
        return TorchRunner(model, mode=mode)
    if (reason := _unavailable_reason(model)) is None:
        return _kernel_runner(model, weights, cache)
    if kernel == "only" or weights is not None or cache is not None:
        raise PellucidError(f"no kernel here: {reason}")
    return TorchRunner(model, mode=mode)


def default_runner(model: "Decoder") -> Runner:
    """The runner of `generate`: the kernel, or PyTorch in fast mode; PyTorch for a model in training, which is not packed."""
    from pellucid.runtime.torch_runner import TorchRunner

    if any(parameter.requires_grad for parameter in model.parameters()):
        _packed.pop(model, None)  # an optimizer may write where no version is counted
        return TorchRunner(model)
    return make_runner(model, mode="fast")


def _unavailable_reason(model: "Decoder") -> str | None:
    """Why the kernel cannot compute this model, in a line; None if it can."""
    weight = model.wte.weight
    if weight.device.type != "cpu":
        return f"it computes on the CPU, and the model is on {weight.device.type}"
    if (dtype := str(weight.dtype).removeprefix("torch.")) not in ("float32", "bfloat16"):
        return f"it takes float32 and bfloat16 weights, not {dtype}"
    from pellucid.runtime.kernel.runner import unavailable_reason

    return unavailable_reason(model.config)


def _kernel_runner(model: "Decoder", weights: str | None, cache: str | None) -> Runner:
    """A runner over the packed weights, which are packed again if a parameter has changed since."""
    from pellucid.runtime.kernel.runner import KernelRunner, pack

    version = weight_versions(model)
    packed_by_format = _packed.setdefault(model, {})
    if weights not in packed_by_format or packed_by_format[weights][0] != version:
        packed_by_format[weights] = (version, pack(model, weights))
    return KernelRunner(packed_by_format[weights][1], cache=cache)


def weight_versions(model: "Decoder") -> tuple[tuple[int, int], ...]:
    """The address of each parameter and its version counter: equal values mean unchanged weights."""
    return tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in model.parameters())
