"""Muon with its matrix products in a dtype that is given."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


DTYPES = ("bfloat16", "float32")


class Muon(torch.optim.Muon):
    """`torch.optim.Muon`, which multiplies in bfloat16 on every processor, with another dtype of its products.

    Where bfloat16 is emulated (x86 without AVX512-BF16 or AMX) float32 is about twenty times as fast, and the update is the
    same up to rounding.

    Args:
        params: matrices.
        matmul_dtype: "bfloat16" (`torch.optim.Muon` itself) or "float32".
        settings: of `torch.optim.Muon`.

    Raises:
        ValueError: another dtype, or what `torch.optim.Muon` refuses.
    """

    def __init__(self, params: Iterable[Any], matmul_dtype: str = "bfloat16", **settings: Any) -> None:
        if matmul_dtype not in DTYPES:
            raise ValueError(f"matmul_dtype must be {' or '.join(DTYPES)}, not {matmul_dtype!r}")
        super().__init__(params, **settings)
        self.matmul_dtype = matmul_dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update of all matrices."""
        if self.matmul_dtype == "bfloat16":
            return super().step(closure)  # type: ignore[no-untyped-call]
        assert closure is None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group)
        return None

    def _update(self, p: nn.Parameter, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        average = state["momentum_buffer"].lerp_(grad, 1 - group["momentum"])
        update = grad.lerp(average, group["momentum"]) if group["nesterov"] else average
        update = orthogonalize(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rows, columns = p.shape
        matches_adamw = group["adjust_lr_fn"] == "match_rms_adamw"
        ratio = 0.2 * math.sqrt(max(rows, columns)) if matches_adamw else math.sqrt(max(1, rows / columns))
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(update, alpha=-group["lr"] * ratio)


def orthogonalize(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """A matrix with the singular vectors of another and singular values near 1, by Newton-Schulz iterations in its dtype.

    Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon); coefficients and steps are `torch.optim.Muon`'s.
    """
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp_min(eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
