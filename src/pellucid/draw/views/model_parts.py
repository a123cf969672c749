"""A model's parts as pictures name them: blocks counted from 1, levels, and weight matrices in plain words.

Chunks, tensors and indices count blocks from 0; where a mark names its source, they stand as they are in the file.
"""

MATRICES = {
    "wte": "token embedding", "wpe": "position embedding", "attn.c_attn": "attention: query, key, value",
    "attn.c_proj": "attention: output", "mlp.c_fc": "MLP: up", "mlp.c_proj": "MLP: down",
}  # fmt: skip
SHORT = MATRICES | {
    "attn.c_attn": "query, key, value", "attn.c_proj": "attention output", "mlp.c_fc": "MLP up", "mlp.c_proj": "MLP down",
}  # fmt: skip
BRIEF = {"attn.c_attn": "Q K V", "attn.c_proj": "out", "mlp.c_fc": "up", "mlp.c_proj": "down"}  # of a block's matrices


def block_name(block: int) -> str:
    """A block by its number from 0: block 1, block 2 and so on."""
    return f"block {block + 1}"


def level_name(level: int) -> str:
    """The vectors that enter block `level`, counted from 0: those of the embedding, or those after the block below."""
    return "embedding" if level == 0 else f"after block {level}"


def matrix_name(name: str) -> str:
    """A weight matrix by its tensor's name: "block 3, attention: query, key, value"; others as they are called."""
    start, _, rest = name.partition(".")
    if start == "h" and rest:
        number, _, kind = rest.partition(".")
        return f"{block_name(int(number))}, {MATRICES.get(kind, kind)}"
    return MATRICES.get(name, name)
