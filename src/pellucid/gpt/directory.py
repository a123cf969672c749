"""A model as a directory: `config.json` and `model.safetensors` (a tokenizer's `tokenizer.json` beside them is `text`'s).

An all-dense model is written exactly as `transformers` writes GPT-2 (`model_type: gpt2`, its tensor names, matrices as
(in, out)), so it opens there, and GPT-2 directories open here. Any other pattern has the same tensor names under
`model_type: pellucid`, which stock loaders refuse rather than run dense.

Storage "int8" keeps every matrix as one signed byte a number with a float32 scale for each output row: a quarter of the
size, for shipping. It is read back into floating point.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.files import write_whole
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.pattern import Dense, all_dense


CONFIG = "config.json"
WEIGHTS = "model.safetensors"
STORAGES = ("float32", "bfloat16", "float16", "int8")
PREFIX = "transformer."
SCALE = ".scale"
PRODUCER = "pellucid"
# GPT-2's published code keeps these four matrices as (in, out); torch.nn.Linear keeps (out, in).
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
GPT2_ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}


def save_model(model: Decoder, directory: Path, *, storage: str = "float32") -> None:
    """Writes config and weights; each file is complete or absent (written beside, then renamed).

    Args:
        storage: "float32", "bfloat16", "float16" or "int8" (which makes it `model_type: pellucid`).

    Raises:
        PellucidError: an unknown storage, or a disk that would not take it.
    """
    if storage not in STORAGES:
        raise PellucidError(f"unknown storage {storage!r}: use one of {', '.join(STORAGES)}")
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensor = parameter.detach().cpu()
        if storage == "int8" and tensor.dim() == 2:
            scale = (tensor.float().abs().amax(dim=1, keepdim=True) / 127).clamp_min(1e-12)
            tensors[PREFIX + name + SCALE] = scale
            tensor = (tensor.float() / scale).round().to(torch.int8)
        else:
            tensor = tensor.to(torch.float32 if storage == "int8" else getattr(torch, storage))
        tensors[PREFIX + name] = tensor.T.contiguous() if name.endswith(TRANSPOSED) else tensor.contiguous()
    part = directory / f"{WEIGHTS}.part"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / CONFIG, json.dumps(_to_json(model.config, storage), indent=2) + "\n")
        save_file(tensors, part, metadata={"format": "pt"})
        shutil.copymode(directory / CONFIG, part)  # safetensors would keep it private
        os.replace(part, directory / WEIGHTS)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise PellucidError(f"could not write the model to {directory}: {error}") from error


def _to_json(config: GPTConfig, storage: str) -> dict[str, Any]:
    dense = all(isinstance(p, Dense) for p in config.pattern) and storage != "int8"
    written: dict[str, Any] = {
        "model_type": "gpt2" if dense else "pellucid",
        "architectures": ["GPT2LMHeadModel" if dense else "PellucidGPT"],
        "vocab_size": config.vocab_size,
        "n_positions": config.n_ctx,
        "n_ctx": config.n_ctx,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "activation_function": "gelu_new" if config.activation == "gelu_tanh" else "gelu",
        "layer_norm_epsilon": config.norm_eps,
        "attn_pdrop": 0.0,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "bos_token_id": config.vocab_size - 1,
        "eos_token_id": config.vocab_size - 1,
        "tie_word_embeddings": True,
        "dtype": storage,
        "producer": PRODUCER,
    }
    if not dense:
        written["pattern"] = [str(p) for p in config.pattern]
    if config.name:
        written["name"] = config.name
    return written


def read_config(directory: Path) -> GPTConfig:
    """The shape of the model in `directory`.

    Raises:
        PellucidError: no config.json, not JSON, another kind of model, or a key missing; the message names the file.
    """
    path = directory / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PellucidError(f"no model in {directory}: it has no {CONFIG}") from None
    except ValueError as error:
        raise PellucidError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise PellucidError(f"{path} is not a JSON object")
    kind = values.get("model_type")
    if kind not in ("gpt2", "pellucid"):
        raise PellucidError(f"{path}: model_type {kind!r} is not one this version reads (gpt2, pellucid)")
    for key in ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn"):
        if values.get(key):
            raise PellucidError(f"{path}: {key} is not supported; it would change the model's answers")
    if values.get("scale_attn_weights", True) is not True or values.get("tie_word_embeddings", True) is not True:
        raise PellucidError(f"{path}: unscaled attention or an untied head is not GPT-2's shape")
    activation = values.get("activation_function", "gelu_new")
    if activation not in GPT2_ACTIVATIONS:
        raise PellucidError(f"{path}: activation {activation!r} is not supported: {', '.join(GPT2_ACTIVATIONS)}")
    try:
        shape = {
            "vocab_size": values["vocab_size"],
            "n_ctx": values.get("n_positions") or values["n_ctx"],
            "n_layers": values["n_layer"],
            "d_model": values["n_embd"],
            "n_heads": values["n_head"],
        }
        pattern = values["pattern"] if kind == "pellucid" else [str(p) for p in all_dense(shape["n_layers"])]
    except KeyError as error:
        raise PellucidError(f"{path} lacks {error.args[0]!r}") from None
    # Choice: a GPT-2 from elsewhere is fine-tuned without its training's dropout; ours keep their own.
    ours = values.get("producer") == PRODUCER
    try:
        return GPTConfig.from_dict(
            shape
            | {
                "d_ff": values.get("n_inner") or 0,
                "activation": GPT2_ACTIVATIONS[activation],
                "norm_eps": values.get("layer_norm_epsilon", 1e-5),
                "dropout": values.get("resid_pdrop", 0.0) if ours else 0.0,
                "pattern": pattern,
                "name": values.get("name", ""),
            }
        )
    except TypeError as error:
        raise PellucidError(f"{path}: a value is not of its kind: {error}") from None


def load_weights(
    model: Decoder, directory: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> None:
    """Fills `model` (on the meta device or not) from `directory`.

    Args:
        dtype: of the parameters; None is float32. Parameters on the meta device become views of the mapped file where
            no conversion is needed: replace that file, do not overwrite it in place.

    Raises:
        PellucidError: the file is missing, truncated or holds a missing, extra, wrong-shaped or non-finite tensor; the
            message names file and tensor.
    """
    path = directory / WEIGHTS
    wanted = dict(model.named_parameters())
    try:
        with safe_open(path, framework="pt") as file:
            names = {_plain(name): name for name in file.keys() if _is_weight(name)}  # noqa: SIM118 (not a dict)
            if missing := sorted(set(wanted) - set(names)):
                raise PellucidError(f"{path} lacks the tensor {missing[0]!r} ({len(missing)} missing in all)")
            extra = sorted(n for n in set(names) - set(wanted) if not n.endswith(SCALE))
            if extra:
                raise PellucidError(f"{path} holds a tensor that does not belong: {extra[0]!r} ({len(extra)} in all)")
            state = {}
            for name, parameter in wanted.items():
                tensor = file.get_tensor(names[name])
                tensor = tensor.T if name.endswith(TRANSPOSED) else tensor
                if tensor.shape != parameter.shape:
                    raise PellucidError(
                        f"{path}: {name!r} has shape {tuple(tensor.shape)}, but the config asks for {tuple(parameter.shape)}"
                    )
                if tensor.dtype == torch.int8:
                    if name + SCALE not in names:
                        raise PellucidError(f"{path} lacks the tensor {name + SCALE!r}")
                    tensor = tensor.float() * file.get_tensor(names[name + SCALE])
                if not torch.isfinite(tensor).all():
                    raise PellucidError(f"{path}: {name!r} holds NaN or infinite values")
                state[name] = tensor.to(device=device, dtype=dtype or torch.float32).contiguous()
    except FileNotFoundError:
        raise PellucidError(f"no model in {directory}: it has no {WEIGHTS}") from None
    except SafetensorError as error:
        raise PellucidError(f"{path} is damaged or truncated: {error}") from None
    # Parameters in place keep their identity (an optimizer holds them); those on the meta device have no place yet.
    model.load_state_dict(state, assign=model.wte.weight.is_meta)


def _plain(name: str) -> str:
    return name.removeprefix(PREFIX)


def _is_weight(name: str) -> bool:
    # GPT-2's files may also hold the causal mask as a buffer, and the tied head a second time.
    return not name.endswith((".attn.bias", ".attn.masked_bias")) and name != "lm_head.weight"
