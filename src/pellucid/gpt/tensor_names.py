"""Where a model's tensors lie in a file, by their names. No torch here; `weights` reads them.

A file may keep a tensor under another name, transposed, in parts, or with rows that the model does not use.
"""

from collections.abc import Iterable
from dataclasses import dataclass


PREFIX = "transformer."  # of every tensor's name in our own files, as in GPT-2's
SCALE = ".scale"  # beside a matrix of int8 or int4 numbers: what they are multiplied by (`directory`)
# GPT-2's published code keeps these four matrices as (in, out); torch.nn.Linear keeps (out, in).
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


@dataclass(frozen=True, slots=True)
class Source:
    """Where one of the model's tensors lies in a file.

    Attributes:
        names: the file's tensors without their prefix; several are stacked row on row (queries, keys, values).
        transposed: kept as (in, out).
        skip: first rows that are not the model's (OPT's positions begin in row 2).
    """

    names: tuple[str, ...]
    transposed: bool = False
    skip: int = 0


def gpt2_sources(names: Iterable[str]) -> dict[str, Source]:
    """GPT-2's files: our names, which are theirs."""
    return {name: Source((name,), transposed=name.endswith(TRANSPOSED)) for name in names}
