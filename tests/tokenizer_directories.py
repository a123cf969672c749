"""Directories with tokenizer files in every published form, small ones, as hypothesis generates them."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from pellucid.text import END_OF_TEXT, Tokenizer, train_tokenizer
from pellucid.text.bytes_to_characters import to_characters
from pellucid.text.merges import merges_from_ranks
from pellucid.text.tokenizer_json import GPT2_PATTERNS


STORY = "the fox ran over a hill, the hare too; it's 12 o'clock, the the fox hill " * 5
# Texts of added tokens: some begin others, are words, tokens of the vocabulary, or hold spaces.
ADDED = [
    "<A>", "<A>B", "<|x|>", "[PAD]", "<m>", "fox", "the", "ox", "New fox", " r", "\u4f60", "</s>", "<s>", "_", "\u00e9",
    "\u0120the",
]  # fmt: skip
PIECES = [
    *ADDED, END_OF_TEXT, " ", "  ", "\n", "\u3000", "\x1c", "fox", " the", "hill,", "'s", "12", "\u00e9", "\u00b2", "\u24b6",
    "\U0001f642", "x",
]  # fmt: skip
NOTHING: dict[str, Any] = {"type": "Sequence", "normalizers": []}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}

texts = st.lists(st.sampled_from(PIECES), max_size=9).map("".join)
options = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), st.booleans())
)
tokens = st.lists(st.tuples(st.sampled_from(ADDED), options), max_size=4, unique_by=lambda token: token[0])


@cache
def plain() -> Tokenizer:
    return train_tokenizer([STORY], 270)


@cache
def plain_json(folder: Path) -> str:
    return plain().save(folder / "plain.json").read_text(encoding="utf-8")


def in_full(text: str, **values: bool) -> dict[str, Any]:
    """A token as `tokenizers` writes it."""
    off = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"content": text} | off | values


def write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")


def write_vocabulary_and_merges(path: Path, ending: str = "\n") -> None:
    ranked = plain().ranked_tokens()
    write_json(path / "vocab.json", {to_characters(token): i for i, token in enumerate(ranked)} | {END_OF_TEXT: len(ranked)})
    merges = [f"{to_characters(a)} {to_characters(b)}" for a, b in merges_from_ranks(ranked)]
    (path / "merges.txt").write_text(ending.join(["#version: 0.2", *merges, ""]), encoding="utf-8", newline="")


def split_and_bytes(pattern: str, behavior: str, invert: bool) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}
    return {"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL | {"use_regex": False}]}


# Parts of tokenizer.json that change no id.
HARMLESS: dict[str, st.SearchStrategy[Any]] = {
    "truncation": st.sampled_from(
        [None, {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}]
    ),
    "padding": st.sampled_from(
        [None]
        + [
            {
                "strategy": strategy, "direction": side, "pad_to_multiple_of": None, "pad_id": 269, "pad_type_id": 0,
                "pad_token": END_OF_TEXT,
            }
            for strategy in ("BatchLongest", {"Fixed": 20}) for side in ("Right", "Left")
        ]
    ),
    "normalizer": st.sampled_from([None, NOTHING, {"type": "Sequence", "normalizers": [NOTHING]}]),
    "pre_tokenizer": st.sampled_from(
        [
            BYTE_LEVEL,
            {"type": "Sequence", "pretokenizers": [BYTE_LEVEL]},
            {"type": "Sequence", "pretokenizers": [{"type": "Sequence", "pretokenizers": []}, BYTE_LEVEL]},
            {key: value for key, value in BYTE_LEVEL.items() if key != "use_regex"},
        ]
        + [
            split_and_bytes(pattern, *how)
            for pattern in GPT2_PATTERNS for how in (("Isolated", False), ("Removed", True), ("Isolated", True))
        ]
    ),
    "decoder": st.sampled_from([BYTE_LEVEL, {"type": "Sequence", "decoders": [BYTE_LEVEL]}]),
    "post_processor": st.sampled_from(
        [
            None, BYTE_LEVEL, BYTE_LEVEL | {"trim_offsets": False}, {"type": "Sequence", "processors": [BYTE_LEVEL]},
        ]
    ),
}  # fmt: skip
HARMLESS_MODEL: dict[str, st.SearchStrategy[Any]] = {
    "fuse_unk": st.booleans(), "byte_fallback": st.booleans(), "ignore_merges": st.booleans(), "dropout": st.none(),
    "unk_token": st.sampled_from([None, END_OF_TEXT]), "continuing_subword_prefix": st.sampled_from([None, ""]),
    "end_of_word_suffix": st.sampled_from([None, ""]),
}  # fmt: skip


def template(*parts: str) -> dict[str, Any]:
    """A post-processor that puts end-of-text where the parts say so."""
    pieces = [{"Sequence" if part == "A" else "SpecialToken": {"id": part, "type_id": 0}} for part in parts]
    named = {END_OF_TEXT: {"id": END_OF_TEXT, "ids": [269], "tokens": [END_OF_TEXT]}}
    return {"type": "TemplateProcessing", "single": pieces, "pair": [], "special_tokens": named}


# Parts that change ids: (file, key, value, what the refusal names).
REFUSED: list[tuple[str, str, Any, str]] = [
    ("tokenizer", "normalizer", {"type": "NFC"}, "normalizer is 'NFC'"),
    ("tokenizer", "normalizer", {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}, "normalizer is 'Lowercase'"),
    ("tokenizer", "pre_tokenizer", BYTE_LEVEL | {"use_regex": False}, "pre-tokenizer"),
    ("tokenizer", "pre_tokenizer", {"type": "Whitespace"}, "pre-tokenizer is 'Whitespace'"),
    ("tokenizer", "pre_tokenizer", split_and_bytes(GPT2_PATTERNS[0], "MergedWithNext", False), "pre-tokenizer"),
    ("tokenizer", "pre_tokenizer", split_and_bytes(r"\s+", "Isolated", False), "pre-tokenizer is 'Split', 'ByteLevel'"),
    ("tokenizer", "post_processor", template("A", END_OF_TEXT), "post-processor adds tokens"),
    ("tokenizer", "post_processor", template(END_OF_TEXT, "A", END_OF_TEXT), "post-processor adds tokens"),
    ("tokenizer", "decoder", {"type": "WordPiece", "prefix": "##", "cleanup": True}, "decoder is 'WordPiece'"),
    ("tokenizer", "new_key", 1, "key 'new_key'"),
    ("model", "dropout", 0.1, "dropout = 0.1"),
    ("model", "end_of_word_suffix", "</w>", "end_of_word_suffix"),
    ("model", "continuing_subword_prefix", "##", "continuing_subword_prefix"),
    ("tokenizer_config", "split_special_tokens", True, "split_special_tokens"),
    ("tokenizer_config", "add_prefix_space", "yes", "add_prefix_space is 'yes'"),
    ("tokenizer_config", "tokenizer_class", "RobertaTokenizerFast", "tokenizer_class is RobertaTokenizer"),
    ("tokenizer_config", "auto_map", {"AutoTokenizer": ["mine.Tokenizer", None]}, "auto_map"),
    ("tokenizer_config", "eos_token", {"text": "<e>"}, "eos_token is"),
    ("special_tokens_map", "bos_token", {"text": "<e>"}, "bos_token is"),
    ("special_tokens_map", "pad_token", 3, "pad_token is 3"),
]


@st.composite
def directories(draw: st.DrawFn) -> Callable[[Path, Path], None]:
    """A function that writes a directory whose tokenizer `transformers` opens, and that must be read as it is there."""
    form = draw(st.sampled_from(["tokenizer.json", "vocab.json"]))
    kinds: list[str | None] = ["GPT2Tokenizer", "GPT2TokenizerFast", "CodeGenTokenizer", None]
    if form == "tokenizer.json":
        kinds += ["PreTrainedTokenizerFast", "TokenizersBackend"]
    kind = draw(st.sampled_from(kinds))
    model_type = draw(st.sampled_from(["gpt2", "gpt_neo", "opt"]))
    changes = draw(st.fixed_dictionaries({}, optional=HARMLESS))
    model_changes = draw(st.fixed_dictionaries({}, optional=HARMLESS_MODEL))
    if draw(st.booleans()):
        changes["pre_tokenizer"] = BYTE_LEVEL | {"add_prefix_space": draw(st.booleans())}
    if draw(st.booleans()):
        changes["post_processor"] = draw(st.sampled_from([template(END_OF_TEXT, "A"), template("A")]))
    known = draw(tokens)
    place = draw(st.sampled_from(["tokenizer.json", "added_tokens_decoder", "added_tokens.json", "both", "none"]))
    stripping = {"__type": "AddedToken"} | in_full("<m>", lstrip=True)
    config = draw(st.fixed_dictionaries({}, optional={
        "add_prefix_space": st.booleans(), "add_bos_token": st.booleans(), "model_max_length": st.just(8),
        "eos_token": st.sampled_from([END_OF_TEXT, "<A>", "</s>", None, stripping]),
        "bos_token": st.sampled_from([END_OF_TEXT, "<s>", "the"]), "pad_token": st.sampled_from([END_OF_TEXT, "[PAD]", None]),
        "additional_special_tokens": st.sampled_from([["<|x|>"], []]),
        "extra_special_tokens": st.sampled_from([["ox"], {"a_token": "<A>B"}]),
        "clean_up_tokenization_spaces": st.just(False), "errors": st.just("replace"), "chat_template": st.just("{{ x }}"),
    }))  # fmt: skip
    if kind is not None:
        config["tokenizer_class"] = kind
    special_map = draw(st.fixed_dictionaries({}, optional={
        "eos_token": st.sampled_from([END_OF_TEXT, "</s>", in_full("<A>", rstrip=True), None]),
        "pad_token": st.sampled_from(["[PAD]", None, {"content": "the"}]),
        "additional_special_tokens": st.sampled_from([["<m>", "<|x|>"], []]),
    }))  # fmt: skip
    files = draw(st.sets(st.sampled_from(["config", "special_map"])))
    ending = draw(st.sampled_from(["\n", "\r\n"]))

    def write(path: Path, folder: Path) -> None:
        write_json(path / "config.json", {"model_type": model_type})
        data = json.loads(plain_json(folder))
        vocabulary = data["model"]["vocab"]
        ids: dict[str, int] = {}
        for text, _ in known:
            ids[text] = vocabulary.get(text, 270 + sum(i >= 270 for i in ids.values()))
        named = {text: in_full(text, **values) for text, values in known}
        if place in ("tokenizer.json", "both"):
            data["added_tokens"] += [{"id": ids[text]} | token for text, token in named.items()]
        all_config = dict(config)
        if place in ("added_tokens_decoder", "both"):
            all_config["added_tokens_decoder"] = {str(ids[text]): token for text, token in named.items()}
        if place == "added_tokens.json" and ids:
            write_json(path / "added_tokens.json", ids)
        if "config" in files or kind is not None or len(all_config) > len(config):
            write_json(path / "tokenizer_config.json", all_config)
        if "special_map" in files:
            write_json(path / "special_tokens_map.json", special_map)
        if form == "tokenizer.json":
            write_json(path / "tokenizer.json", data | changes | {"model": data["model"] | model_changes})
        else:
            write_vocabulary_and_merges(path, ending)

    return write


def with_added(folder: Path, path: Path, known: list[tuple[str, dict[str, bool]]]) -> Tokenizer:
    """A tokenizer with added tokens, written into a directory and read from it."""
    data = json.loads(plain_json(folder))
    number = 270
    for text, values in known:
        i = data["model"]["vocab"].get(text, number)
        number += i == number
        data["added_tokens"].append({"id": i} | in_full(text, **values))
    write_json(path / "tokenizer.json", data)
    return Tokenizer.load(path)
