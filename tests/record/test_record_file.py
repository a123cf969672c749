"""Records written, read, copied and extended."""

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.errors import PellucidError
from pellucid.record import (
    Chunk,
    MissingChunk,
    Provenance,
    Record,
    RecordWriter,
    as_bfloat16,
    as_triangle,
    as_uint8,
    extend,
    open_record,
)


WORDS: Any = {"truth": "derived", "meaning": "a test"}
PROVENANCE = Provenance(
    pellucid="0.1.0", model="sha256:ab", config={"n_layers": 2, "n_heads": 2, "d_model": 8}, parameters=1234, dtype="float32",
    tokenizer="cd", checkpoint="step-000012", step=12, seed=-(2**63), prompt_ids=(1, 2, 3),
    sampling={"temperature": 0.5, "top_k": None}, machine={"cpu": "two cores"}, created="2026-11-23",
)  # fmt: skip
NUMBERS = np.linspace(-1, 1, 60, dtype=np.float32).reshape(5, 12)


def fill(writer: RecordWriter) -> None:
    attention = np.tril(np.full((2, 4, 4), 0.25))
    writer.add("a/ids", np.arange(1000, dtype=np.int32), **WORDS, unit="tokens", source={"tensor": "ids", "step": 3})
    writer.add("a/wide", as_bfloat16(NUMBERS), **WORDS)
    writer.add("a/steps", as_uint8(NUMBERS), **WORDS, encoding="delta+deflate")
    writer.add("attention/0", as_triangle(attention), truth="derived", meaning="weights")
    writer.add("text", "naïve \U0001f600 <b>", truth="given", meaning="a prompt")
    writer.add("empty", np.zeros((0, 7)), **WORDS)
    writer.add("scalar", np.float64(1.5), truth="measured", meaning="time", unit="s")
    writer.add("json", {"b": [1, 2.5, None, True], "a": "é"}, **WORDS)
    writer.add("large", np.arange(100_000, dtype=np.int64), **WORDS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with RecordWriter(tmp_path / "r.pellucid", "generation", PROVENANCE) as writer:
        fill(writer)
    return tmp_path / "r.pellucid"


def test_what_was_written_is_read(path: Path) -> None:
    with open_record(path) as record:
        assert record.kind == "generation" and record.path == path and record.provenance == PROVENANCE
        assert record["a/ids"].tolist() == list(range(1000)) and record["a/ids"].dtype == np.int32
        assert record["a/wide"].dtype == np.float32 and np.allclose(record["a/wide"], NUMBERS, rtol=2**-8)
        assert record.stored("a/wide").dtype == np.uint16
        assert np.abs(record["a/steps"] - NUMBERS).max() <= 2 / 510 + 1e-7
        assert record["attention/0"].shape == (2, 4, 4) == record.entry("attention/0").logical_shape
        assert record.stored("attention/0").shape == (2, 10) and record.stored("attention/0").dtype == np.float16
        assert record["text"] == "naïve \U0001f600 <b>"
        assert record["empty"].shape == (0, 7)
        assert record["scalar"].shape == () and record["scalar"] == 1.5
        assert record["json"] == {"b": [1, 2.5, None, True], "a": "é"}
        entry = record.entry("a/ids")
        assert (entry.truth, entry.meaning, entry.unit) == ("derived", "a test", "tokens")
        assert entry.source == {"tensor": "ids", "step": 3} and entry.plain_bytes == 4000 > entry.stored_bytes
        assert record.names("a/") == ["a/ids", "a/wide", "a/steps"] and len(record) == len(list(record)) == 9
        assert "text" in record and "text/" not in record
        assert "chunks=9" in repr(record)


def test_arrays_are_read_only_and_json_is_fresh(path: Path) -> None:
    record = open_record(str(path))
    for name in ("a/ids", "a/wide", "a/steps", "attention/0", "large"):
        with pytest.raises(ValueError, match="read-only"):
            record[name][...] = 0
    record["json"]["a"] = "changed"
    assert record["json"]["a"] == "é"
    record.close()
    assert record["a/ids"][-1] == 999  # small: kept
    with pytest.raises(PellucidError, match="is closed"):
        record["large"]


def test_what_is_missing_says_so(path: Path) -> None:
    with open_record(path) as record:
        for read in (record.__getitem__, record.entry, record.stored, record.stored_bytes):
            with pytest.raises(MissingChunk, match=r"^a/nothing is not in this record \(.*r\.pellucid\)$"):
                read("a/nothing")
        with pytest.raises(PellucidError, match="text is text, not numbers"):
            record.stored("text")


def test_the_same_input_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with RecordWriter(buffer, "generation", PROVENANCE) as writer:
        fill(writer)
    assert buffer.getvalue() == path.read_bytes()
    with open_record(buffer) as record:
        record.save(tmp_path / "copy.pellucid")
    assert (tmp_path / "copy.pellucid").read_bytes() == path.read_bytes()
    assert open_record(path.read_bytes())["text"].startswith("na")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["copy.pellucid", "r.pellucid"]


def test_equal_values_are_equal_bytes_whatever_their_order() -> None:
    both = []
    for value in ({"a": 1, "b": [2]}, {"b": [2], "a": 1}):
        both.append(io.BytesIO())
        with RecordWriter(both[-1], "training", PROVENANCE) as writer:
            writer.add("x", value, **WORDS, source=value)
    assert both[0].getvalue() == both[1].getvalue()


def test_saving_in_its_own_place_does_nothing(path: Path, tmp_path: Path) -> None:
    before = path.stat()
    with open_record(path) as record:
        record.save(tmp_path / "." / "r.pellucid")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    with pytest.raises(PellucidError, match="is closed"):
        record.save(tmp_path / "late.pellucid")


def test_a_view_is_added(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    view = Chunk(name="views/norms", value=np.arange(5.0), truth="derived", meaning="norms")
    with open_record(path) as record:
        live = extend(record, io.BytesIO(), [view])
        assert live["views/norms"].tolist() == list(range(5)) and live["text"] == record["text"]
        longer = extend(record, tmp_path / "longer.pellucid", (chunk for chunk in [view]))
        assert path.read_bytes() == before
        assert [longer.stored_bytes(name) for name in record] == [record.stored_bytes(name) for name in record]
        assert longer.provenance == PROVENANCE and longer.names()[-1] == "views/norms"
        with pytest.raises(PellucidError, match="'views/norms' is already in this record"):
            extend(longer, path, [view])
        assert path.read_bytes() == before
        inside = extend(record, path, [view])  # in its own place
        assert path.read_bytes() == (tmp_path / "longer.pellucid").read_bytes()
    for opened in (live, longer, inside):
        opened.save(path)
        opened.close()


@pytest.mark.parametrize("interrupt", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_nothing(tmp_path: Path, interrupt: type[BaseException]) -> None:
    out = tmp_path / "r.pellucid"
    with pytest.raises(interrupt), RecordWriter(out, "training", PROVENANCE) as writer:
        fill(writer)
        raise interrupt
    assert not list(tmp_path.iterdir())
    out.write_bytes(b"before")
    with pytest.raises(interrupt), RecordWriter(out, "training", PROVENANCE) as writer:
        raise interrupt
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"before"]


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in (tmp_path, tmp_path / "none" / "r.pellucid"):
        with pytest.raises(PellucidError, match="cannot write the record"):
            RecordWriter(bad, "training", PROVENANCE)
    writer = RecordWriter(tmp_path / "r.pellucid", "training", PROVENANCE)
    writer.add("x", np.arange(3), **WORDS)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PellucidError, match=r"cannot write the record .*r\.pellucid: No space left"):
        writer.close()
    assert not list(tmp_path.iterdir())


def test_closing_twice(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "r.pellucid", "training", PROVENANCE)
    writer.close()
    writer.close()
    assert len(open_record((tmp_path / "r.pellucid").read_bytes())) == 0


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "a/../b", "..", "a b", "a\n", "é", "a\\b", "x" * 201])
def test_names_that_are_no_paths(name: str) -> None:
    with pytest.raises(PellucidError, match="a name is parts of"):
        RecordWriter(io.BytesIO(), "training", PROVENANCE).add(name, 1, **WORDS)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({1: 2}, "keys must be text"),
        ([float("nan")], r"nan is not in JSON"),
        (2**53, "too large for JSON"),
        ("\ud800", "lone surrogate"),
        (b"bytes", "JSON holds no bytes"),
        ({"a": [np.float32(1)]}, r"a\[0\]: JSON holds no float32"),
        (np.zeros(2, bool), "cannot hold bool"),
    ],
)
def test_values_that_no_record_holds(value: Any, says: str) -> None:
    with pytest.raises(PellucidError, match=says):
        RecordWriter(io.BytesIO(), "training", PROVENANCE).add("x", value, **WORDS)


def test_arguments_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = RecordWriter(io.BytesIO(), "training", PROVENANCE)
    with pytest.raises(PellucidError, match="truth must be one of given"):
        writer.add("x", 1, truth="guessed", meaning="")  # type: ignore[arg-type]
    with pytest.raises(PellucidError, match="cannot have the encoding 'shuffle"):
        writer.add("x", np.zeros(3, np.uint8), **WORDS, encoding="shuffle+deflate")
    with pytest.raises(PellucidError, match="cannot have the encoding 'gzip'"):
        writer.add("x", np.zeros(3, np.uint8), **WORDS, encoding="gzip")
    with pytest.raises(PellucidError, match="JSON holds no set"):
        writer.add("x", 1, **WORDS, source={"steps": {1}})
    monkeypatch.setattr("pellucid.record.writer.MAX_CHUNK_BYTES", 100)
    with pytest.raises(PellucidError, match="split it, or record less"):
        writer.add("x", np.zeros(101, np.uint8), **WORDS)
    assert not writer._entries


def test_reading_needs_no_torch_and_no_pickle(path: Path) -> None:
    code = (
        "import sys, pellucid.record as r\n"
        f"record = r.open_record({str(path)!r})\n"
        "[record[name] for name in record]\n"
        "assert 'torch' not in sys.modules and 'tokenizers' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    for file in (Path(__file__).parents[2] / "src/pellucid/record").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "pickle" not in text and "np.load" not in text and "torch\n" not in text.replace("no torch\n", "")


def test_pickle_is_never_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(*_: object, **__: object) -> None:
        raise AssertionError("pickle was read")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, poisoned)
    with open_record(path) as record:
        assert all(record[name] is not None for name in record)


def test_many_threads_read_one_record(path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with open_record(path) as record, ThreadPoolExecutor(8) as pool:
        whole: list[Any] = list(pool.map(lambda name: (name, record[name]), [*record] * 20))
    assert all(value[-1] == 99_999 for name, value in whole if name == "large")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for bad, says in ((tmp_path / "none.pellucid", "cannot read the record"), (tmp_path, "is a folder: name a record in it")):
        with pytest.raises(PellucidError, match=says):
            open_record(bad)


def test_a_record_is_closed_when_opening_fails() -> None:
    file = io.BytesIO(b"no record")
    with pytest.raises(PellucidError, match="not a Pellucid record"):
        Record(file, None)
    assert file.closed
