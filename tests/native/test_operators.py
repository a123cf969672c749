"""The compiled operators against their definitions in float64, forward and backward; and that no bit depends on threads."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import pellucid
from pellucid.gpt.arrangements import all_dense, alternating
from pellucid.native.operators import functions
from pellucid.native.operators.library import compiled_operators, in_use, unavailable_reason
from pellucid.training.step import loss_and_gradients


pytestmark = pytest.mark.skipif(unavailable_reason() is not None, reason=f"no compiled operators: {unavailable_reason()}")
EPS = 2**-8  # the largest share that one rounding to bfloat16 takes or adds


def drawn(*shape: int, seed: int = 0, scale: float = 1.0, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)


def both_ways(function: Callable[..., Tensor], *inputs: Tensor, seed: int = 9) -> list[Tensor]:
    """What comes out, and the gradients of the inputs for a random gradient of that."""
    leaves = [one.detach().clone().requires_grad_() for one in inputs]
    out = function(*leaves)
    out.backward(drawn(*out.shape, seed=seed).to(out.dtype))
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def assert_near(found: Tensor, exact: Tensor, share: float) -> None:
    """Within `share` of each number, or of the usual size of them where the number is small."""
    assert found.shape == exact.shape
    allowed = share * (exact.abs() + exact.square().mean().sqrt())
    assert ((found.double() - exact).abs() <= allowed).all()


def test_gelu() -> None:
    x = torch.cat([drawn(5000, scale=3.0), torch.tensor([0.0, -0.0, 100.0, -100.0, 3e38, -3e38, 1e-30]).bfloat16()])
    found = both_ways(functions.gelu_tanh, x)
    exact = both_ways(lambda one: F.gelu(one, approximate="tanh"), x.double())
    for roundings, one, other in zip((1, 2), found, exact, strict=True):
        assert ((one.double() - other).abs() <= roundings * 1.01 * EPS * other.abs() + 1e-6).all()
    y = functions.gelu_tanh(torch.tensor([math.nan, math.inf, -math.inf]).bfloat16())
    assert y[0].isnan() and y[1] == math.inf


@cases(25)
@given(rows=st.integers(1, 150), width=st.integers(1, 130), seed=st.integers(0, 99))
def test_layer_norm(rows: int, width: int, seed: int) -> None:
    x = drawn(rows, width, seed=seed, scale=2.0, dtype=torch.float32) + 1
    gain, bias = (drawn(width, seed=seed + i, dtype=torch.float32) for i in (1, 2))
    found = both_ways(lambda *one: functions.layer_norm(*one, 1e-5), x, gain, bias)
    exact = both_ways(lambda a, b, c: F.layer_norm(a, (width,), b, c, 1e-5), *(one.double() for one in (x, gain, bias)))
    assert found[0].dtype == torch.bfloat16
    assert_near(found[0], exact[0], EPS)
    if width > 4:  # of fewer numbers the deviation, and with it 1 / deviation, may be next to nothing
        for one, other in zip(found[1:], exact[1:], strict=True):
            assert one.dtype == torch.float32
            assert_near(one, other, 2e-3)


def plain_attention(qkv: Tensor) -> Tensor:
    b, t, _, h, d = qkv.shape
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    hidden = torch.ones(t, t, dtype=torch.bool).triu(1)
    weights = (q @ k.transpose(-1, -2) / math.sqrt(d)).masked_fill(hidden, -math.inf).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(b, t, h * d)


@cases(20)
@given(b=st.integers(1, 3), t=st.integers(1, 70), h=st.integers(1, 3), d=st.sampled_from([1, 8, 24]), seed=st.integers(0, 99))
def test_causal_attention(b: int, t: int, h: int, d: int, seed: int) -> None:
    qkv = drawn(b, t, 3, h, d, seed=seed)
    found, exact = both_ways(functions.causal_attention, qkv), both_ways(plain_attention, qkv.double())
    for one, other in zip(found, exact, strict=True):
        # Scores, weights and results are rounded one after the other; no more is said of a single number.
        assert (one.double() - other).norm() <= 3 * EPS * other.norm()


def test_no_gradient_reaches_a_later_track() -> None:
    qkv = drawn(1, 40, 3, 2, 8).requires_grad_()
    functions.causal_attention(qkv)[0, 17].float().sum().backward()
    assert qkv.grad is not None and (qkv.grad[0, 18:] == 0).all() and (qkv.grad[0, :18, 2] != 0).all()


@pytest.mark.parametrize("longer", [0, 3])
def test_cross_entropy(longer: int) -> None:
    rows, vocabulary = 70, 301
    wide = drawn(rows, vocabulary + longer, scale=5.0)
    targets = torch.randint(vocabulary, (rows,), generator=torch.Generator().manual_seed(1))
    targets[::7] = -100
    leaf = wide[:, :vocabulary].double().requires_grad_()
    exact = F.cross_entropy(leaf, targets, reduction="none")
    exact.sum().backward()
    losses = functions.cross_entropy_(wide[:, :vocabulary], targets)
    assert torch.allclose(losses.double(), exact, rtol=1e-5, atol=1e-5)
    assert leaf.grad is not None
    assert ((wide[:, :vocabulary].double() - leaf.grad).abs() <= EPS * leaf.grad.abs() + 1e-6).all()
    assert (wide[:, vocabulary:] == 0).all() and (wide[::7] == 0).all()


def test_what_is_no_number_stays_none() -> None:
    logits = drawn(3, 50)
    logits[1, 7] = math.nan
    losses = functions.cross_entropy_(logits, torch.tensor([1, 2, 3]))
    assert losses.isnan().tolist() == [False, True, False]
    x = drawn(3, 50, dtype=torch.float32)
    x[1, 7] = math.nan
    y = functions.layer_norm(x, torch.ones(50), torch.zeros(50), 1e-5)
    assert y.isnan().any(1).tolist() == [False, True, False]


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_no_bit_depends_on_threads(threads: Callable[[int], None]) -> None:
    x, gain = drawn(333, 96, dtype=torch.float32), drawn(96, dtype=torch.float32)
    works: list[Callable[[], list[Tensor]]] = [
        lambda: both_ways(functions.gelu_tanh, drawn(333, 96)),
        lambda: both_ways(lambda *one: functions.layer_norm(*one, 1e-5), x, gain, gain),
        lambda: [functions.cross_entropy_(drawn(333, 96), torch.arange(333) % 96)],
    ]
    for work in works:
        threads(1)
        alone = work()
        threads(3)
        assert all(torch.equal(a, b) for a, b in zip(alone, work(), strict=True))


def test_they_are_in_use_where_they_are_asked_for_only() -> None:
    x = torch.zeros(1)
    assert not in_use(x)
    with compiled_operators():
        assert in_use(x) and not in_use(x.to("meta"))
        with compiled_operators(use=False):
            assert not in_use(x)
        assert in_use(x)
    assert not in_use(x)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pattern": alternating(2, band=5)},
        {"norm": "post", "final_norm": False},
        {"activation": "relu"},
        {"activation": "gelu_erf"},
        {"attention_scale": False},
    ],
)
def test_a_whole_step_is_that_of_pytorch(changes: dict[str, object]) -> None:
    """Of every relative of GPT-3: where an operator is none of ours, PyTorch's is taken."""
    config = pellucid.GPTConfig(vocab_size=99, n_ctx=24, n_layers=2, d_model=32, n_heads=2, pattern=all_dense(2))
    model = pellucid.GPT(config.replace(**changes), seed=1).train()  # type: ignore[arg-type]
    windows = torch.randint(99, (4, 25), generator=torch.Generator().manual_seed(3))
    found = []
    for compiled in (False, True):
        model.zero_grad()
        loss = loss_and_gradients(
            model, windows[:, :-1], windows[:, 1:], micro_batch=2, dtype=torch.bfloat16, compiled=compiled
        )
        found.append((loss, [parameter.grad for parameter in model.parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], rel=2e-3)
    for plain, ours in zip(found[0][1], found[1][1], strict=True):
        assert plain is not None and ours is not None and ours.dtype == torch.float32
        assert (plain - ours).norm() <= 0.03 * plain.norm() + 1e-6
