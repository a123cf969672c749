"""The public functions that compose rooms: records that draw and verify themselves, runs that are recorded and opened again."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
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


def test_a_record_is_a_mapping_of_chunks(model: pellucid.GPT) -> None:
    record = pellucid.xray(model, [1, 2, 3], max_tokens=4, seed=1)
    assert isinstance(record, Mapping)
    names = list(record)
    assert names == list(record.keys()) == record.names() and len(names) == len(record) == len(record.values())
    for name, value in record.items():
        assert isinstance(value, np.ndarray) and np.array_equal(value, record[name]) and name in record
        assert not value.flags.writeable and np.array_equal(record.get(name), value)
    assert {**record}.keys() == set(names)
    for missing in ("none", 5, None, ["none"]):
        assert missing not in record and record.get(missing, 7) == 7  # type: ignore[call-overload]
        with pytest.raises(KeyError) as raised:
            record[missing]  # type: ignore[index]
        assert isinstance(raised.value, PellucidError) and str(raised.value).endswith("is not in this record (in memory)")
    again = pellucid.open(record.to_bytes())
    assert record == record and record != again and len({record, again}) == 2


def test_the_losses_of_a_run_are_arrays(tiny_run: Path, tmp_path: Path) -> None:
    run = pellucid.open_run(tiny_run)
    lines = run.metrics()
    for curve, name in ((run.losses(), "loss"), (run.held_out(), "held_out_loss")):
        steps, tokens, values = curve
        chosen = [line for line in lines if name in line]
        assert chosen and steps.shape == tokens.shape == values.shape == (len(chosen),)
        assert (steps.dtype, tokens.dtype, values.dtype) == (np.int64, np.int64, np.float64)
        for part, key in zip(curve, ("step", "tokens", name), strict=True):
            assert part.tolist() == [line[key] for line in chosen]
        assert curve.values is values
    assert run.losses().steps.tolist() == [1, 2, 3, 4, 5, 6] and run.held_out().steps[0] == 0
    shutil.copytree(tiny_run, tmp_path / "new")
    (tmp_path / "new" / "metrics.jsonl").unlink()
    assert [len(part) for part in pellucid.open_run(tmp_path / "new").losses()] == [0, 0, 0]


def test_paths_that_are_texts_are_refused_and_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text("a text that is here\n" * 50, encoding="utf-8")
    text = "Once upon a time there was a text. " * 20
    for wrong in ("", text, "Once upon a time"):
        for name, call, arguments in (
            ("corpus", pellucid.train, {"corpus": wrong, "out": "run"}),
            ("held_out", pellucid.train, {"corpus": "book.txt", "out": "run", "held_out": wrong}),
            ("examples", pellucid.finetune, {"examples": wrong, "out": "run"}),
            ("model", pellucid.finetune, {"examples": "book.txt", "out": "run", "model": wrong}),
            ("source", pellucid.load, {"source": wrong}),
            ("path", pellucid.open_run, {"path": wrong}),
        ):
            with pytest.raises(PellucidError) as raised:
                call(**arguments)  # type: ignore[operator]
            said = str(raised.value)
            assert "\n" not in said and len(said) < 500 and (name in said or wrong in said)
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]


BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name="torch")

sys.meta_path.insert(0, Blocker())
import pellucid
from pellucid.cli import main

for name in ("train", "finetune", "load", "GPT", "xray", "verify", "open_run"):
    try:
        getattr(pellucid, name)
    except pellucid.PellucidError as error:
        assert str(error) == f"pellucid.{name} needs PyTorch, which is not installed: pip install torch", error
    else:
        raise AssertionError(name)
sys.exit(max(main(command.split()) == 1 for command in sys.argv[1:]) - 1)
"""


def test_without_torch_one_line_says_so() -> None:
    commands = ["train a --out b", "finetune a --out b", "xray a --out b", "verify a", "convert a b --to gguf", "bench train"]
    done = subprocess.run([sys.executable, "-c", BLOCKED, *commands], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(commands) and all(line.startswith("pellucid: ") for line in lines)
    assert all(line.endswith(" needs PyTorch, which is not installed: pip install torch") for line in lines)


def test_without_a_recorder_training_keeps_no_record(documents: list[Document], tmp_path: Path) -> None:
    config = CONFIG.replace(vocab_size=280)
    plain = train(documents, tmp_path / "plain", config=config, steps=2, batch_tokens=32)
    assert plain.record is None and not plain.plan.record
    recorded = pellucid.train(documents, tmp_path / "recorded", config=config, steps=2, batch_tokens=32)
    assert recorded.record is not None
    with pellucid.open(recorded.record) as record:
        assert record.verify().ok
