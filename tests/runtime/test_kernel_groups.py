"""Products with weights in groups: the bits of plain whole-number arithmetic, and how near they are to float32."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import lively
from numpy.typing import NDArray

import pellucid
from pellucid.formats.weights import WeightArrays, open_weights
from pellucid.gpt.quantize import QuantizedMatrix, is_quantized, quantize
from pellucid.runtime.kernel import library
from pellucid.runtime.kernel.packed import BLOCK_BYTES, WEIGHTS, PackedWeights
from pellucid.runtime.kernel.runner import KernelRunner, arrays_of, pack, unavailable_reason
from pellucid.runtime.runner import TokenSpan


CONFIG = pellucid.GPTConfig(vocab_size=90, n_ctx=48, n_layers=2, d_model=48, n_heads=3, pattern=("banded(7)", "dense"))
IDS = list(range(3, 43))

if missing := unavailable_reason(CONFIG):
    pytest.skip(f"no kernel: {missing}", allow_module_level=True)

Floats = NDArray[np.float32]


def rounded(x: Floats, groups: int) -> tuple[NDArray[np.int32], Floats]:
    """(rows, groups, 32) whole numbers and (rows, groups) scales of rows of activations."""
    filled = np.zeros((len(x), groups * 32), np.float32)
    filled[:, : x.shape[1]] = x
    each = filled.reshape(len(x), groups, 32)
    peak = np.abs(each).max(-1)
    none = peak < 2.0**-120
    inverse = np.where(none, np.float32(0), np.float32(127) / np.where(none, np.float32(1), peak))
    return np.rint(each * inverse[..., None]).astype(np.int32), np.where(none, np.float32(0), peak / np.float32(127))


def plain_product(x: Floats, w: QuantizedMatrix, bias: Floats) -> Floats:
    """The definition: whole sums of a group, times both scales, added group by group."""
    codes, scale = rounded(x, w.scale.shape[1])
    weights = w.codes.reshape(*w.scale.shape, 32).astype(np.int32)
    y = np.tile(bias, (len(x), 1))
    for g in range(w.scale.shape[1]):
        whole = codes[:, g] @ weights[:, g].T
        y += whole.astype(np.float32) * (scale[:, g, None] * w.scale[None, :, g].astype(np.float32))
    return y


def kernel_product(x: Floats, w: QuantizedMatrix, bias: Floats, *, plain: bool = False, threads: int = 1) -> Floats:
    bound = library.kernel(plain=plain)
    n, groups = w.scale.shape
    data = np.empty((-(-n // 16), groups, BLOCK_BYTES[w.kind]), np.uint8)
    bound.pellucid_pack_groups(w.codes.ctypes.data, w.scale.ctypes.data, n, groups, data.ctypes.data, WEIGHTS[w.kind])
    wide = np.zeros(len(data) * 16, np.float32)
    wide[:n] = bias
    matrix = library.KernelMatrix(WEIGHTS[w.kind], w.columns, n, data.ctypes.data, wide.ctypes.data)
    x, y = np.ascontiguousarray(x), np.empty((len(x), len(data) * 16), np.float32)
    assert bound.pellucid_matmul(matrix, x.ctypes.data, len(x), y.ctypes.data, threads) == 0
    return y[:, :n]


def some(n: int, k: int, rows: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """x, weights and bias; activations of very different sizes."""
    random = np.random.default_rng(seed)
    x, w, bias = (random.standard_normal(shape).astype(np.float32) for shape in ((rows, k), (n, k), (n,)))
    return x * np.exp(random.uniform(-9, 9, (rows, 1))).astype(np.float32), w, bias


@cases(60)
@given(
    n=st.integers(1, 130), k=st.integers(1, 200), rows=st.integers(1, 15), kind=st.sampled_from(["int8", "int4"]),
    plain=st.booleans(), threads=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_product_is_whole_number_arithmetic_to_the_bit(
    n: int, k: int, rows: int, kind: str, plain: bool, threads: int, seed: int
) -> None:
    x, w, bias = some(n, k, rows, seed)
    groups = quantize(w, kind)
    assert np.array_equal(kernel_product(x, groups, bias, plain=plain, threads=threads), plain_product(x, groups, bias))


@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("plain", [False, True])
def test_the_largest_sums_do_not_overflow(kind: str, plain: bool) -> None:
    """All weights and activations at their ends, of one sign and of both."""
    ends = np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]], np.float32).repeat(48, axis=1)
    least, most = (-127, 127) if kind == "int8" else (-8, 7)
    codes = np.array([[least] * 96, [most] * 96, [least, most] * 48], np.int8)
    groups = QuantizedMatrix(kind, codes, np.full((3, 3), 0.5, np.float16), 96)
    bias = np.zeros(3, np.float32)
    found = kernel_product(ends, groups, bias, plain=plain)
    assert np.array_equal(found, plain_product(ends, groups, bias))
    np.testing.assert_allclose(found, ends @ groups.dequantize().T, rtol=1e-5)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_many_rows_are_each_row_alone(kind: str) -> None:
    x, w, bias = some(100, 700, 150, 5)  # more rows than stay near, and a tile that is not full
    groups = quantize(w, kind)
    together = kernel_product(x, groups, bias, threads=2)
    assert np.array_equal(together, np.concatenate([kernel_product(row[None], groups, bias) for row in x]))


@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("plain", [False, True])
def test_what_is_no_number_comes_through_and_zeros_stay(kind: str, plain: bool) -> None:
    x, w, bias = some(20, 64, 5, 1)
    x[0] = 0
    x[1], x[2, 7], x[3, 40] = 1e-40, np.nan, np.inf
    found = kernel_product(x, quantize(w, kind), bias, plain=plain)
    assert np.array_equal(found[0], bias) and np.array_equal(found[1], bias), "too small to be rounded: nothing"
    assert np.isnan(found[2:4]).all() and np.isfinite(found[4]).all()


def test_rounding_activations_is_all_that_differs_from_float32() -> None:
    """A step of a group is a 127th of its largest number; half of it, spread over K products, stays below a hundredth."""
    x, w, bias = some(64, 768, 16, 2)
    for kind in ("int8", "int4"):
        groups = quantize(w, kind)
        exact = x.astype(np.float64) @ groups.dequantize().T.astype(np.float64) + bias
        off = np.sqrt(np.square(kernel_product(x, groups, bias) - exact).mean(1) / np.square(exact).mean(1))
        assert (off < 0.01).all() and (off > 0.001).any()


def logits(packed: PackedWeights) -> Floats:
    runner = KernelRunner(packed)
    (found,) = runner.run([TokenSpan(runner.open(len(IDS)), 0, IDS, "all")])
    assert found is not None
    return found


@pytest.mark.parametrize(("kind", "allowed"), [("int8", 0.03), ("int4", 0.03)])
def test_logits_are_near_those_of_the_same_weights_in_float32(kind: str, allowed: float) -> None:
    model = lively(pellucid.GPT(CONFIG, seed=4))
    same = model.copy()
    for name, parameter in same.named_parameters():
        if is_quantized(name, tuple(parameter.shape)):
            parameter.copy_(torch.from_numpy(quantize(parameter.numpy(), kind).dequantize()))
    found, expected = logits(pack(model, kind)), logits(pack(same, "float32"))
    assert 0 < np.abs(found - expected).max() < allowed * np.abs(expected).max()
    assert np.array_equal(logits(pack(same, kind)), found), "quantized again they are the same"


@pytest.mark.parametrize("storage", ["int8", "int4"])
def test_a_directory_s_groups_are_packed_as_they_are(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lively(pellucid.GPT(CONFIG, seed=4)).save(tmp_path, storage=storage)
    model = pellucid.load(tmp_path)

    def packed(weights: str) -> PackedWeights:
        with open_weights(tmp_path, CONFIG) as (tensors, sources):
            return PackedWeights(CONFIG, WeightArrays(CONFIG, tensors, sources), weights=weights)

    def never(*_: Any) -> Any:
        raise AssertionError("quantized although it was")

    other = "int4" if storage == "int8" else "int8"
    arrays = arrays_of(model)
    expected = {weights: logits(PackedWeights(CONFIG, arrays, weights=weights)) for weights in (storage, other, "float32")}
    for weights in (other, "float32"):
        assert np.array_equal(logits(packed(weights)), expected[weights])
    monkeypatch.setattr("pellucid.runtime.kernel.packed.quantize", never)
    assert np.array_equal(logits(packed(storage)), expected[storage])
