"""`pellucid evaluate`: what it prints and writes, and that the same command goes on."""

import json
from pathlib import Path

import pytest

import pellucid
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


def test_priming_is_scored_over_many_questions(tiny_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pairs.jsonl"
    lines = [{"prompt": f"{a} =>", "completion": f" {b}"} for a, b in (("a", "b"), ("c", "d"), ("e", "f"), ("g", "h"))]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    common = ("-m", tiny_run, "--shots", "0,2", "--orders", 2, "--seed", 5, "--json")
    evaluated = ran(capfd, "--tasks", file, *common)
    capfd.readouterr()
    assert main(["prime", str(file), *map(str, common), "--score"]) == 0
    said, table = capfd.readouterr()
    assert json.loads(said) == json.loads(evaluated[1]) and "| pairs | exact_match" in table
    for wrong, line in (
        (("--orders", "2"), "--orders needs --score"), (("--score", "--out", "x"), "--out is for the record of one"),
        (("--score", "--candidates", "10"), "--candidates is for the record of one"),
        (("--score", "--record-dtype", "float16"), "--record-dtype is for the record of one"),
    ):  # fmt: skip
        assert main(["prime", str(file), *wrong]) == 2
        assert line in capfd.readouterr().err


@pytest.mark.long
def test_a_task_is_compared_with_fine_tuning_on_it(tiny_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    task, out = tmp_path / "pairs.jsonl", tmp_path / "out"
    pairs = [(letter, letter) for letter in "abcdefghijklmnop"]
    lines = [{"prompt": a, "completion": b} | ({"example": True} if a > "d" else {}) for a, b in pairs]
    task.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    command = ("--tasks", task, "-m", tiny_run, "--shots", "0,3", "--orders", 2, "--out", out, "--finetune", "--epochs", 1)
    status, said, _ = ran(capfd, *command)
    assert status == 0 and "fine-tuned - 3 shots" in said and "What the examples and fine-tuning add" in said
    values = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    before = {(cell["metric"], cell["shots"]): cell["mean"] for cell in values["cells"]}
    for cell, gain in zip(values["finetuned"], values["finetuned_gains"], strict=True):
        assert gain["mean"] == pytest.approx(cell["mean"] - before[cell["metric"], 3])
    tuned = pellucid.evaluate(pellucid.load(out / "run"), task, shots=0)
    assert [cell["mean"] for cell in values["finetuned"]] == [cell.interval.mean for cell in tuned.cells]
    trained = {json.loads(line)["prompt"] for name in ("examples.jsonl", "held_out.jsonl")
               for line in (out / "run" / name).read_text(encoding="utf-8").splitlines()}  # fmt: skip
    assert trained == {f"{letter} =>" for letter in "efghijklmnop"}  # the queries are not among them
    with pellucid.open(out / "priming.pellucid") as primed, pellucid.open(out / "run" / "finetuning.pellucid") as tuning:
        assert primed["priming/shots"].tolist() == [0, 1, 3] and tuning.kind == "finetuning"
    again = ran(capfd, *command)
    assert again[:2] == (0, said) and "of them kept from before" in again[2]
    for wrong, line in (
        (("--tasks", task, "--finetune"), "--finetune needs --out"), (("--tasks", task, "--epochs", 1), "add --finetune"),
    ):  # fmt: skip
        status, _, progress = ran(capfd, *wrong)
        assert status == 2 and line in progress
    task.write_text("\n".join(json.dumps({"prompt": a, "completion": b}) for a, b in pairs), encoding="utf-8")
    status, _, progress = ran(capfd, *command[:-3], "--finetune")
    assert status == 1 and "has no examples apart from its queries" in progress
