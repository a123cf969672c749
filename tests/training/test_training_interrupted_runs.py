"""Two runs that an earlier version began, kept in `tests/golden/interrupted_runs.tar.xz`, end as that version ended them.

`trained` stopped after 18 of 20 steps (a block of width 4; with a batch ramp, masked documents, spikes to skip, patience),
`tuned` after 3 of 6. `expected.jsonl` is the `metrics.jsonl` of the same runs in one go, without what was measured.
"""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from models import MEASURED

import pellucid
from pellucid.runs.plan import Plan


ARCHIVE = Path(__file__).resolve().parents[1] / "golden" / "interrupted_runs.tar.xz"
RESUME = {"train": pellucid.train, "finetune": pellucid.finetune}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE, "r:xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "interrupted_runs"


def lines(path: Path) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in read]


@pytest.mark.parametrize(("name", "kind"), [("trained", "train"), ("tuned", "finetune")])
def test_a_run_of_an_earlier_version_is_resumed(runs: Path, name: str, kind: str) -> None:
    run = runs / name
    before = lines(run / "metrics.jsonl")
    done = RESUME[kind]([], run, resume=True)
    assert done.finished and done.step == done.plan.total_steps
    found, expected = lines(run / "metrics.jsonl"), lines(run / "expected.jsonl")
    assert found[: len(before)] == before == expected[: len(before)]
    assert len(found) == len(expected) > len(before)
    for one, other in zip(found, expected, strict=True):  # sums are rounded otherwise on another processor
        assert {key: one[key] for key in other} == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize(("name", "kind"), [("trained", "train"), ("tuned", "finetune")])
def test_its_plan_is_written_as_it_was(runs: Path, name: str, kind: str) -> None:
    run = runs / name
    text = (run / "run.json").read_text(encoding="utf-8")
    plan = Plan.load(run, kind=kind)
    assert plan.device == "cpu"
    plan.save(run)
    assert (run / "run.json").read_text(encoding="utf-8") == text
