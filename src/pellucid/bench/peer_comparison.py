"""Timing several of our configurations and several peers, each in a worker process, on the same requests in turn."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from statistics import median
from types import TracebackType
from typing import Any, Self

from pellucid.bench.compare import Comparison, Rounds, in_turn
from pellucid.bench.sides import CORES
from pellucid.bench.worker import Worker, WorkerDied
from pellucid.errors import PellucidError


WorkerSpec = tuple[str, dict[str, Any]]  # a function of `sides` that sets a worker up, and its arguments
SIDES = "pellucid.bench.sides"
PEERS = {"llama_cpp": "llama-cpp-python", "transformers": "transformers"}  # module name: what to install
ALL_CORES = {"OMP_NUM_THREADS": str(CORES), "MKL_NUM_THREADS": str(CORES)}  # for every worker, whatever this process has


@dataclass(frozen=True, slots=True)
class ContestResult:
    """The answers of the counted rounds.

    Attributes:
        paths: a description of each side's library and settings. answers: of each side; see `sides`. peers: those that did not
            crash.
    """

    paths: Mapping[str, str]
    answers: Mapping[str, Sequence[dict[str, Any]]]
    peers: Sequence[str]

    def best(self, what: str, peers: Sequence[str] | None = None) -> str | None:
        """The peer with the least median time for `what`; None without peers."""
        there = [peer for peer in self.peers if peers is None or peer in peers]
        return min(there, key=lambda peer: median(answer[what] for answer in self.answers[peer]), default=None)

    def describe(self, who: str, peer: str) -> str:
        """The description of both sides, for a row."""
        return f"{self.paths[peer]}; ours: {self.paths[who]}"

    def against(
        self, who: str, name: str, what: str, *, work: int | None = None, peers: Sequence[str] | None = None
    ) -> list[Comparison]:
        """Rows: against the fastest peer under `name`, and with several peers against each under "NAME/vs-PEER".

        Args:
            what: which time of an answer; see `sides`.
            work: tokens in that time, to compare rates; None compares seconds.
            peers: those to compare with; None: all.
        """
        best = self.best(what, peers)
        if best is None:
            return []
        there = [peer for peer in self.peers if peers is None or peer in peers]
        named = [(name, best), *((f"{name}/vs-{peer}", peer) for peer in there if len(there) > 1)]
        return [self._row(who, title, peer, what, work) for title, peer in named]

    def _row(self, who: str, name: str, peer: str, what: str, work: int | None) -> Comparison:
        own, theirs = self.answers[who], self.answers[peer]
        seen = Rounds(tuple(answer[what] for answer in own), tuple(answer[what] for answer in theirs))
        words = self.describe(who, peer)
        if work is None:
            return seen.seconds(name, words)
        pairs = [pair for ids in zip(own[-1]["ids"], theirs[-1]["ids"], strict=True) for pair in zip(*ids, strict=True)]
        return seen.rate(name, f"{words}; {sum(a == b for a, b in pairs) / len(pairs):.0%} of the tokens equal", work=work)


class WorkerPool:
    """Worker processes that several contests share, each started once; a context manager that ends them."""

    def __init__(self) -> None:
        self._made: dict[str, Worker] = {}
        self._stack = ExitStack()

    def get(self, function: str, arguments: dict[str, Any]) -> Worker:
        """The worker with this setup, started if there is none yet.

        Raises:
            WorkerDied: it ended during its setup.
        """
        key = json.dumps([function, arguments])
        if key not in self._made:
            self._made[key] = self._stack.enter_context(Worker(SIDES, function, arguments, ALL_CORES))
        return self._made[key]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()


class Contest:
    """A set of workers; a context manager that ends them, unless they belong to a pool.

    Args:
        ours: by the name of their row.
        peers: by name, each with the settings to try, of which the fastest is kept.
        probe: a short request for that trial.
        pool: the pool that the workers are taken from and stay in; None: they belong to this contest.

    Attributes:
        paths: the description of every living side. died: why a peer crashed.

    Raises:
        PellucidError: one of ours died.
    """

    def __init__(
        self, ours: Mapping[str, WorkerSpec], peers: Mapping[str, Sequence[WorkerSpec]], probe: dict[str, Any],
        pool: WorkerPool | None = None,
    ) -> None:  # fmt: skip
        self.ours = list(ours)
        self.paths: dict[str, str] = {}
        self.died: dict[str, str] = {}
        self._workers: dict[str, Worker] = {}
        self._stack = ExitStack()
        self._crew = self._stack.enter_context(WorkerPool()) if pool is None else pool
        try:
            for who, (function, arguments) in ours.items():
                self._start(who, function, arguments)
            for who, settings in peers.items():
                self._start_best(who, settings, probe)
        except BaseException:
            self._stack.close()
            raise

    def _start(self, who: str, function: str, arguments: dict[str, Any]) -> None:
        try:
            self._workers[who] = self._crew.get(function, arguments)
        except WorkerDied as death:
            raise PellucidError(f"our own side failed: {death}") from death
        self.paths[who] = self._workers[who].ready["path"]

    def _start_best(self, who: str, settings: Sequence[WorkerSpec], probe: dict[str, Any]) -> None:
        """Tries the settings one after the other; the idle ones only hold memory."""
        tried: list[tuple[float, str, Worker]] = []
        deaths: list[str] = []
        for function, arguments in settings:
            try:
                worker = self._crew.get(function, arguments)
                if len(settings) > 1:
                    worker.ask(probe)
                seconds = worker.ask(probe)["whole"] if len(settings) > 1 else 0.0
            except WorkerDied as death:
                deaths.append(f"{'flash attention ' * bool(arguments.get('flash'))}{death}")
                continue
            tried.append((seconds, worker.ready["path"], worker))
        if not tried:
            self.died[who] = "; ".join(deaths)
            return
        tried.sort(key=lambda one: one[0])
        seconds, path, self._workers[who] = tried[0]
        for slower, other, _ in tried[1:]:
            path += f" (at first {slower / seconds:.2f} times as fast as {other})"
        self.paths[who] = path + "".join(f" (otherwise it {death})" for death in deaths)

    def ask(self, who: str, request: dict[str, Any]) -> dict[str, Any]:
        """Sends one request to one side."""
        return self._workers[who].ask(request)

    def play(self, request: dict[str, Any], rounds: int, *, warm_ups: int = 1) -> ContestResult:
        """Sends a request to every side in turn.

        Args:
            warm_ups: rounds beforehand that are not counted.

        Raises:
            PellucidError: one of ours died, or no rounds.
        """
        answers: dict[str, list[dict[str, Any]]] = {who: [] for who in self._workers}

        def work(who: str) -> float:
            if who in self.died:
                return 0.0
            try:
                answers[who].append(self.ask(who, request))
            except WorkerDied as death:
                if who in self.ours:
                    raise PellucidError(f"our own side failed: {death}") from death
                self.died[who] = str(death)
                return 0.0
            return float(answers[who][-1]["whole"])

        *others, last = answers
        in_turn({who: partial(work, who) for who in others}, partial(work, last), rounds=rounds, warm_ups=warm_ups)
        for who in self.died:
            self.paths.pop(who, None)
            self._workers.pop(who, None)
        alive = {who: result[-rounds:] for who, result in answers.items() if who not in self.died}
        return ContestResult(dict(self.paths), alive, [who for who in alive if who not in self.ours])

    def missing(self, name: str) -> list[Comparison]:
        """A row without numbers for each peer that crashed or is not installed."""
        rows = [Comparison(f"{name}/vs-{who}", 0.0, "crashed", f"{who} {why}", 0.0, 0.0) for who, why in self.died.items()]
        absent = [what for module, what in PEERS.items() if find_spec(module) is None]
        return rows + [
            Comparison(f"{name}/vs-{what}", 0.0, "not installed", f"pip install {what}", 0.0, 0.0) for what in absent
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()
