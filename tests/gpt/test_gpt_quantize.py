"""Weights in groups: the plain definition, its bounds, and directories that hold them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from models import lively
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

import pellucid
from pellucid.errors import PellucidError
from pellucid.formats.gguf_blocks import TENSOR_TYPES, decode, encode
from pellucid.formats.hf_config import read_config
from pellucid.formats.weights import WeightArrays, open_weights
from pellucid.gpt.directory import save_model
from pellucid.gpt.quantize import BITS, is_quantized, pack_nibbles, quantize, unpack_nibbles
from pellucid.planning.memory import MATRIX_BITS, weight_bytes


Numbers = NDArray[np.float32]
SHAPE = pellucid.GPTConfig(vocab_size=80, n_ctx=24, n_layers=2, d_model=48, n_heads=4, pattern=("banded(5)", "dense"))

finite = st.floats(-1e4, 1e4, width=32)
matrices = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70), elements=finite)


def plain(row: Numbers, kind: str) -> tuple[list[float], list[int]]:
    """Scales and codes of one row, number by number, as ggml has them."""
    scales, codes = [], []
    for first in range(0, len(row), 32):
        group = [np.float32(x) for x in row[first : first + 32]]
        group += [np.float32(0)] * (32 - len(group))
        peak = next(x for x in group if abs(x) == max(abs(y) for y in group))
        scale = abs(peak) / np.float32(127) if kind == "int8" else peak / np.float32(-8)
        inverse = np.float32(1) / scale if abs(scale) > 2.0**-126 else np.float32(0)
        stored = np.float16(scale)
        scales.append(float(stored))
        for x in group:
            steps = float(x * inverse)
            code = int(np.copysign(np.floor(abs(steps) + 0.5), steps))
            if kind == "int4":
                code = min(15, max(0, int(np.float32(x * inverse + np.float32(8.5))))) - 8
            codes.append(code if stored else 0)
    return scales, codes


@cases(40)
@given(matrices, st.sampled_from(["int8", "int4"]))
def test_groups_are_what_plain_arithmetic_says(matrix: Numbers, kind: str) -> None:
    found = quantize(matrix, kind, search=False)
    rows = [plain(row, kind) for row in matrix]
    assert found.scale.tolist() == [scales for scales, _ in rows]
    assert found.codes.tolist() == [codes for _, codes in rows]
    assert found.dequantize().shape == matrix.shape
    for (scales, codes), numbers in zip(rows, found.dequantize(), strict=True):
        assert numbers.tolist() == [scales[i // 32] * codes[i] for i in range(matrix.shape[1])]


@cases(60)
@given(matrices)
def test_int8_is_off_by_half_a_step_at_most(matrix: Numbers) -> None:
    rows, columns = matrix.shape
    filled = np.zeros((rows, -(-columns // 32) * 32))
    filled[:, :columns] = matrix
    step = np.abs(filled).reshape(rows, -1, 32).max(-1) / 127
    off = np.abs(quantize(matrix, "int8").dequantize() - matrix)
    # The scale itself is off by 2^-11 of it, or by 2^-25, and 127 times that is at most a sixteenth of a step.
    allowed = step * (0.5 + 127 * 2**-11) * (1 + 1e-6) + 128 * 2.0**-25
    assert (off <= np.repeat(allowed, 32, axis=1)[:, :columns]).all()


@cases(60)
@given(matrices)
def test_a_searched_scale_never_errs_more_than_ggml_s(matrix: Numbers) -> None:
    def errors(search: bool) -> NDArray[np.float64]:
        made = quantize(matrix, "int4", search=search)
        whole = np.zeros(made.codes.shape)
        whole[:, : made.columns] = matrix
        off = made.codes * np.repeat(made.scale.astype(np.float64), 32, axis=1) - whole
        return np.square(off).reshape(len(matrix), -1, 32).sum(-1)

    assert (errors(True) <= errors(False) * (1 + 1e-5)).all()  # float32 sums of squares decide


def test_searching_is_worth_it() -> None:
    matrix = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    by_search = (quantize(matrix, "int4", search=search) for search in (True, False))
    searched, ggml = (np.square(quantized.dequantize() - matrix).sum() for quantized in by_search)
    assert searched < 0.92 * ggml


@cases(60)
@given(matrices, st.sampled_from(["int8", "int4"]))
def test_what_was_quantized_is_quantized_to_the_same(matrix: Numbers, kind: str) -> None:
    once = quantize(matrix, kind)
    again = quantize(once.dequantize(), kind)
    # Of int4 two scales may stand for the same numbers: all of them zero or -8 of one are 7 of another.
    assert np.array_equal(again.dequantize(), once.dequantize())
    if kind == "int8":
        assert np.array_equal(again.codes, once.codes) and np.array_equal(again.scale, once.scale)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_groups_of_one_number_are_met_exactly(kind: str) -> None:
    """Zeros, equal numbers, one number among zeros: powers of two, for the scale to lose nothing."""
    peak = {"int8": 127.0, "int4": 8.0}[kind]
    for value in (0.0, 1.0, -1.0, 2.0**-10, -4096.0 * 7):
        constant = np.full((3, 40), value * peak / 8, np.float32)
        lone = np.zeros((1, 64), np.float32)
        lone[0, 33] = value * peak / 8
        for matrix in (constant, lone):
            assert np.array_equal(quantize(matrix, kind).dequantize(), matrix)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_extremes_are_kept_or_refused(kind: str) -> None:
    largest = np.full((1, 32), 65504.0 * 7, np.float32)
    assert np.isfinite(quantize(largest, kind).dequantize()).all()
    with pytest.raises(PellucidError, match="too large to be quantized"):
        quantize(np.full((2, 32), 1e9, np.float32), kind)
    for bad in (np.inf, -np.inf, np.nan):
        with pytest.raises(PellucidError, match="not a finite number"):
            quantize(np.array([[1.0, bad]], np.float32), kind)
    small = quantize(np.full((1, 32), 1e-9, np.float32), kind)
    assert not small.codes.any() and not small.scale.any(), "smaller than any scale: zeros"
    assert not quantize(np.full((1, 5), 1e-45, np.float32), kind).codes.any()
    with pytest.raises(PellucidError, match="unknown kind of numbers 'int3': choose from int8, int4"):
        quantize(small.dequantize(), "int3")


def test_two_int4_numbers_lie_in_a_byte_as_gguf_has_them() -> None:
    codes = np.arange(-8, 8, dtype=np.int8).repeat(4).reshape(1, 64)
    packed = pack_nibbles(codes)
    assert packed.shape == (1, 32) and packed[0, 0] == 0 | (4 << 4) and packed[0, 31] == 11 | (15 << 4)
    assert np.array_equal(unpack_nibbles(packed), codes)


@pytest.mark.parametrize(("gguf", "kind"), [("Q8_0", "int8"), ("Q4_0", "int4")])
def test_gguf_holds_the_same_numbers(gguf: str, kind: str) -> None:
    matrix = np.random.default_rng(1).standard_normal((7, 96)).astype(np.float32)
    raw = encode(torch.from_numpy(matrix), TENSOR_TYPES[gguf])
    assert np.array_equal(decode(raw, TENSOR_TYPES[gguf]).numpy().reshape(7, 96), quantize(matrix, kind).dequantize())


@pytest.mark.parametrize("storage", ["int8", "int4"])
def test_a_directory_holds_groups(storage: str, tmp_path: Path) -> None:
    model = lively(pellucid.GPT(SHAPE, seed=1))
    model.save(tmp_path / "once", storage=storage)
    said = json.loads((tmp_path / "once" / "config.json").read_text(encoding="utf-8"))
    assert said["model_type"] == "pellucid"
    assert said["quantization"] == {"numbers": storage, "group": 32, "scale": "float16", "bits": BITS[storage]}
    back = pellucid.load(tmp_path / "once")
    assert back.config == model.config
    for (name, before), after in zip(model.named_parameters(), back.parameters(), strict=True):
        expected = before.detach().numpy()
        if is_quantized(name, tuple(before.shape)):
            expected = quantize(expected, storage).dequantize()
        assert np.array_equal(after.numpy(), expected), name
    back.save(tmp_path / "again", storage=storage)
    for before, after in zip(back.parameters(), pellucid.load(tmp_path / "again").parameters(), strict=True):
        assert torch.equal(before, after)
    with open_weights(tmp_path / "once", SHAPE) as (tensors, sources):
        stored = WeightArrays(SHAPE, tensors, sources)
        codes, scale = stored["h.1.mlp.c_proj.weight"], stored["h.1.mlp.c_proj.weight.scale"]
    assert codes.shape == (48, 192 if storage == "int8" else 96) and scale.shape == (48, 6) and scale.dtype == np.float16
    assert read_config(tmp_path / "once") == SHAPE


def test_the_size_is_the_plan_s(tmp_path: Path) -> None:
    config = SHAPE.replace(d_model=64)
    for storage in BITS:
        assert MATRIX_BITS[storage] == BITS[storage]
        save_model(pellucid.GPT(config), tmp_path, storage=storage)
        held = sum(tensor.nbytes for tensor in load_file(tmp_path / "model.safetensors").values())
        assert held == weight_bytes(config, storage)


def test_damaged_groups_are_named(tmp_path: Path) -> None:
    save_model(lively(pellucid.GPT(SHAPE, seed=1)), tmp_path, storage="int4")
    file, name = tmp_path / "model.safetensors", "transformer.h.0.attn.c_attn.weight"
    whole = load_file(file)

    def changed(**tensors: torch.Tensor | None) -> None:
        save_file({k: v for k, v in (whole | tensors).items() if v is not None}, file)
        pellucid.load(tmp_path)

    with pytest.raises(PellucidError, match=r"'h\.0\.attn\.c_attn\.weight' has shape"):
        changed(**{name + ".scale": None})
    for tensors in (
        {name: whole[name][:, :-1].contiguous()},
        {name: whole[name][1:].contiguous()},
        {name + ".scale": whole[name + ".scale"][:, :1].contiguous()},
        {name + ".scale": whole[name + ".scale"] / 0},
    ):
        with pytest.raises(PellucidError, match=r"model\.safetensors.*h\.0\.attn\.c_attn\.weight"):
            changed(**tensors)
