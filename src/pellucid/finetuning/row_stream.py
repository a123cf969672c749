"""`RowStream`: the rows of a file of JSON lines, parsed once and then iterated over repeatedly without being in memory.

The parsed rows are in an unnamed temporary file, or in memory while they have less than `IN_MEMORY` bytes; besides, a few bytes
a row are kept.
"""

import codecs
from array import array
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Self

from pellucid.errors import PellucidError
from pellucid.files import reading
from pellucid.finetuning.example_files import json_line_rows
from pellucid.generation.example_tables import Row
from pellucid.strict_json import parse_json, read_lines


IN_MEMORY = 1 << 23  # bytes of rows that are held in memory before they go to a file
BLOCK = 512  # rows that are read at a time
MOST_OTHERS = 100  # names of further keys that are kept
Texts = tuple[int, str, str]  # the number of a row, its prompt and its completion


def begins_json_lines(path: Path) -> bool:
    """Whether the first line of a regular file is a JSON object, as in JSON lines."""
    try:
        with reading(path) as file:
            line = next((line for line in read_lines(file) if line.removeprefix(codecs.BOM_UTF8).strip()), b"")
            return isinstance(parse_json(line), dict)
    except (OSError, ValueError):
        return False


def texts_of(row: Row, name: object) -> Texts:
    """The number and the texts of a row; a completion of null is the empty text.

    Args:
        name: the name of the file in messages.

    Raises:
        PellucidError: its prompt or its completion is not text.
    """
    completion = "" if row.completion is None else row.completion
    if not isinstance(row.prompt, str) or not isinstance(completion, str):
        raise PellucidError(f"{name}, {row.where}: prompt and completion must be text")
    return row.number, row.prompt, completion


class RowStream:
    """The rows of JSON lines. Use it in a `with` block, which deletes the temporary file.

    Args:
        path: the file. name: its name in messages.

    Attributes:
        others: names of further keys. with_others: a byte for each row, 1 if it has further keys.

    Raises:
        PellucidError: the file cannot be read, holds no examples, or has a line that is not one (the message has its number).
    """

    def __init__(self, path: Path, name: object = None) -> None:
        name = path if name is None else name
        self.others: dict[str, None] = {}
        self.with_others = bytearray()
        self._numbers, self._prompts, self._completions = array("Q"), array("I"), array("I")  # numbers of lines, and bytes
        self._file = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed by `__exit__`
        try:
            with reading(path) as file:
                lines = read_lines(file)
                first = next(lines, b"").removeprefix(codecs.BOM_UTF8)
                for row in json_line_rows(chain([first], lines), name):
                    self._add(row, name)
            if not self.with_others:
                raise PellucidError(f'{name} holds no examples: a line each, {{"prompt": ..., "completion": ...}}')
        except OSError as error:
            self._file.close()
            raise PellucidError(f"cannot read {name}: {error.strerror or error}") from None
        except BaseException:
            self._file.close()
            raise

    def _add(self, row: Row, name: object) -> None:
        number, *texts = texts_of(row, name)
        prompt, completion = (text.encode() for text in texts)
        self._numbers.append(number)
        self._prompts.append(len(prompt))
        self._completions.append(len(completion))
        self._file.write(prompt + completion)
        self.with_others.append(bool(row.others))
        if row.others and len(self.others) < MOST_OTHERS:
            self.others |= dict.fromkeys(row.others[:MOST_OTHERS])

    def __iter__(self) -> Iterator[Texts]:
        """The rows in order. Only one iteration at a time: they share the position in the temporary file."""
        self._file.seek(0)
        for start in range(0, len(self._numbers), BLOCK):
            lengths = [part[start : start + BLOCK] for part in (self._prompts, self._completions)]
            data, end = self._file.read(sum(map(sum, lengths))), 0
            for number, prompt, completion in zip(self._numbers[start : start + BLOCK], *lengths, strict=True):
                begin, middle, end = end, end + prompt, end + prompt + completion
                yield number, data[begin:middle].decode(), data[middle:end].decode()

    def __len__(self) -> int:
        return len(self._numbers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
