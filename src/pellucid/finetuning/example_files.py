"""Files of examples: JSON lines, a JSON array, or a table (CSV). Which one a file is, its contents say.

The columns or keys may be called prompt and completion, or by other usual names (`PROMPTS`, `COMPLETIONS`).
"""

import codecs
import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError
from pellucid.file_signatures import HEAD, identify
from pellucid.files import reading, write_whole
from pellucid.finetuning.examples import Example
from pellucid.languages import mark, tr
from pellucid.strict_json import MAX_BYTES, parse_json


SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")  # of files that hold examples, whatever their format
TABLES = (".xlsx", ".xls", ".ods", ".parquet", ".numbers")  # of tables in formats that are not read
PROMPTS = ("prompt", "input", "question", "text")
COMPLETIONS = ("completion", "output", "answer", "label")
DELIMITERS = {",": mark("commas"), ";": mark("semicolons"), "\t": mark("tabs")}
WANTED = 'it should read {"prompt": "...", "completion": "..."}'


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What a file has of one example, whether or not it can be trained on.

    Attributes:
        where: its place in the file, such as "line 3". number: that number.
        prompt, completion: not checked. others: the names of further columns or keys.
    """

    where: str
    number: int
    prompt: Any
    completion: Any
    others: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFile:
    """What a file of examples holds. `rows` in the file's order, one at least; `what`: its format and its columns, in words."""

    rows: list[Row]
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleFile:
    """What a file of examples holds.

    Attributes:
        examples: in the file's order. what: the file's format and its columns, in words.
    """

    examples: list[Example]
    what: str


def read_examples(path: str | Path, *, of_a_run: bool = False) -> list[Example]:
    """The examples in a file of JSON lines, a JSON array or a table.

    Args:
        of_a_run: the file lies in a run's directory: anything but a regular file of JSON lines is refused. Else it may be a
            FIFO.

    Raises:
        PellucidError: no such file, not UTF-8, or something in it that is no example (the message says where).
    """
    path = Path(path)
    if of_a_run:
        return _examples(_json_lines(_contents(path, of_a_run=True), path), path)
    return read_example_file(path).examples


def read_example_file(path: Path) -> ExampleFile:
    """The examples in a file, and what it is. Arguments and errors as `read_examples`."""
    found = read_rows(path)
    return ExampleFile(examples=_examples(found.rows, path), what=found.what)


def read_rows(path: Path) -> RowFile:
    """The rows of a file of examples, which may lack what an example must have, and what it is.

    Raises:
        PellucidError: as `read_examples`, but for prompts and completions that are empty or no text.
    """
    data = _contents(path, of_a_run=False).removeprefix(codecs.BOM_UTF8)
    start = data[:HEAD].lstrip()[:1]
    if start == b"[" or (start == b"{" and not _begins_with_object(data) and _parses(data)):
        found = RowFile(rows=list(_json_array(data, path)), what=tr("a JSON array"))
    elif start == b"{" or path.suffix.lower() not in (".csv", ".tsv"):
        found = RowFile(rows=list(_json_lines(data, path)), what=tr("JSON lines"))
    else:
        found = _table(data, path)
    if not found.rows:
        raise PellucidError(f"{path} holds no examples: a line each, {{\"prompt\": ..., \"completion\": ...}}, or a CSV table")
    return found


def holds_examples(path: Path) -> bool:
    """Whether a file holds examples, by its suffix, or by its first line or its whole contents being JSON of that kind."""
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
    """Writes JSON lines, which `read_examples` reads."""
    write_whole(path, "".join(json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in examples))


def _contents(path: Path, *, of_a_run: bool) -> bytes:
    try:
        with reading(path) if of_a_run else path.open("rb") as file:
            return file.read()
    except FileNotFoundError:
        raise PellucidError(f"no such file: {path}") from None
    except OSError as error:
        raise PellucidError(f"cannot read {path}: {error.strerror or error}") from None


def _parsed(data: bytes) -> Any:
    """The JSON value of some bytes; None where they are none."""
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
    return isinstance(value, dict) and _columns(list(value)) is not None


def _columns(names: Sequence[str]) -> tuple[int, int] | None:
    """The places of the prompt and of the completion among some names, upper or lower case; None where one has none."""
    lowered = [name.strip().lower() for name in names]
    found = [next((lowered.index(name) for name in known if name in lowered), None) for known in (PROMPTS, COMPLETIONS)]
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def _examples(rows: Iterable[Row], path: Path) -> list[Example]:
    examples = []
    for row in rows:
        try:
            examples.append(Example(row.prompt, row.completion))
        except PellucidError as error:
            raise PellucidError(f"{path}, {row.where}: {error}") from None
    return examples


def _json_lines(data: bytes, path: Path) -> Iterator[Row]:
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            what = identify(data[:HEAD])
            raise PellucidError(f"{path} is {what}, and no text" if what else f"{where} is not UTF-8 text: {error}") from None
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
        raise PellucidError(f"{path} is one JSON object: examples are a JSON array of objects, or an object a line")
    for number, value in enumerate(values, start=1):
        yield _row(value, path, "item", number)


def _row(value: Any, path: Path, unit: str, number: int) -> Row:
    where = f"{path}, {unit} {number}"
    if not isinstance(value, dict):
        raise PellucidError(f"{where}: not an example (no JSON object); {WANTED}")
    found = _columns(list(value))
    if found is None:
        chat = "; chat messages are not read: this model continues text" if "messages" in value else ""
        raise PellucidError(f"{where}: not an example (its keys are {', '.join(map(repr, value))}{chat}); {WANTED}")
    values, others = list(value.values()), tuple(name for place, name in enumerate(value) if place not in found)
    prompt, completion = values[found[0]], values[found[1]]
    return Row(where=f"{unit} {number}", number=number, prompt=prompt, completion=completion, others=others)


def _table(data: bytes, path: Path) -> RowFile:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        what = identify(data[:HEAD])
        words = f"is {what}, and no text" if what else f"is not UTF-8 text ({error}): save it as CSV in UTF-8"
        raise PellucidError(f"{path} {words}") from None
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    rows = [(number, row) for number, row in _rows(text, delimiter, path) if any(cell.strip() for cell in row)]
    if not rows:
        return RowFile(rows=[], what="")
    (_, names), columns = rows[0], _columns(rows[0][1])
    if columns is None and len(names) != 2:
        listed = ", ".join(map(repr, names[:6]))
        raise PellucidError(f"{path}: its columns are {listed}: name two of them prompt and completion, in the first row")
    prompt, completion = columns or (0, 1)
    found, others = [], tuple(name.strip() for place, name in enumerate(names) if place not in (prompt, completion))
    for number, row in rows[columns is not None :]:
        where = f"{path}, line {number}"
        if len(row) != len(names):
            raise PellucidError(
                f"{where}: {len(row)} columns, where the first row has {len(names)}: a text with {DELIMITERS[delimiter]} or "
                "line ends in it stands between double quotes"
            )
        found.append(
            Row(where=f"line {number}", number=number, prompt=row[prompt], completion=row[completion], others=others)
        )
    between = tr(DELIMITERS[delimiter])
    what = tr("a table with {mark} between two columns without names, the first row an example", mark=between)
    if columns is not None:
        named = f"{names[prompt].strip()!r} and {names[completion].strip()!r}"
        what = tr("a table with {mark} between its columns, of which {named} are read", mark=between, named=named)
    return RowFile(rows=found, what=what)


def _rows(text: str, delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table, each with the number of its first line."""
    reader, number = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), 1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise PellucidError(f"{path}, line {number}: no row of a table ({error})") from None
        yield number, row
        number = reader.line_num + 1


def _delimiter(text: str) -> str:
    """The one that divides the first rows into the same number of columns, two or more; a comma where none does."""
    for delimiter in DELIMITERS:
        try:
            first = list(islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 20))
        except csv.Error:
            continue
        widths = {len(row) for row in first if any(cell.strip() for cell in row)}
        if len(widths) == 1 and widths.pop() > 1:
            return delimiter
    return ","
