"""Compiling C sources into shared libraries in the user's cache, once for each version and processor.

A library's file name holds a hash of its sources, the flags and the processor, so a new version never loads an old library. It
is written to a temporary file and renamed, so an interrupted build leaves no incomplete library. Of several processes that need
it, one compiles and the others wait. A compiler's failure is stored beside it for a day, or until the compiler, the sources or
the flags change.
"""

import ctypes
import hashlib
import os
import platform
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-fno-math-errno")
SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
COMPILER_TIMEOUT = 180  # seconds
FAILURE_LIFETIME = 86_400  # seconds before a compiler that failed is tried again: what was missing may have been installed


class Unavailable(Exception):
    """A library cannot be built or loaded; the message is the reason, in one line."""


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library to compile.

    Attributes:
        name: prefix of its file name.
        sources: the folder of its .c and .h files.
        flags: for the compiler, beside `FLAGS`.
    """

    name: str
    sources: Path
    flags: tuple[str, ...]

    def path(self, *, plain: bool = False) -> Path:
        """The compiled library's file, built now if it does not exist.

        Args:
            plain: without vector instructions, to compare with.

        Raises:
            Unavailable: no compiler, or it failed, or the cache cannot be trusted or written.
        """
        path = self.location(plain=plain)
        if not path.exists():
            command = compiler()
            _raise_recent_failure(path, command)
            with _compile_lock(path.parent):
                if not path.exists():
                    _raise_recent_failure(path, command)  # another process may have tried meanwhile
                    _compile(self, path, command, plain)
        _check_owner(path)
        return path

    def load(self, *, plain: bool = False) -> ctypes.CDLL:
        """Loads the library into this process; builds it first if it does not exist.

        Raises:
            Unavailable: as `path`, or it cannot be loaded, or PELLUCID_KERNEL is off.
        """
        if os.environ.get("PELLUCID_KERNEL") == "off":
            raise Unavailable("PELLUCID_KERNEL=off")
        path = self.path(plain=plain)
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            raise Unavailable(f"{path} could not be loaded: {error}") from error

    def would_compile(self) -> bool:
        """Whether `path` would call the compiler now, which takes a while."""
        path = self.location(plain=False)
        try:
            return not path.exists() and _recent_failure(path, compiler()) is None
        except Unavailable:
            return False

    def location(self, *, plain: bool) -> Path:
        """The file of the compiled library, whether it exists or not."""
        digest = hashlib.sha256()
        for path in sorted([*self.sources.glob("*.c"), *self.sources.glob("*.h")]):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        digest.update(repr((FLAGS, self.flags, _machine_flags(plain), _processor())).encode())
        return cache_directory() / f"{self.name}-{digest.hexdigest()[:24]}{SUFFIX}"


def cache_directory() -> Path:
    """The directory of this user's compiled libraries: $PELLUCID_CACHE, or the system's directory for caches."""
    if named := os.environ.get("PELLUCID_CACHE"):
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "pellucid" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "pellucid"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pellucid"


def compiler() -> list[str]:
    """The C compiler's command: $CC, or the first of cc, gcc and clang.

    Raises:
        Unavailable: there is none.
    """
    import shutil  # as below: what only compiling needs is not imported to load what is there

    named = os.environ.get("CC", "").split()
    for command in (named,) if named else (["cc"], ["gcc"], ["clang"]):
        if shutil.which(command[0]):
            return command
    raise Unavailable(f"no C compiler ({' '.join(named) or 'cc, gcc, clang'})")


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


def _failure_file(target: Path, command: list[str]) -> Path:
    """The file that stores this compiler's failure."""
    import shutil

    digest = hashlib.sha256(repr(command).encode())
    for executable in filter(None, map(shutil.which, command)):  # all of "ccache gcc"
        real = Path(executable).resolve()
        digest.update(repr((str(real), real.stat().st_size, real.stat().st_mtime_ns)).encode())
    return target.with_name(f"{target.stem}-{digest.hexdigest()[:8]}.failed")


def _recent_failure(target: Path, command: list[str]) -> str | None:
    """The reason why this compiler failed less than a day ago; None: it did not."""
    failure = _failure_file(target, command)
    try:
        return failure.read_text(encoding="utf-8") if abs(time.time() - failure.stat().st_mtime) < FAILURE_LIFETIME else None
    except OSError:
        return None


def _raise_recent_failure(target: Path, command: list[str]) -> None:
    if why := _recent_failure(target, command):
        raise Unavailable(f"{why} (tried before; again a day later, or without {_failure_file(target, command)})")


@contextmanager
def _compile_lock(directory: Path) -> Iterator[None]:
    """One process at a time, where the system has file locks; a process that waits too long compiles, too."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (directory / "compiling.lock").open("a", encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"cannot write {directory}: {error.strerror}") from error
    with lock:
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


def _compile(library: Library, target: Path, command: list[str], plain: bool) -> None:
    import subprocess
    import tempfile

    try:
        handle, name = tempfile.mkstemp(prefix=target.stem, suffix=".part", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise Unavailable(f"cannot write {target.parent}: {error.strerror}") from error
    sources = [str(path) for path in sorted(library.sources.glob("*.c"))]
    failure = _failure_file(target, command)
    try:
        call = [*command, *FLAGS, *library.flags, *_machine_flags(plain), "-o", name, *sources, "-lm"]
        done = subprocess.run(call, capture_output=True, text=True, timeout=COMPILER_TIMEOUT, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise Unavailable(_record_failure(failure, f"{command[0]} could not compile it: {lines[0]}"))
        os.chmod(name, 0o700)
        os.replace(name, target)
        failure.unlink(missing_ok=True)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(_record_failure(failure, f"{command[0]} could not compile it: {error}")) from error
    except OSError as error:  # of this start only: no memory, no room
        raise Unavailable(f"{command[0]} could not compile it: {error}") from error
    finally:
        Path(name).unlink(missing_ok=True)


def _record_failure(failure: Path, why: str) -> str:
    part = failure.with_suffix(f".{os.getpid()}.part")
    try:
        part.write_text(why, encoding="utf-8")
        os.replace(part, failure)
    except OSError:
        part.unlink(missing_ok=True)  # then it is tried again
    return why


def _check_owner(library: Path) -> None:
    """Refuses code that someone else could have put there."""
    if os.name != "posix":
        return
    for path in (library, library.parent):
        info = path.stat()
        if info.st_uid not in (os.getuid(), 0):
            raise Unavailable(f"{path} belongs to another user")
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Unavailable(f"others may write {path}: remove it, or set its permissions to 700")
