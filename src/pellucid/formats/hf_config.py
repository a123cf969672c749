"""Reading the config and listing the weight files of a model directory of any family.

No torch here.
"""

import re
import shlex
from pathlib import Path
from typing import Any

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.formats.families import CLASSES, FAMILIES, UNSUPPORTED_FAMILIES, Family
from pellucid.gpt import config_json
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.config_json import CONFIG, GENERATION, WEIGHTS, errors_with_file, read_generation_json, read_json
from pellucid.gpt.config_values import ConfigValues
from pellucid.strict_json import Fields
from pellucid.strict_json import read_json as read_json_file


INDEX = f"{WEIGHTS}.index.json"
SHARD = re.compile(r"model-[0-9]{5}-of-([0-9]{5})\.safetensors")
MAX_SHARDS = 10_000
ADAPTER = "adapter_config.json"
OTHER_LIBRARIES = {
    ".h5": "TensorFlow's: convert it with transformers 4 (from_pretrained(..., from_tf=True))",
    ".msgpack": "Flax's: convert it with transformers 4 (from_pretrained(..., from_flax=True))",
    ".gguf": "which can be opened itself: give its path",
    ".index": "a checkpoint of TensorFlow: convert it with the library that wrote it",
    ".onnx": "ONNX's: convert it with the library that wrote it",
}
PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
CONVERT_COMMAND = (
    'python -c "import sys, transformers as t; t.AutoModelForCausalLM.from_pretrained(sys.argv[1]).save_pretrained('
    'sys.argv[2])" {source} {target}'
)


def read_config(directory: Path, values: dict[str, Any] | None = None) -> GPTConfig:
    """The config of the model in a directory of any family: of its config.json, and of generation_config.json the tokens that
    begin and end a text, where it names them.

    Keys that are missing mean what they mean to `transformers`. Keys that change no logit are not looked at; docs/formats.md
    lists them.

    Args:
        values: its config.json, if that has been read.

    Raises:
        PellucidError: no config.json, a file that is not JSON, another kind of model, a key that asks for what is not
            supported, or a value that is none of its key; the message names file and key.
    """
    values = read_json(directory) if values is None else values
    path = directory / CONFIG
    family = family_of(directory, values)
    found = ConfigValues(values, path, defaults=family.defaults, aliases=family.aliases)
    for key, (harmless, what) in family.refused.items():
        given = found.flag(key, harmless) if isinstance(harmless, bool) else found.value(key, harmless) or harmless
        if given != harmless:
            raise PellucidError(f"{path}: {key} is {shown(given)}, which asks for {what}: this version does not read that")
    if family.shape is None:
        config = config_json.read_config(directory, values | {"model_type": model_type(values)})
    else:
        shape = family.shape(found)
        with errors_with_file(path):
            config = GPTConfig.from_dict(shape)
    generation = ConfigValues(read_generation_json(directory), directory / GENERATION)
    if generation.value("eos_token_id", None) is not None:
        config = config.replace(end_of_text=generation.tokens("eos_token_id", config.vocab_size))
    if generation.value("bos_token_id", None) is not None:
        config = config.replace(start_of_text=generation.token("bos_token_id", config.vocab_size))
    return config


def model_type(values: dict[str, Any]) -> object:
    """A config.json's `model_type`; where it has none, that of its first class in `architectures`."""
    named = values.get("architectures")
    if values.get("model_type") is None and isinstance(named, list) and named and isinstance(named[0], str):
        return next((kind for kind, pattern in CLASSES.items() if re.fullmatch(pattern, named[0])), None)
    return values.get("model_type")


def family_of(directory: Path, values: dict[str, Any]) -> Family:
    """The family that a config.json's values name. Raises PellucidError: an unsupported one."""
    found = model_type(values)
    kind = found if isinstance(found, str) else ""
    if kind in FAMILIES:
        return FAMILIES[kind]
    path, supported = directory / CONFIG, ", ".join(FAMILIES)
    if found is None:
        raise PellucidError(f"{path} has no model_type, nor architectures of a known one: add it ({supported})")
    reason = f" ({UNSUPPORTED_FAMILIES[kind]} are not GPT-3's)" if kind in UNSUPPORTED_FAMILIES else ""
    raise PellucidError(f"{path}: model_type {shown(found)} is not one this version reads ({supported}){reason}")


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
        PellucidError: a shard is missing, or there are only pickles, or files of other names.
    """
    if listed:
        for name in sorted(set(listed.values())):
            if not (directory / name).is_file():
                raise PellucidError(f"{directory / INDEX} names {name}, which is not there: copy or download it")
        return [directory / name for name in sorted(set(listed.values()))]
    if (directory / WEIGHTS).exists():
        return [directory / WEIGHTS]
    names = sorted(path.name for path in directory.iterdir())
    if shards := [name for name in names if SHARD.fullmatch(name)]:
        return _unlisted_shards(directory, shards)
    if others := [name for name in names if name.endswith(".safetensors")]:
        raise PellucidError(
            f"{directory} has no {WEIGHTS}, but {others[0]}: if that holds the whole model, call it {WEIGHTS}"
        )
    if pickled := [path.name for pattern in PICKLE_PATTERNS for path in sorted(directory.glob(pattern))]:
        line = CONVERT_COMMAND.format(source=shlex.quote(str(directory)), target=shlex.quote(f"{directory}-safe"))
        raise PellucidError(
            f"{directory} holds its weights as {pickled[0]}, which can run code when it is read. If you trust it, convert "
            f"it with: {line}"
        )
    for name in names:
        if what := OTHER_LIBRARIES.get(Path(name).suffix):
            raise PellucidError(f"{directory} has no {WEIGHTS}, but {name}, {what}")
    raise PellucidError(f"no model in {directory}: it has no {WEIGHTS}")


def _unlisted_shards(directory: Path, shards: list[str]) -> list[Path]:
    """Shards without an index: their names say how many there are. Raises PellucidError: some are missing."""
    last = SHARD.fullmatch(shards[-1])
    assert last
    count = int(last[1])
    expected = {f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, min(count, MAX_SHARDS) + 1)}
    if set(shards) != expected:
        missing = min(expected - set(shards), default=INDEX)
        raise PellucidError(f"{directory} has neither {INDEX} nor all shards: {missing} is not there: copy or download it")
    return [directory / name for name in shards]


def refuse_adapter(directory: Path) -> None:
    """Refuses a directory with a PEFT adapter, which changes the model that it belongs to. Raises PellucidError."""
    if (directory / ADAPTER).exists():
        without = f"; or remove {ADAPTER}, to read the model without it" if (directory / CONFIG).exists() else ""
        raise PellucidError(
            f"{directory} holds an adapter ({ADAPTER}), which changes a model: merge it into the model with PEFT "
            f"(merge_and_unload()) and save that{without}"
        )
