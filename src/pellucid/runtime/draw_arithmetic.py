"""The arithmetic of a draw: exp, log, sums and the inverse distribution function, to the same bits everywhere.

They are defined in float64 by sums, products and quotients that round once each (IEEE 754), so NumPy, C (`kernel/draw.c`,
where the kernel is compiled), a page's WebAssembly and its JavaScript give the same log-probabilities and draw the same tokens.
NumPy's own `exp` differs between processors, and with it the last bits of a log-probability.

Exponents are differences to the largest number, so they are 0 or less: `exp` takes no others. V vocabulary.
"""

import math
from ctypes import CDLL
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pellucid.native.errors import Unavailable
from pellucid.runtime.kernel import library


_LOG2_E = float.fromhex("0x1.71547652b82fep+0")
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fefa3800p-1"), float.fromhex("0x1.ef35793c76730p-45")
_ROUNDING = float.fromhex("0x1.8p+52")
_LEAST = -708.0
_SQRT_2 = float.fromhex("0x1.6a09e667f3bcdp+0")
_TAYLOR = tuple(1 / math.factorial(degree) for degree in range(13, -1, -1))
_LANES = 16
_CHUNK = 4096  # numbers that NumPy works on at a time: they stay in the first-level cache

Doubles = NDArray[np.float64]


@cache
def _compiled() -> CDLL | None:
    """The kernel, where it is there. It is not compiled for this: NumPy takes a fraction of a millisecond longer."""
    if library.KERNEL.would_compile():
        return None
    try:
        return library.kernel()
    except Unavailable:
        return None


def exp(x: Doubles) -> Doubles:
    """e^x of (N,) numbers <= 0, none NaN; 0 below -708. Off by at most 1.1 units in the last place."""
    if (compiled := _compiled()) is None:
        return exp_numpy(x)
    powers = x.copy()
    compiled.pellucid_exp(powers.ctypes.data, powers.size)
    return powers


def log(x: float) -> float:
    """ln x of a finite number >= 1."""
    e, m = math.frexp(x)[1] - 1, math.frexp(x)[0] * 2
    if m > _SQRT_2:
        m, e = m * 0.5, e + 1
    s = (m - 1) / (m + 1)
    z = s * s
    p = 1 / 23
    for i in range(21, 2, -2):
        p = p * z + 1 / i
    return e * _LN2_HIGH + (2 * s + (2 * s * z * p + e * _LN2_LOW))


def total(x: Doubles) -> float:
    """The sum of (N,) numbers, in sixteen lanes."""
    return total_numpy(x) if (compiled := _compiled()) is None else float(compiled.pellucid_sum(_address(x), len(x)))


def weights(logits: NDArray[np.float32]) -> tuple[Doubles, float]:
    """(V,) logits' probabilities as multiples of the largest, and their sum; a sum of NaN if they are not finite."""
    if (compiled := _compiled()) is None:
        return weights_numpy(logits)
    logits = np.ascontiguousarray(logits)
    powers = np.empty(len(logits))
    return powers, float(compiled.pellucid_weights(logits.ctypes.data, len(logits), powers.ctypes.data))


def inverse_cdf(shares: Doubles, u: float) -> int:
    """The index of the one that u in [0, 1) points at, where all lie side by side: the first whose end is beyond u times all.

    Ends are sums one after the other.
    """
    if (compiled := _compiled()) is None:
        return inverse_cdf_numpy(shares, u)
    return int(compiled.pellucid_inverse_cdf(_address(shares), len(shares), u))


def _address(x: Doubles) -> int:
    assert x.dtype == np.float64 and x.flags.c_contiguous
    return x.ctypes.data


def exp_numpy(x: Doubles) -> Doubles:
    """`exp` by its definition."""
    powers = np.empty_like(x)
    for first in range(0, len(x), _CHUNK):
        _exp_into(x[first : first + _CHUNK], powers[first : first + _CHUNK])
    return powers


def _exp_into(x: Doubles, powers: Doubles) -> None:
    r = np.maximum(x, _LEAST)
    shifted = r * _LOG2_E
    shifted += _ROUNDING  # k is in its lowest bits
    k = shifted - _ROUNDING
    product = k * _LN2_HIGH
    r -= product
    np.multiply(k, _LN2_LOW, out=product)
    r -= product
    np.multiply(r, _TAYLOR[0], out=powers)
    powers += _TAYLOR[1]
    for coefficient in _TAYLOR[2:]:
        powers *= r
        powers += coefficient
    exponents = shifted.view(np.uint64)
    exponents <<= np.uint64(52)
    bits = powers.view(np.uint64)
    bits += exponents
    powers[x < _LEAST] = 0


def total_numpy(x: Doubles) -> float:
    """`total` by its definition."""
    padded = np.zeros(-(-len(x) // _LANES) * _LANES)
    padded[: len(x)] = x
    lanes = padded.reshape(-1, _LANES).cumsum(0)[-1]
    half = _LANES
    while half := half // 2:
        lanes = lanes[:half] + lanes[half : 2 * half]
    return float(lanes[0])


def weights_numpy(logits: NDArray[np.float32]) -> tuple[Doubles, float]:
    """`weights` by its definition."""
    largest = logits.max()  # of numbers of which one is NaN it is NaN
    if not np.isfinite(largest):
        return np.full(len(logits), np.nan), math.nan
    powers = exp_numpy(logits.astype(np.float64) - np.float64(largest))
    return powers, total_numpy(powers)


def inverse_cdf_numpy(shares: Doubles, u: float) -> int:
    """`inverse_cdf` by its definition."""
    ends = shares.cumsum()
    return min(int(np.searchsorted(ends, u * ends[-1], side="right")), len(shares) - 1)
