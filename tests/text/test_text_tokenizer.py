"""The tokenizer against its oracles: plain merging by rank, `tokenizers`' own encoding, and tiktoken's special tokens."""

import copy
import json
import pickle
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiktoken
import tokenizers
from cases import cases
from hypothesis import example, given
from hypothesis import strategies as st

from pellucid.errors import PellucidError
from pellucid.text import END_OF_TEXT, Tokenizer, r50k, train_tokenizer
from pellucid.text.bytes_to_characters import BYTE_ORDER, to_bytes, to_characters
from pellucid.text.merges import merges_from_ranks
from pellucid.text.split_pattern import LONGEST_RUN, R50K_SPLIT, chunks


STORY = (
    "A robot must obey the orders given it by human beings. It mustn't harm them; they'll be glad!\n\n"
    "  aaaa aaaaaaa aaa abababab baba\n\n\n\tdef f(x):\n        return x ** 2\n"
    * 3
    + "Ünïcödé 你好你好世界 🙂🙂 naïve café 1234 12345 "
) * 4
RUNS = "".join("ab"[i & 1] * (i % 7 + 1) + " " * (i % 5) for i in range(400)) + "\n" * 50 + "aab" * 100 + "aba" * 100

# Letters that this Python's Unicode tables do not know may be letters to one library and not to the other.
characters = st.characters(exclude_categories=("Cs", "Cn", "Co"))
texts = st.one_of(
    st.text(characters, max_size=60),
    st.text(st.sampled_from("aab b\n\t'rsth é你🙂\u00a0\u2003.!0"), max_size=60),
    st.lists(st.sampled_from(["a", "ab", " the", "robot", "  ", "\n\n", "n't", "12", "你好"]), max_size=30).map("".join),
)


@cache
def trained(name: str, vocab_size: int) -> Tokenizer:
    return train_tokenizer([{"story": STORY, "runs": RUNS}[name]], vocab_size)


VOCABULARIES = [("story", 257), ("story", 300), ("story", 600), ("runs", 270), ("runs", 400)]


def merged_by_rank(tokenizer: Tokenizer, text: str) -> list[int]:
    """The oracle: join the pair with the lowest rank, the leftmost first, until none is left."""
    ranks = {tokenizer.token_bytes(i): i for i in range(tokenizer.eot)}
    ids: list[int] = []
    for word in tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text):
        parts = [bytes([byte]) for byte in to_bytes(word[0])]
        while True:
            pairs = [(ranks[a + b], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]
            if not pairs:
                break
            _, i = min(pairs)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        ids += [ranks[part] for part in parts]
    return ids


@pytest.mark.parametrize(("name", "vocab_size"), VOCABULARIES)
@given(text=texts)
@cases(60)
@example(text=STORY[:400])
@example(text=RUNS[:400])
def test_encodes_as_the_oracle_and_decodes_back(name: str, vocab_size: int, text: str) -> None:
    tokenizer = trained(name, vocab_size)
    ids = tokenizer.encode(text)
    assert ids == merged_by_rank(tokenizer, text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode_batch([text, "", text]) == [ids, [], ids]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], tokenizers.Tokenizer]:
    folder = tmp_path_factory.mktemp("saved")
    return {
        key: tokenizers.Tokenizer.from_file(str(trained(*key).save(folder / f"{key[0]}-{key[1]}.json"))) for key in VOCABULARIES
    }


@given(text=texts, key=st.sampled_from(VOCABULARIES))
@cases(200)
def test_saved_file_encodes_alike_in_tokenizers(
    saved: dict[tuple[str, int], tokenizers.Tokenizer], key: tuple[str, int], text: str
) -> None:
    theirs = saved[key]
    ids = trained(*key).encode(text)
    assert theirs.encode(text).ids == ids
    assert theirs.decode(ids, skip_special_tokens=False) == text
    with_end = f"{text}{END_OF_TEXT}{text}"
    assert theirs.encode(with_end).ids == trained(*key).encode(with_end, allow_special=True)


def test_both_libraries_cut_text_at_the_same_characters(tmp_path: Path) -> None:
    # Merges of a letter, digit, mark, space or newline with any byte after it: whether one happens shows where text was
    # cut. Every 61st code point here; all 1,112,064 agreed with tiktoken 0.14.0 and tokenizers 0.23.3.
    first = [bytes([byte]) for byte in BYTE_ORDER]
    tokenizer = Tokenizer([*first, *(bytes([a, b]) for a in b"a1! \n" for b in range(256))])
    theirs = tokenizers.Tokenizer.from_file(str(tokenizer.save(tmp_path / "tokenizer.json")))
    for code in [*range(0x3000), *range(0x3000, 0xD800, 61), *range(0xE000, 0x110000, 61)]:
        c = chr(code)
        text = f"a{c} 1{c} !{c} {c} \n{c}"
        assert theirs.encode(text).ids == tokenizer.encode(text), hex(code)


def test_save_and_load_keep_everything(tmp_path: Path) -> None:
    tokenizer = trained("story", 600)
    file = tokenizer.save(tmp_path)
    assert file == tmp_path / "tokenizer.json"
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    for path in (tmp_path, file, str(file)):
        loaded = Tokenizer.load(path)
        assert loaded == tokenizer
        assert loaded.fingerprint == tokenizer.fingerprint
        assert loaded.encode(STORY) == tokenizer.encode(STORY)


def test_training_is_deterministic_and_says_what_came_out() -> None:
    one, two = train_tokenizer([STORY, RUNS], 400), train_tokenizer(iter([STORY, RUNS]), 400)
    assert one == two and one.vocab_size == 400 and one.eot == 399
    assert one != train_tokenizer([STORY], 400)
    small = train_tokenizer(["the the"], 1000)
    assert 257 < small.vocab_size < 270 and small.eot == small.vocab_size - 1
    assert train_tokenizer([], 1000).vocab_size == 257
    with pytest.raises(PellucidError, match="at least"):
        train_tokenizer([STORY], 256)


@cases(20)
@given(half=st.characters(categories=("Cs",)), before=st.text(max_size=5), length=st.integers(1, 3))
def test_texts_with_half_a_character_are_refused_by_training_too(half: str, before: str, length: int) -> None:
    with pytest.raises(PellucidError, match="half a character"):
        train_tokenizer([STORY, before + half * length], 300)


def test_one_long_text_trains_the_same_table_as_its_parts() -> None:
    long = STORY * 60
    assert len(long) > 1 << 16
    assert train_tokenizer([long], 500) == train_tokenizer(chunks(long, 1000), 500)


@given(text=texts, size=st.integers(1, 20))
@cases(200)
def test_chunks_encode_as_the_whole(text: str, size: int) -> None:
    parts = list(chunks(text, size))
    assert "".join(parts) == text
    for tokenizer in (trained("story", 600), r50k()):
        assert [i for part in parts for i in tokenizer.encode(part)] == tokenizer.encode(text)


@pytest.mark.long
@pytest.mark.parametrize("space", [" ", "\u00a0", "\n \t"])
def test_runs_of_white_space_of_any_length(space: str) -> None:
    tokenizer = trained("runs", 400)
    run = space * (400_000 // len(space))  # what overflows the stack of tiktoken's regular expressions
    text = f"{run}a{run}\n{run}bb {run}"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode_batch([text, "a b"]) == [ids, tokenizer.encode("a b")]

    # And for runs that tiktoken does take, cutting around them changes nothing.
    run = space * (LONGEST_RUN // len(space) + 1)
    text = f"x{run}a{run}"
    encoding = tiktoken.Encoding("x", pat_str=R50K_SPLIT, mergeable_ranks=tokenizer._ranks, special_tokens={})
    assert tokenizer.encode(text) == encoding.encode_ordinary(text)


def test_end_of_text_is_text_unless_allowed() -> None:
    tokenizer = trained("story", 300)
    text = f"a{END_OF_TEXT}{END_OF_TEXT} b"
    assert tokenizer.eot not in tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    ids = tokenizer.encode(text, allow_special=True)
    assert ids == tokenizer._encoding.encode(text, allowed_special="all")
    assert ids.count(tokenizer.eot) == 2
    assert tokenizer.decode(ids) == text
    assert tokenizer.token_bytes(tokenizer.eot) == END_OF_TEXT.encode()


def test_ids_outside_the_vocabulary_are_named() -> None:
    tokenizer = trained("story", 300)
    for wrong in (300, -1, np.int64(12345)):
        with pytest.raises(PellucidError, match=f"token id {wrong} "):
            tokenizer.decode([1, wrong])
    assert tokenizer.decode(np.array(tokenizer.encode("héllo"))) == "héllo"
    assert tokenizer.decode(tokenizer.encode("é")[:1]) == "\ufffd"
    for text in ("a\ud800", "caf\udce9"):
        for encode in (tokenizer.encode, tokenizer.encode_prompt, lambda text: tokenizer.encode_batch(["a", text])):
            with pytest.raises(PellucidError, match="half a character"):
                encode(text)


def test_a_tokenizer_cannot_be_changed_and_can_be_copied() -> None:
    tokenizer = trained("story", 300)
    with pytest.raises(AttributeError, match="eot"):
        tokenizer.eot = 3
    for other in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert other == tokenizer and hash(other) == hash(tokenizer) and other.encode(STORY) == tokenizer.encode(STORY)


def test_tables_that_are_no_tables() -> None:
    first = [bytes([byte]) for byte in BYTE_ORDER]
    assert Tokenizer(first).vocab_size == 257
    for bad, words in (
        (first[:-1], "256 bytes"),
        ([*first[1:], first[0]], "256 bytes"),
        ([*first, b"ab", b"ab"], "twice"),
        ([*first, b""], "empty"),
    ):
        with pytest.raises(PellucidError, match=words):
            Tokenizer(bad)


def test_byte_characters_are_gpt2s() -> None:
    assert to_characters(b" the\n") == "ĠtheĊ"
    assert all(to_bytes(to_characters(bytes([byte]))) == bytes([byte]) for byte in range(256))
    assert sorted(map(to_characters, (bytes([b]) for b in range(256)))) == [to_characters(bytes([b])) for b in BYTE_ORDER]
    assert {to_characters(bytes([b])) for b in range(256)} == set(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    with pytest.raises(PellucidError, match="stands for no byte"):
        to_bytes("a b")


# Files from elsewhere


def foreign() -> dict[str, Any]:
    """GPT-2's tokenizer.json in the small: what Hugging Face's own GPT-2 files say, in the same words."""
    table = [*(bytes([byte]) for byte in BYTE_ORDER), b"ab", b"abc", b" ab"]
    end = {"id": 259, "content": END_OF_TEXT, "single_word": False, "lstrip": False, "rstrip": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [end | {"normalized": True, "special": True}],
        "normalizer": None,
        "pre_tokenizer": dict(byte_level),
        "post_processor": byte_level | {"trim_offsets": False},
        "decoder": dict(byte_level),
        "model": {
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "vocab": {to_characters(token): i for i, token in enumerate(table)} | {END_OF_TEXT: 259},
            "merges": ["a b", "ab c", "Ġ ab"],
        },
    }


def change(*path: Any, to: Any) -> dict[str, Any]:
    data = foreign()
    place: Any = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return data


def test_a_gpt2_file_from_elsewhere_is_read(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    for data in (
        foreign(),
        change("model", "type", to="BPE"),
        change("model", "merges", to=[["a", "b"], ["ab", "c"], ["Ġ", "ab"]]),
    ):
        file.write_text(json.dumps(data), encoding="utf-8")
        tokenizer = Tokenizer.load(tmp_path)
        assert tokenizer.vocab_size == 260 and tokenizer.eot == 259
        theirs = tokenizers.Tokenizer.from_file(str(file))
        for text in ("abc ab abab cab", "xab abc", "  ab"):
            assert tokenizer.encode(text) == theirs.encode(text).ids


READ: dict[str, tuple[dict[str, Any], int]] = {  # and how many ids there are
    "end-of-text not added": (change("added_tokens", to=[]), 260),
    "hole in ids": (change("model", "vocab", "Ġab", to=300), 301),
    "token without a merge": (change("model", "merges", to=["a b", "ab c"]), 260),
}


@pytest.mark.parametrize("what", READ)
def test_what_tokenizers_reads_too_is_read_as_there(what: str, tmp_path: Path) -> None:
    data, size = READ[what]
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    theirs = tokenizers.Tokenizer.from_file(str(file))
    tokenizer = Tokenizer.load(file)
    assert tokenizer.vocab_size == size and tokenizer.eot == 259
    for text in ("abc ab abab cab", "xab abc", "  ab"):
        ids = tokenizer.encode(text)
        assert ids == theirs.encode(text).ids and tokenizer.decode(ids) == text
    assert tokenizer.encode_batch(["abc", "ab"]) == [tokenizer.encode("abc"), tokenizer.encode("ab")]
    again = Tokenizer.load(tokenizer.save(tmp_path / "again.json"))
    assert again == tokenizer and [again.token_bytes(i) for i in range(size)] == [tokenizer.token_bytes(i) for i in range(size)]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "model": (change("model", "type", to="WordPiece"), "not BPE"),
    "dropout": (change("model", "dropout", to=0.1), "dropout"),
    "suffix": (change("model", "end_of_word_suffix", to="</w>"), "end_of_word_suffix"),
    "normalizer": (change("normalizer", to={"type": "NFC"}), "normalizer"),
    "no regex": (change("pre_tokenizer", "use_regex", to=False), "pre-tokenizer"),
    "other pre-tokenizer": (change("pre_tokenizer", to={"type": "Metaspace"}), "pre-tokenizer"),
    "no pre-tokenizer": (change("pre_tokenizer", to=None), "pre-tokenizer"),
    "template": (change("post_processor", to={"type": "TemplateProcessing"}), "adds tokens"),
    "decoder": (change("decoder", to={"type": "WordPiece"}), "decoder"),
    "two specials of one id": (change("added_tokens", 0, "content", to="<s>"), "'<s>' is said to have id 259"),
    "special first": (change("added_tokens", 0, "id", to=0), "is said to have id 0"),
    "negative id": (change("model", "vocab", "Ġab", to=-1), "is -1, not a number up to"),
    "not a byte": (change("model", "vocab", to=foreign()["model"]["vocab"] | {"a b": 259}), "two tokens"),
    "no byte": (change("model", "vocab", to={"a": 0, END_OF_TEXT: 259}), "lacks 'b', which a merge joins"),
    "merge of nothing": (change("model", "merges", to=["a b", "ab c", "Ġ c"]), "lacks 'Ġc'"),
    "merge order": (change("model", "merges", to=["ab c", "a b", "Ġ ab"]), "cannot be reached"),
    # by pairs "abc" is a + bc, which nothing makes; by rank it is ab + c
    "other pair": (change("model", "merges", to=["a b", "a bc", "Ġ ab"]), "by rank from"),
    "no model": (change("model", to=None), "not a tokenizer.json"),
    "a list": (change("added_tokens", to=3), "not a tokenizer.json"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_other_files_are_refused_with_the_reason(what: str, tmp_path: Path) -> None:
    data, words = REFUSED[what]
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(PellucidError, match=words) as caught:
        Tokenizer.load(file)
    assert "tokenizer.json" in str(caught.value)


def test_ranks_that_no_merging_reaches_are_refused() -> None:
    first = [bytes([byte]) for byte in BYTE_ORDER]
    assert merges_from_ranks([*first, b"ab", b"abab"]) == [(b"a", b"b"), (b"ab", b"ab")]
    with pytest.raises(PellucidError, match="cannot be reached"):
        merges_from_ranks([*first, b"abc"])
    # "bc" comes first, so that "ab" + "c" is never seen where "abc" stands
    assert merges_from_ranks([*first, b"bc", b"ab", b"abc"])[-1] == (b"a", b"bc")


def test_files_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match="no tokenizer at"):
        Tokenizer.load(tmp_path)
    file = tmp_path / "tokenizer.json"
    for content in (b"{", b"\xff\xfe", b"[]", b"3", b"{}"):
        file.write_bytes(content)
        with pytest.raises(PellucidError, match=r"not a tokenizer\.json"):
            Tokenizer.load(file)
