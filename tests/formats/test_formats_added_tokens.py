"""Added tokens, a space before a text and padding: in models with fewer rows, in documents, runs and GGUF files."""

import re
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_directories import STORY, plain, texts, tokens, with_added, write_json, write_vocabulary_and_merges

import pellucid
from pellucid.corpus import open_corpus
from pellucid.corpus.encoder import CorpusEncoder
from pellucid.corpus.segments import Segment
from pellucid.errors import PellucidError
from pellucid.finetuning.examples import ExampleBatches
from pellucid.formats import gguf
from pellucid.formats.gguf_names import UNUSED
from pellucid.formats.gguf_vocabulary import vocabulary_keys
from pellucid.formats.tokenizers import read_tokenizer
from pellucid.gpt.arrangements import all_dense
from pellucid.text import Tokenizer, added_tokens, token_table
from pellucid.text.added_tokens import is_word
from pellucid.text.split_pattern import chunks
from pellucid.training.prepare import prepare_corpus


CONFIG = pellucid.GPTConfig(vocab_size=270, n_ctx=16, n_layers=1, d_model=32, n_heads=2, pattern=all_dense(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plain")


@cases(20)
@given(known=tokens, rows=st.integers(270, 274), some=st.lists(texts, max_size=6))
def test_tokens_beyond_the_model_are_refused_where_they_appear(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, known: Any, rows: int, some: list[str]
) -> None:
    path = tmp_path_factory.mktemp("model")
    tokenizer = with_added(folder, path, known)
    fitted, reason = read_tokenizer(path, CONFIG.replace(vocab_size=rows, end_of_text=269))
    assert fitted is not None, reason
    assert fitted.vocab_size == rows
    for text in some:
        ids = tokenizer.encode(text)
        if max(ids, default=0) < rows:
            assert fitted.encode(text) == ids and fitted.decode(ids) == tokenizer.decode(ids)
        else:
            with pytest.raises(PellucidError, match="this model has no row for it"):
                fitted.encode_batch([text])
    shutil.rmtree(path)


@cases(25)
@given(known=tokens, prefix=st.booleans(), some=st.lists(texts, min_size=1, max_size=12), size=st.integers(1, 12))
def test_documents_are_encoded_as_one_text_wherever_they_are_cut(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, known: Any, prefix: bool, some: list[str], size: int
) -> None:
    path = tmp_path_factory.mktemp("model")
    tokenizer = with_added(folder, path, known)
    tokenizer = Tokenizer.from_table(replace(tokenizer.table, prefix_space=prefix))
    segments = []
    for number, text in enumerate(some):
        parts = list(chunks(text, size))
        segments += [
            Segment(number, "", "train", part, last, last, place)
            for place, part in enumerate(parts) for last in (place == len(parts) - 1,)
        ]  # fmt: skip
    with CorpusEncoder(path, tokenizer, 1 << 20, None) as encoding:
        encoding.run(segments, lambda state: None, lambda done: None)
    written = np.fromfile(next(path.glob("train*")), "<u2").tolist()
    assert written == [i for text in some for i in [*tokenizer.encode(text), tokenizer.eot]]
    shutil.rmtree(path)


def test_a_completion_goes_on_after_its_prompt(folder: Path) -> None:
    tokenizer = Tokenizer.from_table(replace(plain().table, prefix_space=True))
    model = pellucid.GPT(CONFIG.replace(vocab_size=270, end_of_text=None), tokenizer=tokenizer)
    assert model.generate("the", max_tokens=1, seed=1).prompt_ids == plain().encode(" the")
    assert model.score("the", completion="fox").ids == plain().encode("fox")
    batches = ExampleBatches([pellucid.Example("the", "fox")], [], tokenizer, 16, 1, 0)
    assert batches.train[0][0] == [*plain().encode(" the"), *plain().encode("fox"), tokenizer.eot]


def test_a_run_takes_every_form_of_a_tokenizer(folder: Path, tmp_path: Path) -> None:
    write_vocabulary_and_merges(tmp_path)
    write_json(tmp_path / "added_tokens.json", {"<A>": 270})
    text, run = tmp_path / "text.txt", tmp_path / "run"
    text.write_text(f"{STORY}<A>the fox" * 9, encoding="utf-8")
    run.mkdir()
    prepare_corpus(text, None, run, CONFIG, tmp_path, 0, ())
    assert Tokenizer.load(run / "corpus") == Tokenizer.load(tmp_path)
    assert 270 in np.asarray(open_corpus(run / "corpus").train[0:2000])


@cases(12)
@given(known=tokens, more=st.integers(0, 5), some=st.lists(texts, max_size=6))
def test_a_gguf_file_keeps_padding_and_added_tokens(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, known: Any, more: int, some: list[str]
) -> None:
    path = tmp_path_factory.mktemp("gguf")
    read = with_added(folder, path, [(text, {"special": values.get("special", False)}) for text, values in known])
    config = CONFIG.replace(vocab_size=read.vocab_size + more, end_of_text=269, start_of_text=269)
    tokenizer = read.renumbered(vocab_size=config.vocab_size)
    model = pellucid.GPT(config, tokenizer=tokenizer).eval().requires_grad_(False)
    gguf.write(model, tokenizer, path / "m.gguf")
    back = pellucid.load(path / "m.gguf")
    assert back.end_of_text == model.end_of_text and back.require_tokenizer().vocab_size == config.vocab_size
    for text in some:
        assert back.require_tokenizer().encode(text) == tokenizer.encode(text)
        assert back.require_tokenizer().encode(text, allow_special=True) == tokenizer.encode(text, allow_special=True)
    values = vocabulary_keys(tokenizer, config)
    types = values["tokenizer.ggml.token_type"]
    assert isinstance(types, list) and types.count(UNUSED) == more
    shutil.rmtree(path)


def test_what_gguf_cannot_hold_of_a_tokenizer_is_named(folder: Path, tmp_path: Path) -> None:
    for tokenizer, words in (
        (Tokenizer.from_table(replace(plain().table, prefix_space=True)), "add_prefix_space"),
        (with_added(folder, tmp_path, [("<m>", {"lstrip": True})]), "'<m>'"),
        (with_added(folder, tmp_path, [("<m>", {})]).renumbered(vocab_size=270), "no row for the token '<m>'"),
    ):
        with pytest.raises(PellucidError, match=words):
            vocabulary_keys(tokenizer, CONFIG.replace(vocab_size=tokenizer.vocab_size))


def test_words_are_those_of_tokenizers() -> None:
    whole = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, unk_token="?"))
    whole.add_tokens([tokenizers.AddedToken("Q", single_word=True)])
    wrong = [
        chr(code) for code in [*range(0x3000), *range(0x3000, 0xD800, 61), *range(0xE000, 0x20000, 61)]
        if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs") and chr(code) != "Q"
        and is_word(chr(code)) == (1 in whole.encode(f"{chr(code)}Q").ids)
    ]  # fmt: skip
    assert not wrong


some_texts = st.sampled_from(["ab", "abc]^-", "<|>b\n", "\u4f60\u6211a "]).flatmap(
    lambda letters: st.sets(st.text(letters, min_size=1, max_size=7), min_size=1, max_size=60)
)


@cases(25)
@given(some_texts, st.text("abc]^-<|>\n\u4f60\u6211 ", max_size=80), st.integers(0, 4))
def test_the_longest_token_is_found_first(texts: set[str], text: str, depth: int) -> None:
    plain = "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
    text += "".join(sorted(texts)[:9])
    found = re.finditer(added_tokens.longest_first(texts, depth), text)
    assert [match.span() for match in found] == [match.span() for match in re.finditer(plain, text)]


@cases(25)
@given(some_texts, some_texts, st.booleans())
def test_texts_that_share_a_character_are_found_as_one_by_one(late: set[str], early: set[str], long: bool) -> None:
    if long:
        early |= {"b" * token_table.LONG_TEXT + "ab", "x\0y"}
    expected = any(token_table._overlap(a, b) for a in late for b in early)
    assert token_table._any_overlap(late, early) == token_table._any_overlap(early, late) == expected


def test_a_search_takes_as_many_steps_for_many_tokens_as_for_few() -> None:
    """No branch of the expression has more than FEW alternatives, and it is nested only as deep as a logarithm."""
    sizes = {}
    for count in (200, 3200):
        search = added_tokens.longest_first([f"{chr(0x4E00 + i * 7 % 4001)}{i:x}" for i in range(count)])
        depth, deepest, widest, widths = 0, 0, 0, [1]
        for character in search.replace("\\\\", ""):
            if character == "(":
                depth += 1
                widths.append(1)
            elif character == ")":
                depth -= 1
                widest = max(widest, widths.pop())
            elif character == "|":
                widths[-1] += 1
            deepest = max(deepest, depth)
        sizes[count] = deepest
        assert widest <= added_tokens.FEW + 1
    assert sizes[3200] <= sizes[200] + 6
