"""The measures of samples: sentences that parse and that do not, one by one by its reason; what is counted."""

from collections import Counter
from pathlib import Path

import pytest

from pellucid.corpus import open_corpus
from pellucid.text import Tokenizer
from recipes.default_model.grammar import TWICE, distinct, known_words, measure, parses, repeated, sentences
from recipes.default_model.words import split


KNOWN = frozenset(split(
    "the a an old king was hour apple house saw of to in and went he said had very that can go be one horse hen well she"
))  # fmt: skip


@pytest.mark.parametrize("text", [
    "The king was old.", "He went to the house in an hour.", "'He had had an apple!'", "The hen-house was old.",
    "The king saw Dawny.", "A one was very very old.", "The king was in, and he went.",
])  # fmt: skip
def test_good_sentences_parse(text: str) -> None:
    assert parses(text, KNOWN)


@pytest.mark.parametrize(("text", "why"), [
    ("the king was old.", "no capital"), ("The king was ricest.", "an unknown word"), ("Dawny was old.", "so at the beginning"),
    ("The old king.", "no verb"), ("The the king was old.", "article, article"), ("The was old.", "article, auxiliary"),
    ("He went to the.", "article, end"), ("He saw of he.", "preposition, subject"), ("He the king was.", "subject, article"),
    ("He can went.", "modal, past"), ("He was a apple.", "a before a vowel"), ("He was an king.", "an before a consonant"),
    ("An one was old.", "one begins with a consonant"), ("The king king was old.", "twice"), ("42!", "no word"),
])  # fmt: skip
def test_bad_sentences_do_not_parse(text: str, why: str) -> None:
    assert not parses(text, KNOWN), why


def test_whole_sentences_are_taken() -> None:
    text = 'prompt goes on. He said: "Go!" He went to Mr. Brown. "Well?" said she. And cut'
    assert sentences(text) == ['He said: "Go!"', "He went to Mr. Brown.", '"Well?" said she.']
    assert sentences("no end at all") == sentences("one end. and no other") == []


def test_measures_of_samples() -> None:
    samples = ["x. The king was old. The old king.", "the king was old the king was old well"]
    found = measure(samples, KNOWN)
    assert (found.samples, found.sentences, found.words, found.parsed) == (2, 2, 17, 0.5)
    assert found.unknown == pytest.approx(1 / 17) and found.repeated == pytest.approx(4 / 17)
    assert repeated(["a", "b", "c", "d", "e", "a", "b", "c", "d", "e", "f"]) == 5 and repeated(["a", "b", "c", "d"]) == 0
    assert distinct([["a", "b", "a"], ["a", "b"]], 1) == 2 / 5 and distinct([["a", "b", "a"], ["a", "b"]], 2) == 2 / 3
    assert distinct([[]], 1) == 0 and measure([], KNOWN).parsed == 0


def test_words_of_the_books_are_known(recipe_data: Path) -> None:
    corpus, tokenizer = open_corpus(recipe_data / "prose"), Tokenizer.load(recipe_data)
    text = " ".join(tokenizer.decode(corpus.train[:].tolist()).replace("<|endoftext|>", " ").split())
    known = known_words(recipe_data)
    words = [word for word in text.replace(".", " ").split() if word.isalpha()]
    assert known == {word for word, count in Counter(words).items() if count >= TWICE}
