"""Reading a record: the header when it is opened, each chunk on request."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, BinaryIO, Self, TypeVar

import numpy as np

from pellucid.arguments import path_of, shown, text_of
from pellucid.errors import PellucidError
from pellucid.files import reading, replacing, same_file
from pellucid.record.container import (
    KINDS,
    PREAMBLE_BYTES,
    SUFFIX,
    Kind,
    aligned,
    check_table,
    unpack_header,
    unpack_preamble,
)
from pellucid.record.encoding import NUMBERS, decode
from pellucid.record.entry import ChunkEntry
from pellucid.record.provenance import Provenance
from pellucid.record.text import from_json
from pellucid.record.values import Array, StoredArray, values
from pellucid.record.versions import migrate


_CACHED_CHUNK = 1 << 16  # larger ones are read again
_CACHE_BYTES = 1 << 24

_Value = TypeVar("_Value")


class MissingChunk(PellucidError, KeyError):
    """The record does not hold this chunk; figures say so in its place."""

    __str__ = Exception.__str__  # KeyError's would quote the message


class Record(Mapping[str, Any]):
    """An open record: a mapping of chunk names, in the file's order, to their values. Reading from several threads is safe.

    A value is a read-only NumPy array for numbers, text (`str`) for utf8 chunks, or what JSON holds. `keys`, `items`, `values`,
    `get` and `in` are those of any mapping; a record equals itself alone.

    Attributes:
        path: the file, or None for one in memory.
        kind: "generation", "training", "finetuning", "priming" or "plan".
        provenance: what it was made from.
        header: the whole header, migrated to this version's schema. Not to be changed.
    """

    def __init__(self, file: BinaryIO, path: Path | None) -> None:
        """Takes over the open file; see `open`."""
        self.path = path
        self._file = file
        self._lock = threading.Lock()
        self._cache: dict[str, bytes] = {}
        self._cached_bytes = 0
        try:
            self.header = self._read_header()
            self.kind: Kind = self.header["kind"]
            self.provenance = Provenance.from_dict(self.header["provenance"])
        except BaseException as error:
            file.close()
            if isinstance(error, ValueError):
                raise PellucidError(f"cannot read the record {self._label}: {error}") from error
            raise

    @classmethod
    def open(cls, source: Path | str | bytes | BinaryIO) -> Self:
        """Opens a record and checks all but its chunks' bytes, which are checked as they are read.

        Args:
            source: a file's path, a record's bytes, or a seekable binary file (closed with the record).

        Raises:
            PellucidError: no such file, not a record, truncated, damaged, or written by a newer Pellucid.
        """
        if isinstance(source, bytes):
            return cls(BytesIO(source), None)
        if not isinstance(source, Path | str) and hasattr(source, "read") and hasattr(source, "seek"):
            return cls(source, None)
        path = path_of("source", source)
        if path.is_dir():
            inside = next((one for one in sorted(path.glob(f"*{SUFFIX}")) if one.is_file()), None)
            raise PellucidError(f"{path} is a folder: name a record in it, such as {inside or path / f'tale{SUFFIX}'}")
        try:
            return cls(reading(path), path)
        except OSError as error:
            raise PellucidError(f"cannot read the record {path}: {error.strerror or error}") from error

    @property
    def _label(self) -> str:
        return str(self.path) if self.path is not None else "in memory"

    def _read_header(self) -> dict[str, Any]:
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        preamble = self._file.read(PREAMBLE_BYTES)
        length = unpack_preamble(preamble, size)
        header = migrate(unpack_header(preamble, self._file.read(length)))
        if header.get("kind") not in KINDS or not isinstance(header.get("provenance"), dict):
            raise ValueError("its header lacks a kind or provenance")
        table = header.get("chunks")
        if not isinstance(table, list):
            raise ValueError("its header has no chunk table")
        entries = [ChunkEntry.from_dict(row) for row in table]
        self._data = aligned(PREAMBLE_BYTES + length)
        check_table(entries, size - self._data)
        self._entries = MappingProxyType({entry.name: entry for entry in entries})
        return header

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._entries

    def __eq__(self, other: object) -> bool:
        return self is other  # comparing all chunks, as mappings do, would read both files

    __hash__ = object.__hash__

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def names(self, prefix: str = "") -> list[str]:
        """The chunks whose names begin with `prefix`, in the file's order."""
        text_of("prefix", prefix)
        return [name for name in self._entries if name.startswith(prefix)]

    def entry(self, name: str) -> ChunkEntry:
        """A chunk's row of the chunk table. Raises MissingChunk."""
        if name not in self:
            raise MissingChunk(f"{name if isinstance(name, str) else shown(name)} is not in this record ({self._label})")
        return self._entries[name]

    def __getitem__(self, name: str) -> Any:
        """A chunk's value: numbers (read-only array; bfloat16, uint8 steps and triangles as float32), JSON or text.

        Raises:
            MissingChunk: it is not in this record.
            PellucidError: it is damaged.
        """
        entry = self.entry(name)
        if entry.dtype == "utf8":
            return self._decoded(entry, self._plain(entry).decode)
        if entry.dtype == "json":
            return self._decoded(entry, lambda: from_json(self._plain(entry)))
        found = values(StoredArray(self.stored(name), entry.dtype, entry.scale, entry.triangle))
        found.flags.writeable = False
        return found

    def stored(self, name: str) -> Array:
        """The numbers as they are stored: bits of bfloat16, codes of uint8 steps, packed triangles. Read-only.

        Raises:
            as `record[name]`, and PellucidError for text.
        """
        entry = self.entry(name)
        if entry.dtype not in NUMBERS:
            raise PellucidError(f"{name} is text, not numbers ({self._label})")
        return np.frombuffer(self._plain(entry), NUMBERS[entry.dtype]).reshape(entry.shape)

    def stored_bytes(self, name: str) -> bytes:
        """A chunk's bytes as they lie in the file, their SHA-256 checked."""
        entry = self.entry(name)
        with self._lock:
            if self._file.closed:
                raise PellucidError(f"the record is closed ({self._label})")
            try:
                self._file.seek(self._data + entry.offset)
                found = self._file.read(entry.stored_bytes)
            except OSError as error:
                raise PellucidError(f"cannot read {name} in the record {self._label}: {error.strerror or error}") from error
        if len(found) < entry.stored_bytes:
            raise PellucidError(f"the record {self._label} was truncated: chunk {name} is not whole")
        if sha256(found).hexdigest() != entry.sha256:
            raise PellucidError(f"the record {self._label} is damaged: chunk {name} is not what was written (SHA-256)")
        return found

    def _plain(self, entry: ChunkEntry) -> bytes:
        if entry.name in self._cache:
            return self._cache[entry.name]
        stored = self.stored_bytes(entry.name)
        plain = self._decoded(entry, lambda: decode(stored, entry.dtype, entry.shape, entry.encoding, entry.plain_bytes))
        if len(plain) <= _CACHED_CHUNK and self._cached_bytes + len(plain) <= _CACHE_BYTES:
            self._cache[entry.name] = plain
            self._cached_bytes += len(plain)
        return plain

    def _decoded(self, entry: ChunkEntry, decoded: Callable[[], _Value]) -> _Value:
        """Decodes a chunk; a ValueError becomes a PellucidError with file and chunk. A forged checksum gets this far."""
        try:
            return decoded()
        except PellucidError:
            raise
        except ValueError as error:
            raise PellucidError(f"the record {self._label} is damaged: chunk {entry.name}: {error}") from error

    def save(self, path: Path | str) -> None:
        """Writes a copy of the file, byte for byte, whole or not at all.

        Raises:
            PellucidError: it cannot be written, or the record is closed.
        """
        path = path_of("path", path)
        with self._lock:
            if self._file.closed:
                raise PellucidError(f"the record is closed ({self._label})")
            if self.path is not None and same_file(self.path, path):
                return
            with replacing(path, what="the record") as copy:
                self._file.seek(0)
                while block := self._file.read(1 << 20):
                    copy.write(block)

    def to_bytes(self) -> bytes:
        """The bytes of the whole file, for a record in memory that is sent or embedded in a page.

        Raises:
            PellucidError: the record is closed.
        """
        with self._lock:
            if self._file.closed:
                raise PellucidError(f"the record is closed ({self._label})")
            self._file.seek(0)
            return self._file.read()

    def detach(self) -> BinaryIO:
        """Gives up the open file and returns it, as `io.TextIOWrapper.detach` does; the record is closed after that."""
        with self._lock:
            file, self._file = self._file, BytesIO()
            self._file.close()
        return file

    def close(self) -> None:
        """Closes the file. Arrays that were read stay valid."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Record({self._label!r}, kind={self.kind!r}, chunks={len(self)})"


def open_record(source: Path | str | bytes | BinaryIO) -> Record:
    """Opens a record; see `Record.open`."""
    return Record.open(source)
