"""The public functions that compose rooms: records that draw and verify themselves, runs that are recorded and opened again."""

import shutil
from io import BytesIO
from pathlib import Path

import pytest
from models import lively

import pellucid
from pellucid import record as records
from pellucid.corpus import Document
from pellucid.draw import figures
from pellucid.errors import PellucidError
from pellucid.record import Chunk, extend
from pellucid.training.run import train


CONFIG = pellucid.GPTConfig(vocab_size=40, n_ctx=16, n_layers=2, d_model=16, n_heads=2)


@pytest.fixture(scope="module")
def model() -> pellucid.GPT:
    return lively(pellucid.GPT(CONFIG, seed=1))


def test_an_xray_draws_and_verifies_itself_and_stays_so_when_saved_or_extended(model: pellucid.GPT, tmp_path: Path) -> None:
    record = pellucid.xray(model, [1, 2, 3], max_tokens=4, seed=1)
    record.save(tmp_path / "a.pellucid")
    with pellucid.open(tmp_path / "a.pellucid") as opened:
        note = Chunk(name="views/note", value="a view", truth="given", meaning="a note")
        for one in (record, opened, extend(opened, BytesIO(), [note])):
            assert type(one) is pellucid.Record
            assert one.verify(model) == pellucid.verify(one, model) and (one.verify(model).ok or "views/note" in one)
            assert one.figure("tokens", width=400) == figures.figure(one, "tokens", width=400)


def test_a_detached_record_is_closed_and_its_file_is_not(model: pellucid.GPT) -> None:
    record: records.Record = pellucid.xray(model, [1], max_tokens=2, seed=1)
    whole = record.to_bytes()
    file = record.detach()
    with pytest.raises(PellucidError, match="the record is closed"):
        record.to_bytes()
    file.seek(0)
    assert file.read() == whole


def test_an_opened_run_is_what_training_returned(tiny_run: Path, documents: list[Document], tmp_path: Path) -> None:
    run = pellucid.open_run(tiny_run)
    assert run.finished and run.step == run.plan.total_steps == 6
    assert run.tokens == run.metrics()[-1].get("tokens", run.tokens) and run.record is not None
    stops = iter([False, True])
    half = pellucid.train(
        documents, tmp_path / "half", config=CONFIG.replace(vocab_size=280), steps=4, batch_tokens=32, stop=lambda: next(stops)
    )
    assert pellucid.open_run(half.path) == half and not half.finished and half.step == 2
    shutil.rmtree(half.path / "checkpoints")
    assert pellucid.open_run(half.path).step == 0
    with pytest.raises(PellucidError, match="no run in"):
        pellucid.open_run(tmp_path / "nothing")


def test_without_a_recorder_training_keeps_no_record(documents: list[Document], tmp_path: Path) -> None:
    config = CONFIG.replace(vocab_size=280)
    plain = train(documents, tmp_path / "plain", config=config, steps=2, batch_tokens=32)
    assert plain.record is None and not plain.plan.record
    recorded = pellucid.train(documents, tmp_path / "recorded", config=config, steps=2, batch_tokens=32)
    assert recorded.record is not None
    with pellucid.open(recorded.record) as record:
        assert record.verify().ok
