"""Prompts in every form that a user gives them in, and scores of completions."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import lively

import pellucid
from pellucid.errors import PellucidError
from pellucid.formats.convert import convert
from pellucid.generation.inputs import list_of_prompts, token_ids
from pellucid.generation.text_generator import open_text_generator
from pellucid.text.bytes_to_characters import BYTE_ORDER


TOKENIZER = pellucid.Tokenizer([bytes([b]) for b in BYTE_ORDER] + [b"ab", b" c"])
CONFIG = pellucid.GPTConfig(
    vocab_size=TOKENIZER.vocab_size, n_ctx=32, n_layers=1, d_model=32, n_heads=2, pattern="dense", name="small"
)
FORMS: dict[str, Callable[[list[int]], Any]] = {
    "list": list, "tuple": tuple, "iterator": iter, "array": lambda ids: np.array(ids, np.int64),
    "int32 array": lambda ids: np.array(ids, np.int32), "tensor": lambda ids: torch.tensor(ids, dtype=torch.int64),
    "NumPy integers": lambda ids: [np.int64(token) for token in ids],
    "0-d tensors": lambda ids: [torch.tensor(token) for token in ids],
}  # fmt: skip
ids_lists = st.lists(st.integers(0, 257), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def model() -> pellucid.GPT:
    return lively(pellucid.GPT(CONFIG, tokenizer=TOKENIZER, seed=2))


@cases(60)
@given(ids=ids_lists, form=st.sampled_from(list(FORMS)))
def test_one_prompt_is_its_ids_in_any_form(ids: list[int], form: str) -> None:
    assert token_ids(FORMS[form](ids)) == ids
    prompts, several = list_of_prompts(FORMS[form](ids))
    assert not several and [token_ids(one) for one in prompts] == [ids]


@cases(60)
@given(prompts=st.lists(ids_lists, max_size=4), outer=st.sampled_from([list, tuple, iter]), form=st.sampled_from(list(FORMS)))
def test_several_prompts_are_each_theirs_in_any_form(prompts: list[list[int]], outer: Any, form: str) -> None:
    found, several = list_of_prompts(outer([FORMS[form](ids) for ids in prompts]))
    assert several and [token_ids(one) for one in found] == prompts
    width = min(map(len, prompts), default=0)
    for stacked in (np.array, torch.tensor):
        if width:
            found, several = list_of_prompts(stacked([ids[:width] for ids in prompts]))
            assert several and [token_ids(one) for one in found] == [ids[:width] for ids in prompts]


def test_many_of_none_is_none_and_arrays_generate_as_lists_do(model: pellucid.GPT) -> None:
    assert model.generate([], max_tokens=2) == [] == model.score([]) == model.generate(iter([]), n=3)
    options = {"max_tokens": 3, "seed": 1}
    lists = model.generate([[1, 2], [3, 4]], **options)
    assert model.generate(np.array([[1, 2], [3, 4]]), **options) == lists
    assert model.generate(torch.tensor([[1, 2], [3, 4]]), **options) == lists
    assert model.generate((text for text in ("ab", " c")), **options) == model.generate(["ab", " c"], **options)
    assert model.generate([torch.tensor([1, 2]), np.array([3])], **options)[0] == lists[0]
    assert [t.id for t in model.stream(np.array([1, 2]), **options)] == lists[0].ids
    assert model.beam(np.array([1, 2]), max_tokens=2).ids == model.beam([1, 2], max_tokens=2).ids
    numbers = {"max_tokens": np.int64(3), "seed": np.int32(1), "temperature": np.float32(1), "top_k": np.int8(100)}
    assert model.generate([1, 2], **numbers).ids == lists[0].ids  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [b"ab", {"a": 1}, {1, 2}, 5, np.array(5), torch.ones(2), np.ones((2, 2)), np.ones((1, 1, 1), int)], ids=str
)
def test_what_is_no_prompt_is_refused_in_a_line(model: pellucid.GPT, wrong: Any) -> None:
    for ask in (model.generate, model.stream, model.score, model.beam):
        with pytest.raises(pellucid.PellucidError, match=r"^(a prompt is|give one prompt only:) text or a list of token ids"):
            ask(wrong)


# Scores of completions.


@cases(25)
@given(prompt=ids_lists, completion=ids_lists, texts=st.booleans())
def test_a_completion_is_scored_as_the_end_of_prompt_and_completion(
    prompt: list[int], completion: list[int], texts: bool
) -> None:
    model = lively(pellucid.GPT(CONFIG, tokenizer=TOKENIZER, seed=2))
    given_prompt: Any = prompt
    given_completion: Any = completion
    if texts:
        given_prompt, given_completion = "ab" * len(prompt), " c" * len(completion)
        prompt, completion = TOKENIZER.encode(given_prompt), TOKENIZER.encode(given_completion)
    score = model.score(given_prompt, completion=given_completion, logprobs=2)
    whole = model.score(prompt + completion, logprobs=2)
    assert score.ids == completion and score.logprobs == whole.logprobs[len(prompt) :]
    assert score.top_logprobs == (whole.top_logprobs or [])[len(prompt) :]
    known = [one for one in score.logprobs if one is not None]
    assert score.total == math.fsum(known) and len(known) == len(completion)
    assert score.perplexity == pytest.approx(math.exp(-score.total / len(known)))


def test_what_was_generated_scores_what_it_was_drawn_with(model: pellucid.GPT) -> None:
    drawn = model.generate("abab", max_tokens=8, seed=3)
    assert model.score("abab", completion=drawn.ids).logprobs == pytest.approx(drawn.logprobs, abs=1e-5)
    one, two = model.score(["ab", "b"], completion=[" c", "a"])
    assert [one, two] == [model.score("ab", completion=" c"), model.score("b", completion="a")]
    assert model.score("ab", completion=[" c", "a"]) == [one, model.score("ab", completion="a")]  # one prompt for all
    assert model.score(["ab", "b"], completion="a")[1] == two  # one completion for all
    assert model.score("ab", completion=[]) == [] == model.score([], completion="a")
    assert model.score(None, completion="a").logprobs == model.score([TOKENIZER.eot, *TOKENIZER.encode("a")]).logprobs[1:]
    with pytest.raises(pellucid.PellucidError, match="2 completions cannot be scored after 3 prompts: give one for each"):
        model.score(["a", "b", "ab"], completion=["a", "b"])
    for empty in ("", [[]]):
        with pytest.raises(pellucid.PellucidError, match="the completion is empty"):
            model.score("ab", completion=empty)  # type: ignore[call-overload]
    with pytest.raises(pellucid.PellucidError, match="a text of one token has no perplexity"):
        print(model.score([1]).perplexity)
    assert model.score([1]).total == 0


# Files of llama.cpp's format.


@pytest.mark.parametrize("quantize", [None, "int8", "int4", "float16"])
def test_a_gguf_file_is_a_model_as_its_conversion_reads_it(
    model: pellucid.GPT, quantize: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "Small.GGUF"
    convert(model, TOKENIZER, file, to="gguf", quantize=quantize)
    loaded = pellucid.load(file)
    assert (loaded.config, loaded.tokenizer, loaded.training) == (model.config, TOKENIZER, False)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    if quantize is None:
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
    written = loaded.generate("ab", max_tokens=5, seed=1)
    for kernel in ("auto", "off"):
        with_name = open_text_generator(str(file), kernel=kernel)  # type: ignore[arg-type]
        assert with_name.generate("ab", max_tokens=5, seed=1).ids == written.ids
    assert str(pellucid.load(file, dtype="bfloat16").wte.weight.dtype) == "torch.bfloat16"
    with pytest.raises(pellucid.PellucidError, match=r"no such directory or file: .*none\.gguf"):
        pellucid.load(tmp_path / "none.gguf")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(pellucid.PellucidError, match=r"Small\.GGUF"):
        pellucid.load(file)


def test_a_prompt_without_numbers() -> None:
    model = pellucid.GPT(pellucid.GPTConfig(vocab_size=30, n_ctx=8, n_layers=1, d_model=8, n_heads=2), seed=1)
    with pytest.raises(PellucidError, match="on the meta device"):
        model.generate(torch.tensor([1, 2], device="meta"), max_tokens=1)
