"""Models that a user changed in each way that tests know, by module and edit: `changed`."""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from models import lively
from torch import Tensor, nn
from torch.nn.utils import parametrize

import pellucid
from pellucid.gpt.decoder import Attention


CONFIG = pellucid.GPTConfig(
    vocab_size=61, n_ctx=32, n_layers=2, d_model=24, n_heads=3, dropout=0.4, pattern=("banded(5)", "dense")
)


@cache
def original() -> pellucid.GPT:
    return lively(pellucid.GPT(CONFIG, seed=2))


NAMES = [name for name, _ in original().named_modules()]


class Wrapped(nn.Module):
    """Another module around the one that was there, as LoRA's are."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.dropout = nn.Dropout(0.5)  # which must be off

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, *args: Any) -> Tensor:
        return self.dropout(self.inner(*args)) * 1.25


class Averaging(Wrapped):
    """One that mixes the positions, so that no text can be read in parts."""

    def forward(self, *args: Any) -> Tensor:
        out = self.inner(*args)
        return out + out.cumsum(-2)


class Ignorant(nn.Module):
    """An attention, MLP or block without the arguments that ours take beside the vectors."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, cache: None = None, tap: None = None) -> Tensor:
        return self.inner(x, None, None) if isinstance(self.inner, Attention) else self.inner(x)


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * 2


def replace_module(model: pellucid.GPT, name: str, other: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, other)


def scale_output(module: nn.Module, args: Any, out: Tensor) -> Tensor:
    return out * 0.8


def change_position(module: nn.Module, args: Any, out: Tensor) -> Tensor:
    """What an ablation does: position 2 of each sequence. Positions are the last axis but one."""
    out = out.clone()
    out[..., 2:3, :] = 0
    return out


def change_last(module: nn.Module, args: Any, out: Tensor) -> Tensor:
    out = out.clone()
    out[..., -1, :] *= -1
    return out


def scale_input(module: nn.Module, args: Any) -> Any:
    return (args[0] * 0.7 if args[0].is_floating_point() else args[0].flip(-1), *args[1:])


def patch_forward(module: nn.Module) -> None:
    before = module.forward
    module.forward = lambda *args, **others: before(*args, **others) * 1.5


def patch_call(module: nn.Module) -> None:
    before = module._call_impl
    module._call_impl = lambda *args, **others: before(*args, **others) * 1.5


def swap_class(module: nn.Module) -> None:
    def forward(self: nn.Module, *args: Any, **others: Any) -> Tensor:
        return super(own, self).forward(*args, **others) * 1.5

    own = type("Own", (type(module),), {"forward": forward})
    module.__class__ = own


def has_weight(module: nn.Module) -> bool:
    return isinstance(getattr(module, "weight", None), nn.Parameter)


def weight_norm(module: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it is the old form that is meant
        nn.utils.weight_norm(module)
    with torch.no_grad():
        module.weight_g.mul_(1.3)


def edited_attributes(module: nn.Module) -> None:
    """Those that change what is computed. Not an embedding's max_norm, with which each reading changes the weights."""
    for name, value in {"eps": 0.3, "activation": torch.relu, "scaled": False, "post_norm": True}.items():
        if name in vars(module):
            setattr(module, name, value)


def in_inference_mode(weight: nn.Parameter) -> None:
    with torch.inference_mode():
        weight[0] += 1.0


def in_no_grad(weight: nn.Parameter) -> None:
    with torch.no_grad():
        weight[0] += 1.0


def one_sign(weight: nn.Parameter) -> None:
    weight.data.view(-1)[-1] *= -1


def all_signs(weight: nn.Parameter) -> None:
    weight.data.neg_()


def one_bit(weight: nn.Parameter) -> None:
    bits = weight.detach().numpy().view("uint32").reshape(-1)
    bits[len(bits) // 2] ^= 1 << 25  # 16 times as much, or as little


def swapped_rows(weight: nn.Parameter) -> None:
    weight.data = weight.data.flip(0)


def new_storage(weight: nn.Parameter) -> None:
    weight.data = weight.data.clone() + 0.5


def through_numpy(weight: nn.Parameter) -> None:
    weight.detach().numpy()[...] *= 0.5


Edit = Callable[[pellucid.GPT, str, nn.Module], Any]


def on_weight(edit: Callable[[nn.Parameter], None]) -> Edit:
    return lambda model, name, module: edit(module.weight) if has_weight(module) else None


EDITS: dict[str, Edit] = {
    "hook": lambda model, name, module: module.register_forward_hook(scale_output),
    "hook on one position": lambda model, name, module: module.register_forward_hook(change_position),
    "hook on the last position": lambda model, name, module: module.register_forward_hook(change_last),
    "pre-hook": lambda model, name, module: module.register_forward_pre_hook(scale_input),
    "patched forward": lambda model, name, module: patch_forward(module),
    "patched call": lambda model, name, module: patch_call(module),
    "subclass": lambda model, name, module: swap_class(module),
    "wrapped": lambda model, name, module: replace_module(model, name, Wrapped(module)) if name not in ("", "h") else None,
    "averaging": lambda model, name, module: replace_module(model, name, Averaging(module)) if name not in ("", "h") else None,
    "ignorant": lambda model, name, module: (
        replace_module(model, name, Ignorant(module)) if name.count(".") in (1, 2) and "ln" not in name else None
    ),
    "parametrized": lambda model, name, module: (
        parametrize.register_parametrization(module, "weight", Doubled()) if has_weight(module) else None
    ),
    "weight norm": lambda model, name, module: weight_norm(module) if isinstance(module, nn.Linear) else None,
    "attributes": lambda model, name, module: edited_attributes(module),
    "no bias": lambda model, name, module: setattr(module, "bias", None) if isinstance(module, nn.Linear) else None,
    "tensor subclass": on_weight(lambda weight: setattr(weight, "__class__", type("Own", (nn.Parameter,), {}))),
} | {edit.__name__: on_weight(edit) for edit in (
    in_inference_mode, in_no_grad, one_sign, all_signs, one_bit, swapped_rows, new_storage, through_numpy,
)}  # fmt: skip


def changed(name: str, edit: str) -> pellucid.GPT:
    model = original().copy()
    model.generate([1, 2, 3], max_tokens=2)  # whatever is kept of it must not answer for the edited model
    EDITS[edit](model, name, model.get_submodule(name))
    return model
