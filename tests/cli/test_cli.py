"""The command line as people and scripts meet it: help, exit status, what goes to which stream, Ctrl-C, pipes."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pellucid.cli import COMMANDS, main


PELLUCID = [sys.executable, "-m", "pellucid"]
TINY = ["--preset", "tiny", "--batch-tokens", "128"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a command left: exit status and both streams."""

    status: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command in this process (a new one would import torch again), as the shell would see it."""

    def run(*arguments: object, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capfd.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as left:  # argparse's way out
            status = left.code if isinstance(left.code, int) else 0
        return Result(status, *capfd.readouterr())

    return run


def one_object(result: Result) -> dict[str, Any]:
    """Standard output as the one JSON object that it must be."""
    assert result.status == 0, result.err
    assert result.out.count("\n") == 1
    value = json.loads(result.out)
    assert isinstance(value, dict)
    return value


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    path = tmp_path / "examples.jsonl"
    pairs = [("the fox", " ran"), ("one small", " bird"), ("rain fell", " on stones"), ("to no one", " at all")]
    lines = [json.dumps({"prompt": prompt, "completion": completion}) + "\n" for prompt, completion in pairs]
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(cli: Cli, command: str) -> None:
    result = cli(command, "--help")
    assert result.status == 0
    assert f"example:\n  pellucid {command}" in result.out


def test_help_and_version(cli: Cli) -> None:
    listed = cli("--help")
    assert listed.status == 0
    assert all(re.search(rf"^ +{command}( |$)", listed.out, re.MULTILINE) for command in COMMANDS)
    assert re.fullmatch(r"pellucid \d+\.\d+\.\d+\n", cli("--version").out)


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("paint",), ("generate", "--colour"), ("generate", "--max-tokens", "many"), ("generate", "a", "b"),
        ("train", "--out", "new"), ("train", "text"), ("train", "--resume"), ("train", "text", "--dry-run", "--resume"),
        ("train", "text", "--out", "new", "--steps", "1", "--tokens", "1"), ("finetune", "--out", "new"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_use_is_2(cli: Cli, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli(*arguments)
    assert result.status == 2
    assert result.out == ""
    assert result.err
    assert list(tmp_path.iterdir()) == []


def assert_one_line(result: Result, *words: str) -> None:
    """Failed with one clear line on stderr and nothing on stdout."""
    assert result.status == 1
    assert result.out == ""
    assert re.fullmatch(r"pellucid: [^\n]+\n", result.err), result.err
    for word in words:
        assert word in result.err


def test_generate_refuses_with_one_line(cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    model = ("-m", tiny_run)
    assert_one_line(cli("generate", "a", "-m", tmp_path / "none"), "no such directory", "none")
    assert_one_line(cli("generate", "a", "-m", tmp_path), "holds no model")
    assert_one_line(cli("generate", "the fox ran " * 99, *model), "64")
    assert_one_line(cli("generate", "a", *model, "--max-tokens", 9999))
    assert_one_line(cli("generate", "a", *model, "--temperature", -1), "temperature")
    assert_one_line(cli("generate", "a", *model, "--top-p", 2), "top_p")
    assert_one_line(cli("generate", "-", *model, stdin=b"caf\xe9"), "standard input", "UTF-8")
    assert_one_line(cli("generate", "a", *model, "--stop", ""), "stop")


def test_train_refuses_with_one_line_and_leaves_nothing(cli: Cli, tiny_run: Path, stories: Path, tmp_path: Path) -> None:
    latin, empty, short = (tmp_path / name for name in ("latin.txt", "empty.txt", "short.txt"))
    latin.write_bytes("Café".encode("latin-1") * 999)
    empty.touch()
    short.write_text("the fox ran", encoding="utf-8")
    for text, words in (
        (latin, ("latin.txt", "UTF-8")), (empty, ("empty",)), (tmp_path / "none.txt", ("none.txt",)), (short, ("tokens",)),
    ):  # fmt: skip
        result = cli("train", text, "--out", tmp_path / "new", *TINY, "--steps", 1)
        assert_one_line(Result(result.status, "", result.err), *words)
    assert_one_line(cli("train", stories, "--out", tmp_path / "new", "--preset", "gpt5"), "unknown preset", "tiny")
    assert_one_line(cli("train", stories, "--out", tiny_run, *TINY), "exists")
    assert_one_line(cli("train", "--resume", "--out", tmp_path / "new"), "no run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.txt", "latin.txt", "short.txt"]


def test_finetune_refuses_with_one_line_and_leaves_nothing(cli: Cli, tiny_run: Path, examples: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n', encoding="utf-8")
    new = ("--out", tmp_path / "new", "-m", tiny_run)
    assert_one_line(cli("finetune", tmp_path / "none.jsonl", *new), "no such file")
    assert_one_line(cli("finetune", broken, *new), "line 2")
    assert_one_line(cli("finetune", examples, "--out", tiny_run, "-m", tiny_run), "exists")
    assert_one_line(cli("finetune", "--resume", "--out", tiny_run), "train run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.jsonl", "examples.jsonl"]


def test_generate_json_is_one_object_the_same_every_time(cli: Cli, tiny_run: Path) -> None:
    command = ("generate", "the fox", "-m", tiny_run, "--max-tokens", 8, "--seed", 1, "--json")
    first = cli(*command)
    value = one_object(first)
    assert set(value) == {"text", "ids", "prompt_ids", "logprobs", "finish_reason", "seed"}
    assert len(value["ids"]) == len(value["logprobs"]) <= 8
    assert value["seed"] == 1
    assert first.err == ""
    assert cli(*command).out == first.out
    several = one_object(cli(*command, "--n", 2, "--logprobs", 2))
    assert several["completions"][0]["ids"] == value["ids"]
    assert all(len(top) == 2 for top in several["completions"][1]["top_logprobs"])


def test_generate_reads_standard_input(cli: Cli, tiny_run: Path) -> None:
    options = ("-m", tiny_run, "--max-tokens", 8, "--seed", 1)
    prompt = "the fox – or a bird\n"
    streamed = cli("generate", "-", *options, stdin=prompt.encode("utf-8"))
    assert streamed.status == 0
    assert streamed.out.startswith(prompt)
    whole = one_object(cli("generate", prompt, *options, "--json"))
    assert streamed.out == prompt + whole["text"] + "\n"


def test_train_and_finetune_json_is_one_object(cli: Cli, stories: Path, examples: Path, tmp_path: Path) -> None:
    trained = one_object(cli("train", stories, "--out", tmp_path / "run", *TINY, "--steps", 2, "--json"))
    assert (trained["finished"], trained["step"], trained["tokens"]) == (True, 2, 256)
    assert Path(trained["run"]) == tmp_path / "run"
    assert trained["bits_per_byte"] > 0
    tuned = one_object(
        cli("finetune", examples, "-m", tmp_path / "run", "--out", tmp_path / "tuned", "--steps", 2, "--batch", 2, "--json")
    )
    assert (tuned["finished"], tuned["step"]) == (True, 2)
    assert cli("generate", "the fox", "-m", tmp_path / "tuned", "--max-tokens", 2).status == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches a Windows process by other ways")
@pytest.mark.long
def test_ctrl_c_saves_and_the_printed_command_goes_on(stories: Path, tmp_path: Path) -> None:
    run = tmp_path / "my run"  # with a space, as people's folders have
    command = [*PELLUCID, "train", str(stories), "--out", str(run), *TINY, "--steps", "120", "--checkpoint-every", "120"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8") as process:
        metrics = run / "metrics.jsonl"
        deadline = time.monotonic() + 60
        while not (metrics.exists() and metrics.read_text(encoding="utf-8").count('"loss"') >= 3):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "saving" in err
    assert "Traceback" not in err
    saved = re.search(r"saved at step (\d+); go on with: pellucid (.+)", out)
    assert saved, out
    assert 3 <= int(saved[1]) < 120
    resumed = subprocess.run(
        [*PELLUCID, *shlex.split(saved[2])], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert resumed.returncode == 0, resumed.stderr
    assert f"going on from step {saved[1]}" in resumed.stdout
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 121))


@pytest.mark.skipif(sys.platform == "win32", reason="a closed pipe is another error there")
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["streamed", "json"])
def test_a_closed_pipe_is_no_traceback(tiny_run: Path, options: list[str]) -> None:
    command = [*PELLUCID, "generate", "the fox", "-m", str(tiny_run), "--max-tokens", "20", "--seed", "1", *options]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=buffered
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()  # what `| head -0` does, before a word is written
        err = process.stderr.read()
        process.wait(timeout=60)
    assert err == ""
