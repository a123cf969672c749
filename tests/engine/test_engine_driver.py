"""The driver thread: whoever submits, leaves, cancels or fails, every other answer is what it is alone, and nothing hangs."""

import asyncio
import gc
import random
import subprocess
import sys
import threading
import time
from collections import abc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from plain_runner import BROKEN, VOCAB, Plain, alone

from pellucid.engine.driver import DriverClosedError, EngineClosedError, EngineDriver, QueueFullError, RequestHandle
from pellucid.engine.engine import Engine
from pellucid.engine.options import SamplingOptions
from pellucid.engine.request import Request
from pellucid.errors import PellucidError
from pellucid.runtime.runner import TokenSpan


PATIENCE = 20.0  # seconds after which something hangs


class Gated(Plain):
    """Runs a step when it is let through; raises where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Semaphore(0)
        self.open_gate = True
        self.entered = threading.Semaphore(0)
        self.raises: Exception | None = None

    def run(self, segments: abc.Sequence[TokenSpan]) -> list[NDArray[np.float32] | None]:
        self.entered.release()
        if not self.open_gate:
            assert self.gate.acquire(timeout=PATIENCE)
        if self.raises is not None:
            raise self.raises
        return super().run(segments)


@pytest.fixture
def runner() -> Gated:
    return Gated()


@pytest.fixture
def driver(runner: Gated) -> abc.Iterator[EngineDriver]:
    engine = Engine(runner, tokenizer=None, end_of_text=VOCAB - 1, chunk=16, max_sequences=6)
    with EngineDriver(engine, max_requests=200) as made:
        yield made
    assert not made._thread.is_alive() and made.unfinished == 0
    assert not runner.sequences


def ask(prompt: abc.Sequence[int], tokens: int = 6, seed: int = 1, **others: Any) -> Request:
    return Request(prompt=prompt, options=SamplingOptions(max_tokens=tokens, seed=seed), **others)


def right(request: Request, sample: int = 0) -> list[int]:
    return alone(request.prompt, request.options, sample)


def until(true: abc.Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never comes"
        time.sleep(0.001)


def test_threads_and_tasks_submit_leave_and_cancel_and_every_token_is_right(driver: EngineDriver) -> None:
    """Seeded schedules from 6 threads and 3 event loops at once; half of all consumers leave somewhere on the way."""

    def request_of(chance: random.Random) -> Request:
        prompt = [20, 21, 22, 23, *(chance.randrange(14, 40) for _ in range(chance.randrange(1, 12)))]
        return ask(prompt[chance.randrange(4) :], chance.randrange(1, 14), chance.randrange(3), n=chance.choice([1, 1, 2, 3]))

    def check(request: Request, found: dict[int, list[int]], whole: bool) -> None:
        for sample in range(request.n):
            expected = right(request, sample)
            assert found.get(sample, []) == (expected if whole else expected[: len(found.get(sample, []))])

    def thread(seed: int) -> int:
        chance, whole_ones = random.Random(seed), 0
        for _ in range(12):
            request, leaves = request_of(chance), chance.choice([None, 0, 1, 3])
            found: dict[int, list[int]] = {}
            stream = driver.stream(request)
            whole = True
            for count, (sample, token) in enumerate(stream):
                if count == leaves:
                    whole = False
                    break
                found.setdefault(sample, []).append(token.id)
            del stream
            check(request, found, whole)
            whole_ones += whole
        return whole_ones

    async def task(chance: random.Random) -> bool:
        request, leaves = request_of(chance), chance.choice([None, 0, 2, "timeout"])
        found: dict[int, list[int]] = {}

        async def consume() -> bool:
            async for sample, token in driver.astream(request):
                if len(found.get(0, [])) == leaves:
                    return False
                found.setdefault(sample, []).append(token.id)
            return True

        try:
            whole = await asyncio.wait_for(consume(), 0.001 if leaves == "timeout" else PATIENCE)
        except TimeoutError:
            whole = False
        check(request, found, whole)
        return whole

    def loop(seed: int) -> int:
        async def run() -> list[bool]:
            return await asyncio.gather(*(task(random.Random(f"{seed} {number}")) for number in range(25)))

        return sum(asyncio.run(run()))

    with ThreadPoolExecutor(9) as pool:
        doing = [pool.submit(thread, seed) for seed in range(6)] + [pool.submit(loop, seed) for seed in range(3)]
        assert all(one.result(60) > 0 for one in doing)
    until(lambda: driver.unfinished == 0)


def test_a_step_wakes_a_consumer_once_however_many_tokens_it_gave(runner: Gated, driver: EngineDriver) -> None:
    runner.open_gate = False
    woken: list[int] = []

    async def run() -> None:
        loop, called = asyncio.get_running_loop(), []
        original = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *given, **named: (called.append(1), original(*given, **named))[1]  # type: ignore
        handles = [driver.submit(ask([14 + salt], 2, n=4)) for salt in range(1)] + [driver.submit(ask([30], 2))]

        async def consume(handle: RequestHandle) -> int:
            return len([token async for token in handle])

        consuming = [asyncio.create_task(consume(handle)) for handle in handles]
        await asyncio.sleep(0.05)
        for _ in range(4):
            runner.gate.release()
            await asyncio.sleep(0.02)
        assert await asyncio.wait_for(asyncio.gather(*consuming), PATIENCE) == [8, 2]
        woken.append(len(called))

    runner_thread = threading.Thread(target=lambda: asyncio.run(run()))
    runner_thread.start()
    runner_thread.join(PATIENCE)
    assert woken and woken[0] <= len(runner.passes), "a callback a step for all tokens of all consumers of a loop"
    runner.open_gate = True
    runner.gate.release(9)


@pytest.mark.parametrize("how", ["close", "drop", "never begun", "handle", "cancel"])
def test_who_leaves_frees_its_place_within_a_step(runner: Gated, driver: EngineDriver, how: str) -> None:
    runner.open_gate = False
    request = ask([15, 16], 40)
    stream: Any = driver.submit(request) if how in ("handle", "cancel") else driver.stream(request)
    assert runner.entered.acquire(timeout=PATIENCE)
    if how in ("close", "drop"):
        runner.gate.release()
        assert next(stream)[1].id == right(request)[0]
        assert runner.entered.acquire(timeout=PATIENCE)
    if how == "close":
        stream.close()
    elif how == "cancel":
        driver.cancel(stream)
        driver.cancel(stream)
    del stream
    gc.collect()
    runner.gate.release()  # the step that was under way; no other comes
    until(lambda: driver.unfinished == 0)
    assert len(runner.passes) == (2 if how in ("close", "drop") else 1)
    runner.open_gate = True


def test_a_cancelled_task_cancels_its_request(runner: Gated, driver: EngineDriver) -> None:
    runner.open_gate = False

    async def run() -> None:
        waiting = asyncio.create_task(driver.submit(ask([15], 40)).acompletions())
        await asyncio.to_thread(runner.entered.acquire)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        runner.gate.release()
        await asyncio.to_thread(until, lambda: driver.unfinished == 0)

    asyncio.run(asyncio.wait_for(run(), PATIENCE))
    assert len(runner.passes) == 1
    runner.open_gate = True


def test_a_failure_reaches_its_own_consumers_alone(runner: Gated, driver: EngineDriver) -> None:
    bad, good = driver.submit(ask([1, BROKEN, 2], n=2)), driver.submit(ask([15, 16]))
    with pytest.raises(PellucidError, match="not a number"):
        bad.completions(PATIENCE)
    assert good.completions(PATIENCE)[0].ids == right(ask([15, 16]))
    runner.raises = MemoryError("too large")
    with pytest.raises(MemoryError):
        list(driver.stream(ask([17])))

    async def run() -> None:
        async for _ in driver.astream(ask([18])):
            raise AssertionError

    with pytest.raises(MemoryError):
        asyncio.run(run())
    runner.raises = None
    assert driver.submit(ask([17])).completions(PATIENCE)[0].ids == right(ask([17]))


def test_should_the_engine_itself_raise_those_of_that_moment_end_and_others_are_answered(driver: EngineDriver) -> None:
    engine = driver._engine
    step, engine.step = engine.step, lambda: (_ for _ in ()).throw(RuntimeError("a fault"))  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="a fault"):
        driver.submit(ask([15])).completions(PATIENCE)
    engine.step = step  # type: ignore[method-assign]
    assert driver.submit(ask([15])).completions(PATIENCE)[0].ids == right(ask([15]))


def test_closing_while_busy_ends_every_consumer(runner: Gated, driver: EngineDriver) -> None:
    runner.open_gate = False
    handles = [driver.submit(ask([15 + salt], 40)) for salt in range(9)]
    outcomes: list[str] = []

    def consume(handle: RequestHandle) -> None:
        try:
            for _ in handle:
                pass
        except PellucidError as error:
            outcomes.append(str(error))

    async def in_a_task() -> None:
        async for _ in handles[8]:
            pass

    threads = [threading.Thread(target=consume, args=(handle,)) for handle in handles[:8]]
    for thread in threads:
        thread.start()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: asyncio.run(in_a_task()))
        assert runner.entered.acquire(timeout=PATIENCE)
        closing = [threading.Thread(target=driver.close) for _ in range(2)]
        for thread in closing:
            thread.start()
        runner.open_gate = True
        runner.gate.release(9)
        for thread in [*threads, *closing]:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        with pytest.raises(PellucidError, match="was closed before"):
            running.result(PATIENCE)
    assert outcomes == ["the engine was closed before this request was answered"] * 8
    with pytest.raises(PellucidError, match="the engine is closed"):
        driver.submit(ask([15]))


def test_what_cannot_be_answered_is_refused_at_once(driver: EngineDriver) -> None:
    for request, says in ((ask([VOCAB]), "outside the vocabulary"), (ask([15], 999), "leaves room")):
        for how in (driver.submit, driver.stream, driver.astream):
            with pytest.raises(PellucidError, match=says):
                how(request)
    with pytest.raises(PellucidError, match="cannot be streamed"):
        driver.stream(ask([15], n=1, best_of=2))
    assert driver.unfinished == 0


def test_scores_empty_answers_and_the_best_of_several(driver: EngineDriver) -> None:
    none = driver.submit(ask([15], 0))
    assert none.completions(PATIENCE)[0].ids == [] and list(none) == []
    score = driver.submit(ask([15, 16, 17], 0, prompt_logprobs=1)).score(PATIENCE)
    assert len(score.logprobs) == 3
    assert asyncio.run(driver.submit(ask([15, 16, 17], 0, prompt_logprobs=1)).ascore()) == score
    assert len(driver.submit(ask([15], n=2, best_of=3)).completions(PATIENCE)) == 2
    assert driver.stats.drawn_tokens > 0


def test_a_full_queue_is_refused_and_a_slow_consumer_gets_all(runner: Gated) -> None:
    with EngineDriver(Engine(runner, tokenizer=None, end_of_text=VOCAB - 1), max_requests=2) as driver:
        handles = [driver.submit(ask([15 + salt], 9)) for salt in range(2)]
        until(lambda: all(handle.done for handle in handles))  # nothing was fetched yet
        assert [[token.id for _, token in handle] for handle in handles] == [right(ask([15 + salt], 9)) for salt in range(2)]
        runner.open_gate = False
        held = [driver.submit(ask([15 + salt], 9)) for salt in range(2)]
        with pytest.raises(QueueFullError, match="2 requests are waiting"):
            driver.submit(ask([15]))
        with pytest.raises(TimeoutError):
            held[0].completions(0.01)
        held[1].cancel()
        runner.open_gate = True
        runner.gate.release(9)
        assert held[0].completions(PATIENCE)[0].ids == right(ask([15], 9))
        until(lambda: held[1].done)
        for read in (list, RequestHandle.completions, lambda handle: asyncio.run(listed(handle))):
            with pytest.raises(PellucidError, match="cancelled"):
                read(held[1])


async def listed(handle: RequestHandle) -> list[Any]:
    return [one async for one in handle]


def test_the_interpreter_ends_while_the_driver_is_busy() -> None:
    code = """
import sys; sys.path[:0] = ["tests"]
from plain_runner import Plain, VOCAB
from pellucid.engine.driver import EngineDriver
from pellucid.engine.engine import Engine
from pellucid.engine.options import SamplingOptions
from pellucid.engine.request import Request
driver = EngineDriver(Engine(Plain(), tokenizer=None, end_of_text=VOCAB - 1))
options = SamplingOptions(max_tokens=10**6, slide=True, logit_bias=((VOCAB - 1, -100),))
for sample, token in driver.stream(Request(prompt=[15], options=options)):
    kept = driver.submit(Request(prompt=[15], options=options))
    break
print("ended")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def test_a_consumer_that_is_behind_gets_its_tokens_in_fewer_lists(driver: EngineDriver, runner: Gated) -> None:
    request = ask([1, 2, 3], 12, n=2)

    async def consume() -> list[list[tuple[int, int]]]:
        runner.open_gate = False
        lists = []
        async for batch in driver.submit(request).abatches():
            lists.append([(sample, token.id) for sample, token in batch])
            if len(lists) == 1:
                runner.open_gate = True
                runner.gate.release()
                time.sleep(0.3)  # the event loop is busy: all that comes meanwhile is one list
        return lists

    runner.gate.release()
    lists = asyncio.run(consume())
    assert len(lists) <= 3
    for sample in range(2):
        assert [token for one in lists for owner, token in one if owner == sample] == right(request, sample)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # which is the point
def test_a_thread_that_ends_by_itself_says_so_once_its_requests_have_their_error(runner: Gated) -> None:
    told = threading.Event()
    driver = EngineDriver(Engine(runner, tokenizer=None, end_of_text=VOCAB - 1), on_failure=told.set)
    assert driver.alive
    runner.raises = SystemExit()  # type: ignore[assignment]
    handle = driver.submit(ask([1, 2, 3]))
    with pytest.raises(EngineClosedError):
        handle.completions(PATIENCE)
    assert told.wait(PATIENCE) and not driver.alive
    with pytest.raises(DriverClosedError):
        driver.submit(ask([1]))
    driver.close()
    quiet = threading.Event()
    with EngineDriver(Engine(Gated(), tokenizer=None, end_of_text=VOCAB - 1), on_failure=quiet.set) as other:
        other.submit(ask([1, 2])).completions(PATIENCE)
    assert not quiet.is_set()  # it was closed
