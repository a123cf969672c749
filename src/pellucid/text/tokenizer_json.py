"""Reading and writing `tokenizer.json`, the file format of Hugging Face's `tokenizers`, for GPT-2's kind of tokenizer.

The format can say much that this house does not do (normalizers, templates, other models). A file that says any of it
would be encoded otherwise than its maker meant, so it is refused, with the reason.
"""

import json
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError
from pellucid.text.bytes_to_characters import to_bytes, to_characters
from pellucid.text.tokenizer import END_OF_TEXT


FILE_NAME = "tokenizer.json"


def read(path: Path) -> list[bytes]:
    """The tokens by id, end-of-text left out, of a `tokenizer.json` or of the one in a directory.

    Accepted: a byte-level BPE as GPT-2's, the bytes first, then the merges in order, then `<|endoftext|>` as the last
    id and only special token, of which merging by pairs (`tokenizers`) and merging by ranks (`tiktoken`) encode all
    text alike. Everything else raises PellucidError.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PellucidError(f"no tokenizer at {file}") from None
    except OSError as error:
        raise PellucidError(f"cannot read the tokenizer {file}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or not JSON
        raise PellucidError(f"{file} is not a tokenizer.json: {error}") from error
    try:
        return _tokens(data)
    except PellucidError as error:
        raise PellucidError(f"cannot use the tokenizer {file}: {error}") from error
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise PellucidError(f"{file} is not a tokenizer.json: {error!r}") from error


def _tokens(data: dict[str, Any]) -> list[bytes]:
    model = data["model"]
    # Older files leave the type out, as only BPE models have merges.
    _require(model.get("type", "BPE" if "merges" in model else None) == "BPE", "its model is not BPE")
    for name in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"):
        _require(not model.get(name), f"its model has {name} = {model.get(name)!r}")
    for name in ("fuse_unk", "byte_fallback", "ignore_merges"):
        _require(not model.get(name), f"its model has {name} on")
    for name in ("normalizer", "truncation", "padding"):
        _require(not data.get(name), f"it has a {name}, which would change what is encoded")
    before = data.get("pre_tokenizer") or {}
    _require(
        before.get("type") == "ByteLevel" and not before.get("add_prefix_space") and before.get("use_regex", True),
        "its pre-tokenizer is not GPT-2's (ByteLevel, no prefix space, with the regular expression)",
    )
    after = data.get("post_processor") or {}
    _require(after.get("type", "ByteLevel") == "ByteLevel", f"its post-processor {after.get('type')} adds tokens")
    decoder = data.get("decoder") or {}
    _require(decoder.get("type", "ByteLevel") == "ByteLevel", "its decoder is not ByteLevel")

    vocabulary: dict[str, int] = dict(model["vocab"])
    eot = _end_of_text(data.get("added_tokens") or [], vocabulary)
    by_id = {i: characters for characters, i in vocabulary.items()}
    _require(sorted(by_id) == list(range(eot)), f"ids 0 to {eot - 1} are not one token each, before {END_OF_TEXT}")
    tokens = [to_bytes(by_id[i]) for i in range(eot)]
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    _require(len(merges) == eot - 256, f"{len(merges)} merges do not make {eot} tokens out of 256 bytes")
    check_merges(tokens, [(to_bytes(a), to_bytes(b)) for a, b in merges])
    return tokens


def _end_of_text(added: list[dict[str, Any]], vocabulary: dict[str, int]) -> int:
    """The id of the only special token, which is taken out of the vocabulary."""
    names = ", ".join(repr(token["content"]) for token in added) or "none"
    _require(
        [token["content"] for token in added] == [END_OF_TEXT],
        f"its added tokens must be {END_OF_TEXT!r} alone, and are: {names}",
    )
    for name in ("single_word", "lstrip", "rstrip"):
        _require(not added[0].get(name), f"{END_OF_TEXT} has {name} on")
    eot = added[0]["id"]
    _require(vocabulary.pop(END_OF_TEXT, eot) == eot, f"{END_OF_TEXT} has two ids")
    _require(eot == len(vocabulary), f"{END_OF_TEXT} has id {eot}, not the last one, {len(vocabulary)}")
    return int(eot)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise PellucidError(otherwise)


def check_merges(tokens: Sequence[bytes], merges: Sequence[tuple[bytes, bytes]]) -> None:
    """Raises PellucidError unless merging by pairs and merging by ranks encode all text alike.

    `tokenizers` joins the pairs that its list of merges names. `tiktoken` joins any two neighbours whose bytes together
    are a token. Both give the same ids when, for each merged token of id r, the merges below r reduce its bytes to two
    tokens, and these two are the pair of the list. For then, by induction over r: where in a text the bytes of token r
    stand between two piece or token borders that no lower merge has crossed, both have reduced them to that very pair.
    """
    for i, pair in enumerate(merges, start=256):
        if b"".join(pair) != tokens[i]:
            raise PellucidError(f"merge {i - 256} makes {b''.join(pair)!r}, but id {i} is {tokens[i]!r}")
    for i, (found, pair) in enumerate(zip(merges_of(tokens), merges, strict=True), start=256):
        if found != pair:
            raise PellucidError(f"token {i} is merged from {pair}, but by rank from {found}")


def merges_of(tokens: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """The pair that each token from 256 on is merged from, found from the ranks alone.

    Raises PellucidError for a token that the merges before it do not reduce to two parts: none could ever reach it.
    """
    ranks = {token: i for i, token in enumerate(tokens)}
    merges: list[tuple[bytes, bytes]] = []
    for i, token in enumerate(tokens[256:], start=256):
        parts = [token[k : k + 1] for k in range(len(token))]
        while len(parts) > 2:
            joined = [ranks.get(a + b, i) for a, b in pairwise(parts)]
            lowest = min(joined)
            if lowest >= i:
                break
            k = joined.index(lowest)
            parts[k : k + 2] = [tokens[lowest]]
        if len(parts) != 2:
            raise PellucidError(f"token {i}, {token!r}, cannot be reached: the merges before it leave {parts}")
        merges.append((parts[0], parts[1]))
    return merges


def write(tokens: Sequence[bytes], path: Path) -> Path:
    """Writes tokens by id, end-of-text left out, as `tokenizer.json`: to a file, or into a directory that exists."""
    file = path / FILE_NAME if path.is_dir() else path
    characters = [to_characters(token) for token in tokens]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    end_of_text = {"id": len(tokens), "content": END_OF_TEXT, "special": True, "normalized": False}
    data = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [end_of_text | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
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
            "vocab": {c: i for i, c in enumerate(characters)} | {END_OF_TEXT: len(tokens)},
            # "a b" rather than ["a", "b"]: every reader of this format knows it
            "merges": [f"{to_characters(a)} {to_characters(b)}" for a, b in merges_of(tokens)],
        },
    }
    draft = file.with_name(f".{file.name}.partial")
    draft.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", newline="\n")
    os.replace(draft, file)  # an interrupted save leaves the old file whole
    return file
