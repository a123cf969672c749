"""Loading the compiled libraries in the user's cache, checked; one that is missing or damaged is compiled first (`build`).

A library's file name holds a hash of its sources, the flags and the processor, so a new version never loads an old library. Its
SHA-256 is stored beside it: a file that is truncated or altered, that the loader refuses, or that lacks a function of ours is
compiled again. What is loaded is the open file that was checked.
"""

import ctypes
import hashlib
import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pellucid.native.cache_directory import UnusableFile, cache_directory, check_directory, open_library
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
            os.close(open_library(path))
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
            from pellucid.native.build import record_unloadable

            raise record_unloadable(path, str(error)) from error

    def _load_file(self, path: Path) -> ctypes.CDLL:
        """Loads the very file that was checked.

        Raises:
            UnusableFile: missing, damaged, refused by the loader, or without our symbols; in the last two cases removed.
        """
        descriptor = open_library(path)
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

    def would_compile(self) -> bool:
        """Whether `load` would call the compiler now, which takes a while."""
        try:
            path = self.location(plain=False)
            check_directory(path.parent)
            if path.exists():
                return False
            from pellucid.native.build import would_run_compiler

            return would_run_compiler(path)
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

    def _build(self, path: Path, plain: bool) -> None:
        from pellucid.native.build import build  # here: a library that is there is loaded without what compiling needs

        build(path, self.sources, (*FLAGS, *self.flags, *_machine_flags(plain)))


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


def _remove(path: Path) -> None:
    with suppress(OSError):  # what cannot be removed cannot be compiled again either, which then says why
        path.unlink()
