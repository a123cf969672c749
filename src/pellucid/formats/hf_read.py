"""Loading weights of a Hugging Face directory: config.json with safetensors, in one file or in shards."""

from pathlib import Path
from typing import Any

import torch

from pellucid.formats.weights import open_weights
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.weights import fill_parameters


def load_weights(
    model: Decoder,
    directory: Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    values: dict[str, Any] | None = None,
) -> None:
    """Fills `model` from a directory of any family.

    Args:
        dtype: of the parameters; None is float32. values: the directory's config.json, if that has been read.

    Raises:
        PellucidError: there are only pickles; a file is missing, truncated, or holds a missing, extra, wrong-shaped or
            non-finite tensor; the output matrix is not the token matrix. The message names file and tensor.
    """
    with open_weights(directory, model.config, values) as (tensors, sources):
        fill_parameters(model, tensors, sources, device=device, dtype=dtype)
