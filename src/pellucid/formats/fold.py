"""Folding query, key and value biases into other parameters, so that GPT-Neo's format holds GPT-3's attention exactly.

C width, D head width. GPT-Neo has no biases on queries, keys and values and does not divide scores by sqrt(D). Both can
be moved into other parameters without changing what a block computes:

* scale: W_q / sqrt(D), b_q / sqrt(D).
* b_k adds the same to all scores of a query, which the softmax ignores, so it is dropped.
* b_q: W_q is square, so there is a shift d of its input with W_q d = b_q; d is added to ln_1's bias. Keys then shift by
  W_k d, which the softmax ignores too, and values by W_v d.
* b_v and that shift: attention weights sum to 1, so W_o (b_v - W_v d) is added to the projection's bias.

In exact arithmetic nothing is lost. In float32 a large d costs bits: ln_1's output becomes a sum with d, and W_q separates
them again. So d is measured (`growth`), and a singular W_q is refused.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.gpt.decoder import Block, Decoder


MAX_GROWTH = 2**8  # each doubling costs one of float32's 24 bits: 16 are left at this
MAX_RESIDUAL = 1e-8  # of the shift, relative to b_q, in float64: more means a singular W_q


@dataclass(frozen=True, slots=True)
class Shift:
    """The shift of ln_1's output that replaces one block's query biases.

    Attributes:
        delta: (C,) float64, added to ln_1's bias.
        growth: the factor by which the largest possible output of ln_1 grows.
        residual: max |W_q d - b_q| / max |b_q| in float64.
    """

    delta: Tensor
    growth: float
    residual: float


def shifts(model: Decoder) -> list[Shift]:
    """The shift of every block.

    Raises:
        PellucidError: a W_q is singular; the message names the block, its condition number and the residual.
    """
    return [_shift(block, number) for number, block in enumerate(model.h) if isinstance(block, Block)]


def condition(block: Block) -> float:
    """W_q's condition number: its largest singular value over its smallest."""
    values = torch.linalg.svdvals(_query(block)[0])
    return float(values[0] / values[-1])


def _query(block: Block) -> tuple[Tensor, Tensor]:
    linear = block.attn.c_attn
    width = linear.in_features
    bias = torch.zeros(width) if linear.bias is None else linear.bias.detach()[:width].cpu()
    return linear.weight.detach()[:width].cpu().double(), bias.double()


def _shift(block: Block, number: int) -> Shift:
    weight, bias = _query(block)
    size = bias.abs().max()
    if size == 0:
        return Shift(torch.zeros_like(bias), 1.0, 0.0)
    delta, failed = torch.linalg.solve_ex(weight, bias)
    residual = float((weight @ delta - bias).abs().max() / size)
    if failed or not residual <= MAX_RESIDUAL:
        raise PellucidError(
            f"block {number}'s query biases cannot be moved into GPT-Neo's parameters: its query matrix is singular (condition "
            f"number {condition(block):.3g}, residual {residual:.3g})"
        )
    gain, shift = block.ln_1.weight.detach().cpu().double(), block.ln_1.bias.detach().cpu().double()
    # A normalized vector has a variance of 1, so its numbers are about 1.
    before = (gain.abs() + shift.abs()).max()
    after = (gain.abs() + (shift + delta).abs()).max()
    return Shift(delta, float(after / before), residual)


def fold(block: Block, shift: Shift) -> dict[str, Tensor]:
    """The block's changed parameters in float64, by our names within it; query, key and value biases become zero.

    Args:
        shift: from `shifts`.
    """
    linear, projection = block.attn.c_attn, block.attn.c_proj
    width = linear.in_features
    weight = linear.weight.detach().cpu().double().clone()
    bias_v = (
        torch.zeros(width, dtype=torch.float64) if linear.bias is None else linear.bias.detach()[2 * width :].cpu().double()
    )
    out = projection.weight.detach().cpu().double()
    moved = out @ (bias_v - weight[2 * width :] @ shift.delta)
    if block.attn.scaled:
        weight[:width] /= math.sqrt(width // block.attn.n_heads)
    return {
        "attn.c_attn.weight": weight,
        "attn.c_proj.bias": projection.bias.detach().cpu().double() + moved,
        "ln_1.bias": block.ln_1.bias.detach().cpu().double() + shift.delta,
    }
