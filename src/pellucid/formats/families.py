"""The model families read from Hugging Face, as data: their config.json and the names of their tensors.

    gpt2      GPT-2, Cerebras-GPT (exact GELU): our names, matrices as (in, out)
    gpt_neo   GPT-Neo: separate q, k and v without biases, scores not scaled, blocks global or local
    opt       OPT: as GPT-Neo, with biases and scale, ReLU; positions begin in row 2; OPT-350m normalizes after each branch
              and has embeddings narrower than d_model

Sources: the configuration and modelling files of `transformers`; the papers are Radford et al. 2019 (GPT-2), Dey et al. 2023
(Cerebras-GPT, arXiv 2304.03208) and Zhang et al. 2022 (OPT, arXiv 2205.01068).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.gpt.config import MAX_LAYERS, MAX_SIZE
from pellucid.gpt.config_json import (
    GPT2_ALIASES,
    GPT2_DEFAULTS,
    WEIGHTS,
    activation,
    dense_pattern,
    width_and_heads,
)
from pellucid.gpt.config_values import ConfigValues
from pellucid.gpt.tensor_names import TRANSPOSED, TensorSource


LM_HEAD = "lm_head.weight"  # the output matrix, in files that store it beside or in place of the embedding that it is tied to
QKV = ("q_proj", "k_proj", "v_proj")
# Other outputs than the next token's, which `transformers` and TRL train beside or in place of it.
OTHER_HEADS = r"(score|classifier|qa_outputs|multiple_choice_head|v_head)\..+"
CROSS_ATTENTION = r"h\.\d+\.(crossattention|ln_cross_attn)\..+"  # read only together with an encoder


@dataclass(frozen=True, kw_only=True)
class Family:
    """The names and conventions of one family's files.

    Attributes:
        architecture: its class in `transformers`.
        prefixes: of tensor names, any of which may be absent.
        prefix: the one that is written.
        names: our names (a block's without "h.N.") to theirs; unlisted names are the same.
        blocks: the prefix of a block's number.
        transposed: endings of names whose matrices are stored as (in, out).
        unused: a pattern of names that no logit depends on: causal masks kept as buffers, other heads.
        first_norm: the name of block 0's first LayerNorm, which every file of the family has.
        skip: unused first rows of the position embedding.
        defaults: what `transformers` takes a missing key of config.json for; all keys that are read.
        aliases: other names of keys.
        refused: keys that would change a logit: the value that would not, and what the key asks for.
        shape: makes a config's fields from config.json's values; None: `gpt.config_json` reads it, as our own directories are
            GPT-2's.
    """

    architecture: str
    prefixes: tuple[str, ...]
    prefix: str
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    blocks: str = "h."
    transposed: tuple[str, ...] = ()
    unused: str = OTHER_HEADS
    first_norm: str = "h.0.ln_1.weight"
    skip: int = 0
    defaults: Mapping[str, Any]
    aliases: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, tuple[Any, str]]
    shape: Callable[[ConfigValues], dict[str, Any]] | None = None

    def sources(self, names: Iterable[str]) -> dict[str, TensorSource]:
        """The source of each parameter, by our names, in this family's files."""
        return {name: self.source(name) for name in names}

    def source(self, name: str) -> TensorSource:
        """The source of one parameter, by our name."""
        module, _, kind = name.rpartition(".")
        block = ""
        if match := re.match(r"h\.(\d+)\.", module):
            block, module = f"{self.blocks}{match[1]}.", module[match.end() :]
        theirs = tuple(f"{block}{their}.{kind}" for their in self.names.get(module, (module,)))
        skip = self.skip if module == "wpe" else 0
        return TensorSource(theirs, transposed=name.endswith(self.transposed or (" ",)), skip=skip)

    def plain_name(self, name: str) -> str | None:
        """A file's name without the family's prefix; None for what no logit depends on."""
        for prefix in sorted(self.prefixes, key=len, reverse=True):
            if name.startswith(prefix):
                name = name.removeprefix(prefix)
                break
        return None if re.fullmatch(self.unused, name) else name


def _gpt_neo(found: ConfigValues) -> dict[str, Any]:
    types = found.list("attention_layers", None, max_length=MAX_LAYERS)
    key = "attention_types" if types is None else "attention_layers"
    if types is None:
        types = []
        for entry in found.list("attention_types", max_length=MAX_LAYERS):
            kinds, times = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
            if not isinstance(kinds, list) or type(times) is not int or len(types) + len(kinds) * times > MAX_LAYERS:
                raise found.wrong("attention_types", f"lists of layers and how often they come, for {MAX_LAYERS:,} at most")
            types += kinds * times
    n_layers = found.integer("num_layers", minimum=1, maximum=MAX_LAYERS)
    if len(types) != n_layers:
        raise PellucidError(f"{found.where}: {key} is for {len(types)} layers, but {found.name_of('num_layers')} is {n_layers}")
    for kind in types:
        if kind not in ("global", "local"):
            raise PellucidError(f"{found.where}: {key}: attention layers are global or local, not {shown(kind)}")
    band = f"banded({found.integer('window_size', minimum=1, maximum=MAX_SIZE)})" if "local" in types else ""
    vocab_size = found.integer("vocab_size", minimum=1, maximum=MAX_SIZE)
    return {
        "vocab_size": vocab_size,
        "n_ctx": found.integer("max_position_embeddings", minimum=1, maximum=MAX_SIZE),
        "n_layers": n_layers,
        **width_and_heads(found, "hidden_size", "num_heads"),
        "d_ff": found.integer("intermediate_size", None, maximum=MAX_SIZE) or 0,
        "activation": activation(found),
        "norm_eps": found.number("layer_norm_epsilon", minimum=0),
        "qkv_bias": False,
        "attention_scale": False,
        "start_of_text": found.token("bos_token_id", vocab_size),
        "end_of_text": found.tokens("eos_token_id", vocab_size),
        "pattern": ["dense" if kind == "global" else band for kind in types],
    }


def _opt(found: ConfigValues) -> dict[str, Any]:
    before = found.flag("do_layer_norm_before")
    n_layers = found.integer("num_hidden_layers", minimum=1, maximum=MAX_LAYERS)
    vocab_size = found.integer("vocab_size", minimum=1, maximum=MAX_SIZE)
    return {
        "vocab_size": vocab_size,
        "n_ctx": found.integer("max_position_embeddings", minimum=1, maximum=MAX_SIZE),
        "n_layers": n_layers,
        **width_and_heads(found, "hidden_size", "num_attention_heads"),
        "d_ff": found.integer("ffn_dim", minimum=1, maximum=MAX_SIZE),
        "d_embed": found.integer("word_embed_proj_dim", None, minimum=1, maximum=MAX_SIZE) or 0,
        "activation": activation(found),
        "norm": "pre" if before else "post",
        "final_norm": before and not found.flag("_remove_final_layer_norm"),
        "start_of_text": found.token("bos_token_id", vocab_size),
        "end_of_text": found.tokens("eos_token_id", vocab_size),
        "pattern": dense_pattern(n_layers),
    }


# Keys of any family that would change a logit: the value that would not, and what the key asks for.
REFUSED: dict[str, tuple[Any, str]] = {
    "quantization_config": (None, "quantized weights; save the model dequantized (model.dequantize() in transformers)"),
    "per_layer_config": (None, "settings that differ from layer to layer"),
    "transformers_weights": (None, f"weights of another name; call the file {WEIGHTS} and remove the key"),
    "configuration_files": (None, "another config file; copy the one that is meant to config.json"),
}
IS_CAUSAL = {"is_causal": (True, "attention to later tokens")}
GPT2 = Family(
    architecture="GPT2LMHeadModel",
    prefixes=("transformer.",),
    prefix="transformer.",
    transposed=TRANSPOSED,
    unused=rf"h\.\d+\.attn\.(bias|masked_bias)|{CROSS_ATTENTION}|{OTHER_HEADS}",
    defaults=GPT2_DEFAULTS,
    aliases=GPT2_ALIASES,
    refused=REFUSED | IS_CAUSAL,
)
GPT_NEO = Family(
    architecture="GPTNeoForCausalLM",
    prefixes=("transformer.",),
    prefix="transformer.",
    names={
        "attn.c_attn": tuple(f"attn.attention.{part}" for part in QKV),
        "attn.c_proj": ("attn.attention.out_proj",),
    },
    unused=rf"h\.\d+\.attn\.attention\.(bias|masked_bias)|{OTHER_HEADS}",
    defaults={
        "vocab_size": 50257, "max_position_embeddings": 2048, "hidden_size": 2048, "num_layers": 24, "num_heads": 16,
        "attention_types": [[["global", "local"], 12]], "attention_layers": None, "intermediate_size": None,
        "window_size": 256, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "bos_token_id": 50256,
        "eos_token_id": 50256, "tie_word_embeddings": True,
    },
    aliases={"num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"},
    refused=REFUSED,
    shape=_gpt_neo,
)
OPT = Family(
    architecture="OPTForCausalLM",
    prefixes=("model.decoder.", "decoder."),
    prefix="model.decoder.",
    names={
        "wte": ("embed_tokens",),
        "wpe": ("embed_positions",),
        "ln_f": ("final_layer_norm",),
        "ln_1": ("self_attn_layer_norm",),
        "ln_2": ("final_layer_norm",),
        "attn.c_attn": tuple(f"self_attn.{part}" for part in QKV),
        "attn.c_proj": ("self_attn.out_proj",),
        "mlp.c_fc": ("fc1",),
        "mlp.c_proj": ("fc2",),
    },
    blocks="layers.",
    first_norm="layers.0.self_attn_layer_norm.weight",
    skip=2,
    defaults={
        "vocab_size": 50272, "max_position_embeddings": 2048, "hidden_size": 768, "num_hidden_layers": 12,
        "num_attention_heads": 12, "ffn_dim": 3072, "word_embed_proj_dim": None, "activation_function": "relu",
        "do_layer_norm_before": True, "_remove_final_layer_norm": False, "bos_token_id": 2, "eos_token_id": 2,
        "tie_word_embeddings": True,
    },
    refused=REFUSED | IS_CAUSAL | {
        "enable_bias": (True, "linear layers without biases"),
        "layer_norm_elementwise_affine": (True, "LayerNorms without parameters"),
    },
    shape=_opt,
)
FAMILIES: dict[str, Family] = {"gpt2": GPT2, "pellucid": GPT2, "gpt_neo": GPT_NEO, "opt": OPT}
# Names of their classes in `transformers`, which say the family where a config.json has no model_type.
CLASSES = {
    "gpt2": r"GPT2(LMHeadModel|DoubleHeadsModel|Model|For\w+)", "gpt_neo": r"GPTNeo(Model|For\w+)", "opt": r"OPT(Model|For\w+)",
}  # fmt: skip
# GPT-3-like families that are not supported: refused by name rather than tensor by tensor.
UNSUPPORTED_FAMILIES = {
    "gptj": "rotary positions and parallel branches",
    "gpt_neox": "rotary positions and parallel branches",
    "bloom": "ALiBi in place of positions",
    "btlm": "ALiBi, SwiGLU and muP scales",
    "xglm": "sinusoidal positions",
    "llama": "rotary positions and RMSNorm",
}
