"""Training a tokenizer against `tokenizers`' trainer, and the compiled algorithm against the one in Python."""

import hashlib
import os
import random
from itertools import pairwise
from unittest import mock

import pytest
import tokenizers
from cases import cases
from hypothesis import example, given
from hypothesis import strategies as st
from stories import story
from tokenizers import models, pre_tokenizers, trainers

from pellucid.errors import PellucidError
from pellucid.native.errors import Unavailable
from pellucid.text import train, train_tokenizer
from pellucid.text.bpe import library
from pellucid.text.bpe.learn import MIN_FREQUENCY, Learning, learn
from pellucid.text.bytes_to_characters import to_bytes
from pellucid.text.split_words import split_words


WORDS = [
    "the ", " the", "abc", "ab" * 9, "aaaa", "   ", "\n\n", " \n", "'s", "n't", "12", "你好世界", "é", "e\u0301", "🙂", "x=1;",
]  # fmt: skip
runs = st.builds(lambda piece, n: piece * n, st.sampled_from(["a", "ab", " ", "aab", "你", "-", "\t"]), st.integers(1, 60))
texts = st.lists(
    st.one_of(runs, st.sampled_from(WORDS), st.text(st.sampled_from("aab \nc1'你"), max_size=30)), max_size=12
).map("".join)


def learnt_by_tokenizers(texts: list[str], vocab_size: int, longest: int) -> list[bytes]:
    """The tokens that `tokenizers` learns, in the order of merging."""
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=MIN_FREQUENCY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False, max_token_length=longest + 1,  # it takes less than that
    )  # fmt: skip
    with mock.patch.dict(os.environ, TOKENIZERS_PARALLELISM="false"):
        trained.train_from_iterator(iter(texts), trainer)
    vocabulary = trained.get_vocab()
    return [to_bytes(characters) for characters in sorted(vocabulary, key=vocabulary.__getitem__)]


@cases(30)
@given(
    texts=st.lists(texts, min_size=1, max_size=3), vocab_size=st.integers(256, 400), longest=st.sampled_from([2, 3, 5, 16, 256])
)
@example(texts=[story(4000, 3)], vocab_size=1500, longest=256)
def test_learns_what_tokenizers_does(texts: list[str], vocab_size: int, longest: int) -> None:
    counts = train.count_words(texts)
    expected = learnt_by_tokenizers(texts, vocab_size, longest)
    assert learn(counts, vocab_size, longest) == expected
    try:
        compiled = library.learn(counts, vocab_size, longest)
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert compiled == expected


def test_ordinary_text_gives_the_tokens_that_it_always_gave() -> None:
    """Of pellucid 0.1.0 with tokenizers 0.23.3 as the trainer."""
    text = "".join(story(3000, seed) for seed in range(4))
    text += "def f(x):\n    return x ** 2  # ²\n" * 30 + "你好，世界。Ünïcödé 🙂\n" * 20
    tokens = train_tokenizer([text], 900).ranked_tokens()
    assert list(tokens) == learnt_by_tokenizers([text], 899, train.MAX_TOKEN_BYTES)
    assert hashlib.sha256(b"\0".join(tokens)).hexdigest() == "cf43d6d1e9f2915f383f60f04b65645dee5a9e232682106e2ffc5ed9f2358eb9"


@cases(50)
@given(text=st.one_of(texts, st.text(st.characters(exclude_categories=("Cs", "Cn", "Co")), max_size=60)))
def test_splits_as_tokenizers_does(text: str) -> None:
    found = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    assert [word.encode() for word in split_words(text)] == [to_bytes(word) for word, _ in found]


def steps(word: str, vocab_size: int = 1024) -> int:
    """How many positions are looked at while this word is trained on."""
    state, looked_at = Learning({word.encode(): 1}, 256), 0
    positions_of = state.positions_of

    def counted(*group: object) -> list[int]:
        nonlocal looked_at
        positions = positions_of(*group)  # type: ignore[arg-type]
        looked_at += len(positions)
        return positions

    with mock.patch.object(state, "positions_of", counted):
        state.run(vocab_size)
    return looked_at


@pytest.mark.parametrize("kind", ["a", " ", "ab", "aab", "random letters", "random Chinese"])
def test_learning_takes_steps_for_each_byte_not_for_each_pair_of_bytes(kind: str) -> None:
    draw = random.Random(1)
    letters = {"random letters": "abcdefgh", "random Chinese": "的一是不了人我在有他这中大来上个国"}.get(kind)
    word = "".join(draw.choices(letters, k=6000)) if letters else kind * (6000 // len(kind))
    counts = [steps(word[: len(word) * n // 4]) for n in (1, 2, 4)]
    for shorter, longer in pairwise(counts):
        assert longer < 2.5 * shorter
    assert counts[-1] < 4 * len(word.encode())


def test_new_words_are_left_out_where_there_is_no_more_memory_for_them() -> None:
    assert train.count_words(["one two one one"], max_bytes=3) == {b"one": 1}
    assert train.count_words(["one two one one"], max_bytes=4) == {b"one": 1, b" two": 1}
    assert train.count_words(["one two one one"], max_bytes=8) == {b"one": 1, b" two": 1, b" one": 2}


def test_without_the_library_the_same_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    text = story(6000, 5)
    monkeypatch.setattr(train, "SMALL", 0)
    compiled = train_tokenizer([text], 500)

    def unavailable() -> None:
        raise Unavailable("no C compiler")

    monkeypatch.setattr(library, "library", unavailable)
    assert train_tokenizer([text], 500) == compiled


def test_an_interrupt_ends_the_compiled_learning_within_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """It returns to Python after WORK positions, where an interrupt is raised: here there are many such returns."""
    try:
        compiled = library.library()
    except Unavailable as reason:
        pytest.skip(str(reason))
    calls = 0

    def learn(*arguments: object) -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return int(compiled.pellucid_bpe_learn(*arguments))

    monkeypatch.setattr(library, "WORK", 10)
    watched = mock.Mock(wraps=compiled, pellucid_bpe_learn=learn)
    monkeypatch.setattr(library, "library", lambda: watched)
    with pytest.raises(KeyboardInterrupt):
        library.learn(train.count_words([story(500, 3)]), 400, 256)
    watched.pellucid_bpe_close.assert_called_once()
    calls = 3
    assert library.learn(train.count_words([story(500, 3)]), 400, 256) == learn_in_python(story(500, 3), 400)
    assert calls > 10


def learn_in_python(text: str, vocab_size: int) -> list[bytes]:
    return learn(train.count_words([text]), vocab_size, 256)


def test_no_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        compiled = library.library()
    except Unavailable as reason:
        pytest.skip(str(reason))
    monkeypatch.setattr(library, "library", lambda: mock.Mock(wraps=compiled, pellucid_bpe_open=lambda *arguments: None))
    with pytest.raises(PellucidError, match="not enough memory to train a tokenizer"):
        library.learn({b"aaaa": 2}, 300, 256)
