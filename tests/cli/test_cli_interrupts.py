"""Interrupts at awkward moments: while objects are finalized, while nobody reads what is printed, before the command begins."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid.cli.streams import GuardedStream, UnreadPipe


pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform == "win32", reason="it has other signals and pipes")]
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
LIMIT = 40.0  # seconds, after which a process that a signal does not end is taken for one that never ends

# A command whose work is given. The process says when it has begun, in a file.
COMMAND = """
import os, signal, sys, time, weakref
import pellucid.cli.plan
from pathlib import Path
from pellucid.cli import main

class Finalized:
    def __del__(self):
        finalize()

def finalize(*_):
    os.kill(os.getpid(), signal.{name})
    for _ in range(1000):  # the handler runs here
        pass

def work(args):
{work}

pellucid.cli.plan.run = work
sys.exit(main(["plan", "gpt3-125m"]))
"""
LOSES = {
    "__del__": "Finalized()",
    "a callback of a weak reference": "class One:\n    pass\none = One()\nkept = weakref.ref(one, finalize)\ndel one",
}


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("where", sorted(LOSES))
def test_an_interrupt_that_python_drops_is_raised_again(tmp_path: Path, name: str, where: str) -> None:
    lines = f"{LOSES[where]}\nfor _ in range(600):\n    time.sleep(0.1)\nreturn 0"
    code = COMMAND.format(name=name, work="\n".join(f"    {line}" for line in lines.splitlines()))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=LIMIT
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "pellucid: interrupted\n")


def full_pipe(draw: random.Random) -> tuple[int, int]:
    """A pipe that holds as much as it can, or a little less."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(512))
    except BlockingIOError:
        pass
    os.set_blocking(writing, True)
    os.read(reading, draw.choice([0, 1, 4096, 8192]))
    return reading, writing


@given(st.sampled_from(SIGNALS), st.sets(st.sampled_from([1, 2]), min_size=1), st.randoms(use_true_random=False))
@cases(4)
def test_a_command_that_waits_for_a_reader_ends(
    tmp_path_factory: pytest.TempPathFactory, name: str, blocked: set[int], draw: random.Random
) -> None:
    """`pellucid ... | less`, whose reader does not read on: the command ends with 130, whatever it would still print."""
    folder = tmp_path_factory.mktemp("blocked")
    lines = "Path('begun').touch()\nprint('x' * 300000, flush=True)\nprint('x' * 300000, file=sys.stderr)\ntime.sleep(60)"
    code = COMMAND.format(name=name, work="\n".join(f"    {line}" for line in lines.splitlines()))
    reading, writing = full_pipe(draw)
    streams = {number: writing if number in blocked else subprocess.DEVNULL for number in (1, 2)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=folder, stdout=streams[1], stderr=streams[2]) as process:
        os.close(writing)
        while process.poll() is None and not (folder / "begun").exists():
            time.sleep(0.01)
        time.sleep(0.2)  # a signal just before a call that blocks does not interrupt it: Python sees it when the call returns
        process.send_signal(getattr(signal, name))
        try:
            assert process.wait(LIMIT) == 130
        finally:
            process.kill()
            os.close(reading)


def test_a_display_stops_waiting_for_a_reader() -> None:
    """While it writes, as a signal handler has it, and from then on."""
    reading, writing = full_pipe(random.Random(0))
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        guarded = GuardedStream(stream)
        before = signal.signal(signal.SIGALRM, lambda number, frame: guarded.stop_waiting())
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            for _ in range(3):
                assert guarded.write("x" * 100_000) == 100_000
                guarded.flush()
                assert isinstance(guarded.error, UnreadPipe)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    os.close(reading)


@pytest.mark.parametrize("blocked", [{1}, {1, 2}])
def test_a_run_whose_display_nobody_reads_saves(tmp_path: Path, blocked: set[int]) -> None:
    """The pipe is full when steps are being taken: the run waits; a signal makes it save and end."""
    (tmp_path / "book.txt").write_text("the fox ran over a hill and saw one small bird. " * 200, encoding="utf-8")
    words = ["--out", "run", "--preset", "tiny", "--batch-tokens", "128", "--steps", "4000", "--prompt", "fox", "--no-record"]
    reading, writing = os.pipe()
    streams = {number: writing if number in blocked else subprocess.DEVNULL for number in (1, 2)}
    with subprocess.Popen(
        [sys.executable, "-m", "pellucid", "train", "book.txt", *words], cwd=tmp_path, stdout=streams[1], stderr=streams[2]
    ) as process:
        begun = b""
        while b"step      0" not in begun:
            begun += os.read(reading, 1000)
        os.set_blocking(writing, False)
        try:
            while True:
                os.write(writing, bytes(512))
        except BlockingIOError:
            os.set_blocking(writing, True)
        os.close(writing)
        time.sleep(0.5)  # whether it is already waiting makes no difference
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(LIMIT) == 130
        finally:
            process.kill()
            os.close(reading)
    assert 0 < pellucid.open_run(tmp_path / "run").step < 4000


def test_a_pipe_that_closes_before_the_first_step_is_an_interrupt(tmp_path: Path) -> None:
    """As it is between steps: a restart script does not try it again."""
    (tmp_path / "book.txt").write_text("the fox ran over a hill and saw one small bird. " * 200, encoding="utf-8")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "pellucid", "train", "book.txt", "--out", "run", "--preset", "tiny", "--steps", "1"]
    done = subprocess.run(command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (130, "pellucid: interrupted\n")
    assert os.listdir(tmp_path) == ["book.txt"]


# Runs `pellucid` with a signal that comes while the given module is being imported.
IMPORTED = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from pellucid.__main__ import run
sys.argv[1:] = ["plan", "gpt3-125m"]
sys.exit(run())
"""


@pytest.mark.parametrize("module", ["pellucid.cli", "argparse", "pellucid.cli.plan", "pellucid.planning"])
def test_an_interrupt_while_modules_are_imported_is_no_traceback(module: str) -> None:
    code = IMPORTED.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=LIMIT)
    assert done.returncode in (130, -signal.SIGINT)
    assert done.stderr in ("", "pellucid: interrupted\n")
