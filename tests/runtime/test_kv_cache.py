"""The torch runner's KV cache, by pattern: cached = uncached, copied = read, and the bytes that it says."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from models import PATTERN_SETS, perturbed
from numpy.typing import NDArray
from test_gpt_pattern import any_pattern

import pellucid
from pellucid.gpt.pattern import Pattern
from pellucid.runtime import kv_cache
from pellucid.runtime.runner import Mode, TokenSpan
from pellucid.runtime.torch_runner import TorchRunner


N_CTX = 48
# Computed in float64 and returned as float32: one rounding, and a wrong position cannot hide behind it.
CLOSE = {"rtol": 1e-6, "atol": 1e-6}
MODES: tuple[Mode, ...] = ("fast", "exact")
Floats = NDArray[np.float32]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The few positions of a test are divided as a long prompt is."""
    monkeypatch.setattr("pellucid.gpt.attention.SHORT", 0)
    monkeypatch.setattr(kv_cache, "QUERY_CHUNK", 11)


def ids_of(seed: int, length: int = N_CTX) -> list[int]:
    found: list[int] = torch.randint(0, 61, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return found


@torch.no_grad()
def uncached(model: pellucid.GPT, ids: list[int]) -> Floats:
    """(T, V): the oracle, a forward pass over everything."""
    found: Floats = model(torch.tensor([ids]))[0].float().numpy()
    return found


def read(runner: TorchRunner, sequence: int, ids: list[int], first: int, end: int) -> Floats:
    (logits,) = runner.run([TokenSpan(sequence, first, ids[first:end], "all")])
    assert logits is not None
    return logits


def assert_cached_is_uncached(model: pellucid.GPT, edges: list[int], seed: int, mode: Mode) -> None:
    runner, ids = TorchRunner(model, mode=mode), ids_of(seed, edges[-1])
    sequence = runner.open(N_CTX)
    parts = [read(runner, sequence, ids, a, b) for a, b in pairwise(edges)]
    np.testing.assert_allclose(np.concatenate(parts), uncached(model, ids), **CLOSE)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PATTERN_SETS)
def test_one_token_at_a_time_is_uncached(name: str, mode: Mode) -> None:
    assert_cached_is_uncached(perturbed(PATTERN_SETS[name]), list(range(N_CTX + 1)), 5, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PATTERN_SETS)
def test_a_long_prompt_in_chunks_is_uncached(name: str, mode: Mode) -> None:
    for edges in ([0, 48], [0, 1, 48], [0, 2, 3, 17, 40, 48], [0, 9, 10, 12, 35, 36, 48]):
        assert_cached_is_uncached(perturbed(PATTERN_SETS[name]), edges, 6, mode)


@cases(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(any_pattern, min_size=1, max_size=3), st.lists(st.integers(1, 40), max_size=5, unique=True), st.integers(0, 9),
    st.sampled_from(MODES),
)  # fmt: skip
def test_any_patterns_divided_anywhere_are_uncached(patterns: list[Pattern], cuts: list[int], seed: int, mode: Mode) -> None:
    assert_cached_is_uncached(perturbed(tuple(patterns)), [0, *sorted(cuts), 41], seed, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PATTERN_SETS)
def test_sequences_of_different_lengths_and_copied_prefixes_go_on_as_if_alone(name: str, mode: Mode) -> None:
    """Read together token by token; the third is a copy of part of the second, whose own text then differs."""
    model, lengths, steps = perturbed(PATTERN_SETS[name]), [1, 17, 30], 12
    runner = TorchRunner(model, mode=mode)
    texts = [ids_of(seed, n + steps) for seed, n in enumerate(lengths)]
    sequences = [runner.open(N_CTX) for _ in texts]
    for sequence, ids, n in zip(sequences, texts, lengths, strict=True):
        read(runner, sequence, ids, 0, n)
    copied = runner.open(N_CTX)
    runner.copy(sequences[2], copied, 13)
    sequences.append(copied)
    texts.append([*texts[2][:13], *ids_of(9, steps)])
    lengths.append(13)
    found: list[list[Floats]] = [[] for _ in texts]
    for step in range(steps):
        spans = [
            TokenSpan(sequence, n + step, [ids[n + step]])
            for sequence, n, ids in zip(sequences, lengths, texts, strict=True)
        ]
        for own, logits in zip(found, runner.run(spans), strict=True):
            assert logits is not None
            own.append(logits)
    for ids, n, own in zip(texts, lengths, found, strict=True):
        np.testing.assert_allclose(np.stack(own), uncached(model, ids)[n:], **CLOSE)


@pytest.mark.parametrize("name", PATTERN_SETS)
def test_a_cache_has_the_bytes_that_the_runner_says_and_never_fewer_than_an_evicting_one(name: str) -> None:
    model = perturbed(PATTERN_SETS[name])
    runner = TorchRunner(model)
    for capacity in (1, 5, 8, 20, 48):
        held = runner._sequences[runner.open(capacity)].nbytes
        assert held == runner.sequence_bytes(capacity)
        assert held >= model.config.kv_bytes(capacity, bytes_per_value=8)
