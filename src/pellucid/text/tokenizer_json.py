"""Reading and writing `tokenizer.json`, the file format of Hugging Face's `tokenizers`, for GPT-2's kind of tokenizer.

The format has options that Pellucid does not implement (normalizers, templates, other models). A file that uses one would be
encoded differently than its maker meant, so it is refused, with the reason. Which of its special tokens ends a text and which
begins a prompt stands in `tokenizer_config.json` beside it, if anywhere.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.files import write_whole
from pellucid.strict_json import read_json
from pellucid.text.bytes_to_characters import to_characters
from pellucid.text.merges import merges_from_ranks
from pellucid.text.token_table import END_OF_TEXT, TokenTable
from pellucid.text.vocabulary import build_token_table


FILE_NAME = "tokenizer.json"
ROLES_FILE = "tokenizer_config.json"
MAX_FILE_BYTES = 1 << 26  # a vocabulary of 250,000 tokens is some 20 MB


def file_at(path: Path) -> Path:
    """The tokenizer.json that a path names: the file itself, or the one in a directory."""
    return path / FILE_NAME if path.is_dir() else path


@contextmanager
def errors_with_file(file: Path) -> Iterator[None]:
    """A context manager that names the file in errors about its contents.

    Raises:
        PellucidError: in place of any error that its contents cause.
    """
    try:
        yield
    except PellucidError as error:
        raise PellucidError(f"cannot use the tokenizer {file}: {error}") from error
    except (TypeError, KeyError, AttributeError, IndexError, ValueError) as error:
        raise PellucidError(f"{file} is not a tokenizer.json: {error!r}") from error


def read(file: Path) -> TokenTable:
    """The token table of a `tokenizer.json`, to be called within `errors_with_file`: see `Tokenizer.load`."""
    return _table_from_json(read_object(file, "tokenizer.json"), read_roles(file.parent))


def read_object(file: Path, kind: str) -> Any:
    """The contents of a tokenizer's JSON file.

    Raises:
        PellucidError: no such file, or it cannot be read as JSON.
    """
    try:
        return read_json(file, max_bytes=MAX_FILE_BYTES, unique=False)
    except FileNotFoundError:
        raise PellucidError(f"no tokenizer at {file}") from None
    except OSError as error:
        raise PellucidError(f"cannot read the tokenizer {file}: {error.strerror}") from error
    except PellucidError as error:
        raise PellucidError(f"{file} is not a {kind}: {error}") from error


def read_roles(directory: Path) -> dict[str, Any]:
    """The arguments `end` and `begin` of `vocabulary.build_token_table` that a directory's tokenizer_config.json states."""
    file = directory / ROLES_FILE
    if not file.exists():
        return {}
    values = read_object(file, ROLES_FILE)
    if not isinstance(values, dict):
        raise PellucidError(f"{file} is not a {ROLES_FILE}: it holds no JSON object")
    roles = {"end": token_text(values.get("eos_token"))}
    if values.get("add_bos_token"):
        roles["begin"] = token_text(values.get("bos_token"))
    return roles


def token_text(token: Any) -> str | None:
    """A token's text, given as it is or as an object with a `content`."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _table_from_json(data: dict[str, Any], roles: dict[str, Any]) -> TokenTable:
    model = data["model"]
    # Older files leave the type out, as only BPE models have merges.
    kind = model.get("type", "BPE" if "merges" in model else None)
    named = kind if isinstance(kind, str) else shown(kind)
    _require(kind == "BPE", f"its model is {named}{' (SentencePiece)' * (kind == 'Unigram')}, not BPE")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        _require(not model.get(name), f"its model has {name} = {shown(model.get(name))}")
    for name in ("fuse_unk", "byte_fallback", "ignore_merges"):
        _require(not model.get(name), f"its model has {name} on")
    for name in ("normalizer", "truncation", "padding"):
        _require(not data.get(name), f"it has a {name}, which would change what is encoded")
    before = data.get("pre_tokenizer") or {}
    _require(
        before.get("type") == "ByteLevel" and not before.get("add_prefix_space") and before.get("use_regex", True),
        "its pre-tokenizer is not GPT-2's (ByteLevel, no prefix space, with the regular expression)",
    )
    decoder = data.get("decoder") or {}
    _require(decoder.get("type", "ByteLevel") == "ByteLevel", "its decoder is not ByteLevel")
    begin = _begin_token(data.get("post_processor") or {})
    special: dict[str, int] = {}
    for token in data.get("added_tokens") or []:
        _require(token["content"] not in special, f"{shown(token['content'])} is added twice")
        special[token["content"]] = token["id"]
        for name in ("single_word", "lstrip", "rstrip"):
            _require(not token.get(name) or token["content"] != END_OF_TEXT, f"{END_OF_TEXT} has {name} on")
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    merges = [(a, b) for a, b in pairs]
    return build_token_table(model["vocab"], merges, special, **({"begin": begin} if begin else {}) | roles)


def _begin_token(processor: dict[str, Any]) -> str | None:
    """The token that a post-processor puts before a text, if that is all that it does."""
    kind = processor.get("type", "ByteLevel")
    if kind == "Sequence":
        found = [begin for part in processor["processors"] if (begin := _begin_token(part))]
        _require(len(found) < 2, "its post-processor adds several tokens")
        return found[0] if found else None
    _require(kind in ("ByteLevel", "TemplateProcessing"), f"its post-processor {shown(kind)} adds tokens")
    if kind == "ByteLevel":
        return None
    template = [next(iter(piece.items())) for piece in processor.get("single") or ()]
    names = [what for what, _ in template]
    _require(names in (["Sequence"], ["SpecialToken", "Sequence"]), "its post-processor adds tokens, not just one at the front")
    return str(template[0][1]["id"]) if len(names) == 2 else None


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise PellucidError(otherwise)


def write(table: TokenTable, path: Path) -> Path:
    """Writes a tokenizer's table as `tokenizer.json`: to a file, or into a directory that exists.

    Into a directory a tokenizer_config.json goes too where ids are not GPT-2's, to say which special token does what.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if path.is_dir():
        if table.numbering is None:
            (path / ROLES_FILE).unlink(missing_ok=True)  # another tokenizer's, that was here before
        else:
            _write_json(path / ROLES_FILE, roles_json(table))
    _write_json(file, to_json(table))
    return file


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
        "add_prefix_space": False,
        "add_bos_token": table.begin is not None,
        "bos_token": end if table.begin is None else special.get(table.begin),
        "eos_token": end,
        "unk_token": unknown,
        "pad_token": "<pad>" if "<pad>" in special.values() else None,
        "clean_up_tokenization_spaces": False,
    }
    return {key: value for key, value in values.items() if value is not None}


def to_json(table: TokenTable) -> dict[str, Any]:
    """tokenizer.json's values."""
    ranked, numbering = table.tokens, table.numbering
    characters = [to_characters(token) for token in ranked]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    plain = {"special": True, "normalized": False} | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    special = {table.eot: END_OF_TEXT} if numbering is None else dict(numbering.special)
    if numbering is None:
        vocabulary = {c: i for i, c in enumerate(characters)}
    else:
        vocabulary = dict(zip(characters, numbering.ids, strict=True))
        vocabulary |= {to_characters(token): i for i, token in numbering.unreached.items()}
    vocabulary |= {text: i for i, text in special.items()}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": text} | plain for i, text in sorted(special.items())],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None if table.begin is None else _template(special[table.begin], table.begin),
        "decoder": byte_level,
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
