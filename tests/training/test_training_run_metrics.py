"""`metrics.jsonl` that something else has changed: a run goes on and finishes, and readers leave out what is damaged."""

import json
import os
import random
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import MEASURED

import pellucid
from pellucid import events
from pellucid.corpus import Document
from pellucid.errors import PellucidError
from pellucid.runs.metrics import LastLine, last_line
from pellucid.training import checkpoint


CONFIG = pellucid.GPTConfig(vocab_size=258, n_ctx=8, n_layers=1, d_model=4, n_heads=1)
TEXT = [Document("a", "the fox ran over a hill and saw one small bird. " * 8)]
KEPT = 2  # steps of the run before it was stopped, of 4
AGAIN = b'{"step": 1, "tokens": 16, "loss": 2.0, "lr": 1.0, "grad_norm": 1.0, "tokens_per_s": 1.0}'  # not damaged, but a second
GARBAGE = (
    b"\xff\xfe\x80 garbage", b"\0" * 40, b'{"step": 1, "tok', b"{}", b"[]", b"3", b'{"step": -1, "tokens": 0}', b'{"step": 2}',
    b'{"step": 2, "tokens": 1, "loss": "low"}', b'{"step": 1e999, "tokens": 1}', b'{"step": 1, "tokens": 1, "loss": 2.0}',
    AGAIN,
)  # fmt: skip


def lines_of(run: Path) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in read]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped half-way, with lines of a step beyond its checkpoint."""
    out = tmp_path_factory.mktemp("stopped") / "run"

    def kill(event: events.Event) -> None:
        if isinstance(event, events.StepDone) and event.step == KEPT + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pellucid.train(TEXT, out, config=CONFIG, steps=4, batch_tokens=16, checkpoint_every=KEPT, observers=[kill])
    return out


@pytest.fixture(scope="module")
def expected(stopped: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    run = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(stopped, run)
    pellucid.train([], run, resume=True)
    return lines_of(run)


def harmless(data: bytes, draw: random.Random) -> bytes:
    """The same lines as tools write them: another end of lines, a byte order mark, no last newline, blank lines."""
    if draw.random() < 0.5:
        data = data.replace(b"\n", b"\r\n")
    if draw.random() < 0.5:
        data = b"\xef\xbb\xbf" + data
    if draw.random() < 0.3:
        data = data.replace(b"\n", b"\n\n", 1)
    if draw.random() < 0.5:
        data = data.rstrip()
    return data


@pytest.mark.long
@given(st.randoms(use_true_random=False), st.integers(0, 3), st.sampled_from(["kept", "a line is gone", "all", "no file"]))
@cases(8)
def test_a_run_goes_on_after_damage(
    stopped: Path, expected: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory, draw: random.Random, count: int,
    lost: str,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("damaged")
    run = folder / "run"
    shutil.copytree(stopped, run)
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    if draw.random() < 0.5:
        lines = [line for line in lines if json.loads(line)["step"] <= KEPT]  # as long as the checkpoint, or longer
    if lost == "a line is gone":
        del lines[draw.randrange(2, 4)]
    garbage = [draw.choice(GARBAGE) for _ in range(count)]
    for line in garbage:
        lines.insert(draw.randrange(len(lines)), line)  # never last: an unfinished last line is a kill's, and is not reported
    data = harmless(b"\n".join(lines) + b"\n", draw) if lost != "all" else b""
    (run / "metrics.jsonl").write_bytes(data)
    if lost == "no file":
        (run / "metrics.jsonl").unlink()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        opened = pellucid.open_run(run)
        assert opened.step == KEPT
        opened.losses()
    there = lost in ("kept", "a line is gone")
    unreadable = sum(line != AGAIN for line in garbage) if there else 0
    assert len(caught) == (unreadable > 0)
    assert not caught or f"{unreadable} damaged line" in str(caught[0].message)
    seen: list[events.Skipped] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Skipped):
            seen.append(event)

    done = pellucid.train([], run, resume=True, observers=[listen])
    assert done.finished
    after = lines_of(run)  # each is a line of JSON again
    if lost == "kept" and len(garbage) == unreadable:
        assert after == expected
        assert done.record is not None and done.step == 4
    else:
        assert [line for line in after if line["step"] > KEPT] == [line for line in expected if line["step"] > KEPT]
    damaged = [event for event in seen if "damaged line" in event.reason]
    assert len(damaged) == (unreadable > 0)
    assert last_line(run) == LastLine(4, None)
    again: list[events.Event] = []
    assert pellucid.train([], run, resume=True, observers=[again.append]).finished
    assert not [event for event in again if isinstance(event, events.Skipped) and "damaged" in event.reason], "reported once"
    shutil.rmtree(folder)


def test_a_run_that_lost_a_line_goes_on_without_a_record(stopped: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    record = (run / "training.pellucid").read_bytes()
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(line for line in lines if json.loads(line)["step"] != 1))
    seen: list[events.Event] = []
    assert pellucid.train([], run, resume=True, observers=[seen.append]).finished
    said = [event.reason for event in seen if isinstance(event, events.Skipped)]
    assert said == ["it has no line for step 1, so this run is not recorded any more; its record stays as it is"]
    assert (run / "training.pellucid").read_bytes() == record


@given(st.randoms(use_true_random=False), st.sampled_from(["cut", "empty", "garbage", "gone", "another file"]), st.booleans())
@cases(6)
def test_a_run_that_lost_statistics_goes_on_without_a_record(
    stopped: Path, tmp_path_factory: pytest.TempPathFactory, draw: random.Random, how: str, finished: bool
) -> None:
    """Also one that is finished but for its record, as after a kill at its very end."""
    folder = tmp_path_factory.mktemp("lost")
    run = folder / "run"
    shutil.copytree(stopped, run)
    if finished:
        pellucid.train([], run, resume=True)
        (run / "training.pellucid").unlink()
    path = draw.choice(sorted((run / "moments").iterdir())[: KEPT if not finished else 4])
    data = path.read_bytes()
    damaged = {
        "cut": data[: draw.randrange(len(data))], "empty": b"", "garbage": b"\xff" * 100,
        "another file": (run / "model" / "model.safetensors").read_bytes(),
    }  # fmt: skip
    path.unlink()
    if how in damaged:
        path.write_bytes(damaged[how])
    seen: list[events.Event] = []
    for _ in range(2):
        assert pellucid.train([], run, resume=True, observers=[seen.append]).finished
        said = [event.reason for event in seen if isinstance(event, events.Skipped)]
        assert said[-1].endswith("so this run is not recorded any more; its record stays as it is")
    shutil.rmtree(folder)


@pytest.mark.parametrize("number", checkpoint.NO_DAMAGE)
def test_a_file_that_cannot_be_read_now_is_not_called_damaged(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """What is whole is not to be removed."""
    run = tmp_path / "run"
    shutil.copytree(stopped, run)

    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    for name in ("read_json", "load_file"):
        with monkeypatch.context() as patch, pytest.raises(PellucidError, match=r"^cannot read [^;]*$") as raised:
            patch.setattr(checkpoint, name, fails)
            pellucid.train([], run, resume=True)
        assert os.strerror(number) in str(raised.value)
    assert pellucid.train([], run, resume=True).finished


def test_the_example_s_checkpoint_is_none_to_go_on_from(stopped: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    pellucid.train([], run, resume=True)
    (example,) = (run / "example").iterdir()
    (example / "state.json").write_text("{", encoding="utf-8")
    with pytest.raises(PellucidError, match=r"numbers of its step are not recomputed$"):
        pellucid.verify(run / "training.pellucid")
    shutil.rmtree(example)
    assert pellucid.verify(run / "training.pellucid").ok


@pytest.mark.parametrize("reason", ["interrupted", "out of time"])
def test_the_last_line_says_why_a_run_ended_early_until_it_goes_on(tmp_path: Path, reason: str) -> None:
    run, took = tmp_path / "run", []

    def stop() -> bool | events.StopReason:
        took.append(1)
        return len(took) == 2 and (True if reason == "interrupted" else "out of time")

    seen: list[events.Event] = []
    options: dict[str, Any] = {"config": CONFIG, "batch_tokens": 16, "observers": [seen.append], "record": False}
    first = pellucid.train(TEXT, run, steps=4, stop=stop, **options)
    assert not first.finished and first.step == 2
    assert lines_of(run)[-1] == {"step": 2, "tokens": first.tokens, "ended": reason}
    assert last_line(run) == LastLine(2, reason)
    assert seen[-1] == events.RunFinished(2, first.tokens, reason)
    assert pellucid.train([], run, resume=True).finished
    assert last_line(run) == LastLine(4, None)
    assert not [line for line in lines_of(run) if "ended" in line]
