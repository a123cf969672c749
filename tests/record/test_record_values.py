"""Numbers to bytes and back: every dtype and encoding, with plain loops and PyTorch as oracles."""

import tracemalloc
import zlib
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pellucid.errors import PellucidError
from pellucid.record.encoding import ENCODINGS, NUMBERS, allowed, decode, encode
from pellucid.record.values import as_bfloat16, as_is, as_uint8, bfloat16_bits, values


SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


@st.composite
def any_array(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    dtype = NUMBERS[draw(st.sampled_from([name for name in NUMBERS if name != "bfloat16"]))]
    return draw(arrays.arrays(dtype, SHAPES))


@given(array=any_array(), encoding=st.sampled_from([None, *ENCODINGS]))
def test_every_array_comes_back(array: np.ndarray[Any, Any], encoding: str | None) -> None:
    stored = as_is(array)
    if encoding and not allowed(encoding, stored.dtype, array.shape):
        return
    plain = stored.array.tobytes()
    used, data = encode(plain, stored.dtype, array.shape, encoding)
    assert encoding is None or used == encoding
    assert used != "raw" or data == plain
    assert encoding is not None or len(data) <= len(plain)
    assert decode(data, stored.dtype, array.shape, used, len(plain)) == plain


@given(data=st.binary(max_size=96))
def test_transforms_are_what_they_say(data: bytes) -> None:
    words = len(data) // 4
    _, stored = encode(data[: 4 * words], "int32", (words,), "shuffle+deflate")
    assert zlib.decompress(stored) == bytes(data[4 * i + place] for place in range(4) for i in range(words))
    _, stored = encode(data[: 3 * (len(data) // 3)], "uint8", (len(data) // 3, 3), "delta+deflate")
    rows = [data[3 * i : 3 * i + 3] for i in range(len(data) // 3)]
    delta = [bytes((b - a) % 256 for a, b in zip(before, row, strict=True)) for before, row in pairwise(rows)]
    assert zlib.decompress(stored) == b"".join([*rows[:1], *delta])


def test_what_pays() -> None:
    rng = np.random.default_rng(0)
    wide = as_bfloat16(rng.normal(size=(13, 40, 768)).astype(np.float32)).array
    sizes = {name: len(encode(wide.tobytes(), "bfloat16", wide.shape, name)[1]) / wide.nbytes for name in ENCODINGS[:3]}
    assert sizes["shuffle+deflate"] < 0.7 < sizes["deflate"] < sizes["raw"]
    assert len(zlib.compress(wide.tobytes(), 9)) / wide.nbytes > 0.75  # and zlib as it comes
    walk = rng.normal(0, 4, size=(30, 32, 32)).cumsum(0)
    frames = as_uint8(walk).array
    plain, delta = (len(encode(frames.tobytes(), "uint8", frames.shape, name)[1]) for name in ("deflate", "delta+deflate"))
    assert delta < 0.85 * plain
    noise = rng.bytes(1000)
    assert encode(noise, "uint8", (1000,)) == ("raw", noise)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[:-5], "do not end"),
        (lambda data: data + b"x", "do not end"),
        (lambda data: b"\0" + data, "cannot be decompressed"),
        (lambda _: zlib.compress(bytes(401)), "more than the 400"),
        (lambda _: zlib.compress(bytes(399)), "less than the 400"),
    ],
)
def test_bytes_that_are_no_encoding(damage: Any, says: str) -> None:
    used, data = encode(np.arange(100, dtype="<i4").tobytes(), "int32", (100,), "shuffle+deflate")
    with pytest.raises(ValueError, match=says):
        decode(damage(data), "int32", (100,), used, 400)


def test_a_bomb_takes_no_memory() -> None:
    bomb = zlib.compress(bytes(1 << 26), 9)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than the 400"):
            decode(bomb, "int32", (100,), "deflate", 400)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(bits=st.lists(st.integers(0, 2**32 - 1), max_size=50))
def test_bfloat16_rounds_as_pytorch_does(bits: list[int]) -> None:
    halves = [b & 0xFFFF0000 | low for b in bits for low in (0, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]
    exact = np.array(bits + halves, dtype=np.uint32).view(np.float32)
    got = as_bfloat16(exact)
    expected = torch.from_numpy(exact.copy()).to(torch.bfloat16)
    back = torch.from_numpy(values(got).copy())
    assert torch.equal(back.isnan(), torch.from_numpy(exact).isnan())
    numbers = ~back.isnan()
    assert torch.equal(back[numbers], expected.float()[numbers])
    again = values(bfloat16_bits(got.array.astype(np.uint16)))
    assert again.tobytes() == values(got).tobytes() and again.dtype == np.float32


def test_bfloat16_of_other_dtypes() -> None:
    assert values(as_bfloat16(np.array([1.5], np.float16))).tolist() == [1.5]
    assert values(as_bfloat16(np.zeros((2, 0, 3), np.float32))).shape == (2, 0, 3)
    with pytest.raises(PellucidError, match="not float64: convert it first"):
        as_bfloat16(np.zeros(1))


@given(
    array=arrays.arrays(np.float32, SHAPES, elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    wider=st.floats(0, 10),
)
def test_uint8_steps_err_by_half_a_step(array: np.ndarray[Any, Any], wider: float) -> None:
    stored = as_uint8(array)
    if array.size:
        stored = as_uint8(array, float(array.min()) - wider, float(array.max()) + wider)
    assert stored.scale is not None
    lo, hi = stored.scale
    got = values(stored)
    assert got.dtype == np.float32 and got.shape == array.shape
    rounding = max(abs(lo), abs(hi)) * 2**-23 + 1e-44
    assert np.all(np.abs(got.astype(np.float64) - array) <= (hi - lo) / 510 * (1 + 1e-9) + rounding)
    for code, value in zip(stored.array.ravel().tolist(), got.ravel().tolist(), strict=True):
        assert value == np.float32(lo + code * ((hi - lo) / 255))  # as docs/record.md says, and JavaScript computes


def test_uint8_steps_clamp_nothing() -> None:
    for bad in ([0.0, np.nan], [np.inf], [-1e308, 1e308]):
        with pytest.raises(PellucidError, match="not finite"):
            as_uint8(np.array(bad))
    with pytest.raises(PellucidError, match="lies outside the range 0"):
        as_uint8(np.array([0.5, np.nan]), 0, 1)
    for outside in (-0.1, 1.1):
        with pytest.raises(PellucidError, match="lies outside the range 0"):
            as_uint8(np.array([0.5, outside]), 0, 1)
    with pytest.raises(PellucidError, match="lies outside"):
        as_uint8(np.array([1.0, 2.0]), 2, 2)
    with pytest.raises(PellucidError, match="hi is less"):
        as_uint8(np.array([1.0]), 2, 1)
    assert values(as_uint8(np.array([1 + 1e-6, -1e-6]), 0, 1)).tolist() == [1, 0]  # a probability, with rounding
    assert values(as_uint8(np.full(3, 7.0))).tolist() == [7, 7, 7]
    assert as_uint8(np.zeros((0, 2))).scale == (0, 0)


@pytest.mark.parametrize("dtype", [bool, complex, np.uint64, object, "U3"])
def test_dtypes_that_no_record_has(dtype: Any) -> None:
    with pytest.raises(PellucidError, match="a record cannot hold"):
        as_is(np.zeros(2, dtype))


def test_other_orders_are_stored_little_endian_by_rows() -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3).T
    assert as_is(array).array.tobytes() == np.array([[0, 3], [1, 4], [2, 5]], dtype="<i4").tobytes()
