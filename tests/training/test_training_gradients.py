"""The gradient of a training step, parameter by parameter, against autograd through a few plain lines in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.gpt import loss
from pellucid.gpt.arrangements import all_dense, alternating
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.loss import IGNORE, linear_cross_entropy
from pellucid.gpt.pattern import Pattern
from pellucid.native.operators.library import unavailable_reason
from pellucid.training.step import loss_and_gradients


needs_operators = pytest.mark.skipif(unavailable_reason() is not None, reason=f"no compiled operators: {unavailable_reason()}")
SHAPE = {"vocab_size": 61, "n_layers": 2, "d_model": 24, "n_heads": 3}


def plain_loss(p: dict[str, Tensor], ids: Tensor, targets: Tensor, bands: list[int], dropout: float = 0.0) -> Tensor:
    """The mean loss of a GPT whose block b sees `bands[b]` tracks, written out: logits whole, weights of all pairs whole."""
    width, tracks = p["wpe.weight"].shape[1], ids.shape[1]
    heads = SHAPE["n_heads"]

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / ((centred**2).mean(-1, keepdim=True) + 1e-5).sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def drop(x: Tensor) -> Tensor:
        return F.dropout(x, dropout, dropout > 0)

    q_track, k_track = torch.arange(tracks)[:, None], torch.arange(tracks)
    x = drop(p["wte.weight"][ids] + p["wpe.weight"][:tracks])
    for block, band in enumerate(bands):
        name = f"h.{block}"
        qkv = linear(norm(x, f"{name}.ln_1"), f"{name}.attn.c_attn")
        q, k, v = (one.unflatten(-1, (heads, -1)).transpose(1, 2) for one in qkv.split(width, -1))
        scores = q @ k.transpose(-1, -2) / math.sqrt(width // heads)
        hidden = (k_track > q_track) | (k_track <= q_track - band)
        seen = scores.masked_fill(hidden, -math.inf).softmax(-1) @ v
        x = x + drop(linear(seen.transpose(1, 2).flatten(2), f"{name}.attn.c_proj"))
        wide = linear(norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc")
        bent = 0.5 * wide * (1 + torch.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
        x = x + drop(linear(bent, f"{name}.mlp.c_proj"))
    log_p = (norm(x, "ln_f") @ p["wte.weight"].T).log_softmax(-1)
    counted = targets != IGNORE
    return -log_p[counted].gather(1, targets[counted][:, None]).mean()


def batch(tracks: int, rows: int = 3) -> tuple[Tensor, Tensor]:
    windows = torch.randint(61, (rows, tracks + 1), generator=torch.Generator().manual_seed(1))
    targets = windows[:, 1:].clone()
    targets[0, : tracks // 2] = IGNORE
    return windows[:, :-1], targets


def lively(pattern: tuple[Pattern, ...], tracks: int, **more: float) -> Decoder:
    """A model whose gains, biases and weights are all large enough to matter."""
    model = Decoder(GPTConfig(n_ctx=tracks, pattern=pattern, **SHAPE, **more), seed=2).train()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0.0, 0.15, generator=generator))
    return model


def assert_gradients(model: Decoder, expected: dict[str, Tensor], tolerance: float) -> None:
    """Each within `tolerance` of the size of that parameter's own gradient."""
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        error = (parameter.grad.double() - expected[name]).norm() / expected[name].norm()
        assert error < tolerance, f"{name}: {error:.2e}"


def plain_gradients(
    model: Decoder, ids: Tensor, targets: Tensor, bands: list[int], *, dropout: float = 0.0, dtype: torch.dtype = torch.float64
) -> tuple[float, dict[str, Tensor]]:
    copies = {name: p.detach().to(dtype).requires_grad_() for name, p in model.named_parameters()}
    value = plain_loss(copies, ids, targets, bands, dropout)
    grads = torch.autograd.grad(value, list(copies.values()))
    return value.item(), {name: grad.double() for name, grad in zip(copies, grads, strict=True)}


# 300 tracks are beyond where a band is cut into blocks; a chunk of 500 logits is eight rows.
@pytest.mark.parametrize(("pattern", "bands", "tracks"), [
    (all_dense(2), [300, 300], 40), (alternating(2, band=5), [5, 300], 40), (alternating(2, band=20), [20, 300], 300),
])  # fmt: skip
@pytest.mark.parametrize("micro_batch", [3, 2])
@pytest.mark.parametrize("chunk", [2**24, 500])
def test_every_gradient_is_that_of_the_formula(
    pattern: tuple[Pattern, ...], bands: list[int], tracks: int, micro_batch: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "CHUNK_VALUES", chunk)
    model, (ids, targets) = lively(pattern, tracks), batch(tracks)
    value, expected = plain_gradients(model, ids, targets, bands)
    got = loss_and_gradients(model, ids, targets, micro_batch=micro_batch, dtype=torch.float32)
    assert got == pytest.approx(value, rel=1e-5)
    assert_gradients(model, expected, 2e-5)  # float32 rounds at 6e-8; sums over tracks and blocks take the rest


def test_every_gradient_is_that_of_the_formula_with_the_same_dropout() -> None:
    model, (ids, targets) = lively(all_dense(2), 40, dropout=0.2), batch(40)
    torch.manual_seed(7)
    value, expected = plain_gradients(model, ids, targets, [40, 40], dropout=0.2, dtype=torch.float32)
    torch.manual_seed(7)
    got = loss_and_gradients(model, ids, targets, micro_batch=3, dtype=torch.float32)
    assert got == pytest.approx(value, rel=1e-5)
    assert_gradients(model, expected, 5e-5)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_operators)])
def test_bfloat16_products_leave_every_gradient_near_the_formula(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """8 bits of a product's factors: LayerNorm's gains and biases stay as near as the matrices do."""
    monkeypatch.setattr(loss, "CHUNK_VALUES", 500)  # several chunks of rows
    monkeypatch.setattr(loss, "VOCABULARY_AT_ONCE", 25)
    model, (ids, targets) = lively(alternating(2, band=5), 40), batch(40)
    value, expected = plain_gradients(model, ids, targets, [5, 40])
    got = loss_and_gradients(model, ids, targets, micro_batch=2, dtype=torch.bfloat16, compiled=compiled)
    assert got == pytest.approx(value, rel=1e-2)
    assert_gradients(model, expected, 4e-2)


def test_the_loss_refuses_to_be_gone_back_through_twice() -> None:
    """Its gradients are handed over in place: a second way back would scale them twice."""
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(6, 8, generator=generator).requires_grad_()
    weight = torch.randn(11, 8, generator=generator).requires_grad_()
    total = linear_cross_entropy(hidden, weight, torch.arange(6)) / 6
    torch.autograd.backward(total, retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace"):
        torch.autograd.backward(total)


def test_no_rows_have_no_gradient() -> None:
    weight = torch.ones(5, 4, requires_grad=True)
    total = linear_cross_entropy(torch.empty(0, 4), weight, torch.empty(0, dtype=torch.int64))
    torch.autograd.backward(total)
    assert weight.grad is not None
    assert (total.item(), weight.grad.abs().sum().item()) == (0.0, 0.0)
