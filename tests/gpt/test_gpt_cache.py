"""What generating keeps, by pattern: cached = uncached, and no more bytes than the pattern can still read."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_gpt_pattern import any_pattern

from pellucid.gpt import shelf
from pellucid.gpt.arrangements import distinct_summaries, interleaved, memory_compressed, multi_head
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.config_json import read_config
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.directory import load_weights, save_model
from pellucid.gpt.pattern import Compressed, Fixed, Pattern, Strided, parse


N_CTX = 48
CLOSE = {"rtol": 1e-9, "atol": 1e-9}  # double precision: a wrong slot cannot hide behind rounding
MODELS: dict[str, tuple[Pattern, ...]] = {
    "strided": (Strided(7), Strided(5)),
    "fixed": (Fixed(8, 3), Fixed(6, 1, 4), Fixed(60, 3)),
    "interleaved": (*interleaved(2, Strided(6)), *interleaved(2, Fixed(8, 3))),
    "heads": (multi_head(Strided(6)), distinct_summaries(8, 2, 3), multi_head(Fixed(8, 2))),
    "LMLML": memory_compressed(length=10),
    "compressed, overlapping": (Compressed(5, 2), Compressed(4, 4)),
    "all": tuple(map(parse, ("dense", "banded(5)", "local(7)", "strided(6)", "fixed(9,2)", "compressed(3,3)", "summary(5,2)"))),
}


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the few tracks of a test are cut up as a long prompt is."""
    monkeypatch.setattr("pellucid.gpt.attention.SHORT", 0)
    monkeypatch.setattr(shelf, "AT_ONCE", 11)


def lively(pattern: tuple[Pattern, ...], seed: int = 0) -> Decoder:
    """A model in double precision whose every parameter matters, those of compressed blocks included."""
    config = GPTConfig(vocab_size=61, n_ctx=N_CTX, n_layers=len(pattern), d_model=24, n_heads=4, pattern=pattern)
    model = Decoder(config, seed=seed).double()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model.eval()


def ids_of(rows: int, tracks: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 61, (rows, tracks), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def assert_cached_is_uncached(model: Decoder, edges: list[int], rows: int, seed: int) -> None:
    ids = ids_of(rows, edges[-1], seed)
    cache = model.new_cache(rows)
    parts = [model.logits(model.hidden(ids[:, a:b], cache)) for a, b in pairwise(edges)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), **CLOSE)


@pytest.mark.parametrize("name", MODELS)
def test_one_token_at_a_time_is_uncached(name: str) -> None:
    assert_cached_is_uncached(lively(MODELS[name]), list(range(N_CTX + 1)), 2, 5)


@pytest.mark.parametrize("name", MODELS)
def test_a_long_prompt_in_pieces_is_uncached(name: str) -> None:
    for edges in ([0, 48], [0, 1, 48], [0, 2, 3, 17, 40, 48], [0, 9, 10, 12, 35, 36, 48]):
        assert_cached_is_uncached(lively(MODELS[name]), edges, 2, 6)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(any_pattern, min_size=1, max_size=3), st.lists(st.integers(1, 40), max_size=5, unique=True), st.integers(0, 9))
def test_any_patterns_cut_anywhere_are_uncached(patterns: list[Pattern], cuts: list[int], seed: int) -> None:
    assert_cached_is_uncached(lively(tuple(patterns)), [0, *sorted(cuts), 41], 1, seed)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_rows_of_different_lengths_go_on_as_if_alone(name: str) -> None:
    model, lengths, steps = lively(MODELS[name]), [1, 17, 8, 30], 12
    rows = [ids_of(1, n + steps, seed) for seed, n in enumerate(lengths)]
    together = model.new_cache(4)
    for row, (ids, n) in enumerate(zip(rows, lengths, strict=True)):
        alone = model.new_cache(1)
        model.hidden(ids[:, :n], alone)
        together.put(row, alone)
    going = list(range(4))
    for step in range(steps):
        if step == 6:  # two rows leave
            together.keep([1, 3])
            going = [1, 3]
        newest = torch.stack([rows[row][0, lengths[row] + step : lengths[row] + step + 1] for row in going])
        logits = model.logits(model.hidden(newest, together))[:, 0]
        for row, got in zip(going, logits, strict=True):
            expected = model(rows[row][:, : lengths[row] + step + 1])[0, -1]
            torch.testing.assert_close(got, expected, **CLOSE)


@pytest.mark.parametrize("name", MODELS)
def test_a_cache_holds_what_the_config_says(name: str) -> None:
    model = lively(MODELS[name])
    for capacity in (1, 5, 8, 20, 48):
        assert model.new_cache(3, capacity).nbytes() == 3 * model.config.kv_bytes(capacity, bytes_per_value=8)


def test_what_is_kept_by_pattern() -> None:
    """Of 1,024 tracks: a block and the summaries, a band, a third; strided keeps all, for each is in some column."""
    kept = {"fixed(128,32)": 128 + 7 * 32, "local(256)": 256, "compressed(3,3)": 1 + 341 + 3, "strided(128)": 1024,
            "banded(129)": 129, "column(128)": 1024, "summary(128,32)": 8 * 32}  # fmt: skip
    for text, slots in kept.items():
        config = GPTConfig(n_ctx=1024, n_layers=1, d_model=8, n_heads=2, pattern=(parse(text),))
        assert config.kv_bytes(1024) == 2 * 8 * 2 * slots
        assert config.kv_bytes(1024, all_dense=True) == 2 * 8 * 2 * 1024


def test_a_compressed_model_has_the_parameters_and_matrices_that_its_config_counts(tmp_path: Path) -> None:
    model = lively(MODELS["LMLML"]).float()
    assert sum(p.numel() for p in model.parameters()) == model.config.parameters()
    named = {key.removesuffix(".weight"): p.numel() for key, p in model.named_parameters() if p.dim() == 2}
    assert named == {key: a * b for key, (a, b) in model.config.matrices()}
    save_model(model, tmp_path)
    back = Decoder(read_config(tmp_path))
    load_weights(back, tmp_path)
    assert back.config == model.config
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), back.parameters(), strict=True))


def test_a_compressed_key_is_a_convolution_within_its_head_and_learns() -> None:
    """Written out for one channel; then a step's gradient reaches every new parameter."""
    model = lively((Compressed(3, 3),))
    compressor = model.compressor(0)
    k, v = torch.randn(2, 1, 4, 10, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    keys, values = compressor(k, v)
    assert keys.shape == (1, 4, 1 + 3, 6)
    weight = compressor.k_weight.view(4, 6, 6, 3)  # head, channel out, channel in, track
    expected = sum(weight[2, 5, c, t] * k[0, 2, 3 + t, c] for c in range(6) for t in range(3)) + compressor.k_bias[2 * 6 + 5]
    torch.testing.assert_close(keys[0, 2, 2, 5], expected)
    assert torch.equal(values[0, :, 0].flatten(), compressor.nothing_v)
    model(ids_of(2, 20, 3), ids_of(2, 20, 4)).backward()
    # A key's bias moves all scores of a query but that of nothing, so even it matters.
    assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in compressor.parameters())


def test_the_first_weights_of_a_compressed_block() -> None:
    model = Decoder(lively((Compressed(3, 3),)).config.replace(d_model=96), seed=3)
    for name, parameter in model.compressor(0).named_parameters():
        assert abs(parameter.std().item() - (0.02 if name.endswith("weight") else 0.0)) < 0.001
