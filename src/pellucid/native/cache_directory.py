"""The directory of the user's compiled libraries, which only this user and root can change, and safe reading of its files.

Code from this directory is run, so nobody else may be able to replace it. Whoever can write a directory can rename what lies in
it: the permissions of every directory above count as well. The path is resolved once, and only the resolved one is used.
"""

import os
import stat
import sys
from hashlib import sha256
from pathlib import Path

from pellucid.native.errors import Unavailable


MAX_BYTES = 256 * 2**20  # of a file that is read here; compiled libraries are far smaller
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_REMEDY = "set PELLUCID_CACHE to a directory that only you can write"
# Links are not followed, and a FIFO does not block.
_OPEN_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


class UnusableFile(Exception):
    """A file of the cache is missing, damaged, or could have been written by someone else; the message says which."""


def cache_directory() -> Path:
    """The directory of this user's compiled libraries: $PELLUCID_CACHE, or the system's directory for caches.

    Returns:
        An absolute path without links. The directory may be missing, and is not checked yet (`check_directory`).

    Raises:
        Unavailable: no home directory, or a relative path where the current directory is gone.
    """
    try:
        return Path(os.path.realpath(_configured_directory()))
    except (OSError, RuntimeError, ValueError) as error:
        raise Unavailable(f"no directory for compiled libraries: {error}") from error


def _configured_directory() -> Path:
    if named := os.environ.get("PELLUCID_CACHE"):
        return Path(named).absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "pellucid" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "pellucid"
    named = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path is invalid and to be ignored, says the XDG Base Directory Specification.
    return (Path(named) if os.path.isabs(named) else Path.home() / ".cache") / "pellucid"


def make_directory(directory: Path) -> None:
    """Makes the directory and those above it that are missing, each for this user alone, whatever the umask.

    Raises:
        Unavailable: it cannot be made.
    """
    try:
        missing = [path for path in (directory, *directory.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)  # another process may have made it meanwhile
        if not directory.is_dir():
            raise NotADirectoryError(0, "not a directory")
    except OSError as error:
        raise Unavailable(f"cannot write {directory}: {error.strerror}") from error


def check_directory(directory: Path) -> None:
    """Refuses a directory in which, or above which, another user could replace a file; those that are missing do not count.

    In a sticky directory, as /tmp is one, only the owner of an entry can rename or remove it.

    Raises:
        Unavailable: the first directory that another user owns or can write.
    """
    if os.name != "posix":  # Windows' access lists are not read: its caches lie in the user's own profile
        return
    for path in (directory, *directory.parents):
        try:
            info = os.lstat(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Unavailable(f"cannot read {path}: {error.strerror}") from error
        if not stat.S_ISDIR(info.st_mode):
            raise Unavailable(f"{path} is not a directory: {_REMEDY}")
        if info.st_uid not in (os.getuid(), 0):
            raise Unavailable(f"{path} belongs to another user: {_REMEDY}")
        sticky = bool(info.st_mode & stat.S_ISVTX) and path != directory
        if info.st_mode & _OTHERS_WRITE and not sticky:
            raise Unavailable(f"others may write {path}: {_REMEDY}, or take that permission away")


def open_checked(path: Path) -> int:
    """A file descriptor of a regular file that only this user or root can have written. The caller closes it.

    Raises:
        UnusableFile: missing, a link, not a regular file, another user's, writable by others, or far too large.
    """
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except OSError as error:  # ELOOP for a link
        raise UnusableFile(f"{path}: {error.strerror}") from error
    info = os.fstat(descriptor)
    fault = None
    if not stat.S_ISREG(info.st_mode):
        fault = "not a regular file"
    elif os.name == "posix" and info.st_uid not in (os.getuid(), 0):
        fault = "belongs to another user"
    elif os.name == "posix" and info.st_mode & _OTHERS_WRITE:
        fault = "others may write it"
    elif info.st_size > MAX_BYTES:
        fault = f"{info.st_size:,} bytes"
    if fault:
        os.close(descriptor)
        raise UnusableFile(f"{path}: {fault}")
    return descriptor


def digest_of(descriptor: int) -> str:
    """SHA-256, in hexadecimal, of an open file from its current position on."""
    digest = sha256()
    while part := os.read(descriptor, 1 << 20):
        digest.update(part)
    return digest.hexdigest()


def read_text(path: Path) -> str:
    """The text of a small file, checked as `open_checked` does; bytes that are not UTF-8 are replaced.

    Raises:
        UnusableFile: as `open_checked`.
    """
    descriptor = open_checked(path)
    try:
        return os.read(descriptor, 1 << 16).decode("utf-8", "replace")
    finally:
        os.close(descriptor)


def digest_file(path: Path) -> Path:
    """The file that stores a library's SHA-256."""
    return path.with_name(path.name + ".sha256")


def open_library(path: Path) -> int:
    """A descriptor of a library whose bytes are those that were compiled, in a directory that only this user can change.

    Raises:
        UnusableFile: missing or damaged. Unavailable: the directory can be changed by others.
    """
    if not os.path.lexists(path.parent):
        raise UnusableFile(f"no {path.parent}")
    check_directory(path.parent)
    descriptor = open_checked(path)
    try:
        if digest_of(descriptor) != read_text(digest_file(path)).strip():
            raise UnusableFile(f"{path} is not as it was compiled")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
