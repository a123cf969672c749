"""`FileStore`: the files of each owner: uploads, counted while they arrive, and results of jobs; quotas hold at any moment."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from pellucid.errors import PellucidError
from pellucid.files import cannot_write, create, make_folder, reading, sync_file, sync_folder
from pellucid.serve.tuning.database import (
    Database,
    NotThere,
    QuotaReached,
    Refused,
    StorageFailed,
    TableRow,
    as_json,
    cannot_store,
    from_json,
    new_id,
    now,
)
from pellucid.serve.tuning.jobs import ENDED
from pellucid.serve.tuning.settings import TuningSettings


LOG = logging.getLogger("pellucid.serve")
FILES = "files"
_OURS = re.compile(r"[0-9a-f]{32}(\.mended)?|\.pellucid-[0-9a-f]{16}\.part")  # names that are made here; others are left alone
PURPOSE, RESULTS = "fine-tune", "fine-tune-results"
MAX_FILENAME = 255  # characters


class FileTooLarge(PellucidError):
    """An upload has more bytes than one may have."""


class Upload:
    """A file that arrives. `write` its bytes, then `finish` it; `drop` it in any case: that deletes what was not finished.

    Made by `FileStore.begin`, which has reserved its place among the owner's files.

    Raises:
        StorageFailed: it cannot be made.
    """

    def __init__(self, store: "FileStore", owner: str) -> None:
        self._store, self.owner = store, owner
        self.stored = os.urandom(16).hex()
        self.path = store.folder / self.stored
        self.bytes = 0
        try:
            self._file: BinaryIO = create(self.path)
        except OSError as error:
            raise self._failed(error) from error

    def write(self, data: bytes) -> None:
        """Adds bytes.

        Raises:
            FileTooLarge, QuotaReached: that would be too many. StorageFailed: they cannot be written.
        """
        self._store.reserve(self, len(data))
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Flushes all of it to the disk. Raises StorageFailed where that is not possible."""
        try:
            sync_file(self._file)
            self._file.close()
            sync_folder(self.path.parent)
        except OSError as error:
            raise self._failed(error) from error

    def finish(self, filename: str, purpose: str, status: str, report: Any, expires_after: int | None = None) -> TableRow:
        """Makes it a file of its owner, after `close`. `report`: what its check found."""
        return self._store.add(self, filename, purpose, status, report, expires_after)

    def drop(self) -> None:
        """Releases what was reserved, and deletes the bytes unless they have become a file."""
        with suppress(OSError):
            self._file.close()
        self._store.release(self)

    def _failed(self, error: OSError) -> StorageFailed:
        return cannot_store("the upload", error)


class FileStore:
    """The files of all owners.

    Args:
        database: the tables. data: the folder. settings: the quotas.
    """

    def __init__(self, database: Database, data: Path, settings: TuningSettings) -> None:
        self._database, self._settings = database, settings
        self.folder = data / FILES
        make_folder(self.folder)
        self._arriving: dict[Upload, None] = {}  # changed and counted with the database's lock, as the rows are
        known = {row["stored"] for row in database.rows("SELECT stored FROM files")}
        for path in self.folder.iterdir():  # an upload that a kill ended, or a file whose row was deleted before it
            if path.name not in known and _OURS.fullmatch(path.name):
                with suppress(OSError):
                    path.unlink()

    def begin(self, owner: str, *, result: bool = False) -> Upload:
        """A new file of an owner. Results of jobs are not counted among the files: their bytes are.

        Raises:
            QuotaReached: it has as many files as it may have. StorageFailed: it cannot be made.
        """
        with self._database.lock:
            there = sum(upload.owner == owner for upload in self._arriving) + self._count(owner)
            if not result and there >= self._settings.files:
                raise QuotaReached(
                    f"You have {there} files, which is the most that a key may have: delete one, then upload again"
                )
            upload = Upload(self, owner)
            self._arriving[upload] = None
            return upload

    def reserve(self, upload: Upload, size: int) -> None:
        """Counts bytes of an upload before they are written. Raises as `Upload.write`."""
        settings = self._settings
        with self._database.lock:
            if upload.bytes + size > settings.file_bytes:
                raise FileTooLarge(f"The file has more than {settings.file_bytes:,} bytes, the most that one may have")
            if self.used(upload.owner) + self._arriving_bytes(upload.owner) + size > settings.storage_bytes:
                raise QuotaReached(
                    f"Your files and models would have more than {settings.storage_bytes:,} bytes: delete some first"
                )
            upload.bytes += size

    @contextmanager
    def room(self, owner: str, size: int) -> Iterator[None]:
        """A context manager in which bytes may be added to what a job of the owner takes: nothing arrives meanwhile.

        Raises:
            QuotaReached: they would be too many.
        """
        with self._database.lock:
            left = self._settings.storage_bytes - self.used(owner) - self._arriving_bytes(owner)
            if size > left:
                raise QuotaReached(
                    f"The job may take {size:,} bytes, and you have {max(0, left):,} left: delete models or files that you do "
                    "not need"
                )
            yield

    def release(self, upload: Upload) -> None:
        """An upload has ended: its bytes are deleted, unless a row has them."""
        with self._database.lock:
            self._arriving.pop(upload, None)
            if self._database.row("SELECT id FROM files WHERE stored = ?", upload.stored) is None:
                upload.path.unlink(missing_ok=True)

    def used(self, owner: str) -> int:
        """Bytes of an owner's files and of the runs of its jobs."""
        files = self._database.row("SELECT coalesce(sum(bytes), 0) AS n FROM files WHERE owner = ?", owner)
        jobs = self._database.row("SELECT coalesce(sum(bytes), 0) AS n FROM jobs WHERE owner = ?", owner)
        assert files is not None and jobs is not None
        return int(files["n"]) + int(jobs["n"])

    def _arriving_bytes(self, owner: str) -> int:
        return sum(upload.bytes for upload in self._arriving if upload.owner == owner)

    def _count(self, owner: str) -> int:
        row = self._database.row("SELECT count(*) AS n FROM files WHERE owner = ? AND purpose = ?", owner, PURPOSE)
        assert row is not None
        return int(row["n"])

    def add(self, upload: Upload, filename: str, purpose: str, status: str, report: Any, expires_after: int | None) -> TableRow:
        """Adds the row of an upload whose bytes are on the disk; from then on the row counts them."""
        id, created = new_id("file-"), now()
        with self._database.lock:
            self._database.insert(
                "files", id=id, owner=upload.owner, filename=filename[:MAX_FILENAME], purpose=purpose, bytes=upload.bytes,
                created=created, expires=None if expires_after is None else created + expires_after, stored=upload.stored,
                status=status, report=as_json(report),
            )  # fmt: skip
            self._arriving.pop(upload, None)
        return self.find(upload.owner, id)

    def find(self, owner: str, id: str) -> TableRow:
        """A file of an owner.

        Raises:
            NotThere: it has none of this id.
        """
        return self._database.owned("files", owner, id, "No such File object")

    def page(
        self, owner: str, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> tuple[list[TableRow], bool]:
        """Files of an owner; see `Database.page`."""
        where, values = ("owner = ?", [owner]) if purpose is None else ("owner = ? AND purpose = ?", [owner, purpose])
        return self._database.page("files", where, values, after=after, limit=limit, newest_first=newest_first)

    def path(self, row: TableRow) -> Path:
        """Where the bytes of a file lie."""
        return self.folder / str(row["stored"])

    def read(self, row: TableRow, size: int = 1 << 16) -> Iterator[bytes]:
        """The bytes of a file, part by part.

        Raises:
            StorageFailed: at once, where it is not there.
        """
        path = self.path(row)
        if not path.is_file():
            raise StorageFailed(f"the bytes of {row['id']} are not there any more")

        def parts() -> Iterator[bytes]:
            with reading(path) as file:
                while part := file.read(size):
                    yield part

        return parts()

    def delete(self, owner: str, id: str) -> None:
        """Deletes a file.

        Raises:
            NotThere: there is none of this id. Refused: a job that waits or runs needs it.
        """
        row = self._database.freeing(partial(self._delete_row, owner, id))
        try:
            self.path(row).unlink(missing_ok=True)
        except OSError as error:  # it goes at the next start
            LOG.error("%s", cannot_write(self.path(row), error))
        self._database.restore_reserve()

    def _delete_row(self, owner: str, id: str) -> TableRow:
        with self._database.changing():
            row = self.find(owner, id)
            for job in self._database.rows(f"SELECT id, settings FROM jobs WHERE owner = ? AND status NOT IN {ENDED}", owner):
                settings = from_json(job["settings"])
                if id in (settings["training_file"], settings["validation_file"]):
                    raise Refused(f"The file {id} is needed by {job['id']}, which has not ended: cancel that first")
            self._database.delete("files", "id = ?", id)
            return row

    def delete_expired(self) -> None:
        """Deletes the files whose time has come, unless a job needs them."""
        for row in self._database.rows("SELECT owner, id FROM files WHERE expires IS NOT NULL AND expires <= ?", now()):
            with suppress(Refused, NotThere):
                self.delete(row["owner"], row["id"])
