"""The formulas of one position's vectors in a generation record: its embedding, its nearest tokens, its output vector.

C width, D width of a token's row, V vocabulary, I nearest tokens. Computed in float32, whatever the model's dtype.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.gpt.decoder import Decoder, Embedding, LayerNorm, Linear


NEAREST = 8  # tokens in the list of those with similar rows
_ROWS_AT_ONCE = 1 << 13  # of the token matrix: 25 MB at 768 wide


def embedding_vectors(model: Decoder, token: int, position: int) -> tuple[Tensor, Tensor]:
    """The two vectors (C,) whose sum enters block 0: the token's, and the position's."""
    ids = torch.tensor([token], device=model.wte.weight.device)
    row = model.wte.weight[token].float() if is_plain(model.wte) else model.wte(ids[None])[0, 0]
    if model.project_in is not None and is_plain(model.project_in):
        row = F.linear(row.float(), model.project_in.weight.float())
    elif model.project_in is not None:
        row = model.project_in(row.to(model.wte.weight.dtype)[None, None])[0, 0]
    place = model.wpe.weight[position] if is_plain(model.wpe) else model.wpe(ids.new_tensor([position]))[0]
    return row.float(), place.float()


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
    """`Decoder.read_out` in float32: (T, C) residual stream -> (T, D). Modules that a user changed are called as they are."""
    norm, out = model.ln_f, model.project_out
    if not all(module is None or is_plain(module) for module in (norm, out)):
        return model.read_out(stream[None])[0].float()
    hidden = stream.float()
    if norm is not None:
        hidden = F.layer_norm(hidden, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
    return hidden if out is None else F.linear(hidden, out.weight.float())


def is_plain(module: nn.Module) -> bool:
    """Whether a module computes what its parameters say: it is one of `gpt.decoder`'s, without hooks or a method of its own."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return type(module) in (Embedding, LayerNorm, Linear) and not hooks and "forward" not in vars(module)


def output_source(model: Decoder) -> dict[str, Any]:
    """The `source` of the output vector."""
    tensors, formula = read_out_source(model)
    return {"tensors": tensors, "formula": formula}


def read_out_source(model: Decoder) -> tuple[list[str], str]:
    """The tensors that `read_out` uses, and the formula as text."""
    tensors, formula = [], "x"
    if model.ln_f is not None:
        tensors, formula = [f"ln_f.{name}" for name, _ in model.ln_f.named_parameters()], "ln_f(x)"
    if model.project_out is not None:
        tensors += [f"project_out.{name}" for name, _ in model.project_out.named_parameters()]
        formula = f"{formula} project_out"
    return tensors, formula
