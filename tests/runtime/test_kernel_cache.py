"""Keys and values of 16 bits: which bits they are, what becomes of those beyond float16's range, and what that costs."""

from ctypes import c_int64, c_void_p

import numpy as np
import pytest
from models import lively
from numpy.typing import NDArray

import pellucid
from pellucid.runtime.kernel import library
from pellucid.runtime.kernel.packed import PackedWeights
from pellucid.runtime.kernel.runner import KernelRunner, arrays_of, pack, unavailable_reason
from pellucid.runtime.runner import TokenSpan


POSITIONS = 40
CONFIG = pellucid.GPTConfig(vocab_size=90, n_ctx=POSITIONS, n_layers=2, d_model=48, n_heads=3, pattern=("banded(7)", "dense"))
ODD = CONFIG.replace(d_model=40, n_heads=5)  # heads of 8 numbers: half a vector
ALLOWED = 2e-3  # of the largest logit: a float16 number is off by 2^-12 of itself, in every block
IDS = list(range(3, 3 + POSITIONS))

if missing := unavailable_reason(CONFIG):
    pytest.skip(f"no kernel: {missing}", allow_module_level=True)

Floats = NDArray[np.float32]


def read(packed: PackedWeights, cache: str | None = None, ids: list[int] = IDS) -> Floats:
    runner = KernelRunner(packed, cache=cache)
    (found,) = runner.run([TokenSpan(runner.open(len(ids)), 0, ids, "all")])
    assert found is not None
    return found


def kept(model: pellucid.GPT, cache: str, *, plain: bool = False) -> tuple[Floats, Floats]:
    """Keys and values of all texts' positions in the first block as they are kept, (H, T, D), scales applied."""
    runner = KernelRunner(PackedWeights(model.config, arrays_of(model), plain=plain), cache=cache)
    number = runner.open(POSITIONS)
    runner.run([TokenSpan(number, 0, IDS, "none")])
    _, keys, values = runner._sequences[number]
    d = model.config.d_head
    own, rows = values[0, :, :POSITIONS], keys[0].transpose(0, 1, 3, 2).reshape(model.config.n_heads, -1, keys.shape[3])
    rows = rows[:, :POSITIONS]
    assert not own[..., d:].any(), "filled up with zeros"
    if cache == "float32":
        return rows, own[..., :d]
    powers = (rows[..., d:].astype(np.uint32) << 16).view(np.float32)
    wide = [half.copy().view(np.float16).astype(np.float32) for half in (rows[..., :d], own[..., :d])]
    return wide[0] * powers[..., :1], wide[1] * powers[..., 1:]


def model_of(config: pellucid.GPTConfig, keys: float = 1, values: float = 1) -> pellucid.GPT:
    """Keys and values of the first block so many times as large, and queries as many times smaller than keys."""
    model = lively(pellucid.GPT(config, seed=4))
    for part, factor in zip(range(3), (1 / keys, keys, values), strict=True):
        place = slice(part * config.d_model, (part + 1) * config.d_model)
        model.h[0].attn.c_attn.weight[place] *= factor
        model.h[0].attn.c_attn.bias[place] *= factor
    model.h[0].attn.c_proj.weight /= values
    return model


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("config", [CONFIG, ODD])
@pytest.mark.parametrize("size", [1.0, 2.0**-12, 2.0**-20, 2.0**-30])
def test_they_are_rounded_to_the_nearest_float16(config: pellucid.GPTConfig, plain: bool, size: float) -> None:
    """NumPy's float16 is the oracle, down to numbers that have no bits left."""
    model = model_of(config, keys=size, values=size)
    for exact, found in zip(kept(model, "float32"), kept(model, "float16", plain=plain), strict=True):
        assert np.array_equal(found, exact.astype(np.float16).astype(np.float32))
        assert (found != exact).mean() > 0.9


@pytest.mark.parametrize("plain", [False, True])
def test_every_float16_and_every_border_between_two(plain: bool) -> None:
    """NumPy's float16 is the oracle here, too."""
    ends = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    borders = (ends + np.append(ends[1:], np.float32(65536))) / 2
    each = [ends, borders, np.nextafter(borders, np.float32(0)), np.nextafter(borders, np.float32(np.inf))]
    x = np.concatenate([*each, *(-some for some in each)])
    assert len(x) % 16 == 0
    found = np.empty(len(x), np.uint16)
    library.kernel(plain=plain).pellucid_to_float16(c_void_p(x.ctypes.data), c_int64(len(x)), c_void_p(found.ctypes.data))
    with np.errstate(over="ignore"):
        assert np.array_equal(found, x.astype(np.float16).view(np.uint16))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("keys", [1.0, 2.0**20, 2.0**100])
@pytest.mark.parametrize("values", [1.0, 2.0**20, 2.0**100])
def test_numbers_beyond_float16_share_a_power_of_two(keys: float, values: float, plain: bool) -> None:
    """The largest of a position's numbers in a head then lies between 2^14 and 2^15; logits are as near as without."""
    model = model_of(CONFIG, keys=keys, values=values)
    for exact, found in zip(kept(model, "float32"), kept(model, "float16", plain=plain), strict=True):
        peak = np.abs(exact).max(-1, keepdims=True)
        power = np.where(peak > 65504, np.exp2(np.floor(np.log2(peak)) - 14), 1).astype(np.float32)
        assert np.array_equal(found, (exact / power).astype(np.float16).astype(np.float32) * power)
    packed = PackedWeights(CONFIG, arrays_of(model), plain=plain)
    exact = read(packed, "float32")
    assert 0 < np.abs(read(packed, "float16") - exact).max() < ALLOWED * np.abs(exact).max()


def test_one_head_s_large_numbers_change_nothing_for_the_others() -> None:
    model, other = model_of(ODD), model_of(ODD)
    d = ODD.d_head
    for part in (1, 2):
        other.h[0].attn.c_attn.bias[part * ODD.d_model + 2 * d + 3] = 1e9  # one number of head 2
    for usual, large in zip(kept(model, "float16"), kept(other, "float16"), strict=True):
        assert np.array_equal(np.delete(large, 2, 0), np.delete(usual, 2, 0))
        assert np.isfinite(large).all() and (np.abs(large[2, :, 3]) > 0.9e9).all()


def test_an_infinity_stays_one() -> None:
    model = model_of(CONFIG)
    model.h[0].attn.c_attn.bias[2 * CONFIG.d_model] = float("inf")
    assert np.isposinf(kept(model, "float16")[1][0, :, 0]).all()
    assert not np.isfinite(read(pack(model), "float16")).any()


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8", "int4"])
def test_rounding_keys_and_values_is_all_that_differs(weights: str) -> None:
    packed = pack(lively(pellucid.GPT(CONFIG, seed=4)), weights)
    exact, usual = read(packed, "float32"), read(packed)
    assert np.array_equal(usual, read(packed, "float32" if weights == "float32" else "float16"))
    assert 0 < np.abs(read(packed, "float16") - exact).max() < (ALLOWED if weights == "float32" else 0.02) * np.abs(exact).max()
