"""Compiling C sources, once, into the user's cache.

A library's name holds a hash of its sources, the flags and the processor, so that a new version never meets an old library.
It is written beside and renamed, so one that is killed leaves nothing half done; of processes that need it at once, one
compiles and the others wait. A compiler that failed is remembered beside it for a day, or until it, the sources or the flags
change.
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
LONGEST = 180  # seconds for the compiler
DAY = 86_400  # seconds that a failure is remembered: what was missing may have been installed


class Unavailable(Exception):
    """A library cannot be had; the text says why, in a line."""


@dataclass(frozen=True, slots=True)
class Library:
    """What is compiled into one library.

    Attributes:
        name: what its file's name begins with.
        sources: the folder of its .c and .h files.
        flags: for the compiler, beside `FLAGS`.
    """

    name: str
    sources: Path
    flags: tuple[str, ...]

    def path(self, *, plain: bool = False) -> Path:
        """The compiled library, built now if it is not there yet.

        Args:
            plain: without vector instructions, to compare with.

        Raises:
            Unavailable: no compiler, or it failed, or the cache cannot be trusted or written.
        """
        found = self.place(plain=plain)
        if not found.exists():
            command = compiler()
            _refuse_again(found, command)
            with _alone(found.parent):
                if not found.exists():
                    _refuse_again(found, command)  # somebody else may have tried meanwhile
                    _compile(self, found, command, plain)
        _must_be_ours(found)
        return found

    def load(self, *, plain: bool = False) -> ctypes.CDLL:
        """The library in this process, built now if it is not there yet.

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
        found = self.place(plain=False)
        try:
            return not found.exists() and _remembered(found, compiler()) is None
        except Unavailable:
            return False

    def place(self, *, plain: bool) -> Path:
        """Where it lies once it is compiled."""
        digest = hashlib.sha256()
        for path in sorted([*self.sources.glob("*.c"), *self.sources.glob("*.h")]):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        digest.update(repr((FLAGS, self.flags, _machine_flags(plain), _processor())).encode())
        return cache_directory() / f"{self.name}-{digest.hexdigest()[:24]}{SUFFIX}"


def cache_directory() -> Path:
    """Where this user's compiled libraries lie: $PELLUCID_CACHE, or the system's place for caches."""
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


def _note(target: Path, command: list[str]) -> Path:
    """Where it is remembered that this compiler failed."""
    import shutil

    digest = hashlib.sha256(repr(command).encode())
    for found in filter(None, map(shutil.which, command)):  # all of "ccache gcc"
        real = Path(found).resolve()
        digest.update(repr((str(real), real.stat().st_size, real.stat().st_mtime_ns)).encode())
    return target.with_name(f"{target.stem}-{digest.hexdigest()[:8]}.failed")


def _remembered(target: Path, command: list[str]) -> str | None:
    """Why this compiler failed less than a day ago; None: it did not."""
    note = _note(target, command)
    try:
        return note.read_text(encoding="utf-8") if abs(time.time() - note.stat().st_mtime) < DAY else None
    except OSError:
        return None


def _refuse_again(target: Path, command: list[str]) -> None:
    if why := _remembered(target, command):
        raise Unavailable(f"{why} (tried before; again a day later, or without {_note(target, command)})")


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One process at a time, where the system has locks for that; who waits too long goes on, which costs time and no more."""
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
        for _ in range(20 * LONGEST):
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
    note = _note(target, command)
    try:
        call = [*command, *FLAGS, *library.flags, *_machine_flags(plain), "-o", name, *sources, "-lm"]
        done = subprocess.run(call, capture_output=True, text=True, timeout=LONGEST, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise Unavailable(_remember(note, f"{command[0]} could not compile it: {lines[0]}"))
        os.chmod(name, 0o700)
        os.replace(name, target)
        note.unlink(missing_ok=True)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(_remember(note, f"{command[0]} could not compile it: {error}")) from error
    except OSError as error:  # of this start only: no memory, no room
        raise Unavailable(f"{command[0]} could not compile it: {error}") from error
    finally:
        Path(name).unlink(missing_ok=True)


def _remember(note: Path, why: str) -> str:
    part = note.with_suffix(f".{os.getpid()}.part")
    try:
        part.write_text(why, encoding="utf-8")
        os.replace(part, note)
    except OSError:
        part.unlink(missing_ok=True)  # then it is tried again
    return why


def _must_be_ours(library: Path) -> None:
    """Refuses code that someone else could have put there."""
    if os.name != "posix":
        return
    for path in (library, library.parent):
        info = path.stat()
        if info.st_uid not in (os.getuid(), 0):
            raise Unavailable(f"{path} belongs to another user")
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Unavailable(f"others may write {path}: remove it, or set its permissions to 700")
