"""Initial weights of a run: by parameter name, or for runs that were planned earlier from one generator in order."""

import torch

from pellucid.generation.model import GPT
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.initialization import standard_deviation
from pellucid.runs.plan import Plan
from pellucid.text.tokenizer import Tokenizer


FIRST_WEIGHTS = "first_weights"  # the key of `Plan.source` that says how they are drawn; earlier runs have none
BY_NAME = "by name"  # `gpt.initialization`


def new_model(plan: Plan, tokenizer: Tokenizer | None) -> GPT:
    """The model of a run with its first weights."""
    model = GPT(plan.config, tokenizer=tokenizer, seed=plan.seed)
    if plan.source.get(FIRST_WEIGHTS) != BY_NAME:
        draw_in_order(model, plan.seed)
    return model


@torch.no_grad()
def draw_in_order(model: Decoder, seed: int) -> None:
    """First weights of earlier runs: normal numbers from one PyTorch generator, in the order of the parameters."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    for name, parameter in model.named_parameters():
        std = standard_deviation(model.config, name)
        if std is not None:
            parameter.copy_(torch.empty(parameter.shape).normal_(0.0, std, generator=generator))
