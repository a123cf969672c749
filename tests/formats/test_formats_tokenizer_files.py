"""Published tokenizer files in every form: the ids and the text of `transformers`, or a refusal that names the key."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from cases import cases
from hugging_face import library
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_directories import (
    REFUSED,
    directories,
    plain_json,
    texts,
    write_json,
)

import pellucid
from pellucid.errors import PellucidError, UnsupportedTokenizerError
from pellucid.formats.tokenizers import read_tokenizer
from pellucid.gpt.arrangements import all_dense
from pellucid.text import END_OF_TEXT, Tokenizer, special_tokens, tokenizer_files, tokenizer_json
from pellucid.text.bytes_to_characters import to_characters
from pellucid.text.token_table import plain_end_of_text


ROOT = Path(__file__).parents[2]
CONFIG = pellucid.GPTConfig(vocab_size=270, n_ctx=16, n_layers=1, d_model=32, n_heads=2, pattern=all_dense(1))


def theirs(path: Path) -> Any:
    return library().AutoTokenizer.from_pretrained(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plain")


def check_equal(tokenizer: Tokenizer, oracle: Any, some: list[str]) -> None:
    """The same ids and texts: `<|endoftext|>` (or OPT's `</s>`) is a token only where that is allowed."""
    end = plain_end_of_text(token.text for token in tokenizer.added)
    begin = [] if tokenizer.begin is None else [tokenizer.begin]
    for text in some:
        ids = oracle(text).input_ids
        assert begin + tokenizer.encode(text, allow_special=True) == ids, text
        if end is None or end not in text:
            assert tokenizer.encode_prompt(text) == ids, text
        assert tokenizer.encode_batch([text, text]) == [tokenizer.encode(text)] * 2
        # There, added tokens of Latin letters with accents decode to halves of characters.
        if not any("\u00a0" <= c <= "\u0150" for token in tokenizer.added for c in token.text):
            assert tokenizer.decode(ids) == oracle.decode(ids)


@cases(12)
@given(write=directories(), some=st.lists(texts, min_size=1, max_size=6), marks=st.sets(st.sampled_from(range(5))))
def test_a_directory_is_read_as_transformers_reads_it(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, write: Any, some: list[str], marks: set[int]
) -> None:
    path = tmp_path_factory.mktemp("model")
    write(path, folder)
    try:
        oracle = theirs(path)
    except (ValueError, TypeError, KeyError, AttributeError):
        oracle = None
    for number, file in enumerate(sorted(path.glob("*[!g].*"))):
        if number in marks:  # a byte order mark changes nothing
            file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    try:
        tokenizer = Tokenizer.load(path)
    except UnsupportedTokenizerError as error:
        assert "is said to have id" in str(error) or "is two tokens" in str(error), error
        return
    if oracle is None:
        return
    check_equal(tokenizer, oracle, some)
    # What is written is the same tokenizer, here and there.
    saved = tmp_path_factory.mktemp("saved")
    write_json(saved / "config.json", {"model_type": "gpt2"})
    tokenizer.save(saved)
    assert Tokenizer.load(saved) == tokenizer
    check_equal(tokenizer, theirs(saved), some)
    shutil.rmtree(path)
    shutil.rmtree(saved)


@cases(12)
@given(lacking=st.sets(st.integers(0, 255), max_size=200), some=st.lists(texts, min_size=1, max_size=6), form=st.booleans())
def test_bytes_may_be_missing(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, lacking: set[int], some: list[str], form: bool
) -> None:
    """A vocabulary learned without an initial alphabet has the bytes of its texts only."""
    path, data = tmp_path_factory.mktemp("lacking"), json.loads(plain_json(folder))
    merges = [merge.split(" ") for merge in data["model"]["merges"]]
    gone = {to_characters(bytes([byte])) for byte in lacking} - {c for pair in merges for token in pair for c in token}
    kept = [token for token in data["model"]["vocab"] if token not in gone]
    data["model"]["vocab"] = vocabulary = {token: i for i, token in enumerate(kept)}
    data["added_tokens"][0]["id"] = vocabulary[END_OF_TEXT]
    if form:
        write_json(path / "tokenizer.json", data)
    else:
        write_json(path / "vocab.json", vocabulary)
        (path / "merges.txt").write_text("\n".join(map(" ".join, merges)) + "\n", encoding="utf-8")
    write_json(path / "config.json", {"model_type": "gpt2"})
    tokenizer, oracle = Tokenizer.load(path), theirs(path)
    assert tokenizer.vocab_size == len(kept)
    for text in (one.replace(END_OF_TEXT, "") for one in some):
        if gone.isdisjoint(to_characters(text.encode())):
            assert tokenizer.encode(text) == oracle(text).input_ids
            assert tokenizer.decode(tokenizer.encode(text)) == text
            continue
        for encode in (tokenizer.encode, lambda text: tokenizer.encode_batch([text])):
            with pytest.raises(PellucidError, match=r"the text holds the byte 0x.* which this tokenizer has no token for"):
                encode(text)
    assert Tokenizer.load(tokenizer.save(path)) == tokenizer
    shutil.rmtree(path)


@pytest.mark.parametrize(("file", "key", "value", "words"), REFUSED)
def test_what_would_change_an_id_is_refused_by_its_name_and_the_model_takes_ids(
    folder: Path, tmp_path: Path, file: str, key: str, value: Any, words: str
) -> None:
    data = json.loads(plain_json(folder))
    values: dict[str, Any] = {"tokenizer": data, "model": data["model"], "tokenizer_config": {}, "special_tokens_map": {}}
    values[file][key] = value
    for name in ("tokenizer", "tokenizer_config", "special_tokens_map"):
        write_json(tmp_path / f"{name}.json", values[name])
    with pytest.raises(UnsupportedTokenizerError) as caught:
        Tokenizer.load(tmp_path)
    tokenizer, reason = read_tokenizer(tmp_path, CONFIG)
    assert tokenizer is None and reason == str(caught.value) and words in reason and str(tmp_path) in reason


def test_every_key_of_the_documents_has_the_fate_that_the_code_gives_it() -> None:
    lines = (
        (ROOT / "docs/formats.md").read_text(encoding="utf-8").split("## Tokenizer files", 1)[1].split("\n## ")[0].splitlines()
    )
    fates: dict[tuple[str, str], str] = {}
    for line in lines:
        if line.startswith("| `"):
            file, keys, fate = [cell.strip() for cell in line.strip("|").split("|")][:3]
            fates |= {(file.strip("`"), key): fate.split(":")[0].split(",")[0] for key in re.findall(r"`([^`]+)`", keys)}

    def of(file: str, fate: str) -> set[str]:
        return {key for (where, key), said in fates.items() if where == file and said == fate}

    assert of("tokenizer.json", "ignored") == set(tokenizer_json.IGNORED_KEYS)
    assert of("tokenizer.json", "read") == set(tokenizer_json.READ_KEYS)
    assert of("model", "ignored") == set(tokenizer_json.IGNORED_MODEL_KEYS)
    assert of("model", "read") == set(tokenizer_json.READ_MODEL_KEYS)
    assert of("model", "refused") == set(tokenizer_json.REFUSED_MODEL_KEYS)
    special = {*special_tokens.ROLES, "added_tokens_decoder", "extra_special_tokens", "additional_special_tokens"}
    assert of("tokenizer_config.json", "read") == special | set(tokenizer_files.CONFIG_KEYS)
    assert of("special_tokens_map.json", "read") == {*special_tokens.ROLES, "extra_special_tokens", "additional_special_tokens"}
