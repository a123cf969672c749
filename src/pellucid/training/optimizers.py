"""Optimizers by name: AdamW as GPT-3 used it, Muon, or any of `torch.optim` that takes plain steps.

Matrices decay, biases and LayerNorms do not (a choice: the paper does not say which parameters do), if the optimizer decays
at all. Muon (Jordan et al. 2024) updates the matrices of the blocks; AdamW updates embeddings, biases and LayerNorms beside it.
Both have one learning rate: Muon's updates are scaled to the size that AdamW's have (Liu et al. 2025, arXiv 2502.16982,
section 2.2; `adjust_lr_fn="match_rms_adamw"`).
"""

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.costs import parameter_shapes
from pellucid.gpt.torch_defaults import torch_defaults
from pellucid.runs.recipe import DEFAULT_OPTIMIZER, Recipe
from pellucid.training.muon import Muon


# Of `torch.optim`, but not supported: a step of LBFGS evaluates the loss several times, SparseAdam wants sparse gradients.
UNSUPPORTED = ("LBFGS", "SparseAdam", "Optimizer")


class CombinedOptimizer(torch.optim.Optimizer):
    """Several optimizers, each with parameters of its own, as one."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        super().__init__([{"params": [p for part in parts for group in part.param_groups for p in group["params"]]}], {})
        self.parts = parts
        # The parts' own, so that a rate set here is theirs.
        self.param_groups = [group for part in parts for group in part.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """A step of each."""
        assert closure is None
        for part in self.parts:
            part.step()


def names() -> list[str]:
    """The names that `make_optimizer` takes."""
    return sorted({DEFAULT_OPTIMIZER, *(name.lower() for name in _classes())})


def make_optimizer(
    model: nn.Module, recipe: Recipe, name: str = DEFAULT_OPTIMIZER, settings: Mapping[str, Any] | None = None
) -> torch.optim.Optimizer:
    """An optimizer of a model's parameters that ask for gradients.

    Muon multiplies in bfloat16 unless `settings` has "matmul_dtype": "float32"; a plan says which.

    Args:
        recipe: learning rate, weight decay, and Adam's constants.
        name: one of `names()`.
        settings: further arguments of its class, such as {"momentum": 0.9}; they override the recipe's.

    Raises:
        PellucidError: no such optimizer, or one that does not take these settings.
    """
    settings = dict(settings or {})
    found = {known.lower(): known for known in _classes()}
    if name not in found:
        raise PellucidError(f"unknown optimizer {name!r}: choose from {', '.join(names())}")
    named = [(parameter_name, p) for parameter_name, p in model.named_parameters() if p.requires_grad]
    if name == "muon":
        inside = [p for n, p in named if p.dim() == 2 and n.startswith("h.")]
        chosen = {id(p) for p in inside}
        others = [(n, p) for n, p in named if id(p) not in chosen]
        matrices = [{"params": inside, "weight_decay": recipe.weight_decay}]
        muon = _build("Muon", matrices, recipe, {"adjust_lr_fn": "match_rms_adamw"} | settings)
        return CombinedOptimizer([muon, _build("AdamW", _decay_groups(others, recipe), recipe, {})])
    return _build(found[name], _decay_groups(named, recipe), recipe, settings)


def check_optimizer(learning_rate: float, name: str | None, settings: Mapping[str, Any] | None) -> None:
    """Refuses what `make_optimizer` would, and what no step can be taken or saved with, before there is a model.

    Raises:
        PellucidError: as there, or a step fails.
    """
    _stepped(_stand_in(), Recipe.scaled(learning_rate, 1), name or DEFAULT_OPTIMIZER, settings)


@torch_defaults()
def optimizer_bytes(config: GPTConfig, name: str = DEFAULT_OPTIMIZER, settings: Mapping[str, Any] | None = None) -> int:
    """Bytes of an optimizer's state for a model of that shape, found by stepping a small stand-in: no model is made.

    Raises:
        PellucidError: as `make_optimizer`.
    """
    model = _stand_in()
    optimizer = _stepped(model, Recipe.scaled(1e-3, 1), name, settings)
    kinds = dict(model.named_parameters())
    total = 0
    for tensor_name, shape in parameter_shapes(config):
        kind = kinds["vector" if len(shape) < 2 else "h.matrix" if tensor_name.startswith("h.") else "matrix"]
        real = dict(zip(kind.shape, shape, strict=True))
        for value in _state(optimizer, kind).values():
            if isinstance(value, Tensor):
                total += value.element_size() * math.prod(real.get(size, size) for size in value.shape)
    return total


def _stepped(model: nn.Module, recipe: Recipe, name: str, settings: Mapping[str, Any] | None) -> torch.optim.Optimizer:
    """An optimizer that has taken a step, and whose state can be saved and restored.

    Raises:
        PellucidError: as `make_optimizer`, or the step fails.
    """
    optimizer = make_optimizer(model, recipe, name, settings)
    try:
        for _ in range(2):
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()
        restore(model, optimizer, dict(state_of(model, optimizer)))
    except Exception as error:  # whatever a value that PyTorch did not check raises
        reason = " ".join(str(error).split())
        raise PellucidError(f"{name} cannot take a step with this learning rate and these settings: {reason}") from None
    return optimizer


def _stand_in() -> nn.Module:
    """A module with a parameter of each kind, rows and columns of different lengths, so that a state's shape shows its axes."""
    model, blocks = nn.Module(), nn.Module()
    model.add_module("h", blocks)
    for owner, name, shape in ((blocks, "matrix", (3, 5)), (model, "matrix", (3, 5)), (model, "vector", (7,))):
        owner.register_parameter(name, nn.Parameter(torch.ones(shape)))
    return model


def _decay_groups(named: Sequence[tuple[str, Tensor]], recipe: Recipe) -> list[dict[str, Any]]:
    return [
        {"params": [p for _, p in named if p.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for _, p in named if p.dim() < 2], "weight_decay": 0.0},
    ]


def _build(name: str, groups: list[dict[str, Any]], recipe: Recipe, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
    kind = Muon if name == "Muon" else getattr(torch.optim, name)
    takes = set(inspect.signature(getattr(torch.optim, name).__init__).parameters) - {"self", "params"}
    takes |= {"matmul_dtype"} if kind is Muon else set()
    if unknown := sorted(set(settings) - takes):
        raise PellucidError(f"{name} takes no {unknown[0]!r}: it has {', '.join(sorted(takes - {'lr'}))}")
    recipes: dict[str, Any] = {"lr": recipe.learning_rate}
    if name in ("Adam", "AdamW", "NAdam", "RAdam", "Adamax"):
        recipes |= {"betas": (recipe.beta1, recipe.beta2), "eps": recipe.eps}
    if "decoupled_weight_decay" in takes:
        recipes["decoupled_weight_decay"] = True
    if "fused" in takes and not settings.get("foreach"):
        recipes["fused"] = True
    if "weight_decay" in settings:
        groups = [group | ({"weight_decay": settings["weight_decay"]} if group["weight_decay"] else {}) for group in groups]
    elif "weight_decay" not in takes:
        groups = [{"params": group["params"]} for group in groups]
    elif name not in ("AdamW", "Muon") and "decoupled_weight_decay" not in takes:
        groups = [group | {"weight_decay": 0.0} for group in groups]  # a penalty on the loss is another thing than decay
    try:
        made: torch.optim.Optimizer = kind([g for g in groups if g["params"]], **(recipes | dict(settings)))
    except (ValueError, TypeError, RuntimeError) as error:
        raise PellucidError(f"{name} does not take these settings: {error}") from None
    return made


def _classes() -> list[str]:
    kinds = {name: kind for name, kind in vars(torch.optim).items() if isinstance(kind, type)}
    return [n for n, kind in kinds.items() if issubclass(kind, torch.optim.Optimizer) and n not in UNSUPPORTED]


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """The optimizer's state by parameter, as ("h.0.ln_1.weight.exp_avg", tensor); plain numbers as float64 tensors."""
    for name, parameter in model.named_parameters():
        for key, value in _state(optimizer, parameter).items():
            if isinstance(value, Tensor):
                yield f"{name}.{key}", value
            elif isinstance(value, int | float):
                yield f"{name}.{key}.number", torch.tensor(float(value), dtype=torch.float64)
            else:
                assert value is None, f"{type(optimizer).__name__} keeps a {type(value).__name__}, which no checkpoint holds"


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, kept: Mapping[str, Tensor]) -> None:
    """The inverse of `state_of`; each tensor goes to its parameter's device."""
    for part in _parts(optimizer):
        part.state.clear()
    owners = {id(p): (part, group) for part in _parts(optimizer) for group in part.param_groups for p in group["params"]}
    known = dict(model.named_parameters())
    for full, value in kept.items():
        stem = full.removesuffix(".number")
        name, _, key = stem.rpartition(".")
        parameter = known[name]
        part, group = owners[id(parameter)]
        if full != stem:
            part.state[parameter][key] = value.item()
            continue
        # As in torch.optim: step counts stay on the CPU unless the optimizer's kernel reads them.
        on_device = key != "step" or group.get("fused") or group.get("capturable")
        device = parameter.device if on_device else torch.device("cpu")
        part.state[parameter][key] = value.to(device, copy=True)  # not a view of a file that will be removed


def _parts(optimizer: torch.optim.Optimizer) -> Sequence[torch.optim.Optimizer]:
    return optimizer.parts if isinstance(optimizer, CombinedOptimizer) else [optimizer]


def _state(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Any]:
    for part in _parts(optimizer):
        if parameter in part.state:
            found: dict[str, Any] = part.state[parameter]
            return found
    return {}
