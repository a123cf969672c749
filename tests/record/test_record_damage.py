"""Records that are damaged, hostile, older or newer."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import PellucidError
from pellucid.record import Chunk, Provenance, RecordWriter, as_bfloat16, extend, open_record
from pellucid.record.container import pack_header
from pellucid.record.versions import MIGRATIONS, migrate


PROVENANCE = Provenance(pellucid="0.1.0", model="m", config={}, parameters=1, dtype="float32", seed=3)


def written() -> bytes:
    buffer = io.BytesIO()
    with RecordWriter(buffer, "generation", PROVENANCE) as writer:
        writer.add("ids", np.arange(40, dtype=np.int32), truth="given", meaning="ids")
        wide = as_bfloat16(np.linspace(0, 1, 33, dtype=np.float32))
        writer.add("wide", wide, truth="derived", meaning="wide", encoding="raw")
        writer.add("text", {"a": ["hello"] * 9}, truth="given", meaning="text")
    return buffer.getvalue()


WHOLE = written()
LENGTH = struct.unpack_from("<I", WHOLE, 12)[0]
START = (48 + LENGTH + 7) // 8 * 8
HEADER = json.loads(WHOLE[48 : 48 + LENGTH])


def signed_again(change: Callable[[dict[str, Any]], Any], data: bytes = WHOLE[START:]) -> bytes:
    """The record with its header changed and all digests of the header right."""
    header = json.loads(WHOLE[48 : 48 + LENGTH])
    change(header)
    return pack_header(header) + data


def test_the_layout_is_as_documented() -> None:
    assert WHOLE[:8] == b"PELLUCID" and struct.unpack_from("<I", WHOLE, 8) == (1,)
    assert WHOLE[16:48] == sha256(WHOLE[:16] + WHOLE[48 : 48 + LENGTH]).digest()
    assert signed_again(lambda _: None) == WHOLE
    for row in HEADER["chunks"]:
        assert row["offset"] % 8 == 0
        stored = WHOLE[START + row["offset"] :][: row["stored_bytes"]]
        assert sha256(stored).hexdigest() == row["sha256"]
    assert START + HEADER["chunks"][-1]["offset"] + HEADER["chunks"][-1]["stored_bytes"] == len(WHOLE)


def test_every_flipped_byte_of_a_chunk_is_noticed_when_it_is_read() -> None:
    for row in HEADER["chunks"]:
        for at in range(START + row["offset"], START + row["offset"] + row["stored_bytes"]):
            damaged = bytearray(WHOLE)
            damaged[at] ^= 1 << at % 8
            record = open_record(bytes(damaged))
            for name in record:
                if name == row["name"]:
                    with pytest.raises(PellucidError, match=f"in memory is damaged: chunk {name} is not what was written"):
                        record[name]
                else:
                    record[name]


def test_every_flipped_byte_before_the_chunks_is_noticed_at_once() -> None:
    for at in range(48 + LENGTH):
        damaged = bytearray(WHOLE)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(PellucidError, match="cannot read the record in memory: "):
            open_record(bytes(damaged))


@cases()
@given(keep=st.integers(0, len(WHOLE) - 1))
def test_truncation_is_noticed(keep: int) -> None:
    with pytest.raises(PellucidError, match="truncated" if keep else "not a Pellucid record"):
        open_record(WHOLE[:keep])


def test_truncation_after_opening_names_the_chunk(tmp_path: Path) -> None:
    path = tmp_path / "r.pellucid"
    with RecordWriter(path, "training", PROVENANCE) as writer:
        writer.add("large", np.zeros(1 << 20, np.uint8), truth="given", meaning="more than any buffer", encoding="raw")
    with open_record(path) as record:
        with path.open("r+b") as file:
            file.truncate(1 << 19)
        with pytest.raises(PellucidError, match=r"r\.pellucid was truncated: chunk large is not whole"):
            record["large"]


def test_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "picture.pellucid"
    for content in (b"", b"\x89PNG\r\n\x1a\n" + bytes(100), b"{}", WHOLE.replace(b"PELLUCID", b"pellucid")):
        path.write_bytes(content)
        with pytest.raises(PellucidError, match=r"cannot read the record .*picture\.pellucid: it is not a Pellucid record"):
            open_record(path)


def row(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda header: header["chunks"][0].update(changes)


SIGNED_AGAIN = [
    (row(offset=8), "'ids' does not begin where"),
    (lambda h: h["chunks"][1].update(offset=h["chunks"][1]["offset"] - 8), "'wide' does not begin where"),  # overlap
    (lambda h: h["chunks"][2].update(stored_bytes=10**6), "before the end of chunk 'text'"),
    (lambda h: h["chunks"].pop(), "bytes follow its last chunk"),
    (row(name="text"), "two chunks are named 'text'"),
    (row(name="../x"), "no valid name"),
    (row(dtype="float128"), "unknown dtype"),
    (row(encoding="brotli"), "cannot have the encoding"),
    (row(encoding="delta+deflate"), "cannot have the encoding"),
    (row(truth="true"), "unknown truth class"),
    (row(shape=[41]), "its shape does not give"),
    (row(shape=[-40]), "no valid shape"),
    (row(shape=[40.0]), "no valid shape"),
    (row(shape=[True]), "no valid shape"),
    (row(shape=[1] * 33), "no valid shape"),
    (row(shape=[0, 2**40], plain_bytes=0), "larger than"),
    (row(shape=[2**40], plain_bytes=2**42), "larger than"),
    (row(shape=[10**6], plain_bytes=4 * 10**6), "stored ones cannot hold"),  # a bomb
    (row(shape="40"), "has a field of the wrong type"),
    (row(source=[1]), "has a field of the wrong type"),
    (row(scale=[0, 1]), "no valid scale"),  # int32
    (row(scale=[0, "1"]), "has a field of the wrong type"),
    (row(scale=[0, 10**400]), "more than 128 bits"),
    (row(dtype="uint8", shape=[160], encoding="deflate", scale=[1, 0]), "no valid scale"),
    (row(triangle=True), "not a triangle: 40 numbers"),
    (row(triangle=1), "has a field of the wrong type"),
    (row(sha256="AB"), "no valid SHA-256"),
    (lambda h: h["chunks"][2].update(shape=[1]), "text with a shape"),
    (lambda h: h["chunks"][0].pop("meaning"), "lacks a field"),
    (lambda h: h.update(chunks=[[]]), "row of its chunk table is not an object"),
    (lambda h: h.update(chunks={}), "no chunk table"),
    (lambda h: h.update(kind="film"), "lacks a kind or provenance"),
    (lambda h: h.update(provenance=None), "lacks a kind or provenance"),
    (lambda h: h["provenance"].pop("model"), "provenance lacks a field"),
    (lambda h: h["provenance"].update(parameters="many"), "no valid parameters"),
    (lambda h: h["provenance"].update(seed="x"), "no valid seed"),
    (lambda h: h["provenance"].update(prompt_ids=["a"]), "no valid prompt_ids"),
    (lambda h: h.update(format="film"), "names another format"),
    (lambda h: h.pop("schema"), "states no schema version"),
    (lambda h: h.update(schema=[True, 0]), "states no schema version"),
]


@pytest.mark.parametrize(("change", "says"), SIGNED_AGAIN, ids=[says for _, says in SIGNED_AGAIN])
def test_headers_that_are_signed_again_but_wrong(change: Callable[[dict[str, Any]], Any], says: str) -> None:
    with pytest.raises(PellucidError, match=f"^cannot read the record in memory: .*{says}"):
        open_record(signed_again(change))


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"format": NaN}', b"[" * 100_000, b"\xff", b"9" * 5000])
def test_headers_that_are_no_json(text: bytes) -> None:
    start = struct.pack("<8sII", b"PELLUCID", 1, len(text))
    with pytest.raises(PellucidError, match="cannot read the record in memory: "):
        open_record((start + sha256(start + text).digest() + text).ljust(10**6 // 8 * 8, b"\0"))


def test_chunks_that_are_signed_again_but_wrong() -> None:
    def replaced(stored: bytes, **changes: Any) -> bytes:
        def change(header: dict[str, Any]) -> None:
            header["chunks"] = header["chunks"][:1]
            header["chunks"][0].update(stored_bytes=len(stored), sha256=sha256(stored).hexdigest(), **changes)

        return signed_again(change, stored)

    assert open_record(replaced(zlib.compress(bytes(160))))["ids"].tolist() == [0] * 40  # tampering: verify's business
    bad = [
        (replaced(bytes(20)), "cannot be decompressed"),
        (replaced(zlib.compress(bytes(1 << 20))), "more than the 160 bytes"),
        (replaced(zlib.compress(b"\xff" * 9), dtype="utf8", shape=[], plain_bytes=9, encoding="deflate"), "can't decode"),
        (replaced(zlib.compress(b"{"), dtype="json", shape=[], plain_bytes=1, encoding="deflate"), "it is not JSON"),
    ]
    for data, says in bad:
        with pytest.raises(PellucidError, match=f"the record in memory is damaged: chunk ids: .*{says}"):
            open_record(data)["ids"]


def test_a_damaged_record_is_not_copied_into_a_new_one(tmp_path: Path) -> None:
    damaged = open_record(WHOLE[:-1] + bytes([WHOLE[-1] ^ 1]))
    with pytest.raises(PellucidError, match="chunk text is not what was written"):
        extend(damaged, tmp_path / "r.pellucid", [Chunk(name="x", value=1, truth="given", meaning="x")])
    assert not list(tmp_path.iterdir())


def test_newer_versions() -> None:
    def newer_minor(header: dict[str, Any]) -> None:
        header.update(schema=[1, 7], mood="blue")
        header["provenance"]["weather"] = "fine"
        header["chunks"][0]["colour"] = "red"

    record = open_record(signed_again(newer_minor))
    assert record["ids"].tolist() == list(range(40)) and record.provenance == PROVENANCE
    longer = extend(record, io.BytesIO(), [Chunk(name="x", value=1, truth="given", meaning="x")])
    assert longer.header["schema"] == [1, 7] and longer.header["provenance"]["weather"] == "fine"  # nothing is lost
    with pytest.raises(PellucidError, match=r"in memory: its schema 2\.0 is newer than this Pellucid.*update"):
        open_record(signed_again(lambda header: header.update(schema=[2, 0])))
    with pytest.raises(PellucidError, match=r"layout 2 is newer than this Pellucid.*update"):
        open_record(WHOLE[:8] + struct.pack("<I", 2) + WHOLE[12:])


def test_older_versions_migrate(monkeypatch: pytest.MonkeyPatch) -> None:
    def older(header: dict[str, Any]) -> None:
        header.update(schema=[0, 4])
        header["chunks"][0]["name"] = "tokens"

    with pytest.raises(PellucidError, match=r"schema 0\.4, which this Pellucid cannot read"):
        open_record(signed_again(older))

    def from_0(header: dict[str, Any]) -> dict[str, Any]:
        names = {"tokens": "ids"}
        chunks = [chunk | {"name": names.get(chunk["name"], chunk["name"])} for chunk in header["chunks"]]
        return header | {"schema": [1, 0], "chunks": chunks}

    monkeypatch.setitem(MIGRATIONS, 0, from_0)
    record = open_record(signed_again(older))
    assert record["ids"].tolist() == list(range(40)) and record.header["schema"] == [1, 0]

    old = {"schema": [0, 0], "chunks": []}
    steps = {0: lambda h: h | {"schema": [1, 0]}, 1: lambda h: h | {"schema": [2, 0], "new": True}}
    assert migrate(old, steps, newest=2) == {"schema": [2, 0], "chunks": [], "new": True}
    assert old == {"schema": [0, 0], "chunks": []}
