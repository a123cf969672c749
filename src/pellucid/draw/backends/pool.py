"""`render_pool`: films are made into files by several processes: resvg, which draws the pixels, holds Python's lock."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection

from pellucid.draw.backends.save import content
from pellucid.draw.film.film import Film


Render = Callable[[Film, str, int | None], Callable[[], bytes]]  # film, format, width -> a function that waits for the file


@contextmanager
def render_pool(processes: int) -> Iterator[Render]:
    """Processes that make films into files: `wait = render(film, "gif", 960)`, and later `wait()` returns the bytes.

    An exception of `content` is raised by `wait`. When the context ends early, what has not begun is dropped, and what has
    begun ends with its process; so it does when this process is killed.

    Args:
        processes: with 1, `wait` computes, in this process. More are started afresh (spawn): the main module is imported again.
    """
    if processes == 1:
        yield lambda film, kind, width: partial(content, film, kind, width=width)
        return
    context = get_context("spawn")
    needed, need = context.Pipe(duplex=False)  # nothing is sent: its end says that nobody needs the processes any more
    with needed, need:
        pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_end_silently, initargs=(needed,))
        try:
            yield partial(_begin, pool)
        except BaseException:
            need.close()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(pool: ProcessPoolExecutor, film: Film, kind: str, width: int | None) -> Callable[[], bytes]:
    alone = partial(content, film, kind, width=width)
    try:
        return partial(_wait, pool.submit(content, film, kind, width=width), alone)
    except BrokenProcessPool:
        return alone


def _wait(rendering: Future[bytes], alone: Callable[[], bytes]) -> bytes:
    try:
        return rendering.result()
    except BrokenProcessPool:  # a process was killed, as where memory is short: one alone may have enough
        return alone()


def _end_silently(needed: "Connection[bytes, bytes]") -> None:
    """Ctrl-C in a terminal reaches all processes: those of the pool end at once, and this program's own says so.

    Args:
        needed: a pipe that ends when this process is needed no more.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(needed,), daemon=True).start()


def _end_with(needed: "Connection[bytes, bytes]") -> None:
    with suppress(EOFError, OSError):
        needed.recv_bytes()
    os._exit(1)
