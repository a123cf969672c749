"""Muon with AdamW beside it, as `pellucid.training.optimizers` has them, but with Muon's products in a dtype that is given.

`torch.optim.Muon` takes its products in bfloat16 whatever the processor. Where that is emulated (AVX2 without bfloat16), Muon's
part of a step of the 6 x 384 model takes 48 seconds on one thread instead of 2: more than its gradients.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.training.optimizers import CombinedOptimizer


NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024, as in torch.optim.Muon
NEWTON_SCHULZ_STEPS = 5
EPS = 1e-7


def orthogonalized(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The nearest matrix with singular values near 1, by Newton-Schulz iterations, products in `dtype`."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.to(dtype)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / x.norm().clamp_min(EPS)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalized, scaled to the size of AdamW's updates (Liu et al. 2025, arXiv 2502.16982, section 2.2).

    The same update as `torch.optim.Muon(..., adjust_lr_fn="match_rms_adamw")`, up to the dtype of its products.

    Args:
        params: matrices.
        weight_decay: decoupled: weights shrink by lr * weight_decay a step.
        dtype: of the products.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: float, weight_decay: float, momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of all matrices."""
        assert closure is None
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                average = state["momentum_buffer"].lerp_(p.grad, 1 - group["momentum"])
                update = orthogonalized(p.grad.lerp(average, group["momentum"]), self.dtype)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.to(p.dtype), alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def muon_and_adamw(
    model: nn.Module, *, lr: float, weight_decay: float, betas: tuple[float, float], dtype: torch.dtype
) -> torch.optim.Optimizer:
    """Muon for the matrices of the blocks, AdamW for tokens, positions, biases and LayerNorms; vectors do not decay."""
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and n.startswith("h.")]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    groups = [
        {"params": [p for p in others if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in others if p.dim() < 2], "weight_decay": 0.0},
    ]
    return CombinedOptimizer(
        [
            Muon(matrices, lr=lr, weight_decay=weight_decay, dtype=dtype),
            torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8, fused=True),
        ]
    )
