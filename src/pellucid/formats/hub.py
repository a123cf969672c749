"""Models named by their hub id, downloaded with `huggingface_hub` where that is installed."""

import re
from importlib import import_module
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.formats.hf_config import CONVERT_COMMAND


# Weights as safetensors, and what describes them. Never pickles, never code.
DOWNLOADED_FILES = ["*.safetensors", "*.json", "merges.txt"]


def is_hub_id(source: str) -> bool:
    """Whether this can only be a hub id: `org/name`, where there is no local folder `org`."""
    return bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", source)) and not Path(source.split("/")[0]).exists()


def fetch(name: str) -> Path:
    """The directory of a model on the hub, downloaded if it is not in the hub's cache.

    Raises:
        PellucidError: `huggingface_hub` is not installed, or the hub does not give it.
    """
    try:
        hub = import_module("huggingface_hub")
    except ImportError:
        raise PellucidError(
            f"no directory {name} here; to fetch a model of that name from the Hugging Face hub, pip install huggingface_hub"
        ) from None
    try:
        directory = Path(hub.snapshot_download(name, allow_patterns=DOWNLOADED_FILES))
    except Exception as error:  # its own, its HTTP library's or the system's errors
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PellucidError(f"no directory {name} here, and the Hugging Face hub does not give it: {first}") from None
    if not any(directory.glob("*.safetensors")):
        raise PellucidError(
            f"{name} on the Hugging Face hub has no safetensors: its weights are a pickle, which can run code when read. If "
            f"you trust it, convert it with: {CONVERT_COMMAND.format(source=name, target=name.split('/')[-1])}"
        )
    return directory
