"""The layout of a `.pellucid` file: preamble, header, chunk table, and the checks that they are consistent.

    bytes             content
    0 .. 7            the letters PELLUCID
    8 .. 11           version of this layout: 1. uint32, little-endian, as is the next
    12 .. 15          N, length of the header in bytes
    16 .. 47          SHA-256 of bytes 0 .. 15 and of the header
    48 .. 47 + N      the header: one JSON object in UTF-8
    ..                zero bytes up to a multiple of 8. Here is D; offsets in the table count from D
    D ..              the chunks as the table lists them; before each, zero bytes up to a multiple of 8
                      the file ends with the last byte of the last chunk

A reader fetches bytes 0 .. 47, then the header, then any chunk by its byte range: D + offset .. D + offset + stored_bytes - 1.

The header:

    {"format": "pellucid record", "schema": [1, 3],
     "kind": "generation" | "training" | "finetuning" | "priming" | "plan",
     "provenance": {...: `provenance.Provenance`}, "chunks": [{...: `entry.ChunkEntry`}, ...]}

The digests detect damage: of the header at once, of a chunk when it is read. They do not authenticate it: after
numbers are changed, new digests can be computed. Detecting that takes the model: `pellucid verify`.
"""

import struct
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Literal, cast, get_args

from pellucid.record.entry import ChunkEntry
from pellucid.record.text import from_json, to_json


MAGIC = b"PELLUCID"
LAYOUT_VERSION = 1
FORMAT = "pellucid record"
ALIGNMENT = 8  # the widest number: a browser can use a typed array over the raw bytes
PREAMBLE_BYTES = 48
MAX_HEADER_BYTES = 1 << 24
_START = struct.Struct("<8sII")

Kind = Literal["generation", "training", "finetuning", "priming", "plan"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SUFFIX = ".pellucid"  # of a record file's name


def aligned(offset: int) -> int:
    """The next multiple of the alignment."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


def pack_header(header: Mapping[str, Any]) -> bytes:
    """The bytes of preamble, header and padding: everything before D."""
    text = to_json(header)
    start = _START.pack(MAGIC, LAYOUT_VERSION, len(text))
    whole = start + sha256(start + text).digest() + text
    return whole.ljust(aligned(len(whole)), b"\0")


def unpack_preamble(preamble: bytes, file_bytes: int) -> int:
    """The length of the header. Raises ValueError: why this is not a readable record."""
    if not MAGIC.startswith(preamble[: len(MAGIC)]) or not preamble:
        raise ValueError("it is not a Pellucid record")
    if len(preamble) < PREAMBLE_BYTES:
        raise ValueError("it is truncated: it ends before its header")
    _, version, length = _START.unpack_from(preamble)
    if version != LAYOUT_VERSION:
        raise ValueError(f"its layout {version} is newer than this Pellucid, which reads {LAYOUT_VERSION}: update Pellucid")
    if length > MAX_HEADER_BYTES:
        raise ValueError("it is damaged: its header states more than the largest possible size")
    if PREAMBLE_BYTES + length > file_bytes:
        raise ValueError("it is truncated: it ends within its header")
    return cast(int, length)


def unpack_header(preamble: bytes, text: bytes) -> dict[str, Any]:
    """The header's JSON object. Raises ValueError where its digest is wrong or it is not a record's."""
    if sha256(preamble[: _START.size] + text).digest() != preamble[_START.size :]:
        raise ValueError("it is damaged: its header is not what was written (SHA-256)")
    try:
        header = from_json(text)
    except ValueError as error:
        raise ValueError(f"it is damaged: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError("it is not a Pellucid record: its header names another format")
    return header


def check_table(entries: Iterable[ChunkEntry], data_bytes: int) -> None:
    """Checks that chunks have unique names, lie one after the other without gaps but padding, and fill the file.

    Args:
        data_bytes: length of the file from D on.

    Raises:
        ValueError: names the chunk.
    """
    if data_bytes < 0:
        raise ValueError("it is truncated: it ends with its header")
    names = set()
    end = 0
    for entry in entries:
        if entry.name in names:
            raise ValueError(f"it is damaged: two chunks are named {entry.name!r}")
        names.add(entry.name)
        if entry.offset != aligned(end):
            raise ValueError(f"it is damaged: chunk {entry.name!r} does not begin where the one before it ends")
        end = entry.offset + entry.stored_bytes
        if end > data_bytes:
            raise ValueError(f"it is truncated: it ends {end - data_bytes:,} bytes before the end of chunk {entry.name!r}")
    if end < data_bytes:
        raise ValueError(f"it is damaged: {data_bytes - end:,} bytes follow its last chunk")
