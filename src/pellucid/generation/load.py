"""`load`: loads a model for generation from any source."""

from pathlib import Path

import torch

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.formats import gguf_read
from pellucid.formats.hf_config import read_config
from pellucid.formats.tokenizers import read_tokenizer
from pellucid.formats.weights import open_weights
from pellucid.generation.model import GPT
from pellucid.generation.resolve import DEFAULT, gguf_file, resolve
from pellucid.gpt.config_json import read_json
from pellucid.gpt.torch_defaults import torch_defaults
from pellucid.gpt.weights import fill_parameters
from pellucid.runtime.device import resolve_device
from pellucid.runtime.threads import limit_threads


DTYPES = ("float32", "bfloat16", "float16", "float64")


@torch_defaults()
def load(source: str | Path = DEFAULT, *, device: str | torch.device = "cpu", dtype: str | torch.dtype | None = None) -> GPT:
    """A model ready to generate: in eval mode, its weights not asking for gradients.

    Args:
        source: "default", the model inside this package (`./default` is a directory of that name); a model directory
            (config.json, safetensors and, for text, a tokenizer), of ours or of Hugging Face's GPT-2, Cerebras-GPT, GPT-Neo
            or OPT; a run directory (its newest model); a GGUF file of the gpt2 architecture, whose quantised weights are
            dequantised; or a name on the hub ("org/name").
        device: of the weights: "cpu", "cuda", "mps", "auto" (cuda, else mps, else cpu), or a torch.device.
        dtype: of the weights: "float32", "bfloat16", "float16", "float64" or the torch.dtype. None is float32: an answer
            then does not depend on what else is in its batch, up to rounding (docs/generating.md: exact and fast).

    Raises:
        PellucidError: nothing there that this can read, or a damaged file; the message names it.
    """
    limit_threads()
    if (file := gguf_file(source)) is not None:
        return _read_gguf(file, resolve_device(device), _dtype(dtype))
    directory = resolve(source)
    values = read_json(directory)
    config = read_config(directory, values)
    weights_dtype, weights_device = _dtype(dtype), resolve_device(device)
    with open_weights(directory, config, values) as (tensors, sources):  # bounds the vocabulary and the model
        tokenizer, no_tokenizer = read_tokenizer(directory, config, values)
        with torch.device("meta"):  # no memory and no random numbers, only to be overwritten
            model = GPT(config, tokenizer=tokenizer)
        model.no_tokenizer = no_tokenizer
        fill_parameters(model, tensors, sources, device=weights_device, dtype=weights_dtype)
    return model.eval().requires_grad_(False)


def _read_gguf(path: Path, device: torch.device, dtype: torch.dtype) -> GPT:
    file = gguf_read.read(path)
    with torch.device("meta"):
        model = GPT(file.config, tokenizer=file.tokenizer)
    if file.tokenizer is None:
        model.no_tokenizer = file.no_tokenizer
    file.fill(model, device=device, dtype=dtype)
    return model


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    if dtype is None:
        return torch.float32
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise PellucidError(f"unknown dtype {shown(dtype)}: use one of {', '.join(DTYPES)}")
    torch_dtype: torch.dtype = getattr(torch, name)
    return torch_dtype
