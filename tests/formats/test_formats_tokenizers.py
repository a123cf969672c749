"""Tokenizers of GPT-3's family: read from every published form, written so that `transformers` encodes the same."""

import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from cases import cases
from hugging_face import library, published
from hypothesis import given
from hypothesis import strategies as st
from stories import story

import pellucid
from pellucid.cli import main
from pellucid.errors import PellucidError
from pellucid.formats.hf_write import WRITTEN, write
from pellucid.gpt.arrangements import all_dense
from pellucid.text import END_OF_TEXT, Tokenizer, train_tokenizer
from pellucid.text.bytes_to_characters import to_characters
from pellucid.text.merges import merges_from_ranks


TEXTS = ["", "the fox ran over a hill", " it's  1 bird\n\n\tsang — naïve 字!", f"one {END_OF_TEXT} and </s> as text"]


@pytest.fixture(scope="module")
def plain() -> Tokenizer:
    return train_tokenizer([story(300, 1)], 300)


def gpt2_files(tokenizer: Tokenizer, path: Path) -> None:
    """vocab.json and merges.txt as OpenAI's and EleutherAI's models were published with."""
    ranked = tokenizer.ranked_tokens()
    vocabulary = {to_characters(token): i for i, token in enumerate(ranked)} | {END_OF_TEXT: len(ranked)}
    (path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    merges = "".join(f"{to_characters(a)} {to_characters(b)}\n" for a, b in merges_from_ranks(ranked))
    (path / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")


def opt_files(tokenizer: Tokenizer, path: Path) -> None:
    """As Meta's: special tokens first, then all others in an order of their own, then words that nothing makes."""
    gpt2_files(tokenizer, path)
    ranked = [to_characters(token) for token in tokenizer.ranked_tokens()]
    ordered = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ranked, key=lambda token: token[::-1]), "madeupword0000"]
    (path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(ordered)}), encoding="utf-8")
    roles = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    config = roles | {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "add_prefix_space": False}
    (path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (path / "special_tokens_map.json").write_text(json.dumps(roles), encoding="utf-8")


@pytest.fixture(scope="module")
def opt(plain: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OPT with its tokenizer, as published: a vocabulary padded beyond the tokenizer's."""
    path = tmp_path_factory.mktemp("published") / "opt"
    path.mkdir()
    opt_files(plain, path)
    transformers = library()
    config = transformers.OPTConfig(
        vocab_size=312, max_position_embeddings=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64
    )
    transformers.set_seed(0)
    transformers.OPTForCausalLM(config).save_pretrained(path)
    return path


def their_ids(path: Path, text: str) -> list[int]:
    """What transformers makes of a text; what looks like a special token in it is text, as here."""
    tokenizer = library().AutoTokenizer.from_pretrained(path)
    ids: list[int] = tokenizer(text, split_special_tokens=True).input_ids
    return ids


@pytest.mark.parametrize("family", ["gpt2", "gpt_neo"])
def test_vocabulary_and_merges_are_gpt2_s_tokenizer(plain: Tokenizer, family: str, tmp_path: Path) -> None:
    published(family, tmp_path)
    gpt2_files(plain, tmp_path)
    model = pellucid.load(tmp_path)  # it takes ids
    assert model.tokenizer is None and model.generate([5, 6], max_tokens=2, seed=1).prompt_ids == [5, 6]
    with pytest.raises(PellucidError, match=r"the tokenizer has 300 tokens, but the model only 97"):
        model.generate("the fox")
    pellucid.GPT(pellucid.GPTConfig(vocab_size=304, n_ctx=8, n_layers=1, d_model=8, n_heads=1)).save(tmp_path)
    model = pellucid.load(tmp_path)
    tokenizer = model.require_tokenizer()
    # Padding changes no token: the model has four ids more, that stand for nothing.
    assert tokenizer == plain and (tokenizer.vocab_size, plain.vocab_size) == (304, 300)
    assert tokenizer.token_bytes(303) == b"" and tokenizer.byte_lengths[299:] == [0] * 5
    assert [tokenizer.encode(text) for text in TEXTS] == [plain.encode(text) for text in TEXTS]
    assert tokenizer.eot == 299 and model.end_of_text == 303


def test_opt_s_tokenizer_is_read_as_transformers_reads_it(opt: Path) -> None:
    model = pellucid.load(opt)
    tokenizer = model.require_tokenizer()
    assert (tokenizer.eot, tokenizer.begin, tokenizer.vocab_size, model.end_of_text) == (2, 2, 312, 2)
    for text in TEXTS:
        assert tokenizer.encode_prompt(text) == their_ids(opt, text)
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode_batch(TEXTS) == [tokenizer.encode(text) for text in TEXTS]
    assert tokenizer.encode("a</s>b", allow_special=True) == [*tokenizer.encode("a"), 2, *tokenizer.encode("b")]
    assert tokenizer.token_bytes(2) == b"</s>" and tokenizer.token_bytes(311) == b""
    assert tokenizer.token_bytes(4 + len(tokenizer.ranked_tokens())) == b"madeupword0000"


def test_opt_s_prompts_begin_with_its_token(opt: Path) -> None:
    model = pellucid.load(opt)
    written = model.generate(["the fox", ""], max_tokens=5, temperature=0)
    assert written[0].prompt_ids == their_ids(opt, "the fox") and written[1].prompt_ids == [2]
    assert model.generate(None, max_tokens=1, seed=1).prompt_ids == [2]
    assert model.generate([7, 8], max_tokens=1, seed=1).prompt_ids == [7, 8]


def test_a_tokenizer_json_that_transformers_writes_is_read(opt: Path, tmp_path: Path) -> None:
    """Its post-processor puts `</s>` first; that is read out of it, even where no other file says so."""
    library().AutoTokenizer.from_pretrained(opt).save_pretrained(tmp_path)
    tokenizer = pellucid.load(opt).require_tokenizer()
    assert Tokenizer.load(tmp_path) == tokenizer
    (tmp_path / "tokenizer_config.json").unlink()
    assert Tokenizer.load(tmp_path).begin == tokenizer.begin


@pytest.mark.parametrize("target", WRITTEN)
def test_what_is_written_encodes_the_same_in_transformers(target: str, plain: Tokenizer, opt: Path, tmp_path: Path) -> None:
    config = pellucid.GPTConfig(vocab_size=300, n_ctx=32, n_layers=2, d_model=16, n_heads=2, pattern=all_dense(2))
    for name, model in {"plain": pellucid.GPT(config, tokenizer=plain), "opt": pellucid.load(opt)}.items():
        path = tmp_path / name
        path.mkdir()
        write(model, model.tokenizer, path, WRITTEN[target])
        tokenizer = model.require_tokenizer()
        assert [their_ids(path, text) for text in TEXTS] == [tokenizer.encode_prompt(text) for text in TEXTS]
        theirs = library().AutoTokenizer.from_pretrained(path)
        assert theirs.eos_token_id == theirs.bos_token_id == tokenizer.eot
        assert len(theirs) == (300 if name == "plain" else 304)  # nothing was added
        again = pellucid.load(path)
        assert again.tokenizer == tokenizer and again.config.end_id == model.config.end_id
        written = [one.generate("the bird", max_tokens=5, temperature=0) for one in (again, model)]
        assert written[0].prompt_ids == written[1].prompt_ids and written[0].ids == written[1].ids


def test_saved_and_copied_it_is_the_same_tokenizer(opt: Path, plain: Tokenizer, tmp_path: Path) -> None:
    model = pellucid.load(opt)
    tokenizer = model.require_tokenizer()
    for again in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert again == tokenizer and again.encode(TEXTS[2]) == tokenizer.encode(TEXTS[2])
    model.save(tmp_path)
    back = pellucid.load(tmp_path)
    assert back.tokenizer == tokenizer and back.config == model.config
    assert back.require_tokenizer().numbering == tokenizer.numbering
    # Another model saved over it leaves nothing of the first.
    pellucid.GPT(pellucid.GPTConfig(vocab_size=300, n_ctx=8, n_layers=1, d_model=8, n_heads=1), tokenizer=plain).save(tmp_path)
    assert pellucid.load(tmp_path).tokenizer == plain


def test_an_opt_learns_from_examples_and_is_saved_with_its_tokenizer(opt: Path, tmp_path: Path) -> None:
    examples = [pellucid.Example(f"the fox {i}", " ran") for i in range(12)]
    run = pellucid.finetune(examples, tmp_path / "run", model=opt, steps=2, seed=1)
    model, base = pellucid.load(run.path), pellucid.load(opt)
    assert model.tokenizer == base.tokenizer and model.config == base.config
    assert any((p != q).any() for p, q in zip(model.parameters(), base.parameters(), strict=True))


def test_it_runs_from_the_shell(opt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "the fox", "-m", str(opt), "--max-tokens", "3", "--seed", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prompt_ids"] == their_ids(opt, "the fox")


@cases(12)
@given(order=st.randoms(use_true_random=False), gaps=st.integers(0, 40), text=st.text())
def test_any_numbering_encodes_what_the_plain_one_does(
    plain: Tokenizer, tmp_path_factory: pytest.TempPathFactory, order: Any, gaps: int, text: str
) -> None:
    path = tmp_path_factory.mktemp("numbered")
    gpt2_files(plain, path)
    vocabulary = json.loads((path / "vocab.json").read_text(encoding="utf-8"))
    ids = list(range(len(vocabulary) + gaps))
    order.shuffle(ids)
    renamed = dict(zip(vocabulary, ids, strict=False))
    (path / "vocab.json").write_text(json.dumps(renamed), encoding="utf-8")
    tokenizer = Tokenizer.load(path)
    by_plain = {i: renamed[token] for token, i in vocabulary.items()}
    assert tokenizer.encode(text) == [by_plain[i] for i in plain.encode(text)]
    assert tokenizer.decode_bytes(tokenizer.encode(text)) == plain.decode_bytes(plain.encode(text))
    assert tokenizer.eot == by_plain[plain.eot]
    again = Tokenizer.load(tokenizer.save(path))
    assert again == tokenizer and again.encode(text) == tokenizer.encode(text)


def damaged(path: Path, name: str, content: str) -> Path:
    (path / name).write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("merges.txt", "#version: 0.2\nt h e\n", r"merges\.txt, line 2: a merge is two tokens"),
        ("merges.txt", "q q\n", r"vocab\.json: its vocabulary lacks 'qq'"),
        ("vocab.json", "[1]", r"vocab\.json is not a vocabulary"),
        ("vocab.json", "{", r"vocab\.json is not a vocabulary"),
        ("tokenizer_config.json", "3", r"tokenizer_config\.json is not a tokenizer_config\.json"),
        ("added_tokens.json", '{"<end>": 1.5}', r"an id in added_tokens\.json is 1\.5"),
        ("tokenizer.json", '{"model": 3}', r"tokenizer\.json is not a tokenizer\.json"),
    ],
)
def test_damaged_files_are_named(opt: Path, tmp_path: Path, name: str, content: str, words: str) -> None:
    path = damaged(Path(shutil.copytree(opt, tmp_path / "model")), name, content)
    with pytest.raises(PellucidError, match=words):
        pellucid.load(path)
