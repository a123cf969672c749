"""`JobProcess`: the process of a job (`worker`), and why it ended; the processes of jobs that outlive their server."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from pellucid.files import create, reading
from pellucid.serve.tuning import worker


PROCESSES = Path("/proc")  # of Linux: elsewhere no process is found
MOST_ERROR = 4096  # bytes of stderr's end that are read
MOST_REASON = 600  # characters of a reason


class JobProcess:
    """A process that runs a job.

    Args:
        asked: the worker's settings. log: the file of its stderr; its end is the reason where it fails.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, asked: dict[str, Any], log: Path) -> None:
        threads = str(asked["threads"])
        environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONUTF8": "1"}
        # A process group of its own, which Ctrl-C does not reach, and not a session: Linux groups processes by session, and
        # niceness counts within such a group only (sched_autogroup).
        apart: dict[str, Any] = {} if sys.platform == "win32" else {"process_group": 0}
        self._log = log
        log.unlink(missing_ok=True)
        with create(log) as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", worker.__name__], stdin=subprocess.PIPE, stdout=errors, stderr=errors,
                env=environment, **apart,
            )  # fmt: skip
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended already: `ended` says why
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def ask_to_end(self) -> None:
        """Asks it to save a checkpoint after its step, and to end."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def kill(self) -> None:
        """Ends it at once, and waits until its memory is free."""
        self.ask_to_end()
        self._process.kill()
        self._process.wait()

    def wait(self, seconds: float) -> bool:
        """Waits for its end. Returns whether it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return not self.running

    @property
    def done(self) -> bool:
        """Whether it has ended with all done."""
        return self._process.poll() == 0

    @property
    def failed(self) -> bool:
        """Whether it has ended with a reason: starting it again would change nothing."""
        return self._process.poll() not in (None, 0, worker.INTERRUPTED) and not self.lost

    @property
    def lost(self) -> bool:
        """Whether a signal ended it, such as that of a kill or of too little memory."""
        status = self._process.poll()
        return status is not None and (status < 0 or status == 128 + 9)

    @property
    def reason(self) -> str:
        """Why it failed: the last line that it wrote, of which `MOST_REASON` characters."""
        status = self._process.poll()
        if self.lost and status is not None:
            with suppress(ValueError):
                return f"its process was ended by {signal.Signals(-status).name}"
        try:
            with reading(self._log) as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - MOST_ERROR))
                end = file.read(MOST_ERROR)
            lines = end.decode("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        if lines:
            return lines[-1][:MOST_REASON]
        with suppress(OSError):
            if shutil.disk_usage(self._log.parent).free < MOST_ERROR:  # no room for its reason, either
                return "the disk is full; make room on the disk of --data"
        return f"its process ended with status {status}"


def end_orphan(log: Path) -> None:
    """Ends the process that writes a log, if there is one: that of a job whose server was killed, which hangs or is cancelled.

    It is found by what it runs and where it writes, on Linux only: no number is kept that another process may have by now."""
    place = str(log.absolute())
    for process in PROCESSES.glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            written = os.readlink(process / "fd" / "2")
            if written == place and worker.__name__.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
