"""`RequestHandle`: the tokens and completions of a submitted request, in a thread or an asyncio task. No torch here."""

import asyncio
import threading
from collections import abc, deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import TypeAlias

from pellucid.engine.completion import Completion, Score, Token
from pellucid.engine.request import SequenceGroup
from pellucid.engine.sequence import PromptLogprobs
from pellucid.errors import PellucidError


SampleToken: TypeAlias = tuple[int, Token]  # index of the completion among those of its request, and its next token
Waiter: TypeAlias = "tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]"


class DriverJob:
    """A submitted request: the tokens that the driver's thread delivers, and how it wakes the consumer.

    Attributes:
        group: its completions; only the driver's thread touches them until `done`.
        done: nothing more comes. error: what ended it.
    """

    def __init__(self, group: SequenceGroup) -> None:
        self.group = group
        self.condition = threading.Condition()
        self.tokens: deque[SampleToken] = deque()
        self.done = False
        self.error: Exception | None = None
        self.waiters: list[Waiter] = []

    def deliver(self, tokens: abc.Sequence[SampleToken], done: bool, error: Exception | None) -> list[Waiter]:
        """Makes tokens available and wakes the threads that wait. Returns the futures of tasks that wait, to be set."""
        with self.condition:
            self.tokens.extend(tokens)
            self.done, self.error = done, error
            self.condition.notify_all()
            waiters, self.waiters = self.waiters, []
        return waiters

    def ready(self) -> bool:
        """Whether there is something to fetch, or nothing more comes."""
        return self.done or bool(self.tokens)

    def fetch(self) -> tuple[list[SampleToken], bool]:
        """The tokens that came since the last call, and whether they were the last."""
        with self.condition:
            tokens = list(self.tokens)
            self.tokens.clear()
            return tokens, self.done


class RequestHandle:
    """One submitted request, as its consumer holds it. Iterate over it, in a thread or in a task, or wait for its completions.

    Tokens are given once, to whoever asks first. A handle that is dropped before its request has ended cancels it.

    Attributes:
        request: what was asked.
    """

    def __init__(self, job: DriverJob, cancel: abc.Callable[[DriverJob], None]) -> None:
        self.request = job.group.request
        self._job = job
        self._cancel = cancel

    def __del__(self) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Ends the request before its next token; harmless if it has ended."""
        if not self._job.done:
            self._cancel(self._job)

    @property
    def done(self) -> bool:
        """Whether the request has ended: there may still be tokens to fetch."""
        return self._job.done

    def __iter__(self) -> Iterator[SampleToken]:
        """Its tokens as they come, each with the index of its completion.

        Raises:
            PellucidError: the request was cancelled; Exception: what else ended it. Either after its tokens.
        """
        job, done = self._job, False
        try:
            while not done:
                with job.condition:
                    job.condition.wait_for(job.ready)
                tokens, done = job.fetch()
                yield from tokens
            self._raise_for_end()
        finally:
            self.cancel()

    async def __aiter__(self) -> AsyncIterator[SampleToken]:
        """The same in a task of an event loop."""
        async with aclosing(self.abatches()) as batches:
            async for tokens in batches:
                for one in tokens:
                    yield one

    async def abatches(self) -> AsyncGenerator[list[SampleToken], None]:
        """The same in a task, with all tokens that came since the last list at once: a consumer that is behind gets fewer and
        longer lists."""
        job, done = self._job, False
        try:
            while not done:
                await self._wait_until(job.ready)
                tokens, done = job.fetch()
                if tokens:
                    yield tokens
            self._raise_for_end()
        finally:
            self.cancel()

    @property
    def prompt_logprobs(self) -> PromptLogprobs | None:
        """Those of the prompt, if they were asked for: complete once a token of completion 0 was given, or `done`."""
        return self._job.group.sequences[0].prompt_logprobs

    @property
    def drawn_tokens(self) -> int:
        """How many tokens were drawn for the request so far, those of completions that `best_of` leaves out included."""
        return sum(len(sequence.tokens) for sequence in self._job.group.sequences)

    async def _wait_until(self, ready: abc.Callable[[], bool]) -> None:
        """Waits in a task until the driver's thread has handed over what makes `ready()` true."""
        job, loop = self._job, asyncio.get_running_loop()
        while True:
            with job.condition:
                if ready():
                    return
                future = loop.create_future()
                job.waiters.append((loop, future))
            await future

    def completions(self, timeout: float | None = None) -> list[Completion]:
        """Waits for the end and returns the completions that were asked for, as `SequenceGroup.completions`.

        Args:
            timeout: seconds to wait at most; None: without limit. The request goes on after it.

        Raises:
            TimeoutError: it has not ended by then. PellucidError: it was cancelled. Exception: what ended it.
        """
        with self._job.condition:
            if not self._job.condition.wait_for(lambda: self._job.done, timeout):
                raise TimeoutError(f"the request has not ended within {timeout} s")
        return self._result().completions()

    async def acompletions(self) -> list[Completion]:
        """The same in a task. Cancelling the task cancels the request."""
        await self._wait()
        return self._result().completions()

    async def ascore(self) -> Score:
        """Waits in a task for the log-probabilities of the prompt, as `SequenceGroup.score`."""
        await self._wait()
        return self._result().score()

    def score(self, timeout: float | None = None) -> Score:
        """Waits for the log-probabilities of the prompt. Arguments and errors as `completions`."""
        self.completions(timeout)
        return self._result().score()

    async def _wait(self) -> None:
        try:
            await self._wait_until(lambda: self.done)
        finally:
            self.cancel()

    def _result(self) -> SequenceGroup:
        self._raise_for_end()
        return self._job.group

    def _raise_for_end(self) -> None:
        """Raises what ended the request, unless that is its last token."""
        job = self._job
        if job.error is not None:
            raise job.error
        if any(sequence.finish_reason == "cancelled" for sequence in job.group.sequences):
            raise PellucidError("the request was cancelled before it was answered")
