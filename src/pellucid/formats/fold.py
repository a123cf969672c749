"""GPT-3's attention in GPT-Neo's parameters, exactly.

C width, D head width. GPT-Neo has no biases on queries, keys and values and does not divide scores by sqrt(D). All of that
can be moved elsewhere without changing what a block computes:

* scale: W_q / sqrt(D), b_q / sqrt(D).
* b_k adds the same to all scores of a query: the softmax does not see it, so it is dropped.
* b_q: W_q is square, so a shift d of what goes in has W_q d = b_q; d joins ln_1's bias. Keys then shift by W_k d, which the
  softmax does not see either, and values by W_v d.
* b_v and that shift: attention weights sum to 1, so W_o (b_v - W_v d) joins the projection's bias.

In exact arithmetic nothing is lost. In float32 a large d costs bits: ln_1's output is a sum of what it was and d, and W_q
takes them apart again. So d is measured (`growth`), and a W_q that is singular is refused.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.gpt.decoder import Block, Decoder


MOST_GROWTH = 2**8  # each doubling costs one of float32's 24 bits: 16 are left at this
MOST_RESIDUAL = 1e-8  # of the shift, relative to b_q, in float64: what is worse comes of a singular W_q


@dataclass(frozen=True, slots=True)
class Shift:
    """What takes the place of one block's query biases.

    Attributes:
        delta: (C,) float64, joins ln_1's bias.
        growth: how many times larger the largest number is that ln_1 gives out, at most.
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
    if failed or not residual <= MOST_RESIDUAL:
        raise PellucidError(
            f"block {number}'s query biases cannot be moved into GPT-Neo's parameters: its query matrix is singular (condition "
            f"number {condition(block):.3g}, residual {residual:.3g})"
        )
    gain, shift = block.ln_1.weight.detach().cpu().double(), block.ln_1.bias.detach().cpu().double()
    # A normalised vector of C numbers has a variance of 1: about 1 is what its numbers are.
    before = (gain.abs() + shift.abs()).max()
    after = (gain.abs() + (shift + delta).abs()).max()
    return Shift(delta, float(after / before), residual)


def fold(block: Block, shift: Shift) -> dict[str, Tensor]:
    """The block's changed parameters in float64, by our names within it; the query, key and value biases have gone.

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
