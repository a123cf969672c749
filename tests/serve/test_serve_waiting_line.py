"""The line of those that wait for slots, and the limits of a key, on clocks and schedules that are generated."""

import asyncio
from collections import Counter
from contextlib import suppress

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from pellucid.serve.http.limits import Bucket, KeyLimits, LimitReached, RateLimits
from pellucid.serve.http.waiting_line import LineFull, WaitingLine


PIECES = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 6), st.integers(1, 5), st.integers(0, 6), st.none() | st.integers(0, 9)),
    max_size=14,
)  # client, slots, turns it works, turn of arrival, turn of leaving


@cases(25)
@given(PIECES, st.integers(1, 5))
def test_slots_are_never_exceeded_all_are_served_and_who_leaves_leaves_nothing(
    pieces: list[tuple[str, int, int, int, int | None]], slots: int
) -> None:
    line, served, most = WaitingLine(slots, 100), Counter[str](), 0

    async def work(client: str, wanted: int, turns: int, arrives: int) -> None:
        nonlocal most
        for _ in range(arrives):
            await asyncio.sleep(0)
        async with line.hold(client, wanted):
            assert line.used <= slots or line.used == wanted  # what needs more than there are runs alone
            most = max(most, line.used)
            for _ in range(turns):
                await asyncio.sleep(0)
            served[client] += 1

    async def run() -> None:
        tasks = []
        for client, wanted, turns, arrives, leaves in pieces:
            task = asyncio.create_task(work(client, wanted, turns, arrives))
            tasks.append(task)
            if leaves is not None:

                async def leave(task: "asyncio.Task[None]" = task, turns: int = leaves) -> None:
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    task.cancel()

                tasks.append(asyncio.create_task(leave()))
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(run())
    assert (line.used, line.waiting, line._held, len(line._lines)) == (0, 0, {}, 0)
    staying = Counter(client for client, _, _, _, leaves in pieces if leaves is None)
    assert all(served[client] >= count for client, count in staying.items())


@cases(12)
@given(st.integers(1, 4), st.integers(5, 40), st.integers(1, 6))
def test_a_client_with_much_work_cannot_keep_another_waiting(slots: int, much: int, little: int) -> None:
    """Whoever asks while another fills the line gets half of the slots that are freed from then on, and not the end of it."""
    line, order = WaitingLine(slots, 1000), list[str]()

    async def work(client: str) -> None:
        async with line.hold(client, 1):
            order.append(client)
            await asyncio.sleep(0)

    async def run() -> None:
        many = [asyncio.create_task(work("many")) for _ in range(much)]
        await asyncio.sleep(0)
        few = [asyncio.create_task(work("few")) for _ in range(little)]
        await asyncio.gather(*many, *few)

    asyncio.run(run())
    last = max(i for i, client in enumerate(order) if client == "few")
    assert last <= 2 * slots + 2 * little  # those that were served before it asked, then every other one


@cases(25)
@given(st.integers(1, 4), st.integers(0, 6), st.lists(st.sampled_from("abc"), max_size=9), st.integers(1, 5))
def test_a_full_line_refuses_its_own_client_and_says_when(slots: int, most: int, waiters: list[str], pieces: int) -> None:
    async def run() -> None:
        line = WaitingLine(slots, most)
        async with line.hold("holds all", slots):
            waiting = [asyncio.create_task(line.hold(client, 1).__aenter__()) for client in waiters]
            await asyncio.sleep(0)
            for client in "abcd":  # nobody of the last waits
                already = waiters.count(client)
                if not already or already + pieces <= most:  # to an empty line anything may come
                    line.check_room(client, pieces)
                    continue
                with pytest.raises(LineFull) as full:
                    line.check_room(client, pieces)
                assert full.value.waiting == already
                assert 0 < full.value.seconds <= len(waiters) / slots  # at first a slot is taken to be held for a second
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(run())


@cases(25)
@given(st.integers(1, 100), st.lists(st.tuples(st.floats(0, 90), st.integers(0, 120)), max_size=20))
def test_a_rate_gives_no_more_than_a_minutes_at_once_and_refills(per_minute: int, steps: list[tuple[float, int]]) -> None:
    now = 0.0
    bucket = Bucket(per_minute, lambda: now)
    taken: list[tuple[float, int]] = []
    for seconds, amount in steps:
        now += seconds
        wait = bucket.take(amount)
        if amount > per_minute:
            assert wait == float("inf")
        elif wait == 0:
            taken.append((now, amount))
        else:
            before, now = now, now + wait + 1e-6
            assert bucket.take(amount) == 0  # it told the truth
            taken.append((now, amount))
            assert now > before
        assert 0 <= bucket.left <= per_minute and bucket.reset >= 0
    for start, _ in taken:
        assert sum(amount for at, amount in taken if start <= at <= start + 60) <= 2 * per_minute + 1


def test_limits_of_a_key_count_and_give_back() -> None:
    now = 0.0
    limits = RateLimits(KeyLimits(requests_per_minute=3, tokens_per_minute=100, concurrent_requests=2), lambda: now)
    limits.begin(40)
    limits.begin(40)
    with pytest.raises(LimitReached) as reached:
        limits.begin(1)
    assert reached.value.what == "concurrent"
    limits.end(30)
    with pytest.raises(LimitReached) as reached:
        limits.begin(60)
    assert (reached.value.what, reached.value.limit) == ("tokens", 100) and 5 < reached.value.seconds < 7
    limits.begin(50)  # the refused one took no request
    limits.end(0)
    with pytest.raises(LimitReached) as reached:
        limits.begin(0)
    assert (reached.value.what, reached.value.seconds) == ("requests", 20.0)
    assert limits.headers() == {
        "x-ratelimit-limit-requests": "3", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "60000ms",
        "x-ratelimit-limit-tokens": "100", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "60000ms",
    }  # fmt: skip
