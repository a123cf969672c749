"""Names of tensors and keys in a GGUF file of the `gpt2` architecture."""

import re


ARCHITECTURE = "gpt2"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5  # token types
QUANTIZATION_VERSION = 2  # of ggml's block formats
PATTERN = "pellucid.pattern"  # our own key: other readers ignore keys that they do not know

OUTER_NAMES = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
BLOCK_NAMES = {
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip


def gguf_name(name: str) -> str:
    """`h.3.attn.c_attn.weight` -> `blk.3.attn_qkv.weight`."""
    if match := re.fullmatch(r"h\.(\d+)\.(.+)\.(weight|bias)", name):
        return f"blk.{match[1]}.{BLOCK_NAMES[match[2]]}.{match[3]}"
    part, _, last = name.rpartition(".")
    return f"{OUTER_NAMES[part]}.{last}"
