"""A run and records of an earlier version, kept in `tests/golden/earlier_run.tar.xz`: they resume and verify.

The run trained 3 of its 6 steps (2 blocks of width 4, context 16, seed 5) when all first weights still came from one
generator in the order of the parameters. `generation.pellucid` is an x-ray of its model.
"""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

import pellucid


ARCHIVE = Path(__file__).resolve().parents[1] / "golden" / "earlier_run.tar.xz"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE, "r:xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "earlier_run"


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_its_records_verify(run: Path) -> None:
    with pellucid.open(run / "training.pellucid") as record:
        report = record.verify()
    assert report.ok, report
    with pellucid.open(run / "generation.pellucid") as record:
        report = record.verify(run)
    assert report.ok and report.complete, report


def test_its_attention_is_drawn_as_it_was(run: Path) -> None:
    """Schema 1.0 kept attention in steps of 1/255."""
    with pellucid.open(run / "generation.pellucid") as record:
        assert record.header["schema"] == [1, 0] and record.entry("generation/attention/0").dtype == "uint8"
        weights = record["generation/attention/1"]
        assert np.array_equal(weights, (np.rint(weights.astype(np.float64) * 255) / 255).astype(np.float32))
        film = record.figure("xray")
        arcs = {node["label"] for node in film.at(film.stills()[-1]) if str(node["label"]).startswith("position 4 to position")}
    shares = ("0%", "25%", "25%", "25%", "25%")
    assert arcs == {f"position 4 to position {key}: {share}, mean of 2 heads" for key, share in enumerate(shares)}


def test_it_resumes_and_its_record_verifies_to_the_end(run: Path) -> None:
    before = losses(run)
    assert pellucid.train([], run, resume=True).finished
    after = losses(run)
    assert after[:3] == before and len(after) == 6
    with pellucid.open(run / "training.pellucid") as record:
        report = record.verify()
    assert report.ok, report


def test_without_a_checkpoint_it_begins_again_from_its_own_first_weights(run: Path) -> None:
    before = losses(run)
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    assert pellucid.train([], run, resume=True).finished
    assert losses(run)[:3] == pytest.approx(before, rel=1e-6)
