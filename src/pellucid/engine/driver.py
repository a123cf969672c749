"""The driver thread of an engine: requests from any thread and from asyncio tasks, batched together. No torch here.

    driver = EngineDriver(engine)
    for sample, token in driver.stream(request): ...              # in a thread
    async for sample, token in driver.astream(request): ...       # in a task of an event loop
    driver.submit(request).completions()                          # waits for the whole

Only the driver's thread uses the engine: submissions and cancellations reach it through a queue, which it empties between two
steps. After a step it delivers all new tokens of a consumer together: one wake-up of a thread, one callback of an event loop.
Tokens that a consumer has not fetched yet are buffered, at most as many as its request may have. A consumer that goes away (its
iterator is closed or collected, its task is cancelled) cancels its request before the next step.
"""

import asyncio
import atexit
import contextlib
import queue
import threading
from collections import abc
from collections.abc import AsyncIterator, Iterator

from pellucid.engine.engine import Engine
from pellucid.engine.request import Request, SequenceGroup, check_request
from pellucid.engine.request_handle import DriverJob, RequestHandle, SampleToken
from pellucid.engine.sequence import Sequence
from pellucid.engine.stats import EngineStats
from pellucid.errors import PellucidError


MAX_REQUESTS = 1024  # a choice: requests that are waiting or running at once


class QueueFullError(PellucidError):
    """Too many requests are waiting or running already: try again later."""


class EngineClosedError(PellucidError):
    """The engine was closed, or its thread ended, before a request was answered."""


class DriverClosedError(EngineClosedError):
    """A request came after `EngineDriver.close`."""

    def __init__(self) -> None:
        super().__init__("the engine is closed: nothing can be submitted any more")


class EngineDriver:
    """A thread that owns an engine and answers requests from threads and event loops.

    Args:
        engine: used by this driver alone from now on.
        max_requests: requests that wait or run at once at most; more are refused (`QueueFullError`).
        on_failure: called in the thread when it ends by itself, after its requests were ended with an error.

    It ends with `close`, with the interpreter, or as a context manager. A request that fails ends alone; should the engine
    itself raise from a step, all requests of that moment end with its error, and later ones are answered.
    """

    def __init__(
        self, engine: Engine, *, max_requests: int = MAX_REQUESTS, on_failure: abc.Callable[[], None] = lambda: None
    ) -> None:
        self._engine = engine
        self._max_requests = max_requests
        self._on_failure = on_failure
        # A SimpleQueue may be put to from a destructor, whatever the interrupted thread holds: dropped handles cancel so.
        self._commands: queue.SimpleQueue[tuple[str, DriverJob | None]] = queue.SimpleQueue()
        self._lock = threading.Lock()  # a submission is either before the last command, or refused
        self._closed = False
        self._jobs: dict[Sequence, tuple[DriverJob, int]] = {}  # of the thread alone
        self._unfinished = 0
        self._count_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="pellucid-engine", daemon=True)
        self._thread.start()
        # A thread that is no daemon would keep the interpreter from ending; a daemon must end before all is torn down.
        atexit.register(self.close)

    def submit(self, request: Request) -> RequestHandle:
        """Queues a request. One that the model cannot process is refused here.

        Raises:
            PellucidError: as `Engine.submit`. DriverClosedError: the driver is closed. QueueFullError: too many requests are
                unfinished.
        """
        engine = self._engine
        group = SequenceGroup(request, engine.runner.config, engine.tokenizer, engine.end_of_text)
        engine.check_budget(group)
        job = DriverJob(group)
        with self._lock:
            if self._closed:
                raise DriverClosedError
            with self._count_lock:
                if self._unfinished >= self._max_requests:
                    raise QueueFullError(f"{self._unfinished} requests are waiting or running already: try again later")
                self._unfinished += 1
            self._commands.put(("submit", job))
        return RequestHandle(job, self._cancel)

    def stream(self, request: Request) -> Iterator[SampleToken]:
        """The tokens of a request as they come, in a thread. Closing or dropping the iterator cancels the request.

        Raises:
            PellucidError: as `submit`, at once; with best_of, since nobody knows yet which completions will be chosen.
        """
        return iter(self._streamed(request))

    def astream(self, request: Request) -> AsyncIterator[SampleToken]:
        """The tokens of a request as they come, in a task. Closing or dropping the iterator, or cancelling the task that
        iterates, cancels the request. Raises PellucidError as `stream`."""
        return aiter(self._streamed(request))

    def cancel(self, handle: RequestHandle) -> None:
        """Ends a request before its next token; harmless if it has ended."""
        handle.cancel()

    @property
    def alive(self) -> bool:
        """Whether requests can be submitted: it was not closed, and its thread has not ended by itself."""
        return not self._closed

    @property
    def unfinished(self) -> int:
        """Requests that are waiting or running."""
        return self._unfinished

    @property
    def stats(self) -> EngineStats:
        """What the engine counts: read between other threads' work, so numbers may be of two neighbouring steps."""
        return self._engine.stats

    def close(self) -> None:
        """Ends all requests, closes the engine and waits for the thread. Their consumers get a `PellucidError`."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._commands.put(("close", None))
        atexit.unregister(self.close)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> "EngineDriver":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _streamed(self, request: Request) -> RequestHandle:
        check_request(request)
        if request.best_of not in (None, request.n):
            raise PellucidError("completions that are chosen among several cannot be streamed: leave out best_of")
        return self.submit(request)

    def _cancel(self, job: DriverJob) -> None:
        """Called from destructors, too: takes no lock."""
        self._commands.put(("cancel", job))

    # In the thread.

    def _run(self) -> None:
        try:
            while self._run_commands():
                self._step()
        finally:
            with self._lock:
                failed = not self._closed
                self._closed = True  # nothing is submitted from here on, whyever this ends
            with contextlib.suppress(Exception):
                self._engine.close()
            self._end_all(EngineClosedError("the engine was closed before this request was answered"))
            if failed:
                self._on_failure()

    def _run_commands(self) -> bool:
        """Runs all queued commands; waits for one while the engine is idle. Returns False after the command to close."""
        while True:
            try:
                name, job = self._commands.get(block=self._engine.idle)
            except queue.Empty:
                return True
            if name == "close":
                return False
            assert job is not None
            if name == "submit":
                self._start_job(job)
            elif not job.done:
                self._cancel_all(job)
                self._deliver({job: []})

    def _start_job(self, job: DriverJob) -> None:
        for sample, sequence in enumerate(job.group.sequences):
            self._jobs[sequence] = (job, sample)
        try:
            self._engine.add(job.group)
        except Exception as error:
            self._end(job, error)
            return
        if job.group.finished:  # it asked for no tokens
            self._deliver({job: []})

    def _step(self) -> None:
        try:
            drawn = self._engine.step()
            ended = self._engine.finished
        except Exception as error:
            self._recover(error)
            return
        updates: dict[DriverJob, list[SampleToken]] = {}
        for sequence, token in drawn:
            if owner := self._jobs.get(sequence):
                updates.setdefault(owner[0], []).append((owner[1], token))
        for sequence in ended:
            if owner := self._jobs.get(sequence):
                updates.setdefault(owner[0], [])
        self._deliver(updates)

    def _deliver(self, updates: abc.Mapping[DriverJob, abc.Sequence[SampleToken]]) -> None:
        """Delivers the tokens of a step, waking each consumer, and each event loop, once."""
        waiting: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[None], DriverJob]]] = {}
        for job, tokens in updates.items():
            error = job.group.error
            if error is not None:
                self._cancel_all(job)  # other completions of a request that fails are of no use
            done = error is not None or job.group.finished
            if done:
                self._remove_job(job)
            for loop, future in job.deliver(tokens, done, error):
                waiting.setdefault(loop, []).append((future, job))
        for loop, futures in waiting.items():
            try:
                loop.call_soon_threadsafe(_set_all, [future for future, _ in futures])
            except RuntimeError:  # the loop is closed, and its tasks with it
                for _, job in futures:
                    self._cancel(job)

    def _end(self, job: DriverJob, error: Exception) -> None:
        self._remove_job(job)
        for loop, future in job.deliver([], True, error):
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_set_all, [future])

    def _end_all(self, error: Exception) -> None:
        """Ends all running requests, and those that were submitted but not started."""
        jobs = dict.fromkeys(job for job, _ in self._jobs.values())
        with contextlib.suppress(queue.Empty):
            while True:
                name, job = self._commands.get_nowait()
                if name == "submit" and job is not None:
                    jobs[job] = None
        for job in jobs:
            self._end(job, error)

    def _recover(self, error: Exception) -> None:
        """Ends all running requests after the engine itself has raised."""
        for job in dict.fromkeys(job for job, _ in self._jobs.values()):
            self._cancel_all(job)
            self._end(job, error)

    def _cancel_all(self, job: DriverJob) -> None:
        for sequence in job.group.sequences:
            with contextlib.suppress(Exception):  # of a runner that cannot close: the sequence has left the engine before
                self._engine.cancel(sequence)

    def _remove_job(self, job: DriverJob) -> None:
        for sequence in job.group.sequences:
            self._jobs.pop(sequence, None)
        with self._count_lock:
            self._unfinished -= 1


def _set_all(futures: abc.Sequence[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
