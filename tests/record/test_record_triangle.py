"""Attention as a record stores it: rows sum to 1, errors are at most half a step of their row, masked weights stay 0."""

import io
import struct
from itertools import chain
from typing import Any

import numpy as np
import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import PellucidError
from pellucid.record import Provenance, RecordWriter, StoredArray, as_triangle, describe, open_record
from pellucid.record.triangle import SUM_ERROR, TOTAL_ERROR, TriangleDtype, rounding_error, row_steps
from pellucid.record.values import values


KINDS = ("near uniform", "flat", "usual", "peaked", "one-hot", "first key", "half steps")
Matrix = np.ndarray[Any, Any]


def pattern(name: str, positions: int) -> Matrix:
    """(T, T) which keys a query sees, of a dense, banded or strided block."""
    q, k = np.ogrid[:positions, :positions]
    past = k <= q
    if name == "banded":
        return past & (q - k < max(1, positions // 3))
    return past & ((q - k) % 5 == 0) if name == "strided" else past


def rows_of(kind: str, seen: Matrix, seed: int) -> Matrix:
    """(T, T) weights of one kind, zero where nothing is seen; each row sums to 1."""
    rng, count = np.random.default_rng(seed), seen.sum(-1, keepdims=True)
    spread = {"near uniform": 1e-3, "flat": 0.2, "usual": 2.0, "peaked": 12.0}
    if kind in spread:
        scores = np.where(seen, rng.normal(0, spread[kind], seen.shape), -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
    elif kind == "one-hot":
        weights = (np.where(seen, rng.random(seen.shape), -1).argmax(-1)[:, None] == np.arange(seen.shape[1])).astype(float)
    else:  # one large weight, and small ones that together matter; just below half of a power of two, rounding loses them all
        small = 0.49 * 2.0 ** -np.floor(rng.uniform(6, 20, (len(seen), 1))) if kind == "half steps" else 0.3 / count
        weights = np.where(seen, np.minimum(small, 0.9 / count), 0.0)
        weights[np.arange(len(seen)), seen.argmax(-1)] += 1 - weights.sum(-1)
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


@st.composite
def attention(draw: st.DrawFn, most: int) -> tuple[Matrix, Matrix]:
    """(H, T, T) weights, each head of its own kind, and (T, T) what is seen."""
    positions, seed = draw(st.integers(1, most)), draw(st.integers(0, 2**31))
    seen = pattern(draw(st.sampled_from(["dense", "banded", "strided"])), positions)
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
    return np.stack([rows_of(kind, seen, seed + i) for i, kind in enumerate(kinds)]), seen


def check_rows(weights: Matrix, seen: Matrix) -> None:
    """What a record promises of its attention."""
    got = values(as_triangle(weights))
    assert got.dtype == np.float32 and got.shape == weights.shape and not got[..., ~seen].any()
    error = got.astype(np.float64) - weights
    assert np.abs(got.sum(-1, dtype=np.float64) - 1).max() <= 0.01 and np.abs(got.sum(-1) - 1).max() <= 0.01
    assert np.abs(error).sum(-1).max() <= TOTAL_ERROR
    for head, off in zip(weights, error, strict=True):
        steps = row_steps(head)[:, None]
        assert np.all(np.abs(off) <= np.maximum(steps / 2, head * 2.0**-11))
        assert steps.max() <= 1 / 256
        assert np.all(np.abs(off) <= rounding_error(head.astype(np.float64), np.zeros(head.shape)))


@cases(40)
@given(attention(200))
def test_every_row_sums_to_one_and_errs_by_half_a_step_at_most(made: tuple[Matrix, Matrix]) -> None:
    check_rows(*made)


def test_rows_of_2048_positions() -> None:
    """Rows of every kind and pattern in one head, by turns."""
    patterns = [pattern(name, 2048) for name in ("dense", "banded", "strided")]
    seen = np.stack([patterns[q % 3][q] for q in range(2048)])
    weights = np.zeros((1, 2048, 2048), np.float32)
    for i, kind in enumerate(KINDS):
        weights[0, i :: len(KINDS)] = rows_of(kind, seen[i :: len(KINDS)], i)
    check_rows(weights, seen)


def plain_rounded(weight: float, bits: int) -> float:
    """The multiple of 2^-bits or the float16 number, whichever lie further apart: Python's own rounding, half to even."""
    if weight >= 2.0 ** (11 - bits):
        return float(struct.unpack("<e", struct.pack("<e", weight))[0])
    return round(weight * 2**bits) / 2**bits


def plain_row(row: list[float]) -> list[float]:
    """What is stored of a row, by the definition."""
    for bits in range(8, 25):
        found = [plain_rounded(weight, bits) for weight in row]
        errors = [a - b for a, b in zip(found, row, strict=True)]
        if abs(sum(errors)) <= SUM_ERROR and sum(map(abs, errors)) <= TOTAL_ERROR:
            break
    return found


@cases(30)
@given(attention(30))
def test_triangles_against_loops(made: tuple[Matrix, Matrix]) -> None:
    weights, _ = made
    positions = weights.shape[-1]
    for dtype in ("float16", "float32"):
        stored = as_triangle(weights, dtype)
        rows = [[plain_row(row[: q + 1]) if dtype == "float16" else row[: q + 1] for q, row in enumerate(head)]
                for head in weights.tolist()]  # fmt: skip
        assert stored.dtype == dtype and stored.array.tolist() == [list(chain(*head)) for head in rows]
        back = values(stored)
        assert back.dtype == np.float32 and back.shape == weights.shape
        assert all(back[h, q, : q + 1].tolist() == rows[h][q] for h in range(len(weights)) for q in range(positions))
        assert not np.triu(back, 1).any()


@cases(40)
@given(attention(120), st.floats(0, 0.1), st.integers(0, 99))
def test_other_weights_within_the_noise_are_stored_within_the_tolerance(
    made: tuple[Matrix, Matrix], relative: float, seed: int
) -> None:
    """What `verify` relies on: it recomputes slightly other weights than those that were rounded."""
    recorded, _ = made
    stored = values(as_triangle(recorded)).astype(np.float64)
    noise = relative * recorded.astype(np.float64)
    recomputed = recorded + np.random.default_rng(seed).uniform(-1, 1, recorded.shape) * noise
    noise *= 1 + 1e-12
    for right, got, near in zip(recomputed, stored, noise, strict=True):
        assert np.all(np.abs(got - right) <= near + rounding_error(right, near))
        assert np.all(np.abs((got - right).sum(-1)) <= near.sum(-1) + SUM_ERROR + 1e-12)
        assert np.all(np.abs(got - right).sum(-1) <= near.sum(-1) + TOTAL_ERROR + 1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_no_attention(dtype: TriangleDtype) -> None:
    with pytest.raises(PellucidError, match="is not causal"):
        as_triangle(np.full((2, 3, 3), 0.5), dtype)
    with pytest.raises(PellucidError, match="square"):
        as_triangle(np.zeros((3, 4)), dtype)
    for number in (2.0, -0.1, np.nan, np.inf):
        with pytest.raises(PellucidError, match="outside the range 0 to 1"):
            as_triangle(np.tril(np.full((3, 3), number)), dtype)
    for shape in ((0, 3, 3), (2, 0, 0)):
        assert values(as_triangle(np.zeros(shape), dtype)).shape == shape


def test_triangles_of_schema_1_0_are_read() -> None:
    """uint8 steps of 1/255; nothing writes them any more."""
    codes = np.array([[255, 51, 204, 0, 85, 170]], np.uint8)
    back = values(StoredArray(codes, "uint8", (0.0, 1.0), triangle=True))
    assert back.tolist() == np.array([[[1, 0, 0], [0.2, 0.8, 0], [0, 1 / 3, 2 / 3]]], np.float32).tolist()


def stored_bytes(triangles: StoredArray) -> int:
    """What a chunk of attention takes in a file."""
    buffer = io.BytesIO()
    provenance = Provenance(pellucid="0.1.0", model="m", config={}, parameters=1, dtype="float32")
    with RecordWriter(buffer, "generation", provenance) as writer:
        writer.add("generation/attention/0", triangles, **describe("generation", "generation/attention/{block}"))
    buffer.seek(0)
    with open_record(buffer) as record:
        return record.entry("generation/attention/0").stored_bytes


def test_coarse_steps_compress() -> None:
    """At 500 positions, a third of the bytes of plain float16 numbers at most."""
    for kind in KINDS:
        weights = rows_of(kind, pattern("dense", 500), 0)
        assert stored_bytes(as_triangle(weights[None])) < 500 * 501 / 2 * 2 / 3, kind
