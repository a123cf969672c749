"""Adapters in the format of the `peft` library: `adapter_config.json` and `adapter_model.safetensors`.

There A is (r, in) and B is (out, r) under the module's name in `transformers`' GPT2LMHeadModel, whose matrices lie as (in, out)
(`fan_in_fan_out`). PEFT gives a module one adapter for all of its rows, and GPT-2's queries, keys and values are rows of one
matrix, `c_attn`. Adapters of q and v alone, each of rank r, are therefore written as one of rank 2r that changes the same rows
by the same numbers and the other rows not at all: the A are stacked, the B are blocks (n is the number of adapters):

    A = [A_q; A_v]    B = [[B_q, 0], [0, 0], [0, B_v]]    r' = n r    alpha' = n alpha, so that alpha' / r' = alpha / r

It computes the same function. If it is trained further in PEFT, the zeros of B are trained, too, and it is no longer two
separate adapters.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.files import make_folder, write_whole
from pellucid.finetuning.lora import LoraLinear, LoraModel
from pellucid.generation.load import load
from pellucid.gpt.safetensors_write import write_tensors
from pellucid.runs.files import ADAPTER, BASE, BEST, step_of
from pellucid.runs.plan import Plan
from pellucid.training import checkpoint


CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model.transformer."  # of module names: PEFT's wrappers, then GPT2LMHeadModel's


def export_adapter(run: Path, plan: Plan) -> None:
    """Writes `RUN/adapter/`: the adapters of the model in `RUN/model`, for PEFT. Does nothing for a run without LoRA.

    Raises:
        PellucidError: a file of the run is missing or damaged, or the folder cannot be written.
    """
    newest = checkpoint.newest(run)
    if plan.lora is None or newest is None:
        return
    model = LoraModel(load(run / BASE), plan.lora)
    finished = step_of(newest) >= plan.total_steps
    model.restore(run / BEST if plan.keep_best and finished else newest)
    save_adapter(model, run / ADAPTER, base=str(run / BASE))


def save_adapter(model: LoraModel, directory: Path, *, base: str) -> None:
    """Writes a model's adapters so that `peft.PeftModel.from_pretrained(base_model, directory)` reads them.

    Args:
        base: the name or path of the base model, which the config states.

    Raises:
        PellucidError: the folder cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for name, layer in model.lora_layers():
        tensors[f"{PREFIX}{name}.lora_A.weight"], tensors[f"{PREFIX}{name}.lora_B.weight"] = as_one(layer)
    make_folder(directory)
    write_whole(directory / CONFIG_FILE, json.dumps(_config(model, base), indent=2) + "\n")
    write_tensors(directory / WEIGHTS_FILE, tensors, metadata={"format": "pt"})


def as_one(layer: LoraLinear) -> tuple[Tensor, Tensor]:
    """The n adapters of a layer, each of rank R, as one: (A (n R, C), B (out, n R)), float32 on the CPU."""
    a = torch.cat([layer.parts_of(adapter)[0].detach().float().cpu() for adapter in layer.adapters])
    b, column = torch.zeros(layer.out_features, len(a)), 0
    for adapter in layer.adapters:
        part = layer.parts_of(adapter)[1].detach().float().cpu()
        b[adapter.first : adapter.first + adapter.out, column : column + part.shape[1]] = part
        column += part.shape[1]
    return a, b


def _config(model: LoraModel, base: str) -> dict[str, Any]:
    """The contents of `adapter_config.json`. Modules with several adapters get a rank and an alpha of their own."""
    settings = model.settings
    counts = {name.split(".", 2)[2]: len(layer.adapters) for name, layer in model.lora_layers()}  # by module of a block
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "rank_pattern": {name: count * settings.rank for name, count in counts.items() if count > 1},
        "alpha_pattern": {name: count * (settings.alpha or 0) for name, count in counts.items() if count > 1},
        "target_modules": sorted(counts),
        "fan_in_fan_out": True,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }
