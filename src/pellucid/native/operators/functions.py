"""Autograd functions over the compiled operators.

N rows, C width, V vocabulary; B batch, T positions, H heads, D head width.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pellucid.native.operators.library import call


BLOCK_ROWS = 64  # ROWS_PER_BLOCK of operators.c


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        y, slope = torch.empty_like(x), torch.empty_like(x)
        call("gelu", x.numel(), x, y, slope)
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        grad: Tensor = grads[0] * slope
        return grad


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
        x = x.contiguous()
        width = x.shape[-1]
        rows = x.numel() // width
        y = torch.empty_like(x, dtype=torch.bfloat16)
        mean, inverse = x.new_empty(rows), x.new_empty(rows)
        call("layer_norm", rows, width, x, gain, bias, eps, y, mean, inverse)
        ctx.save_for_backward(x, gain, mean, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, gain, mean, inverse = ctx.saved_tensors
        rows, width = mean.numel(), x.shape[-1]
        dx, sums = torch.empty_like(x), x.new_empty(-(-rows // BLOCK_ROWS), 2, width)
        call("layer_norm_backward", rows, width, x, gain, mean, inverse, grads[0].contiguous(), dx, sums)
        d_gain, d_bias = sums.sum(0)
        return dx, d_gain, d_bias, None


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor) -> Tensor:
        b, t, _, h, d = qkv.shape
        packed = qkv.permute(2, 0, 3, 1, 4).contiguous().view(3, b * h, t, d)
        q, k, v = packed
        weights = torch.bmm(q, k.transpose(1, 2))
        call("causal_softmax", b * h, t, 1 / math.sqrt(d), weights)
        ctx.save_for_backward(packed, weights)
        return torch.bmm(weights, v).view(b, h, t, d).transpose(1, 2).reshape(b, t, h * d)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        packed, weights = ctx.saved_tensors
        q, k, v = packed
        heads, t, d = q.shape
        b = grads[0].shape[0]
        grad = grads[0].view(b, t, -1, d).transpose(1, 2).reshape(heads, t, d)
        scores = torch.bmm(grad, v.transpose(1, 2))
        call("causal_softmax_backward", heads, t, 1 / math.sqrt(d), weights, scores)
        # Gradients of keys and values as (D, T): a product is faster if the large matrix need not be transposed.
        d_q, d_k, d_v = scores @ k, q.transpose(1, 2) @ scores, grad.transpose(1, 2) @ weights
        out = grad.new_empty(b, t, 3, heads // b, d)
        for part, one in enumerate((d_q, d_k.transpose(1, 2), d_v.transpose(1, 2))):
            out[:, :, part] = one.view(b, -1, t, d).transpose(1, 2)
        return out


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU (tanh form) of bfloat16 numbers; saves the derivative for the backward pass instead of the input."""
    y: Tensor = _Gelu.apply(x)  # type: ignore[no-untyped-call]
    return y


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm over the last axis of (..., C) float32; the output is bfloat16, for the product that follows."""
    y: Tensor = _LayerNorm.apply(x, gain, bias, eps)  # type: ignore[no-untyped-call]
    return y


def causal_attention(qkv: Tensor) -> Tensor:
    """Dense causal self-attention: (B, T, 3, H, D) bfloat16 queries, keys, values -> (B, T, H D), heads side by side.

    The attention weights, (B H, T, T), are saved for the backward pass.
    """
    out: Tensor = _CausalAttention.apply(qkv)  # type: ignore[no-untyped-call]
    return out


def cross_entropy_(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each row, (N,) float32 in nats; overwrites `logits` with their gradient.

    Args:
        logits: (N, V) bfloat16; rows may be views of longer ones, whose remainder becomes 0.
        targets: (N,) int64; negative ones are ignored: their loss and gradient are 0.
    """
    losses = logits.new_empty(logits.shape[0], dtype=torch.float32)
    call("cross_entropy", *logits.shape, logits.stride(0), logits, targets.contiguous(), losses)
    return losses
