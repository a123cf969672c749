"""Checks of uploads: the faults that keep a file from being trained on, and the findings of OpenAI's preparing tool, by line.

A small file is checked in the server's process, a large one in one of its own (`python -m pellucid.serve.tuning.check`), so
that its work does not slow the completions of others.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError
from pellucid.files import replacing
from pellucid.finetuning.example_files import write_examples
from pellucid.finetuning.preparation import preparing
from pellucid.serve.tuning.database import StorageFailed, cannot_store


INLINE = 1 << 20  # bytes that are checked in the server's process
SECONDS = 900.0  # for a check at most
NEEDED = ("empty",)  # checks whose mends a file needs to be trained on
MOST_LINES = 100  # numbers of lines of a finding that are kept
NOT_STORED = 74  # EX_IOERR: the exit status of a process whose disk is full
FEWEST = 2  # different examples: one to train on, one to hold out


def report_of(path: Path, name: str) -> dict[str, Any]:
    """What the checks found: `examples`, `kind`, `findings`, `fault` (why it cannot be trained on, or null).

    Raises:
        PellucidError: it is no file of examples; the message has the number of the line.
    """
    with preparing(path, name=name, json_lines=True) as found:
        report: dict[str, Any] = {"examples": found.count, "kind": found.kind}
        report["findings"] = [
            {**asdict(finding), "mend": finding.mend or None, "lines": finding.lines[:MOST_LINES]} for finding in found.findings
        ]
    needed = [one for one in report["findings"] if one["check"] in NEEDED]
    report["fault"] = "; ".join(map(sentence, needed)) or None
    if found.count < FEWEST:
        report["fault"] = report["fault"] or "fine-tuning needs at least two different examples"
    return report


def mend(path: Path, out: Path, name: str, only: Sequence[str] | None) -> int:
    """Writes the examples with the mends of some checks, or of all. Returns how many there are.

    Raises:
        PellucidError: none is left, or the file cannot be written.
    """
    with preparing(path, name=name, json_lines=True, only=only) as found:
        if not len(found.examples):
            raise PellucidError("no example is left")
        if only is None or "empty" in only:
            write_examples(found.examples, out)
            return len(found.examples)
        with replacing(out) as file:  # as they are: some completions may be empty
            for _, prompt, completion in found.examples.checks:  # type: ignore[union-attr]
                line = json.dumps({"prompt": prompt, "completion": completion}, ensure_ascii=False)
                file.write(line.encode() + b"\n")
        return len(found.examples)


def sentence(finding: dict[str, Any]) -> str:
    """A finding in a line: the problem, the numbers of its lines, its mend."""
    numbers = ", ".join(map(str, finding["lines"][:12])) + (", ..." if finding["count"] > 12 else "")
    where = f" [line{'s' * (finding['count'] != 1)} {numbers}]" if finding["lines"] else ""
    return f"{finding['problem']}{where}" + (f" -> {finding['mend']}" if finding["mend"] else "")


class FileChecker:
    """Checks and mends files: a small one in this process, a large one in one of its own. `close` ends those that run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def check(self, path: Path, name: str) -> dict[str, Any]:
        """As `report_of`."""
        with _storing():
            if path.stat().st_size <= INLINE:
                return report_of(path, name)
        return dict(self._in_process({"path": str(path), "name": name}))

    def mend(self, path: Path, out: Path, name: str, only: Sequence[str] | None) -> int:
        """As `mend`."""
        with _storing():
            if path.stat().st_size <= INLINE:
                return mend(path, out, name, only)
        return int(self._in_process({"path": str(path), "name": name, "out": str(out), "only": only}))

    def close(self) -> None:
        """Ends the processes that run; no other is started."""
        with self._lock:
            self._closed = True
            for process in self._processes:
                process.kill()

    def _in_process(self, asked: dict[str, Any]) -> Any:
        process = self._start()
        try:
            out, errors = process.communicate(json.dumps(asked).encode(), timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise PellucidError(f"the file could not be checked within {SECONDS:.0f} seconds: divide it") from None
        finally:
            with self._lock:
                self._processes.discard(process)
            with process:  # closes its pipes
                process.kill()
        if process.returncode == 0:
            return json.loads(out)
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        if lines and process.returncode == NOT_STORED:
            raise StorageFailed(lines[-1])
        raise PellucidError(lines[-1] if lines else "the file could not be checked: the process that checked it was ended")

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", __name__]  # -P: no module of the folder that the server is started in
        with self._lock:
            if self._closed:
                raise PellucidError("the server is ending")
            try:
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
                )  # fmt: skip
            except OSError as error:
                raise PellucidError(f"the file could not be checked: {error.strerror or error}") from None
            self._processes.add(process)
        return process


@contextmanager
def _storing() -> Iterator[None]:
    """A context manager in which a file that cannot be read or written is the server's fault, not that of the examples."""
    try:
        yield
    except OSError as error:
        raise cannot_store("or read the file", error) from error
    except PellucidError as error:
        if isinstance(error.__cause__, OSError):
            raise cannot_store("the mended file", error.__cause__) from error
        raise


def main() -> int:
    """Reads what to check as JSON from stdin, and writes what was found as JSON to stdout."""
    if hasattr(os, "nice"):
        os.nice(10)
    asked = json.loads(sys.stdin.buffer.read())
    path, name = Path(asked["path"]), asked["name"]
    try:
        with _storing():
            found: Any = mend(path, Path(asked["out"]), name, asked["only"]) if "out" in asked else report_of(path, name)
    except StorageFailed as error:
        print(error, file=sys.stderr)
        return NOT_STORED
    except PellucidError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
