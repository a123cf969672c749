"""Generates model directories as they are published: `transformers`' own configs and tensors, written in other ways.

A `Change` alters config.json's values or the tensors. Most change no logit; those with `blame` are to be refused with a
message that names it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hugging_face import library, shake
from hypothesis import strategies as st
from safetensors.torch import save_file


Tensors = dict[str, torch.Tensor]
# family -> (class, config class, its prefix, key of the number of positions, embedding, one tensor of the last block)
CLASSES = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", "transformer.", "transformer.wte.weight"),
    "gpt_neo": ("GPTNeoForCausalLM", "GPTNeoConfig", "transformer.", "transformer.wte.weight"),
    "opt": ("OPTForCausalLM", "OPTConfig", "model.decoder.", "model.decoder.embed_tokens.weight"),
}
ALIASES = {
    "gpt2": {"n_embd": "hidden_size", "n_positions": "max_position_embeddings", "n_head": "num_attention_heads",
             "n_layer": "num_hidden_layers"},
    "gpt_neo": {"num_heads": "num_attention_heads", "num_layers": "num_hidden_layers"},
    "opt": {},
}  # fmt: skip
# Keys that change no logit, and values of them.
HARMLESS: dict[str, list[Any]] = {
    "reorder_and_upcast_attn": [True, False], "add_cross_attention": [True], "n_ctx": [7, 4096], "use_cache": [False],
    "attn_pdrop": [0.5], "resid_pdrop": [0.0, "0.1"], "initializer_range": [0.5, float("nan")],
    "dtype": ["float16", "bfloat16"], "gradient_checkpointing": [True],
    "torch_dtype": ["float16"], "num_labels": [3], "summary_type": ["mean"],
    "architectures": [["GPT2ForSequenceClassification"], ["Other"], None], "task_specific_params": [{"a": {"k": 1}}],
    "pad_token_id": [3, None], "temperature": [0.1], "model_parallel": [False], "_name_or_path": ["gpt2"], "layerdrop": [0.5],
    "transformers_version": ["4.0.0"], "chunk_size_feed_forward": [4], "quantization_config": [None], "pruned_heads": [{}],
    "is_causal": [True], "unheard_of": [{"a": [1, 2.5, None]}, float("inf")], "embed_dropout": [0.3], "init_std": [1.0],
    "return_dict": [True], "output_hidden_states": [True], "auto_map": [{"AutoModel": "modeling_other.Other"}],
}  # fmt: skip
REFUSED: dict[str, list[Any]] = {
    "quantization_config": [{"quant_method": "bitsandbytes", "load_in_8bit": True}], "activation_function": ["silu", None, "x"],
    "per_layer_config": [{"0": {"layer_norm_epsilon": 0.5}}], "eos_token_id": [[], [1, "x"]],
    "vocab_size": ["many", -1, 1.5, None], "tie_word_embeddings": [None, "no"], "transformers_weights": ["other.safetensors"],
}  # fmt: skip
FAMILY_REFUSED: dict[str, dict[str, list[Any]]] = {
    "gpt2": {"is_causal": [False], "layer_norm_epsilon": ["small", float("nan"), None, -1.0], "n_head": [0, "x", None]},
    "gpt_neo": {"attention_layers": [["global"] * 9, ["sparse"]], "window_size": [0], "num_heads": [None]},
    "opt": {"is_causal": [False], "enable_bias": [False], "layer_norm_elementwise_affine": [False]},
}
NO_WEIGHTS = {
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 548105171\n",
    "web page": b"<!DOCTYPE html><html><head><title>404</title></head></html>",
    "text that begins": b"Entry not found\n",
    "empty file": b"",
    "pickle": b"PK\x03\x04archive/data.pkl",
    "zeros": bytes(4096),
    "GGUF": b"GGUF\x03\x00\x00\x00",
    "damaged or truncated": b"\x10\x00\x00\x00\x00\x00\x00\x00{}              \xff\xff",
}


RARELY = st.sampled_from([False] * 5 + [True])


@dataclass
class Directory:
    """A published directory: what is in it, and what must become of it.

    Attributes:
        config: config.json's values. tensors: by stored name. truth: the model, as `transformers` computes it.
        blame: words of which a refusal names one; empty where it must load.
        write: writes it into an empty folder.
    """

    family: str
    config: dict[str, Any]
    tensors: Tensors
    truth: Any
    blame: list[str] = field(default_factory=list)
    write: Callable[["Directory", Path], None] = lambda one, path: one.write_single(path)
    mark: bytes = b""

    def write_config(self, path: Path) -> None:
        (path / "config.json").write_bytes(self.mark + json.dumps(self.config).encode())

    def write_single(self, path: Path, name: str = "model.safetensors") -> None:
        tensors = {key: value.contiguous().clone() for key, value in self.tensors.items()}
        save_file(tensors, path / name, metadata={"format": "pt"})

    def write_shards(self, path: Path, count: int, *, index: bool = True, lost: int | None = None) -> None:
        names = sorted(self.tensors)
        weight_map: dict[str, str] = {}
        for shard in range(count):
            file = f"model-{shard + 1:05}-of-{count:05}.safetensors"
            part = {key: self.tensors[key].contiguous().clone() for key in names[shard::count]}
            weight_map |= dict.fromkeys(part, file)
            if shard != lost:
                save_file(part, path / file, metadata={"format": "pt"})
        if index:
            text = json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
            (path / "model.safetensors.index.json").write_text(text, encoding="utf-8")

    @property
    def embedding(self) -> str:
        return CLASSES[self.family][3]


@st.composite
def shapes(draw: st.DrawFn, family: str) -> dict[str, Any]:
    """A small config of a family, in its keys; some values are those that a missing key has."""
    heads = draw(st.sampled_from([1, 2, 4, 12, 16]))
    width = heads * (8 // heads or 2) * draw(st.sampled_from([1, 2]))  # a LayerNorm of fewer numbers magnifies rounding errors
    vocab = draw(st.sampled_from([61, 97]))
    activation = draw(st.sampled_from(["gelu_new", "gelu", "relu", "gelu_pytorch_tanh"]))
    shape: dict[str, Any] = {"vocab_size": vocab, "activation_function": activation}
    special = draw(st.sampled_from([{}, {"bos_token_id": 1, "eos_token_id": 60}]))
    layers = draw(st.sampled_from([1, 2, 3, 12]))
    if family == "gpt2":
        return shape | special | {
            "n_embd": width, "n_head": heads, "n_layer": layers, "n_positions": draw(st.sampled_from([24, 1024])),
            "n_inner": draw(st.sampled_from([None, 24])), "layer_norm_epsilon": draw(st.sampled_from([1e-5, 1e-3, 0.25])),
            "scale_attn_weights": draw(st.sampled_from([True, True, False])),
            "scale_attn_by_inverse_layer_idx": draw(st.sampled_from([False, True])),
        }  # fmt: skip
    if family == "gpt_neo":
        kinds = draw(st.sampled_from([["global"], ["local"], ["global", "local"], ["local", "local", "global"]]))
        layers = draw(st.sampled_from([len(kinds), 2 * len(kinds)]))
        return shape | special | {
            "hidden_size": width, "num_heads": heads, "num_layers": layers,
            "intermediate_size": draw(st.sampled_from([None, 24])),
            "max_position_embeddings": draw(st.sampled_from([24, 300])), "attention_types": [[kinds, layers // len(kinds)]],
            "window_size": draw(st.sampled_from([3, 256])), "layer_norm_epsilon": draw(st.sampled_from([1e-5, 0.25])),
        }  # fmt: skip
    before = draw(st.booleans())
    return shape | special | {
        "hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": layers, "do_layer_norm_before": before,
        "max_position_embeddings": draw(st.sampled_from([24, 2048])), "ffn_dim": draw(st.sampled_from([24, 3072])),
        "word_embed_proj_dim": draw(st.sampled_from([None, width, 6])),
        "_remove_final_layer_norm": draw(st.sampled_from([False, False, True])),
    }  # fmt: skip


def made(family: str, shape: dict[str, Any], rounding: Callable[[str], torch.dtype]) -> tuple[Any, Tensors]:
    """The model of that shape, and its tensors (of the matrix of tokens and logits only the former), each rounded."""
    transformers = library()
    architecture, config, _, embedding = CLASSES[family]
    torch.manual_seed(0)
    model = shake(getattr(transformers, architecture)(getattr(transformers, config)(**shape)))
    tensors = {name: tensor.to(rounding(name)) for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    model.load_state_dict({name: tensor.float() for name, tensor in (tensors | {"lm_head.weight": tensors[embedding]}).items()})
    return model, tensors


def spelled(draw: st.DrawFn, value: Any) -> Any:
    """A number or flag in another form that can mean nothing else."""
    if isinstance(value, bool):
        return draw(st.sampled_from([str(value), str(value).lower(), int(value)]))
    if isinstance(value, int):
        return draw(st.sampled_from([str(value), float(value), f"{value}.0", f" {value} "]))
    return draw(st.sampled_from([repr(value), f"{value:.3e}"]))


def rewrite_config(draw: st.DrawFn, one: Directory) -> None:
    """Writes the values of config.json in another way that means the same."""
    config, usual, family = one.config, type(one.truth.config)(), one.family
    for key in draw(st.lists(st.sampled_from(sorted(config)), max_size=4, unique=True)):
        if key not in ("attention_types", "model_type") and getattr(usual, key, None) == config[key]:
            del config[key]  # the class fills it in
    if draw(RARELY):  # transformers 5 is strict, and refuses these
        for key in draw(st.lists(st.sampled_from(sorted(config)), max_size=4, unique=True)):
            if isinstance(config[key], bool | int | float):
                config[key] = spelled(draw, config[key])
        one.mark = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    for key in draw(st.lists(st.sampled_from([*ALIASES[family], ""]), max_size=2, unique=True)):
        if key in config:
            config[ALIASES[family][key]] = config.pop(key)
    for key in draw(st.lists(st.sampled_from(sorted(HARMLESS)), max_size=3, unique=True)):
        config[key] = draw(st.sampled_from(HARMLESS[key]))
    if draw(RARELY) and "eos_token_id" in config:
        config["eos_token_id"] = draw(st.sampled_from([[config["eos_token_id"]], [config["eos_token_id"], 7]]))
    if draw(RARELY):
        del config["model_type"]
        config["architectures"] = [type(one.truth).__name__]


def spoil_config(draw: st.DrawFn, one: Directory) -> None:
    """Gives config.json a value that would change a logit, or that is none of its key."""
    bad = REFUSED | FAMILY_REFUSED[one.family]
    key = draw(st.sampled_from(sorted(bad)))
    if key == "window_size" and "local" not in one.truth.config.attention_layers:
        return
    one.config.pop(ALIASES[one.family].get(key, ""), None)
    one.config[key] = draw(st.sampled_from(bad[key]))
    one.blame.append(key)


def rename_tensors(draw: st.DrawFn, one: Directory) -> None:
    """Stores the tensors under other names, the tied one under either or both, and some that no logit depends on."""
    prefix, embedding, tensors = CLASSES[one.family][2], one.embedding, one.tensors
    head = draw(st.sampled_from(["none", "only", "both", "wider"]))
    if head == "only" and one.config.get("tie_word_embeddings", True) is True:
        tensors["lm_head.weight"] = tensors.pop(embedding)
    elif head != "none":
        again = tensors[embedding].clone()
        tensors["lm_head.weight"] = again.double() if head == "wider" else again
        if draw(st.booleans()):
            one.config["tie_word_embeddings"] = False
    if draw(st.booleans()):
        block = f"{prefix}h.0.attn." + ("attention." if one.family == "gpt_neo" else "")
        if one.family != "opt":
            tensors[f"{block}bias"] = torch.ones(1, 1, 4, 4, dtype=torch.bool).tril()
            tensors[f"{block}masked_bias"] = torch.tensor(-1e9)
        for name in draw(st.lists(st.sampled_from(["score.weight", "classifier.bias", "v_head.summary.bias"]), unique=True)):
            tensors[name] = torch.zeros(3)
    if one.config.get("add_cross_attention") and one.family == "gpt2":
        tensors[f"{prefix}h.0.crossattention.c_attn.bias"] = torch.zeros(4)
        tensors[f"{prefix}h.0.ln_cross_attn.bias"] = torch.zeros(4)
    kind = draw(st.sampled_from(["as is", "as is", "none", "mixed", "wrapped", "inside"]))
    if kind == "none":
        one.tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    elif kind == "mixed":
        bare = set(draw(st.lists(st.sampled_from(sorted(tensors)))))
        one.tensors = {name.removeprefix(prefix) if name in bare else name: tensor for name, tensor in tensors.items()}
    elif kind == "wrapped":
        outer = draw(st.sampled_from(["module.", "_orig_mod.", "model.", "base_model.model.", "_orig_mod.module.", "net.gpt."]))
        one.tensors = {outer + name: tensor for name, tensor in tensors.items()}
    elif kind == "inside":
        one.tensors = {name.replace(".0.", ".0._checkpoint_wrapped_module."): tensor for name, tensor in tensors.items()}


def spoil_tensors(draw: st.DrawFn, one: Directory) -> None:
    """Adds, takes or changes a tensor, so that the file is no model of the config's."""
    prefix, embedding, tensors = CLASSES[one.family][2], one.embedding, one.tensors
    kind = draw(st.sampled_from(["extra", "missing", "rows", "lora", "head"]))
    if kind == "extra":
        name = draw(st.sampled_from([f"{prefix}h.0.attn.rotary.inv_freq", "lm_head.bias", "other.weight"]))
        tensors[name] = torch.zeros(2)
        one.blame.append(name.removeprefix(prefix))
    elif kind == "missing":
        name = draw(st.sampled_from(sorted(name for name in tensors if name.endswith(("fc.weight", "fc1.weight")))))
        del tensors[name]
        one.blame.append(name.removeprefix(prefix))
    elif kind == "rows":
        tensors[embedding] = torch.cat((tensors[embedding], tensors[embedding][:7]))
        one.blame.append("vocab_size")
    elif kind == "lora":
        tensors[f"{prefix}h.0.attn.c_attn.lora_A.default.weight"] = torch.zeros(2)
        one.blame.append("LoRA")
    else:
        tensors["lm_head.weight"] = tensors[embedding] + 1
        one.blame.append("lm_head.weight")


def choose_files(draw: st.DrawFn, one: Directory) -> None:
    """One file or shards, with their index or not; or a single file beside the index of shards that are gone."""
    kind = draw(st.sampled_from(["single", "shards", "no index", "stale"]))
    count = draw(st.integers(1, 4))
    if kind in ("shards", "no index"):
        one.write = lambda one, path: one.write_shards(path, count, index=kind == "shards")
    elif kind == "stale":
        one.write = lambda one, path: (one.write_shards(path, 2, lost=1), one.write_single(path))[1]


def spoil_files(draw: st.DrawFn, one: Directory) -> None:
    """Loses a file, or puts something else in its place."""
    kind = draw(st.sampled_from(["lost", "no weights", "other name"]))
    if kind == "lost":
        count, index = draw(st.integers(2, 4)), draw(st.booleans())
        one.write = lambda one, path: one.write_shards(path, count, lost=1, index=index)
        one.blame = [f"model-00002-of-{count:05}"]
    elif kind == "no weights":
        what = draw(st.sampled_from(sorted(NO_WEIGHTS)))
        one.write = lambda one, path: (path / "model.safetensors").write_bytes(NO_WEIGHTS[what])
        one.blame.append(what)
    else:
        one.write = lambda one, path: one.write_single(path, "pytorch_model.safetensors")
        one.blame.append("call it model.safetensors")


@st.composite
def directories(draw: st.DrawFn) -> Directory:
    """A published directory of one of the families; of a third, one thing is wrong."""
    family = draw(st.sampled_from(sorted(CLASSES)))
    kinds = draw(st.sampled_from([["float32"], ["float16"], ["bfloat16"], ["float32", "float16", "bfloat16", "float64"]]))
    drawn = draw(st.lists(st.sampled_from(kinds), min_size=8, max_size=8))
    shape = draw(shapes(family))
    truth, tensors = made(family, shape, lambda name: getattr(torch, drawn[sum(name.encode()) % 8]))
    one = Directory(family=family, config={"model_type": family, **shape}, tensors=tensors, truth=truth)
    fault = draw(st.sampled_from([None] * 6 + ["config", "tensors", "files"]))
    if fault == "tensors":
        spoil_tensors(draw, one)
    else:
        rename_tensors(draw, one)
    rewrite_config(draw, one)
    if fault == "config":
        spoil_config(draw, one)
    choose_files(draw, one)
    if fault == "files":
        spoil_files(draw, one)
    return one
