"""Locks of folders: one process at a time writes a run."""

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pellucid.errors import PellucidError
from pellucid.files import open_without_following


LOCK = ".lock"
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # from a file system that has no locks
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)  # from a lock that another process holds
_PROBED = 0.02  # seconds after which a lock that only a probe held is free


def _lock(file: BinaryIO) -> None:
    """Takes the lock of an open file, without waiting. Raises OSError where it is held, or cannot be."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_locked(folder: Path) -> bool | None:
    """Whether a process holds the lock of a folder (`locked`); None where that cannot be known, as without locks."""
    try:
        with open(folder / LOCK, "r+b", opener=open_without_following) as file:
            try:
                _lock(file)  # closing the file releases it
            except OSError as error:
                return True if error.errno in _HELD else None
    except FileNotFoundError:
        return False
    except OSError:  # of opening it
        return None
    return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks a folder for this process. The system releases the lock when the process ends, however it ends.

    Where the file system has no locks (some networks') there is a warning instead.

    Raises:
        PellucidError: another process holds it.
    """
    with open(folder / LOCK, "a+b", opener=open_without_following) as file:
        try:
            try:
                _lock(file)
            except OSError:
                time.sleep(_PROBED)  # `is_locked` of another process may have held it for an instant
                _lock(file)
        except OSError as error:
            if error.errno in NO_LOCKS:
                import warnings

                warnings.warn(f"{folder} is on a file system without locks: let no second process use it", stacklevel=3)
            else:
                raise PellucidError(f"{folder} is in use by another process: wait for it, or stop it") from None
        yield
