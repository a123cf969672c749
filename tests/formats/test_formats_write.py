"""Models of ours as `transformers` reads them: GPT-2, GPT-Neo by exact folding, OPT."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import cases
from hugging_face import MODELS, N_CTX, VOCAB, WIDTH, ids_of, opened, published, shake, their_greedy
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import pellucid
from pellucid.errors import PellucidError
from pellucid.formats.fold import condition, fold, shifts
from pellucid.formats.hf_config import read_config
from pellucid.formats.hf_read import load_weights
from pellucid.formats.hf_write import WRITTEN, losses, write
from pellucid.gpt.arrangements import all_dense, alternating
from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.pattern import Banded, Dense, Heads, Local


# Float32, logits of 10 to 20; GPT-Neo's adds what the folding costs (see formats/fold.py). Seen: 2e-5.
CLOSE = {"rtol": 0.0, "atol": 1e-4}
PROMPTS = [ids_of(length) for length in (1, 9, 30)]


def shape(**changes: Any) -> GPTConfig:
    values: dict[str, Any] = {"vocab_size": VOCAB, "n_ctx": N_CTX, "n_layers": 4, "d_model": WIDTH, "n_heads": 4, "d_ff": 80}
    values["pattern"] = all_dense(4)
    return GPTConfig(**(values | changes))


# what is written -> shapes that it can hold without loss
EXACT: dict[str, tuple[str, GPTConfig]] = {
    "gpt2": ("hf-gpt2", shape(norm_eps=3e-5)),
    "gpt2 from erf": ("hf-gpt2", shape(activation="gelu_erf", dropout=0.1)),
    "gpt2 from opt": ("hf-gpt2", shape(activation="relu", start_of_text=2, end_of_text=2)),
    "gpt2 from neo": ("hf-gpt2", shape(qkv_bias=False, attention_scale=False)),
    "gpt2 from wide bands": ("hf-gpt2", shape(pattern=alternating(4, band=N_CTX))),
    "gpt2 from wide blocks": ("hf-gpt2", shape(pattern=(Local(N_CTX), Heads((Dense(), Banded(N_CTX))), Dense(), Dense()))),
    "neo": ("hf-gpt-neo", shape(pattern=alternating(4, band=8), norm_eps=3e-5)),
    "neo from dense first": ("hf-gpt-neo", shape(pattern=(Dense(), Banded(5), Banded(5), Banded(N_CTX)))),
    "neo from dense": ("hf-gpt-neo", shape(activation="relu")),
    "neo from scaled without biases": ("hf-gpt-neo", shape(qkv_bias=False, pattern=alternating(4, band=8))),
    "neo from unscaled": ("hf-gpt-neo", shape(attention_scale=False, pattern=alternating(4, band=8))),
    "neo from neo": ("hf-gpt-neo", shape(qkv_bias=False, attention_scale=False, pattern=alternating(4, band=8))),
    "opt": ("hf-opt", shape(activation="relu", start_of_text=2, end_of_text=2)),
    "opt-350m": ("hf-opt", shape(activation="relu", norm="post", final_norm=False, d_embed=20)),
    "opt from gpt2": ("hf-opt", shape()),
    "opt without a last norm": ("hf-opt", shape(final_norm=False)),
    "opt from neo": ("hf-opt", shape(qkv_bias=False, attention_scale=False)),
}


@pytest.mark.long
@pytest.mark.parametrize("what", EXACT)
def test_transformers_computes_the_same(what: str, tmp_path: Path) -> None:
    target, config = EXACT[what]
    model = shake(pellucid.GPT(config, seed=1))
    assert losses(model, WRITTEN[target]) == []
    write(model, None, tmp_path, WRITTEN[target])
    theirs = opened(tmp_path)
    assert type(theirs).__name__ == WRITTEN[target].architecture
    ids = torch.tensor([ids_of(N_CTX, seed) for seed in range(3)])
    expected = model(ids)
    torch.testing.assert_close(theirs(ids).logits, expected, **CLOSE)
    torch.testing.assert_close(pellucid.load(tmp_path)(ids), expected, **CLOSE)
    written = [done.ids for done in model.generate(PROMPTS, max_tokens=18, temperature=0)]
    assert their_greedy(theirs, PROMPTS, 18, cache=True) == written
    assert (theirs.generation_config.bos_token_id, theirs.generation_config.eos_token_id) == (config.start_id, config.end_id)


@pytest.mark.parametrize("name", MODELS)
def test_what_was_read_is_written_back_number_for_number(name: str, tmp_path: Path) -> None:
    published(name, tmp_path / "theirs")
    target = {"gpt2": "hf-gpt2", "gpt_neo": "hf-gpt-neo", "opt": "hf-opt"}[name.split("-")[0]]
    (tmp_path / "ours").mkdir()
    write(pellucid.load(tmp_path / "theirs"), None, tmp_path / "ours", WRITTEN[target])
    before, after = (load_file(tmp_path / side / "model.safetensors") for side in ("theirs", "ours"))
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        first = 2 if key.endswith("embed_positions.weight") else 0  # two rows that no token reads
        assert torch.equal(tensor[first:], after[key][first:]), key
    opened(tmp_path / "ours")


@st.composite
def shapes(draw: st.DrawFn) -> tuple[str, GPTConfig]:
    """Any shape that a target holds without loss."""
    target = draw(st.sampled_from(sorted(WRITTEN)))
    n_layers, n_heads, n_ctx = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 20))
    values: dict[str, Any] = {
        "vocab_size": draw(st.integers(2, 50)), "n_ctx": n_ctx, "n_layers": n_layers, "n_heads": n_heads,
        "d_model": n_heads * draw(st.integers(1, 9)), "d_ff": draw(st.integers(1, 40)), "pattern": all_dense(n_layers),
        "activation": draw(st.sampled_from(["gelu_tanh", "gelu_erf", "relu"])), "qkv_bias": draw(st.booleans()),
        "attention_scale": draw(st.booleans()),
    }  # fmt: skip
    if target == "hf-gpt-neo":
        band = Banded(draw(st.integers(1, 22)))
        values["pattern"] = tuple(draw(st.sampled_from([Dense(), band])) for _ in range(n_layers))
    if target == "hf-opt":
        values["norm"] = draw(st.sampled_from(["pre", "post"]))
        values["final_norm"] = values["norm"] == "pre" and draw(st.booleans())
        values["d_embed"] = draw(st.integers(1, 30))
    return target, GPTConfig(**values)


@pytest.mark.long
@cases(40)
@given(shapes(), st.integers(0, 99))
def test_any_shape_written_and_read_is_the_same_function(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[str, GPTConfig], seed: int
) -> None:
    target, config = drawn
    model = shake(pellucid.GPT(config, seed=seed), seed)
    for block in model.h:  # queries that can be told apart: a random matrix may be as bad as you like
        width = config.d_model
        block.attn.c_attn.weight[:width] += 2 * torch.eye(width)
    family = WRITTEN[target]
    assert losses(model, family) == []
    path = tmp_path_factory.mktemp("written")
    write(model, None, path, family)
    again = Decoder(read_config(path))
    load_weights(again, path)
    ids = torch.randint(0, config.vocab_size, (2, config.n_ctx), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        torch.testing.assert_close(again(ids), model(ids), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scaled", [True, False])
def test_folding_is_exact_but_for_rounding(scaled: bool) -> None:
    """In float64: 53 bits, so 1e-12 of logits around 10 is rounding and nothing else."""
    model = shake(Decoder(shape(pattern=alternating(4, band=8), attention_scale=scaled), seed=1)).double()
    bare = Decoder(model.config.replace(qkv_bias=False, attention_scale=False)).double().requires_grad_(False)
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("c_attn.bias")}
    for number, shift in enumerate(shifts(model)):
        assert shift.residual < 1e-12
        state |= {f"h.{number}.{name}": tensor for name, tensor in fold(model.h[number], shift).items()}
    bare.load_state_dict(state)
    ids = torch.tensor([ids_of(N_CTX, seed) for seed in range(3)])
    torch.testing.assert_close(bare(ids), model(ids), rtol=0, atol=1e-11)


def spoilt(size: float) -> pellucid.GPT:
    """A query matrix that hardly tells two directions apart: the second row is the first, but for `size`."""
    model = shake(pellucid.GPT(shape(pattern=alternating(4, band=8)), seed=1))
    weight = model.h[2].attn.c_attn.weight
    weight[1] = weight[0]
    weight[1, 0] += size
    return model


def test_a_query_matrix_that_cannot_be_undone_is_refused_with_its_numbers(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"block 2's query biases .* singular \(condition number .*, residual"):
        losses(spoilt(0.0), WRITTEN["hf-gpt-neo"])
    assert condition(spoilt(1e-4).h[2]) > 1000
    (lost,) = losses(spoilt(1e-4), WRITTEN["hf-gpt-neo"])
    assert "moving block 2's makes numbers" in lost and "condition number" in lost and "residual" in lost
    model = spoilt(0.0)
    model.h[2].attn.c_attn.bias[:WIDTH] = 0  # nothing to move: nothing is undone
    assert losses(model, WRITTEN["hf-gpt-neo"]) == []


@pytest.mark.parametrize(
    ("target", "changes", "words"),
    [
        ("hf-gpt2", {"pattern": alternating(4, band=8)}, r"^banded\(8\) attention of blocks 0, 2 becomes dense .* 8 tokens"),
        ("hf-opt", {"pattern": (Banded(8), Dense(), Dense(), Dense())}, r"^banded\(8\) attention of block 0 becomes dense"),
        ("hf-gpt-neo", {"pattern": (Banded(8), Dense(), Banded(5), Dense())}, r"^banded\(5\) .* block 2 becomes banded\(8\)"),
        ("hf-opt", {"pattern": (Heads((Local(9), Dense())), *all_dense(3))}, r"^heads\(local\(9\),dense\) .* up to 9 tokens"),
        ("hf-opt", {"norm_eps": 1e-6}, r"epsilon 1e-06: OPT's is 1e-05"),
    ],
)
def test_what_would_be_lost_is_said(target: str, changes: dict[str, Any], words: str) -> None:
    (lost,) = losses(shake(Decoder(shape(**changes))), WRITTEN[target])
    assert re.search(words, lost), lost


@pytest.mark.parametrize(
    ("target", "changes", "words"),
    [
        ("hf-gpt2", {"norm": "post"}, "after it"),
        ("hf-gpt-neo", {"final_norm": False}, "a last LayerNorm, this model none"),
        ("hf-gpt2", {"d_embed": 20}, "narrower"),
        ("hf-opt", {"norm": "post"}, "none at the end"),
    ],
)
def test_what_a_family_cannot_hold_is_refused(target: str, changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    model = Decoder(shape(**changes))
    for attempt in (lambda: losses(model, WRITTEN[target]), lambda: write(model, None, tmp_path, WRITTEN[target])):
        with pytest.raises(PellucidError, match=words):
            attempt()


@pytest.mark.parametrize("target", WRITTEN)
def test_parameters_that_no_family_knows_are_refused(target: str) -> None:
    model = Decoder(shape())
    model.h[1].attn.new = torch.nn.Linear(2, 2)
    with pytest.raises(PellucidError, match=r"no such parameter as 'h\.1\.attn\.new\.weight'"):
        losses(model, WRITTEN[target])
