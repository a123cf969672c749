"""A model's parts as pictures name them: blocks counted from 1, levels, and weight matrices in plain words.

Chunks, tensors and indices count blocks from 0; where a mark names its source, they stand as they are in the file.
"""

import re

from pellucid.languages import mark, tr


# Marked texts: `tr(MATRICES[kind])` where one is shown.
MATRICES = {
    "wte": mark("token embedding"), "wpe": mark("position embedding"), "attn.c_attn": mark("attention: query, key, value"),
    "attn.c_proj": mark("attention: output"), "mlp.c_fc": mark("MLP: up"), "mlp.c_proj": mark("MLP: down"),
}  # fmt: skip
SHORT = MATRICES | {
    "attn.c_attn": mark("query, key, value"), "attn.c_proj": mark("attention output"), "mlp.c_fc": mark("MLP up"),
    "mlp.c_proj": mark("MLP down"),
}  # fmt: skip
BRIEF = {  # of a block's matrices
    "attn.c_attn": mark("Q K V"), "attn.c_proj": mark("out"), "mlp.c_fc": mark("up"), "mlp.c_proj": mark("down"),
}  # fmt: skip
PATTERNS = {  # the words of `str(pattern)`
    "dense": mark("dense"), "banded": mark("banded"), "local": mark("local"), "column": mark("column"),
    "strided": mark("strided"), "summary": mark("summary"), "fixed": mark("fixed"), "compressed": mark("compressed"),
    "heads": mark("heads"),
}  # fmt: skip


def block_name(block: int) -> str:
    """A block by its number from 0: block 1, block 2 and so on."""
    return tr("block {number}", number=block + 1)


def level_name(level: int) -> str:
    """The vectors that enter block `level`, counted from 0: those of the embedding, or those after the block below."""
    return tr("embedding") if level == 0 else tr("after block {number}", number=level)


def pattern_name(pattern: object) -> str:
    """An attention pattern: dense, banded(128), heads(dense,banded(128))."""
    return re.sub("[a-z]+", lambda word: tr(PATTERNS.get(word[0], word[0])), str(pattern))


def matrix_name(name: str) -> str:
    """A weight matrix by its tensor's name: "block 3, attention: query, key, value"; others as they are called."""
    start, _, rest = name.partition(".")
    if start == "h" and rest:
        number, _, kind = rest.partition(".")
        return tr("block {number}, {matrix}", number=int(number) + 1, matrix=tr(MATRICES.get(kind, kind)))
    return tr(MATRICES.get(name, name))
