"""Ablation: every runner against the definition in plain float64, batched as alone, and the refusals."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as some
from models import lively

import pellucid
from pellucid.engine.engine import Engine
from pellucid.errors import PellucidError
from pellucid.gpt.ablation import Ablation, ablation_of
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.pattern import parse
from pellucid.runtime.kernel import library
from pellucid.runtime.runner import Runner


CONFIG = pellucid.GPTConfig(
    vocab_size=53, n_ctx=32, n_layers=3, d_model=24, n_heads=3, pattern=tuple(map(parse, ("dense", "banded(5)", "dense")))
)
PARTS = some.lists(
    some.tuples(some.integers(0, 2), some.none() | some.just("mlp") | some.integers(0, 2)), min_size=1, max_size=5
)
TEXTS = some.lists(some.integers(0, 52), min_size=2, max_size=20)
KERNEL = library.unavailable_reason() is None
RUNNERS: dict[str, Callable[[pellucid.GPT], Runner]] = {
    "torch exact": lambda model: model.runner(kernel="off"),
    "torch fast": lambda model: model.runner(mode="fast", kernel="off"),
    "uncached": lambda model: hooked(model).runner(mode="fast", kernel="off"),
} | ({"kernel": lambda model: model.runner(kernel="only")} if KERNEL else {})
PACKED = {
    f"kernel {weights}": lambda model, weights=weights: model.runner(kernel="only", weights=weights)
    for weights in ("bfloat16", "int8", "int4")
}


@cache
def model_of() -> pellucid.GPT:
    return lively(pellucid.GPT(CONFIG, seed=5))


def hooked(model: pellucid.GPT) -> pellucid.GPT:
    """A copy that a runner cannot cache, with a hook that changes nothing."""
    copy = model.copy()
    copy.h[1].register_forward_hook(lambda *_: None)
    return copy


def ablated(model: Decoder, ids: list[int], ablation: Ablation | None, prompt: int) -> np.ndarray[Any, Any]:
    """The definition, written out in float64: (T, V) logits."""
    config, weights = model.config, {name: p.double().numpy() for name, p in model.named_parameters()}

    def norm(x: Any, name: str) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + config.norm_eps)
        return centred / scale * weights[name + ".weight"] + weights[name + ".bias"]

    def linear(x: Any, name: str) -> Any:
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    def run(ids: list[int], replace: Callable[[int, Any, Any], Any]) -> Any:
        t, d = len(ids), config.d_head
        x = weights["wte.weight"][ids] + weights["wpe.weight"][:t]
        for block in range(config.n_layers):
            q, k, v = np.split(linear(norm(x, f"h.{block}.ln_1"), f"h.{block}.attn.c_attn"), 3, 1)
            band = getattr(config.pattern[block], "width", t)
            behind = np.arange(t)[:, None] - np.arange(t)
            heads = []
            for head in range(config.n_heads):
                of = slice(head * d, head * d + d)
                scores = np.where((behind >= 0) & (behind < band), q[:, of] @ k[:, of].T / np.sqrt(d), -np.inf)
                shares = np.exp(scores - scores.max(1, keepdims=True))
                heads.append(replace(block, head, shares / shares.sum(1, keepdims=True) @ v[:, of]))
            x = x + replace(block, "attention", linear(np.concatenate(heads, 1), f"h.{block}.attn.c_proj"))
            u = torch.from_numpy(linear(norm(x, f"h.{block}.ln_2"), f"h.{block}.mlp.c_fc"))
            u = torch.nn.functional.gelu(u, approximate="tanh").numpy()
            x = x + replace(block, "mlp", linear(u, f"h.{block}.mlp.c_proj"))
        return norm(x, "ln_f") @ weights["wte.weight"].T

    means: dict[tuple[int, Any], Any] = {}

    def keep(block: int, part: Any, out: Any) -> Any:
        means[block, part] = out.mean(0)
        return out

    run(ids[:prompt], keep)

    def put(block: int, part: Any, out: Any) -> Any:
        named = () if ablation is None else ablation.parts
        if (block, part) in named or (part in ("attention", "mlp") and (block, None) in named):
            return np.zeros_like(out) + (means[block, part] if ablation and ablation.by == "mean" else 0)
        return out

    return np.asarray(run(ids, put))


@pytest.mark.parametrize("name", list(RUNNERS))
@cases(8)
@given(parts=PARTS, by=some.sampled_from(["zero", "mean"]), ids=TEXTS)
def test_scores_are_the_definition_s(name: str, parts: list[Any], by: Any, ids: list[int]) -> None:
    found = scores(RUNNERS[name](model_of()), ids, ablate=parts, ablate_with=by)
    logits = ablated(model_of(), ids[:-1], Ablation(parts=tuple(parts), by=by), len(ids) - 1)
    right = torch.from_numpy(logits).log_softmax(-1).numpy()[np.arange(len(ids) - 1), ids[1:]]
    assert np.abs(np.array(found) - right).max() < 2e-4  # of logits of about 10: float32 sums in another order


def scores(runner: Runner, ids: list[int], **ablation: Any) -> list[Any]:
    engine = Engine(runner, tokenizer=None, end_of_text=99)
    group = engine.submit(model_of().new_request(ids, prompt_logprobs=0, max_tokens=0, **ablation))
    list(engine.run_until_idle())
    return group.score().logprobs[1:]


SLOW = [pytest.param(name, marks=pytest.mark.long) for name in ("torch exact", "uncached", *(PACKED if KERNEL else ()))]


@pytest.mark.parametrize("name", [*SLOW, "torch fast", *(["kernel"] if KERNEL else [])])
@cases(8)
@given(parts=PARTS, by=some.sampled_from(["zero", "mean"]), ids=TEXTS)
def test_the_bits_are_those_of_a_model_with_such_weights(name: str, parts: list[Any], by: Any, ids: list[int]) -> None:
    """A head of zeros has no values; an attention or MLP of a constant output has a bias alone. On quantized weights, too."""
    make = (RUNNERS | PACKED)[name]
    if by == "mean":  # a head's mean is not what a bias of its values gives, to the bit
        parts = [(block, "mlp" if isinstance(part, int) else part) for block, part in parts]
    changed, d = model_of().copy(), CONFIG.d_head
    means = make(model_of()).mean_outputs(ids[:-1])  # type: ignore[attr-defined]
    for block, part in parts:
        layer: Any = changed.h[block]
        if isinstance(part, int):
            rows = slice(2 * CONFIG.d_model + part * d, 2 * CONFIG.d_model + part * d + d)
            layer.attn.c_attn.weight[rows], layer.attn.c_attn.bias[rows] = 0, 0
            continue
        for module, mean in [(layer.mlp, means.mlp)] + ([(layer.attn, means.attention)] if part is None else []):
            module.c_proj.weight.zero_()
            module.c_proj.bias.copy_(torch.from_numpy(mean[block] if by == "mean" else 0 * mean[block]))
    assert scores(make(model_of()), ids, ablate=parts, ablate_with=by) == scores(make(changed), ids)


@pytest.mark.parametrize("kernel", [pytest.param("off", marks=pytest.mark.long), *(["only"] if KERNEL else [])])
@cases(5)
@given(data=some.data(), texts=some.lists(TEXTS, min_size=2, max_size=4))
def test_batched_is_alone_whatever_else_is_ablated(kernel: Any, data: some.DataObject, texts: list[list[int]]) -> None:
    """Prompts that begin alike, on one engine with a prefix cache: nothing is shared with an ablated one."""
    texts = [*texts, texts[0][: len(texts[0]) // 2 + 1], texts[0]]
    chosen = [data.draw(some.none() | PARTS) for _ in texts]
    by = data.draw(some.sampled_from(["zero", "mean"]))
    runner = model_of().runner(kernel=kernel)
    requests = [
        model_of().new_request(ids, max_tokens=6, seed=3, logprobs=2, n=2, ablate=parts, ablate_with=by)
        for ids, parts in zip(texts, chosen, strict=True)
    ]
    alone = []
    for request in requests:
        engine = Engine(runner, tokenizer=None, end_of_text=99)
        group = engine.submit(request)
        list(engine.run_until_idle())
        alone.append(group.completions())
        engine.close()
    shared = Engine(runner, tokenizer=None, end_of_text=99, chunk=data.draw(some.sampled_from([3, 256])))
    half = len(requests) // 2
    groups = [shared.submit(request) for request in requests[:half]]
    list(shared.run_until_idle())
    groups += [shared.submit(request) for request in requests[half:]]
    list(shared.run_until_idle())
    assert [group.completions() for group in groups] == alone
    shared.close()


def test_memory_that_is_short_changes_nothing() -> None:
    """Under a budget a prefix may be taken over; not by, nor from, an ablated request."""
    model, ids = model_of(), list(range(12))
    runner = model.runner(kernel="off")
    engine = Engine(runner, tokenizer=None, end_of_text=99, memory=runner.sequence_bytes(20))
    expected = {parts: model.score(ids, ablate=parts).logprobs for parts in (None, ((0, None),), ((2, 1),))}
    for parts in (None, ((0, None),), None, ((2, 1),), ((0, None),)):
        group = engine.submit(model.new_request(ids, max_tokens=0, prompt_logprobs=0, ablate=parts))
        list(engine.run_until_idle())
        found = group.score().logprobs
        assert np.allclose(found[1:], expected[parts][1:], atol=1e-5)  # exact mode against generate's fast one
        if parts is not None:
            assert len(engine._memory.prefixes) <= 1
    engine.close()


def test_generate_stream_score_and_drafts_agree() -> None:
    model, options = model_of(), {"max_tokens": 8, "seed": 1, "ablate": [(1, 2), (0, "mlp")]}
    plain = model.generate([1, 2, 3], max_tokens=8, seed=1)
    for by in ("zero", "mean"):
        done = model.generate([1, 2, 3], ablate_with=by, **options)
        assert done.ids != plain.ids or done.logprobs != plain.logprobs
        assert [token.id for token in model.stream([1, 2, 3], ablate_with=by, **options)] == done.ids
        assert model.generate([1, 2, 3], draft="lookup", ablate_with=by, **options).ids == done.ids
        assert model.generate([[1, 2, 3], [1, 2]], ablate_with=by, **options)[0] == done
    scored = model.score([1, 2, 3], completion=plain.ids, ablate=[(1, 2)])
    alone = model.score([*[1, 2, 3], *plain.ids], ablate=[(1, 2)])
    assert scored.logprobs == alone.logprobs[3:]


def test_a_block_by_zeros_is_a_model_without_it() -> None:
    smaller = pellucid.GPTConfig.from_dict(CONFIG.to_dict() | {"n_layers": 2, "pattern": ["dense", "dense"]})
    without = pellucid.GPT(smaller)
    names = {f"h.{to}.": f"h.{of}." for to, of in ((0, 0), (1, 2))}
    tensors = dict(model_of().named_parameters())
    with torch.no_grad():
        for name, parameter in without.named_parameters():
            parameter.copy_(tensors[next((of + name[len(to) :] for to, of in names.items() if name.startswith(to)), name)])
    without.eval().requires_grad_(False)
    ids = list(range(0, 50, 3))
    ours, right = model_of().score(ids, ablate=[(1, None)]), without.score(ids)
    assert np.allclose(ours.logprobs[1:], right.logprobs[1:], atol=1e-6)


@pytest.mark.parametrize(
    ("ablate", "message"),
    [
        ([(3, 0)], "block 3, but the blocks are 0 to 2"), ([(0, 3)], "head 3 of block 0, but the heads are 0 to 2"),
        ([(-1, 0)], "a part to ablate is"), ([(0, "attn")], "a part to ablate is"), ([0], "a part to ablate is"),
        ([], "names no part"), ("0:1", "ablate is a list"), (7, "ablate is a list"), ([(0.5, 1)], "a part to ablate is"),
        ([(True, 1)], "a part to ablate is"),
    ],
)  # fmt: skip
def test_what_cannot_be_ablated_is_refused(ablate: Any, message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        model_of().generate([1], max_tokens=2, ablate=ablate)


def test_other_refusals() -> None:
    with pytest.raises(PellucidError, match="ablate_with must be"):
        model_of().generate([1], max_tokens=2, ablate=[(0, 1)], ablate_with="median")  # type: ignore[call-overload]
    with pytest.raises(PellucidError, match="leave out slide"):
        model_of().generate([1], ablate=[(0, 1)], ablate_with="mean", slide=True)
    changed = model_of().copy()
    changed.h[1].mlp.forward = lambda x: x * 2.0  # its output is seen by the block all the same
    assert changed.generate([1, 2], max_tokens=2, seed=0, ablate=[(1, "mlp")]).ids
    changed.h[1].forward = lambda x, cache=None, tap=None: x  # it shows a tap nothing
    with pytest.raises(PellucidError, match=r"the mlp of h\.1 cannot be ablated"):
        changed.generate([1, 2], max_tokens=2, seed=0, ablate=[(1, "mlp")])
    with pytest.raises(PellucidError, match=r"h\.1 has no mean"):
        changed.generate([1, 2], max_tokens=2, seed=0, ablate=[(0, "mlp")], ablate_with="mean")


@given(PARTS)
@cases(30)
def test_parts_are_sorted_each_once_and_come_back_from_json(parts: list[Any]) -> None:
    ablation = ablation_of(parts, "mean")
    assert ablation is not None and set(ablation.parts) == set(parts)
    assert Ablation.from_dict(ablation.to_dict()) == ablation
    assert ablation_of(list(reversed(parts)), "mean") == ablation
    assert all(a[0] <= b[0] for a, b in pairwise(ablation.parts))
