"""Reading the config and listing the weight files of a model directory of any family.

No torch here.
"""

import re
import shlex
from pathlib import Path
from typing import Any

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.formats.families import FAMILIES, UNSUPPORTED_FAMILIES, Family
from pellucid.gpt import config_json
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.config_json import CONFIG, WEIGHTS, errors_with_file, read_json
from pellucid.strict_json import Fields
from pellucid.strict_json import read_json as read_json_file


INDEX = f"{WEIGHTS}.index.json"
PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
CONVERT_COMMAND = (
    'python -c "import sys, transformers as t; t.AutoModelForCausalLM.from_pretrained(sys.argv[1]).save_pretrained('
    'sys.argv[2])" {source} {target}'
)


def read_config(directory: Path, values: dict[str, Any] | None = None) -> GPTConfig:
    """The config of the model in a directory of any family.

    Args:
        values: its config.json, if that has been read.

    Raises:
        PellucidError: no config.json, not JSON, another kind of model, or a key missing; the message names the file.
    """
    values = read_json(directory) if values is None else values
    family = family_of(directory, values)
    if family.shape is None:
        return config_json.read_config(directory, values)
    with errors_with_file(directory / CONFIG):
        return family.shape(values)


def family_of(directory: Path, values: dict[str, Any]) -> Family:
    """The family that a config.json's values name. Raises PellucidError: an unsupported one."""
    found = values.get("model_type")
    kind = found if isinstance(found, str) else ""
    if kind in FAMILIES:
        return FAMILIES[kind]
    reason = f" ({UNSUPPORTED_FAMILIES[kind]} are not GPT-3's)" if kind in UNSUPPORTED_FAMILIES else ""
    raise PellucidError(
        f"{directory / CONFIG}: model_type {shown(found)} is not one this version reads ({', '.join(FAMILIES)}){reason}"
    )


def listed_shards(directory: Path) -> dict[str, str]:
    """Tensor name to shard, from the index; empty where the weights are one file.

    Raises:
        PellucidError: the index is damaged, or names something that is not a safetensors file beside it.
    """
    path = directory / INDEX
    if (directory / WEIGHTS).exists() or not path.exists():
        return {}
    try:
        listed = Fields(read_json_file(path), path).object("weight_map").values
    except (OSError, PellucidError) as error:
        raise PellucidError(f"{path} is not an index of shards: {error}") from None
    if not listed:
        raise PellucidError(f"{path} is not an index of shards: its weight_map is empty")
    for name in listed.values():
        # Only a file beside the index: no path may lead out of the directory.
        if not isinstance(name, str) or len(name) > 200 or not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name):
            raise PellucidError(f"{path} names {shown(name)}, which is not a safetensors file beside it")
    return dict(listed)


def weight_files(directory: Path, listed: dict[str, str]) -> list[Path]:
    """The files that hold the weights.

    Args:
        listed: as `listed_shards` gives it.

    Raises:
        PellucidError: a shard is missing, or there are only pickles.
    """
    if listed:
        for name in sorted(set(listed.values())):
            if not (directory / name).is_file():
                raise PellucidError(f"{directory / INDEX} names {name}, which is not there")
        return [directory / name for name in sorted(set(listed.values()))]
    if not (directory / WEIGHTS).exists():
        pickled = sorted(path.name for pattern in PICKLE_PATTERNS for path in directory.glob(pattern))
        if pickled:
            line = CONVERT_COMMAND.format(source=shlex.quote(str(directory)), target=shlex.quote(f"{directory}-safe"))
            raise PellucidError(
                f"{directory} holds its weights as {pickled[0]}, which can run code when it is read. If you trust it, convert "
                f"it with: {line}"
            )
    return [directory / WEIGHTS]
