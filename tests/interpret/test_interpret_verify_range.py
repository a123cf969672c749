"""Verifying rows and channels of very different sizes: what is large does not set the tolerance, or the range, of the rest."""

import numpy as np
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import lively
from tampering import signed_again

import pellucid
from pellucid.gpt.pattern import Banded, Dense
from pellucid.interpret.verify.activations import stream_error, stream_ranges
from pellucid.interpret.verify.difference import row_ranges
from pellucid.record import as_bfloat16


CONFIG = pellucid.GPTConfig(vocab_size=60, n_ctx=32, n_layers=2, d_model=24, n_heads=2, pattern=(Banded(5), Dense()))


@cases(6)
@given(
    dtype=st.sampled_from((torch.float32, torch.bfloat16, torch.float16)), size=st.floats(0, 3.5), channel=st.integers(0, 23),
    seed=st.integers(0, 2**16), tokens=st.integers(1, 12),
)  # fmt: skip
def test_an_outlier_channel_hides_nothing(dtype: torch.dtype, size: float, channel: int, seed: int, tokens: int) -> None:
    model = lively(pellucid.GPT(CONFIG, seed=seed))
    model.h[0].mlp.c_proj.bias[channel] += 10**size
    model = model.to(dtype)
    record = pellucid.xray(model, [seed % 60, 7, 9, 11], max_tokens=tokens, seed=seed)
    assert record.verify(model).ok  # an honest record
    name, random = f"generation/block_inputs/{1 + seed % 2}", np.random.default_rng(seed)
    numbers = record[name]
    negated = np.where((random.random(numbers.shape) < 0.3) & (np.arange(24) != channel), -numbers, numbers)
    report = signed_again(record, {name: as_bfloat16(negated)}).verify(model)
    found = next(one for one in report.chunks if one.chunk == name)
    assert not found.ok or found.coarse > 0.2 * found.numbers, str(found)


@cases(40)
@given(positions=st.integers(1, 20), channels=st.integers(24, 48), size=st.floats(0, 6), seed=st.integers(0, 2**32 - 1))
def test_errors_of_positions_and_channels_of_different_sizes(positions: int, channels: int, size: float, seed: int) -> None:
    """Errors that are large in one channel: the others are within their tolerance, which does not grow with it."""
    random = np.random.default_rng(seed)
    scale = np.ones(channels)
    scale[0] = 10**size
    wide = random.normal(size=(positions, channels)) * scale
    one, two = (wide + 0.01 * scale * random.normal(size=wide.shape) for _ in range(2))
    allowed = stream_error(one, wide, 2.0**-15, 2.0**-7)
    # Normal errors, unlike those of rounding, are not bounded by the number: the large channel is left out.
    assert (np.abs(two - one)[:, 1:] <= 1.5 * allowed[:, 1:]).all()
    if positions >= 8:  # of fewer, the position's largest error is all there is to tell
        assert allowed[:, 1:].max() <= 1.0
    spreads = stream_ranges(one)
    assert (spreads[:, 1:] <= 2 * np.abs(one[:, 1:]).max()).all()


@cases(40)
@given(rows=st.integers(1, 6), columns=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_each_row_has_its_own_range(rows: int, columns: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, columns)) * 10 ** random.uniform(-3, 3, (rows, 1))
    values[random.random(values.shape) < 0.1] = np.nan
    for row, spread in zip(values, row_ranges(values)[:, 0], strict=True):
        finite = row[np.isfinite(row)]
        assert spread == ((np.ptp(finite) or abs(finite[0])) if len(finite) else 0.0)
