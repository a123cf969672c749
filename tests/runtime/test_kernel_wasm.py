"""The kernel's WebAssembly modules in node: the bits of the native kernel, whatever the shape, weights and pieces read."""

import ctypes
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as some
from models import lively
from numpy.typing import NDArray
from wasm_modules import VARIANTS, Model, Module

import pellucid
from pellucid.formats.hf_config import read_config
from pellucid.formats.weights import WeightArrays, open_weights
from pellucid.generation.resolve import resolve
from pellucid.gpt.ablation import Ablation, mean_over_positions, replacements
from pellucid.gpt.config_json import read_json
from pellucid.gpt.pattern import parse
from pellucid.gpt.quantize import is_quantized, pack_nibbles, quantize
from pellucid.runtime.kernel import library
from pellucid.runtime.kernel.packed import PackedWeights
from pellucid.runtime.kernel.runner import KernelRunner, arrays_of
from pellucid.runtime.runner import TokenSpan


POSITIONS = 40
STORAGES = ("float32", "float16", "bfloat16", "rows", "int8", "int4")
Array = NDArray[Any]

if missing := library.unavailable_reason():
    pytest.skip(f"no kernel: {missing}", allow_module_level=True)


@pytest.fixture(scope="module")
def module() -> Iterator[Callable[[str], Module]]:
    opened: dict[str, Module] = {}

    def open_module(variant: str) -> Module:
        if variant not in opened:
            opened[variant] = Module(variant)
        return opened[variant]

    yield open_module
    for one in opened.values():
        one.close()


def stored(tensors: Mapping[str, Array], storage: str) -> dict[str, Array]:
    """Float32 parameters as a file of that storage holds them; some matrices transposed, as GPT-2's files have them."""
    outputs: dict[str, Array] = {}
    for name, values in tensors.items():
        if storage in ("int8", "int4") and is_quantized(name, values.shape):
            groups = quantize(values, storage)
            outputs[name] = groups.codes if storage == "int8" else pack_nibbles(groups.codes)
            outputs[name + ".scale"] = groups.scale
        elif storage == "rows" and is_quantized(name, values.shape):
            scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), np.float32(1e-30)) / np.float32(127)
            outputs[name], outputs[name + ".scale"] = np.rint(values / scale).astype(np.int8), scale
        elif storage == "float16":
            with np.errstate(over="ignore"):
                outputs[name] = values.astype(np.float16)
        elif storage == "bfloat16":
            outputs[name] = torch.from_numpy(values).bfloat16().view(torch.uint16).numpy()
        else:
            outputs[name] = values
        if storage in ("float32", "float16", "bfloat16") and values.ndim == 2 and ".mlp." in name:
            outputs[name] = np.ascontiguousarray(outputs[name].T).T
    return outputs


@some.composite
def models(draw: some.DrawFn) -> tuple[pellucid.GPTConfig, dict[str, Array], str]:
    """A shape, parameters as a file holds them, and what is computed with."""
    heads, width, blocks = draw(some.integers(1, 3)), draw(some.integers(1, 21)), draw(some.integers(1, 3))
    patterns = tuple(parse(draw(some.sampled_from(("dense", "banded(1)", "banded(9)", "banded(30)")))) for _ in range(blocks))
    config = pellucid.GPTConfig(
        vocab_size=draw(some.integers(2, 70)), n_ctx=POSITIONS, n_layers=blocks, d_model=heads * width, n_heads=heads,
        d_ff=draw(some.integers(1, 99)), activation=draw(some.sampled_from(("gelu_tanh", "gelu_erf", "relu"))),
        qkv_bias=draw(some.booleans()), final_norm=draw(some.booleans()), attention_scale=draw(some.booleans()),
        pattern=patterns, norm_eps=draw(some.sampled_from((1e-5, 1e-12))),
    )  # fmt: skip
    model = pellucid.GPT(config, seed=draw(some.integers(0, 99)))
    # From weights whose products are subnormal to ones whose products overflow.
    times = draw(some.sampled_from((1.0, 8.0, 1e-21, 1e-12, 1e5, 1e16)))
    tensors = {name: values * np.float32(times if values.ndim == 2 else 1) for name, values in arrays_of(model).items()}
    storage = draw(some.sampled_from([s for s in STORAGES if times < 1e5 or s not in ("int8", "int4")]))
    weights = draw(some.sampled_from(("float32", "bfloat16", *([storage] if storage in ("int8", "int4") else []))))
    return config, stored(tensors, storage), weights


def same_bits(a: Array, b: Array) -> bool:
    """Any NaN is any other: their bits are the processor's."""
    return bool(((a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))).all())


@cases(15)
@given(
    made=models(), variant=some.sampled_from(VARIANTS), ids=some.lists(some.integers(0, 10**6), min_size=1, max_size=POSITIONS),
    pieces=some.lists(some.integers(1, 20), max_size=4),
)  # fmt: skip
def test_the_bits_are_those_of_the_native_kernel(
    module: Callable[[str], Module], made: tuple[pellucid.GPTConfig, dict[str, Array], str], variant: str, ids: list[int],
    pieces: list[int],
) -> None:  # fmt: skip
    config, tensors, weights = made
    ids = [token % config.vocab_size for token in ids]
    runner = KernelRunner(PackedWeights(config, tensors, weights=weights))
    (expected,) = runner.run([TokenSpan(runner.open(POSITIONS), 0, ids, "all")])
    model = Model(module(variant), config, tensors, weights)
    sequence, first, found = model.open(POSITIONS), 0, []
    for length in [*pieces, len(ids)]:
        if some_ids := ids[first : first + length]:
            found.append(model.read(sequence, first, some_ids)[0])
            first += length
    model.module.call("sequence_free", sequence)
    model.close()
    assert expected is not None
    assert same_bits(np.concatenate(found), expected)


@pytest.mark.long
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8", "int4"])
def test_the_embedded_model_has_the_same_bits(module: Callable[[str], Module], variant: str, weights: str) -> None:
    directory = resolve("default")
    values = read_json(directory)
    config = read_config(directory, values)
    ids = np.random.default_rng(5).integers(0, config.vocab_size, 200).tolist()
    with open_weights(directory, config, values) as (files, sources):
        tensors: Mapping[str, Array] = WeightArrays(config, files, sources)
        if weights in ("int8", "int4"):
            full = {name: values.copy() for name, values in arrays_of(pellucid.load()).items()}
            tensors = stored(full, weights)
        runner = KernelRunner(PackedWeights(config, tensors, weights=weights))
        model = Model(module(variant), config, tensors, weights)
    (expected,) = runner.run([TokenSpan(runner.open(len(ids)), 0, ids, "all")])
    sequence = model.open(len(ids))
    found = np.concatenate([model.read(sequence, 0, ids[:150])[0], model.read(sequence, 150, ids[150:])[0]])
    assert expected is not None and same_bits(found, expected)
    model.module.call("sequence_free", sequence)
    model.close()


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_ablation_has_the_native_kernel_s_bits(module: Callable[[str], Module], variant: str) -> None:
    config = pellucid.GPTConfig(vocab_size=61, n_ctx=POSITIONS, n_layers=2, d_model=24, n_heads=3)
    tensors, ids = arrays_of(lively(pellucid.GPT(config, seed=8))), list(range(30))
    runner, model = KernelRunner(PackedWeights(config, tensors)), Model(module(variant), config, tensors)
    for by in ("zero", "mean"):
        ablation = Ablation(parts=((0, 1), (0, "mlp"), (1, None), (1, 2)), by=by)  # type: ignore[arg-type]
        what = replacements(ablation, config, runner.mean_outputs(ids) if by == "mean" else None)
        sequence = runner.open(POSITIONS)
        runner.ablate(sequence, what)
        (expected,) = runner.run([TokenSpan(sequence, 0, ids, "all")])
        values = (what.means.heads, what.means.attention, what.means.mlp) if what.means else ()
        places = [model.module.put(mask.astype(np.uint8)) for mask in (what.heads, what.attention, what.mlp)]
        places += [model.module.put(one) for one in values] or [0, 0, 0]
        struct, paged = model.module.pointers(*places), model.open(POSITIONS)
        model.module.call("sequence_ablate", paged, struct)
        found, _ = model.read(paged, 0, ids)
        assert expected is not None and same_bits(found, expected)
        plain, _ = model.read(model.open(POSITIONS), 0, ids)
        assert not same_bits(plain, found)
        if by == "mean":  # what a page computes them from: the taps of a pass over the prompt
            _, shown = model.read(model.open(POSITIONS), 0, ids, taps=True)
            assert np.array_equal(mean_over_positions(shown["attended"]), what.means.heads)
            assert np.array_equal(mean_over_positions(shown["writes"][:, 1]), what.means.mlp)
    model.close()


@cache
def fmaf() -> Callable[[float, float, float], float]:
    """C's own."""
    function = ctypes.CDLL("libm.so.6").fmaf
    function.argtypes, function.restype = [ctypes.c_float] * 3, ctypes.c_float
    return function


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="glibc's libm is loaded by its name")
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_multiply_add_rounds_once(module: Callable[[str], Module], variant: str) -> None:
    """Of any bits; and of operands whose sum in double is halfway between two float32 numbers, or nearly, down to 2^-149."""
    numbers, count = np.random.default_rng(7), 4096
    x, y, z = numbers.integers(0, 1 << 32, (3, count), np.uint32).view(np.float32).reshape(3, -1).copy()
    few = numbers.integers(0, 1 << 12, (2, count)) + (1 << 12)  # products of two such have 26 bits at most
    near = slice(count // 2, count)
    exponent = numbers.integers(-75, 0, (2, count))
    x[near], y[near] = (np.ldexp(few.astype(np.float32), exponent.astype(np.int32)))[:, near]
    z[near] = np.ldexp(numbers.integers(-3, 4, count).astype(np.float32), numbers.integers(-149, 20, count))[near]
    z[count - 512 :] = np.ldexp(np.float32(1), (exponent.sum(0) + numbers.integers(20, 52, count)).astype(np.int32))[-512:]
    with np.errstate(all="ignore"):
        expected = np.array([fmaf()(*map(float, each)) for each in zip(x, y, z, strict=True)], np.float32)
    one = module(variant)
    places = [one.put(values) for values in (x, y, z)]
    one.call("multiply_add", *places, count)
    found = one.get(places[2], (count,))
    one.free(*places)
    assert same_bits(found, expected)


def test_a_module_says_whether_its_multiply_add_is_fused() -> None:
    unfused = "--no-enable-fma3"  # V8 then multiplies and adds
    for variant, flags, fused in (("relaxed", (), 1), ("relaxed", (unfused,), 0), ("exact", (unfused,), 1)):
        with Module(variant, *flags) as one:
            assert one.call("fma_is_fused") == fused
            name = one.get(one.call("variant"), (16,), np.uint8).tobytes().partition(b"\0")[0]
            assert name.decode() == f"WASM {variant}"


def test_what_does_not_fit_is_refused(module: Callable[[str], Module]) -> None:
    one = module("exact")
    shape = (8, 2, 1, 9, POSITIONS, 16, 0, 0, 1, 1e-5, 0.5)
    for place, wrong in ((0, 0), (1, 3), (2, -1), (2, 10**6), (3, 0), (4, 0), (5, -3), (6, 3), (7, 4), (7, -1)):
        assert one.call("model_new", *shape[:place], wrong, *shape[place + 1 :]) == 0
    model = one.call("model_new", *shape)
    numbers = one.put(np.zeros(1000, np.float32))
    for block, part, kind, scale in ((1, 1, "f", 0), (-1, 2, "f", 0), (0, 5, "f", 0), (0, 1, "x", 0), (0, 1, "i", 0),
                                     (0, 1, "q", 0), (0, 1, "f", numbers)):  # fmt: skip
        assert one.call("set_matrix", model, block, part, numbers, ord(kind), 8, 1, scale, 0) == 2
    for block, part, kind in ((1, 3, "f"), (0, 7, "f"), (0, -1, "f"), (0, 0, "q")):
        assert one.call("set_vector", model, block, part, numbers, ord(kind), 0) == 2
    assert one.call("set_band", model, 1, 3) == 2 and one.call("set_band", model, 0, -3) == 2
    assert one.call("sequence_new", model, POSITIONS + 1) == 0
    sequence = one.call("sequence_new", model, 16)
    assert one.call("read", model, sequence, 0, numbers, 1, 0, 0, 0) == 2  # it has no weights yet
    one.call("sequence_free", sequence)
    assert one.call("set_matrix", model, 0, 0, numbers, ord("f"), 8, 1, 0, numbers) == 2  # the token matrix has no bias
    for error in (0, 2):  # a tensor is set once
        assert one.call("set_matrix", model, 0, 2, numbers, ord("f"), 8, 1, 0, numbers) == error
        assert one.call("set_vector", model, 0, 3, numbers, ord("f"), 0) == error
    one.call("model_free", model)
    one.free(numbers)
    grouped = one.call("model_new", *shape[:7], 3, *shape[8:])
    assert one.call("set_matrix", grouped, 0, 1, 8, ord("f"), 8, 1, 0, 0) == 2  # only int4 groups of a file
    one.call("model_free", grouped)


def test_a_model_takes_the_pages_of_its_numbers(module: Callable[[str], Module]) -> None:
    config = pellucid.GPTConfig(vocab_size=300, n_ctx=POSITIONS, n_layers=2, d_model=256, n_heads=2)
    one, numbers = module("exact"), 4 * config.parameters()
    before = one.ask("size")
    shape = (256, 2, 2, 300, POSITIONS, config.d_ff)
    assert one.call("model_new", *shape, 0, 0, 1, 1e-5, 0.5)
    assert numbers <= one.ask("size") - before < numbers + 3 * 65536


def test_memory_is_given_back(module: Callable[[str], Module]) -> None:
    config = pellucid.GPTConfig(vocab_size=300, n_ctx=POSITIONS, n_layers=2, d_model=96, n_heads=2)
    tensors, one = arrays_of(pellucid.GPT(config, seed=1)), module("relaxed")
    sizes = []
    for _ in range(6):
        model = Model(one, config, tensors)
        sequence = model.open(POSITIONS)
        model.read(sequence, 0, range(POSITIONS))
        one.call("sequence_free", sequence)
        model.close()
        sizes.append(one.ask("size"))
    assert len(set(sizes[1:])) == 1
