"""How a model is read from: without autograd and without dropout."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pellucid.gpt.decoder import Decoder


@contextmanager
def inference_mode(model: Decoder) -> Iterator[None]:
    """No autograd and no dropout, for the length of one pass: a stream's user may do anything between two tokens."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if was_training:
            model.train()
