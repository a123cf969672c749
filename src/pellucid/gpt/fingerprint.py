"""A model's fingerprint: one digest of its config and weights."""

import json
from hashlib import sha256

import torch
from torch import Tensor

from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder


def fingerprint(model: Decoder) -> str:
    """SHA-256 in hexadecimal of the model's shape and parameters: equal for equal models, wherever they came from.

    It is taken over lines of text: the config as JSON with its keys in order (without the preset's name, which computes
    nothing), then for each parameter by name `name dtype shape digest`, digest being the SHA-256 of its row-major
    little-endian bytes. So one model in float32 and in bfloat16 are two: they do not compute the same.
    """
    lines = [shape_line(model.config)]
    for name, parameter in sorted(model.named_parameters()):
        dtype = str(parameter.dtype).removeprefix("torch.")
        lines.append(f"{name} {dtype} {list(parameter.shape)} {_digest(parameter)}")
    return sha256("\n".join(lines).encode()).hexdigest()


def shape_line(config: GPTConfig) -> str:
    """The first line: the config as JSON."""
    return json.dumps({key: value for key, value in config.to_dict().items() if key != "name"}, sort_keys=True)


def _digest(parameter: Tensor) -> str:
    return sha256(parameter.detach().cpu().resolve_neg().contiguous().view(torch.uint8).numpy().data).hexdigest()
