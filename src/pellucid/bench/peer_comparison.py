"""Timing several of our configurations and several peers on the same requests in turn, each in a worker process."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from statistics import median
from types import TracebackType
from typing import Any, Self

from pellucid.bench.backends import CORES
from pellucid.bench.compare import Comparison, Rounds, in_turn
from pellucid.bench.worker import Worker, WorkerExited
from pellucid.errors import PellucidError


WorkerSpec = tuple[str, dict[str, Any]]  # a function of `backends` that sets a worker up, and its arguments
BACKENDS = "pellucid.bench.backends"
PEERS = {"llama_cpp": "llama-cpp-python", "transformers": "transformers"}  # module name: what to install
ALL_CORES = {"OMP_NUM_THREADS": str(CORES), "MKL_NUM_THREADS": str(CORES)}  # for every worker, whatever this process has


@dataclass(frozen=True, slots=True)
class PeerComparisonResult:
    """The answers of the counted rounds.

    Attributes:
        paths: a description of each backend's library and settings. answers: of each backend, as `backends` describes them.
        peers: those that did not crash.
    """

    paths: Mapping[str, str]
    answers: Mapping[str, Sequence[dict[str, Any]]]
    peers: Sequence[str]

    def best(self, what: str, peers: Sequence[str] | None = None) -> str | None:
        """The peer with the least median time for `what`; None without peers."""
        there = [peer for peer in self.peers if peers is None or peer in peers]
        return min(there, key=lambda peer: median(answer[what] for answer in self.answers[peer]), default=None)

    def describe(self, backend: str, peer: str) -> str:
        """The description of both backends, for a row."""
        return f"{self.paths[peer]}; ours: {self.paths[backend]}"

    def against(
        self, backend: str, name: str, what: str, *, work: int | None = None, peers: Sequence[str] | None = None
    ) -> list[Comparison]:
        """Rows: against the fastest peer under `name`, and with several peers against each under "NAME/vs-PEER".

        Args:
            what: which time of an answer, as `backends` describes it.
            work: tokens in that time, to compare rates; None compares seconds.
            peers: those to compare with; None: all.
        """
        best = self.best(what, peers)
        if best is None:
            return []
        there = [peer for peer in self.peers if peers is None or peer in peers]
        named = [(name, best), *((f"{name}/vs-{peer}", peer) for peer in there if len(there) > 1)]
        return [self._row(backend, title, peer, what, work) for title, peer in named]

    def _row(self, backend: str, name: str, peer: str, what: str, work: int | None) -> Comparison:
        own, theirs = self.answers[backend], self.answers[peer]
        seen = Rounds(tuple(answer[what] for answer in own), tuple(answer[what] for answer in theirs))
        words = self.describe(backend, peer)
        if work is None:
            return seen.seconds(name, words)
        pairs = [pair for ids in zip(own[-1]["ids"], theirs[-1]["ids"], strict=True) for pair in zip(*ids, strict=True)]
        return seen.rate(name, f"{words}; {sum(a == b for a, b in pairs) / len(pairs):.0%} of the tokens equal", work=work)


class WorkerPool:
    """Worker processes that several comparisons share, each started once; a context manager that ends them."""

    def __init__(self) -> None:
        self._made: dict[str, Worker] = {}
        self._stack = ExitStack()

    def get(self, function: str, arguments: dict[str, Any]) -> Worker:
        """The worker with this setup, started if there is none yet.

        Raises:
            WorkerExited: it ended during its setup.
        """
        key = json.dumps([function, arguments])
        if key not in self._made:
            self._made[key] = self._stack.enter_context(Worker(BACKENDS, function, arguments, ALL_CORES))
        return self._made[key]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()


class PeerComparison:
    """A set of workers; a context manager that ends them, unless they belong to a pool.

    Args:
        ours: by the name of their row.
        peers: by name, each with the settings to try, of which the fastest is kept.
        probe: a short request for that trial.
        pool: the pool that the workers are taken from and stay in; None: they belong to this comparison.

    Attributes:
        paths: the description of every backend that runs. crashes: why a peer crashed, by its name.

    Raises:
        PellucidError: one of ours crashed.
    """

    def __init__(
        self, ours: Mapping[str, WorkerSpec], peers: Mapping[str, Sequence[WorkerSpec]], probe: dict[str, Any],
        pool: WorkerPool | None = None,
    ) -> None:  # fmt: skip
        self.ours = list(ours)
        self.paths: dict[str, str] = {}
        self.crashes: dict[str, str] = {}
        self._workers: dict[str, Worker] = {}
        self._stack = ExitStack()
        self._pool = self._stack.enter_context(WorkerPool()) if pool is None else pool
        try:
            for backend, (function, arguments) in ours.items():
                self._start(backend, function, arguments)
            for backend, settings in peers.items():
                self._start_best(backend, settings, probe)
        except BaseException:
            self._stack.close()
            raise

    def _start(self, backend: str, function: str, arguments: dict[str, Any]) -> None:
        try:
            self._workers[backend] = self._pool.get(function, arguments)
        except WorkerExited as error:
            raise PellucidError(f"our own side failed: {error}") from error
        self.paths[backend] = self._workers[backend].ready["path"]

    def _start_best(self, backend: str, settings: Sequence[WorkerSpec], probe: dict[str, Any]) -> None:
        """Tries the settings one after the other; the idle ones only hold memory."""
        tried: list[tuple[float, str, Worker]] = []
        failures: list[str] = []
        for function, arguments in settings:
            try:
                worker = self._pool.get(function, arguments)
                if len(settings) > 1:
                    worker.ask(probe)
                seconds = worker.ask(probe)["whole"] if len(settings) > 1 else 0.0
            except WorkerExited as error:
                failures.append(f"{'flash attention ' * bool(arguments.get('flash'))}{error}")
                continue
            tried.append((seconds, worker.ready["path"], worker))
        if not tried:
            self.crashes[backend] = "; ".join(failures)
            return
        tried.sort(key=lambda one: one[0])
        seconds, path, self._workers[backend] = tried[0]
        for slower, other, _ in tried[1:]:
            path += f" (at first {slower / seconds:.2f} times as fast as {other})"
        self.paths[backend] = path + "".join(f" (otherwise it {error})" for error in failures)

    def ask(self, backend: str, request: dict[str, Any]) -> dict[str, Any]:
        """Sends one request to one backend."""
        return self._workers[backend].ask(request)

    def run(self, request: dict[str, Any], rounds: int, *, warm_ups: int = 1) -> PeerComparisonResult:
        """Sends a request to every backend in turn.

        Args:
            warm_ups: rounds beforehand that are not counted.

        Raises:
            PellucidError: one of ours crashed, or no rounds.
        """
        answers: dict[str, list[dict[str, Any]]] = {backend: [] for backend in self._workers}

        def work(backend: str) -> float:
            if backend in self.crashes:
                return 0.0
            try:
                answers[backend].append(self.ask(backend, request))
            except WorkerExited as error:
                if backend in self.ours:
                    raise PellucidError(f"our own side failed: {error}") from error
                self.crashes[backend] = str(error)
                return 0.0
            return float(answers[backend][-1]["whole"])

        *others, last = answers
        in_turn({backend: partial(work, backend) for backend in others}, partial(work, last), rounds=rounds, warm_ups=warm_ups)
        for backend in self.crashes:
            self.paths.pop(backend, None)
            self._workers.pop(backend, None)
        alive = {backend: result[-rounds:] for backend, result in answers.items() if backend not in self.crashes}
        return PeerComparisonResult(dict(self.paths), alive, [backend for backend in alive if backend not in self.ours])

    def missing(self, name: str) -> list[Comparison]:
        """A row without numbers for each peer that crashed or is not installed."""
        crashes = self.crashes.items()
        rows = [Comparison(f"{name}/vs-{peer}", 0.0, "crashed", f"{peer} {why}", 0.0, 0.0) for peer, why in crashes]
        absent = [what for module, what in PEERS.items() if find_spec(module) is None]
        return rows + [
            Comparison(f"{name}/vs-{what}", 0.0, "not installed", f"pip install {what}", 0.0, 0.0) for what in absent
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()
