"""Reading a model as Hugging Face publishes it: config.json with safetensors, whole or in shards."""

from pathlib import Path

import torch

from pellucid.errors import PellucidError
from pellucid.formats.families import HEAD
from pellucid.formats.hf_config import INDEX, family_of, listed_shards, weight_files
from pellucid.gpt.config_json import CONFIG, read_json
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.weights import Tensors, fill


def load_weights(
    model: Decoder, directory: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> None:
    """Fills `model` from a directory of any family.

    Args:
        dtype: of the parameters; None is float32.

    Raises:
        PellucidError: there are only pickles; a file is missing, truncated, or holds a missing, extra, wrong-shaped or
            non-finite tensor; the output matrix is not the token matrix. The message names file and tensor.
    """
    values = read_json(directory)
    family = family_of(directory, values)
    sources = family.sources(name for name, _ in model.named_parameters())
    embedding = sources["wte.weight"].names[0]
    listed = listed_shards(directory)
    with Tensors(weight_files(directory, listed), family.plain) as tensors:
        for stored, shard in listed.items():
            name = family.plain(stored)
            if name is not None and (name not in tensors or tensors.where(name).name != shard):
                raise PellucidError(f"{directory / INDEX} says that {stored!r} lies in {shard}, which lacks it")
        head = tensors.take(HEAD) if HEAD in tensors else None
        if head is None and values.get("tie_word_embeddings", True) is False:
            raise PellucidError(f"{directory / CONFIG} says that the output matrix is not tied, but {HEAD!r} is missing")
        fill(model, tensors, sources, device=device, dtype=dtype)
        if head is not None and not torch.equal(head, tensors.get(embedding)):
            raise PellucidError(
                f"{directory}: {HEAD!r} is not {embedding!r} again; in GPT-3's family the output matrix is tied to the tokens'"
            )
