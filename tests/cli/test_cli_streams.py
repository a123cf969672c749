"""Closed and failing standard streams, and SIGTERM: one clear line at most, and no file gets what was printed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.cli import COMMANDS, PRINTING


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shells close streams on POSIX")

# Runs commands in one process, each with some of its standard streams closed as a shell would (`<&-`, `>&-`, `2>&-`), and
# prints [status, what went to the standard error that was open] of each.
CLOSED = """
import json, os, sys, tempfile
from pellucid.cli import main

results = []
streams = sys.stdin, sys.stdout, sys.stderr
kept = [os.dup(i) for i in range(3)]
for closed, arguments in json.loads(sys.argv[1]):
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        for i, name in enumerate(("stdin", "stdout", "stderr")):
            setattr(sys, name, None if i in closed else streams[i])
            if i in closed:
                os.close(i)
        try:
            status = main(arguments)
        except SystemExit as left:
            status = left.code
        assert all(os.fstat(i) for i in range(3)), "a file that is opened later would be printed into"
        for stream in streams[1:]:
            stream.flush()
        for i, name in enumerate(("stdin", "stdout", "stderr")):
            os.dup2(kept[i], i)
            setattr(sys, name, streams[i])
        said.seek(0)
        results.append([status, said.read().decode("utf-8")])
os.write(1, json.dumps(results).encode() + b"\\n")
"""
SUBSETS = ([0], [1], [0, 1, 2])


def run_closed(cases: list[tuple[list[int], list[str]]]) -> list[tuple[int, str]]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CLOSED, json.dumps(cases)], capture_output=True, text=True, encoding="utf-8",
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [(status, said) for status, said in json.loads(done.stdout.splitlines()[-1])]


def test_help_and_wrong_use_of_every_command() -> None:
    cases = [(closed, [command, *words]) for command in COMMANDS for closed in SUBSETS for words in (["--help"], ["--none"])]
    for (closed, words), (status, said) in zip(cases, run_closed(cases), strict=True):
        assert status == (0 if "--help" in words else 2), (closed, words, said)
        assert "Traceback" not in said


@pytest.mark.long
def test_commands_at_work(tiny_run: Path, tmp_path: Path) -> None:
    """What is written to files is written; an answer that nobody could read is refused before any work."""
    run, out = str(tiny_run), str(tmp_path)
    works = [
        ["xray", "the fox", "-m", run, "--max-tokens", "2", "--seed", "1", "--out", f"{out}/NUMBER.pellucid"],
        ["figures", f"{out}/0.pellucid", "--out", f"{out}/figures-NUMBER", "--format", "svg", "--only", "xray"],
        ["verify", f"{out}/0.pellucid", "-m", run],
        ["convert", run, f"{out}/converted-NUMBER", "--to", "pellucid"],
        ["generate", "the fox", "-m", run, "--max-tokens", "2"],
        ["plan", "gpt3-125m"],
        ["plan", "gpt3-125m", "--json"],
        ["verify", f"{out}/0.pellucid", "-m", run, "--json"],
    ]
    cases = [
        (closed, [word.replace("NUMBER", str(number)) for word in words])
        for number, closed in enumerate(SUBSETS)
        for words in works
    ]
    for (closed, words), (status, said) in zip(cases, run_closed(cases), strict=True):
        assert "Traceback" not in said
        if 1 in closed and (words[0] in PRINTING or "--json" in words):
            assert status == 1
            assert 2 in closed or said == f"pellucid: standard output is closed: {words[0]} would answer there\n"
        else:
            assert status == 0, (closed, words, said)
    assert len({path.stat().st_size for path in tmp_path.glob("*.pellucid")}) <= 2  # times are as long as they are
    assert len(list(tmp_path.glob("*.pellucid"))) == len(list(tmp_path.glob("figures-*/xray.svg"))) == len(SUBSETS)
    assert not list(tmp_path.rglob("*.part"))


def test_a_prompt_from_a_closed_standard_input() -> None:
    (status, said), (silent, _) = run_closed([([0], ["generate", "-"]), ([0, 1, 2], ["generate", "-"])])
    assert status == silent == 1
    assert said == "pellucid: standard input is closed: give the prompt as an argument, or send it through a pipe\n"


def test_as_a_shell_closes_them() -> None:
    command = f'"{sys.executable}" -W error -m pellucid plan gpt3-125m >&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.returncode == 1
    assert done.stderr == "pellucid: standard output is closed: plan would answer there\n"


# A command whose work is given, in a process of its own.
WORK = """
import os, resource, signal, sys
import pellucid.cli.plan
from pathlib import Path
from pellucid.cli import main
from pellucid.files import replacing

def work(args):
{work}
    return 0

pellucid.cli.plan.run = work
sys.exit(main(["plan", "gpt3-125m"]))
"""


def work(lines: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = WORK.format(work="\n".join(f"    {line}" for line in lines.splitlines()))
    with (folder / "stdout").open("w", encoding="utf-8") as out:
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", code], cwd=folder, stdout=out, stderr=subprocess.PIPE, text=True, check=False
        )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_while_a_file_is_written(tmp_path: Path, name: str) -> None:
    lines = f"""
with replacing("x") as file:
    file.write(b"half")
    os.kill(os.getpid(), signal.{name})
    signal.sigtimedwait([], 10)
"""
    done = work(lines, tmp_path)
    assert (done.returncode, done.stderr) == (130, "pellucid: interrupted\n")
    assert os.listdir(tmp_path) == ["stdout"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_that_the_starter_ignores_is_ignored(tmp_path: Path, name: str) -> None:
    code = f"import signal; signal.signal(signal.{name}, signal.SIG_IGN)" + WORK.format(
        work=f"    os.kill(os.getpid(), signal.{name})\n    print('went on')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "went on\n")


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_full_disk_under_standard_output(tmp_path: Path, size: int) -> None:
    """A limit on file size stands in for it. The interpreter has nothing to add when it ends."""
    done = work(f"resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))\nprint('x' * {size})", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("pellucid: ")
    assert done.stderr.count("\n") == done.stderr.count("File too large\n") == 1
