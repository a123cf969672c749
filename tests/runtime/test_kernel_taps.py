"""What the kernel shows of a pass: what PyTorch's modules compute in float64, and the same bits on every variant."""

from functools import cache

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as some
from models import lively
from wasm_modules import TAPS, VARIANTS, Model, Module

import pellucid
from pellucid.interpret.tap import ActivationTap
from pellucid.runtime.kernel.packed import PackedWeights
from pellucid.runtime.kernel.runner import KernelRunner, PassActivations, arrays_of, unavailable_reason
from pellucid.runtime.runner import TokenSpan


POSITIONS = 48
SHAPE = pellucid.GPTConfig(
    vocab_size=61, n_ctx=POSITIONS, n_layers=3, d_model=40, n_heads=5, pattern=("dense", "banded(5)", "dense")
)

if missing := unavailable_reason(SHAPE):
    pytest.skip(f"no kernel: {missing}", allow_module_level=True)


@cache
def model_of() -> pellucid.GPT:
    return lively(pellucid.GPT(SHAPE, seed=4))


@cache
def runner_of(weights: str, plain: bool = False, threads: int = 2) -> KernelRunner:
    return KernelRunner(PackedWeights(SHAPE, arrays_of(model_of()), weights=weights, plain=plain, threads=threads))


def same(a: PassActivations, b: PassActivations) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in TAPS)


def test_they_are_what_the_modules_compute_in_float64() -> None:
    ids = torch.randint(0, 61, (POSITIONS,), generator=torch.Generator().manual_seed(2)).tolist()
    runner = runner_of("float32")
    found = runner.activations(runner.open(POSITIONS), 0, ids)
    exact = model_of().copy().double()
    seen: list[torch.Tensor] = []
    for layer in exact.h:
        layer.attn.c_proj.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0][0]))
    tap = ActivationTap(3, ("block_inputs", "attention", "writes"), clock=False)
    with torch.inference_mode():
        exact(torch.tensor([ids]), tap=tap)
    for level in range(4):
        assert np.abs(found.stream[level] - tap.block_input(level).numpy()).max() < 2e-5
    for block in range(3):
        q, k = tap.queries_and_keys(block)  # (H, T, D)
        assert np.abs(found.qkv[block, :, 0].transpose(1, 0, 2) - q.numpy()).max() < 2e-5
        assert np.abs(found.qkv[block, :, 1].transpose(1, 0, 2) - k.numpy()).max() < 2e-5
        assert np.abs(found.attended[block] - seen[block].numpy()).max() < 2e-5
        for part, written in enumerate(tap.written(block)):
            assert np.abs(found.writes[block, part] - written.numpy()).max() < 2e-5
            assert np.abs(written.numpy()).max() > 1e-2


@cases(12)
@given(
    ids=some.lists(some.integers(0, 60), min_size=2, max_size=POSITIONS), data=some.data(),
    weights=some.sampled_from(["float32", "bfloat16", "int8", "int4"]),
)  # fmt: skip
def test_read_in_two_or_plainly_the_bits_are_the_same_and_logits_unchanged(
    ids: list[int], data: some.DataObject, weights: str
) -> None:
    runner, cut = runner_of(weights), data.draw(some.integers(1, len(ids) - 1))
    sequence, other = runner.open(POSITIONS), runner.open(POSITIONS)
    whole = runner.activations(sequence, 0, ids)
    parts = [runner.activations(other, 0, ids[:cut]), runner.activations(other, cut, ids[cut:])]
    for name, axis in zip(TAPS, (1, 1, 1, 2), strict=True):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts], axis), getattr(whole, name))
    plain = runner_of(weights, True, 1)
    assert same(plain.activations(plain.open(POSITIONS), 0, ids), whole)
    # What was read with taps is what `run` reads: the keys and values, and the next token's logits.
    third = runner.open(POSITIONS)
    (expected,) = runner.run([TokenSpan(third, 0, ids)])
    (found,) = runner.run([TokenSpan(sequence, len(ids) - 1, ids[-1:])])
    assert expected is not None and found is not None and np.array_equal(found, expected)


def test_a_part_is_what_the_others_make_of_it() -> None:
    """Each level of the stream is the one before plus both writes, rounded as they are added."""
    runner = runner_of("float32")
    shown = runner.activations(runner.open(POSITIONS), 0, list(range(POSITIONS)))
    for block in range(3):
        attention, mlp = shown.writes[block]
        assert np.array_equal(shown.stream[block] + attention + mlp, shown.stream[block + 1])


def test_more_tokens_than_a_pass_takes() -> None:
    long = pellucid.GPTConfig(vocab_size=61, n_ctx=700, n_layers=1, d_model=32, n_heads=2)
    runner = KernelRunner(PackedWeights(long, arrays_of(lively(pellucid.GPT(long, seed=1))), threads=2))
    ids = [i % 61 for i in range(700)]
    sequence = runner.open(700)
    whole, tail = runner.activations(sequence, 0, ids), runner.activations(sequence, 650, ids[650:])
    assert whole.stream.shape == (2, 700, 32) and np.array_equal(whole.writes[:, :, 650:], tail.writes)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_page_sees_the_same_bits(variant: str) -> None:
    runner, ids = runner_of("float32"), list(range(40))
    expected = runner.activations(runner.open(POSITIONS), 0, ids)
    with Module(variant) as module:
        model = Model(module, SHAPE, arrays_of(model_of()))
        _, shown = model.read(model.open(POSITIONS), 0, ids, wanted=1, taps=True)
    for name in TAPS:
        assert np.array_equal(shown[name].ravel(), getattr(expected, name).ravel())
