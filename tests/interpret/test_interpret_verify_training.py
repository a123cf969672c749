"""Verifying a training record: the truth passes, every changed number is caught, and what cannot be checked is said."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tampering import signed_again

import pellucid
from pellucid.cli import main
from pellucid.corpus import Document
from pellucid.errors import PellucidError
from pellucid.interpret import Report
from pellucid.record import StoredArray, check
from pellucid.text.tokenizer import END_OF_TEXT, Numbering, Tokenizer
from pellucid.training import checkpoint


CONFIG = pellucid.GPTConfig(vocab_size=300, n_ctx=32, n_layers=2, d_model=48, n_heads=2, pattern=("banded(8)", "dense"))
STEPS = 12
SAMPLE_KEYS = ("step", "tokens", "prompt", "ids", "text")


def train(documents: list[Document], out: Path, **options: Any) -> Path:
    common = {"config": CONFIG, "steps": STEPS, "batch_tokens": 128, "checkpoint_every": 3, "seed": 7, "dtype": "float32"}
    options = common | options
    return pellucid.train(documents, out, learning_rate=1e-2, **options).path


@pytest.fixture(scope="module")
def run(documents: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded run. To be read, not changed."""
    return train(documents, tmp_path_factory.mktemp("recorded") / "run", config=CONFIG.replace(dropout=0.1))


def read(run: Path) -> pellucid.Record:
    return pellucid.open((run / "training.pellucid").read_bytes())


@pytest.fixture(scope="module")
def record(run: Path) -> pellucid.Record:
    return read(run)


def bad(report: Report) -> set[str]:
    return {row.chunk for row in report.chunks if not row.ok}


def part(report: Report) -> set[str]:
    return {row.chunk for row in report.chunks if row.unchecked}


def test_the_truth_passes_and_what_could_not_be_checked_is_said(run: Path, record: pellucid.Record) -> None:
    with pellucid.open(run / "training.pellucid") as found:
        report = found.verify()  # the run is where the record lies
    assert report.ok and not report.complete and [row.chunk for row in report.chunks] == list(record)
    rows = {row.chunk: row for row in report.chunks}
    # Weights are left of step 0 (the seed), 1 (the example's), 9 and 12: steps 1, 2 and 10 are taken again.
    assert rows["training/steps/loss"].unchecked == STEPS - 3
    assert "recomputed at 1, 2, 10; 9 others only compared with the run's own log" in rows["training/steps/loss"].note
    assert "at 0, 1, 12;" in rows["training/moments/gradients"].note
    assert "at 0, 1, 9, 12;" in rows["training/held_out/loss"].note
    whole = {row.chunk for row in report.chunks if not row.unchecked}
    assert whole >= {name for name in record if "/example/" in name or "/stretch/" in name or "pieces" in name}
    assert all(row.difference is not None for row in report.chunks if row.truth != "measured")
    exact = [row for row in report.chunks if row.truth == "replayed" and not row.chunk.endswith("topk_logprobs")]
    assert all(row.difference == 0 for row in exact if not row.chunk.endswith("topk_ids"))  # here: to the bit
    assert "verified in part" in str(report).splitlines()[-1]
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["ok"] is True and values["complete"] is False
    assert "measured" in rows["training/steps/tokens_per_s"].note
    assert signed_again(record, {}).verify(run).ok  # the helper itself changes nothing


def test_a_text_may_end_with_another_token_than_the_last(documents: list[Document], run: Path, tmp_path: Path) -> None:
    tokens = Tokenizer.load(run / "corpus").ranked_tokens()
    first = Numbering(
        ids=tuple(range(1, len(tokens) + 1)), special={0: END_OF_TEXT}, vocab_size=len(tokens) + 1, eot=0
    )  # fmt: skip
    other = train(documents, tmp_path / "run", tokenizer=Tokenizer(tokens, first), steps=2)
    found = read(other)
    assert 0 in found["training/stretch/ids"] and found.verify(other).ok


@pytest.mark.long
def test_products_in_bfloat16(documents: list[Document], tmp_path: Path) -> None:
    out = train(documents, tmp_path / "run", steps=4, dtype="bfloat16")
    record = read(out)
    assert record.provenance.dtype == "bfloat16" and record.verify(out).ok
    loss = record["training/steps/loss"].copy()
    loss[0] += 0.5
    assert bad(signed_again(record, {"training/steps/loss": loss}).verify(out)) == {"training/steps/loss"}


def tampered(record: pellucid.Record, name: str, place: int) -> Any:
    """The chunk with one number changed, as little as no rounding would."""
    entry = record.entry(name)
    if name == "training/samples":
        lines = [dict(line) for line in record[name]]
        one = lines[place % len(lines)]
        one["text" if place % 2 else "ids"] = f"{one['text']}!" if place % 2 else [*one["ids"][:-1], 7]
        return lines
    array = record.stored(name).copy()
    at = np.unravel_index(place % array.size, array.shape)
    if entry.scale:
        array[at] = array[at] + 2 if array[at] < 200 else array[at] - 2
        return StoredArray(array, entry.dtype, entry.scale)
    if name.endswith("topk_ids"):
        array[at] = next(token for token in range(300) if token not in array)
    elif name == "training/example/track":
        array[at] = record["training/example/loss"][1].argmax()  # the worst of all
    elif array.dtype.kind in "iu":
        array[at] += 1
    else:
        array[at] = 0.5 if np.isnan(array[at]) else array[at] * 1.02 + 0.02
    return array


@pytest.mark.long
def test_every_changed_number_is_caught(run: Path, record: pellucid.Record) -> None:
    """All chunks at once, each at one place: each has a row of its own. Then the next place."""
    names = [name for name in record if record.entry(name).dtype != "json" and record.entry(name).truth != "measured"]
    names.append("training/samples")
    follow = {"training/example/track", "training/example/topk_ids", "training/example/topk_logprobs"}
    for third in range(4):
        for group in (set(names) - follow, follow - {"training/example/track"}, {"training/example/track"}):
            changes = {}
            for name in group:
                size = len(record[name]) if name == "training/samples" else record.stored(name).size
                changes[name] = tampered(record, name, (0, size // 3, size // 2, size - 1)[third])
            liar = signed_again(record, changes)
            check(liar)
            report = liar.verify(run)
            assert group <= bad(report), (third, group - bad(report))
            assert "not verified" in str(report).splitlines()[-1]


@pytest.fixture(scope="module")
def unlogged(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run without its own log: numbers are compared with recomputed ones alone."""
    copy = tmp_path_factory.mktemp("unlogged") / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("metrics.jsonl", "moments"))
    return copy


@pytest.mark.long
def test_the_tolerance_is_what_it_says(unlogged: Path, record: pellucid.Record) -> None:
    name = "training/steps/loss"

    def off_by(difference: float) -> Any:
        changed = record[name].copy()
        changed[0] += difference
        return next(row for row in signed_again(record, {name: changed}).verify(unlogged).chunks if row.chunk == name)

    tolerance = off_by(1.0).tolerance
    assert 0 < tolerance < 0.01
    assert off_by(0.7 * tolerance).ok and not off_by(1.3 * tolerance).ok


def test_another_rule_for_the_followed_position_is_caught(unlogged: Path, record: pellucid.Record) -> None:
    name = "training/example/corrected"
    other = 1 - int(record[name])
    assert name in bad(signed_again(record, {name: np.array(other)}).verify(unlogged))


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_no_number_is_caught(run: Path, record: pellucid.Record, number: float) -> None:
    names = [n for n in record if record.entry(n).dtype.startswith("float") and record.entry(n).truth != "measured"]
    changes = {}
    for name in names:
        changes[name] = record[name].copy()
        changes[name].reshape(-1)[0] = number
    assert bad(signed_again(record, changes).verify(run)) >= set(names)


OTHER_JSON = ([1], {}, [{}], [["x"]], None, 1, [{"ids": 1, "prompt": 2}], [dict.fromkeys(SAMPLE_KEYS, 1)])


@pytest.mark.parametrize("value", OTHER_JSON, ids=json.dumps)
def test_json_of_another_form_is_caught(run: Path, record: pellucid.Record, value: object) -> None:
    for name in ("training/plan", "training/matrices", "training/samples"):
        try:
            assert name in bad(signed_again(record, {name: value}).verify(run))
        except PellucidError as error:
            assert name.removeprefix("training/") in str(error)


def test_speeds_are_compared_with_the_log_alone(run: Path, unlogged: Path, record: pellucid.Record) -> None:
    name = "training/steps/tokens_per_s"
    assert bad(signed_again(record, {name: record[name] * 3}).verify(run)) == {name}
    assert signed_again(record, {name: record[name] * 3}).verify(unlogged).ok
    assert bad(signed_again(record, {name: -record[name]}).verify(unlogged)) == {name}


def test_the_log_must_be_equalled_even_where_the_step_is_replayed(run: Path, unlogged: Path, record: pellucid.Record) -> None:
    """A loss within its tolerance of the replayed one, but not what `metrics.jsonl` says, has been changed."""
    name = "training/steps/loss"
    changed = record[name].copy()
    changed[0] *= 1 + 1e-6
    liar = signed_again(record, {name: changed})
    assert liar.verify(unlogged).ok and bad(liar.verify(run)) == {name}


def test_without_its_notes_and_checkpoints_little_is_checked(run: Path, record: pellucid.Record, tmp_path: Path) -> None:
    """Nothing that could not be checked is called checked; the first weights are always there."""
    bare = tmp_path / "bare"
    shutil.copytree(run, bare)
    for name in ("moments", "checkpoints", "example", "model"):
        shutil.rmtree(bare / name)
    (bare / "metrics.jsonl").unlink()
    report = record.verify(bare)
    rows = {row.chunk: row for row in report.chunks}
    assert report.ok
    assert rows["training/steps/loss"].note == "recomputed at 1; 11 others not checked: their checkpoints are gone"
    for name in ("training/example/loss", "training/stretch/loss"):
        assert rows[name].unchecked and rows[name].difference is None and "not checked" in rows[name].note
    changed = {name: record[name].copy() for name in ("training/steps/loss", "training/moments/weights")}
    for value in changed.values():
        value[0] += 0.1
    assert bad(signed_again(record, changed).verify(bare)) == set(changed)


def test_the_model_directory_stands_in_for_the_last_checkpoint(run: Path, record: pellucid.Record, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints")
    report = record.verify(copy)
    assert report.ok and "at 0, 1, 12;" in next(r.note for r in report.chunks if r.chunk == "training/window/loss")


def test_a_record_from_the_middle_of_a_run(documents: list[Document], tmp_path: Path) -> None:
    asked = iter([False] * 6 + [True])
    out = train(documents, tmp_path / "run", stop=lambda: next(asked))
    early = read(out)
    assert early.provenance.step == 7 and early.verify(out).ok
    pellucid.train([], out, resume=True)
    report = early.verify(out)  # its newest checkpoint is gone by now
    assert report.ok and "training/stretch/loss" in part(report)


REFUSED: dict[str, Callable[[pellucid.Record, Path], object]] = {
    "its plan says seed 6, the run's says 7": lambda r, p: signed_again(
        r, {"training/plan": r["training/plan"] | {"seed": "6"}}
    ),
    "training/plan is not a plan": lambda r, p: signed_again(r, {"training/plan": [1]}),
    "names another seed than": lambda r, p: signed_again(r, {}, dataclasses.replace(r.provenance, seed=6)),
    "names another config than": lambda r, p: signed_again(
        r, {}, dataclasses.replace(r.provenance, config=dict(r.provenance.config) | {"n_ctx": 31})
    ),
    "names another tokenizer than": lambda r, p: signed_again(r, {}, dataclasses.replace(r.provenance, tokenizer="0" * 64)),
    "it names the model 0000": lambda r, p: signed_again(r, {}, dataclasses.replace(r.provenance, model="0" * 64)),
    "states 11 steps and holds 12": lambda r, p: signed_again(r, {}, dataclasses.replace(r.provenance, step=11)),
}


@pytest.mark.parametrize("says", list(REFUSED))
def test_other_runs_are_refused(run: Path, record: pellucid.Record, says: str) -> None:
    liar = REFUSED[says](record, run)
    assert isinstance(liar, pellucid.Record)
    with pytest.raises(PellucidError, match=says):
        liar.verify(run)


def test_another_run_s_directory_is_refused(
    documents: list[Document], record: pellucid.Record, run: Path, tmp_path: Path
) -> None:
    other = train(documents, tmp_path / "other", steps=1)
    with pytest.raises(PellucidError, match=r"of another run than .*other: its plan says"):
        record.verify(other)
    texts = [Document("x", documents[0].text[::-1]), *documents[1:]]
    text = train(texts, tmp_path / "text", config=CONFIG.replace(dropout=0.1))
    with pytest.raises(PellucidError, match="of another run"):
        record.verify(text)
    with pytest.raises(PellucidError, match=r"verified with its run's directory .*give the run \(on the command line -m RUN\)"):
        record.verify(tmp_path)
    with pytest.raises(PellucidError, match="lies in no run's directory"):
        record.verify()
    with pytest.raises(PellucidError, match="not with a model alone"):
        record.verify(pellucid.load(run))


def test_a_damaged_checkpoint_is_named(run: Path, record: pellucid.Record, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    newest = checkpoint.newest(copy)
    assert newest is not None
    weights = newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(PellucidError, match="damaged or truncated"):
        record.verify(copy)


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run / "training.pellucid"
    assert main(["verify", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("verified in part")
    away = tmp_path / "away.pellucid"
    shutil.copyfile(file, away)
    assert main(["verify", str(away)]) == 1
    out, err = capsys.readouterr()
    assert not out and "-m RUN" in err and len(err.splitlines()) == 1
    assert main(["verify", str(away), "-m", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"] is False
    away.write_bytes(file.read_bytes()[:-100])
    assert main(["verify", str(away), "-m", str(run)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
