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
from pellucid.gpt.config import MAX_LAYERS, GPTConfig
from pellucid.gpt.config_json import GPT2_END, activation, dense_pattern, token_id
from pellucid.gpt.tensor_names import TRANSPOSED, TensorSource
from pellucid.strict_json import Fields


LM_HEAD = "lm_head.weight"  # the output matrix, in files that store it beside the embedding that it is tied to
OPT_END = 2  # </s>
QKV = ("q_proj", "k_proj", "v_proj")


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
        buffers: a pattern of names that are not weights: causal masks.
        skip: unused first rows of the position embedding.
        shape: makes a config from config.json's values; None: `gpt.config_json` reads it, as our own directories are GPT-2's.
    """

    architecture: str
    prefixes: tuple[str, ...]
    prefix: str
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    blocks: str = "h."
    transposed: tuple[str, ...] = ()
    buffers: str = r"(?!)"
    skip: int = 0
    shape: Callable[[dict[str, Any]], GPTConfig] | None = None

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
        """A file's name without prefix; None for a buffer."""
        for prefix in sorted(self.prefixes, key=len, reverse=True):
            if name.startswith(prefix):
                name = name.removeprefix(prefix)
                break
        return None if re.fullmatch(self.buffers, name) else name


def _gpt_neo(values: dict[str, Any]) -> GPTConfig:
    found = Fields(values, "its config")
    types = found.list("attention_layers", None, most=MAX_LAYERS)
    if types is None:
        types = []
        for kinds, times in found.list("attention_types", most=MAX_LAYERS):
            if not isinstance(kinds, list) or type(times) is not int or len(types) + len(kinds) * times > MAX_LAYERS:
                raise found.wrong("attention_types", f"lists of layers and how often they come, for {MAX_LAYERS:,} at most")
            types += kinds * times
    pattern = []
    for kind in types:
        if kind not in ("global", "local"):
            raise PellucidError(f"attention layers are global or local, not {shown(kind)}")
        pattern.append("dense" if kind == "global" else f"banded({values['window_size']})")
    return GPTConfig.from_dict(
        {
            "vocab_size": values["vocab_size"],
            "n_ctx": values["max_position_embeddings"],
            "n_layers": values["num_layers"],
            "d_model": values["hidden_size"],
            "n_heads": values["num_heads"],
            "d_ff": values.get("intermediate_size") or 0,
            "activation": activation(values.get("activation_function", "gelu_new")),
            "norm_eps": values.get("layer_norm_epsilon", 1e-5),
            "qkv_bias": False,
            "attention_scale": False,
            "start_of_text": token_id(values, "bos_token_id", GPT2_END),
            "end_of_text": token_id(values, "eos_token_id", GPT2_END),
            "pattern": pattern,
        }
    )


def _opt(values: dict[str, Any]) -> GPTConfig:
    for key in ("enable_bias", "layer_norm_elementwise_affine"):
        if values.get(key, True) is not True:
            raise PellucidError(f"{key} is off, which this version does not read")
    before = bool(values.get("do_layer_norm_before", True))
    return GPTConfig.from_dict(
        {
            "vocab_size": values["vocab_size"],
            "n_ctx": values["max_position_embeddings"],
            "n_layers": values["num_hidden_layers"],
            "d_model": values["hidden_size"],
            "n_heads": values["num_attention_heads"],
            "d_ff": values["ffn_dim"],
            "d_embed": values.get("word_embed_proj_dim") or 0,
            "activation": activation(values.get("activation_function", "relu")),
            "norm": "pre" if before else "post",
            "final_norm": before and not values.get("_remove_final_layer_norm", False),
            "start_of_text": token_id(values, "bos_token_id", OPT_END),
            "end_of_text": token_id(values, "eos_token_id", OPT_END),
            "pattern": dense_pattern(values, "num_hidden_layers"),
        }
    )


GPT2 = Family(
    architecture="GPT2LMHeadModel",
    prefixes=("transformer.",),
    prefix="transformer.",
    transposed=TRANSPOSED,
    buffers=r"h\.\d+\.attn\.(bias|masked_bias)",
)
GPT_NEO = Family(
    architecture="GPTNeoForCausalLM",
    prefixes=("transformer.",),
    prefix="transformer.",
    names={
        "attn.c_attn": tuple(f"attn.attention.{part}" for part in QKV),
        "attn.c_proj": ("attn.attention.out_proj",),
    },
    buffers=r"h\.\d+\.attn\.attention\.(bias|masked_bias)",
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
    skip=2,
    shape=_opt,
)
FAMILIES: dict[str, Family] = {"gpt2": GPT2, "pellucid": GPT2, "gpt_neo": GPT_NEO, "opt": OPT}
# GPT-3-like families that are not supported: refused by name rather than tensor by tensor.
UNSUPPORTED_FAMILIES = {
    "gptj": "rotary positions and parallel branches",
    "gpt_neox": "rotary positions and parallel branches",
    "bloom": "ALiBi in place of positions",
    "btlm": "ALiBi, SwiGLU and muP scales",
    "xglm": "sinusoidal positions",
    "llama": "rotary positions and RMSNorm",
}
