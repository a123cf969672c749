"""`resolve`: finds the model directory that a source names. No torch here."""

from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.formats.hub import fetch, is_hub_id
from pellucid.gpt.config_json import CONFIG
from pellucid.runs.files import MODEL, RUN_FILE


DEFAULT = "default"
ASSETS = Path(__file__).resolve().parents[1] / "assets"


def resolve(source: str | Path) -> Path:
    """The directory that holds a model's config.json: what `load` takes as `source`.

    Raises:
        PellucidError: nothing there.
    """
    if source == DEFAULT:
        directory = ASSETS / DEFAULT
        if not (directory / CONFIG).exists():
            raise PellucidError("this build of pellucid carries no default model: name a model or run directory")
        return directory
    directory = Path(source)
    if (directory / RUN_FILE).exists():
        if not (directory / MODEL / CONFIG).exists():
            raise PellucidError(f"the run {directory} has no model yet: its first checkpoint makes one")
        return directory / MODEL
    if (directory / CONFIG).exists():
        return directory
    if not directory.exists() and is_hub_id(str(source)):
        return fetch(str(source))
    what = f"{directory} holds no model" if directory.is_dir() else f"no such directory: {directory}"
    what = f"{directory} is a file" if directory.is_file() else what
    raise PellucidError(
        f"{what}; a model is 'default' (the embedded one), a model directory (config.json and model.safetensors) or a "
        "run directory (run.json)"
    )
