"""Files of examples: JSON lines, a JSON array, or a table (CSV). JSON is recognized by its contents, a table by its suffix.

The columns or keys may be called prompt and completion, or by other usual names (`PROMPTS`, `COMPLETIONS`).
"""

import codecs
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError
from pellucid.file_signatures import HEAD, identify
from pellucid.files import reading, replacing
from pellucid.finetuning.examples import Example
from pellucid.generation import example_tables
from pellucid.generation.example_tables import Row, RowFile, columns_of, read_table
from pellucid.languages import tr
from pellucid.strict_json import MAX_BYTES, parse_json


SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")  # of files that hold examples, whatever their contents
TABLES = (".xlsx", ".xls", ".ods", ".parquet", ".numbers")  # suffixes of tables in formats that are not read
MOST_KEYS = 200  # characters of keys that a message shows
WANTED = 'it should read {"prompt": "...", "completion": "..."}'


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleFile:
    """What a file of examples holds.

    Attributes:
        examples: in the file's order. what: the format and columns of the file, in words.
    """

    examples: list[Example]
    what: str


def read_examples(path: str | Path, *, of_a_run: bool = False) -> list[Example]:
    """The examples in a file of JSON lines, a JSON array or a table.

    Args:
        of_a_run: the file belongs to a run directory: anything but a regular file of JSON lines is refused. Otherwise it may
            also be a FIFO.

    Raises:
        PellucidError: no such file, not UTF-8, or something in it that is not an example (the message says where).
    """
    path = Path(path)
    if of_a_run:
        return _examples(_json_lines(_contents(path, of_a_run=True), path), path)
    return read_example_file(path).examples


def read_example_file(path: Path) -> ExampleFile:
    """The examples in a file, and its format in words. Errors as `read_examples`."""
    found = read_rows(path)
    return ExampleFile(examples=_examples(found.rows, path), what=found.what)


def read_rows(path: Path) -> RowFile:
    """The rows of a file of examples, not yet checked to be examples, and its format in words.

    Raises:
        PellucidError: as `read_examples`, except for prompts and completions that are empty or not text.
    """
    data = _contents(path, of_a_run=False).removeprefix(codecs.BOM_UTF8)
    start = data[:HEAD].lstrip()[:1]
    if start == b"[" or (start == b"{" and not _begins_with_object(data) and _parses(data)):
        found = RowFile(rows=list(_json_array(data, path)), what=tr("a JSON array"))
    elif start == b"{" or path.suffix.lower() not in example_tables.SUFFIXES:
        found = RowFile(rows=list(_json_lines(data, path)), what=tr("JSON lines"))
    else:
        found = read_table(data, path)
    if not found.rows:
        raise PellucidError(f"{path} holds no examples: a line each, {{\"prompt\": ..., \"completion\": ...}}, or a CSV table")
    return found


def holds_examples(path: Path) -> bool:
    """Whether a file holds examples: by its suffix, or because its first line or its whole contents are JSON of that kind."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with reading(path) as file:
            head = file.read(HEAD).removeprefix(codecs.BOM_UTF8).lstrip()
            if head[:1] == b"{":
                return _is_example(_parsed((head + file.readline()).splitlines()[0]))
            if head[:1] == b"[" and head[1:].lstrip()[:1] == b"{":
                values = _parsed(head + file.read())
                return isinstance(values, list) and bool(values) and _is_example(values[0])
    except OSError:
        pass
    return False


def write_examples(examples: Iterable[Example], path: str | Path) -> None:
    """Writes JSON lines, the format that `read_examples` reads back."""
    with replacing(path) as file:
        for example in examples:
            file.write(json.dumps(asdict(example), ensure_ascii=False).encode() + b"\n")


def _contents(path: Path, *, of_a_run: bool) -> bytes:
    try:
        with reading(path) if of_a_run else path.open("rb") as file:
            return file.read()
    except FileNotFoundError:
        raise PellucidError(f"no such file: {path}") from None
    except OSError as error:
        raise PellucidError(f"cannot read {path}: {error.strerror or error}") from None


def _parsed(data: bytes) -> Any:
    """The JSON value of some bytes; None where they are not JSON."""
    try:
        return parse_json(data, max_bytes=4 * len(data) + MAX_BYTES)
    except ValueError:
        return None


def _parses(data: bytes) -> bool:
    return _parsed(data) is not None


def _begins_with_object(data: bytes) -> bool:
    """Whether the first line alone is a JSON object."""
    return isinstance(_parsed(data.lstrip().split(b"\n", 1)[0]), dict)


def _is_example(value: Any) -> bool:
    return isinstance(value, dict) and columns_of(list(value)) is not None


def _examples(rows: Iterable[Row], path: Path) -> list[Example]:
    examples = []
    for row in rows:
        try:
            examples.append(Example(row.prompt, row.completion))
        except PellucidError as error:
            raise PellucidError(f"{path}, {row.where}: {error}") from None
    return examples


def _json_lines(data: bytes, path: Path) -> Iterator[Row]:
    return json_line_rows(data.removeprefix(codecs.BOM_UTF8).split(b"\n"), path)


def json_line_rows(lines: Iterable[bytes], path: object) -> Iterator[Row]:
    """The rows of JSON lines, one after the other; empty lines are skipped.

    Args:
        lines: with or without line ends. path: the name of the file in messages.

    Raises:
        PellucidError: a line is not an example; the message has its number.
    """
    head = b""
    for number, line in enumerate(lines, start=1):
        head = head or line[:HEAD]
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            what = identify(head)
            raise PellucidError(f"{path} is {what}, not text" if what else f"{where} is not UTF-8 text: {error}") from None
        try:
            value = parse_json(line)
        except ValueError as error:
            raise PellucidError(f"{where}: not an example ({error}); {WANTED}") from None
        yield _row(value, path, "line", number)


def _json_array(data: bytes, path: Path) -> Iterator[Row]:
    try:
        values = parse_json(data, max_bytes=4 * len(data) + MAX_BYTES)
    except ValueError as error:
        raise PellucidError(f"{path}: {error}") from None
    if not isinstance(values, list):
        raise PellucidError(f"{path} is one JSON object: give a JSON array of objects, or one object a line")
    for number, value in enumerate(values, start=1):
        yield _row(value, path, "item", number)


def _row(value: Any, path: object, unit: str, number: int) -> Row:
    where = f"{path}, {unit} {number}"
    if not isinstance(value, dict):
        raise PellucidError(f"{where}: not an example (not a JSON object); {WANTED}")
    found = columns_of(list(value))
    if found is None:
        chat = "; chat messages are not read: this model continues text" if "messages" in value else ""
        keys = ", ".join(map(repr, value))
        keys = keys if len(keys) <= MOST_KEYS else f"{keys[:MOST_KEYS]}..."
        raise PellucidError(f"{where}: not an example (its keys are {keys}{chat}); {WANTED}")
    values, others = list(value.values()), tuple(name for place, name in enumerate(value) if place not in found)
    prompt, completion = values[found[0]], values[found[1]]
    return Row(where=f"{unit} {number}", number=number, prompt=prompt, completion=completion, others=others)
