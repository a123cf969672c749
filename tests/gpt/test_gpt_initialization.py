"""First weights: functions of (seed, name, index), normal, and the same bits everywhere."""

import hashlib
from statistics import NormalDist

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from pellucid.gpt import initialization
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.costs import parameter_shapes
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.initialization import fill_normal, initial_rows


CONFIG = GPTConfig(
    vocab_size=50, n_ctx=20, n_layers=3, d_model=12, n_heads=2, d_embed=6, pattern=("banded(5)", "compressed(3,3)", "dense")
)


def numbers(count: int, seed: int = 1, name: str = "wte.weight", first: int = 0) -> np.ndarray:
    out = np.empty(count, np.float32)
    fill_normal(out, seed, name, first, 1.0)
    return out


@cases()
@given(st.sampled_from(list(parameter_shapes(CONFIG))), st.integers(-5, 2**70), st.data())
def test_rows_are_those_of_the_whole_parameter(parameter: tuple[str, tuple[int, ...]], seed: int, data: st.DataObject) -> None:
    name, shape = parameter
    start = data.draw(st.integers(0, shape[0]))
    stop = data.draw(st.integers(start, shape[0]))
    whole = initial_rows(CONFIG, seed, name, shape)
    assert whole.shape == shape and whole.dtype == np.float32
    assert np.array_equal(initial_rows(CONFIG, seed, name, shape, start, stop), whole[start:stop])


@cases(30)
@given(st.integers(0, 2**34), st.integers(0, 60), st.integers(1, 9))
def test_any_span_in_chunks_of_any_size_is_the_same(first: int, count: int, chunk: int) -> None:
    """Against one number at a time, in plain integers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(initialization, "CHUNK", chunk)
        found = numbers(count, 3, "a", first)
    key = int.from_bytes(hashlib.sha256(b"3/a").digest()[:8], "little")
    for index, value in enumerate(found, first):
        half = split_mix_64(key, index // 2) >> 32 * (index % 2) & 0xFFFFFFFF
        assert value == pytest.approx(NormalDist().inv_cdf((half + 0.5) / 2**32), rel=2e-6, abs=1e-9)


def split_mix_64(key: int, counter: int) -> int:
    """Steele, Lea & Flood 2014, figure 17, for the state that `counter` earlier calls leave."""
    z = (key + 0x9E3779B97F4A7C15 * (counter + 1)) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def test_the_bits_are_the_same_on_every_machine() -> None:
    assert hashlib.sha256(numbers(100_001, 42, "h.0.attn.c_attn.weight").astype("<f4").tobytes()).hexdigest() == (
        "eff2db1b9b8c65be6729a41061c0ffcf4093da4d8c27c8faebc29e6139bb4642"
    )


def test_quantiles_in_the_centre_and_in_both_tails() -> None:
    u = np.array([0, 1, 99, 2**20, 322122547, 322122548, 2**31 - 1, 2**31, 3972844747, 3972844748, 2**32 - 2, 2**32 - 1])
    expected = [NormalDist().inv_cdf((int(value) + 0.5) / 2**32) for value in u]
    np.testing.assert_allclose(initialization._normal(u.astype(np.uint32)), expected, rtol=2e-6)


def test_they_are_standard_normal_and_independent() -> None:
    """Moments, correlations of neighbours, of names and of seeds within five standard errors; and the distribution function."""
    n = 400_000
    x = numbers(n)
    others = {"neighbour": numbers(n, first=1), "name": numbers(n, name="wpe.weight"), "seed": numbers(n, seed=2)}
    assert abs(x.mean()) < 5 / n**0.5
    assert abs(x.std() - 1) < 5 / (2 * n) ** 0.5
    assert abs((x**3).mean()) < 5 * (15 / n) ** 0.5 and abs((x**4).mean() - 3) < 5 * (96 / n) ** 0.5
    for name, other in others.items():
        assert abs((x * other).mean()) < 5 / n**0.5, name
    points = np.linspace(-3, 3, 13)
    shares = [(x <= point).mean() for point in points]
    assert np.abs(np.array(shares) - [NormalDist().cdf(point) for point in points]).max() < 2.5 / n**0.5


def test_a_decoder_has_them_and_a_shape_changes_no_other_parameter() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pellucid.gpt.decoder.INIT_NUMBERS", 25)  # in blocks of a few rows
        model = Decoder(CONFIG, seed=7)
    for name, parameter in model.named_parameters():
        assert np.array_equal(parameter.detach().numpy(), initial_rows(CONFIG, 7, name, tuple(parameter.shape))), name
    longer = Decoder(CONFIG.replace(n_ctx=40, vocab_size=90), seed=7)
    assert torch.equal(longer.h[0].mlp.c_fc.weight, model.h[0].mlp.c_fc.weight)
    assert torch.equal(longer.wte.weight[:50], model.wte.weight)
