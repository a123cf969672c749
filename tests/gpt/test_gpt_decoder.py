"""The model against its definition and against the reference implementation."""

import math
from pathlib import Path

import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import PellucidError
from pellucid.gpt.arrangements import all_dense, alternating
from pellucid.gpt.attention import attention, masked_attention, visible_mask
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.config_json import read_config
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.directory import load_weights, save_model
from pellucid.gpt.loss import IGNORE, linear_cross_entropy
from pellucid.gpt.pattern import Banded, Dense, Pattern


# Float32 sums in another order: a few units in the last place of numbers around 1.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def shaken(config: GPTConfig, seed: int = 0) -> Decoder:
    """A model whose every parameter matters: no zero biases, no unit gains, scores far from uniform."""
    model = Decoder(config, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.15 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def small(pattern: tuple[Pattern, ...] = alternating(4, band=8), **changes: int) -> GPTConfig:
    shape = {"vocab_size": 97, "n_ctx": 64, "d_model": 32, "n_heads": 4} | changes
    return GPTConfig(n_layers=len(pattern), pattern=pattern, **shape)


@pytest.mark.parametrize("pattern", [Dense(), Banded(5)])
def test_mask_is_the_definition(pattern: Pattern) -> None:
    mask = visible_mask(pattern, 6, 13)
    assert mask.tolist() == [[pattern.visible(q, k) for k in range(13)] for q in range(7, 13)]


@cases(60)
@given(keys=st.integers(1, 70), new=st.integers(1, 70), width=st.integers(1, 80), dense=st.booleans(), grad=st.booleans())
def test_attention_is_masked_attention(keys: int, new: int, width: int, dense: bool, grad: bool) -> None:
    queries = min(new, keys)
    pattern = Dense() if dense else Banded(width)
    generator = torch.Generator().manual_seed(keys * 1000 + width)
    q = torch.randn(2, 3, queries, 8, generator=generator, requires_grad=grad)
    k, v = (torch.randn(2, 3, keys, 8, generator=generator, requires_grad=grad) for _ in range(2))
    fast = attention(q, k, v, pattern)
    plain = masked_attention(q, k, v, visible_mask(pattern, queries, keys))
    torch.testing.assert_close(fast, plain, **CLOSE)
    if grad:
        weights = torch.randn(plain.shape, generator=generator)
        mine = torch.autograd.grad((fast * weights).sum(), (q, k, v))
        theirs = torch.autograd.grad((plain * weights).sum(), (q, k, v))
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, **CLOSE)


def test_the_dense_bfloat16_training_path_is_masked_attention() -> None:
    """Taken for bfloat16 only, so compared in it: 8 bits of mantissa, through two products and a softmax."""
    generator = torch.Generator().manual_seed(11)
    q, k, v = (torch.randn(2, 3, 50, 8, generator=generator).bfloat16().requires_grad_() for _ in range(3))
    weights = torch.randn(2, 3, 50, 8, generator=generator)
    mask = visible_mask(Dense(), 50, 50)
    fast, plain = attention(q, k, v, Dense()), masked_attention(q, k, v, mask)
    torch.testing.assert_close(fast, plain, rtol=0.02, atol=0.02)
    mine, theirs = (torch.autograd.grad((out * weights).sum(), (q, k, v)) for out in (fast, plain))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)
    assert "BaddbmmBackward0" in str(_graph(fast))  # the path itself, not the fused kernel


def _graph(out: torch.Tensor) -> set[str]:
    """Names of all the operations that `out` came from."""
    names, todo = set(), [out.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None:
            names.add(node.name())
            todo += [parent for parent, _ in node.next_functions]
    return names


def test_a_banded_block_sees_its_band_and_no_more() -> None:
    """Changing a token w positions back changes nothing in a one-block model; w - 1 back, it does."""
    model = shaken(small((Banded(8),)))
    ids = torch.randint(0, 97, (1, 40), generator=torch.Generator().manual_seed(3))
    before = model(ids)[0, -1]
    for back, seen in ((8, False), (7, True)):
        changed = ids.clone()
        changed[0, 39 - back] = (changed[0, 39 - back] + 1) % 97
        assert torch.equal(model(changed)[0, -1], before) != seen


def test_loss_is_cross_entropy_of_the_logits() -> None:
    model = shaken(small())
    generator = torch.Generator().manual_seed(7)
    ids, targets = (torch.randint(0, 97, (3, 50), generator=generator) for _ in range(2))
    targets[0, :20] = IGNORE
    loss = model(ids, targets)
    expected = torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
    torch.testing.assert_close(loss, expected, **CLOSE)
    torch.testing.assert_close(model(ids, targets, reduction="sum"), expected * 130, **CLOSE)
    parameters = list(model.parameters())
    for mine, theirs in zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(mine, theirs, **CLOSE)


def test_loss_in_chunks_is_the_loss_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(8)
    hidden = torch.randn(50, 16, generator=generator, requires_grad=True)
    weight = torch.randn(97, 16, generator=generator, requires_grad=True)
    targets = torch.randint(0, 97, (50,), generator=generator)
    whole = linear_cross_entropy(hidden, weight, targets)
    monkeypatch.setattr("pellucid.gpt.loss.CHUNK_VALUES", 97 * 7)
    parts = linear_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(parts, whole, **CLOSE)
    for a, b in zip(*(torch.autograd.grad(x, (hidden, weight)) for x in (parts, whole)), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_the_start_is_gpt2_s() -> None:
    config = small(alternating(8), d_model=128, vocab_size=500)
    model = Decoder(config, seed=1)
    named = dict(model.named_parameters())
    expected = {
        "wte.weight": 0.02,
        "wpe.weight": 0.01,
        "h.3.attn.c_attn.weight": 0.02,
        "h.3.mlp.c_fc.weight": 0.02,
        "h.3.attn.c_proj.weight": 0.02 / math.sqrt(16),
        "h.3.mlp.c_proj.weight": 0.02 / math.sqrt(16),
    }
    for name, std in expected.items():
        sampled = named[name].std().item()
        assert abs(sampled / std - 1) < 5 / math.sqrt(2 * named[name].numel())  # five standard errors
    assert all(not p.any() for name, p in named.items() if name.endswith("bias"))
    assert all(torch.equal(p, torch.ones_like(p)) for name, p in named.items() if ".ln_" in name and name.endswith("weight"))
    again = Decoder(config, seed=1)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.long
@pytest.mark.parametrize("activation", ["gelu_tanh", "gelu_erf", "relu"])
def test_all_dense_equals_transformers_both_ways(tmp_path: Path, activation: str) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    mine = shaken(small(all_dense(3)).replace(activation=activation, norm_eps=3e-5))
    save_model(mine, tmp_path / "mine")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "mine").eval()
    ids = torch.randint(0, 97, (3, 64), generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        torch.testing.assert_close(mine(ids), theirs(ids).logits, rtol=1e-4, atol=1e-4)
    theirs.save_pretrained(tmp_path / "theirs")
    back = Decoder(read_config(tmp_path / "theirs"))
    load_weights(back, tmp_path / "theirs")
    assert all(torch.equal(p, q) for p, q in zip(mine.parameters(), back.parameters(), strict=True))
    assert back.config == mine.config


@pytest.mark.parametrize(("storage", "tolerance"), [("float32", 0.0), ("bfloat16", 2**-8), ("int8", 1 / 127), ("int4", 1 / 7)])
def test_directory_round_trip(tmp_path: Path, storage: str, tolerance: float) -> None:
    model = shaken(small())
    save_model(model, tmp_path, storage=storage)
    with torch.device("meta"):
        back = Decoder(read_config(tmp_path))
    load_weights(back, tmp_path)
    assert back.config == model.config
    for p, q in zip(model.parameters(), back.parameters(), strict=True):
        assert q.dtype == torch.float32
        assert (p - q).abs().max() <= tolerance * p.abs().max()
    assert (tmp_path / "config.json").read_text(encoding="utf-8").count('"model_type": "pellucid"') == 1


def test_stock_loaders_refuse_a_banded_model(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    save_model(shaken(small()), tmp_path)
    with pytest.raises((ValueError, KeyError)):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path)


def test_damaged_directories_are_named(tmp_path: Path) -> None:
    model = shaken(small())
    with pytest.raises(PellucidError, match=r"no config\.json"):
        read_config(tmp_path)
    save_model(model, tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(PellucidError, match=r"model\.safetensors is damaged or truncated"):
        load_weights(model, tmp_path)
    weights.write_bytes(whole)
    with pytest.raises(PellucidError, match=r"'wpe\.weight' has shape"):
        load_weights(Decoder(small(n_ctx=32)), tmp_path)
    with pytest.raises(PellucidError, match="does not belong"):
        load_weights(Decoder(small(alternating(3, band=8))), tmp_path)
    with pytest.raises(PellucidError, match="lacks the tensor"):
        load_weights(Decoder(small(alternating(5, band=8))), tmp_path)
    with torch.no_grad():
        model.h[1].mlp.c_fc.weight[0, 0] = math.nan
    save_model(model, tmp_path)
    with pytest.raises(PellucidError, match=r"'h\.1\.mlp\.c_fc\.weight' holds NaN"):
        load_weights(model, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    with pytest.raises(PellucidError, match="model_type 'llama'"):
        read_config(tmp_path)


def test_more_positions_than_the_context_are_refused() -> None:
    model = shaken(small())
    with pytest.raises(PellucidError, match="65 tokens do not fit in a context of 64"):
        model(torch.zeros(1, 65, dtype=torch.int64))


def test_bfloat16_is_close_to_float32() -> None:
    """Eight bits of mantissa: logits of this model, about 3 in size, move by less than 0.15 (seen: 0.05)."""
    model = shaken(small())
    ids = torch.randint(0, 97, (2, 64), generator=torch.Generator().manual_seed(10))
    with torch.no_grad():
        exact = model(ids)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(ids)
    assert (rough.float() - exact).abs().max() < 0.15 * exact.abs().max() / 3


WRONG_IDS = {
    "a list": lambda ids: ids.tolist(), "one text": lambda ids: ids[0], "no rows": lambda ids: ids[None],
    "floats": lambda ids: ids.float(), "an array": lambda ids: ids.numpy(), "negative": lambda ids: ids - 97,
    "too large": lambda ids: ids + 97, "no tokens": lambda ids: ids[:, :0], "None": lambda ids: None,
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_IDS)
def test_ids_and_targets_that_cannot_be_read_are_refused_by_name(wrong: str) -> None:
    model, ids = Decoder(small()), torch.arange(1, 13).view(2, 6)
    with pytest.raises(PellucidError, match=r"^ids "):
        model(WRONG_IDS[wrong](ids))
    if wrong != "None":
        with pytest.raises(PellucidError, match=r"^targets "):
            model(ids, WRONG_IDS[wrong](ids))
    with pytest.raises(PellucidError, match=r"^targets must have the shape \(2, 6\), as the ids, not \(2, 5\)"):
        model(ids, ids[:, :-1])


@cases(40)
@given(target=st.integers(-200, 200))
def test_a_target_is_in_the_vocabulary_or_ignored(target: int) -> None:
    model, ids = Decoder(small()), torch.arange(1, 7)[None]
    targets = ids.clone()
    targets[0, 3] = target
    if 0 <= target < 97 or target == IGNORE:
        assert model(ids, targets).isfinite()
    else:
        with pytest.raises(PellucidError, match=rf"^targets hold {target}, outside the vocabulary: .*96; -100 is"):
            model(ids, targets)
