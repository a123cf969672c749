"""The files of a folder that may be text, in order, and the subfolders that are not entered, each with the reason.

Names that begin with a dot are left out without a word. Folders that programs fill, and not people, are reported and left out
whole: runs (with the run that is being written there), corpora and models of our own kind, caches, virtual environments.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from pellucid.corpus.shards import MANIFEST
from pellucid.corpus.utf8 import reason_to_skip
from pellucid.errors import PellucidError
from pellucid.runs.files import CHECKPOINTS, CORPUS, EXAMPLES, MODEL, RUN_FILE


CACHES = ("__pycache__", "node_modules", "site-packages")
CACHE_FILES = ("CACHEDIR.TAG", "pyvenv.cfg")  # https://bford.info/cachedir/ and PEP 405
CONFIG, WEIGHTS = "config.json", (".safetensors", ".bin")


def folder_files(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """The files of a folder by name, each with None, then those of its subfolders. Nothing is opened.

    A subfolder that is not entered is there itself, with the reason; so is a link to a folder, which could be circular.

    Raises:
        PellucidError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise PellucidError(f"cannot read the folder {error.filename}: {error.strerror}")

    for directory, folders, files in os.walk(folder, onerror=fail):
        names = sorted(name for name in folders if not name.startswith("."))
        reasons = {name: _reason_not_to_enter(Path(directory, name)) for name in names}
        folders[:] = [name for name in names if reasons[name] is None]
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(directory, name), None
        yield from ((Path(directory, name), reason) for name, reason in reasons.items() if reason is not None)


def _reason_not_to_enter(folder: Path) -> str | None:
    if folder.is_symlink():
        return reason_to_skip(folder)
    if folder.name in CACHES:
        return "it is a cache"
    try:
        inside = set(os.listdir(folder))
    except OSError as error:
        raise PellucidError(f"cannot read the folder {folder}: {error.strerror}") from error
    if inside.intersection(CACHE_FILES):
        return "it is a cache or a virtual environment"
    if RUN_FILE in inside and inside.intersection((CORPUS, CHECKPOINTS, MODEL, EXAMPLES)):
        return "it is a run"
    if MANIFEST in inside and any(name.endswith(".bin") for name in inside):
        return "it is a corpus that is tokens already"
    if CONFIG in inside and any(name.endswith(WEIGHTS) for name in inside):
        return "it is a model"
    return None
