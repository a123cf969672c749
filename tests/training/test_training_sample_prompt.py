"""training/sample_prompt: a short prompt in any script, cut between tokens and never inside a character."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pellucid.text import Tokenizer
from pellucid.text.graphemes import columns, graphemes
from pellucid.text.train import train_tokenizer
from pellucid.training.sample_prompt import MOST_COLUMNS, MOST_TOKENS, beginning, opening_words


TEXTS = {
    "Once upon a time there was a king": "Once upon a time",
    "从前有一个国王，他有三个儿子。大儿子很聪明。": "从前有一个国王，他有三个儿子。",
    "كان يا ما كان في قديم الزمان": "كان يا ما كان",
    "एक समय की बात है, एक राजा था।": "एक समय की बात",
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(list(TEXTS), 360)


@pytest.mark.parametrize("text", TEXTS)
def test_a_sample_prompt_is_the_start_of_the_text_and_short(text: str, tokenizer: Tokenizer) -> None:
    found = opening_words(text, tokenizer)
    assert found and text.startswith(found) and columns(found) <= MOST_COLUMNS
    assert len(tokenizer.encode_prompt(found)) <= MOST_TOKENS
    after = text[len(found) :][:1]
    assert after in ("", " ") or " " not in found  # at a word's start where there are words


@given(
    some.text(alphabet="ab 从前 نा🇩🇪👩‍👧e\u0301", max_size=30),
    some.integers(1, 20),
    some.one_of(some.none(), some.integers(1, 20)),
)
def test_a_beginning_is_whole_characters_of_as_many_tokens_and_columns(
    tokenizer: Tokenizer, text: str, tokens: int, wide: int | None
) -> None:
    found = beginning(text, tokenizer, tokens, wide)
    clusters = graphemes(found)
    assert graphemes(text)[: len(clusters)] == clusters
    assert len(tokenizer.encode_prompt(found)) <= tokens or found == ""
    assert wide is None or columns(found) <= wide
