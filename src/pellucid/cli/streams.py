"""The process's standard streams, where some are closed or cannot be written; and SIGTERM."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


STDOUT, STDERR = 1, 2


def open_closed_streams() -> frozenset[int]:
    """Opens the null device in place of the standard streams that are closed (`<&-`, `>&-`, `2>&-`).

    Otherwise a file that is opened later would get their number, and what is printed would be written into it.

    Returns:
        The descriptors that were closed.
    """
    closed = frozenset(descriptor for descriptor in range(3) if not _is_open(descriptor))
    for descriptor in sorted(closed):
        opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        assert opened == descriptor, (opened, descriptor)
    if sys.stdout is None:
        sys.stdout = open(STDOUT, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - until the process ends
    if sys.stderr is None:
        sys.stderr = open(STDERR, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - until the process ends
    return closed


def discard_output() -> None:
    """Sends what standard output still holds to the null device, so that the interpreter does not fail on it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Makes SIGTERM an interrupt, as Ctrl-C is, so that unfinished files are removed; a second one ends the process at once.

    A handler that the process has already is left alone, and so is a process whose main thread this is not.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
