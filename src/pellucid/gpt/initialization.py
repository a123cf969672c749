"""Weight initialization: every number is a function of (seed, parameter name, index), so a shard can draw its own rows.

GPT-2's initialisation: N(0, 0.02), positions N(0, 0.01), biases 0, gains 1; null keys and values of compressed blocks 0 (a
choice). The two matrices of a block that write into the residual stream are scaled by 1 / sqrt(2L), so that the stream's
variance does not grow with depth (GPT-2 paper, section 2.3: 1 / sqrt(N) for N residual layers).

The generator is counter-based: SplitMix64 (Steele, Lea & Flood 2014) of a key, which is a SHA-256 of seed and name, plus a
counter. Each 64-bit word gives two uniform numbers of 32 bits, and each of these a normal one by the inverse of the normal
distribution function (Wichura 1988, algorithm AS 241, PPND7: accurate to 1e-7). That is computed in float64 with additions,
multiplications, divisions and square roots only, whose rounding IEEE 754 fixes, and then rounded to float32: the bits are the
same on every machine, whatever its mathematics library.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from pellucid.gpt.config import GPTConfig


STD, POSITION_STD = 0.02, 0.01
CHUNK = 1 << 12  # 64-bit words computed at once: their buffers stay in the processor's cache
Floats = NDArray[np.float64]

# AS 241, PPND7: numerator and denominator in the centre and in the tails, the highest power first.
_CENTRE = (5.9109374720e1, 1.5929113202e2, 5.0434271938e1, 3.3871327179), (6.7187563600e1, 7.8757757664e1, 1.7895169469e1, 1.0)
_TAIL = (1.7023821103e-1, 1.3067284816, 2.7568153900, 1.4234372777), (1.2021132975e-1, 7.3700164250e-1, 1.0)
_SPLIT, _CENTRE_OFFSET, _TAIL_OFFSET = 0.425, 0.180625, 1.6
_LN2, _LN3_4 = 0.6931471805599453, -0.2876820724517809


def standard_deviation(config: GPTConfig, name: str) -> float | None:
    """The standard deviation of a parameter's first values; None for a parameter that begins as a constant."""
    if name.endswith("bias") or ".nothing_" in name or name.startswith("ln_f") or ".ln_" in name:
        return None
    if name == "wpe.weight":
        return POSITION_STD
    return STD / math.sqrt(2 * config.n_layers) if name.endswith("c_proj.weight") else STD


def initial_rows(
    config: GPTConfig, seed: int, name: str, shape: tuple[int, ...], start: int = 0, stop: int | None = None
) -> NDArray[np.float32]:
    """First values of the rows from `start` to `stop` - 1 of a parameter.

    Args:
        name: as `Decoder.named_parameters` has it. shape: of the whole parameter, as there.
        start, stop: rows; stop None means all that follow.

    Returns:
        (stop - start, ...) float32, equal to these rows of the whole parameter.
    """
    stop = shape[0] if stop is None else stop
    assert 0 <= start <= stop <= shape[0]
    std = standard_deviation(config, name)
    if std is None:
        constant = 0.0 if name.endswith("bias") or ".nothing_" in name else 1.0
        return np.full((stop - start, *shape[1:]), constant, np.float32)
    columns = math.prod(shape[1:])
    out = np.empty((stop - start) * columns, np.float32)
    fill_normal(out, seed, name, start * columns, std)
    return out.reshape(stop - start, *shape[1:])


def fill_normal(out: NDArray[np.float32], seed: int, name: str, first: int, std: float) -> None:
    """Fills `out` with normal numbers of this mean 0 and standard deviation, those of indices `first` and following."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "little")
    done = 0
    while done < len(out):
        word, skip = divmod(first + done, 2)  # number 2 i is the low half of word i
        count = min(2 * CHUNK, len(out) - done + skip)
        uniform = _words(key, word, -(-count // 2)).astype("<u8", copy=False).view("<u4")[skip:count]
        normal = _normal(uniform)
        normal *= std
        out[done : done + len(normal)] = normal
        done += len(normal)


def _words(key: int, first: int, count: int) -> NDArray[np.uint64]:
    """SplitMix64 of key + golden ratio * (first + 1), and so on."""
    golden = 0x9E3779B97F4A7C15
    z = np.arange(count, dtype=np.uint64)
    z *= np.uint64(golden)
    z += np.uint64((key + golden * (first + 1)) % 2**64)
    shifted = np.empty_like(z)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        np.right_shift(z, np.uint64(shift), out=shifted)
        z ^= shifted
        if factor != 1:
            z *= np.uint64(factor)
    return z


def _normal(uniform: NDArray[np.uint32]) -> Floats:
    """The quantiles of the standard normal distribution at (u + 0.5) / 2^32, for uint32 numbers u."""
    q = uniform.astype(np.float64)
    q -= 2.0**31 - 0.5
    q *= 2.0**-32  # p - 1/2, exactly
    r = q * q
    np.subtract(_CENTRE_OFFSET, r, out=r)
    out = _ratio(r, *_CENTRE)
    out *= q
    tails = np.flatnonzero(r < 0)  # |q| > 0.425
    q = q[tails]
    r = _log(0.5 - np.abs(q))  # of the smaller of p and 1 - p, exactly
    np.sqrt(np.negative(r, out=r), out=r)
    r -= _TAIL_OFFSET
    out[tails] = np.copysign(_ratio(r, *_TAIL), q)
    return out


def _ratio(x: Floats, numerator: tuple[float, ...], denominator: tuple[float, ...]) -> Floats:
    """A rational function, by Horner's rule."""
    values = []
    for coefficients in (numerator, denominator):
        value = x * coefficients[0]
        value += coefficients[1]
        for coefficient in coefficients[2:]:
            value *= x
            value += coefficient
        values.append(value)
    values[0] /= values[1]
    return values[0]


def _log(x: Floats) -> Floats:
    """The natural logarithm to 1e-12: mantissa and exponent, and 2 atanh(t) = log((1 + t) / (1 - t)) with |t| <= 1/7."""
    mantissa, exponent = np.frexp(x)
    t = (mantissa - 0.75) / (mantissa + 0.75)
    square = t * t
    series = np.full_like(t, 2 / 13)
    for power in (11, 9, 7, 5, 3, 1):
        series *= square
        series += 2 / power
    series *= t
    series += _LN3_4
    series += exponent * _LN2
    return series
