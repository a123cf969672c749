"""Attention patterns of whole models, block by block, as the papers arrange them. No torch here.

GPT-3's and GPT-2's own are `pattern.alternating` and `pattern.all_dense`.
"""

from pellucid.gpt.pattern import Compressed, Fixed, Heads, Local, Pattern, Strided


def interleaved(n_layers: int, merged: Strided | Fixed) -> tuple[Pattern, ...]:
    """Block r takes factor r mod 2 (arXiv 1904.10509, the first of its three sub_blocks)."""
    return tuple(merged.factors[block % 2] for block in range(n_layers))


def multi_head(merged: Strided | Fixed) -> Heads:
    """The heads of one block take the factors in turn (the same paper, the third way)."""
    return Heads(merged.factors)


def distinct_summaries(length: int, columns: int, sub_blocks: int) -> Heads:
    """Fixed, each head with a sub-block of its own: head h the (h mod sub_blocks)-th from the end of a block."""
    return Heads(tuple(Fixed(length, columns, back) for back in range(sub_blocks)))


def memory_compressed(n_layers: int = 5, *, length: int = 256, kernel: int = 3, stride: int = 3) -> tuple[Pattern, ...]:
    """Local and compressed in turn, local first: LMLML in five blocks (arXiv 1801.10198)."""
    return tuple(Local(length) if block % 2 == 0 else Compressed(kernel, stride) for block in range(n_layers))
