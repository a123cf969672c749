"""The shapes of the paper, to the last parameter."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import PellucidError
from pellucid.gpt.arrangements import alternating
from pellucid.gpt.config import RELATIVES, GPTConfig
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.pattern import Banded, Dense, parse
from pellucid.gpt.presets import PRESETS


# Table D.1 of arXiv 2005.14165 prints the totals in millions; these are what its rounding came from.
TOTALS = {
    "gpt3-125m": 125_226_240,
    "gpt3-350m": 355_871_744,
    "gpt3-760m": 760_300_032,
    "gpt3-1.3b": 1_315_723_264,
    "gpt3-2.7b": 2_651_553_280,
    "gpt3-6.7b": 6_658_404_352,
    "gpt3-13b": 12_853_386_240,
    "gpt3-175b": 174_604_259_328,
}


@pytest.mark.parametrize(("name", "total"), TOTALS.items())
def test_gpt3_sizes(name: str, total: int) -> None:
    assert GPTConfig.preset(name).parameters() == total


def test_gpt3_175b_is_the_article_s() -> None:
    config = GPTConfig.preset("gpt3-175b")
    assert (config.n_ctx, config.n_layers, config.d_head) == (2048, 96, 128)
    assert config.block_parameters() == 1_812_099_072
    assert len(config.matrices()) == 386
    assert {str(p) for p in config.pattern[::2]} == {"banded(128)"}
    assert {str(p) for p in config.pattern[1::2]} == {"dense"}


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in TOTALS or name in ("gpt3-125m", "gpt3-175b")])
def test_counts_are_those_of_the_module(name: str) -> None:
    config = GPTConfig.preset(name)
    with torch.device("meta"):
        model = Decoder(config)
    assert sum(p.numel() for p in model.parameters()) == config.parameters()
    named = {key.removesuffix(".weight"): p for key, p in model.named_parameters() if p.dim() == 2}
    assert {key: p.numel() for key, p in named.items()} == {key: a * b for key, (a, b) in config.matrices()}


@given(st.integers(1, 40), st.integers(1, 45))
def test_pairs_count_what_is_visible(tokens: int, width: int) -> None:
    for pattern in (Dense(), Banded(width)):
        counted = sum(pattern.visible(q, k) for q in range(tokens) for k in range(tokens))
        assert pattern.pairs(tokens) == counted
        assert pattern.cached_keys(tokens) == max(sum(pattern.visible(q, k) for k in range(tokens)) for q in range(tokens))
        assert parse(str(pattern)) == pattern


def test_flops_of_a_dense_model_are_two_a_parameter_and_attention() -> None:
    config = GPTConfig(vocab_size=100, n_ctx=16, n_layers=2, d_model=8, n_heads=2, pattern=(Dense(), Dense()))
    matmul = sum(a * b for name, (a, b) in config.matrices() if name != "wpe")
    attention = 2 * 4 * 8 * (16 * 17 // 2)  # blocks, operations a pair, pairs
    assert config.flops(16) == 2 * 16 * matmul + attention
    assert config.flops(32) == 2 * config.flops(16)
    assert config.flops(16, context=8) == 2 * config.flops(8)
    banded = config.replace(pattern=(Banded(4), Dense()))
    assert config.flops(16) - banded.flops(16) == 4 * 8 * (16 * 17 // 2 - (4 * 5 // 2 + 12 * 4))


def test_kv_bytes_count_only_the_band() -> None:
    config = GPTConfig(n_ctx=64, n_layers=2, d_model=8, n_heads=2, pattern=(Banded(4), Dense()))
    assert config.kv_bytes(3) == 2 * 8 * 2 * (3 + 3)
    assert config.kv_bytes(60) == 2 * 8 * 2 * (4 + 60)


def test_kv_bytes_by_pattern() -> None:
    """Of 1,024 positions: a block and the summaries, a band, a third; strided holds all, for each is in some column."""
    kept = {"fixed(128,32)": 128 + 7 * 32, "local(256)": 256, "compressed(3,3)": 1 + 341 + 3, "strided(128)": 1024,
            "banded(129)": 129, "column(128)": 1024, "summary(128,32)": 8 * 32}  # fmt: skip
    for text, slots in kept.items():
        config = GPTConfig(n_ctx=1024, n_layers=1, d_model=8, n_heads=2, pattern=(parse(text),))
        assert config.kv_bytes(1024) == 2 * 8 * 2 * slots
        assert config.kv_bytes(1024, all_dense=True) == 2 * 8 * 2 * 1024


def test_config_survives_json() -> None:
    config = GPTConfig.preset("cpu-6m", dropout=0.1, activation="gelu_erf")
    assert GPTConfig.from_dict(config.to_dict()) == config
    assert alternating(3, band=5) == (Banded(5), Dense(), Banded(5))


RELATIVE: dict[str, object] = {
    "qkv_bias": False, "attention_scale": False, "norm": "post", "final_norm": False, "d_embed": 48, "start_of_text": 3,
    "end_of_text": 5,
}  # fmt: skip


def test_a_gpt3_shape_says_nothing_of_its_relatives() -> None:
    """Its JSON, and so the fingerprints and records made of it, is what it was before there were any."""
    config = GPTConfig.preset("tiny")
    assert set(RELATIVE) == set(RELATIVES)
    assert list(config.to_dict()) == [
        "vocab_size", "n_ctx", "n_layers", "d_model", "n_heads", "pattern", "d_ff", "activation", "norm_eps", "dropout", "name",
    ]  # fmt: skip
    for key, value in RELATIVE.items():
        changed = config.replace(**{key: value})
        assert changed != config and changed.to_dict()[key] == value
        assert GPTConfig.from_dict(changed.to_dict()) == changed
    assert GPTConfig.from_dict(config.replace(**RELATIVE).to_dict()) == config.replace(**RELATIVE)


def test_the_last_id_is_said_in_one_way() -> None:
    config = GPTConfig.preset("tiny", start_of_text=1023, end_of_text=1023)
    assert config == GPTConfig.preset("tiny") and (config.start_id, config.end_id) == (1023, 1023)
    assert config.replace(vocab_size=2000).end_id == 1999
    assert GPTConfig.preset("tiny", end_of_text=7).replace(vocab_size=2000).end_id == 7


@pytest.mark.parametrize("changes", [{}, *({key: value} for key, value in RELATIVE.items()), RELATIVE])
def test_relatives_are_counted_to_the_last_parameter(changes: dict[str, object]) -> None:
    config = GPTConfig.preset("tiny", **changes)
    with torch.device("meta"):
        model = Decoder(config)
    assert sum(p.numel() for p in model.parameters()) == config.parameters()
    assert sum(p.numel() for p in model.h[0].parameters()) == config.block_parameters()
    assert config.replace(d_model=256).d_embed == (48 if "d_embed" in changes else 256)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm": "none"}, "unknown norm 'none': use one of pre, post"),
        ({"d_model": "128"}, "d_model must be a whole number, 1 to 2147483647, not '128'"),
        ({"n_heads": 7}, "n_heads must divide d_model"),
        ({"n_layers": 0}, "n_layers must be a whole number, 1 to 65536, not 0"),
        ({"pattern": (Dense(),)}, "pattern names 1 blocks"),
        ({"dropout": 1.0}, "dropout"),
        ({"activation": "relu7"}, "unknown activation"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(PellucidError, match=words):
        GPTConfig.preset("tiny", **changes)


def test_patterns_may_be_words_and_one_is_that_of_every_block() -> None:
    assert GPTConfig.preset("tiny", pattern="dense") == GPTConfig.preset("tiny", pattern=Dense())
    assert GPTConfig.preset("tiny", pattern="banded(7)", n_layers=3).pattern == (Banded(7),) * 3
    with pytest.raises(PellucidError, match="unknown attention pattern 'dens'"):
        GPTConfig.preset("tiny", pattern="dens")
    assert GPTConfig.preset("tiny", pattern=("dense", "banded(7)")).pattern == (Dense(), Banded(7))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(PellucidError, match=r"unknown preset 'gpt5'.*gpt3-175b"):
        GPTConfig.preset("gpt5")
    with pytest.raises(PellucidError, match="unknown attention pattern"):
        parse("banded")
    with pytest.raises(PellucidError, match=r"banded\(0\)"):
        parse("banded(0)")
    with pytest.raises(PellucidError, match="newer version"):
        GPTConfig.from_dict({**GPTConfig.preset("tiny").to_dict(), "rotary": True})


def test_shapes_and_costs_need_no_torch() -> None:
    code = "import sys; from pellucid.gpt.config import GPTConfig as G; G.preset('gpt3-175b').flops(9); "
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)
