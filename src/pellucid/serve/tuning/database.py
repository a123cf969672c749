"""`Database`: the service's SQLite file: uploads, jobs, their events and checkpoints, models; each row has its owner.

One connection, used by one thread at a time (`Database.lock`). Write-ahead logging: a kill at any moment leaves what was
committed, a power failure too, as every commit is flushed. On a full disk what makes room still works (`Database.freeing`).
"""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

from pellucid.errors import PellucidError
from pellucid.files import MAKE_ROOM
from pellucid.serve.tuning.reserve import Reserve


FILE = "service.sqlite"
VERSION = 1
Result = TypeVar("Result")
# What SQLite reports where the disk, or a quota of it, is full: some of these have other causes, too.
_NO_ROOM = frozenset({
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_CANTOPEN,
})  # fmt: skip
_SCHEMA = """
CREATE TABLE files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL, filename TEXT NOT NULL,
    purpose TEXT NOT NULL, bytes INTEGER NOT NULL, created INTEGER NOT NULL, expires INTEGER, stored TEXT NOT NULL,
    status TEXT NOT NULL, report TEXT NOT NULL
);
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL, api TEXT NOT NULL,
    created INTEGER NOT NULL, status TEXT NOT NULL, settings TEXT NOT NULL, started INTEGER, finished INTEGER, error TEXT,
    model TEXT, step INTEGER NOT NULL DEFAULT 0, total_steps INTEGER, trained_tokens INTEGER, result_files TEXT NOT NULL,
    answers TEXT, bytes INTEGER NOT NULL DEFAULT 0, starts INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, job TEXT NOT NULL REFERENCES jobs (id), name TEXT NOT NULL,
    created INTEGER NOT NULL, level TEXT NOT NULL, message TEXT NOT NULL, data TEXT NOT NULL, UNIQUE (job, name)
);
CREATE TABLE checkpoints (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, job TEXT NOT NULL REFERENCES jobs (id),
    step INTEGER NOT NULL, created INTEGER NOT NULL, metrics TEXT NOT NULL, UNIQUE (job, step)
);
CREATE TABLE models (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL, job TEXT NOT NULL REFERENCES jobs (id),
    created INTEGER NOT NULL
);
CREATE INDEX files_owner ON files (owner);
CREATE INDEX jobs_owner ON jobs (owner);
CREATE INDEX models_owner ON models (owner);
"""


class NotThere(PellucidError):
    """Nothing of this id belongs to this owner."""


class Refused(PellucidError):
    """It conflicts with the state of a file, a job or a model: it has faults, has ended, or is needed by a job."""


class QuotaReached(PellucidError):
    """A quota of the owner is reached: something has to be deleted first."""


class StorageFailed(PellucidError):
    """The disk or the database would not take it: not the request's fault."""


class DiskFull(StorageFailed):
    """The database's disk has no room."""


class TableRow(dict[str, Any]):
    """A row of a table, by column."""


class Database:
    """The file, and transactions on it.

    Args:
        path: of the file; made if it is not there.

    Attributes:
        lock: held by each query and for the length of a transaction. Whoever counts rows before it adds some holds it for
            both. It is the only lock of the tables and of what is counted beside them, so that no two threads wait for
            each other; it may be taken again by the thread that holds it.

    Raises:
        PellucidError: it cannot be opened, or another version of Pellucid made it.
    """

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self._depth = 0
        self._reserve = Reserve(path.parent)
        try:
            try:
                version = self._open(path)
            except (sqlite3.Error, StorageFailed):
                if not self._reserve.give_up():
                    raise
                version = self._open(path)
        except sqlite3.Error as error:
            raise PellucidError(f"cannot open {path}: {error}") from None
        if version not in (0, VERSION):
            self._connection.close()
            raise PellucidError(f"{path} was made by another version of Pellucid: name another folder with --data")
        self._reserve.restore()

    def _open(self, path: Path) -> int:
        """Opens the file, and makes the tables of a new one. Returns its version before that; 0: it is new."""
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                return int(version)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            if version == 0:
                with self.changing():
                    for statement in _SCHEMA.split(";\n"):
                        self._connection.execute(statement)
                    self._connection.execute(f"PRAGMA user_version = {VERSION}")
        except BaseException:
            self._connection.close()
            raise
        return int(version)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """A context manager: a transaction, committed at the end of the block, undone after an error. May be nested.

        Raises:
            StorageFailed: the disk is full, or the file cannot be written.
        """
        with self.lock:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield
                except BaseException:
                    if self._depth == 1 and self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
                if self._depth == 1:
                    self._connection.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                if self._depth == 1 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise _storage_failed("written", error) from error
            finally:
                self._depth -= 1

    def freeing(self, function: Callable[[], Result]) -> Result:
        """What a function returns that deletes rows or ends jobs, in transactions of its own: on a full disk it is called again
        with the room that was kept for it. Call `restore_reserve` once there is room.

        Raises:
            StorageFailed: it cannot be written all the same.
        """
        with self.lock:
            assert self._depth == 0  # a transaction that has failed cannot go on
            try:
                return function()
            except DiskFull:
                if not self._reserve.give_up():
                    raise
            try:
                return function()
            finally:
                with suppress(sqlite3.Error):  # what the log took is room again
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._reserve.restore()

    def restore_reserve(self) -> None:
        """Keeps room on the disk again for what makes room, if there is enough."""
        with self.lock:
            self._reserve.restore()

    def rows(self, query: str, *values: Any) -> list[TableRow]:
        """The rows of a query.

        Raises:
            StorageFailed: the file cannot be read.
        """
        with self.lock:
            try:
                cursor = self._connection.execute(query, values)
                names = [column[0] for column in cursor.description]
                return [TableRow(zip(names, row, strict=True)) for row in cursor.fetchall()]
            except sqlite3.DatabaseError as error:
                raise _storage_failed("read", error) from error

    def row(self, query: str, *values: Any) -> TableRow | None:
        """The first row of a query; None: there is none."""
        return next(iter(self.rows(query, *values)), None)

    def owned(self, table: str, owner: str, id: str, missing: str, **others: Any) -> TableRow:
        """The row of an owner that has this id and these other values.

        Raises:
            NotThere: there is none, whatever other owners have; the message is `missing` and the id.
        """
        where = "".join(f" AND {name} = ?" for name in others)
        row = self.row(f"SELECT * FROM {table} WHERE owner = ? AND id = ?{where}", owner, id, *others.values())
        if row is None:
            raise NotThere(f"{missing}: {id[:80]}")
        return row

    def insert(self, table: str, *, or_ignore: bool = False, **values: Any) -> bool:
        """Adds a row. Returns whether it was added."""
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        how = "INSERT OR IGNORE" if or_ignore else "INSERT"
        with self.changing():
            return self._connection.execute(f"{how} INTO {table} ({names}) VALUES ({marks})", [*values.values()]).rowcount > 0

    def update(self, table: str, where: str, where_values: Sequence[Any], **values: Any) -> int:
        """Changes rows. Returns how many."""
        changes = ", ".join(f"{name} = ?" for name in values)
        with self.changing():
            return self._connection.execute(
                f"UPDATE {table} SET {changes} WHERE {where}", [*values.values(), *where_values]
            ).rowcount

    def delete(self, table: str, where: str, *values: Any) -> int:
        """Deletes rows. Returns how many."""
        with self.changing():
            return self._connection.execute(f"DELETE FROM {table} WHERE {where}", values).rowcount

    def page(
        self,
        table: str,
        where: str,
        values: Sequence[Any],
        *,
        after: str | None,
        limit: int,
        newest_first: bool,
        columns: str = "*",
    ) -> tuple[list[TableRow], bool]:
        """(rows of a page in the order of their making, whether more follow).

        Args:
            after: the id of the last row of the page before; None: the first page.

        Raises:
            NotThere: `after` is the id of none of these rows.
        """
        given = list(values)
        if after is not None:
            last = self.row(f"SELECT seq FROM {table} WHERE {where} AND id = ?", *values, after)
            if last is None:
                raise NotThere(f"no such id: {after[:80]!r}")
            where += f" AND seq {'<' if newest_first else '>'} ?"
            given.append(last["seq"])
        order = "DESC" if newest_first else "ASC"
        found = self.rows(f"SELECT {columns} FROM {table} WHERE {where} ORDER BY seq {order} LIMIT ?", *given, limit + 1)
        return found[:limit], len(found) > limit

    def close(self) -> None:
        """Closes the file."""
        with self.lock:
            self._connection.close()


def _storage_failed(what: str, error: sqlite3.DatabaseError) -> StorageFailed:
    code = getattr(error, "sqlite_errorcode", None)  # errors of Python's own have none
    hint = "; make room on the disk of --data" if code == sqlite3.SQLITE_FULL else ""
    kind = DiskFull if code in _NO_ROOM else StorageFailed
    return kind(f"the service's database cannot be {what}: {error}{hint}")


def cannot_store(what: str, error: OSError) -> StorageFailed:
    """The error for a file of the folder that cannot be written. It is told to clients: it names no file of the server."""
    hint = "; make room on the disk of --data" if error.errno in MAKE_ROOM else ""
    return StorageFailed(f"cannot write {what}: {error.strerror or error}{hint}")


def new_id(prefix: str) -> str:
    """A random id of 96 bits."""
    return f"{prefix}{token_hex(12)}"


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())


def as_json(value: Any) -> str:
    """A value as the tables hold it."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def from_json(text: str) -> Any:
    """The inverse of `as_json`."""
    return json.loads(text)
