"""`render_pool`: films are made into files by several processes: resvg, which draws the pixels, holds Python's lock."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context

from pellucid.draw.backends.save import content
from pellucid.draw.film.film import Film


Render = Callable[[Film, str, int | None], Callable[[], bytes]]  # film, format, width -> a function that waits for the file


@contextmanager
def render_pool(processes: int) -> Iterator[Render]:
    """Processes that make films into files: `wait = render(film, "gif", 960)`, and later `wait()` returns the bytes.

    An exception of `content` is raised by `wait`. When the context ends early, what has not begun is dropped.

    Args:
        processes: with 1, `wait` computes, in this process. More are started afresh (spawn): the main module is imported again.
    """
    if processes == 1:
        yield lambda film, kind, width: partial(content, film, kind, width=width)
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_end_silently)
    try:
        yield lambda film, kind, width: partial(_wait, pool.submit(content, film, kind, width=width), film, kind, width)
    finally:
        pool.shutdown(cancel_futures=True)


def _wait(rendering: Future[bytes], film: Film, kind: str, width: int | None) -> bytes:
    try:
        return rendering.result()
    except BrokenProcessPool:  # a process was killed, as where memory is short: one alone may have enough
        return content(film, kind, width=width)


def _end_silently() -> None:
    """Ctrl-C in a terminal reaches all processes: those of the pool end at once, and this program's own says so."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
