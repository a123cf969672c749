"""What is held out, against plain code on lists: no text on both sides; a tokenizer that has seen the training part alone."""

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from stories import story

from pellucid.corpus import Document, TokenCorpus, build_corpus
from pellucid.corpus.document_index import index_documents
from pellucid.corpus.documents import read_parts
from pellucid.corpus.segments import segments
from pellucid.corpus.split import choose_held_out, split_documents
from pellucid.errors import PellucidError
from pellucid.hashing import mix
from pellucid.text import Tokenizer, train_tokenizer
from pellucid.text.bytes_to_characters import BYTE_ORDER


BYTES = Tokenizer([bytes([byte]) for byte in BYTE_ORDER])

texts = st.text("ab é\n😀", max_size=40)
collections = st.lists(texts, min_size=1, max_size=4).flatmap(lambda few: st.lists(st.sampled_from(few) | texts, max_size=16))
fractions = st.floats(0.01, 0.5)


def plain_choice(sizes: list[int], fraction: float, seed: int, equal: list[int]) -> list[int]:
    """`choose_held_out` on lists."""
    together = {first: sum(size for size, other in zip(sizes, equal, strict=True) if other == first) for first in equal}
    target = fraction * sum(sizes)
    held: list[int] = []
    for first in sorted(together, key=lambda i: (mix(seed, i), i)):
        chosen = sum(together[i] for i in held)
        if abs(chosen + together[first] - target) < abs(chosen - target):
            held.append(first)
    if not held and together:
        held = [min(sorted(together, key=lambda i: (mix(seed, i), i)), key=together.__getitem__)]
    if len(together) < 2 or not target / 2 <= sum(together[i] for i in held) <= sum(sizes) / 2:
        return []
    return [i for i, first in enumerate(equal) if first in held]


@given(
    pairs=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 9)), max_size=40), fraction=fractions,
    seed=st.integers(-(1 << 70), 1 << 70),
)  # fmt: skip
def test_equal_documents_are_chosen_together(pairs: list[tuple[int, int]], fraction: float, seed: int) -> None:
    sizes = [size for size, _ in pairs]
    equal = [pairs.index(pair) for pair in pairs]
    chosen = choose_held_out(sizes, fraction, seed, first_equal=np.array(equal, np.int64))
    assert chosen == plain_choice(sizes, fraction, seed, equal)
    assert choose_held_out(sizes, fraction, seed) == plain_choice(sizes, fraction, seed, list(range(len(sizes))))


@given(collection=collections)
def test_the_index_knows_sizes_and_equal_texts(collection: list[str]) -> None:
    index = index_documents(read_parts([Document(str(i), text) for i, text in enumerate(collection)]))
    assert index.sizes.tolist() == [len(text.encode()) for text in collection]
    assert index.first_equal().tolist() == [collection.index(text) for text in collection]


def sides(corpus: TokenCorpus) -> tuple[list[str], list[str]]:
    """The texts of both sides: what is between end-of-texts."""
    found = []
    for tokens in (corpus.train[:].tolist(), corpus.held_out[:].tolist()):
        ends = [i for i, token in enumerate(tokens) if token == BYTES.eot]
        assert not tokens or ends[-1] == len(tokens) - 1  # nothing runs on into the other side
        found.append([BYTES.decode(tokens[a + 1 : b]) for a, b in pairwise([-1, *ends])])
    return found[0], found[1]


@cases(60)
@given(collection=collections, fraction=fractions, seed=st.integers(0, 99))
def test_no_text_is_on_both_sides(collection: list[str], fraction: float, seed: int) -> None:
    with TemporaryDirectory() as folder:
        documents = [Document(str(i), text) for i, text in enumerate(collection)]
        try:
            corpus = build_corpus(documents, BYTES, Path(folder) / "c", fraction=fraction, seed=seed)
        except PellucidError:
            longest = max(collection, key=lambda text: len(text.encode()), default="")
            assert len(longest) < 2
            return
        train, held_out = sides(corpus)
        entries = list(corpus.documents())
    assert held_out
    assert [entry["bytes"] for entry in entries] == [len(text.encode()) for text in collection]
    if corpus.manifest["held_out"] == "documents":
        assert not set(train) & set(held_out)
        assert sorted(train + held_out) == sorted(collection)
        return
    cut = [text for text, entry in zip(collection, entries, strict=True) if entry["part"] == "both"]
    whole = [text for text in collection if text not in cut]
    assert cut == [text for text in collection if text == cut[0]] and len(cut[0].encode()) == max(e["bytes"] for e in entries)
    assert len(held_out) == len(cut) and len(set(held_out)) == 1 and 0 < len(held_out[0]) < len(cut[0])
    assert sorted(train) == sorted([*whole, *(text.removesuffix(held_out[0]) for text in cut)])
    assert cut[0].endswith(held_out[0])


@cases(40)
@given(collection=collections, held=collections)
def test_what_is_named_to_hold_out_is_not_trained_on(collection: list[str], held: list[str]) -> None:
    skipped: list[str] = []
    documents, named = ([Document(f"{name}{i}", t) for i, t in enumerate(ts)] for name, ts in (("t", collection), ("h", held)))
    with TemporaryDirectory() as folder:
        try:
            corpus = build_corpus(
                documents, BYTES, Path(folder) / "c", held_out=named, on_skip=lambda path, _: skipped.append(str(path))
            )
        except PellucidError:
            assert not held or set(collection) <= set(held)
            return
        train, held_out = sides(corpus)
    assert held_out == held
    assert train == [text for text in collection if text not in held]
    assert skipped == [document.name for document in documents if document.text in held]


@cases(15)
@given(seeds=st.lists(st.integers(1, 6), min_size=1, max_size=12), fraction=fractions, words=st.integers(5, 200))
def test_the_tokenizer_has_seen_the_training_part_alone(seeds: list[int], fraction: float, words: int) -> None:
    documents = [Document(str(i), f"{story(words, seed)} Zyzzyva{seed}." * 3) for i, seed in enumerate(seeds)]
    with TemporaryDirectory() as folder:
        corpus = build_corpus(documents, 400, Path(folder) / "c", fraction=fraction)
        tokenizer = Tokenizer.load(Path(folder) / "c")
        tokens = corpus.train[:].tolist()
    assert corpus.manifest["tokenizer"]["fingerprint"] == tokenizer.fingerprint
    train = tokenizer.decode(tokens).split("<|endoftext|>")[:-1]
    assert tokenizer == train_tokenizer(train, 400)


def test_documents_that_change_while_they_are_read_are_refused() -> None:
    one, two = Document("a", "some text " * 5), Document("b", "other text " * 5)
    index = index_documents(read_parts([one, two]))
    split = split_documents(index, 0.4, 0)
    assert len(list(segments(read_parts([one, two]), index.sizes, split, 0))) == 2
    for changed, words in (
        ([Document("a", one.text[1:]), two], "a changed"), ([one, Document("b", two.text + "x")], "b changed"),
        ([one, two, one], "a changed"), ([one], "vanished"),
    ):  # fmt: skip
        with pytest.raises(PellucidError, match=words):
            list(segments(read_parts(changed), index.sizes, split, 0))
