"""Standard streams that are closed or cannot be written, and signals that end the process."""

import codecs
import errno
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TextIO


STDOUT, STDERR = 1, 2
INTERRUPTED = 130  # exit status of a command that a signal ended
HANGUP = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # Windows has none
OCTAL = "pellucid-octal"  # the name of an error handler of encodings
LAST_WORDS_SECONDS = 2.0  # for which an interrupted process waits for somebody to read what it still prints
RAISED_AGAIN_SECONDS = 0.05  # after which an interrupt that was lost is raised again


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


def use_utf8() -> None:
    """Makes standard output and error write UTF-8, whatever the locale's encoding: tokens are arbitrary Unicode.

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


def discard_output(stream: TextIO | None = None) -> None:
    """Sends a stream's buffered and later output to the null device (default: standard output's).

    Else the interpreter would fail to flush it when it exits.
    """
    with suppress(OSError, ValueError):  # a stream without a descriptor, as tests have
        os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())


def print_error(line: str) -> None:
    """Prints a line on standard error, if that can be written."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        discard_output(sys.stderr)


def is_writable(stream: TextIO) -> bool:
    """Whether a line that is written to a stream is taken at once: a pipe that nobody reads is full at some time."""
    try:
        return bool(select.select([], [stream.fileno()], [], 0)[1])
    except (OSError, ValueError):  # a stream without a descriptor, as tests have; on Windows, where only sockets are asked
        return True


@contextmanager
def ending_promptly() -> Iterator[None]:
    """Ends an interrupted process if the block, which only prints, takes two seconds (a pipe is full, and nobody reads it), or
    is interrupted again.
    """
    timer = threading.Timer(LAST_WORDS_SECONDS, os._exit, (INTERRUPTED,))
    timer.daemon = True
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)
    finally:
        timer.cancel()


class UnreadPipe(OSError):
    """A pipe is full, and nobody reads it."""


class GuardedStream:
    """A text stream that keeps its first write error instead of raising it: printing must not end a run between checkpoints.

    Attributes:
        error: the first error, after which output is discarded; None: there was none.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.error: OSError | None = None
        self._writer: int | None = None  # the thread that writes now
        self._waits = True

    def stop_waiting(self) -> None:
        """From now on, a full pipe is a failure instead of being waited for. A signal handler may call it during a write."""
        self._waits = False
        if self._writer == threading.get_ident():
            self._require_room()

    def _require_room(self) -> None:
        if not is_writable(self.stream):
            raise UnreadPipe(errno.EAGAIN, "nobody reads the pipe")

    def write(self, text: str) -> int:
        """Writes text, as far as that is possible."""
        self._attempt(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flushes the stream, as far as that is possible."""
        self._attempt(self.stream.flush)

    def _attempt(self, action: Callable[[], object]) -> None:
        if self.error is None:
            try:
                self._writer = threading.get_ident()
                if not self._waits:
                    self._require_room()
                action()
            except OSError as error:
                self.error = error
                discard_output(self.stream)
            finally:
                self._writer = None

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """The descriptor of the stream."""
        return self.stream.fileno()

    @property
    def encoding(self) -> str:
        """The encoding of the stream."""
        return self.stream.encoding


@contextmanager
def handle_signals(numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handles signals inside the block: not those that the process ignores (`nohup`), and none off the main thread."""
    before: dict[int, object] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in numbers}
        before = {number: known for number, known in before.items() if known not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)  # type: ignore[arg-type]


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP an interrupt, as Ctrl-C is, so that unfinished files are removed; a second one ends the process.

    Handlers that the process already has stay, and off the main thread nothing changes. An interrupt that comes while Python
    finalizes an object (`__del__`, callbacks of weak references), where no exception can leave, is raised again a moment later.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt(number)

    def raise_again(lost: "sys.UnraisableHookArgs") -> None:
        if lost.exc_type is not KeyboardInterrupt or threading.current_thread() is not threading.main_thread():
            report_unraisable(lost)
            return
        number = next(iter(getattr(lost.exc_value, "args", ())), signal.SIGINT)
        if number in handled:
            signal.signal(number, interrupt)
        timer = threading.Timer(RAISED_AGAIN_SECONDS, _send_to_main_thread, (number,))
        timer.daemon = True
        timer.start()

    handled = [n for n in (signal.SIGTERM, *HANGUP) if signal.getsignal(n) == signal.SIG_DFL]
    report_unraisable, sys.unraisablehook = sys.unraisablehook, raise_again
    try:
        with handle_signals(handled, interrupt):
            yield
    finally:
        sys.unraisablehook = report_unraisable


def _send_to_main_thread(number: int) -> None:
    """Sends a signal of this process to its main thread, which it interrupts where the system can do that."""
    if sys.platform == "win32":
        import _thread

        _thread.interrupt_main(number)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, number)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
