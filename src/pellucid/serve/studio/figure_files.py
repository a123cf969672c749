"""`FigureFiles`: draws figures into files for the page, one at a time."""

import asyncio
import threading
from functools import cache

from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.languages import tr
from pellucid.serve.studio.loaded_model import BusyError, in_thread
from pellucid.serve.studio.sources import SourceCatalog
from pellucid.serve.wire import FormatInfo


MAX_WAITING = 3  # requests for a file that wait
# In the order in which a page offers them.
MEDIA_TYPES = {
    "html": "text/html; charset=utf-8", "png": "image/png", "svg": "image/svg+xml", "gif": "image/gif", "webp": "image/webp",
    "mp4": "video/mp4",
}  # fmt: skip


def formats() -> list[FormatInfo]:
    """The formats in which figures are saved, each with what is missing here, if anything is, in the current language."""
    found = []
    for kind in MEDIA_TYPES:
        one = FormatInfo(format=kind)
        if (lacking := _lacking(kind)) is not None:
            one["missing"] = tr(lacking)
        found.append(one)
    return found


@cache
def _lacking(kind: str) -> str | None:
    """What a format needs that is not installed here, as a marked text; looked for once."""
    from pellucid.draw.backends.raster import MissingPackageError
    from pellucid.draw.backends.save import check_packages

    try:
        check_packages(kind)
    except MissingPackageError as lack:
        return lack.lacking
    return None


class FigureFiles:
    """Draws figures into files, one at a time: a film of hundreds of pictures takes a core for a while.

    Args:
        catalog: finds records by id.
    """

    def __init__(self, catalog: SourceCatalog) -> None:
        self._catalog = catalog
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def draw(self, record: str, name: str, kind: str, width: int) -> bytes:
        """The bytes of a file. A request that is cancelled ends before the next picture.

        Raises:
            PellucidError: as `figures.figure_file`; another format; no record has this id. BusyError: too many wait (429).
        """
        if kind not in MEDIA_TYPES:
            raise PellucidError(f"a figure is not saved as {shown(kind)}: there are {', '.join(MEDIA_TYPES)}")
        if self._waiting >= MAX_WAITING:
            raise BusyError(f"a figure is being drawn into a file and {MAX_WAITING} more wait: try again in a moment")
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1
        cancelled = threading.Event()
        ended = asyncio.ensure_future(in_thread(lambda: self._draw(record, name, kind, width, cancelled)))
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.wait({ended})
            if not ended.cancelled():
                ended.exception()  # of no interest to a client that is gone
            raise
        finally:
            self._lock.release()

    def _draw(self, record: str, name: str, kind: str, width: int, cancelled: threading.Event) -> bytes:
        from pellucid.serve.studio.figures import figure_file  # here: a page is served and listed without it

        return figure_file(self._catalog, record, name, kind, width, cancelled)
