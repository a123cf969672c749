"""Models that a user changed: hooks, replaced methods and modules, edited weights. The answer is that of `model(ids)`."""

import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases import cases
from changed_models import CONFIG, EDITS, NAMES, Wrapped, changed, original, replace_module, scale_output
from hypothesis import given
from hypothesis import strategies as st
from models import PATTERN_SETS
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import pellucid
from pellucid.errors import PellucidError
from pellucid.gpt import decoder
from pellucid.gpt.decoder import DEFINED_FUNCTIONS, Attention
from pellucid.runtime.kernel.runner import unavailable_reason
from pellucid.runtime.module_changes import find_change
from pellucid.runtime.runner_selection import default_runner, torch_runner


TOKENS = 6
MISSING = unavailable_reason(CONFIG)
needs_kernel = pytest.mark.skipif(MISSING is not None, reason=f"no kernel: {MISSING}")


MODES = ("generate", "stream", "lookup", "beam", "batch", "xray", "engine")
TEXTS = st.lists(st.integers(0, 59), min_size=3, max_size=12)


def answer(model: pellucid.GPT, ids: list[int], mode: str) -> tuple[list[int], list[float]]:
    """The likeliest token each time, and its log-probability."""
    options: dict[str, Any] = {"max_tokens": TOKENS, "temperature": 0, "seed": 1}
    match mode:
        case "stream":
            tokens = list(model.stream(ids, **options))
            return [token.id for token in tokens], [token.logprob for token in tokens]
        case "beam":
            done = model.beam(ids, width=1, max_tokens=TOKENS)
        case "batch":
            done = model.generate([ids[:2], ids, [7]], **options)[1]
        case "engine":
            engine = model.engine(mode="fast", chunk=5)
            handle = engine.submit(model.new_request(ids, **options))
            for _ in engine.run_until_idle():
                pass
            (done,) = handle.completions()
        case "xray":
            with pellucid.xray(model, ids, keep=(), **options) as record:
                return [record[f"generation/steps/drawn_{name}"].tolist() for name in ("ids", "logprobs")]
        case _:
            done = model.generate(ids, draft="lookup" if mode == "lookup" else None, **options)
    return list(done.ids), list(done.logprobs)


def logprobs_of(model: pellucid.GPT, ids: list[int]) -> Tensor:
    """(T, V): the oracle."""
    with torch.inference_mode():
        logprobs: Tensor = model(torch.tensor([ids]))[0].log_softmax(-1)
    return logprobs


def close(found: Any, expected: Any) -> bool:
    return torch.allclose(torch.as_tensor(found, dtype=torch.float32), torch.as_tensor(expected), rtol=1e-3, atol=2e-3)


def check(model: pellucid.GPT, ids: list[int], mode: str) -> None:
    """Compares with `model(ids)` of the whole text for each token; equal ones may be drawn either way."""
    drawn, logprobs = answer(model, ids, mode)
    texts = [ids + drawn, ids + drawn[:-1], ids[:2]]  # of which one begins as the other
    found = model.score(texts)
    model.eval()  # a module that a user adds is in training mode
    assert len(drawn) == TOKENS or drawn[-1] == model.end_of_text
    for step, (token, logprob) in enumerate(zip(drawn, logprobs, strict=True)):
        row = logprobs_of(model, ids + drawn[:step])[-1]
        assert close(logprob, row[token]) and close(row[token], row.max())
    for text, score in zip(texts, found, strict=True):
        rows = logprobs_of(model, text[:-1])
        assert close(score.logprobs[1:], rows[torch.arange(len(rows)), torch.tensor(text[1:])])


@pytest.mark.long
@cases(40)
@given(st.sampled_from(NAMES), st.sampled_from(sorted(EDITS)), st.sampled_from(MODES), TEXTS)
def test_the_answer_is_that_of_the_changed_model(name: str, edit: str, mode: str, ids: list[int]) -> None:
    check(changed(name, edit), ids, mode)


@pytest.mark.long
@pytest.mark.parametrize("edit", sorted(EDITS))
def test_every_edit_of_every_module(edit: str) -> None:
    for number, name in enumerate(NAMES):
        check(changed(name, edit), [5, 9, 2, 44, 17], MODES[number % len(MODES)])


@cases(12)
@given(st.sampled_from(NAMES), st.sampled_from(MODES), TEXTS)
def test_a_hook_sees_batch_position_and_width(name: str, mode: str, ids: list[int]) -> None:
    """All positions of a text, each time: what `model(ids)` shows it, apart from other texts of a batch."""
    seen: list[tuple[int, ...]] = []
    shapes: list[tuple[int, ...]] = []
    model = original().copy()
    handle = model.get_submodule(name).register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape)))
    drawn, _ = answer(model, ids, mode)
    handle.remove()
    model.get_submodule(name).register_forward_hook(lambda module, args, out: shapes.append(tuple(out.shape)))
    if mode == "batch":
        seen = [shape for shape in seen if len(ids) <= shape[-2] < len(ids) + len(drawn)]
    for length in range(len(ids), len(ids) + len(drawn)):
        logprobs_of(model, (ids + drawn)[:length])
    assert set(seen) == set(shapes) and len(seen) >= len(shapes) and all(shape[0] == 1 or name == "wpe" for shape in seen)


@needs_kernel
def test_an_unchanged_model_is_given_to_the_kernel() -> None:
    assert find_change(original()) is None
    for model in (original().copy(), pellucid.load()):
        model.notes = "an attribute that no method reads"
        model.wte.notes = [1]
        model.register_buffer("counts", torch.zeros(3))
        model.wte.register_full_backward_hook(lambda *args: None)
        assert find_change(model) is None and default_runner(model).path.startswith("kernel")


CHANGES: list[dict[str, Any]] = [
    {}, {"d_embed": 12, "norm": "post", "activation": "relu", "attention_scale": False, "qkv_bias": False},
    {"final_norm": False, "activation": "gelu_erf"},
]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("patterns", sorted(PATTERN_SETS))
def test_no_shape_or_dtype_is_a_change(patterns: str, changes: dict[str, Any], dtype: torch.dtype) -> None:
    pattern = PATTERN_SETS[patterns]
    model = pellucid.GPT(CONFIG.replace(pattern=pattern, n_layers=len(pattern), n_heads=4, **changes)).to(dtype)
    assert find_change(model) is None is find_change(model.copy().train())


@needs_kernel
def test_removing_a_hook_gives_the_kernel_back() -> None:
    model = original().copy()
    before = model.generate([1, 2, 3], max_tokens=TOKENS, seed=1)
    handle = model.h[1].mlp.register_forward_hook(scale_output)
    assert model.generate([1, 2, 3], max_tokens=TOKENS, seed=1).logprobs != before.logprobs
    handle.remove()
    assert model.generate([1, 2, 3], max_tokens=TOKENS, seed=1) == before


@pytest.fixture
def every_class() -> Iterator[None]:
    """Puts the methods back that a test replaces for all instances."""
    patched = (Attention, "forward"), (nn.Linear, "forward"), (pellucid.GPT, "logits")
    before = [vars(cls).get(name) for cls, name in patched]
    yield
    for (cls, name), method in zip(patched, before, strict=True):
        if method is None:
            delattr(cls, name) if name in vars(cls) else None
        else:
            setattr(cls, name, method)


@pytest.mark.parametrize(("cls", "name"), [(Attention, "forward"), (nn.Linear, "forward"), (pellucid.GPT, "logits")])
def test_a_method_replaced_in_its_class_is_called(every_class: None, cls: type[nn.Module], name: str) -> None:
    method = getattr(cls, name)
    setattr(cls, name, lambda self, *args: method(self, *args) * 1.5)
    check(original().copy(), [5, 9, 2], "generate")


def test_a_hook_on_all_modules_is_called() -> None:
    model = original().copy()
    handle = register_module_forward_hook(lambda module, args, out: out * 0.9 if isinstance(module, nn.LayerNorm) else None)
    try:
        check(model, [5, 9, 2], "generate")
    finally:
        handle.remove()


class DoubledLinear(TorchFunctionMode):
    """Doubles what every linear function gives."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return found * 2 if func is F.linear else found


class HalvedGelu(TorchDispatchMode):
    """Halves the activations."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return found / 2 if "gelu" in str(func) else found


@pytest.mark.parametrize("mode", [DoubledLinear, HalvedGelu])
def test_an_active_mode_sees_the_calls(mode: Any) -> None:
    model = original().copy()
    with mode():
        assert "Mode is active" in str(find_change(model))
        check(model, [5, 9, 2], "generate")
    with torch.device("cpu"):  # a mode too, which changes no call of a model
        assert find_change(model) is None


@pytest.mark.parametrize("place", list(DEFINED_FUNCTIONS), ids=lambda place: place.__name__)
def test_a_replaced_function_is_seen(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEFINED_FUNCTIONS[place]:
        with monkeypatch.context() as patch:
            patch.setattr(place, name, lambda *args, **kwargs: None)
            assert find_change(original()) is not None, name
    assert find_change(original()) is None


@pytest.mark.parametrize(("place", "name"), [(F, "linear"), (decoder, "self_attention")])
def test_a_replaced_function_is_called(place: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function = getattr(place, name)
    monkeypatch.setattr(place, name, lambda *args, **kwargs: function(*args, **kwargs) * 1.25)
    check(original().copy(), [5, 9, 2], "generate")


@cases(20)
@given(st.sampled_from([name for name, _ in original().named_parameters()]))
def test_a_tensor_in_place_of_a_parameter_is_seen(name: str) -> None:
    model = original().copy()
    owner, _, attribute = name.rpartition(".")
    module = model.get_submodule(owner)
    vars(module)[attribute] = getattr(module, attribute) * 1.25
    assert find_change(model) is not None
    check(model, [5, 9, 2], "generate")


def test_a_compiled_call_that_is_another_is_seen() -> None:
    model = original().copy()
    mlp = model.h[0].mlp
    mlp._compiled_call_impl = lambda x: mlp._call_impl(x) * 1.25
    assert "_compiled_call_impl" in str(find_change(model))
    check(model, [5, 9, 2], "generate")
    genuine = functools.partial(mlp._call_impl)  # stands for what `mlp.compile()` makes, which takes seconds
    genuine._torchdynamo_orig_callable = mlp._call_impl  # type: ignore[attr-defined]
    mlp._compiled_call_impl = genuine
    assert find_change(model) is None


def test_a_parameter_that_is_a_negative_view(tmp_path: Path) -> None:
    model = original().copy()
    weight = model.h[0].mlp.c_fc.weight
    weight.data = torch._neg_view(-weight.data)
    assert weight.is_neg()
    check(model, [5, 9, 2], "generate")
    assert model.generate([5, 9], max_tokens=3, seed=1).ids == original().generate([5, 9], max_tokens=3, seed=1).ids
    model.save(tmp_path)
    assert torch.equal(pellucid.load(tmp_path).h[0].mlp.c_fc.weight, original().h[0].mlp.c_fc.weight)
    assert pellucid.xray(model, [5], max_tokens=1).verify(original()).ok  # of the same fingerprint


@pytest.mark.parametrize("length", [0, None])
def test_a_module_with_a_length_or_without(length: int | None) -> None:
    """As torch.compile's modules, which raise where they are asked for one."""

    class Measured(Wrapped):
        def __len__(self) -> int:
            if length is None:
                raise TypeError("it does not support len()")
            return length

    model = original().copy()
    replace_module(model, "h.1.mlp", Measured(model.h[1].mlp))
    check(model, [5, 9, 2], "generate")
    assert not model.h[1].mlp.dropout.training


def test_a_subclass_computes_as_it_says() -> None:
    class Cold(pellucid.GPT):
        def forward(self, ids: Tensor) -> Tensor:
            return super().forward(ids) / 2

    model = Cold(CONFIG, seed=2)
    model.load_state_dict(original().state_dict())
    check(model.eval(), [5, 9, 2], "generate")


@needs_kernel
def test_why_pytorch_computes_is_logged_once_for_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    model = original().copy()
    with caplog.at_level(logging.INFO, "pellucid"):
        model.generate([1], max_tokens=1)
        assert not caplog.messages
        handle = model.h[0].mlp.register_forward_hook(scale_output)
        model.generate([1], max_tokens=1)
        model.score([1, 2])
        assert [record.levelname for record in caplog.records] == ["INFO"]
        assert caplog.messages[0].endswith("it computes from the parameters alone, and h.0.mlp has a forward hook")
        handle.remove()
        replace_module(model, "h.1.attn.c_attn", Wrapped(model.h[1].attn.c_attn))
        model.generate([1], max_tokens=1)
        assert caplog.messages[1:] == [caplog.messages[1]]
        assert caplog.messages[1].endswith("and h.1.attn.c_attn is a Wrapped, not a Linear")


@pytest.mark.parametrize("edit", ["hook", "wrapped"])
def test_where_only_the_kernel_will_do_a_changed_model_is_refused(edit: str) -> None:
    model = changed("h.0.mlp", edit)
    for options in ({"kernel": "only", "mode": "fast"}, {"weights": "int8"}, {"cache": "float16"}):
        with pytest.raises(PellucidError, match=r"no kernel here: it computes .* alone, and h\.0\.mlp "):
            model.runner(**options)
    assert model.runner(mode="exact").mode == "exact"  # each text has a pass of its own


def test_a_module_in_two_places_is_packed_in_both() -> None:
    model = original().copy()
    model.h[1].mlp = model.h[0].mlp
    assert find_change(model) is None
    check(model, [5, 9, 2, 33], "generate")


def test_a_module_that_treats_each_position_by_itself_keeps_the_cache() -> None:
    for name, edit, cached in (("h.0.mlp", "wrapped", True), ("h.0.mlp", "averaging", False), ("h.1.attn", "ignorant", False)):
        assert torch_runner(changed(name, edit)).cached == cached


@cases(6)
@given(st.sets(st.sampled_from(NAMES)), st.sampled_from(["generate", "xray"]))
def test_dropout_is_off_and_each_module_stays_in_its_mode(training: set[str], mode: str) -> None:
    model = original().copy()
    for edit in ("nothing", "wrapped"):
        if edit == "wrapped":
            replace_module(model, "h.0.mlp.c_proj", Wrapped(model.h[0].mlp.c_proj).eval())
        for name, module in model.named_modules():
            module.training = name in training
        expected = answer(model.copy().eval(), [4, 8, 15], mode) if edit == "nothing" else None
        found = answer(model, [4, 8, 15], mode)
        modules = dict(model.named_modules())
        assert {name for name, module in modules.items() if module.training} == training & set(modules)
        if expected is not None:
            assert found[0] == expected[0] and close(found[1], expected[1])
        else:
            check(model, [4, 8, 15], mode)
