"""The model as users hold it: prompts of every kind, refusals, saving, loading, and what importing it costs."""

import json
import subprocess
import sys

import pytest
import torch

import pellucid
from pellucid.errors import PellucidError
from pellucid.generation import resolve as find_module
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.arrangements import alternating
from pellucid.gpt.config import GPTConfig
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.tokenizer import Tokenizer


def make(vocab_size: int, tokenizer: Tokenizer | None = None) -> GPT:
    config = GPTConfig(vocab_size=vocab_size, n_ctx=32, n_layers=2, d_model=16, n_heads=2, pattern=alternating(2, band=8))
    return GPT(config, tokenizer=tokenizer, seed=1).eval()


@pytest.fixture(scope="module")
def speaking() -> GPT:
    return make(259, Tokenizer([bytes([b]) for b in BYTE_ORDER] + [b"ab", b" t"]))


@pytest.fixture(scope="module")
def mute() -> GPT:
    return make(97)


def test_kinds_of_prompt(speaking):
    options = {"max_tokens": 3, "seed": 1}
    ids = speaking.tokenizer.encode("ab the")
    assert speaking.generate("ab the", **options).prompt_ids == ids
    assert speaking.generate("ab the", **options) == speaking.generate(ids, **options)
    assert speaking.generate(tuple(ids), **options) == speaking.generate(torch.tensor(ids), **options)
    empty = speaking.generate(**options)
    assert empty.prompt_ids == [258]
    assert empty == speaking.generate("", **options) == speaking.generate([[]], **options)[0]
    assert isinstance(speaking.generate(["ab"], **options), list)
    assert [c.prompt_ids for c in speaking.generate([ids, []], **options)] == [ids, [258]]
    assert [c.prompt_ids for c in speaking.generate(["ab", ""], n=2, **options)] == [[256], [256], [258], [258]]
    assert [c.seed for c in speaking.generate("ab", max_tokens=1, n=3, seed=9)] == [9, 9, 9]


def test_typed_end_of_text_is_only_text(speaking):
    assert 258 not in speaking.generate("<|endoftext|>", max_tokens=1).prompt_ids


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ([97], {}, "token id 97 is outside the vocabulary: ids go from 0 to 96"),
        ([-1], {}, "outside the vocabulary"),
        ([[1], [97]], {}, "token id 97"),
        ([1] * 33, {}, "the prompt has 33 tokens, but the model reads 32 at most: shorten"),
        ([1] * 33, {"max_tokens": 0}, "33 tokens"),
        ([1] * 20, {"max_tokens": 14}, "leaves room for 13 in a context of 32, but max_tokens is 14.*set max_tokens to 13"),
        ("text", {}, "this model has no tokenizer: give token ids"),
        (["text"], {}, "no tokenizer"),
        ([1], {"stop": "x"}, "no tokenizer: give token ids, and no stop strings"),
        ([1], {"stop": ""}, "stop string"),
        ([1], {"logprobs": 98}, "logprobs is 98, but there are only 97 tokens"),
        ([1], {"temperature": -1}, "temperature"),
        (7, {}, "a prompt is text or a list of token ids"),
        ([1.5], {}, "a prompt is"),
        ([1, "a"], {}, "a prompt is"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(mute, prompt, options, message):
    options = {"max_tokens": 1} | options
    with pytest.raises(PellucidError, match=message):
        mute.generate(prompt, **options)
    with pytest.raises(PellucidError):
        mute.stream(prompt, **options)  # at the call, not at the first token


def test_a_stream_is_one_answer(mute):
    for options in ({"n": 2}, {"best_of": 2}):
        with pytest.raises(TypeError):
            mute.stream([1], **options)


def test_the_longest_answer_fits(mute):
    assert mute.generate([1] * 20, max_tokens=13, temperature=0).finish_reason in ("length", "stop")


def test_a_tokenizer_must_fit_its_model(speaking):
    with pytest.raises(PellucidError, match="the tokenizer has 259 tokens, but the model 97"):
        make(97, speaking.tokenizer)


def test_a_copy_is_the_same_model_apart(speaking):
    copy = speaking.copy()
    assert type(copy) is GPT and copy.tokenizer is speaking.tokenizer
    with torch.no_grad():
        copy.wte.weight.zero_()
    assert speaking.wte.weight.any()


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_saved_and_loaded(speaking, tmp_path, storage):
    speaking.save(tmp_path / "deep" / "model", storage=storage)
    loaded = load(tmp_path / "deep" / "model")
    assert (loaded.config, loaded.tokenizer) == (speaking.config, speaking.tokenizer)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    for (name, mine), theirs in zip(speaking.named_parameters(), loaded.parameters(), strict=True):
        assert theirs.dtype == torch.float32
        assert torch.equal(mine.to(getattr(torch, storage)).float(), theirs), name
    if storage == "float32":
        options = {"max_tokens": 12, "seed": 3}
        frozen = speaking.copy().requires_grad_(False)  # so that both get the same runner
        assert loaded.generate("ab", **options) == frozen.generate("ab", **options)


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16, "torch.bfloat16"])
def test_dtype(mute, tmp_path, dtype):
    mute.save(tmp_path)
    loaded = pellucid.load(str(tmp_path), dtype=dtype)
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}
    assert len(loaded.generate([1], max_tokens=2, temperature=0).ids) <= 2


def test_without_a_tokenizer(mute, speaking, tmp_path):
    speaking.save(tmp_path)
    mute.save(tmp_path)  # the other model's tokenizer must not stay
    loaded = load(tmp_path)
    assert loaded.tokenizer is None
    assert loaded.generate([1], max_tokens=2, seed=1).text == ""
    with pytest.raises(PellucidError, match="no tokenizer"):
        loaded.generate("text")


def test_a_run_directory_is_its_model(speaking, tmp_path):
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(PellucidError, match="has no model yet"):
        load(tmp_path)
    speaking.save(tmp_path / "model")
    assert load(tmp_path).tokenizer == speaking.tokenizer


def test_the_embedded_model(speaking, tmp_path, monkeypatch):
    monkeypatch.setattr(find_module, "ASSETS", tmp_path / "assets")
    with pytest.raises(PellucidError, match="this build of pellucid carries no default model"):
        load()
    speaking.save(tmp_path / "assets" / "default")
    assert load().tokenizer == load("default").tokenizer == speaking.tokenizer


def test_what_cannot_be_loaded(mute, tmp_path):
    for missing in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(PellucidError, match=r"'default'.*a model directory.*a run directory") as caught:
            load(missing)
        assert str(missing) in str(caught.value)
    mute.save(tmp_path)
    with pytest.raises(PellucidError, match="unknown dtype 'int8': use one of float32"):
        load(tmp_path, dtype="int8")
    with pytest.raises(PellucidError, match="unknown device 'abacus'"):
        load(tmp_path, device="abacus")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(PellucidError, match=r"model\.safetensors"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(PellucidError, match=r"config\.json"):
        load(tmp_path)


COLD = ("rich", "tokenizers", "transformers", "torch._dynamo", "pellucid.training", "pellucid.corpus", "pellucid.finetuning")


@pytest.mark.long
def test_the_cold_path_stays_cold(speaking, tmp_path):
    """Importing, loading and generating pull in torch and little else."""
    speaking.save(tmp_path)
    code = (
        "import json, sys; from pellucid.generation.load import load; model = load(sys.argv[1]);"
        "model.generate('ab', max_tokens=3, top_p=0.9); list(model.stream('ab', max_tokens=3));"
        "print(json.dumps(list(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, encoding="utf-8", check=True
    )
    loaded = json.loads(out.stdout.splitlines()[-1])
    assert "torch" in loaded
    assert [name for name in loaded if name.startswith(COLD)] == []
