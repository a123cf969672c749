"""The C compiler: finding it, calling it so that it ends with this process, and remembering for a day that it failed."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from pellucid.native.cache_directory import UnusableFile, read_text
from pellucid.native.errors import Unavailable


COMPILER_TIMEOUT = 180  # seconds
FAILURE_LIFETIME = 86_400  # seconds before a compiler that failed is tried again: what was missing may have been installed
# Runs "$@" in a process group of its own, and kills all of that group (a compiler starts processes itself) when its standard
# input is closed: the other end is this process's, so the system closes it whichever way this process ends.
_WATCHED = """exec 3<&0 </dev/null
{ read -r _ <&3; kill -9 0; } 2>/dev/null &
"$@" 3<&-
code=$?
kill $!
wait 2>/dev/null
exit $code"""


def compiler() -> list[str]:
    """The C compiler's command: $CC, or the first of cc, gcc and clang.

    Raises:
        Unavailable: there is none.
    """
    named = os.environ.get("CC", "").split()
    for command in (named,) if named else (["cc"], ["gcc"], ["clang"]):
        if shutil.which(command[0]):
            return command
    raise Unavailable(f"no C compiler ({' '.join(named) or 'cc, gcc, clang'})")


def run_compiler(call: list[str]) -> str | None:
    """Runs a compiler to its end; None if it succeeded, else the reason in one line.

    Raises:
        OSError: it cannot be started.
    """
    with tempfile.TemporaryFile() as messages:  # a pipe would stay open in whatever the compiler left behind
        if os.name == "posix":
            code = _run_watched(["/bin/sh", "-c", _WATCHED, "sh", *call], messages.fileno())
        else:  # no process groups: of a compiler that hangs only the first process is killed
            try:
                done = subprocess.run(call, stdout=messages, stderr=messages, timeout=COMPILER_TIMEOUT, check=False)
                code = done.returncode
            except subprocess.TimeoutExpired:
                code = None
        if code == 0:
            return None
        if code is None:
            return f"no end after {COMPILER_TIMEOUT} seconds"
        messages.seek(0)
        lines = messages.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
        return lines[0] if lines else "no message"


def _run_watched(call: list[str], messages: int) -> int | None:
    """The exit status; None: it took too long, and was killed."""
    read_end, write_end = os.pipe()  # neither is inherited by other programs
    try:
        process = subprocess.Popen(call, stdin=read_end, stdout=messages, stderr=messages, start_new_session=True)
    except OSError:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    try:
        return process.wait(COMPILER_TIMEOUT)
    except subprocess.TimeoutExpired:
        return None
    finally:  # after an interrupt, too
        os.close(write_end)
        process.wait()


def failure_file(target: Path, command: list[str]) -> Path:
    """The file that stores this compiler's failure to make `target`."""
    digest = hashlib.sha256(repr(command).encode())
    for executable in filter(None, map(shutil.which, command)):  # all of "ccache gcc"
        real = Path(executable).resolve()
        digest.update(repr((str(real), real.stat().st_size, real.stat().st_mtime_ns)).encode())
    return target.with_name(f"{target.stem}-{digest.hexdigest()[:8]}.failed")


def recent_failure(target: Path, command: list[str]) -> str | None:
    """The reason why this compiler failed less than a day ago; None: it did not."""
    failure = failure_file(target, command)
    try:
        if abs(time.time() - failure.stat().st_mtime) >= FAILURE_LIFETIME:
            return None
        return read_text(failure).strip().partition("\n")[0]
    except (OSError, UnusableFile):
        return None


def raise_recent_failure(target: Path, command: list[str]) -> None:
    """Raises Unavailable if this compiler failed less than a day ago."""
    if why := recent_failure(target, command):
        note = failure_file(target, command)
        raise Unavailable(f"{why} (from an earlier attempt; the next is made after a day, or once {note} is removed)")


def record_failure(target: Path, command: list[str], why: str) -> Unavailable:
    """Stores the reason for a day, and returns it as an error to raise."""
    failure = failure_file(target, command)
    part = failure.with_suffix(f".{os.getpid()}.part")
    try:
        part.write_text(why, encoding="utf-8")
        part.chmod(0o600)
        os.replace(part, failure)
    except OSError:
        part.unlink(missing_ok=True)  # then it is tried again
    return Unavailable(why)
