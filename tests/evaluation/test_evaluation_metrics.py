"""Metrics and intervals against plain code."""

import math
from statistics import mean

import numpy as np
import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from pellucid.evaluation.intervals import Interval, bootstrap
from pellucid.evaluation.measure import SampleResult
from pellucid.evaluation.metrics import CHOICE_METRICS, FREE_METRICS, exact_match, f1, metrics_of
from pellucid.evaluation.perplexity import windows
from pellucid.evaluation.scores import ShotsDifference
from pellucid.evaluation.task import Query
from pellucid.hashing import mix, mix_array


numbers = st.floats(-50, -0.1)


@cases(40)
@given(st.data(), st.lists(st.text("abé ", min_size=1, max_size=6).map(str.strip), min_size=2, max_size=5, unique=True))
def test_choices_are_compared_by_each_norm(data: st.DataObject, texts: list[str]) -> None:
    choices = tuple(text or "empty" for text in texts)
    right = data.draw(st.integers(0, len(choices) - 1))
    draw = st.lists(numbers, min_size=len(choices), max_size=len(choices))
    logprobs, others = data.draw(draw), data.draw(draw)
    tokens = data.draw(st.lists(st.integers(1, 5), min_size=len(choices), max_size=len(choices)))
    found = metrics_of(
        Query(prompt="p", answers=(choices[right],), choices=choices),
        SampleResult(logprobs=tuple(logprobs), tokens=tuple(tokens), context_logprobs=tuple(others)),
    )
    scored = {
        "accuracy": logprobs, "accuracy_token": [p / n for p, n in zip(logprobs, tokens, strict=True)],
        "accuracy_byte": [p / len(text.encode()) for p, text in zip(logprobs, choices, strict=True)],
        "accuracy_context": [p - q for p, q in zip(logprobs, others, strict=True)],
    }  # fmt: skip
    assert tuple(found) == CHOICE_METRICS
    for name, values in scored.items():
        assert found[name] == (max(range(len(values)), key=lambda i, v=values: (v[i], -i)) == right)
    assert found["logprob_token"] == logprobs[right] / tokens[right]
    assert found["logprob_byte"] == logprobs[right] / len(choices[right].encode())


def test_written_answers() -> None:
    def of(output: str, *answers: str) -> dict[str, float]:
        return metrics_of(Query(prompt="p", answers=answers), SampleResult(logprobs=(-6.0,), tokens=(3,), output=output))

    found = of(" the Thames\n", "a river", "Thames")
    assert tuple(found) == FREE_METRICS
    assert found == {"exact_match": 0, "f1": 1, "logprob_token": -2, "logprob_byte": -6 / 7}
    assert of(" 143", "143")["exact_match"] == 1 and of("-5", "5")["exact_match"] == 0
    assert f1("a red, red fox", "the red fox ran") == pytest.approx(2 * (2 / 3) * (2 / 3) / (4 / 3))  # SQuAD's own formula
    assert f1("", "the") == 1 and f1("fox", "the") == 0 and exact_match("the", "The") == 0


@given(st.integers(-(1 << 70), 1 << 70), st.lists(st.integers(0, (1 << 62)), max_size=5))
def test_arrays_are_hashed_as_integers_are(seed: int, values: list[int]) -> None:
    assert mix_array(seed, np.array(values, np.int64)).tolist() == [mix(seed, value) for value in values]


def plain_bootstrap(values: list[list[float]], seed: int, resamples: int) -> tuple[float, float]:
    queries, orders = len(values), len(values[0])
    means = []
    for r in range(resamples):
        drawn = []
        for q in range(queries):
            row = values[mix(mix(seed, 0), r * queries + q) % queries]
            drawn += [row[mix(mix(seed, 1), (r * queries + q) * orders + o) % orders] for o in range(orders)]
        means.append(mean(drawn))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


@cases(20)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 99))
def test_intervals_are_those_of_plain_code(queries: int, orders: int, seed: int) -> None:
    values = np.array([[mix(seed, q, o) % 5 for o in range(orders)] for q in range(queries)], np.float64)
    found = bootstrap(values, seed=seed, resamples=40)
    low, high = plain_bootstrap(values.tolist(), seed, 40)
    expected = values.mean(), min(low, values.mean()), max(high, values.mean())
    assert (found.mean, found.low, found.high) == pytest.approx(expected)


def test_an_interval_holds_the_mean_as_often_as_it_says() -> None:
    """Of samples of 60 coins with a chance of 0.3, nineteen in twenty; and it narrows with the root of their number."""
    held = 0
    for trial in range(200):
        coins = np.array([[float(mix(trial, q) % 10 < 3)] for q in range(60)])
        one = bootstrap(coins, seed=trial, resamples=300)
        held += one.low <= 0.3 <= one.high
    assert 0.88 <= held / 200 <= 0.99
    wide, narrow = (bootstrap(np.array([[float(mix(5, q) % 2)] for q in range(n)]), seed=1) for n in (50, 800))
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(4, rel=0.25)


def test_orders_widen_an_interval_as_queries_do() -> None:
    """Where all the variation is between orders, it is of the orders that the interval tells."""
    values = np.tile([[0.0, 1.0, 0.0, 1.0]], (10, 1))
    one = bootstrap(values, seed=3)
    assert one.low == pytest.approx(0.5 - 1.96 * math.sqrt(0.25 / 40), abs=0.03)
    constant = bootstrap(np.full((7, 3), 0.1), seed=3)
    assert constant.low == pytest.approx(constant.high) and constant.low <= constant.mean <= constant.high


@given(st.integers(1, 40), st.integers(1, 9))
def test_windows_predict_each_token_once(count: int, n_ctx: int) -> None:
    ids = list(range(count))
    whole = list(windows(ids, -1, n_ctx))
    assert [token for _, predicted in whole for token in predicted] == ids
    for context, predicted in whole:
        first = predicted[0]
        assert context == [-1, *ids][first + 1 - len(context) : first + 1]  # what stands before
        assert len(context) + len(predicted) == min(count, n_ctx) + 1
    assert all(len(context) == 1 for context, _ in whole[:-1])


@given(st.integers(1, 12), st.floats(-2, 2), st.floats(0, 1))
def test_a_difference_of_few_queries_is_never_clear(queries: int, mean: float, half: float) -> None:
    interval = Interval(mean=mean, low=mean - half, high=mean + half)
    found = ShotsDifference(task="t", metric="m", shots=1, interval=interval, queries=queries)
    assert found.is_clear == (queries > 5 and (mean - half > 0 or mean + half < 0))
