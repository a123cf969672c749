"""`pellucid evaluate`: what it prints and writes, and that the same command goes on."""

import json
from pathlib import Path

import pytest

from pellucid.cli import main


def ran(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capfd.readouterr()
    return main(["evaluate", *map(str, arguments)]), *capfd.readouterr()


def test_scores_are_printed_and_kept(tiny_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    task, text, out = tmp_path / "own.jsonl", tmp_path / "text.txt", tmp_path / "scores"
    lines = [{"prompt": a, "completion": b} for a, b in (("a", "b"), ("c", "d"), ("e", "f"))]
    task.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    text.write_text("the fox ran", encoding="utf-8")
    command = ("--tasks", f"{task},{text}", "-m", tiny_run, "--shots", "0,2", "--orders", 2, "--out", out)
    status, said, progress = ran(capfd, *command)
    assert (status, progress.splitlines()[:2]) == (0, ["own, 0 shots: 3 samples", "own, 2 shots: 6 samples"])
    table = (out / "scores.md").read_text(encoding="utf-8")
    assert said.startswith(table) and "scores.json, scores.md" in said.removeprefix(table)
    assert "| own  | exact_match" in table and "| text |" in table and "GPT-3" not in table
    status, said, progress = ran(capfd, *command, "--json")
    assert (status, json.loads(said)) == (0, json.loads((out / "scores.json").read_text(encoding="utf-8")))
    assert "own, 2 shots: 6 samples, 6 of them kept from before" in progress and table in progress
    task.write_text(json.dumps(lines[0]) + "\nno", encoding="utf-8")
    status, said, progress = ran(capfd, *command)
    assert (status, said) == (1, "") and progress.startswith(f"pellucid: {task}, line 2: it is not JSON")


def test_gpt3s_scores_stand_beside_those_of_its_tasks(tiny_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, said, _ = ran(capfd, "--tasks", "two_digit_addition", "-m", tiny_run, "--shots", 0, "--queries", 1)
    assert status == 0 and "| two_digit_addition | 0: 76.9, 1: 99.6, 50: 100 |" in said
