"""Models that tests share."""

import torch

import pellucid


MEASURED = ("tokens_per_s", "waiting", "flops_per_s", "matmul_share")  # of a line of metrics: another at each run

def lively(model: pellucid.GPT) -> pellucid.GPT:
    """Larger weights: a fresh model's distributions are nearly flat, and would hide mistakes."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.mul_(6)
            elif name.endswith("bias"):
                parameter.copy_(torch.linspace(-0.3, 0.3, len(parameter)))
        model.ln_f.weight.fill_(4)
    return model.eval().requires_grad_(False)
