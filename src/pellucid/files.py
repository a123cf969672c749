"""Atomic file writes, SHA-256 of files, and a lock that holds a folder for one process."""

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pellucid.errors import PellucidError


LOCK = ".lock"


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes bytes, or text as UTF-8, to a file beside `path` that then replaces it: readers see the old one or the new one."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks a folder for this process. The system releases the lock when the process ends, however it ends.

    Raises:
        PellucidError: another process holds it.
    """
    with (folder / LOCK).open("a+b") as file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PellucidError(f"{folder} is in use by another process: wait for it, or stop it") from None
        yield
