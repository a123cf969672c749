"""The sliding window, against plain lists."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.corpus import Tokens, Windows, evenly_spaced, sequential
from pellucid.errors import PellucidError
from pellucid.hashing import mix, permuted


def numbered(n: int, cut: int = 17) -> Tokens:
    """Tokens whose ids are their places, in two parts."""
    ids = np.arange(n, dtype="<u2")
    return Tokens([ids[:cut], ids[cut:]], n_bytes=n)


sizes = st.integers(1, 12).flatmap(lambda n_ctx: st.tuples(st.integers(n_ctx + 1, 300), st.just(n_ctx)))


@given(size=sizes, seed=st.integers(), epoch=st.integers(0, 5))
def test_every_epoch_visits_every_window_once(size: tuple[int, int], seed: int, epoch: int) -> None:
    n, n_ctx = size
    windows = Windows(numbered(n), n_ctx, seed=seed)
    assert len(windows) == (n - 1) // n_ctx
    visited = [windows.window(epoch * len(windows) + i).tolist() for i in range(len(windows))]
    phase = min(window[0] for window in visited)
    assert 0 <= phase <= (n - 1) % n_ctx
    expected = [list(range(start, start + n_ctx + 1)) for start in range(phase, phase + len(windows) * n_ctx, n_ctx)]
    assert sorted(visited) == expected
    assert expected[-1][-1] < n


@given(size=sizes, seed=st.integers(0, 99), start=st.integers(0, 500), count=st.integers(0, 9))
def test_a_window_depends_on_seed_and_number_only(size: tuple[int, int], seed: int, start: int, count: int) -> None:
    n, n_ctx = size
    one, two = Windows(numbered(n), n_ctx, seed=seed), Windows(numbered(n, cut=1), n_ctx, seed=seed)
    two.window(start // 2)  # what was asked before does not matter
    batch = one.batch(start, count)
    assert batch.shape == (count, n_ctx + 1) and batch.dtype == np.int64
    assert batch.tolist() == [two.window(k).tolist() for k in reversed(range(start, start + count))][::-1]


def test_epochs_and_seeds_differ_in_order_and_phase() -> None:
    tokens = numbered(1010)
    orders, phases = set(), set()
    for seed in range(3):
        windows = Windows(tokens, 100, seed=seed)
        assert len(windows) == 10
        for epoch in range(20):
            starts = [windows.start(10 * epoch + i) for i in range(10)]
            phases.add(min(starts))
            orders.add(tuple(start // 100 for start in starts))
    assert len(orders) == 60
    assert phases == set(range(10))  # the slack is 1009 % 100 = 9 tokens


def test_the_order_of_a_run_never_changes() -> None:
    """A resumed run relies on these numbers: a change of them is a change of format."""
    assert mix(0) == 0xE220A8397B1DCDAF  # the first output of splitmix64 from state 0
    assert mix(1, 2, 3) == 7702586659592502839
    assert [permuted(i, 10, key=1) for i in range(10)] == [9, 7, 2, 3, 0, 1, 5, 6, 8, 4]


@pytest.mark.parametrize("n", [*range(1, 40), 255, 256, 257, 1000])
def test_permuted_is_a_permutation(n: int) -> None:
    for key in (0, 1, -5, 1 << 70):
        assert sorted(permuted(i, n, key=key) for i in range(n)) == list(range(n))


def test_permuted_looks_random() -> None:
    # Each of the 24 orders of 4 things comes up about equally often: chi-squared of 23 degrees of freedom, p = 1e-6.
    counts: dict[tuple[int, ...], int] = {}
    for key in range(4800):
        order = tuple(permuted(i, 4, key=mix(key)) for i in range(4))
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sum((count - 200) ** 2 / 200 for count in counts.values()) < 73
    # Neighbours do not stay neighbours.
    n = 10_000
    order = [permuted(i, n, key=7) for i in range(n)]
    assert abs(np.corrcoef(range(n), order)[0, 1]) < 0.05
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05
    assert permuted(123_456_789_012, 10**12, key=1) != permuted(123_456_789_013, 10**12, key=1)


@given(n=st.integers(0, 200), n_ctx=st.integers(1, 50))
def test_in_text_order_every_token_after_the_first_is_a_target_once(n: int, n_ctx: int) -> None:
    windows = [window.tolist() for window in sequential(numbered(n), n_ctx)]
    assert [target for window in windows for target in window[1:]] == list(range(1, n))
    assert all(window[i + 1] == window[i] + 1 for window in windows for i in range(len(window) - 1))
    assert all(len(window) == n_ctx + 1 for window in windows[:-1])


def test_too_few_tokens_for_a_window() -> None:
    assert len(Windows(numbered(101), 100, seed=0)) == 1
    with pytest.raises(PellucidError, match=r"100 tokens, and one window takes 101: give more text, or .* shorter context"):
        Windows(numbered(100), 100, seed=0)


@given(n=st.integers(0, 400), n_ctx=st.integers(1, 30), count=st.integers(1, 20))
def test_spread_windows_reach_from_the_first_token_to_the_last(n: int, n_ctx: int, count: int) -> None:
    all_of_them = [window.tolist() for window in sequential(numbered(n), n_ctx)]
    found = [window.tolist() for window in evenly_spaced(numbered(n), n_ctx, count)]
    assert len(found) == min(count, len(all_of_them))
    assert all(window in all_of_them for window in found)
    starts = [window[0] for window in found]
    assert starts == sorted(set(starts))
    if len(found) < len(all_of_them):
        whole = [window for window in all_of_them if len(window) == n_ctx + 1]
        assert found[0] == whole[0] and all(len(window) == n_ctx + 1 for window in found)
        if count > 1:
            assert found[-1] == whole[-1]
            gaps = [(b - a) // n_ctx for a, b in pairwise(starts)]
            assert max(gaps) - min(gaps) <= 1
    else:
        assert found == all_of_them
