"""A context manager for inference passes: no autograd, no dropout, no autocast."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from pellucid.gpt.torch_defaults import enter_creation_defaults


@contextmanager
def inference_mode(model: nn.Module) -> Iterator[None]:
    """`torch.inference_mode` and eval mode for one pass. The caller of a stream may train the model between two tokens.

    Each module's own training flag is restored: some may be in eval mode while the others train.
    """
    training, left = [], [model]
    while left:  # as `Module.modules`, which takes longer; twice the same module does no harm
        module = left.pop()
        left += [child for child in module._modules.values() if child is not None]  # some have a length, or none
        if module.training:
            module.training = False
            training.append(module)
    try:
        with torch.inference_mode(), ExitStack() as stack:
            enter_creation_defaults(stack)
            yield
    finally:
        for module in training:
            module.training = True
