"""Every fast path of attention against the definition under a mask, forward and in its gradients."""

import pytest
import torch
from cases import cases
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from test_gpt_pattern import compressed, heads, simple

from pellucid.gpt import attention_tiles as parts
from pellucid.gpt.attention import attention, compressed_attention, masked_attention, visible_mask
from pellucid.gpt.pattern import Banded, Column, Compressed, Dense, Fixed, Heads, Local, Pattern, Strided, Summary


# Double precision, so that a wrong key cannot hide behind rounding.
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
H = 3
FIXTURE = [HealthCheck.function_scoped_fixture]  # it sets the same number each time


def draw(seed: int, *shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def assert_same(fast: torch.Tensor, plain: torch.Tensor, inputs: list[torch.Tensor], **close: float) -> None:
    torch.testing.assert_close(fast, plain, **close)
    weights = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mine, theirs = (torch.autograd.grad((out * weights).sum(), inputs) for out in (fast, plain))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, **close)


@pytest.fixture(autouse=True)
def cut_up_even_the_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.gpt.attention.SHORT", 0)


any_query = st.one_of(simple, heads)


@cases(100, suppress_health_check=FIXTURE)
@given(any_query, st.integers(1, 75), st.booleans(), st.integers(0, 99))
def test_attention_is_masked_attention(pattern: Pattern, positions: int, small: bool, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(parts, "ROWS", 8)
            patch.setattr(parts, "TILE_SCORES", 200)
        inputs = draw(seed, *[(2, H, positions, 4)] * 3)
        mask = visible_mask(pattern, positions, positions, heads=H)
        assert_same(attention(*inputs, pattern), masked_attention(*inputs, mask), inputs, **CLOSE)


@cases(40, suppress_health_check=FIXTURE)
@given(any_query, st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
def test_new_queries_read_on(pattern: Pattern, keys: int, new: int, seed: int) -> None:
    """Queries on the newest positions of more keys."""
    inputs = draw(seed, (1, H, min(new, keys), 4), (1, H, keys, 4), (1, H, keys, 4))
    mask = visible_mask(pattern, min(new, keys), keys, heads=H)
    assert_same(attention(*inputs, pattern), masked_attention(*inputs, mask), inputs, **CLOSE)


@cases(40, suppress_health_check=FIXTURE)
@given(compressed, st.integers(1, 60), st.integers(0, 99))
def test_compressed_attention_is_masked_attention(pattern: Compressed, positions: int, seed: int) -> None:
    count = 1 + pattern.count(positions)
    inputs = draw(seed, (2, H, positions, 4), (2, H, count, 4), (2, H, count, 4))
    ends = [m * pattern.stride + pattern.kernel - 1 for m in range(count - 1)]
    mask = torch.tensor([[True] + [end <= q for end in ends] for q in range(positions)])
    assert_same(compressed_attention(*inputs, pattern), masked_attention(*inputs, mask), inputs, **CLOSE)


MANY: list[Pattern] = [
    Banded(16), Banded(100), Local(40), Column(7), Strided(16), Summary(16, 4), Fixed(16, 4), Fixed(100, 9, 2),
    Heads((Fixed(16, 4), Fixed(16, 4, 1))), Dense(),
]  # fmt: skip


@pytest.mark.parametrize("pattern", MANY, ids=str)
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 2e-5), (torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_in_every_dtype(pattern: Pattern, dtype: torch.dtype, close: float) -> None:
    """Bfloat16 has 8 bits of mantissa, float16 has 11, float32 24: two products and a softmax of numbers around 1."""
    inputs = draw(4, *[(1, H, 150, 8)] * 3, dtype=dtype)
    mask = visible_mask(pattern, 150, 150, heads=H)
    fast = attention(*inputs, pattern)
    assert fast.dtype == dtype
    assert_same(fast, masked_attention(*inputs, mask), inputs, rtol=close, atol=close)


@pytest.mark.parametrize("pattern", [p for p in MANY if not isinstance(p, Dense)], ids=str)
def test_no_tensor_of_all_pairs_is_made(pattern: Pattern) -> None:
    """The largest tensor of a pass, forward or back, grows with the positions, not with their square.

    Dense is PyTorch's kernel, which is not seen operation by operation.
    """
    largest = []
    for positions in (512, 1024):
        with _Largest() as seen:
            inputs = draw(4, *[(1, 4, positions, 8)] * 3, dtype=torch.float32)
            attention(*inputs, pattern).sum().backward()
        largest.append(seen.numbers)
    assert largest[1] <= max(2.2 * largest[0], parts.TILE_SCORES), largest
    assert largest[1] < 4 * 1024 * 1024 / 2


class _Largest(torch.utils._python_dispatch.TorchDispatchMode):
    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return out


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_short_sequences_are_masked_attention_too(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr("pellucid.gpt.attention.SHORT", 256)
    close = {"rtol": 0.05, "atol": 0.05} if dtype == torch.bfloat16 else CLOSE
    for pattern in MANY:
        inputs = draw(6, *[(2, H, 50, 8)] * 3, dtype=dtype)
        mask = visible_mask(pattern, 50, 50, heads=H)
        assert_same(attention(*inputs, pattern), masked_attention(*inputs, mask), inputs, **close)


def test_works_on_the_meta_device() -> None:
    for pattern in MANY:
        q, k, v = (torch.empty(2, H, 300, 8, device="meta", requires_grad=True) for _ in range(3))
        out = attention(q, k, v, pattern)
        out.sum().backward()
        assert out.shape == q.grad.shape == (2, H, 300, 8)


def test_autocast_outside_changes_nothing_inside() -> None:
    inputs = draw(5, *[(1, H, 100, 8)] * 3, dtype=torch.bfloat16)
    plain = attention(*inputs, Strided(16))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(attention(*inputs, Strided(16)), plain)


@pytest.mark.long
@pytest.mark.parametrize("pattern", [Banded(16), Fixed(16, 4)], ids=str)
def test_a_compiler_sees_one_graph(pattern: Pattern) -> None:
    """What TorchDynamo traces, forward and back, run by its own interpreter: no C++ compiler is needed for that."""
    inputs = draw(7, *[(1, 2, 80, 8)] * 3)
    torch._dynamo.reset()
    traced = torch.compile(lambda q, k, v: attention(q, k, v, pattern), backend="aot_eager", fullgraph=True)
    mask = visible_mask(pattern, 80, 80)
    assert_same(traced(*inputs), masked_attention(*inputs, mask), inputs, **CLOSE)
