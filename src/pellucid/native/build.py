"""Compiling a shared library into the user's cache. Imported only when something is compiled.

A library is written to a temporary file and renamed, so an interrupted build leaves no incomplete one. Of several processes
that need a library, one compiles and the others wait. A failure is stored beside it for a day, or until the compiler, the
sources or the flags change (`compiler`).
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pellucid.native.cache_directory import (
    UnusableFile,
    check_directory,
    digest_file,
    digest_of,
    make_directory,
    open_checked,
    open_library,
)
from pellucid.native.compiler import (
    COMPILER_TIMEOUT,
    compiler,
    failure_file,
    raise_recent_failure,
    recent_failure,
    record_failure,
    run_compiler,
)
from pellucid.native.errors import Unavailable


def build(target: Path, sources: Path, flags: tuple[str, ...]) -> None:
    """Compiles a library, unless another process has done so meanwhile.

    Args:
        target: the library's file. sources: the folder of its .c and .h files. flags: for the compiler.

    Raises:
        Unavailable: no compiler, or it failed, or the cache cannot be trusted or written.
    """
    command = compiler()
    make_directory(target.parent)
    check_directory(target.parent)
    raise_recent_failure(target, command)
    with _compile_lock(target.parent):
        try:
            os.close(open_library(target))
        except UnusableFile:
            raise_recent_failure(target, command)  # another process may have tried meanwhile
            _compile(target, sources, command, flags)


def would_run_compiler(target: Path) -> bool:
    """Whether `build` would call the compiler: there is one, and it has not failed on this library for a day."""
    return recent_failure(target, compiler()) is None


def record_unloadable(target: Path, why: str) -> Unavailable:
    """Stores for a day that a library could not be loaded although it was just compiled; returns that as an error to raise."""
    return record_failure(target, compiler(), f"a library just compiled could not be loaded: {why}")


@contextmanager
def _compile_lock(directory: Path) -> Iterator[None]:
    """One process at a time, where the system has file locks; a process that waits too long compiles, too."""
    no_links = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        lock = os.open(directory / "compiling.lock", os.O_RDWR | os.O_CREAT | no_links, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot write {directory}: {error.strerror}") from error
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        for _ in range(20 * COMPILER_TIMEOUT):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(1 / 20)
            except OSError:  # a file system without locks
                break
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing would leave it with a process that was forked meanwhile
    finally:
        os.close(lock)


def _compile(target: Path, sources: Path, command: list[str], flags: tuple[str, ...]) -> None:
    _remove_abandoned(target)
    parts: list[str] = []
    try:
        for suffix in (".part", ".sha256.part"):
            handle, name = tempfile.mkstemp(prefix=target.stem, suffix=suffix, dir=target.parent)
            os.close(handle)
            parts.append(name)
        part, digest_part = parts
        files = [str(path) for path in sorted(sources.glob("*.c"))]
        call = [*command, *flags, "-o", part, *files, "-lm"]
        if why := run_compiler(call):
            raise record_failure(target, command, f"{command[0]} could not compile it: {why}")
        os.chmod(part, 0o700)
        descriptor = open_checked(Path(part))
        try:
            Path(digest_part).write_text(digest_of(descriptor) + "\n", encoding="utf-8")
        finally:
            os.close(descriptor)
        os.replace(part, target)
        os.replace(digest_part, digest_file(target))
        failure_file(target, command).unlink(missing_ok=True)
    except (OSError, UnusableFile) as error:  # not stored: memory or disk space may suffice at the next start
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Unavailable(f"cannot write {target.parent}: {why}") from error
    finally:
        for name in parts:
            Path(name).unlink(missing_ok=True)


def _remove_abandoned(target: Path) -> None:
    """Removes what a build that was killed has left."""
    for part in target.parent.glob(f"{target.stem}*.part"):
        with suppress(OSError):  # another process was first
            if time.time() - part.stat().st_mtime > 2 * COMPILER_TIMEOUT:
                part.unlink()
