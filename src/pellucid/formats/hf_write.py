"""Writing a model as `transformers` reads it: GPT-2, GPT-Neo and OPT, with tokenizer and generation settings.

What the family cannot hold is refused; what it would compute differently is reported by `losses` before anything is written.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.files import write_whole
from pellucid.formats.families import GPT2, GPT_NEO, OPT, Family
from pellucid.formats.fold import MAX_GROWTH, Shift, condition, fold, shifts
from pellucid.formats.target import dense_up_to
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.config_json import ACTIVATION_NAMES, CONFIG, GENERATION, WEIGHTS, eos_token_id, gpt2_json
from pellucid.gpt.decoder import Block, Decoder
from pellucid.gpt.pattern import Banded
from pellucid.gpt.safetensors_write import write_tensors
from pellucid.text import tokenizer_files, tokenizer_write
from pellucid.text.tokenizer import Tokenizer


WRITTEN: dict[str, Family] = {"hf-gpt2": GPT2, "hf-gpt-neo": GPT_NEO, "hf-opt": OPT}
# The parameters that these families have, in our names: in a block, and outside of the blocks.
SUPPORTED_PARAMETERS = {"ln_1", "ln_2", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"} | {
    "wte", "wpe", "ln_f", "project_in", "project_out"
}  # fmt: skip
OPT_EPS = 1e-5  # fixed in its code


def losses(model: Decoder, family: Family) -> list[str]:
    """What would be computed differently after writing `model` as `family`, a line each; none where it is exact.

    Raises:
        PellucidError: the family has no way to hold this shape, or these weights.
    """
    config = model.config
    _check_possible(model, family)
    lost = _lost_patterns(config, family)
    if family is OPT and config.norm_eps != OPT_EPS:
        lost.append(f"LayerNorm's epsilon {config.norm_eps:g}: OPT's is {OPT_EPS:g}")
    if model.wte.weight.dtype == torch.float64:
        lost.append("float64 weights are rounded to float32")
    if family is GPT_NEO and config.qkv_bias:
        block_shifts = shifts(model)
        worst = max(range(len(block_shifts)), key=lambda block: block_shifts[block].growth)
        if block_shifts[worst].growth > MAX_GROWTH:
            block = model.h[worst]
            assert isinstance(block, Block)
            lost.append(
                f"query biases: moving block {worst}'s makes numbers {block_shifts[worst].growth:.3g} times larger, and "
                f"float32 loses that much (condition number {condition(block):.3g}, residual "
                f"{block_shifts[worst].residual:.3g})"
            )
    return lost


def _check_possible(model: Decoder, family: Family) -> None:
    config = model.config
    for name, _ in model.named_parameters():
        if name.removesuffix(".weight").removesuffix(".bias").split(".", 2)[-1] not in SUPPORTED_PARAMETERS:
            raise PellucidError(
                f"{family.architecture} has no such parameter as {name!r}: this model cannot be written so"
            )
    if family is OPT:
        if config.norm == "post" and config.final_norm:
            raise PellucidError("OPT with norms after its branches has none at the end: this model cannot be written so")
        return
    name = family.architecture
    if config.norm != "pre":
        raise PellucidError(f"{name} normalizes before each branch, this model after it: it cannot be written so; hf-opt can")
    if not config.final_norm:
        raise PellucidError(f"{name} has a last LayerNorm, this model none: it cannot be written so; hf-opt can")
    if config.d_embed != config.d_model:
        raise PellucidError(f"{name} has no embeddings narrower than the stream: this model cannot be written so; hf-opt can")


def _lost_patterns(config: GPTConfig, family: Family) -> list[str]:
    """A line for each pattern that the family would replace by another."""
    window, lost = _window(config), []
    for pattern in dict.fromkeys(config.pattern):
        exact = dense_up_to(pattern, config.n_ctx)
        if exact >= config.n_ctx:
            continue
        instead = "dense"
        if family is GPT_NEO and isinstance(pattern, Banded):
            if pattern.width == window:
                continue
            instead = f"banded({window}), as GPT-Neo has one window for all blocks"
        blocks = [str(block) for block, p in enumerate(config.pattern) if p == pattern]
        shown = ", ".join(blocks[:4]) + (", ..." if len(blocks) > 4 else "")
        upto = f" (texts of up to {exact} tokens stay exact)" if exact > 1 else ""
        lost.append(f"{pattern} attention of block{'s' * (len(blocks) > 1)} {shown} becomes {instead}{upto}")
    return lost


def _window(config: GPTConfig) -> int:
    """GPT-Neo's one window: the widest band that hides anything; 256, its default, where there is none."""
    widths = [p.width for p in config.pattern if isinstance(p, Banded) and p.width < config.n_ctx]
    return max(widths, default=256)


def write(model: Decoder, tokenizer: Tokenizer | None, directory: Path, family: Family) -> None:
    """Writes config, weights (float32), tokenizer and generation settings into a directory that exists.

    `losses` reports whether the result computes the same.

    Raises:
        PellucidError: the family has no way to hold this model.
    """
    _check_possible(model, family)
    tensors = {f"{family.prefix}{name}": tensor for name, tensor in _tensors(model, family)}
    write_tensors(directory / WEIGHTS, tensors, metadata={"format": "pt"})
    config = model.config
    pad = _pad(tokenizer)
    special = {"bos_token_id": config.start_id, "eos_token_id": eos_token_id(config)}
    special |= {} if pad is None else {"pad_token_id": pad}
    _put(directory / CONFIG, _config(config, family) | special)
    _put(directory / GENERATION, special)
    if tokenizer is not None:
        tokenizer.save(directory)
        roles = tokenizer_write.roles_json(tokenizer.table) | {"model_max_length": config.n_ctx}
        _put(directory / tokenizer_files.CONFIG, roles)


def _put(path: Path, values: dict[str, Any]) -> None:
    write_whole(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def _pad(tokenizer: Tokenizer | None) -> int | None:
    special = tokenizer.numbering.special if tokenizer is not None and tokenizer.numbering else {}
    return next((i for i, text in special.items() if text == "<pad>"), None)


def _config(config: GPTConfig, family: Family) -> dict[str, Any]:
    if family is GPT2:
        return gpt2_json(config)
    shared = {
        "architectures": [family.architecture],
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "max_position_embeddings": config.n_ctx,
        "activation_function": ACTIVATION_NAMES[config.activation],
        "attention_dropout": 0.0,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
    if family is GPT_NEO:
        local = [isinstance(p, Banded) and p.width < config.n_ctx for p in config.pattern]
        return shared | {
            "model_type": "gpt_neo",
            "num_layers": config.n_layers,
            "num_heads": config.n_heads,
            "intermediate_size": config.d_ff,
            # A block at a time: "attention_types" lists (kinds, how often); "attention_layers" is the same, spelt out.
            "attention_types": [[["local" if one else "global"], 1] for one in local],
            "attention_layers": ["local" if one else "global" for one in local],
            "window_size": _window(config),
            "layer_norm_epsilon": config.norm_eps,
            "embed_dropout": config.dropout,
            "resid_dropout": config.dropout,
        }
    return shared | {
        "model_type": "opt",
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "ffn_dim": config.d_ff,
        "word_embed_proj_dim": config.d_embed,
        "do_layer_norm_before": config.norm == "pre",
        "_remove_final_layer_norm": config.norm == "pre" and not config.final_norm,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
        "dropout": config.dropout,
    }


def _tensors(model: Decoder, family: Family) -> Iterator[tuple[str, Tensor]]:
    """The family's names and float32 tensors."""
    parameters: dict[str, Tensor] = {name: parameter.detach().cpu() for name, parameter in model.named_parameters()}
    folded = shifts(model) if family is GPT_NEO and model.config.qkv_bias else []
    for number, block in enumerate(model.h):
        assert isinstance(block, Block)
        width = block.attn.c_attn.in_features
        if family is GPT_NEO:
            no_shift = Shift(torch.zeros(width, dtype=torch.float64), 1.0, 0.0)
            changed = fold(block, folded[number] if folded else no_shift)
            parameters.pop(f"h.{number}.attn.c_attn.bias", None)
        else:
            weight = parameters[f"h.{number}.attn.c_attn.weight"]
            bias = parameters.get(f"h.{number}.attn.c_attn.bias", torch.zeros(3 * width))
            if family is OPT and not block.attn.scaled:  # OPT divides scores by sqrt(D): undone in the queries
                times = torch.ones(3 * width, dtype=torch.float64)
                times[:width] = math.sqrt(width // block.attn.n_heads)
                weight, bias = weight.double() * times[:, None], bias.double() * times
            changed = {"attn.c_attn.weight": weight, "attn.c_attn.bias": bias}
        parameters |= {f"h.{number}.{name}": tensor for name, tensor in changed.items()}
    for name, tensor in parameters.items():
        source = family.source(name)
        parts = tensor.float().chunk(len(source.names))
        for theirs, part in zip(source.names, parts, strict=True):
            if source.skip:
                part = torch.cat((torch.zeros(source.skip, *part.shape[1:]), part))
            yield theirs, (part.T if source.transposed else part).clone(memory_format=torch.contiguous_format)
