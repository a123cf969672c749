"""What the page's reader of records reads (studio/src/record) is what Python wrote: one golden record holds both to it.

    python tests/studio/test_studio_record.py    writes tests/golden/record_kinds.pellucid and .json anew
"""

import base64
import json
import math
import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from node import STUDIO, require_node_packages

from pellucid.record import (
    Provenance,
    Record,
    RecordWriter,
    StoredArray,
    as_bfloat16,
    as_triangle,
    as_uint8,
    open_record,
)
from pellucid.text import piece


GOLDEN = Path(__file__).parents[1] / "golden" / "record_kinds"
PIECES = [
    b" king", b"\n", b"\t\r", b"\xe9", b"\xc3\xa9", b"\xe2\x80", b"\xe2\x80\x8b", b"\xf0\x9f\xa6\x8a", b"\xf0\x9f\xa6",
    b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\x1b[0m", b"a\x00b", b"\xc2\xa0", b"\xef\xbb\xbf",
    b"<script>alert(1)</script>", b"\xe4\xb8\xad\xff", b"\xf3\xa0\x80\x81", b"",
]  # fmt: skip


def golden() -> bytes:
    """A record with every dtype, every encoding, a scale and triangles."""
    named = Provenance(
        pellucid="0.1.0", model="f" * 64, config={"n_layers": 1, "n_heads": 2, "d_model": 4}, parameters=1, dtype="float32"
    )
    wave = np.array([(i * 7919 % 101 - 50) * 2.0 ** (i % 19 - 9) for i in range(60)])  # exact everywhere
    causal = np.tril(np.ones((2, 5, 5))) / np.arange(1, 6)[:, None]
    buffer = BytesIO()
    with RecordWriter(buffer, "generation", named) as writer:

        def add(name: str, value: Any, encoding: str | None = None) -> None:
            writer.add(f"kinds/{name}", value, truth="given", meaning="for tests", encoding=encoding)

        for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float16", "float32", "float64"):
            start = 0 if name.startswith("uint") else -30
            numbers = wave if name.startswith("float") else np.arange(start, start + 60) * (1 if name.endswith("t8") else 397)
            add(name, numbers.astype(name).reshape(3, 20))
            add(f"{name}-raw", numbers.astype(name), "raw")
        add("odd", np.array([np.nan, np.inf, -np.inf, -0.0], np.float32))
        add("bfloat16", as_bfloat16(wave.astype(np.float32).reshape(6, 10)))
        add("steps", as_uint8(wave))
        add("delta", as_uint8(np.cumsum(np.ones((5, 4, 3)), axis=0), 0.0, 10.0), "delta+deflate")
        codes = np.rint(causal[:, *np.tril_indices(5)] * 255).astype(np.uint8)
        add("triangles", StoredArray(codes, "uint8", (0.0, 1.0), triangle=True))  # attention in schema 1.0
        add("triangles16", as_triangle(causal))
        add("triangles32", as_triangle(causal, "float32"))
        add("json", {"piece": "<b>·é</b>", "numbers": [1, 2.5, None]})
        add("text", "not markup: <img src=x onerror=alert(1)>", "deflate")
        add("empty", np.zeros((0, 3), np.int32))
    return buffer.getvalue()


def expected(record: Record) -> dict[str, Any]:
    """What reading gives, as JSON holds it: numbers that are none as text, triangles packed."""
    found: dict[str, Any] = {}
    for name in record:
        entry = record.entry(name)
        if entry.dtype in ("json", "utf8"):
            found[name] = record[name]
            continue
        values = record[name]
        if entry.triangle:
            rows, columns = np.tril_indices(values.shape[-1])
            values = values[..., rows, columns]
        plain = values.ravel().tolist()
        found[name] = [x if isinstance(x, int) or math.isfinite(x) else str(x) for x in plain]
    return found


def everything() -> dict[str, Any]:
    return {
        "chunks": expected(open_record(golden())),
        "pieces": [[list(token), piece(token)] for token in PIECES],
    }


def test_the_golden_record_is_what_python_writes_and_reads() -> None:
    told = json.loads(GOLDEN.with_suffix(".json").read_text(encoding="utf-8"))
    with open_record(GOLDEN.with_suffix(".pellucid")) as record:
        assert expected(record) == told["chunks"]
        assert {record.entry(name).encoding for name in record} == {"raw", "deflate", "shuffle+deflate", "delta+deflate"}
        assert {record.entry(name).dtype for name in record} >= {"bfloat16", "float16", "int64", "json", "utf8"}
        assert isinstance(record.stored("kinds/steps"), np.ndarray) and record.entry("kinds/steps").scale
    assert everything() == told


# In node: attention is the same numbers in both languages.

ANSWER = """
import { createInterface } from "node:readline";
const { PellucidRecord, BufferBytes } = await import(process.argv[1]);
for await (const line of createInterface({ input: process.stdin })) {
  const record = await PellucidRecord.open(new BufferBytes(new Uint8Array(Buffer.from(line, "base64"))));
  const found = {};
  for (const name of record.names()) found[name] = Array.from(await record.numbers(name));
  console.log(JSON.stringify(found));
}
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bytes], dict[str, list[float]]]]:
    """The page's reader of records in node: from a record's bytes to its numbers by chunk, triangles packed."""
    require_node_packages()
    bundle = tmp_path_factory.mktemp("studio") / "record.mjs"
    entry = 'export * from "./src/record/record.ts"; export * from "./src/record/bytes.ts";'
    esbuild = [STUDIO / "node_modules" / ".bin" / "esbuild", "--bundle", "--format=esm", f"--outfile={bundle}"]
    subprocess.run(esbuild, cwd=STUDIO, input=entry, encoding="utf-8", check=True, capture_output=True)
    process = subprocess.Popen(
        ["node", "--input-type=module", "--eval", ANSWER, bundle.as_uri()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None

    def ask(data: bytes) -> Any:
        print(base64.b64encode(data).decode(), file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())  # type: ignore[union-attr]

    yield ask
    process.stdin.close()
    process.wait(30)
    process.stdout.close()


@pytest.mark.long
@cases(40)
@given(st.integers(1, 90), st.integers(1, 3), st.floats(0, 30), st.integers(0, 2**31))
def test_attention_is_the_same_numbers_in_both_languages(
    node: Callable[[bytes], dict[str, list[float]]], positions: int, heads: int, spread: float, seed: int
) -> None:
    scores = np.random.default_rng(seed).normal(0, spread, (heads, positions, positions))
    weights = np.tril(np.exp(scores - scores.max(-1, keepdims=True)))
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    buffer = BytesIO()
    named = Provenance(pellucid="0.1.0", model="m", config={}, parameters=1, dtype="float32")
    with RecordWriter(buffer, "generation", named) as writer:
        for dtype in ("float16", "float32"):
            writer.add(f"attention/{dtype}", as_triangle(weights, dtype), truth="given", meaning="for tests")
    data = buffer.getvalue()
    assert node(data) == expected(open_record(data))


if __name__ == "__main__":
    GOLDEN.with_suffix(".pellucid").write_bytes(golden())
    GOLDEN.with_suffix(".json").write_text(json.dumps(everything(), ensure_ascii=True) + "\n", encoding="utf-8")
