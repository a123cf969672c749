"""Reading and writing a GGUF file's header: magic number, metadata and the tensor table. Version 3, little-endian.

    4 bytes "GGUF"; u32 version; u64 tensors; u64 keys
    keys       each: string name, u32 type, value
    tensors    each: string name, u32 dimensions, u64 sizes (fastest first: a matrix is columns, rows), u32 type, u64 offset
    padding to the alignment; then the tensors, each at its offset from here, padded likewise
    a string is u64 bytes and UTF-8; an array is u32 type, u64 count, values

Every length is compared with the rest of the file before memory of that size is allocated.
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pellucid.errors import PellucidError
from pellucid.formats.gguf_blocks import TYPE_BY_CODE, TensorType


MAGIC = b"GGUF"
VERSION = 3
READABLE = (2, 3)  # version 3 only added big-endian files, which are not read here
ALIGNMENT = 32
U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
MAX_DIMENSIONS = 4
MIN_TENSOR_ENTRY = 8 + 4 + 8 + 4 + 8  # bytes of a tensor entry with an empty name and one dimension
MIN_KEY_ENTRY = 8 + 4 + 1

Value = int | float | bool | str | list[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorEntry:
    """A row of the tensor table.

    Attributes:
        shape: slowest dimension first, as in PyTorch: (rows, columns).
        start: offset of the first byte in the file. bytes: length.
    """

    name: str
    shape: tuple[int, ...]
    kind: TensorType
    start: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufHeader:
    """Keys and tensor table of a file."""

    values: Mapping[str, Value]
    tensors: Mapping[str, TensorEntry]


def padded(position: int, alignment: int = ALIGNMENT) -> int:
    """The next multiple of the alignment."""
    return -(-position // alignment) * alignment


def header_bytes(values: Mapping[str, Value], tensors: Iterable[tuple[str, Sequence[int], TensorType]]) -> bytes:
    """The header of a file whose tensors follow in this order, each padded to the alignment.

    Args:
        values: str, bool, int (as u32), float (as float32), or a list of str or of int (as i32).
        tensors: name, shape (slowest first), kind.
    """
    table = list(tensors)
    out = bytearray(MAGIC + struct.pack("<IQQ", VERSION, len(table), len(values)))
    for key, value in values.items():
        out += _string(key) + _typed(value)
    offset = 0
    for name, shape, kind in table:
        out += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind.code, offset)
        offset = padded(offset + kind.bytes_of(math.prod(shape)))
    return bytes(out.ljust(padded(len(out)), b"\0"))


def _string(text: str) -> bytes:
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _typed(value: Value) -> bytes:
    if isinstance(value, bool):  # before int, which it also is
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", U32, value)
    if isinstance(value, float):
        return struct.pack("<If", F32, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _string(value)
    if value and isinstance(value[0], int):
        return struct.pack(f"<IIQ{len(value)}i", ARRAY, 5, len(value), *value)
    return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(_string, value))


class _Reader:
    """Reads a file forwards and checks every length against the rest of the file."""

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self.file, self.left, self.path = file, size, path

    def wrong(self, what: str) -> PellucidError:
        return PellucidError(f"{self.path} is not a GGUF file that can be read: {what}")

    def take(self, count: int, what: str) -> bytes:
        if count > self.left:
            raise self.wrong(f"it ends inside {what} ({count:,} bytes asked for, {self.left:,} left)")
        self.left -= count
        return self.file.read(count)

    def number(self, form: str, what: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form), what))[0]

    def count(self, least: int, what: str) -> int:
        """A count of items of at least `least` bytes each."""
        count: int = self.number("<Q", what)
        if count * least > self.left:
            raise self.wrong(f"it says {count:,} {what}, more than {self.left:,} bytes can hold")
        return count

    def string(self, what: str) -> str:
        raw = self.take(self.count(1, f"bytes of {what}"), what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.wrong(f"{what} is not UTF-8: {error}") from None

    def value(self, key: str) -> Value:
        kind: int = self.number("<I", f"the type of {key!r}")
        if kind != ARRAY:
            return self.single(kind, key)
        of: int = self.number("<I", f"the type of {key!r}")
        if of == STRING:
            return [self.string(f"a string of {key!r}") for _ in range(self.count(8, f"strings in {key!r}"))]
        if of not in NUMBERS:
            raise self.wrong(f"{key!r} is an array of type {of}, which this version does not know")
        form = NUMBERS[of]
        count = self.count(struct.calcsize(form), f"numbers in {key!r}")
        return list(struct.unpack(f"<{count}{form[1]}", self.take(count * struct.calcsize(form), key)))

    def single(self, kind: int, key: str) -> Value:
        if kind == STRING:
            return self.string(f"the value of {key!r}")
        if kind not in NUMBERS:
            raise self.wrong(f"{key!r} has type {kind}, which this version does not know")
        value: Value = self.number(NUMBERS[kind], f"the value of {key!r}")
        return value


def read_header(file: BinaryIO, size: int, path: Path) -> GgufHeader:
    """Reads the header, and checks that each tensor lies inside the file.

    Args:
        file: positioned at its first byte. size: its length in bytes. path: for messages.

    Raises:
        PellucidError: not a GGUF file, of a version or byte order that is not read, damaged or cut short.
    """
    reader = _Reader(file, size, path)
    if reader.take(4, "the magic number") != MAGIC:
        raise reader.wrong("it does not begin with GGUF")
    version = reader.number("<I", "the version")
    if version not in READABLE:
        big = version & 0xFFFF == 0
        raise reader.wrong("its bytes are in big-endian order" if big else f"version {version}; this reads {READABLE}")
    tensor_count = reader.count(MIN_TENSOR_ENTRY, "tensors")
    values: dict[str, Value] = {}
    for _ in range(reader.count(MIN_KEY_ENTRY, "keys")):
        key = reader.string("a key")
        if key in values:
            raise reader.wrong(f"the key {key!r} is there twice")
        values[key] = reader.value(key)
    alignment = values.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 16 or alignment & (alignment - 1):
        raise reader.wrong(f"its alignment {alignment!r} is not a power of two")
    rows = [_tensor_row(reader) for _ in range(tensor_count)]
    begin = padded(size - reader.left, alignment)
    tensors: dict[str, TensorEntry] = {}
    for name, shape, kind, numbers, offset in rows:
        if name in tensors:
            raise reader.wrong(f"the tensor {name!r} is there twice")
        length = kind.bytes_of(numbers)
        if offset % alignment or begin + offset + length > size:
            raise reader.wrong(f"the tensor {name!r} does not lie inside it, or not at a multiple of {alignment}")
        tensors[name] = TensorEntry(name=name, shape=shape, kind=kind, start=begin + offset, bytes=length)
    end = begin
    for entry in sorted(tensors.values(), key=lambda entry: entry.start):
        if entry.start < end:
            raise reader.wrong(f"the tensor {entry.name!r} overlaps the one before")
        end = entry.start + entry.bytes
    return GgufHeader(values=values, tensors=tensors)


def _tensor_row(reader: _Reader) -> tuple[str, tuple[int, ...], TensorType, int, int]:
    name = reader.string("a tensor's name")
    dimensions: int = reader.number("<I", f"the dimensions of {name!r}")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise reader.wrong(f"the tensor {name!r} has {dimensions} dimensions")
    sizes = [reader.number("<Q", f"the shape of {name!r}") for _ in range(dimensions)]
    code: int = reader.number("<I", f"the kind of {name!r}")
    offset: int = reader.number("<Q", f"the offset of {name!r}")
    if code not in TYPE_BY_CODE:
        known = ", ".join(kind.name for kind in TYPE_BY_CODE.values())
        raise reader.wrong(f"the tensor {name!r} is of kind {code}; this version reads {known}")
    kind, numbers = TYPE_BY_CODE[code], math.prod(sizes)
    if not numbers or sizes[0] % kind.block:
        raise reader.wrong(f"the tensor {name!r} of shape {sizes} is empty, or not a whole number of blocks of {kind.block}")
    return name, tuple(reversed(sizes)), kind, numbers, offset
