"""From logits to a token: the hash, the draw, its oracle and its statistics."""

import math

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import example, given
from hypothesis import strategies as st

from pellucid.engine.options import SamplingOptions, fresh_seed
from pellucid.engine.sampling import candidates, draw, largest, log_softmax, uniform
from pellucid.errors import PellucidError
from pellucid.hashing import mix


# The chance that a right implementation would have failed a statistical test below, had its seeds not been fixed.
FALSE_ALARM = 1e-4
PINNED = [0.059537448432144924, 0.9386090038521101]


def floats(logits: object) -> np.ndarray:
    """Logits as a model gives them."""
    return np.array(logits, np.float32)


def own_logprobs(logits: list[float]) -> list[float]:
    """The oracle of log-probabilities: PyTorch's, in float64."""
    return torch.tensor(logits, dtype=torch.float32).double().log_softmax(-1).tolist()


def chi_square_p(counts: list[int], expected: list[float]) -> float:
    """The probability of a chi-square statistic at least this large, if `expected` is true."""
    assert min(expected) >= 5
    statistic = sum((c - e) ** 2 / e for c, e in zip(counts, expected, strict=True))
    freedom = torch.tensor((len(counts) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, torch.tensor(statistic / 2, dtype=torch.float64)))


def distributions(
    logits: list[float], temperature: float, top_k: int | None, top_p: float | None, slack: float = 0.0
) -> list[list[float]]:
    """The oracle, in plain Python: probabilities by id after temperature, top-k and top-p.

    One distribution; with `slack` one for every cut that a share within it of top_p makes.
    """
    best = max(logits)
    weights = [math.exp((x - best) / temperature) for x in logits]
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[: top_k or len(logits)]
    counts = [len(order)]
    if top_p is not None and top_p < 1:
        total = math.fsum(weights[i] for i in order)
        before = [math.fsum(weights[i] for i in order[:count]) / total for count in range(len(order) + 1)]
        # The fewest whose share reaches top_p: with one less it is not reached yet.
        counts = [n for n in range(1, len(order) + 1) if before[n - 1] < top_p + slack and before[n] >= top_p - slack]
    found = []
    for count in counts:
        kept = set(order[:count])
        total = math.fsum(weights[i] for i in kept)
        found.append([weights[i] / total if i in kept else 0.0 for i in range(len(logits))])
    return found


def distribution(logits: list[float], temperature: float, top_k: int | None, top_p: float | None) -> list[float]:
    """The one and exact distribution."""
    (found,) = distributions(logits, temperature, top_k, top_p)
    return found


def drawn(probabilities: list[float], u: float, slack: float) -> set[int]:
    """The oracle's draw: ids whose part of [0, 1) holds u, or comes within `slack` of it."""
    ends = [math.fsum(probabilities[: i + 1]) for i in range(len(probabilities))]
    return {
        i
        for i, (p, end) in enumerate(zip(probabilities, ends, strict=True))
        if p > 0 and end - p - slack <= u < end + slack
    }


def test_uniform_is_the_hash_that_its_docstring_describes():
    # splitmix64 started at 0 gives this as its first output (its published test vector): one round of the hash.
    assert mix(0) == 0xE220A8397B1DCDAF
    assert uniform(3, 1, 4) == (mix(3, 1, 4) >> 11) / 2**53
    # Pinned: an answer must stay the same from version to version.
    assert [uniform(1, 0, 5), uniform(-1, 2, 3)] == PINNED


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**20), st.integers(0, 2**20))
def test_uniform_lies_in_its_interval(seed, sample, position):
    assert 0.0 <= uniform(seed, sample, position) < 1.0


@pytest.mark.parametrize("axis", ["seed", "sample", "position"])
def test_uniform_is_uniform_and_uncorrelated_along_every_axis(axis):
    count, bins = 16_000, 40
    values = [uniform(**({"seed": 7, "sample": 0, "position": 3} | {axis: i})) for i in range(count)]
    counts = [0] * bins
    pairs = [0] * 64
    for value, following in zip(values, values[1:] + values[:1], strict=True):
        counts[int(value * bins)] += 1
        pairs[int(value * 8) * 8 + int(following * 8)] += 1
    assert chi_square_p(counts, [count / bins] * bins) > FALSE_ALARM
    assert chi_square_p(pairs, [count / 64] * 64) > FALSE_ALARM


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, None, None), (0.5, None, None), (1.7, 6, None), (1.0, None, 0.8), (1.3, 8, 0.9)],
)
def test_draws_follow_the_distribution(temperature, top_k, top_p):
    logits = ((np.arange(12) % 5) / 2 + np.linspace(0, 1, 12)).astype(np.float32)
    options = SamplingOptions(temperature=temperature, top_k=top_k, top_p=top_p, seed=0)
    probabilities = distribution(logits.tolist(), temperature, top_k, top_p)
    count = 4000
    counts = [0] * len(logits)
    for seed in range(count):
        counts[draw(logits, options, uniform(seed, 0, 9)).id] += 1
    possible = [i for i, p in enumerate(probabilities) if p > 0]
    assert sum(counts[i] for i in possible) == count
    assert chi_square_p([counts[i] for i in possible], [count * probabilities[i] for i in possible]) > FALSE_ALARM


SLACK = 1e-12
# Logits on a coarse grid, so that equals are common.
LOGITS = st.lists(st.integers(-8, 8).map(lambda x: x / 2), min_size=1, max_size=30)


@cases(300)
@given(
    LOGITS,
    st.sampled_from([0.3, 1.0, 2.0]),
    st.none() | st.integers(1, 40),
    st.none() | st.floats(0.01, 1.0),
    st.floats(0, 1, exclude_max=True),
)
@example([2.5, -4.0], 0.3, None, None, math.nextafter(1, 0) - 2**-53)  # a token of 4e-10 at the very end
def test_draw_agrees_with_plain_python(logits, temperature, top_k, top_p, u):
    # Both take sums of 30 float64 numbers, in orders of their own: rounding may decide within SLACK of a border, be it of the
    # nucleus or of two tokens. Whatever lies there is right, and nothing else.
    right = set().union(*(drawn(p, u, SLACK) for p in distributions(logits, temperature, top_k, top_p, SLACK)))
    options = SamplingOptions(temperature=temperature, top_k=top_k, top_p=top_p, seed=0)
    chosen = draw(floats(logits), options, u)
    assert chosen.id in right
    assert chosen.logprob == pytest.approx(own_logprobs(logits)[chosen.id], abs=2**-50, rel=2**-24)


def test_top_p_beyond_the_first_sorted_tokens_sorts_everything():
    logits = np.linspace(1, 0, 2000, dtype=np.float32)
    probabilities = distribution(logits.tolist(), 1.0, None, 0.9)
    kept = sum(p > 0 for p in probabilities)
    assert 256 < kept < 2000
    options = SamplingOptions(top_p=0.9, seed=0)
    assert draw(logits, options, math.nextafter(1, 0)).id == kept - 1


def test_of_equals_the_lower_ids_stay():
    logits = floats([0.0, 3.0, 3.0, 3.0, 1.0])
    last, first = math.nextafter(1, 0), 0.0
    assert draw(logits, SamplingOptions(temperature=0, seed=0), last).id == 1
    assert draw(logits, SamplingOptions(top_k=2, seed=0), last).id == 2
    assert draw(logits, SamplingOptions(top_k=1, seed=0), last).id == 1
    assert draw(logits, SamplingOptions(top_p=0.5, seed=0), last).id == 2
    assert draw(logits, SamplingOptions(top_p=1e-9, seed=0), first).id == 1
    top = draw(logits, SamplingOptions(logprobs=4, seed=0), first).top_logprobs
    assert [i for i, _ in top] == [1, 2, 3, 4]


@given(LOGITS, st.floats(0, 1, exclude_max=True))
@cases(50)
def test_options_that_cut_nothing_change_nothing(logits, u):
    plain = draw(floats(logits), SamplingOptions(seed=0), u)
    assert plain == draw(floats(logits), SamplingOptions(seed=0, top_k=len(logits), top_p=1.0), u)
    assert plain == draw(floats(logits), SamplingOptions(seed=0, top_k=10**9), u)


def test_logprobs_are_the_models_own_whatever_is_cut():
    logits = floats([1.0, 2.0, 0.5, -1.0])
    own = log_softmax(logits)
    assert own.tolist() == pytest.approx(own_logprobs(logits.tolist()), rel=2**-24)
    result = draw(logits, SamplingOptions(temperature=0.1, top_k=1, top_p=0.3, logprobs=4, seed=0), 0.5)
    assert (result.id, result.logprob) == (1, float(own[1]))
    assert result.top_logprobs == tuple((i, float(own[i])) for i in (1, 0, 2, 3))
    assert draw(logits, SamplingOptions(logprobs=0, seed=0), 0.5).top_logprobs == ()
    assert draw(logits, SamplingOptions(seed=0), 0.5).top_logprobs is None


def test_extreme_temperatures_and_logits_do_not_overflow():
    logits = floats([3e4, 3e4 - 1, -3e4])
    assert draw(logits, SamplingOptions(temperature=1e-300, seed=0), math.nextafter(1, 0)).id == 0
    assert draw(logits, SamplingOptions(temperature=1e300, seed=0), math.nextafter(1, 0)).id == 2
    # u = 0 must not point at a token whose probability has become 0.
    assert draw(logits[::-1], SamplingOptions(seed=0), 0.0).id == 1


def many(seed: int, scale: float, count: int = 9000) -> np.ndarray:
    """More logits than are sorted at once."""
    return (np.random.default_rng(seed).standard_normal(count) * scale).astype(np.float32)


@cases(150)
@given(
    st.integers(0, 99), st.sampled_from([0.01, 1.0, 4.0, 30.0]), st.sampled_from([1e-3, 0.7, 1.0, 1.3, 20.0]),
    st.floats(0, 1, exclude_max=True), st.none() | st.sampled_from([-3, -2, -1, 1, 2, 3]),
)  # fmt: skip
def test_what_is_drawn_of_many_tokens_is_what_the_definition_says(seed, scale, temperature, u, off):
    logits = many(seed, scale)
    scaled = (logits.astype(np.float64) - logits.max()) / temperature
    ends = np.where(scaled < -708, 0, np.exp(scaled)).cumsum()  # no weight is subnormal
    if off is not None:  # beside a border of two tokens, nearer than float32 could tell
        u = float(min(max(0.0, ends[int(u * len(ends))] / ends[-1] + off * 1e-9), math.nextafter(1, 0)))
    right = int(np.searchsorted(ends, u * ends[-1], side="right"))
    assert draw(logits, SamplingOptions(temperature=temperature, seed=0), u).id == right
    float64 = SamplingOptions(temperature=temperature, seed=0, logit_bias=((3, 0.0),))  # what a bias makes of the logits
    assert draw(logits, float64, u).id == right


@pytest.mark.parametrize("scale", [0.01, 1.0, 6.0])
@pytest.mark.parametrize("cut", [{"top_p": 0.2}, {"top_p": 0.95}, {"top_p": 0.9999}, {"min_p": 0.03}, {"min_p": 1.0}], ids=str)
def test_cuts_of_many_tokens_are_the_plain_ones(scale, cut):
    logits = many(5, scale)
    logits[7000] = logits.max()  # equals
    options = SamplingOptions(temperature=0.8, seed=0, **cut)
    weights = [math.exp((x - float(logits.max())) / 0.8) for x in logits.tolist()]
    order = sorted(range(len(weights)), key=lambda i: (-logits[i], i))
    if options.top_p:
        total, reached, count = math.fsum(weights), 0.0, 0
        while reached < options.top_p * total:
            reached += weights[order[count]]
            count += 1
        order = order[:count]
    order = [i for i in order if weights[i] >= (options.min_p or 0.0)]
    kept, left = candidates(logits, options)
    assert kept.tolist() == sorted(order)
    assert left.tolist() == pytest.approx([weights[i] for i in sorted(order)], rel=1e-14)


@given(st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=40), st.integers(0, 40))
def test_largest_is_a_stable_sort(values, count):
    right = sorted(range(len(values)), key=lambda i: (-values[i], i))[:count]
    assert largest(np.array(values), min(count, len(values))).tolist() == right


def test_log_softmax_is_each_row_alone():
    logits = np.stack([many(seed, 3.0) for seed in range(3)]).reshape(3, 1, -1)
    found = log_softmax(logits)
    right = torch.from_numpy(logits).double().log_softmax(-1).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, right, rtol=2**-24)
    assert found[1, 0, 77] == draw(logits[1, 0], SamplingOptions(temperature=0, logit_bias=((77, 100.0),), seed=0), 0.0).logprob


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_refused(bad):
    with pytest.raises(PellucidError, match="not a number"):
        draw(floats([0.0, bad, 1.0]), SamplingOptions(seed=0), 0.5)
    with pytest.raises(PellucidError, match="not a number"):
        log_softmax(floats([[0.0, 1.0], [bad, 1.0]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature must be 0"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_k": 0}, "top_k must be a whole number, 1 or more, not 0"),
        ({"top_k": 2.5}, "top_k"),
        ({"top_p": 0.0}, "top_p must be more than 0 and at most 1"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_p": math.nan}, "top_p"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"logprobs": -1}, "logprobs"),
        ({"stop": ("",)}, "a stop string must be text, and not empty"),
        ({"stop": (3,)}, "stop string"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(PellucidError, match=message):
        SamplingOptions(**options)


def test_one_stop_string_is_one_stop_string():
    assert SamplingOptions(stop=" the", seed=0) == SamplingOptions(stop=(" the",), seed=0)


def test_a_seed_that_is_not_given_is_fresh():
    assert len({SamplingOptions().seed for _ in range(8)} | {fresh_seed()}) > 5
