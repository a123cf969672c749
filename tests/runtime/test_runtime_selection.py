"""Which runner computes, and that it computes with the weights as they are."""

import pytest
import torch
from models import lively

import pellucid
from pellucid.engine.engine import run_to_completion
from pellucid.errors import PellucidError
from pellucid.gpt.pattern import Local
from pellucid.runtime import runner_selection as runners
from pellucid.runtime.kernel.runner import unavailable_reason
from pellucid.runtime.runner import Runner
from pellucid.runtime.runner_selection import default_runner
from pellucid.runtime.torch_runner import TorchRunner


SHAPE = pellucid.GPTConfig(vocab_size=61, n_ctx=32, n_layers=2, d_model=24, n_heads=3)
MISSING = unavailable_reason(SHAPE)
needs_kernel = pytest.mark.skipif(MISSING is not None, reason=f"no kernel: {MISSING}")


@pytest.fixture
def model() -> pellucid.GPT:
    return lively(pellucid.GPT(SHAPE, seed=2))


def kinds(*found: Runner) -> list[str]:
    return [type(runner).__name__ for runner in found]


@needs_kernel
def test_the_kernel_is_taken_where_it_can_be(model: pellucid.GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kinds(default_runner(model), model.runner(), model.runner(kernel="only")) == ["KernelRunner"] * 3
    assert model.runner(mode="fast").mode == "exact", "it knows no other"
    monkeypatch.setenv("PELLUCID_KERNEL", "off")
    assert kinds(default_runner(model), model.runner()) == ["TorchRunner"] * 2
    assert [default_runner(model).mode, model.runner().mode] == ["fast", "exact"]


@needs_kernel
def test_keys_and_values_take_as_many_bits_as_the_weights_up_to_half(model: pellucid.GPT) -> None:
    """H 3, D 8: a panel is 16 positions, its keys and values 8 and 16 numbers a position, and with float16 two scales."""
    for weights, cache in ((None, "float32"), ("bfloat16", "float16"), ("int8", "float16"), ("int4", "float16")):
        usual, other = model.runner(weights=weights), model.runner(weights=weights, cache=cache)
        assert usual.path == other.path
    sizes = {cache: model.runner(cache=cache).sequence_bytes(17) for cache in ("float32", "float16")}
    assert sizes == {"float32": 2 * 3 * 32 * (8 + 16) * 4, "float16": 2 * 3 * 32 * (8 + 16 + 2) * 2}
    assert model.runner(weights="int8").sequence_bytes(17) == sizes["float16"]
    assert model.runner(weights="int8", cache="float32").path.endswith("int8, float32 cache")
    with pytest.raises(PellucidError, match="unknown cache 'int8': use float32 or float16"):
        model.runner(cache="int8")


@needs_kernel
def test_a_model_that_learns_is_not_packed(model: pellucid.GPT) -> None:
    model.wte.weight.requires_grad_(True)
    assert kinds(default_runner(model)) == ["TorchRunner"]
    assert kinds(model.runner()) == ["KernelRunner"], "but if asked"


def test_what_the_kernel_does_not_know_is_left_to_pytorch() -> None:
    for changes, dtype in (({"pattern": (Local(5), Local(5))}, torch.float32), ({}, torch.float64)):
        other = lively(pellucid.GPT(SHAPE.replace(**changes), seed=2)).to(dtype)
        assert kinds(default_runner(other), other.runner()) == ["TorchRunner"] * 2
        with pytest.raises(PellucidError, match="no kernel here: it"):
            other.runner(kernel="only")


@needs_kernel
def test_weights_are_packed_once_and_again_when_one_changes(model: pellucid.GPT) -> None:
    first = model.generate([1, 2, 3], max_tokens=8, temperature=0)
    packed = runners._packed[model][None]
    assert model.generate([1, 2, 3], max_tokens=8, temperature=0, seed=first.seed) == first
    assert runners._packed[model][None] is packed
    with torch.no_grad():
        model.wpe.weight[2] += 1.0
    changed = model.generate([1, 2, 3], max_tokens=8, temperature=0)
    off = run_to_completion(TorchRunner(model), [row := model.new_sequence([1, 2, 3], max_tokens=8, temperature=0)])
    assert [token.id for _, token in off] == changed.ids and row.finish_reason
    assert changed.logprobs != first.logprobs
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["ln_f.bias"] += 1.0
    model.load_state_dict(state, assign=True)
    model.requires_grad_(False)
    assert model.generate([1, 2, 3], max_tokens=8, temperature=0).logprobs != changed.logprobs


def test_unknown_choices_are_refused(model: pellucid.GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    for options, says in (
        ({"mode": "quick"}, "unknown mode 'quick': use exact or fast"),
        ({"kernel": "on"}, "unknown choice of kernel 'on': use auto, off or only"),
        ({"kernel": "off", "weights": "int8"}, "only the kernel computes with int8 weights"),
        ({"kernel": "off", "cache": "float16"}, "only the kernel keeps a cache of float16"),
    ):
        with pytest.raises(PellucidError, match=says):
            model.runner(**options)
    monkeypatch.setenv("PELLUCID_KERNEL", "yes")
    with pytest.raises(PellucidError, match="PELLUCID_KERNEL is 'yes': set it to auto, off or only"):
        model.runner()


def test_exact_is_promised_on_the_cpu_only(model: pellucid.GPT) -> None:
    with pytest.raises(PellucidError, match='not on meta: use mode="fast"'):
        model.to("meta").runner(kernel="off")
