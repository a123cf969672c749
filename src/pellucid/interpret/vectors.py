"""The formulas of one position's vectors in a generation record: its embedding, its nearest tokens, its output vector.

C width, D width of a token's row, V vocabulary, I nearest tokens. Computed in float32, whatever the model's dtype.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.gpt.decoder import Decoder


NEAREST = 8  # tokens in the list of those with similar rows
_ROWS_AT_ONCE = 1 << 13  # of the token matrix: 25 MB at 768 wide


def embedding_vectors(model: Decoder, token: int, position: int) -> tuple[Tensor, Tensor]:
    """The two vectors (C,) whose sum enters block 0: the token's, and the position's."""
    row = model.wte.weight[token].float()
    if model.project_in is not None:
        row = F.linear(row, model.project_in.weight.float())
    return row, model.wpe.weight[position].float()


def embedding_source(model: Decoder, token: int) -> dict[str, Any]:
    """The `source` of the token's vector."""
    tensors = ["wte.weight"] if model.project_in is None else ["wte.weight", "project_in.weight"]
    return {"tensors": tensors, "row": token}


def cosines(model: Decoder, token: int) -> Tensor:
    """(V,) float32: the cosine of each token's row in the token matrix with that of one token; 0 where a row is 0."""
    row = F.normalize(model.wte.weight[token].float(), dim=0)
    parts = torch.split(model.wte.weight, _ROWS_AT_ONCE)
    return torch.cat([F.normalize(part.float(), dim=1) @ row for part in parts])


def nearest_tokens(model: Decoder, token: int, count: int = NEAREST) -> tuple[Tensor, Tensor]:
    """The `count` other tokens with the largest cosines, the largest first: (I,) ids and (I,) cosines."""
    found = cosines(model, token)
    found[token] = -2.0  # below every cosine
    top = found.topk(min(count, len(found) - 1))
    return top.indices, top.values


def read_out(model: Decoder, stream: Tensor) -> Tensor:
    """`Decoder.read_out` in float32: (..., C) residual stream -> (..., D)."""
    norm, out, hidden = model.ln_f, model.project_out, stream.float()
    if norm is not None:
        hidden = F.layer_norm(hidden, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
    return hidden if out is None else F.linear(hidden, out.weight.float())


def output_source(model: Decoder) -> dict[str, Any]:
    """The `source` of the output vector."""
    tensors, formula = read_out_source(model)
    return {"tensors": tensors, "formula": formula}


def read_out_source(model: Decoder) -> tuple[list[str], str]:
    """The tensors that `read_out` uses, and the formula as text."""
    tensors, formula = [], "x"
    if model.ln_f is not None:
        tensors, formula = ["ln_f.weight", "ln_f.bias"], "ln_f(x)"
    if model.project_out is not None:
        tensors, formula = [*tensors, "project_out.weight"], f"{formula} project_out"
    return tensors, formula
