"""Compiling C sources into shared libraries in the user's cache, once for each version and processor, and loading them.

A library's file name holds a hash of its sources, the flags and the processor, so a new version never loads an old library. It
is written to a temporary file and renamed, so an interrupted build leaves no incomplete library, and its SHA-256 is stored
beside it: a file that is truncated, another, or of which the loader or our symbols want nothing, is compiled again. What is
loaded is the open file that was checked. Of several processes that need a library, one compiles and the others wait. A
compiler's failure is stored beside it for a day, or until the compiler, the sources or the flags change.
"""

import ctypes
import hashlib
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pellucid.native.cache_directory import (
    UnusableFile,
    cache_directory,
    check_directory,
    digest_of,
    make_directory,
    open_checked,
    read_text,
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


FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-fno-math-errno")
SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library to compile.

    Attributes:
        name: prefix of its file name.
        sources: the folder of its .c and .h files.
        flags: for the compiler, beside `FLAGS`.
        symbols: the functions that it must have.
    """

    name: str
    sources: Path
    flags: tuple[str, ...]
    symbols: tuple[str, ...]

    def path(self, *, plain: bool = False) -> Path:
        """The compiled library's file, built now if it is missing or not as it was built.

        Args:
            plain: without vector instructions, to compare with.

        Raises:
            Unavailable: no compiler, or it failed, or the cache cannot be trusted or written.
        """
        path = self.location(plain=plain)
        try:
            os.close(_open_library(path))
        except UnusableFile:
            self._build(path, plain)
        return path

    def load(self, *, plain: bool = False) -> ctypes.CDLL:
        """Loads the library into this process; builds it first if necessary.

        Raises:
            Unavailable: as `path`, or it cannot be loaded, or PELLUCID_KERNEL is off.
        """
        if os.environ.get("PELLUCID_KERNEL") == "off":
            raise Unavailable("PELLUCID_KERNEL=off")
        path = self.location(plain=plain)
        try:
            return self._load_file(path)
        except UnusableFile:
            self._build(path, plain)
        try:
            return self._load_file(path)
        except UnusableFile as error:  # it would be compiled again at each start, in vain
            raise record_failure(path, compiler(), f"a library just compiled could not be loaded: {error}") from error

    def _load_file(self, path: Path) -> ctypes.CDLL:
        """Loads the very file that was checked.

        Raises:
            UnusableFile: missing, damaged, refused by the loader, or without our symbols; in the last two cases removed.
        """
        descriptor = _open_library(path)
        opened = f"/proc/self/fd/{descriptor}"
        # Only Linux loads an open file. Elsewhere the path is opened a second time, in directories that nobody else can change.
        by_descriptor = sys.platform == "linux" and os.path.exists(opened)
        loaded = False
        try:
            library = ctypes.CDLL(opened if by_descriptor else str(path))
            loaded = True
            missing = [name for name in self.symbols if not hasattr(library, name)]
        except OSError as error:
            _remove(path)
            raise UnusableFile(str(error)) from error
        finally:
            # The loader takes a library of a name that it has loaded before for the same one. So the number of this descriptor
            # must not be given to another library's: it stays open as long as the library, to the process's end.
            if not (loaded and by_descriptor):
                os.close(descriptor)
        if missing:
            _remove(path)
            raise UnusableFile(f"{path} has no {missing[0]}")
        return library

    def _build(self, path: Path, plain: bool) -> None:
        """Compiles the library, unless another process has done so meanwhile."""
        command = compiler()
        make_directory(path.parent)
        check_directory(path.parent)
        raise_recent_failure(path, command)
        with _compile_lock(path.parent):
            try:
                os.close(_open_library(path))
            except UnusableFile:
                raise_recent_failure(path, command)  # another process may have tried meanwhile
                _compile(self, path, command, plain)

    def would_compile(self) -> bool:
        """Whether `load` would call the compiler now, which takes a while."""
        try:
            path = self.location(plain=False)
            check_directory(path.parent)
            return not path.exists() and recent_failure(path, compiler()) is None
        except (Unavailable, OSError):
            return False

    def location(self, *, plain: bool) -> Path:
        """The file of the compiled library, whether it exists or not.

        Raises:
            Unavailable: there is no directory for it.
        """
        digest = hashlib.sha256()
        for path in sorted([*self.sources.glob("*.c"), *self.sources.glob("*.h")]):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        digest.update(repr((FLAGS, self.flags, _machine_flags(plain), _processor())).encode())
        return cache_directory() / f"{self.name}-{digest.hexdigest()[:24]}{SUFFIX}"


def digest_file(path: Path) -> Path:
    """The file that stores a library's SHA-256."""
    return path.with_name(path.name + ".sha256")


def _open_library(path: Path) -> int:
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


def _machine_flags(plain: bool) -> tuple[str, ...]:
    return ("-DPELLUCID_PLAIN",) if plain else ("-march=native",)


def _processor() -> str:
    """What `-march=native` depends on: a home directory may be shared by different machines."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return platform.machine() + line
    except OSError:
        pass  # not Linux
    return platform.machine() + platform.processor()


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


def _compile(library: Library, target: Path, command: list[str], plain: bool) -> None:
    import tempfile

    _remove_abandoned(target)
    parts: list[str] = []
    try:
        for suffix in (".part", ".sha256.part"):
            handle, name = tempfile.mkstemp(prefix=target.stem, suffix=suffix, dir=target.parent)
            os.close(handle)
            parts.append(name)
        part, digest_part = parts
        sources = [str(path) for path in sorted(library.sources.glob("*.c"))]
        call = [*command, *FLAGS, *library.flags, *_machine_flags(plain), "-o", part, *sources, "-lm"]
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
    except (OSError, UnusableFile) as error:  # of this start only: no memory, no room
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


def _remove(path: Path) -> None:
    with suppress(OSError):  # what cannot be removed cannot be compiled again either, which then says why
        path.unlink()
