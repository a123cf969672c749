"""exp, log, sums and the inverse distribution function: near the exact values, the same bits in NumPy, C and WebAssembly."""

import math
from collections.abc import Iterator
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from cases import cases
from hypothesis import example, given
from hypothesis import strategies as some
from numpy.typing import NDArray
from wasm_modules import VARIANTS, Module

from pellucid.runtime import draw_arithmetic
from pellucid.runtime.kernel import library


Doubles = NDArray[np.float64]
EDGES = (0.0, -0.0, -708.0, math.nextafter(-708, -800), -math.inf, -5e-324, -1e308)
EXPONENTS = some.floats(-760, 0) | some.sampled_from(EDGES)
ULPS = 1.1  # as `exp` states it

NATIVE = library.unavailable_reason() is None


class Implementation:
    """One implementation's four functions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.module = Module(name) if name in VARIANTS else None

    def exp(self, x: Doubles) -> Doubles:
        if self.module:
            return self._in_memory("exp", x)[1]
        powers = x.copy()
        library.kernel(plain=self.name == "plain").pellucid_exp(powers.ctypes.data, len(powers))
        return powers

    def log(self, x: float) -> float:
        if self.module:
            return float(self.module.call("log", x))
        return float(library.kernel(plain=self.name == "plain").pellucid_log(x))

    def total(self, x: Doubles) -> float:
        if self.module:
            return float(self._in_memory("sum", x)[0])
        return float(library.kernel(plain=self.name == "plain").pellucid_sum(x.ctypes.data, len(x)))

    def weights(self, logits: NDArray[np.float32]) -> tuple[Doubles, float]:
        if self.module:
            place, powers = self.module.put(logits), self.module.room((len(logits),), np.float64)
            total = self.module.call("weights", place, len(logits), powers)
            found = self.module.get(powers, (len(logits),), np.float64)
            self.module.free(place, powers)
            return found, math.nan if total is None else float(total)
        powers = np.empty(len(logits))
        bound = library.kernel(plain=self.name == "plain")
        return powers, float(bound.pellucid_weights(logits.ctypes.data, len(logits), powers.ctypes.data))

    def inverse_cdf(self, x: Doubles, u: float) -> int:
        if self.module:
            return int(self._in_memory("inverse_cdf", x, u)[0])
        return int(library.kernel(plain=self.name == "plain").pellucid_inverse_cdf(x.ctypes.data, len(x), u))

    def _in_memory(self, name: str, x: Doubles, *more: float) -> tuple[Any, Doubles]:
        assert self.module is not None
        place = self.module.put(x)
        result = self.module.call(name, place, len(x), *more)
        found = self.module.get(place, x.shape, np.float64)
        self.module.free(place)
        return result, found


@pytest.fixture(scope="module")
def implementations() -> Iterator[list[Implementation]]:
    made = [Implementation(name) for name in (*(("native", "plain") if NATIVE else ()), *VARIANTS)]
    yield made
    for one in made:
        if one.module:
            one.module.close()


@cases(60)
@given(
    some.lists(EXPONENTS, min_size=1, max_size=40), some.floats(1, 1e9) | some.floats(1, 2), some.floats(0, 1, exclude_max=True)
)
@example([-0.0], 1.0, 0.0)
@example([0.0, -math.inf, -math.inf], math.sqrt(2), math.nextafter(1, 0))
def test_all_give_the_same_bits(implementations: list[Implementation], exponents: list[float], x: float, u: float) -> None:
    values = np.array(exponents)
    with np.errstate(over="ignore"):
        logits = values.astype(np.float32)
    powers = draw_arithmetic.exp_numpy(values)
    shares, total = draw_arithmetic.weights_numpy(logits)
    assert np.array_equal(draw_arithmetic.exp(values), powers)
    for one in implementations:
        assert np.array_equal(one.exp(values), powers), one.name
        assert one.log(x) == draw_arithmetic.log(x), one.name
        assert one.total(powers) == draw_arithmetic.total_numpy(powers) == draw_arithmetic.total(powers), one.name
        found, of_all = one.weights(logits)
        if math.isnan(total):
            assert math.isnan(of_all)
            continue
        assert of_all == total and np.array_equal(found, shares), one.name
        assert one.inverse_cdf(shares, u) == draw_arithmetic.inverse_cdf_numpy(shares, u), one.name


def test_a_large_vocabulary_too(implementations: list[Implementation]) -> None:
    logits = (np.random.default_rng(3).standard_normal(50_257) * 4).astype(np.float32)
    shares, total = draw_arithmetic.weights_numpy(logits)
    for one in implementations:
        found, of_all = one.weights(logits)
        assert of_all == total and np.array_equal(found, shares), one.name
        for u in (0.0, 0.3, 0.999, math.nextafter(1, 0)):
            assert one.inverse_cdf(shares, u) == draw_arithmetic.inverse_cdf_numpy(shares, u), one.name


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_have_no_sum(implementations: list[Implementation], bad: float) -> None:
    logits = np.full(40, bad, np.float32)
    for one in implementations:
        assert math.isnan(one.weights(logits)[1])
        if math.isnan(bad):  # one of many, wherever
            for place in (0, 17, 39):
                some_logits = np.zeros(40, np.float32)
                some_logits[place] = bad
                assert math.isnan(one.weights(some_logits)[1])
    assert math.isnan(draw_arithmetic.weights_numpy(logits)[1])


@cases(100)
@given(some.floats(-708, 0), some.floats(1, 1e12) | some.floats(1, 1.01))
def test_they_are_near_the_exact_values(x: float, y: float) -> None:
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(x).exp()
        found = float(draw_arithmetic.exp_numpy(np.array([x]))[0])
        assert abs(Decimal(found) - exact) <= Decimal(ULPS * math.ulp(found))
        logarithm = draw_arithmetic.log(y)
        assert abs(Decimal(logarithm) - Decimal(y).ln()) <= Decimal(2 * math.ulp(logarithm))


def test_the_sums_lanes_are_what_they_are_said_to_be() -> None:
    x = np.random.default_rng(1).random(1000)
    lanes = [0.0] * 16
    for i, value in enumerate(x.tolist()):
        lanes[i % 16] += value
    for half in (8, 4, 2, 1):
        lanes = [lanes[j] + lanes[j + half] for j in range(half)]
    assert draw_arithmetic.total(x) == draw_arithmetic.total_numpy(x) == lanes[0]
