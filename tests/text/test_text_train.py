"""Training a tokenizer in a process of its own: the same table, ended when this process is interrupted or ends."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st
from stories import story

from pellucid.errors import PellucidError
from pellucid.text import train, train_tokenizer


TEXT = story(2000, 3)


@cases(4)
@given(
    texts=st.lists(st.sampled_from([TEXT, TEXT[:500], "", "é😀\n" * 50, "\ud800 half"]), max_size=5),
    size=st.integers(257, 400),
)
def test_the_process_learns_what_this_one_does(texts: list[str], size: int) -> None:
    here = train_tokenizer(texts, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "SHORT", -1)
        assert train_tokenizer(texts, size) == here


class Watched(subprocess.Popen[bytes]):
    """Processes as they are started."""

    started: ClassVar[list["Watched"]] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.started.append(self)


class InterruptedWaiting(Watched):
    """A process whose waiting is interrupted once: Ctrl-C while it learns."""

    def wait(self, timeout: float | None = None) -> int:
        if timeout is not None:
            raise KeyboardInterrupt
        return super().wait(timeout)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Watched]:
    """The processes that are started, which train on the shortest texts, too."""
    monkeypatch.setattr(subprocess, "Popen", Watched)
    monkeypatch.setattr(train, "SHORT", -1)
    Watched.started.clear()
    return Watched.started


@pytest.mark.parametrize("when", ["while it is fed", "while it learns"])
def test_an_interrupt_ends_the_process(when: str, started: list[Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    def texts() -> Iterator[str]:
        yield TEXT
        yield TEXT
        if when == "while it is fed":
            raise KeyboardInterrupt

    if when == "while it learns":
        monkeypatch.setattr(subprocess, "Popen", InterruptedWaiting)
    with pytest.raises(KeyboardInterrupt):
        train_tokenizer(texts(), 300)
    (process,) = started
    assert process.returncode not in (None, 0)


def test_a_process_that_ends_is_one_line(started: list[Watched]) -> None:
    def texts() -> Iterator[str]:
        yield TEXT
        started[0].kill()
        for _ in range(100):
            yield TEXT

    with pytest.raises(PellucidError, match=r"the process that trains the tokenizer ended \(.*\): give it more memory"):
        train_tokenizer(texts(), 300)


@pytest.mark.parametrize("sent", [b"", b"\x05\x00", b"\x05\x00\x00\x00ab", b"\x03\x00\x00\x00abc"])
def test_the_process_ends_when_the_text_breaks_off(sent: bytes) -> None:
    """As where the process that sends it was killed: nothing is learnt from half of it."""
    code = "from pellucid.text.train import serve; serve(300)"
    done = subprocess.run(
        [sys.executable, "-c", code], input=sent, capture_output=True, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert done.returncode != 0 and not done.stdout
