"""Opening files: writing so that readers see the old one or the new one, SHA-256 of files, and a lock that holds a folder.

Every file that Pellucid writes is written here. A file is written under a random name beside its target (created exclusively,
with the mode of the file that it replaces, or that the umask gives), and then takes the target's name; after an error or Ctrl-C
it is removed. What a target is decides the rest:

- nothing, or a regular file: it is made, or replaced.
- a FIFO, a terminal or another character device, or a file that this process has open (/dev/stdout): it is written into.
- a symbolic link of this user or of root: what it points to is the target, and the link stays.
- another user's link, a directory, a socket, a block device: refused.

Files of models, runs and records are opened for reading here as well (`reading`): somebody else may have made them.
"""

import errno
import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from pellucid.arguments import path_of
from pellucid.errors import PellucidError


UNFINISHED = ".part"  # ending of the names of files and folders that are being written
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # from a file system that cannot flush a folder
# What to do where there is no room for a file.
MAKE_ROOM = {
    errno.ENOSPC: "make room on its disk", errno.EDQUOT: "make room in your quota of its disk",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
}  # fmt: skip
READER_WAIT = 20  # seconds
_MAX_LINKS = 40  # Linux follows as many


@contextmanager
def replacing(path: Path | str, *, what: str = "", durable: bool = False) -> Iterator[BinaryIO]:
    """A context manager with a file to write, which replaces `path` at the end of the block; after an error it is removed.

    Args:
        path: see the module's docstring for what is not a regular file. Its folder must exist.
        what: the content, for error messages, such as "the record".
        durable: flush the file and its folder to the disk: it is there after a power failure.

    Raises:
        PellucidError: the target is refused, or cannot be written.
    """
    try:
        place = _resolve(Path(path))
        if not isinstance(place, Path):
            with os.fdopen(place, "wb") as file:
                yield file
            return
        temporary = place.with_name(temporary_name())
        try:
            with create(temporary) as file:
                _copy_mode(place, temporary)
                yield file
                file.flush()
                if durable:
                    flush_descriptor(file.fileno())
            os.replace(temporary, place)
        except FileExistsError:  # the temporary file is another process's
            raise
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        if durable:
            sync_folder(place.parent)
    except OSError as error:
        raise cannot_write(path, error, what) from error


def write_whole(path: Path | str, content: str | bytes, *, what: str = "", durable: bool = False) -> None:
    """Writes bytes, or text as UTF-8, as `replacing` does.

    A lone surrogate, which Python puts for a byte of a file name that is not UTF-8, is written as its JSON escape.
    """
    with replacing(path, what=what, durable=durable) as file:
        file.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


def copy_whole(source: Path, path: Path) -> None:
    """Copies a file's content as `replacing` writes it."""
    with reading(source) as old, replacing(path) as new:
        block = memoryview(bytearray(1 << 18))  # stays in the processor's cache
        while count := old.readinto(block):  # more than the file's buffer, which is passed by
            new.write(block[:count])


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it, where it does not exist.

    Raises:
        PellucidError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def create(path: Path) -> BinaryIO:
    """Opens a new file for writing. Raises FileExistsError where there is anything of that name, a link included."""
    return cast(BinaryIO, open(path, "xb", opener=open_without_following))


def appending(path: Path) -> BinaryIO:
    """Opens a regular file to append to it, or a new one.

    Raises:
        PellucidError: the target is refused, or cannot be written.
    """
    try:
        place = _resolve(path)
        if not isinstance(place, Path):
            os.close(place)
            raise OSError(errno.EINVAL, "it is not a regular file")
        return cast(BinaryIO, open(place, "ab", opener=open_without_following))
    except OSError as error:
        raise cannot_write(path, error) from error


def reading(path: Path) -> BufferedReader:
    """Opens a regular file to read it. Never waits, as opening a FIFO would.

    Raises:
        OSError: there is none, or it is something else: a FIFO, a socket, a device, a folder.
    """
    return open(path, "rb", opener=_regular_file)


def updating(path: Path) -> BinaryIO:
    """Opens a regular file to read it and to write into it. Raises OSError where there is none, or a link of its name."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return cast(BinaryIO, open(path, "r+b", opener=open_without_following))


def scratch_file(path: Path | str, *, what: str = "") -> BinaryIO:
    """An unnamed temporary file on the disk of `path`, to collect what will be written there; closing it deletes it.

    Raises:
        PellucidError: `path` is refused or cannot be written.
    """
    import tempfile  # here, since it imports more than all else in this module

    check_target(path, what=what)
    try:
        return cast(BinaryIO, tempfile.TemporaryFile(dir=Path(path).resolve().parent if replaces(path) else None))
    except OSError as error:
        raise cannot_write(path, error, what) from error


def check_target(path: Path | str, *, what: str = "") -> None:
    """Refuses, before any work is done for it, a target that cannot be written.

    Raises:
        PellucidError: as `replacing`.
    """
    if str(path).endswith(os.sep):
        raise PellucidError(f"cannot write {f'{what} ' if what else ''}{path}: it ends in {os.sep}, as folders do: name a file")
    try:
        place = _follow(path_of("the file to write", path))
        if isinstance(place, Path) and not _is_stream(place):
            _refuse_other_kinds(place)
            os.stat(os.path.join(place.parent, "."))  # raises where that is no folder
            if not os.access(place.parent, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise cannot_write(path, error, what) from error


def replaces(path: Path | str) -> bool:
    """Whether writing to `path` makes or replaces a regular file, rather than going into a FIFO, a device or an open file."""
    place = _follow(Path(path))
    return isinstance(place, Path) and not _is_stream(place)


def check_regular(path: Path) -> None:
    """Refuses, before a folder's other files are written, a file of it that is there and is no regular one.

    Raises:
        PellucidError: it is a FIFO, a device, a folder, or a link to one.
    """
    if path.exists() and not path.is_file():
        raise PellucidError(f"cannot write {path}: it is not a regular file")


def same_file(a: Path, b: Path) -> bool:
    """Whether both paths exist and are the same file."""
    return a.exists() and b.exists() and a.samefile(b)


def cannot_write(path: Path | str, error: OSError, what: str = "") -> PellucidError:
    """The error for a file that cannot be written; where room is missing it says what to do."""
    make_room = MAKE_ROOM.get(error.errno or 0)
    hint = f"; {make_room}, then give the command again (a run's with --resume)" if make_room else ""
    return PellucidError(f"cannot write {f'{what} ' if what else ''}{path}: {error.strerror or error}{hint}")


def sync_folder(folder: Path) -> None:
    """Flushes a folder's list of names to the disk, on systems and file systems that have a way to."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def sync_file(file: BinaryIO) -> None:
    """Flushes an open file to the disk."""
    file.flush()
    flush_descriptor(file.fileno())


def flush_descriptor(descriptor: int) -> None:
    """Flushes an open file to the disk, by its descriptor."""
    if sys.platform == "darwin":  # whose fsync leaves data in the drive's memory
        import fcntl

        with suppress(OSError):  # a file system without F_FULLFSYNC
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def temporary_name() -> str:
    """A random name for a file that is being written. It does not contain the target's, which may have the maximum length."""
    return f".pellucid-{os.urandom(8).hex()}{UNFINISHED}"


def open_without_following(path: str, flags: int) -> int:
    """An opener that does not follow a symbolic link of that name, on systems with O_NOFOLLOW."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _copy_mode(place: Path, temporary: Path) -> None:
    """Gives a new file the permissions of the one that it will replace: who might not read that must not read this."""
    if sys.platform != "win32":
        with suppress(FileNotFoundError):
            os.chmod(temporary, os.lstat(place).st_mode & 0o777)


def _regular_file(path: str, flags: int) -> int:
    """Opens a regular file, whatever happens to its name meanwhile. Opening without blocking changes nothing for those."""
    fault = "it is not a regular file"
    try:
        descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device that is not there
            raise OSError(errno.EINVAL, fault, path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, fault, path)
    return descriptor


def _resolve(path: Path) -> Path | int:
    """The regular file to make or replace; or, for what is written into, a descriptor of it, open for writing."""
    place = _follow(path)
    if not isinstance(place, Path):
        return os.dup(place)
    if _is_stream(place):
        descriptor = _open_stream(place)
        if not _is_stream(descriptor):  # it was replaced meanwhile
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it has just changed")
        return descriptor
    _refuse_other_kinds(place)
    return place


def _open_stream(place: Path) -> int:
    """Opens a FIFO or a device for writing; waits READER_WAIT seconds for a FIFO's reader, where a shell waits for ever."""
    flags = os.O_WRONLY | getattr(os, "O_NOCTTY", 0)
    if sys.platform == "win32" or not stat.S_ISFIFO(os.stat(place).st_mode):
        return os.open(place, flags)
    until = time.monotonic() + READER_WAIT
    while True:
        try:
            descriptor = os.open(place, flags | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() >= until:
                fault = f"no process read from this FIFO within {READER_WAIT} s: start its reader first"
                raise OSError(errno.ENXIO, fault) from None
            time.sleep(0.05)
            continue
        os.set_blocking(descriptor, True)
        return descriptor


def _follow(path: Path) -> Path | int:
    """The end of a chain of links; or the number of this process's own open file that it names."""
    for _ in range(_MAX_LINKS):
        descriptors = ("/dev/fd", f"/proc/{os.getpid()}/fd")
        if path.name.isdecimal() and os.path.realpath(path.parent) in descriptors and os.path.lexists(path):
            return int(path.name)
        if not path.is_symlink():
            return path
        if hasattr(os, "geteuid") and os.lstat(path).st_uid not in (os.geteuid(), 0):
            raise PermissionError(errno.EPERM, "it is a link of another user: remove it, or name what it points to")
        if _is_stream(path):  # a link in /proc has no path to follow
            return path
        path = path.parent / os.readlink(path)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _is_stream(place: Path | int) -> bool:
    """Whether a file or a descriptor is a FIFO or a character device, such as a terminal."""
    try:
        mode = os.stat(place).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _refuse_other_kinds(place: Path) -> None:
    """Refuses what is neither a regular file nor missing."""
    try:
        mode = os.lstat(place).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory: name a file")
    if not stat.S_ISREG(mode):
        kind = "a socket" if stat.S_ISSOCK(mode) else "a block device" if stat.S_ISBLK(mode) else "no regular file"
        raise OSError(errno.EINVAL, f"it is {kind}: name a file")


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
