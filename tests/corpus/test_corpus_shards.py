"""Documents to shards and back: against plain lists, and against damage."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.corpus import Document, TokenCorpus, Tokens, build_corpus, open_corpus
from pellucid.corpus.split import choose_held_out
from pellucid.errors import PellucidError
from pellucid.text import Tokenizer, r50k
from pellucid.text.bytes_to_characters import BYTE_ORDER


BYTES = Tokenizer([bytes([byte]) for byte in BYTE_ORDER])
STORIES = [Document(f"{i}.txt", f"Story {i}.\n\n" + f"Once upon a time, é {i}. " * (5 + i % 7)) for i in range(40)]


def part_of(corpus: TokenCorpus, name: str) -> list[int]:
    return list({"train": corpus.train, "held_out": corpus.held_out}[name][:])


@pytest.mark.parametrize("shard_tokens", [1 << 26, 1000, 7])
@pytest.mark.parametrize("tokenizer", [BYTES, r50k()], ids=["bytes", "r50k"])
def test_shards_hold_what_encoding_gives(tmp_path: Path, tokenizer: Tokenizer, shard_tokens: int) -> None:
    corpus = build_corpus(iter(STORIES), tokenizer, tmp_path / "c", fraction=0.2, seed=3, shard_tokens=shard_tokens)
    held = set(choose_held_out([len(story.text.encode()) for story in STORIES], 0.2, 3))
    assert 0 < len(held) < len(STORIES)
    for part, expected in (
        ("train", [story for i, story in enumerate(STORIES) if i not in held]),
        ("held_out", [story for i, story in enumerate(STORIES) if i in held]),
    ):
        ids = [i for story in expected for i in [*tokenizer.encode(story.text), tokenizer.eot]]
        assert part_of(corpus, part) == ids
        shards = corpus.manifest["shards"][part]
        assert len(shards) == -(-len(ids) // shard_tokens)
        assert shards[0]["file"] == f"{part}-00000.bin"
        assert sum(shard["tokens"] for shard in shards) == len(ids)
        n_bytes = sum(len(story.text.encode()) for story in expected)
        assert sum(shard["bytes"] for shard in shards) == n_bytes
        names = [entry["name"] for entry in corpus.documents() if entry["part"] == part]
        assert names == [story.name for story in expected]
    assert corpus.train.n_bytes + corpus.held_out.n_bytes == sum(len(story.text.encode()) for story in STORIES)
    assert corpus.manifest["held_out"] == "documents"
    assert corpus.manifest["tokenizer"]["fingerprint"] == tokenizer.fingerprint
    assert corpus.manifest["dtype"] == "uint16"
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_held_out_documents_can_be_named(tmp_path: Path) -> None:
    corpus = build_corpus(STORIES[:3], BYTES, tmp_path / "c", held_out=iter(STORIES[30:]))
    for part, stories in (("train", STORIES[:3]), ("held_out", STORIES[30:])):
        assert part_of(corpus, part) == [i for story in stories for i in [*BYTES.encode(story.text), BYTES.eot]]
        names = [entry["name"] for entry in corpus.documents() if entry["part"] == part]
        assert names == [story.name for story in stories]
    with pytest.raises(PellucidError, match="held_out must be"):
        build_corpus(STORIES, BYTES, tmp_path / "d", held_out=[])


def test_a_large_vocabulary_takes_32_bits(tmp_path: Path) -> None:
    pairs = [bytes([a, b]) for a in range(256) for b in range(256)]
    large = Tokenizer([*(bytes([byte]) for byte in BYTE_ORDER), *pairs])
    assert large.vocab_size > 1 << 16
    corpus = build_corpus(STORIES, large, tmp_path / "c")
    assert corpus.manifest["dtype"] == "uint32"
    assert max(part_of(corpus, "train")) == large.eot > 0xFFFF


def test_a_long_document_is_encoded_in_parts_to_the_same_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build_corpus(STORIES, r50k(), tmp_path / "whole")
    monkeypatch.setattr("pellucid.corpus.documents.PART_CHARS", 10)
    monkeypatch.setattr("pellucid.corpus.encoder.GROUP_CHARS", 50)
    parts = build_corpus(STORIES, r50k(), tmp_path / "parts")
    assert whole.manifest == parts.manifest  # with the SHA-256 of every shard


def test_one_document_holds_out_its_tail(tmp_path: Path) -> None:
    text = "".join(f"Paragraph {i} says é.\n{'Another line.' * 3}\n\n" for i in range(200))
    corpus = build_corpus([Document("book", text)], r50k(), tmp_path / "c")
    assert corpus.manifest["held_out"] == "tail"
    train, held = part_of(corpus, "train"), part_of(corpus, "held_out")
    assert train.pop() == held.pop() == r50k().eot  # two texts, of which neither goes on in the other
    assert r50k().decode([*train, *held]) == text
    assert r50k().decode(train).endswith("\n\n") and r50k().decode(held).startswith("Paragraph")
    assert 0.02 < corpus.held_out.n_bytes / len(text.encode()) <= 0.05
    (entry,) = corpus.documents()
    assert entry["part"] == "both" and entry["tokens_train"] == len(train) + 1
    assert entry["tokens"] == len(train) + len(held) + 2


@pytest.mark.parametrize(("text", "ends"), [("word " * 300, "word"), ("line a b\n" * 300, "\n"), ("x" * 300, "x")])
def test_the_tail_is_cut_where_it_can_be(tmp_path: Path, text: str, ends: str) -> None:
    corpus = build_corpus([Document("a", text)], BYTES, tmp_path / "c")
    assert BYTES.decode(part_of(corpus, "train")[:-1]).endswith(ends)
    held = BYTES.decode(part_of(corpus, "held_out"))
    assert held.startswith({"word": " word", "\n": "line", "x": "x"}[ends])
    assert len(text) * 0.02 < len(held) - len("<|endoftext|>") <= len(text) * 0.05 + 1


def test_a_title_page_is_not_all_that_is_held_out(tmp_path: Path) -> None:
    book, title = Document("book", "It was so. " * 1000), Document("title", "A Book")
    corpus = build_corpus([title, book, title], BYTES, tmp_path / "c")
    assert corpus.manifest["held_out"] == "tail"
    assert [entry["part"] for entry in corpus.documents()] == ["train", "both", "train"]
    assert part_of(corpus, "train").count(BYTES.eot) == 3
    assert 200 < len(corpus.held_out) < 560
    assert corpus.train.n_bytes + corpus.held_out.n_bytes == len(book.text) + 2 * len(title.text)


@given(
    sizes=st.lists(st.integers(0, 10_000), max_size=40),
    fraction=st.floats(0.01, 0.5),
    seed=st.integers(),
)
def test_the_split_is_fair_or_none(sizes: list[int], fraction: float, seed: int) -> None:
    held = choose_held_out(sizes, fraction, seed)
    assert held == choose_held_out(sizes, fraction, seed) == sorted(set(held))
    if held:
        share = sum(sizes[i] for i in held)
        assert len(held) < len(sizes) or not share
        assert fraction * sum(sizes) / 2 <= share <= sum(sizes) / 2
    if len(sizes) < 2:
        assert held == []


def test_the_split_is_close_and_depends_on_the_seed() -> None:
    sizes = [400_000 + 1000 * i for i in range(136)]
    chosen = {tuple(choose_held_out(sizes, 0.05, seed)) for seed in range(10)}
    assert len(chosen) == 10
    assert all(abs(sum(sizes[i] for i in held) / sum(sizes) - 0.05) < 0.005 for held in chosen)
    assert len(choose_held_out([10, 10, 10], 0.05, 0)) == 1


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    build_corpus(STORIES, BYTES, tmp_path / "empty")
    with pytest.raises(PellucidError, match="exists already"):
        build_corpus(STORIES, BYTES, tmp_path / "empty")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(PellucidError, match="exists already"):
        build_corpus(STORIES, BYTES, tmp_path / "file")
    with pytest.raises(PellucidError, match="cannot write the corpus"):
        build_corpus(STORIES, BYTES, tmp_path / "file" / "below")
    build_corpus(STORIES, BYTES, tmp_path / "new" / "deep")


@pytest.mark.parametrize("text", [None, "", "a"])
def test_too_little_text(tmp_path: Path, text: str | None) -> None:
    with pytest.raises(PellucidError, match="too little text" if text is not None else "corpus must be a file or folder"):
        build_corpus([] if text is None else [Document("a", text)], BYTES, tmp_path / "c")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> Iterator[Document]:
        yield from STORIES
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus(interrupted(), BYTES, tmp_path / "c")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pellucid.corpus.encoder.ShardWriter.write", full)
    with pytest.raises(PellucidError, match=r"cannot write the corpus .*: No space left"):
        build_corpus(STORIES, BYTES, tmp_path / "c")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def built(tmp_path: Path) -> Path:
    build_corpus(STORIES, BYTES, tmp_path / "c", shard_tokens=1500)
    return tmp_path / "c"


def test_opened_again(built: Path) -> None:
    corpus = open_corpus(str(built))
    assert len(corpus.manifest["shards"]["train"]) > 1
    assert len(corpus.train) + len(corpus.held_out) == sum(len(story.text.encode()) + 1 for story in STORIES)
    assert corpus.train.n_bytes == len(corpus.train) - part_of(corpus, "train").count(BYTES.eot)


def test_a_corpus_of_version_1_has_its_documents_in_the_manifest(built: Path) -> None:
    entries = list(open_corpus(built).documents())
    assert [entry["name"] for entry in entries] == [story.name for story in STORIES]
    file = built / "corpus.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(manifest | {"version": 1, "documents": entries}), encoding="utf-8")
    (built / "documents.jsonl").unlink()
    assert list(open_corpus(built).documents()) == entries


def test_damage_names_the_file(built: Path) -> None:
    shard = built / "train-00001.bin"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-2])
    for verify in (True, False):
        with pytest.raises(PellucidError, match=r"train-00001\.bin has 2,998 bytes, not 3,000"):
            open_corpus(built, verify=verify)
    shard.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(PellucidError, match=r"train-00001\.bin is damaged"):
        open_corpus(built)
    open_corpus(built, verify=False)
    shard.unlink()
    with pytest.raises(PellucidError, match=r"train-00001\.bin is missing"):
        open_corpus(built)
    shard.write_bytes(whole)
    listed = built / "documents.jsonl"
    listed.write_bytes(listed.read_bytes()[:-2])
    with pytest.raises(PellucidError, match=r"documents\.jsonl is damaged"):
        open_corpus(built)
    listed.unlink()
    with pytest.raises(PellucidError, match=r"documents\.jsonl is missing"):
        open_corpus(built)


def test_manifests_that_are_none(built: Path, tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"not a corpus: it has no corpus\.json"):
        open_corpus(tmp_path)
    file = built / "corpus.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(manifest | {"version": 3}), encoding="utf-8")
    with pytest.raises(PellucidError, match=r"version 3.*build it again"):
        open_corpus(built)
    for content in ("{", "[]", "{}", json.dumps(manifest | {"dtype": "float16"})):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(PellucidError, match=r"corpus\.json is damaged"):
            open_corpus(built)


@given(
    parts=st.lists(st.lists(st.integers(0, 65535), max_size=6), max_size=6),
    a=st.none() | st.integers(-40, 40),
    b=st.none() | st.integers(-40, 40),
)
def test_tokens_are_sliced_as_a_list(parts: list[list[int]], a: int | None, b: int | None) -> None:
    tokens = Tokens([np.array(part, dtype="<u2") for part in parts], n_bytes=0)
    plain = [i for part in parts for i in part]
    assert len(tokens) == len(plain)
    sliced = tokens[a:b]
    assert sliced.dtype == np.int64 and sliced.tolist() == plain[a:b]
    if a is not None and -len(plain) <= a < len(plain):
        assert tokens[a] == plain[a]
    elif a is not None:
        with pytest.raises(IndexError):
            tokens[a]
    with pytest.raises(ValueError, match="step"):
        tokens[::2]
