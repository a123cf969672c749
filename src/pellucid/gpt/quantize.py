"""Quantized matrices: int8 or int4 codes in groups of 32 that share one float16 scale.

    int8    the number is scale * q, -127 <= q <= 127; 8.5 bits a weight
    int4    the number is scale * q,   -8 <= q <= 7;   4.5 bits a weight

A group is 32 input features of one output: the numbers that a product sums. A row whose length is no multiple of 32 is padded
with zeros. These are GGUF's Q8_0 and Q4_0, number for number.

int8: the scale is the group's largest magnitude / 127. int4: ggml takes the number of largest magnitude / -8, sign included,
so that this one is met and the other sign has seven steps. Here a few other scales are tried, too, and the one with the
least squared error is kept (`search`). That is as good at 4.5 bits as a minimum beside each scale is at 5 (docs/generating.md).

N rows (outputs), K columns (inputs), G groups of a row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import PellucidError
from pellucid.numpy_defaults import numpy_defaults


Array = NDArray[Any]
GROUP = 32
BITS = {"int8": 8.5, "int4": 4.5}  # of a weight, its share of the scale included
_MIN, _MAX = {"int8": -127, "int4": -8}, {"int8": 127, "int4": 7}
# What the number of largest magnitude is to become, one after the other: ggml's own -8; 7; and more than there is room for,
# which costs that number and serves the others. It becomes no less than 7, so that what was quantized before is met exactly.
_PEAK_TARGETS = (-8.0, 7.0, -8.7)
_GROUPS_AT_ONCE = 1 << 15  # groups handled at a time: 4 MB of float32


@dataclass(frozen=True, slots=True)
class QuantizedMatrix:
    """A matrix quantized in groups.

    Attributes:
        kind: "int8" or "int4".
        codes: (N, G * 32) int8 numbers, those of int4 from -8 to 7.
        scale: (N, G) float16.
        columns: K; the codes of a row beyond it are padding.
    """

    kind: str
    codes: NDArray[np.int8]
    scale: NDArray[np.float16]
    columns: int

    def dequantize(self) -> NDArray[np.float32]:
        """Dequantizes: (N, K) float32, exactly (a code and a float16 have 18 bits together, a float32 has 24)."""
        rows, width = self.codes.shape
        numbers = np.empty((rows, width // GROUP, GROUP), np.float32)
        np.multiply(self.codes.reshape(numbers.shape), self.scale.astype(np.float32)[..., None], out=numbers)
        return np.ascontiguousarray(numbers.reshape(rows, width)[:, : self.columns])


def is_quantized(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter of that name is quantized: every matrix of a product, not the position embeddings.

    The token matrix is one of them: it gives the logits, and is a third of GPT-2's weights.
    """
    return len(shape) == 2 and name.endswith(".weight") and name != "wpe.weight"


@numpy_defaults()
def quantize(matrix: Array, kind: str, *, search: bool = True) -> QuantizedMatrix:
    """Quantizes (N, K) numbers in groups along K.

    Args:
        kind: "int8" or "int4".
        search: int4 only: False takes ggml's scale, as `ggml` writes Q4_0.

    Raises:
        PellucidError: an unknown kind, a number that is not finite, or one too large for a float16 scale.
    """
    rows, columns = matrix.shape
    groups = -(-columns // GROUP)
    codes = np.zeros((rows, groups, GROUP), np.int8)
    scale = np.zeros((rows, groups), np.float16)
    for chunk in _slices(rows, groups):
        whole = np.zeros((len(matrix[chunk]), groups * GROUP), np.float32)
        whole[:, :columns] = matrix[chunk]
        new_scale, new_codes = quantize_groups(whole.reshape(-1, GROUP), kind, search=search)
        scale[chunk], codes[chunk] = new_scale.reshape(-1, groups), new_codes.reshape(-1, groups, GROUP)
    return QuantizedMatrix(kind, codes.reshape(rows, groups * GROUP), scale, columns)


def quantize_groups(
    groups: NDArray[np.float32], kind: str, *, search: bool = True
) -> tuple[NDArray[np.float16], NDArray[np.int8]]:
    """(n, 32) numbers -> (n,) scales and (n, 32) codes. Arguments and errors as `quantize`."""
    if kind not in BITS:
        raise PellucidError(f"unknown kind of numbers {kind!r}: choose from {', '.join(BITS)}")
    if not np.isfinite(groups).all():
        raise PellucidError("a weight is not a finite number: it cannot be quantized")
    if kind == "int8":
        exact = np.abs(groups).max(axis=1) / np.float32(127)
        scale = _to_float16(exact)
        codes = _away_from_zero(groups * _inverse(exact)[:, None])
    else:
        scale, codes = _four_bits(groups, _PEAK_TARGETS if search else _PEAK_TARGETS[:1])
    codes[scale == 0] = 0  # numbers too small for any scale
    return scale, codes


def _four_bits(groups: NDArray[np.float32], targets: tuple[float, ...]) -> tuple[NDArray[np.float16], NDArray[np.int8]]:
    """ggml's scale, and of the others each that errs less than what was best before it."""
    peak = np.take_along_axis(groups, np.abs(groups).argmax(axis=1)[:, None], axis=1)[:, 0]
    exact = peak / np.float32(targets[0])
    scale, codes = _to_float16(exact), _nearest(groups, exact)
    if len(targets) == 1:
        return scale, codes
    error = _error(groups, scale, codes)
    for target in targets[1:]:
        tried = _nearest(groups, peak / np.float32(target))
        # Of all scales for these codes the one with the least squared error, then of all codes for that scale.
        dot, square = (np.einsum("ij,ij->i", tried, other, dtype=np.float32) for other in (groups, tried))
        fitted = _to_float16(np.divide(dot, square, out=np.zeros_like(dot), where=square > 0))
        tried = _nearest(groups, fitted.astype(np.float32))
        new_error = _error(groups, fitted, tried)
        better = (new_error < error) & (np.maximum(tried.max(axis=1), -tried.min(axis=1)) >= 7)
        scale[better], codes[better], error[better] = fitted[better], tried[better], new_error[better]
    return scale, codes


def _nearest(groups: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.int8]:
    """ggml's rounding: halves up."""
    steps = groups * _inverse(scale)[:, None]
    steps += np.float32(8.5)
    np.clip(steps, 0, 15, out=steps)
    codes = steps.astype(np.int8)  # cut off
    codes -= np.int8(8)
    return codes


def _error(groups: NDArray[np.float32], scale: NDArray[np.float16], codes: NDArray[np.int8]) -> NDArray[np.float32]:
    off = codes * scale.astype(np.float32)[:, None]
    off -= groups
    squares: NDArray[np.float32] = np.einsum("ij,ij->i", off, off)
    return squares


def _to_float16(scale: NDArray[np.float32]) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = scale.astype(np.float16)
    if not np.isfinite(half).all():
        raise PellucidError(f"a weight is too large to be quantized: its scale would be {np.abs(scale).max():.3g}, over 65504")
    return half


def _inverse(scale: NDArray[np.float32]) -> NDArray[np.float32]:
    # Below 2^-127 the inverse is no float32; float16 has no such scale either, so nothing is lost.
    return np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=np.abs(scale) > 2.0**-126)


def _away_from_zero(scaled: NDArray[np.float32]) -> NDArray[np.int8]:
    """To the nearest, halves away from zero, as C's roundf; adding 0.5 itself would round 0.49999997 up."""
    scaled += np.copysign(np.nextafter(np.float32(0.5), np.float32(0)), scaled)
    return scaled.astype(np.int8)  # cut off


def _slices(rows: int, groups: int) -> Iterator[slice]:
    step = max(1, _GROUPS_AT_ONCE // max(1, groups))
    for first in range(0, rows, step):
        yield slice(first, first + step)


def pack_nibbles(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """(..., G * 32) int4 codes -> (..., G * 16) bytes: byte j of a group holds number j in its low four bits and number j + 16
    in its high ones, each plus 8, as GGUF has them."""
    halves = (codes + np.int8(8)).view(np.uint8).reshape(*codes.shape[:-1], -1, 2, GROUP // 2)
    packed: NDArray[np.uint8] = halves[..., 0, :] | halves[..., 1, :] << np.uint8(4)
    return packed.reshape(*codes.shape[:-1], codes.shape[-1] // 2)


def unpack_nibbles(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """The inverse of `pack_nibbles`."""
    bytes_ = packed.reshape(*packed.shape[:-1], -1, 1, GROUP // 2)
    steps = np.concatenate((bytes_ & 15, bytes_ >> 4), axis=-2).view(np.int8) - np.int8(8)
    return steps.reshape(*packed.shape[:-1], packed.shape[-1] * 2)


def quantized_from_file(codes: Array, scale: Array, shape: tuple[int, ...]) -> QuantizedMatrix:
    """A quantized matrix from the arrays of a file, laid out as `directory` describes.

    Args:
        codes: (N, G * 32) int8, or (N, G * 16) uint8 of two int4 each. scale: (N, G) float16.
        shape: (N, K) of the matrix.

    Raises:
        PellucidError: as `check_groups`.
    """
    check_groups(codes, scale, shape)
    if codes.dtype == np.int8:
        return QuantizedMatrix("int8", codes, scale, shape[-1])
    return QuantizedMatrix("int4", unpack_nibbles(codes), scale, shape[-1])


def check_groups(codes: Array, scale: Array, shape: tuple[int, ...]) -> None:
    """Checks that arrays can be a quantized (N, K) matrix.

    Raises:
        PellucidError: another shape, or a scale that is not finite. The message begins after the tensor's name.
    """
    groups = -(-shape[-1] // GROUP)
    width = groups * GROUP if codes.dtype == np.int8 else groups * GROUP // 2
    if codes.shape != (shape[0], width):
        raise PellucidError(f"has shape {codes.shape}, but groups of {tuple(shape)} have {(shape[0], width)}")
    if scale.shape != (shape[0], groups):
        raise PellucidError(f"has scales of shape {scale.shape}, but groups of {tuple(shape)} have {(shape[0], groups)}")
    if not np.isfinite(scale).all():
        raise PellucidError("has a scale that is NaN or infinite")
