"""The process's standard streams, where some are closed or cannot be written; and SIGTERM."""

import codecs
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


STDOUT, STDERR = 1, 2
OCTAL = "pellucid-octal"  # the name of an error handler of encodings


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


def write_utf8() -> None:
    """Makes the standard streams write UTF-8, whatever the locale's encoding: tokens are arbitrary Unicode.

    A byte of a file name that is not UTF-8 is written as the shell's `$'caf\\351'` has it.
    """
    codecs.register_error(OCTAL, _octal)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.closed:
            stream.reconfigure(encoding="utf-8", errors=OCTAL)


def _octal(error: UnicodeError) -> tuple[str, int]:
    """An error handler of encoding: half surrogate pairs as the octal escapes of the bytes that they stand for."""
    assert isinstance(error, UnicodeEncodeError)
    halves = map(ord, error.object[error.start : error.end])
    return "".join(f"\\{half & 0xFF:03o}" if 0xDC80 <= half < 0xDD00 else f"\\u{half:x}" for half in halves), error.end


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
