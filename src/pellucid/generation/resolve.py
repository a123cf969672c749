"""`resolve`: finds the model directory that a source names; `gguf_file`: the GGUF file. No torch here."""

from pathlib import Path

from pellucid.arguments import path_of, shown
from pellucid.errors import PellucidError
from pellucid.formats.hf_config import refuse_adapter
from pellucid.formats.hub import fetch, is_hub_id
from pellucid.gpt.config_json import CONFIG
from pellucid.runs.files import MODEL, RUN_FILE


DEFAULT = "default"
# Of its weights in float32 (`gpt.fingerprint`): a record made with it is recognised without loading it. A test compares them.
DEFAULT_FINGERPRINT = "ccadfe7d583710e215c24a5ee08e6025bb4c66b605287e262fefb370fa88455c"
SMALL = "small"  # the embedded model under a megabyte; a file or folder of that name goes before it
ASSETS = Path(__file__).resolve().parents[1] / "assets"
GGUF = ".gguf"
A_MODEL = (
    "a model is 'default' or 'small' (the embedded ones), a model directory (config.json and model.safetensors), a run "
    f"directory (run.json), a GGUF file (*{GGUF}) or a name on the Hugging Face hub (org/name)"
)


def gguf_file(source: str | Path) -> Path | None:
    """The GGUF file that a source names; None where it names no file of that suffix.

    Raises:
        PellucidError: it is no path.
    """
    path = path_of("source", source)
    return path if path.suffix.lower() == GGUF and path.is_file() else None


def resolve(source: str | Path) -> Path:
    """The directory that holds a model's config.json: what `load` takes as `source`.

    Raises:
        PellucidError: nothing there.
    """
    directory = path_of("source", source)
    if str(source) == DEFAULT and isinstance(source, str):
        directory = ASSETS / DEFAULT
        if not (directory / CONFIG).exists():
            raise PellucidError("this build of pellucid carries no default model: name a model or run directory")
        return directory
    if source == SMALL and not directory.exists():
        directory = ASSETS / SMALL
    if not directory.exists() and not is_hub_id(str(source)):
        raise PellucidError(f"no such directory or file: {shown(str(source))}; {A_MODEL}")
    if (directory / RUN_FILE).exists():
        if not (directory / MODEL / CONFIG).exists():
            raise PellucidError(f"the run {directory} has no model yet: its first checkpoint makes one")
        return directory / MODEL
    if (directory / CONFIG).exists():
        return directory
    if not directory.exists() and is_hub_id(str(source)):
        return fetch(str(source))
    refuse_adapter(directory)
    what = "holds no model" if directory.is_dir() else f"is a file, and none that ends in {GGUF}"
    raise PellucidError(f"{directory} {what}; {A_MODEL}")
