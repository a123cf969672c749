"""Writing a record, chunk by chunk, and adding chunks to one that exists."""

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

import numpy as np

from pellucid.errors import PellucidError
from pellucid.files import cannot_write, replaces, replacing, same_file, scratch_file
from pellucid.numpy_defaults import numpy_defaults
from pellucid.record.container import FORMAT, KINDS, MAX_HEADER_BYTES, Kind, aligned, pack_header
from pellucid.record.encoding import ENCODINGS, MAX_CHUNK_BYTES, allowed, encode
from pellucid.record.entry import TRUTHS, ChunkEntry, Truth, valid_name
from pellucid.record.provenance import Provenance
from pellucid.record.reader import Record
from pellucid.record.text import check_json, to_json
from pellucid.record.values import StoredArray, as_is
from pellucid.record.versions import SCHEMA_VERSION


AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chunk:
    """A chunk to be written: its name, value and description.

    Attributes:
        name, truth, meaning, unit, source: as in `entry.ChunkEntry`.
        value: an array or numpy number (kept in its own dtype), a `values.StoredArray` (`as_bfloat16`, `as_uint8`,
            `as_triangle`), a str (stored as UTF-8), or anything that JSON holds.
        encoding: one of `encoding.ENCODINGS`; None chooses.
    """

    name: str
    value: Any
    truth: Truth
    meaning: str
    unit: str = ""
    source: Mapping[str, Any] | None = None
    encoding: str | None = None


class RecordWriter:
    """Writes one record. As a context manager it leaves a whole file, or after an error nothing.

        with RecordWriter(path, "generation", provenance) as writer:
            writer.add("generation/steps/drawn_ids", ids, **describe("generation", "generation/steps/drawn_ids"))

    Chunks are spooled to an unnamed temporary file beside `path`, since the header that comes first lists them; memory holds
    one chunk at a time. The same chunks in the same order give the same bytes (with the same zlib version).

    Args:
        target: a path, or a binary file (such as a BytesIO), which the record is written to at the end and which is left open.
        kind: "generation", "training", "finetuning", "priming" or "plan".
        provenance: what the numbers were made from.

    Raises:
        PellucidError: the target cannot be written to; raised at once.
    """

    def __init__(self, target: Path | str | BinaryIO, kind: Kind, provenance: Provenance) -> None:
        assert kind in KINDS, kind
        header = {"format": FORMAT, "schema": list(SCHEMA_VERSION), "kind": kind, "provenance": provenance.to_dict()}
        self._start(target, header)

    @classmethod
    def _onto(cls, record: Record, target: Path | str | BinaryIO) -> Self:
        """A writer that begins with all chunks of `record`."""
        writer = cls.__new__(cls)
        writer._start(target, {key: value for key, value in record.header.items() if key != "chunks"})
        try:
            for name in record:
                writer._append(record.entry(name), record.stored_bytes(name))
        except BaseException:
            writer.discard()
            raise
        return writer

    def _start(self, target: Path | str | BinaryIO, header: dict[str, Any]) -> None:
        self._header = header
        self._entries: dict[str, ChunkEntry] = {}
        self._target: Path | BinaryIO = Path(target) if isinstance(target, str) else target
        if not isinstance(self._target, Path):
            self._spool: BinaryIO = BytesIO()
            return
        self._spool = scratch_file(self._target, what="the record")

    @numpy_defaults()
    def add(
        self,
        name: str,
        value: Any,
        *,
        truth: Truth,
        meaning: str,
        unit: str = "",
        source: Mapping[str, Any] | None = None,
        encoding: str | None = None,
    ) -> None:
        """Adds one chunk; the arguments are those of `Chunk`.

        Raises:
            PellucidError: the name is not valid or taken, a record cannot hold the value, or the disk is full.
        """
        where = f"chunk {name!r}"
        if not valid_name(name):
            raise PellucidError(f"{where}: a name is parts of letters, digits, `_`, `.` and `-`, joined by `/`")
        if name in self._entries:
            raise PellucidError(f"{where} is already in this record: names are unique")
        if truth not in TRUTHS:
            raise PellucidError(f"{where}: truth must be one of {', '.join(TRUTHS)}, not {truth!r}")
        if source is not None:
            check_json(source, f"source of {where}")
        check_json([meaning, unit], f"words about {where}")
        stored: StoredArray | None = None
        if isinstance(value, str):
            check_json(value, where)
            dtype, shape, plain = "utf8", (), value.encode("utf-8")
        elif isinstance(value, StoredArray | np.ndarray | np.generic):
            stored = value if isinstance(value, StoredArray) else as_is(np.asarray(value))
            dtype, shape, plain = stored.dtype, stored.array.shape, stored.array.tobytes()
        else:
            check_json(value, where)
            dtype, shape, plain = "json", (), to_json(value)
        if len(plain) > MAX_CHUNK_BYTES:
            raise PellucidError(f"{where} has {len(plain):,} bytes, more than {MAX_CHUNK_BYTES:,}: split it, or record less")
        if encoding is not None and not (encoding in ENCODINGS and allowed(encoding, dtype, shape)):
            raise PellucidError(f"{where}: {dtype} of shape {shape} cannot have the encoding {encoding!r}")
        chosen, data = encode(plain, dtype, shape, encoding)
        entry = ChunkEntry(
            name=name, dtype=dtype, shape=shape, encoding=chosen, offset=self._next(), stored_bytes=len(data),
            plain_bytes=len(plain), sha256=sha256(data).hexdigest(), truth=truth, meaning=meaning, unit=unit,
            source=None if source is None else dict(source),
            scale=stored.scale if stored else None, triangle=stored.triangle if stored else False,
        )  # fmt: skip
        self._append(entry, data)

    def put(self, chunk: Chunk) -> None:
        """Adds one chunk."""
        self.add(
            chunk.name, chunk.value, truth=chunk.truth, meaning=chunk.meaning, unit=chunk.unit, source=chunk.source,
            encoding=chunk.encoding,
        )  # fmt: skip

    def _next(self) -> int:
        """The offset of the next chunk."""
        return aligned(self._spool.seek(0, os.SEEK_END))

    def _append(self, entry: ChunkEntry, data: bytes) -> None:
        try:
            self._spool.write(b"\0" * (entry.offset - self._spool.seek(0, os.SEEK_END)))
            self._spool.write(data)
        except OSError as error:
            if isinstance(self._target, Path):
                raise cannot_write(self._target, error, "the record") from error
            raise
        self._entries[entry.name] = entry

    def close(self) -> None:
        """Writes the file. Calling it again does nothing.

        Raises:
            PellucidError: it cannot be written; nothing is left then.
        """
        if self._spool.closed:
            return
        with self._spool as spool:
            head = pack_header(self._header | {"chunks": [entry.to_dict() for entry in self._entries.values()]})
            if len(head) > MAX_HEADER_BYTES:
                raise PellucidError(f"{len(self._entries):,} chunks are more than a record's header holds: record fewer")
            if isinstance(self._target, Path):
                with replacing(self._target, what="the record") as file:
                    _write(file, head, spool)
            else:
                _write(self._target, head, spool)

    def discard(self) -> None:
        """Closes the writer without writing the file."""
        self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self.discard()


def _write(file: BinaryIO, head: bytes, spool: BinaryIO) -> None:
    file.write(head)
    spool.seek(0)
    shutil.copyfileobj(spool, file, 1 << 20)


def extend(record: AnyRecord, target: Path | str | BinaryIO, chunks: Iterable[Chunk]) -> AnyRecord:
    """Writes a new file with a record's chunks and more, such as a computed view. Existing chunks keep their bytes.

    Args:
        record: checked as it is copied. If `target` is its own file, it is closed and its file replaced.
        target: a path, or a binary file such as a BytesIO.

    Returns:
        The new record, open.

    Raises:
        PellucidError: a chunk of that name exists, `record` is damaged, or the file cannot be written; existing files
            then stay as they were.
    """
    if isinstance(target, Path | str) and not replaces(target):
        raise PellucidError(f"cannot write the record {target}: it is not a regular file, and could not be read back")
    with RecordWriter._onto(record, target) as writer:
        for chunk in chunks:
            writer.put(chunk)
        if isinstance(target, Path | str) and record.path is not None and same_file(record.path, Path(target)):
            record.close()  # Windows replaces no file that is open
    if isinstance(target, Path | str):
        return type(record).open(target)
    target.seek(0)
    return type(record).open(target)
