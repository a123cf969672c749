"""Tables of examples (CSV, or tabs between columns): two columns of a text file, by their names in its first row.

The columns may be called prompt and completion, or by other usual names (`PROMPTS`, `COMPLETIONS`), or be two without names.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError
from pellucid.file_signatures import HEAD, identify
from pellucid.languages import mark, tr


SUFFIXES = (".csv", ".tsv")  # of files that are read as tables
PROMPTS = ("prompt", "input", "question", "text")
COMPLETIONS = ("completion", "output", "answer", "label")
DELIMITERS = {",": mark("commas"), ";": mark("semicolons"), "\t": mark("tabs")}


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


def columns_of(names: Sequence[str]) -> tuple[int, int] | None:
    """The places of the prompt and of the completion among some names, upper or lower case; None where one has none."""
    lowered = [name.strip().lower() for name in names]
    found = [next((lowered.index(name) for name in known if name in lowered), None) for known in (PROMPTS, COMPLETIONS)]
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def read_table(data: bytes, path: Path) -> RowFile:
    """The rows of a table, without a byte order mark, and what it is; no rows of an empty one.

    Raises:
        PellucidError: not UTF-8, or no table of two columns that are known (the message says where).
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        what = identify(data[:HEAD])
        words = f"is {what}, not text" if what else f"is not UTF-8 text ({error}): save it as CSV in UTF-8"
        raise PellucidError(f"{path} {words}") from None
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    rows = [(number, row) for number, row in _rows(text, delimiter, path) if any(cell.strip() for cell in row)]
    if not rows:
        return RowFile(rows=[], what="")
    (_, names), columns = rows[0], columns_of(rows[0][1])
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
        found.append(Row(where=f"line {number}", number=number, prompt=row[prompt], completion=row[completion], others=others))
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
