"""The demo from start to end, on little text and in little time."""

import json
from pathlib import Path

import pytest

import pellucid
from pellucid.cli import demo, main


@pytest.mark.long
def test_the_demo_leaves_what_it_promises(
    stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "FINETUNE_SECONDS", 2.0)
    out = tmp_path / "my [bold] demo"  # a name that is neither markup nor one shell word
    assert main(["demo", "--text", str(stories), "--seconds", "5", "--out", str(out), "--no-serve", "--json"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told["trained"]["loss"] < told["trained"]["first_loss"]
    assert told["trained"]["run"] == str(out / "run")
    assert told["tuned"]["examples"] == 100
    assert 0 <= told["tuned"]["right_before"] <= 100
    for heading in ("1. Training", "2. Generating", "3. Fine-tuning", "4. Seen through", "5. Yours"):
        assert heading in printed.err
    assert f"pellucid generate -m '{out / 'run'}'" in printed.err
    summary = (out / "summary.md").read_text(encoding="utf-8")
    assert "| 777 => |" in summary or "numbers that it was not trained on" in summary
    for run in ("run", "tuned"):
        assert pellucid.load(out / run).generate("the", max_tokens=2, seed=1).ids
    assert (out / "tuned" / "base" / "model.safetensors").exists()


def test_a_demo_that_cannot_start_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--text", "missing.txt"]) == 1
    assert capsys.readouterr().err == (
        "pellucid: there is no file or folder 'missing.txt'\n"
    )
    assert main(["demo", "--seconds", "1"]) == 1
    assert not any(tmp_path.iterdir())


def test_a_run_slower_than_planned_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 0.0, 5.0, 5.0, 13.1, 13.1])
    monkeypatch.setattr("pellucid.cli.demo.time.monotonic", lambda: next(now))
    stop = demo.Deadline(lambda: False, 10.0)
    assert [stop(), stop(), stop()] == [False, False, True]
    assert demo.Deadline(lambda: True, 10.0).stop_requested()
