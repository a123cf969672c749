"""Memory-compressed attention: a convolution over keys and values (arXiv 1801.10198).

B batch, H heads, T positions, M compressed keys, D head width, C = H * D width, K kernel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.gpt.pattern import Compressed


class Compressor(nn.Module):
    """One compressed key and value for every `kernel` positions, `stride` apart: a convolution within each head.

    Weights are matrices of (C, D * K), to which applies what applies to matrices (weight decay, 8-bit storage): row c
    computes channel c of the new key from the D channels of its head at K positions.

    Attributes:
        nothing_k, nothing_v: (C,), the null key and value, which every query sees (see `pattern.Compressed`).
    """

    def __init__(self, pattern: Compressed, n_heads: int, d_model: int) -> None:
        super().__init__()
        self.pattern = pattern
        self.n_heads = n_heads
        shape = (d_model, d_model // n_heads * pattern.kernel)
        self.k_weight, self.v_weight = (nn.Parameter(torch.empty(shape)) for _ in range(2))
        self.k_bias, self.v_bias, self.nothing_k, self.nothing_v = (nn.Parameter(torch.empty(d_model)) for _ in range(4))

    def keys(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, T, D) keys and values -> (B, H, M, D): those that are complete, the first from position 0."""
        return self._convolve(k, self.k_weight, self.k_bias), self._convolve(v, self.v_weight, self.v_bias)

    def null_key_value(self, rows: int) -> tuple[Tensor, Tensor]:
        """The null key and value: (B, H, 1, D) each."""
        return self._as_key(self.nothing_k, rows), self._as_key(self.nothing_v, rows)

    def forward(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, T, D) of all positions -> (B, H, 1 + M, D): the null key, and the complete ones."""
        keys, values = self.keys(k, v)
        null_key, null_value = self.null_key_value(len(k))
        return torch.cat((null_key.to(keys.dtype), keys), dim=2), torch.cat((null_value.to(values.dtype), values), dim=2)

    def _as_key(self, vector: Tensor, rows: int) -> Tensor:
        return vector.view(1, self.n_heads, 1, -1).expand(rows, -1, -1, -1)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        b, h, positions, d = x.shape
        if positions < self.pattern.kernel:
            return x.new_empty(b, h, 0, d)
        if torch.is_autocast_enabled(x.device.type):
            weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        channels = x.transpose(2, 3).reshape(b, h * d, positions)  # (B, C, T)
        compressed = F.conv1d(channels, weight.view(h * d, d, -1), bias, stride=self.pattern.stride, groups=h)
        return compressed.view(b, h, d, -1).transpose(2, 3).contiguous()
