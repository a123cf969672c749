"""Verifying attention: rows that were rounded more than their weights allow are caught."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from cases import cases
from hypothesis import assume, given
from hypothesis import strategies as st
from tampering import signed_again

import pellucid
from pellucid.cli import main
from pellucid.gpt.pattern import Banded, Dense
from pellucid.interpret import Report
from pellucid.record import StoredArray


def bad(report: Report) -> set[str]:
    return {row.chunk for row in report.chunks if not row.ok}


@cache
def untrained(dtype: Any) -> tuple[pellucid.GPT, pellucid.Record]:
    config = pellucid.GPTConfig(vocab_size=61, n_ctx=160, n_layers=2, d_model=24, n_heads=3, pattern=(Dense(), Banded(70)))
    model = pellucid.GPT(config, seed=1).eval()
    prompt = [i * i % 61 for i in range(150)]
    record = pellucid.xray(model, prompt, keep="attention", max_tokens=4, seed=1, record_dtype=dtype)
    assert record.verify(model).ok
    return model, record


@cases(20)
@given(st.sampled_from(["zero", "coarser", "scaled"]), st.integers(0, 10**6), st.sampled_from([None, "float32"]))
def test_a_row_that_no_longer_sums_to_one_is_caught(what: str, place: int, dtype: Any) -> None:
    """The heads of an untrained model are nearly uniform: each weight alone is near the tolerance of a coarse step."""
    model, record = untrained(dtype)
    name = f"generation/attention/{place % 2}"
    triangles = record.stored(name).copy()
    q = 60 + place % (record[name].shape[-1] - 60)
    row = triangles[place % 3, q * (q + 1) // 2 :][: q + 1]
    assert row.max() < 0.03
    before = row.astype(float).sum()
    row[:] = {"zero": row * 0, "coarser": np.rint(row * 255) / 255, "scaled": row * 0.97}[what]
    assume(abs(row.astype(float).sum() - before) > 0.025)  # 64 equal weights are nearly 4/255 each
    liar = signed_again(record, {name: StoredArray(triangles, record.entry(name).dtype, triangle=True)})
    assert bad(liar.verify(model)) == {name}


def test_commands_record_and_verify_float32(tiny_run: Path, tmp_path: Path) -> None:
    sizes = []
    for dtype in ([], ["--record-dtype", "float32"]):
        file = tmp_path / "fox.pellucid"
        command = ["xray", "the fox", "-m", str(tiny_run), "--max-tokens", "6", "--seed", "1", "--out", str(file)]
        assert main([*command, *dtype]) == 0
        assert main(["verify", str(file), "-m", str(tiny_run)]) == 0
        with pellucid.open(file) as record:
            assert record.entry("generation/attention/1").dtype == ("float32" if dtype else "float16")
        sizes.append(file.stat().st_size)
    assert sizes[1] > sizes[0]
