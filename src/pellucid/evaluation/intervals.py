"""Bootstrap intervals over queries and over orders of examples. No torch here.

Q queries, O orders of examples, R resamples.

A resample draws Q queries with replacement and, for each query drawn, O of its orders with replacement; its mean is one value,
and the interval holds the middle 95 % of R such values (Efron and Tibshirani 1993, chapter 13: percentiles; two stages as in
Davison and Hinkley 1997, section 3.8, whose intervals are a little wide rather than narrow). A draw is a hash of
(seed, resample, place): the same numbers give the same interval on every machine.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.hashing import mix, mix_array


RESAMPLES = 2_000
LEVEL = 0.95
_AT_ONCE = 1 << 22  # values drawn at a time, which limits memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and the interval around it, low <= high."""

    mean: float
    low: float
    high: float


def bootstrap(values: NDArray[np.float64], *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """The mean of (Q, O) values and its interval.

    Args:
        seed: of the draws.
    """
    step = max(1, _AT_ONCE // values.size)
    means = [
        _resampled(values, first, min(first + step, resamples), seed).mean(axis=(1, 2)) for first in range(0, resamples, step)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = float(values.mean())
    # Where all values are equal, a resample's mean may still differ from `mean` by rounding: keep low <= mean <= high.
    return Interval(mean=mean, low=min(float(low), mean), high=max(float(high), mean))


def _resampled(values: NDArray[np.float64], first: int, last: int, seed: int) -> NDArray[np.float64]:
    """(resamples, Q, O) values, of resamples `first` to `last` - 1."""
    queries, orders = values.shape
    rows = _drawn(first * queries, last * queries, queries, mix(seed, 0)).reshape(-1, queries, 1)
    columns = _drawn(first * values.size, last * values.size, orders, mix(seed, 1)).reshape(-1, queries, orders)
    drawn: NDArray[np.float64] = values[rows, columns]
    return drawn


def _drawn(first: int, last: int, n: int, key: int) -> NDArray[np.int64]:
    """Draws `first` to `last` - 1 of a sequence of integers, uniform below n."""
    drawn: NDArray[np.uint64] = mix_array(key, np.arange(first, last, dtype=np.int64)) % np.uint64(n)
    return drawn.astype(np.int64)
