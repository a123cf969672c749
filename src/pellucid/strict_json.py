"""JSON that somebody else may have written: parsed within limits, then read field by field with types and ranges.

Every JSON file and message from outside is parsed here, so that damaged and hostile ones give one error that names file and
field. Refused are: more bytes than the kind of file can have, anything but UTF-8 (with or without a byte order mark), deep
nesting, a key twice in one object, lone surrogates, NaN and infinity (also as 1e999), integers of more than 128 bits, and more
values than a sixteenth of the limit of bytes, since a parsed `[]` takes twenty times the memory of its text.
"""

import codecs
import errno
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.file_signatures import HEAD, identify
from pellucid.files import reading


MAX_BYTES = 1 << 24  # of a file, unless its kind needs more
MAX_DEPTH = 64
MAX_PARSED_INTEGER = 2**128  # transformers writes 10^30 where it means "no limit"
MAX_INTEGER = 2**64 - 1  # of a field, unless its range is another
BYTES_A_VALUE = 16  # as many values are allowed as the limit of bytes divided by this
REQUIRED: Final = object()  # the default of a field that must be there
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(data: bytes, *, max_bytes: int = MAX_BYTES, nan: bool = False, unique: bool = True) -> Any:
    """The value that UTF-8 bytes hold.

    Args:
        max_bytes: bytes at most; values at most a sixteenth of that.
        nan: whether NaN and infinities are allowed, as Python writes them.
        unique: whether a key twice in one object is refused; otherwise the last one is taken, which parses faster.

    Raises:
        ValueError: the reason, without the name of the file.
    """
    if len(data) > max_bytes:
        raise ValueError(f"it has more than {max_bytes:,} bytes")
    data = data.removeprefix(codecs.BOM_UTF8)
    limit = max_bytes // BYTES_A_VALUE
    if len(data) > limit and data.count(b",") + data.count(b"[") + data.count(b"{") > limit:  # also those in texts
        raise ValueError(f"it may have more than {limit:,} values")
    try:
        value = _DECODERS[unique, nan].decode(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    except ValueError as error:  # UnicodeDecodeError, JSONDecodeError, what the hooks raise, an integer of 4,300 digits
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ValueError("it is JSON in UTF-16: save it as UTF-8") from None
        raise ValueError(f"it is not JSON ({error})") from None
    _check(value, nan=nan, texts=_SURROGATE.search(data) is not None)
    return value


def read_json(path: Path, *, max_bytes: int = MAX_BYTES, nan: bool = False, unique: bool = True) -> Any:
    """The value that a file holds. Arguments as `parse_json`.

    Raises:
        OSError: there is no such file, or it cannot be read.
        PellucidError: its contents are not JSON, or outside the limits; the message names it.
    """
    data = read_bytes(path, max_bytes)
    try:
        return parse_json(data, max_bytes=max_bytes, nan=nan, unique=unique)
    except ValueError as error:
        what = identify(data[:HEAD]) if data else ""
        raise PellucidError(f"{path}: {f'it is not JSON but {what}' if what else error}") from None


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The contents of a regular file, and at most one byte more than `max_bytes` of them.

    Raises:
        OSError: there is no such file, or it cannot be read. PellucidError: it is a folder or a device.
    """
    try:
        with reading(path) as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EISDIR):
            raise PellucidError(f"{path} is not a regular file") from None
        raise


def read_named_file(path: Path, max_bytes: int) -> bytes:
    """`read_bytes` of a file that a user has named. Raises PellucidError: there is none, or it cannot be read."""
    try:
        return read_bytes(path, max_bytes)
    except FileNotFoundError:
        raise PellucidError(f"no such file: {path}") from None
    except OSError as error:
        raise PellucidError(f"cannot read {path}: {error.strerror or error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {shown(twice)} is there twice")
    return made


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not in JSON")


_DECODERS = {
    (unique, nan): json.JSONDecoder(object_pairs_hook=_object if unique else None, parse_constant=None if nan else _refuse)
    for unique in (False, True) for nan in (False, True)
}  # fmt: skip


def _check(value: Any, *, nan: bool, texts: bool) -> None:
    """Checks depth and numbers, and texts if `texts`: level by level, so that a long list takes few interpreted steps."""
    level: list[Any] = [[value]]
    depth = 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueError("its JSON is nested too deeply")
        depth += 1
        inner: list[Any] = []
        for container in level:
            items = container.values() if isinstance(container, dict) else container
            kinds = set(map(type, items))
            if int in kinds:
                whole = items if kinds == {int} else [item for item in items if type(item) is int]
                if max(whole) > MAX_PARSED_INTEGER or min(whole) < -MAX_PARSED_INTEGER:
                    raise ValueError("it holds a whole number of more than 128 bits")
            if float in kinds and not nan and not all(math.isfinite(item) for item in items if type(item) is float):
                raise ValueError("it holds a number that is larger than every float")
            if texts:
                for text in (*(container if isinstance(container, dict) else ()), *items):
                    if isinstance(text, str) and not is_text(text):
                        raise ValueError("it holds a lone surrogate (half a character), which is not text")
            if dict in kinds or list in kinds:
                inner += [item for item in items if isinstance(item, dict | list)]
        level = inner


def is_text(text: str) -> bool:
    """Whether UTF-8 can hold it: it has no lone surrogate."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_lines(file: BinaryIO, max_bytes: int = MAX_BYTES) -> Iterator[bytes]:
    """The lines of an open file; of one that `parse_json` will refuse for its length, only as much as it takes to tell."""
    return iter(lambda: file.readline(max_bytes + 1), b"")


class Fields:
    """The fields of a JSON object. Each method returns one field, of its type and within its range.

    A field that is missing gives the default; without a default it must be there. `null` counts as missing where the default
    is None.

    Args:
        values: what was parsed. where: its origin, for messages: a path, or a path and the field that holds the object.

    Raises:
        PellucidError: from all, where the value is another; the message names origin and field.
    """

    def __init__(self, values: Any, where: object) -> None:
        if not isinstance(values, dict):
            raise PellucidError(f"{where} is not a JSON object")
        self.values: dict[str, Any] = values
        self.where = where

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def wrong(self, name: str, wanted: str) -> PellucidError:
        """The error of a field that is not what is wanted."""
        return PellucidError(f"{self.where}: {name} must be {wanted}, not {shown(self.values.get(name))}")

    def only(self, known: Mapping[str, Any] | frozenset[str], advice: str) -> None:
        """Refuses fields that are not known."""
        if unknown := sorted(set(self.values) - set(known)):
            raise PellucidError(f"{self.where}: unknown field {shown(unknown[0])}: {advice}")

    def value(self, name: str, default: Any = REQUIRED) -> Any:
        """A field of any type."""
        found = self.values.get(name, default)
        if found is REQUIRED:
            raise PellucidError(f"{self.where} lacks {name!r}")
        return found

    def integer(self, name: str, default: Any = REQUIRED, *, minimum: int = 0, maximum: int = MAX_INTEGER) -> Any:
        """A whole number."""
        found = self.value(name, default)
        if found is not default and (type(found) is not int or not minimum <= found <= maximum):
            raise self.wrong(name, f"a whole number from {minimum:,} to {maximum:,}")
        return found

    def number(self, name: str, default: Any = REQUIRED, *, minimum: float = -math.inf, maximum: float = math.inf) -> Any:
        """A number, as a float; NaN only where the parser allowed it and no range is given."""
        found = self.value(name, default)
        if found is default:
            return found
        bounded = (minimum, maximum) != (-math.inf, math.inf)
        if type(found) not in (int, float) or (bounded and not minimum <= found <= maximum):
            raise self.wrong(name, f"a number from {minimum:g} to {maximum:g}" if bounded else "a number")
        return float(found)

    def text(self, name: str, default: Any = REQUIRED, *, max_length: int = MAX_BYTES) -> Any:
        """Text of at most so many characters."""
        found = self.value(name, default)
        if found is not default and (not isinstance(found, str) or len(found) > max_length):
            if isinstance(found, str):
                raise PellucidError(
                    f"{self.where}: {name} must be text of at most {max_length:,} characters, not of {len(found):,}"
                )
            raise self.wrong(name, "text")
        return found

    def flag(self, name: str, default: Any = REQUIRED) -> Any:
        """True or false."""
        found = self.value(name, default)
        if found is not default and not isinstance(found, bool):
            raise self.wrong(name, "true or false")
        return found

    def list(self, name: str, default: Any = REQUIRED, *, max_length: int = MAX_BYTES) -> Any:
        """A list of at most so many items."""
        found = self.value(name, default)
        if found is not default and (not isinstance(found, list) or len(found) > max_length):
            raise self.wrong(name, "a list" if max_length == MAX_BYTES else f"a list of at most {max_length:,} items")
        return found

    def integers(self, name: str, default: Any = REQUIRED, *, minimum: int = 0, maximum: int = MAX_INTEGER) -> Any:
        """A list of whole numbers, as a tuple."""
        found = self.list(name, default)
        if found is default:
            return found
        if not all(type(item) is int and minimum <= item <= maximum for item in found):
            raise self.wrong(name, f"a list of whole numbers from {minimum:,} to {maximum:,}")
        return tuple(found)

    def object(self, name: str, default: Any = REQUIRED) -> Any:
        """An object within the object, as `Fields`."""
        found = self.value(name, default)
        return found if found is default else Fields(found, f"{self.where}: {name}")
