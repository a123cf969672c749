"""`Reserve`: a file that holds some room on the disk, given up where a full disk would keep what makes room from being done.

SQLite's log grows before anything is deleted: without it nothing could be deleted, cancelled or started on a full disk.
"""

import os
from contextlib import suppress
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.files import appending, sync_file


FILE = "reserve"
BYTES = 1 << 20  # a deletion takes some tens of kilobytes of the log
PART = 1 << 18  # that are written at once


class Reserve:
    """The file. Used with the database's lock.

    Args:
        folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._bytes = 0
        with suppress(OSError):
            self._bytes = self._path.stat().st_size

    def give_up(self) -> bool:
        """Deletes it. Returns whether that made room."""
        made, self._bytes = self._bytes > 0, 0
        try:
            self._path.unlink()
        except OSError:
            return False
        return made

    def restore(self) -> None:
        """Makes it as large again as it was at first, or as the disk has room for."""
        if self._bytes >= BYTES:
            return
        with suppress(PellucidError, OSError), appending(self._path) as file:
            for _ in range(self._bytes, BYTES, PART):
                file.write(os.urandom(PART))  # which no file system stores in less
                sync_file(file)
        with suppress(OSError):
            self._bytes = self._path.stat().st_size
