"""Encoding a chunk's numbers as bytes, and decoding them; a browser can decode them without a library.

A dtype names what the plain bytes are: little-endian numbers in row-major order, or text in UTF-8.

    uint8 int8 uint16 int16 uint32 int32 int64 float16 float32 float64
    bfloat16    the upper 16 bits of a float32, two bytes a value
    json        one JSON value        utf8    one text

An encoding states what was done to the plain bytes:

    raw               nothing
    deflate           zlib (RFC 1950): `new DecompressionStream("deflate")`
    shuffle+deflate   first, the bytes of the numbers by place: all first bytes, then all second bytes, ... then zlib
    delta+deflate     first, each row of a uint8 or int8 array minus the row before it, modulo 256 (the first row stays;
                      a row is all that one index of the first axis holds), then zlib

Measured: stored size relative to plain size, and milliseconds to encode, one core of a 2-core AMD EPYC (2026-11-23, zlib
1.2.13; "runs" is zlib's strategy Z_RLE: Huffman codes and runs of one byte, no search for repeated strings):

    chunk                                       plain     level 6      shuffled     shuffled, runs
    bfloat16 of N(0, 1), 13 x 40 x 768          799 kB    0.79   47    0.71  100    0.67  9
    bfloat16 block inputs of a real model        89 kB    0.80  3.5    0.74  8.4    0.73  0.5
    float32 losses, 60 x 512                    123 kB    0.89  2.9    0.82  3.0    0.82  0.7
    int32 token ids, Zipf                       400 kB    0.33   73    0.27   32    0.24  1.6
                                                          level 6      runs         delta, level 6    delta, runs
    uint8 attention of schema 1.0, 12 x 12      118 kB    0.63   23    0.56  0.9    0.75              (loses)
    uint8 32 x 32 thumbnails over a real run    315 kB    0.67   13    0.80  2.0    0.49  36          0.48  2.0

So numbers are deflated with Z_RLE (measured numbers repeat no strings) and text with the default strategy; readers see plain
deflate either way. Tried and not used: bfloat16 rotated so that its exponent fills one byte (1 % smaller), differences of
neighbouring block inputs (no gain), attention as a square (the zeros above the diagonal cost extra).
"""

import zlib
from typing import Any

import numpy as np


# The numpy dtype of the plain bytes. numpy has no bfloat16: its bits are kept as uint16.
NUMBERS: dict[str, np.dtype[Any]] = {
    "uint8": np.dtype("u1"),
    "int8": np.dtype("i1"),
    "uint16": np.dtype("<u2"),
    "int16": np.dtype("<i2"),
    "uint32": np.dtype("<u4"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}
TEXTS = ("json", "utf8")
ENCODINGS = ("raw", "deflate", "shuffle+deflate", "delta+deflate")

MAX_CHUNK_BYTES = 1 << 28  # plain; attention of 63 heads over 2,048 positions in float16 fits
MAX_TEXT_BYTES = 1 << 24  # of a "json" or "utf8" chunk, plain
_SMALL_VALUE = 1 << 28  # bytes: what takes more in memory must take a part of that in the file, too
_MAX_VALUE_RATIO = 64  # of such a value to its stored bytes: triangles of attention, read as float32 squares, have about 13
_MAX_DEFLATE_RATIO = 1032  # the most that deflate can compress (zlib's technical notes): a chunk that states more is a bomb


def allowed(encoding: str, dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether an encoding applies: shuffle needs numbers of 2 bytes or more, delta needs rows of 1-byte numbers."""
    if encoding == "shuffle+deflate":
        return dtype in NUMBERS and NUMBERS[dtype].itemsize > 1
    if encoding == "delta+deflate":
        return dtype in ("uint8", "int8") and len(shape) > 0
    return encoding in ENCODINGS


def plausible(encoding: str, stored_bytes: int, plain_bytes: int) -> bool:
    """Whether so many stored bytes can decode to so many plain ones: the check against decompression bombs."""
    if encoding == "raw":
        return stored_bytes == plain_bytes
    return plain_bytes <= MAX_CHUNK_BYTES and plain_bytes <= stored_bytes * _MAX_DEFLATE_RATIO


def affordable(stored_bytes: int, value_bytes: int) -> bool:
    """Whether a value may take so many bytes in memory: small ones, and large ones that are large in the file, too."""
    return value_bytes <= max(_SMALL_VALUE, stored_bytes * _MAX_VALUE_RATIO)


def encode(plain: bytes, dtype: str, shape: tuple[int, ...], encoding: str | None = None) -> tuple[str, bytes]:
    """Encodes plain bytes.

    Args:
        encoding: None chooses: shuffle+deflate for numbers or deflate, or raw where that is not longer.

    Returns:
        The encoding and the stored bytes. The same input gives the same bytes with the same zlib version; another
        version may give other bytes, which every reader decodes to the same plain ones.
    """
    chosen = encoding or ("shuffle+deflate" if allowed("shuffle+deflate", dtype, shape) else "deflate")
    assert allowed(chosen, dtype, shape), (chosen, dtype, shape)
    if chosen == "raw":
        return chosen, plain
    encoded = plain
    if chosen == "shuffle+deflate":
        encoded = _transposed(plain, NUMBERS[dtype].itemsize)
    elif chosen == "delta+deflate":
        rows = _rows(plain, shape)
        encoded = np.concatenate((rows[:1], rows[1:] - rows[:-1])).tobytes()  # uint8: modulo 256
    strategy = zlib.Z_RLE if dtype in NUMBERS else zlib.Z_DEFAULT_STRATEGY
    deflate = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
    stored = deflate.compress(encoded) + deflate.flush()
    if encoding is None and len(stored) >= len(plain):
        return "raw", plain
    return chosen, stored


def decode(stored: bytes, dtype: str, shape: tuple[int, ...], encoding: str, plain_bytes: int) -> bytes:
    """Decodes stored bytes to exactly `plain_bytes` plain ones, never more in memory.

    Raises:
        ValueError: the stored bytes do not decode to that; the caller adds the chunk's name.
    """
    if encoding == "raw":
        encoded = stored
    else:
        inflate = zlib.decompressobj()
        try:
            encoded = inflate.decompress(stored, plain_bytes + 1)
        except zlib.error as error:
            raise ValueError(f"its bytes cannot be decompressed ({error})") from error
        if len(encoded) <= plain_bytes and (not inflate.eof or inflate.unused_data):
            raise ValueError("its compressed bytes do not end where they should")
    if len(encoded) != plain_bytes:
        amount = "more" if len(encoded) > plain_bytes else "less"
        raise ValueError(f"it holds {amount} than the {plain_bytes:,} bytes it states")
    if encoding == "shuffle+deflate":
        return _transposed(encoded, plain_bytes // NUMBERS[dtype].itemsize)
    if encoding == "delta+deflate":
        return np.cumsum(_rows(encoded, shape), axis=0, dtype=np.uint8).tobytes()
    return encoded


def _transposed(data: bytes, width: int) -> bytes:
    """Transposes the bytes of a matrix with rows of `width` bytes. Its own inverse, given the number of rows."""
    return np.frombuffer(data, np.uint8).reshape(-1, max(width, 1)).T.tobytes()


def _rows(data: bytes, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(data, np.uint8).reshape(shape[0], len(data) // max(shape[0], 1))
