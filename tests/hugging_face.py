"""Small random models of GPT-3's family as `transformers` makes them, and what it says of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import pellucid


VOCAB, N_CTX, WIDTH, HEADS = 97, 48, 32, 4
GPT2 = {"vocab_size": VOCAB, "n_positions": N_CTX, "n_embd": WIDTH, "n_layer": 3, "n_head": HEADS} | {
    "bos_token_id": VOCAB - 1, "eos_token_id": VOCAB - 1
}  # fmt: skip
NEO = {
    "vocab_size": VOCAB, "max_position_embeddings": N_CTX, "hidden_size": WIDTH, "num_layers": 4, "num_heads": HEADS,
    "attention_types": [[["global", "local"], 2]], "window_size": 8, "bos_token_id": VOCAB - 1, "eos_token_id": VOCAB - 1,
}  # fmt: skip
OPT = {
    "vocab_size": VOCAB, "max_position_embeddings": N_CTX, "hidden_size": WIDTH, "num_hidden_layers": 3,
    "num_attention_heads": HEADS, "ffn_dim": 80,
}  # fmt: skip
# name -> (class of transformers, its config's class, values)
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "gpt2-erf": ("GPT2LMHeadModel", "GPT2Config", GPT2 | {"activation_function": "gelu", "n_inner": 80}),  # Cerebras-GPT
    "gpt2-unscaled": ("GPT2LMHeadModel", "GPT2Config", GPT2 | {"scale_attn_weights": False}),
    "gpt_neo": ("GPTNeoForCausalLM", "GPTNeoConfig", NEO),
    "opt": ("OPTForCausalLM", "OPTConfig", OPT),
    "opt-350m": ("OPTForCausalLM", "OPTConfig", OPT | {"do_layer_norm_before": False, "word_embed_proj_dim": 20}),
    "opt-old": ("OPTForCausalLM", "OPTConfig", OPT | {"_remove_final_layer_norm": True}),
}


def library() -> Any:
    """`transformers`, quiet; the test is skipped where it is not installed."""
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def shake(model: torch.nn.Module, seed: int = 0) -> Any:
    """Every parameter matters: no zero biases, no unit gains, distributions far from flat."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval().requires_grad_(False)


@dataclass(frozen=True)
class Pair:
    """One model on both sides."""

    theirs: Any
    mine: pellucid.GPT
    path: Path


def published(name: str, path: Path) -> Any:
    """The model of that name, made by transformers and saved at `path`."""
    transformers = library()
    architecture, config, values = MODELS[name]
    model = shake(getattr(transformers, architecture)(getattr(transformers, config)(**values)))
    model.save_pretrained(path)
    return model


def opened(path: Path) -> Any:
    """A directory as transformers opens it; nothing in it may be missing or left over."""
    model, report = library().AutoModelForCausalLM.from_pretrained(path, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    return model.eval()


def ids_of(length: int, seed: int = 0) -> list[int]:
    """Token ids; none of the first few, which are special in OPT, and not the last one."""
    generator = torch.Generator().manual_seed(seed * 1000 + length)
    return torch.randint(5, VOCAB - 1, (length,), generator=generator).tolist()


def their_greedy(model: Any, prompts: list[list[int]], new: int, *, cache: bool) -> list[list[int]]:
    """What transformers writes after a batch of prompts padded on the left."""
    longest, fill = max(map(len, prompts)), 1
    ids = torch.tensor([[fill] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    out = model.generate(
        ids, attention_mask=mask, max_new_tokens=new, do_sample=False, use_cache=cache, pad_token_id=fill,
    )[:, longest:].tolist()  # fmt: skip
    end = model.config.eos_token_id
    return [row[: row.index(end) + 1] if end in row else row for row in out]
