"""Attention weights as a record stores them: lower triangles of float16 numbers, each row rounded to a step of its own.

R rows, T positions. A row holds the weights of one query on all keys; they are probabilities.

A row's step is the largest of 2^-8, 2^-9, ... 2^-24 with which rounding changes the row's sum by at most SUM_ERROR, and the
absolute errors of its weights add up to at most TOTAL_ERROR. A weight becomes the nearest multiple of the step, or the nearest
float16 number where those are further apart (from 2^11 steps on). With a coarse step most bits of a float16 number are zero,
which compresses; a row of many small weights takes a finer one. Measured against others in docs/record.md, "Attention".
"""

from typing import Literal

import numpy as np

from pellucid.errors import PellucidError
from pellucid.record.values import Array, StoredArray


TriangleDtype = Literal["float16", "float32"]

SUM_ERROR = 0.0098  # of a row; its sum is then 1 within 1 %, with room for the rounding of softmax and of the sum itself
TOTAL_ERROR = 0.15  # of a row: sum of |error|
_COARSEST, _FINEST = 8, 24  # steps 2^-8 to 2^-24, the smallest positive float16 number
_ROWS_AT_ONCE = 64  # half a megabyte at 2,048 positions
_MAX_STEPS = 2048.0  # a float16 number has 11 significant bits


def as_triangle(attention: Array, dtype: TriangleDtype = "float16") -> StoredArray:
    """Causal attention weights (..., T, T) as lower triangles, (..., T (T + 1) / 2).

    Args:
        dtype: "float16", rounded row by row (see the top of this file), or "float32", not rounded.

    Raises:
        PellucidError: not square, not causal (a weight above the diagonal is not 0), or not probabilities.
    """
    if attention.ndim < 2 or attention.shape[-1] != attention.shape[-2]:
        raise PellucidError(f"attention is square, query by key; got shape {attention.shape}")
    positions = attention.shape[-1]
    packed = np.zeros((*attention.shape[:-2], positions * (positions + 1) // 2), "<f4" if dtype == "float32" else "<f2")
    for head in np.ndindex(attention.shape[:-2]):
        for start in range(0, positions, _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, positions)
            weights = np.asarray(attention[head][start:stop], np.float32)
            lower = np.tri(stop - start, positions, start, dtype=bool)
            if np.any(weights[~lower]):
                raise PellucidError("attention is not causal: a weight above the diagonal is not 0")
            if not (weights.min() >= 0 and weights.max() <= 1 + 1e-5):  # "not" also catches NaN
                raise PellucidError("attention weights are probabilities, and one is outside the range 0 to 1")
            weights, lower = weights[:, :stop], lower[:, :stop]
            if dtype == "float16":
                weights = _rounded(weights, row_steps(weights).astype(np.float32)[:, None])
            packed[head][start * (start + 1) // 2 : stop * (stop + 1) // 2] = weights[lower]
    return StoredArray(packed, dtype, triangle=True)


def row_steps(rows: Array, noise: Array | None = None) -> Array:
    """(R,) the step of each row of (R, T) weights, a power of two.

    Args:
        noise: (R, T), 0 where a weight is 0. The result is then at least as coarse as the step of any rows within `noise`.
    """
    steps = np.empty(len(rows))
    for start in range(0, len(rows), _ROWS_AT_ONCE):  # in the processor's cache, and without the zeros above the diagonal
        some = rows[start : start + _ROWS_AT_ONCE]
        width = int(np.flatnonzero(some.any(0)).max(initial=-1)) + 1
        near = None if noise is None else noise[start : start + _ROWS_AT_ONCE, :width]
        steps[start : start + _ROWS_AT_ONCE] = _row_steps(some[:, :width], near)
    return steps


def _row_steps(rows: Array, noise: Array | None) -> Array:
    steps = np.full(len(rows), 2.0**-_FINEST)
    left = np.arange(len(rows))
    for bits in range(_COARSEST, _FINEST):
        if not len(left):
            break
        some, step = rows[left], rows.dtype.type(2.0**-bits)
        error = _rounded(some, step) - some
        sum_error = np.abs(error.sum(-1, dtype=np.float64))
        total_error = np.abs(error, out=error).sum(-1, dtype=np.float64)
        if noise is not None:
            total_noise = noise[left].sum(-1)
            total_error -= total_noise  # the distance to the nearest multiple changes by no more than the weight does
            sum_error -= total_noise
            close = np.flatnonzero((sum_error > SUM_ERROR) & (total_error <= TOTAL_ERROR))
            sum_error[close] -= _at_ties(some[close], float(step), noise[left[close]])
        fits = (sum_error <= SUM_ERROR) & (total_error <= TOTAL_ERROR)
        steps[left[fits]] = step
        left = left[~fits]
    return steps


def rounding_error(rows: Array, noise: Array) -> Array:
    """(R, T) the largest rounding error of stored weights that lie within `noise` of (R, T) `rows`; 0 where a weight is 0."""
    half = np.maximum(row_steps(rows, noise)[:, None], (rows + noise) / (_MAX_STEPS / 2)) / 2
    return np.where(rows == 0, 0.0, half)


def _rounded(rows: Array, step: Array) -> Array:
    """The weights as they are stored, in the dtype of `rows`; `step` broadcasts."""
    near = np.rint(rows / step) * step  # exact, but for the rounding: steps are powers of two
    large = rows >= _MAX_STEPS * step
    if large.any():
        near[large] = rows[large].astype(np.float16)
    return near


def _at_ties(rows: Array, step: float, noise: Array) -> Array:
    """(R,) by how much a row's rounded sum may change because weights within `noise` of half a step are rounded otherwise."""
    unit = np.maximum(step, np.spacing(rows.astype(np.float16)).astype(np.float64))
    place = rows / unit
    tied = np.abs(place - np.floor(place) - 0.5) * unit <= noise
    found: Array = (unit * tied).sum(-1)
    return found
