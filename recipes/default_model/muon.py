"""The recipe's optimizer: Muon for the matrices of the blocks, AdamW for the rest, as in `pellucid.training.optimizers`."""

import torch
from torch import nn

from pellucid.training.muon import Muon
from pellucid.training.optimizers import CombinedOptimizer


def muon_and_adamw(
    model: nn.Module, *, lr: float, weight_decay: float, betas: tuple[float, float], dtype: torch.dtype
) -> torch.optim.Optimizer:
    """Muon for the matrices of the blocks, AdamW for embeddings, biases and LayerNorms; vectors do not decay.

    Args:
        betas: of AdamW. dtype: of Muon's matrix products.
    """
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and n.startswith("h.")]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    groups = [
        {"params": [p for p in others if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in others if p.dim() < 2], "weight_decay": 0.0},
    ]
    muon = Muon(
        matrices, str(dtype).removeprefix("torch."), lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return CombinedOptimizer([muon, torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8, fused=True)])
