"""A disk that is full at any write of a run: one line that says what to do, and the run goes on when there is room again."""

import errno
import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from models import MEASURED

import pellucid
from pellucid import files
from pellucid.corpus import Document
from pellucid.errors import PellucidError
from pellucid.files import MAKE_ROOM


CONFIG = pellucid.GPTConfig(vocab_size=258, n_ctx=8, n_layers=1, d_model=4, n_heads=1)
TEXT = [Document("a", "the fox ran over a hill and saw one small bird. " * 8)]
OPTIONS: dict[str, Any] = {"config": CONFIG, "steps": 2, "batch_tokens": 16, "checkpoint_every": 1, "keep_best": True}
WRITES = 260  # a few more than the run takes


class FullDisk:
    """Counts the writes of `files`, new folders, renames and flushes; refuses the `at`-th, and maybe all after it."""

    def __init__(self, at: float, number: int, *, lasting: bool) -> None:
        self.at, self.number, self.lasting, self.count = at, number, lasting, 0
        self.patch = pytest.MonkeyPatch()

    def spend(self) -> None:
        self.count += 1
        if self.count == self.at or (self.lasting and self.count > self.at):
            raise OSError(self.number, os.strerror(self.number))

    def open(self, path: Any, mode: str, opener: Any = None) -> Any:
        if mode == "rb":
            return open(path, mode, opener=opener)
        raw = _Raw(path, mode.replace("b", ""), opener=opener)
        raw.disk = self
        return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)

    def temporary(self, dir: Any = None) -> Any:
        descriptor, name = tempfile.mkstemp(dir=dir)
        os.unlink(name)
        raw = _Raw(descriptor, "r+")
        raw.disk = self
        return io.BufferedRandom(raw)

    def __enter__(self) -> "FullDisk":
        real = {name: getattr(os, name) for name in ("mkdir", "replace", "rename", "fsync")}

        def spending(name: str) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                self.spend()
                return real[name](*args, **kwargs)

            return call

        for name in real:
            self.patch.setattr(os, name, spending(name))
        self.patch.setattr(files, "open", self.open, raising=False)
        self.patch.setattr(tempfile, "TemporaryFile", self.temporary)
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


class _Raw(io.FileIO):
    disk: FullDisk

    def write(self, data: Any) -> int:
        self.disk.spend()
        return super().write(data)


def train(out: Path) -> pellucid.Run:
    """The same call each time, as a restart script gives it."""
    return pellucid.train(TEXT, out, resume=True, seed=3, **OPTIONS)


def result(run: Path) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """The lines of the metrics, less what was measured, and the files of the model and of the newest checkpoint."""
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [{name: value for name, value in line.items() if name not in MEASURED} for line in read]
    kept = [path for folder in ("model", "best", "checkpoints/step-00000002") for path in sorted((run / folder).iterdir())]
    return lines, {str(path.relative_to(run)): path.read_bytes() for path in kept}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    run = tmp_path_factory.mktemp("whole") / "run"
    with FullDisk(float("inf"), errno.ENOSPC, lasting=True) as disk:
        train(run)
    assert WRITES - 30 < disk.count <= WRITES, "the test below would not reach the last writes, or many that are not there"
    return result(run)


@pytest.mark.long
@given(st.integers(1, WRITES), st.sampled_from(sorted(MAKE_ROOM)), st.booleans())
@cases(8)
def test_a_run_goes_on_when_there_is_room_again(
    undisturbed: Any, tmp_path_factory: pytest.TempPathFactory, at: int, number: int, lasting: bool
) -> None:
    folder = tmp_path_factory.mktemp("full")
    run = folder / "deep" / "run"
    with FullDisk(at, number, lasting=lasting) as disk:
        try:
            train(run)
        except PellucidError as error:
            assert "\n" not in str(error)
            assert MAKE_ROOM[number] in str(error)
        else:
            assert disk.count < at or not lasting
    done = train(run)
    assert done.finished
    assert result(run) == undisturbed
    assert done.record is not None
    assert not list(run.rglob("*.part"))
    assert train(run).finished  # and once more: there is nothing to do
    shutil.rmtree(folder)
