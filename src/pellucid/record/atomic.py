"""Replacing a record's file atomically: it is written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pellucid.errors import PellucidError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A context manager with a file to write, which replaces `path` at the end of the block; after an error it is deleted.

    Raises:
        PellucidError: the file cannot be written.
    """
    draft = path.with_name(f".{path.name}.partial")
    try:
        try:
            with draft.open("wb") as file:
                yield file
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def same_file(a: Path, b: Path) -> bool:
    """Whether both paths exist and are the same file."""
    return a.exists() and b.exists() and a.samefile(b)


def cannot_write(path: Path, error: OSError) -> PellucidError:
    """The error for a record that cannot be written."""
    return PellucidError(f"cannot write the record {path}: {error.strerror or error}")
