"""The reader that docs/record.md gives reads what the library writes."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.record import Provenance, RecordWriter, as_bfloat16, as_triangle, as_uint8, open_record
from pellucid.record.encoding import ENCODINGS, NUMBERS, TEXTS, allowed
from pellucid.record.entry import TRUTHS


PAGE = (Path(__file__).parents[2] / "docs" / "record.md").read_text(encoding="utf-8")


def everything() -> bytes:
    """Each dtype in each encoding."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    provenance = Provenance(pellucid="0.1.0", model="m", config={"n_layers": 1}, parameters=1, dtype="float32", seed=1)
    with RecordWriter(buffer, "training", provenance) as writer:
        for dtype, plain in NUMBERS.items():
            numbers = rng.normal(0, 50, (6, 5)).astype(np.float32)
            value: Any = as_bfloat16(numbers) if dtype == "bfloat16" else np.abs(numbers).astype(plain)
            for encoding in ENCODINGS:
                if allowed(encoding, dtype, (6, 5)):
                    writer.add(f"{dtype}/{encoding.replace('+', '-')}", value, truth="given", meaning="x", encoding=encoding)
        writer.add("steps", as_uint8(rng.normal(size=(3, 4))), truth="given", meaning="x")
        writer.add("triangle", as_triangle(np.tri(4) / 4), truth="given", meaning="x")
        writer.add("empty", np.zeros((0, 3), np.uint8), truth="given", meaning="x", encoding="delta+deflate")
        writer.add("utf8", "é", truth="given", meaning="x")
        writer.add("json", {"a": [1, None]}, truth="given", meaning="x")
    return buffer.getvalue()


def test_the_reader_of_the_page_reads_records() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    names: dict[str, Any] = {}
    exec(code, names)  # what the page tells a person to run
    data = everything()
    header, chunks = names["read_record"](data)
    record = open_record(data)
    assert header == record.header and list(chunks) == record.names()
    for name in record:
        if record.entry(name).dtype in TEXTS:
            assert chunks[name] == record[name]
        else:
            stored = record[name] if name.startswith("bfloat16") else record.stored(name)
            assert chunks[name] == stored.ravel().tolist(), name
    with pytest.raises(AssertionError, match="header is damaged"):
        names["read_record"](data.replace(b"steps", b"stepz"))


def test_the_page_names_every_word() -> None:
    for word in (*NUMBERS, *TEXTS, *ENCODINGS, *TRUTHS, *Provenance.__dataclass_fields__):
        assert word in PAGE, word


def test_the_header_of_the_page_is_one() -> None:
    row = re.search(r'\{"name": "generation/steps/topk_ids".*?\}', PAGE, re.S)
    assert row and set(json.loads(row[0])) == {
        "name", "dtype", "shape", "encoding", "offset", "stored_bytes", "plain_bytes", "sha256", "truth", "meaning", "unit",
    }  # fmt: skip
