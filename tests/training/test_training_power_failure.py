"""A process that is killed, or a machine that loses its power, between any two operations on files: what was promised is there.

`Disk` counts the operations that change the file system, stops the process at one of them, and then takes back what the disk
had not been asked to keep: the contents of files that were never flushed, and in every folder some of the last changes to its
names since it was flushed.
"""

import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid.runs.files import CHECKPOINTS, checkpoints
from pellucid.training import checkpoint
from pellucid.training.checkpoint import State
from pellucid.training.prepare import new_run


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="open folders are found in /proc")
OPERATIONS = 70  # a few more than two checkpoints take
CONFIG = pellucid.GPTConfig(vocab_size=5, n_ctx=2, n_layers=1, d_model=2, n_heads=1)


class Killed(BaseException):
    """The process is dead: whatever it does next has no effect."""


class Disk:
    """Stops the process at its `limit`-th change of the file system, and at any after that."""

    def __init__(self, limit: float, grave: Path) -> None:
        self.limit, self.grave, self.count = limit, grave, 0
        self.changes: list[tuple[int, Callable[[], object]]] = []  # (its folder, how to take it back) of names not flushed
        self.unflushed: dict[int, None] = {}  # files by their inodes
        self.patch = pytest.MonkeyPatch()

    def __enter__(self) -> "Disk":
        self.real = {name: getattr(os, name) for name in ("open", "fsync", "rename", "replace", "unlink", "rmdir", "mkdir")}
        for name in self.real:
            self.patch.setattr(os, name, getattr(self, f"_{name}"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.patch.undo()

    def _step(self) -> None:
        if self.count >= self.limit:
            raise Killed
        self.count += 1

    @staticmethod
    def _path(path: Any, dir_fd: int | None) -> str:
        folder = os.getcwd() if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
        return os.path.join(folder, os.fspath(path))

    def _note(self, path: str, undo: Callable[[], object]) -> None:
        self.changes.append((os.stat(os.path.dirname(path)).st_ino, undo))

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        new = bool(flags & os.O_CREAT)
        if new:
            self._step()
        descriptor: int = self.real["open"](path, flags, mode, dir_fd=dir_fd)
        if new:
            self.unflushed[os.fstat(descriptor).st_ino] = None
            name = self._path(path, dir_fd)
            self._note(name, lambda: self._gone(name))
        return descriptor

    def _fsync(self, descriptor: int) -> None:
        self._step()
        inode = os.fstat(descriptor).st_ino
        self.unflushed.pop(inode, None)
        self.changes = [change for change in self.changes if change[0] != inode]

    def _rename(self, source: Any, target: Any) -> None:
        self._step()
        old, new = self._path(source, None), self._path(target, None)
        buried = self._bury(new) if os.path.isfile(new) else None
        self.real["replace"](source, target)

        def undo() -> None:
            if os.path.lexists(new):
                os.makedirs(os.path.dirname(old), exist_ok=True)
                self.real["rename"](new, old)
            if buried:
                os.link(buried, new)

        self._note(new, undo)

    _replace = _rename

    def _bury(self, path: str) -> str:
        """Keeps a file that is about to go; returns its other name."""
        name = str(self.grave / str(len(list(self.grave.iterdir()))))
        os.link(path, name)
        return name

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._step()
        name = self._path(path, dir_fd)
        buried = self._bury(name)
        self.real["unlink"](path, dir_fd=dir_fd)

        def undo() -> None:
            if os.path.isdir(os.path.dirname(name)):
                os.link(buried, name)

        self._note(name, undo)

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._step()
        name = self._path(path, dir_fd)
        self.real["rmdir"](path, dir_fd=dir_fd)
        self._note(name, lambda: os.makedirs(name, exist_ok=True))

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        self._step()
        self.real["mkdir"](path, mode, dir_fd=dir_fd)
        name = self._path(path, dir_fd)
        self._note(name, lambda: self._gone(name))

    @staticmethod
    def _gone(path: str) -> None:
        shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else Path(path).unlink(missing_ok=True)

    def lose_power(self, folder: Path, chance: random.Random) -> None:
        """Takes back some of what was not flushed: of each folder's changes the last ones, of each file its content."""
        made = Counter(where for where, _ in self.changes)
        kept = {where: chance.choice([0, 0, chance.randint(0, count), count]) for where, count in made.items()}
        seen = dict.fromkeys(kept, 0)
        lost = []
        for where, undo in self.changes:
            seen[where] += 1
            if seen[where] > kept[where]:
                lost.append(undo)
        for undo in reversed(lost):
            undo()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            if path.stat().st_ino in self.unflushed:
                os.truncate(path, chance.choice([0, path.stat().st_size // 2]))


def model_and_optimizer(step: int) -> tuple[pellucid.GPT, torch.optim.Optimizer]:
    """A model whose weights are all `step`, and an optimizer that has taken a step."""
    model = pellucid.GPT(CONFIG)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(step)
    return model, optimizer


SAVED = {step: model_and_optimizer(step) for step in range(5)}
LOADED = model_and_optimizer(0)  # to load into


def save(run: Path, step: int, keep: int) -> None:
    checkpoint.save(run, *SAVED[step], State(step=step, tokens=step), keep=keep)


def loaded(run: Path, folder: Path) -> int:
    """The step of a checkpoint, which is whole."""
    model, optimizer = LOADED
    state = checkpoint.load(folder, model, optimizer)
    assert all((parameter == state.step).all() for parameter in model.parameters())
    return state.step


@pytest.mark.long
@given(st.integers(0, OPERATIONS), st.sampled_from([1, 2]), st.sampled_from([True, True, False]), st.integers(0, 2**32))
@cases(60)
def test_the_newest_checkpoint_survives(
    tmp_path_factory: pytest.TempPathFactory, limit: int, keep: int, power: bool, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("power")
    run, grave = folder / "run", folder / "grave"
    run.mkdir()
    grave.mkdir()
    save(run, 1, keep)
    done = 1
    with Disk(limit, grave) as disk:
        try:
            for step in (2, 3):
                save(run, step, keep)
                done = step
        except Killed:
            pass
    if power:
        disk.lose_power(run, random.Random(seed))
    complete = [loaded(run, path) for path in checkpoints(run)]  # every one of that name, not the newest alone
    assert complete == sorted(complete)
    assert complete[-1] in (done, done + 1)
    checkpoint.remove_what_kills_left(run)
    assert {path.name for path in (run / CHECKPOINTS).iterdir()} == {path.name for path in checkpoints(run)}
    shutil.rmtree(folder)


def test_a_limit_reaches_every_operation(tmp_path: Path) -> None:
    """Else the test above would not kill in the last ones."""
    (tmp_path / "grave").mkdir()
    save(tmp_path / "run", 1, 1)
    with Disk(float("inf"), tmp_path / "grave") as disk:
        for step in (2, 3):
            save(tmp_path / "run", step, 1)
    assert OPERATIONS - 20 < disk.count < OPERATIONS


@given(st.integers(0, 40), st.booleans(), st.integers(0, 2**32))
@cases(40)
def test_a_run_that_has_its_plan_has_all(
    tmp_path_factory: pytest.TempPathFactory, limit: int, power: bool, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("plan")
    run, grave = folder / "deep" / "run", folder / "grave"
    grave.mkdir()
    made = False
    with Disk(limit, grave) as disk:
        try:
            with new_run(run) as draft:
                (draft / "corpus").mkdir()
                for name in ("corpus/a", "corpus/b", "c", "run.json"):
                    os.close(os.open(draft / name, os.O_CREAT | os.O_WRONLY))
                    (draft / name).write_text(name, encoding="utf-8")
            made = True
        except Killed:
            pass
    if power:
        disk.lose_power(folder / "deep", random.Random(seed))
    assert (run / "run.json").exists() or not made
    if (run / "run.json").exists():
        assert all((run / name).read_text(encoding="utf-8") == name for name in ("corpus/a", "corpus/b", "c", "run.json"))
    shutil.rmtree(folder)
