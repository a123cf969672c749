"""The stored forms of arrays: their own dtype, bfloat16, uint8 steps of a range, a lower triangle (written by `triangle`).

Precision lost: bfloat16 keeps 8 significant bits (relative error at most 2^-8), uint8 steps err by at most
half a step, (hi - lo) / 510, plus the float32 rounding of the value that is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import PellucidError
from pellucid.record.encoding import NUMBERS


Array = NDArray[Any]
_STEPS = 255


@dataclass(frozen=True, slots=True, eq=False)
class StoredArray:
    """An array as a chunk stores it.

    Attributes:
        array: little-endian, row-major; for bfloat16 its bits as uint16.
        dtype: as `encoding.NUMBERS` names it.
        scale: (lo, hi) if the uint8 codes stand for lo + code * (hi - lo) / 255.
        triangle: the last axis holds the lower triangle of a square matrix, row by row, the diagonal included.
    """

    array: Array
    dtype: str
    scale: tuple[float, float] | None = None
    triangle: bool = False


def as_is(array: Array) -> StoredArray:
    """An array in its own dtype.

    Raises:
        PellucidError: a dtype that records do not have (bool, complex, uint64, objects).
    """
    little = np.dtype(array.dtype).newbyteorder("<")
    for name, dtype in NUMBERS.items():
        if name != "bfloat16" and dtype == little:
            return StoredArray(np.asarray(array, dtype=dtype, order="C"), name)
    raise PellucidError(f"a record cannot hold {array.dtype} numbers: convert them to one of {', '.join(NUMBERS)}")


def as_bfloat16(array: Array) -> StoredArray:
    """float32 or float16 numbers rounded to bfloat16: to the nearest, of two equally near to the even one; NaN stays NaN.

    Raises:
        PellucidError: other dtypes. (float64 would be rounded twice.)
    """
    if array.dtype not in (np.float32, np.float16):
        raise PellucidError(f"only float32 and float16 can be stored as bfloat16, not {array.dtype}: convert it first")
    bits = np.asarray(array, dtype="<f4", order="C").view("<u4")
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16  # 0x7FFF below a half; one more if the kept part is odd
    quiet = (bits >> 16) | 0x40  # rounding could carry a NaN into infinity
    is_nan = (bits & 0x7FFFFFFF) > 0x7F800000
    return StoredArray(np.where(is_nan, quiet, rounded).astype("<u2"), "bfloat16")


def bfloat16_bits(bits: Array) -> StoredArray:
    """Numbers that are bfloat16 already, as their bits: `tensor.view(torch.uint16).numpy()`."""
    assert bits.dtype == np.uint16, bits.dtype
    return StoredArray(np.asarray(bits, dtype="<u2", order="C"), "bfloat16")


def as_uint8(array: Array, lo: float | None = None, hi: float | None = None) -> StoredArray:
    """Numbers in 256 equal steps from lo to hi (default: their own least and greatest).

    Raises:
        PellucidError: a number that is not finite, or more than half a step outside the range: nothing is clamped.
    """
    plain = np.asarray(array, dtype=np.float64)
    low = float(plain.min(initial=np.inf) if lo is None else lo)
    high = float(plain.max(initial=-np.inf) if hi is None else hi)
    if not plain.size:
        low, high = (0.0 if lo is None else low), (0.0 if hi is None else high)
    if not (isfinite(low) and isfinite(high) and isfinite(high - low)):
        raise PellucidError("numbers that are not finite cannot be stored as uint8 steps: store them as float32 or bfloat16")
    if high < low:
        raise PellucidError(f"the range of uint8 steps goes from lo to hi, and hi is less: {low} to {high}")
    step = (high - low) / _STEPS
    codes = np.rint((plain - low) / (step or 1.0))
    if codes.size and not (codes.min() >= 0 and codes.max() <= (_STEPS if step else 0)):  # "not" also catches NaN
        raise PellucidError(f"a number lies outside the range {low} to {high}: widen it, or store float32 or bfloat16")
    return StoredArray(codes.astype(np.uint8), "uint8", (low, high))


def values(stored: StoredArray) -> Array:
    """The array that a stored one stands for: bfloat16 and uint8 steps as float32, a triangle as a square with zeros above.

    A triangle of float16 numbers is float32 as well: sums of its rows in float16 would not be exact.
    """
    array = stored.array
    if stored.dtype == "bfloat16":
        array = (array.astype("<u4") << 16).view("<f4")
    table = None
    if stored.scale is not None:
        lo, hi = stored.scale
        with np.errstate(over="ignore", invalid="ignore"):  # a file may state a range that no float32 holds
            table = (lo + np.arange(_STEPS + 1) * ((hi - lo) / _STEPS)).astype(np.float32)
    if stored.triangle:  # row by row: an index of each number would take many times the memory of the square
        side = triangle_side(array.shape)
        dtype = array.dtype if table is None and stored.dtype != "float16" else np.float32
        square = np.zeros((*array.shape[:-1], side, side), dtype)
        for row in range(side):
            numbers = array[..., row * (row + 1) // 2 : (row + 1) * (row + 2) // 2]
            square[..., row, : row + 1] = numbers if table is None else table[numbers]
        array = square
    elif table is not None:
        array = table[array]
    return np.asarray(array, dtype=array.dtype.newbyteorder("="))


def triangle_side(shape: Sequence[int]) -> int:
    """T, for packed triangles of T (T + 1) / 2 numbers in the last axis.

    Raises:
        ValueError: no triangle has so many numbers.
    """
    numbers = shape[-1] if shape else 0
    side = (isqrt(8 * numbers + 1) - 1) // 2
    if not shape or side * (side + 1) // 2 != numbers:
        raise ValueError(f"{numbers} numbers do not fill a triangle")
    return side
