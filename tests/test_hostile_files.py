"""Damaged and hostile files of every kind give one clear error each, and take little memory: see `hostile_files`."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import hostile_files
import numpy as np
import pytest
from cases import TIMES, cases
from generation_records import generation
from hypothesis import given
from hypothesis import strategies as st
from tampering import signed_again

import pellucid
from pellucid.draw.figure_files import draw_figures
from pellucid.draw.film.font import ELLIPSIS, fit, text_width
from pellucid.errors import PellucidError
from pellucid.generation.text_generator import open_text_generator
from pellucid.gpt.config import MAX_LAYERS, MAX_SIZE
from pellucid.serve.studio.sources import SourceCatalog
from pellucid.serve.studio.static_page import write_page
from pellucid.strict_json import MAX_DEPTH, Fields, parse_json


CASES = 48  # of all kinds in turn
SIZES = st.sampled_from([1, 2, 7, 280, 10**6, 10**9, MAX_SIZE])


@pytest.mark.long
@pytest.mark.parametrize("part", range(TIMES))
def test_a_changed_file_of_any_kind_gives_an_error_that_names_it(part: int, tmp_path: Path) -> None:
    """In a process of its own, whose address space is bounded: a big allocation is a failure like another exception."""
    script = Path(hostile_files.__file__)
    seed = 1 + part * CASES if part == 0 else time.time_ns() % 10**9
    ran = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(seed), str(CASES)], capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["cases"] == CASES and min(found["kinds"].values()) >= CASES // len(found["kinds"])
    assert found["failures"] == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@cases(30)
@given(json_values)
def test_what_json_holds_is_parsed_as_python_does(value: object) -> None:
    text = json.dumps(value)
    assert parse_json(text.encode()) == json.loads(text)
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == json.loads(text)


@cases(30)
@given(json_values, st.sampled_from(sorted(hostile_files.RAW)), st.integers(0, 3))
def test_what_json_should_not_hold_is_refused_at_any_depth(value: object, raw: str, depth: int) -> None:
    held: object = raw
    for _ in range(depth):
        held = [value, {"a": held}]
    with pytest.raises(ValueError, match=r"it |its ") as caught:
        parse_json(hostile_files.text_of(held).encode())
    assert len(str(caught.value)) < 500


@cases(20)
@given(st.integers(1, 3 * MAX_DEPTH), st.integers(0, 10**6), st.binary(max_size=40))
def test_the_limits_of_json(depth: int, size: int, garbage: bytes) -> None:
    nested = b"[" * depth + b"]" * depth
    if depth <= MAX_DEPTH:
        assert parse_json(nested) is not None
    else:
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(nested)
    with pytest.raises(ValueError, match="more than 1,000 bytes"):
        parse_json(b" " * (1001 + size % 100), max_bytes=1000)
    with pytest.raises(ValueError, match="more than 62 values"):
        parse_json(b"[" + b"[]," * (32 + size % 200) + b"0]", max_bytes=1000)
    with pytest.raises(ValueError, match="twice"):
        parse_json(json.dumps({"a": 1}).encode()[:-1] + b', "a": 2}')
    try:
        parse_json(garbage)
    except ValueError as error:
        assert str(error)


@cases(30)
@given(json_values, st.sampled_from(["integer", "number", "text", "flag", "list", "integers", "object"]))
def test_a_field_is_of_its_type_or_names_itself(value: object, kind: str) -> None:
    wanted = {
        "integer": type(value) is int and 0 <= value < 2**64, "number": type(value) in (int, float),
        "text": isinstance(value, str),
        "flag": isinstance(value, bool), "list": isinstance(value, list), "object": isinstance(value, dict),
        "integers": isinstance(value, list) and all(type(item) is int and 0 <= item < 2**64 for item in value),
    }[kind]  # fmt: skip
    read = getattr(Fields({"some_field": value}, "a/file.json"), kind)
    if wanted:
        read("some_field")
    else:
        with pytest.raises(PellucidError, match=r"^a/file\.json.*some_field"):
            read("some_field")
    with pytest.raises(PellucidError, match=r"^a/file\.json lacks 'other'"):
        Fields({}, "a/file.json").value("other")


@cases(8)
@given(vocab=SIZES, width=SIZES, positions=SIZES, blocks=st.sampled_from([1, 2, 3, 1000, MAX_LAYERS - 1]))
def test_a_config_that_the_weights_do_not_hold_is_refused_from_their_header(
    tiny_run: Path, tmp_path_factory: pytest.TempPathFactory, vocab: int, width: int, positions: int, blocks: int
) -> None:
    """Nothing of the config's size is made: the vocabulary's table, the names of its tensors, the model."""
    folder = tmp_path_factory.mktemp("huge")
    for file in (tiny_run / "model").iterdir():
        (folder / file.name).symlink_to(file)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    true = {key: config[key] for key in ("vocab_size", "n_embd", "n_positions", "n_layer")}
    asked = {"vocab_size": vocab, "n_embd": 2 * width if width < 10**9 else 10**9, "n_positions": positions, "n_layer": blocks}
    (folder / "config.json").unlink()
    changed = config | asked | {"n_ctx": positions, "n_inner": None, "n_head": 2}
    changed |= {"model_type": "gpt2"} if blocks > 1000 else {"pattern": ["dense"] * blocks}
    (folder / "config.json").write_text(json.dumps(changed), encoding="utf-8")
    assert asked != true
    for read in (pellucid.load, lambda path: open_text_generator(path, kernel="off")):
        with pytest.raises(PellucidError, match=r"the config asks for|asks for .* parameters|lacks the tensor|does not belong"):
            read(folder)


def test_one_bad_file_leaves_the_others(tiny_run: Path, tmp_path: Path) -> None:
    """The studio's list, the figures of a folder and a page: each source on its own."""
    folder = tmp_path / "all"
    folder.mkdir()
    good = generation(steps=2, blocks=2)
    good.save(folder / "good.pellucid")
    (folder / "run").mkdir()
    plan = json.loads((tiny_run / "run.json").read_text(encoding="utf-8"))
    (folder / "run" / "run.json").write_text(json.dumps(plan), encoding="utf-8")
    lines = ['{"step": 1, "tokens": 8, "loss": 2.5}', '{"step": 2, "tokens": 8, "loss": "x"}', "\x00\ufffd", "[]"]
    (folder / "run" / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = (folder / "good.pellucid").read_bytes()
    contents: list[bytes] = [b"", b"PELLUCID", data[:-1], data[:60], bytes(500)]
    for number, content in enumerate(contents):
        (folder / f"bad-{number}.pellucid").write_bytes(content)
    wrong = signed_again(good, {"pieces/ids": [1, 2, 3], "generation/steps/kept": np.zeros((2, 2), np.float32)})
    wrong.save(folder / "wrong.pellucid")
    plans = [b"[" * 5000, b"\xff", b'{"kind": 1, "total_steps": 1e999}', b"[]", b'{"total_steps": -5}']
    for number, content in enumerate(plans):
        (folder / f"run-{number}").mkdir()
        (folder / f"run-{number}" / "run.json").write_bytes(content)
    listed = SourceCatalog([folder]).listing()
    fine = {record["title"] for record in listed["records"] if "problem" not in record}
    assert fine == {"good.pellucid"} and len(listed["records"]) == len(contents) + 2
    assert {run["title"] for run in listed["runs"] if "problem" not in run} == {"run"} and len(listed["runs"]) == 6
    drawn, missing = draw_figures(sorted(folder.glob("*.pellucid")), tmp_path / "out", ["svg"], wanted=["tokens", "xray"])
    assert [one.planned.figure for one in drawn] == ["tokens", "xray"]
    assert {Path(one.figure).name for one in missing} == {path.name for path in folder.glob("*.pellucid")} - {"good.pellucid"}
    page = write_page(tmp_path / "page.html", [], runs=[folder / "run"])
    shown = page.read_text(encoding="utf-8")
    assert json.dumps(lines[0] + "\n")[1:-1] in shown  # the page itself counts and skips damaged lines


@pytest.mark.parametrize("length", [201, 10_000, 1_000_000])
def test_a_long_name_is_refused_before_it_is_laid_out(length: int) -> None:
    record = generation(steps=2, blocks=2)
    named = replace(record.provenance, config=dict(record.provenance.config) | {"name": "n" * length})
    with pytest.raises(PellucidError, match="name must be text of at most 200 characters"):
        signed_again(record, {}, named).figure("tokens")


@cases(30)
@given(st.text(max_size=60), st.floats(0, 400), st.floats(6, 20))
def test_fit_is_the_longest_start_that_fits(text: str, width: float, size: float) -> None:
    starts = [text, *(text[:length].rstrip() + ELLIPSIS for length in range(len(text) - 1, -1, -1))]
    assert fit(text, width, size) == next((start for start in starts if text_width(start, size) <= width), "")
