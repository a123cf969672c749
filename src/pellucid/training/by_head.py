"""The rows of `c_attn` head by head, so that a rank's share of them is whole heads.

Files and models of one process have the rows of all queries, then of all keys, then of all values: (3, H, D). A contiguous part
of these is no attention of some heads. On a mesh the rows are (H, 3, D), in memory and in sharded checkpoints alike, whatever
the mesh. All other tensors are as in one process. R rows of the tensor, H heads, D head width.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


BY_HEAD = ("attn.c_attn.weight", "attn.c_attn.bias")  # of the tensors whose rows have another order; of their states, too


def plain_rows(name: str, rows: int, n_heads: int) -> NDArray[np.int64] | None:
    """(R,) the row in one process of each row on a mesh; None where they are the same.

    Args:
        name: of a parameter.
    """
    if not name.endswith(BY_HEAD):
        return None
    return np.arange(rows).reshape(3, n_heads, -1).transpose(1, 0, 2).reshape(-1)


def to_plain(name: str, tensor: Tensor, n_heads: int) -> Tensor:
    """A whole tensor of a mesh in the order of one process: (R, ...) -> (R, ...).

    Args:
        name: of a parameter, or of a part of its optimizer state ("h.0.attn.c_attn.weight.exp_avg").
    """
    return tensor.unflatten(0, (n_heads, 3, -1)).transpose(0, 1).flatten(0, 2) if _is_by_head(name, tensor) else tensor


def from_plain(name: str, tensor: Tensor, n_heads: int) -> Tensor:
    """The inverse of `to_plain`."""
    return tensor.unflatten(0, (3, n_heads, -1)).transpose(0, 1).flatten(0, 2) if _is_by_head(name, tensor) else tensor


def _is_by_head(name: str, tensor: Tensor) -> bool:
    return tensor.dim() > 0 and any(f"{one}." in f"{name}." for one in BY_HEAD)
