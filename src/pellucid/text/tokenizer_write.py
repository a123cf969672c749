"""Writing `tokenizer.json`, the file format of Hugging Face's `tokenizers`, and the `tokenizer_config.json` beside it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pellucid.files import write_whole
from pellucid.text.bytes_to_characters import to_characters
from pellucid.text.merges import merges_from_ranks
from pellucid.text.token_table import END_OF_TEXT, NO_ID, AddedToken, TokenTable
from pellucid.text.tokenizer_files import ADDED, CONFIG, SPECIAL_MAP, TOKENIZER


def write(table: TokenTable, path: Path) -> Path:
    """Writes a tokenizer's table as `tokenizer.json`: to a file, or into a directory that exists.

    Into a directory a tokenizer_config.json goes too where ids are not GPT-2's or a text is encoded otherwise, to say which
    special token does what. Files of another tokenizer that was there before are removed.
    """
    file = path / TOKENIZER if path.is_dir() else path
    if path.is_dir():
        for name in (CONFIG, SPECIAL_MAP, ADDED):
            (path / name).unlink(missing_ok=True)
        if not is_gpt2(table):
            _write_json(path / CONFIG, roles_json(table))
    _write_json(file, to_json(table))
    return file


def is_gpt2(table: TokenTable) -> bool:
    """Whether readers need no more than the tokens, in GPT-2's order, to encode the same."""
    return table.numbering is None and not table.prefix_space and added_tokens(table) == (end_of_text(table),)


def end_of_text(table: TokenTable) -> AddedToken:
    """GPT-2's one added token."""
    return AddedToken(id=len(table.tokens), text=END_OF_TEXT)


def added_tokens(table: TokenTable) -> tuple[AddedToken, ...]:
    """The tokens that are found whole in a text."""
    if table.added is not None:
        return table.added
    if table.numbering is None:
        return (end_of_text(table),)
    return tuple(AddedToken(id=i, text=text) for i, text in sorted(table.numbering.special.items()))


def _write_json(file: Path, data: dict[str, Any]) -> None:
    write_whole(file, json.dumps(data, ensure_ascii=False, indent=1) + "\n")


def roles_json(table: TokenTable) -> dict[str, Any]:
    """tokenizer_config.json's values, as `transformers` reads them."""
    special = table.numbering.special if table.numbering else {table.eot: END_OF_TEXT}
    end = special.get(table.eot)
    # Without an unknown token, transformers adds one. Bytes encode all text, so none is ever needed.
    unknown = "<unk>" if "<unk>" in special.values() else end
    values = {
        "tokenizer_class": "GPT2Tokenizer",
        "add_prefix_space": table.prefix_space,
        "add_bos_token": table.begin is not None,
        "bos_token": end if table.begin is None else special.get(table.begin),
        "eos_token": end,
        "unk_token": unknown,
        "pad_token": "<pad>" if "<pad>" in special.values() else None,
        "clean_up_tokenization_spaces": False,
    }
    return {key: value for key, value in values.items() if value is not None or key != "pad_token"}


def to_json(table: TokenTable) -> dict[str, Any]:
    """tokenizer.json's values."""
    ranked, numbering = table.tokens, table.numbering
    characters = [to_characters(token) for token in ranked]
    byte_level = {"type": "ByteLevel", "add_prefix_space": table.prefix_space, "trim_offsets": True, "use_regex": True}
    special = {table.eot: END_OF_TEXT} if numbering is None else dict(numbering.special)
    if numbering is None:
        vocabulary = {c: i for i, c in enumerate(characters)}
    else:
        vocabulary = {c: i for c, i in zip(characters, numbering.ids, strict=True) if i != NO_ID}
        vocabulary |= {to_characters(token): i for i, token in numbering.unreached.items()}
    added = added_tokens(table)
    vocabulary |= {text: i for i, text in special.items()} | {token.text: token.id for token in added}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_json(token) for token in added],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None if table.begin is None else _template(special[table.begin], table.begin),
        "decoder": byte_level | {"add_prefix_space": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": dict(sorted(vocabulary.items(), key=lambda item: item[1])),
            # "a b" rather than ["a", "b"]: every reader of this format knows it
            "merges": [f"{to_characters(a)} {to_characters(b)}" for a, b in merges_from_ranks(ranked)],
        },
    }


def _added_json(token: AddedToken) -> dict[str, Any]:
    values = asdict(token)
    return {"id": values.pop("id"), "content": values.pop("text")} | values


def _template(text: str, token: int) -> dict[str, Any]:
    """A post-processor that puts a token before every text."""
    first = {"SpecialToken": {"id": text, "type_id": 0}}
    one, other = ({"Sequence": {"id": which, "type_id": i}} for i, which in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [first, one],
        "pair": [first, one, other],
        "special_tokens": {text: {"id": text, "ids": [token], "tokens": [text]}},
    }
