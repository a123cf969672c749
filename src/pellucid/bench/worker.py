"""A worker process, for benchmarked code that must not share an allocator, a thread pool or a crash.

It is given a module and a function that sets it up; then every line on its stdin is a request and every line on its stdout an
answer, both JSON. A crash of a worker is reported, and the measurement continues.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Any, Self


Work = Callable[[dict[str, Any]], dict[str, Any]]  # a request -> an answer


class WorkerExited(Exception):
    """The worker process ended; the message states its signal or exit code."""


class Worker:
    """One process; a context manager that ends it.

    Args:
        module, function: the setup, called in the process with `arguments`; it returns the work and a description.
        environment: variables added to this process's.
    """

    def __init__(
        self, module: str, function: str, arguments: dict[str, Any], environment: dict[str, str] | None = None
    ) -> None:
        path = os.pathsep.join(place for place in sys.path if place)
        code = f"from pellucid.bench.worker import serve; serve({module!r}, {function!r})"
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe that nobody reads would fill up
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            text=True, encoding="utf-8", env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        )  # fmt: skip
        try:
            self.ready = self.ask(arguments)  # the description that the setup returned
        except WorkerExited:
            self.close()
            raise

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Sends a request, waits for the answer.

        Raises:
            WorkerExited: it ended instead.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerExited(self._exit_reason())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _exit_reason(self) -> str:
        self._process.communicate()
        self._errors.seek(0)
        errors = self._errors.read().decode("utf-8", "replace")
        code = self._process.returncode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        lines = errors.strip().splitlines()
        return f"{how}: {lines[-1][:200]}" if lines else how

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def serve(module: str, function: str) -> None:
    """The loop that the process runs. Other output goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    work: Work | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if work is None:
            work, answer = getattr(import_module(module), function)(**request)
        else:
            answer = work(request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
