"""A context manager for inference passes: no autograd, no dropout."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pellucid.gpt.decoder import Decoder


@contextmanager
def inference_mode(model: Decoder) -> Iterator[None]:
    """`torch.inference_mode` and eval mode for one pass. The caller of a stream may train the model between two tokens."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if was_training:
            model.train()
