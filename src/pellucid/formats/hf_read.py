"""Reading a model as Hugging Face publishes it: config.json with safetensors, whole or in shards."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import torch

from pellucid.errors import PellucidError
from pellucid.formats.families import FAMILIES, HEAD, NOT_READ, Family
from pellucid.gpt import directory as own
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.directory import CONFIG, WEIGHTS, read_json, reading
from pellucid.gpt.weights import Tensors, fill


INDEX = f"{WEIGHTS}.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
CONVERT = (
    'python -c "import sys, transformers as t; t.AutoModelForCausalLM.from_pretrained(sys.argv[1]).save_pretrained('
    'sys.argv[2])" {source} {target}'
)


def read_config(directory: Path) -> GPTConfig:
    """The shape of the model in a directory of any family.

    Raises:
        PellucidError: no config.json, not JSON, another kind of model, or a key missing; the message names the file.
    """
    values = read_json(directory)
    family = _family(directory, values)
    if family.shape is None:
        return own.read_config(directory)
    with reading(directory / CONFIG):
        return family.shape(values)


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
    family = _family(directory, values)
    sources = family.sources(model)
    embedding = sources["wte.weight"].names[0]
    listed = _listed(directory)
    with Tensors(_files(directory, listed), family.plain) as tensors:
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


def _family(directory: Path, values: dict[str, Any]) -> Family:
    kind = values.get("model_type")
    if kind in FAMILIES:
        return FAMILIES[kind]
    why = f" ({NOT_READ[kind]} are not GPT-3's)" if kind in NOT_READ else ""
    raise PellucidError(f"{directory / CONFIG}: model_type {kind!r} is not one this version reads ({', '.join(FAMILIES)}){why}")


def _listed(directory: Path) -> dict[str, str]:
    """Tensor to shard, as the index says; empty where the weights are one file."""
    path = directory / INDEX
    if (directory / WEIGHTS).exists() or not path.exists():
        return {}
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise PellucidError(f"{path} is not an index of shards: {error!r}") from None
    if not isinstance(listed, dict) or not listed:
        raise PellucidError(f"{path} is not an index of shards: its weight_map is {listed!r}")
    for name in set(listed.values()):
        # A file beside the index and nothing else: no path leads out of the directory.
        if not isinstance(name, str) or not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name):
            raise PellucidError(f"{path} names {name!r}, which is not a safetensors file beside it")
    return dict(listed)


def _files(directory: Path, listed: dict[str, str]) -> list[Path]:
    if listed:
        for name in sorted(set(listed.values())):
            if not (directory / name).is_file():
                raise PellucidError(f"{directory / INDEX} names {name}, which is not there")
        return [directory / name for name in sorted(set(listed.values()))]
    if not (directory / WEIGHTS).exists():
        pickled = sorted(path.name for pattern in PICKLES for path in directory.glob(pattern))
        if pickled:
            line = CONVERT.format(source=shlex.quote(str(directory)), target=shlex.quote(f"{directory}-safe"))
            raise PellucidError(
                f"{directory} holds its weights as {pickled[0]}, which can run code when it is read. If you trust it, convert "
                f"it with: {line}"
            )
    return [directory / WEIGHTS]
