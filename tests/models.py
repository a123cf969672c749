"""Models that tests share."""

import torch

import pellucid
from pellucid.gpt.arrangements import interleaved, multi_head
from pellucid.gpt.pattern import Compressed, Fixed, Pattern, Strided, parse


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


# One pattern a block, by name: what tests of caches and records go through.
PATTERN_SETS: dict[str, tuple[Pattern, ...]] = {
    "strided": (Strided(7), Strided(5)),
    "fixed": (Fixed(8, 3), Fixed(6, 1, 4), Fixed(60, 3)),
    "interleaved": (*interleaved(2, Strided(6)), *interleaved(2, Fixed(8, 3))),
    "heads": (multi_head(Strided(6)), parse("heads(fixed(8,2),fixed(8,2,1),fixed(8,2,2))"), multi_head(Fixed(8, 2))),
    "LMLML": tuple(map(parse, ("local(10)", "compressed(3,3)", "local(10)", "compressed(3,3)", "local(10)"))),
    "compressed, overlapping": (Compressed(5, 2), Compressed(4, 4)),
    "all": tuple(map(parse, ("dense", "banded(5)", "local(7)", "strided(6)", "fixed(9,2)", "compressed(3,3)", "summary(5,2)"))),
}


def perturbed(pattern: tuple[Pattern, ...], seed: int = 0) -> pellucid.GPT:
    """A small model in double precision whose every parameter matters, those of compressed blocks included."""
    config = pellucid.GPTConfig(vocab_size=61, n_ctx=48, n_layers=len(pattern), d_model=24, n_heads=4, pattern=pattern)
    model = pellucid.GPT(config, seed=seed).double()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model.eval()
