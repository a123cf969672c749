"""Names and layouts of a model's parameters in weight files. No torch here; `weights` reads them.

A file may hold a tensor under another name, transposed, in parts, or with rows that the model does not use.
"""

from collections.abc import Iterable
from dataclasses import dataclass


PREFIX = "transformer."  # of every tensor's name in our own files, as in GPT-2's
SCALE = ".scale"  # suffix of the scales of a matrix of int8 or int4 numbers (`directory`)
# GPT-2's published code stores these four matrices as (in, out); torch.nn.Linear as (out, in).
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


@dataclass(frozen=True, slots=True)
class TensorSource:
    """How a file stores one parameter of the model.

    Attributes:
        names: the file's tensors without their prefix; several are stacked row on row (queries, keys, values).
        transposed: stored as (in, out).
        skip: leading rows that the model does not use (OPT's positions begin in row 2).
        query_scale: what the first third of the rows, the queries', is to be multiplied by
            (`scale_attn_by_inverse_layer_idx` of GPT-2's configs divides the scores of block i by i + 1).
    """

    names: tuple[str, ...]
    transposed: bool = False
    skip: int = 0
    query_scale: float = 1.0


def gpt2_tensor_sources(names: Iterable[str]) -> dict[str, TensorSource]:
    """The layout of GPT-2's files, whose names are ours."""
    return {name: TensorSource((name,), transposed=name.endswith(TRANSPOSED)) for name in names}
