"""Reading a tokenizer from `vocab.json` and `merges.txt`, as GPT-2's was published."""

from pathlib import Path
from typing import Any

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.strict_json import read_bytes
from pellucid.text.tokenizer import Tokenizer
from pellucid.text.tokenizer_json import MAX_FILE_BYTES, read_object, read_roles, token_text
from pellucid.text.vocabulary import build_token_table


VOCABULARY, MERGES = "vocab.json", "merges.txt"
ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")


def read(directory: Path) -> Tokenizer:
    """The tokenizer of a directory's vocab.json and merges.txt, with what tokenizer_config.json and its like add.

    Raises:
        PellucidError: a file is missing or not of its kind, or they do not belong together; the message names it.
    """
    file = directory / VOCABULARY
    vocabulary = read_object(file, "vocabulary: token to id")
    if not isinstance(vocabulary, dict):
        raise PellucidError(f"{file} is not a vocabulary: token to id")
    merges = _merges(directory / MERGES)
    special = {text: vocabulary[text] for text in _named(directory) if text in vocabulary} | _added(directory)
    try:
        table = build_token_table(vocabulary, merges, special, **read_roles(directory))
        return Tokenizer(table.tokens, table.numbering)
    except PellucidError as error:
        raise PellucidError(f"cannot use the tokenizer {file}: {error}") from error


def _merges(file: Path) -> list[tuple[str, str]]:
    try:
        data = read_bytes(file, MAX_FILE_BYTES)
        if len(data) > MAX_FILE_BYTES:
            raise PellucidError(f"{file} has more than {MAX_FILE_BYTES:,} bytes")
        lines = data.decode("utf-8").split("\n")
    except FileNotFoundError:
        raise PellucidError(f"no merges at {file}, which goes with {VOCABULARY}") from None
    except OSError as error:
        raise PellucidError(f"cannot read {file}: {error.strerror or error}") from None
    except PellucidError:
        raise
    except ValueError as error:
        raise PellucidError(f"{file} is not UTF-8 text: {error}") from error
    merges = []
    for number, line in enumerate(lines, start=1):
        if (number == 1 and line.startswith("#version")) or not line.strip():
            continue
        parts = line.rstrip("\r").split(" ")
        if len(parts) != 2:
            raise PellucidError(f"{file}, line {number}: a merge is two tokens with a space between, not {shown(line)}")
        merges.append((parts[0], parts[1]))
    return merges


def _named(directory: Path) -> set[str]:
    """Texts of the tokens that have a role."""
    found: set[str] = set()
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (directory / name).exists():
            values = read_object(directory / name, name)
            tokens: list[Any] = [values.get(role) for role in ROLES] if isinstance(values, dict) else []
            found |= {text for token in tokens if (text := token_text(token))}
    return found


def _added(directory: Path) -> dict[str, int]:
    file = directory / "added_tokens.json"
    values = read_object(file, "list of added tokens") if file.exists() else {}
    if not isinstance(values, dict):
        raise PellucidError(f"{file} is not a list of added tokens: text to id")
    return values
