"""The record file: the numbers of a run or a generation, stored so that figures need neither model nor run.

In: arrays, text and JSON, each with its meaning and truth class; their origin (`Provenance`).
Out: one `.pellucid` file, read by byte range and checked as it is read; a `Record` that gives chunks by name. No torch here.

Read `container` (the layout of the file), `entry` (a row of the chunk table), `encoding`, `values` and `triangle` (numbers to
bytes), `provenance`, `writer`, `reader`, then `schema` (what each kind of record holds) and `check`. `versions` reads older
files.
"""

from pellucid.record.check import check
from pellucid.record.container import KINDS, SUFFIX, Kind
from pellucid.record.entry import TRUTHS, ChunkEntry, Truth
from pellucid.record.provenance import Provenance
from pellucid.record.reader import MissingChunk, Record, open_record
from pellucid.record.schema import SCHEMA, ChunkSpec, describe
from pellucid.record.triangle import TriangleDtype, as_triangle
from pellucid.record.values import StoredArray, as_bfloat16, as_uint8, bfloat16_bits
from pellucid.record.writer import Chunk, RecordWriter, extend


__all__ = [
    "KINDS",
    "SCHEMA",
    "SUFFIX",
    "TRUTHS",
    "Chunk",
    "ChunkEntry",
    "ChunkSpec",
    "Kind",
    "MissingChunk",
    "Provenance",
    "Record",
    "RecordWriter",
    "StoredArray",
    "TriangleDtype",
    "Truth",
    "as_bfloat16",
    "as_triangle",
    "as_uint8",
    "bfloat16_bits",
    "check",
    "describe",
    "extend",
    "open_record",
]
