"""The demo from start to end, on little text and in little time."""

import json
import random
import string
from pathlib import Path

import pytest

import pellucid
from pellucid.cli import demo_chapters, main
from pellucid.corpus import Document
from pellucid.draw.figures import FIGURES
from pellucid.gpt.fingerprint import fingerprint
from pellucid.languages import language


@pytest.mark.long
def test_the_demo_leaves_what_it_promises(
    stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(demo_chapters.FINETUNING, "steps", 2)
    out = tmp_path / "my [bold] demo"  # a name that is neither markup nor one shell word
    assert main(["demo", "--text", str(stories), "--seconds", "5", "--out", str(out), "--live", "--no-serve", "--json"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told["trained"]["loss"] < told["trained"]["first_loss"]
    assert told["trained"]["run"] == str(out / "run")
    assert told["tuned"]["examples"] == 100
    assert 0 <= told["tuned"]["right_before"] <= 100
    for heading in ("1. Training", "2. Writing", "3. Looking inside", "4. Priming", "5. Fine-tuning", "The pictures", "Yours"):
        assert heading in printed.err
    drawn = {path.stem for path in (out / "figures").glob("*.svg")}
    assert drawn >= {name for name, one in FIGURES.items() if one.kind != "plan"}, "a figure of the article is missing"
    for record in ("tale.pellucid", "priming.pellucid", "run/training.pellucid", "tuned/finetuning.pellucid"):
        assert main(["verify", str(out / record)]) == 0, record
    assert f"pellucid generate -m '{out / 'run'}'" in printed.err
    page = (out / "index.html").read_text(encoding="utf-8")
    assert f'"fingerprint":"{fingerprint(pellucid.load())}"' in page and 'id="pellucid-weights">' in page
    summary = (out / "summary.md").read_text(encoding="utf-8")
    assert "| 777 => |" in summary or "numbers that it was not trained on" in summary
    for run in ("run", "tuned"):
        assert pellucid.load(out / run).generate("the", max_tokens=2, seed=1).ids
    assert (out / "tuned" / "base" / "model.safetensors").exists()


@pytest.mark.long
def test_a_text_that_is_learned_by_heart_is_a_lesson(tmp_path: Path) -> None:
    letters = "".join(random.Random(0).choices(string.ascii_lowercase, k=600))  # nothing in it tells how it goes on
    config = pellucid.GPTConfig(n_layers=1, d_model=32, n_heads=2, n_ctx=16, vocab_size=300)

    def trained(name: str, text: str, steps: int) -> pellucid.Run:
        return pellucid.train(
            [Document(name, text)], tmp_path / name, config=config, steps=steps, batch_tokens=128, learning_rate=0.02,
            record=False,
        )  # fmt: skip

    short = trained("short", letters, 80)
    first, second = demo_chapters.overfitting_lesson(short)
    assert "times. On it the loss fell to" in first and "overfitting" in second
    with language("zh"):
        assert "过拟合" in demo_chapters.overfitting_lesson(short)[1]
    assert demo_chapters.overfitting_lesson(trained("long", letters * 40, 2)) == []


def test_a_demo_that_cannot_start_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--text", "missing.txt"]) == 1
    assert capsys.readouterr().err == ("pellucid: there is no file or folder 'missing.txt'\n")
    for seconds in ("1", "1e12", "nan", "inf"):
        assert main(["demo", "--seconds", seconds]) == 1
        assert "--seconds must be from 5 to 604,800" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_advice_on_a_short_text_names_options_of_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short.txt").write_text("the fox ran.", encoding="utf-8")
    assert main(["demo", "--text", str(tmp_path / "short.txt"), "--out", str(tmp_path / "out"), "--no-serve"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "one window takes 129" in line and line.endswith("with --text") and "preset" not in line
    assert not (tmp_path / "out").exists()


def test_a_run_slower_than_planned_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("pellucid.cli.demo_chapters.time.monotonic", lambda: now[0])
    for fewest, expected in ((0, [False, False, "out of time", "out of time"]), (4, [False, False, False, "out of time"])):
        stop, found = demo_chapters.Deadline(lambda: False, 10.0, fewest=fewest), []
        for now[0] in (3.0, 12.9, 13.0, 14.0):
            found.append(stop())
        assert found == expected
    assert demo_chapters.Deadline(lambda: True, 10.0, fewest=9)() is True


@pytest.mark.parametrize("out", ["full", "new/../full", "full/file"])
def test_a_folder_that_holds_something_is_not_written(out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert main(["demo", "--out", str(tmp_path / out), "--text", str(tmp_path / "none"), "--no-serve"]) == 1
    assert "exists: choose another --out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
