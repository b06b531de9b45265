"""A database in one file, by SQLite. Refuses files that are not ours and a second coordinator.

Write-ahead log, synchronous: a transaction that was acknowledged survives the loss of power. The
file belongs on a local disk: the log does not work over a network.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ffcluster.errors import (
    Conflict,
    DiskFull,
    FfclusterError,
    OutputUnwritable,
    StoreDamaged,
    StoreFailed,
    StoreForeign,
    StoreUnavailable,
)
from ffcluster.store.dirlock import DirectoryLock
from ffcluster.store.files import make_private, storage_error
from ffcluster.store.tables import Row

# "ffcl": marks a file as ours.
_APPLICATION_ID = 0x6666636C
_BUSY_TIMEOUT_S = 5.0
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# Of these the file system or another program is the cause, so they may pass.
_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_CANTOPEN,
    }
)


class SqliteDatabase:
    """`ffcluster.store.database.Database` in one file.

    Args:
        path: The file; made when it is missing, with a lock file beside it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = DirectoryLock(path.with_name(f"{path.name}.lock"))
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """See `Database.open`."""
        self._take()
        try:
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, cached_statements=64
            )
        except sqlite3.Error as error:
            raise OutputUnwritable(
                message=f"Cannot open {self._path}: {error}.",
                advice="Check that you may read and write it.",
            ) from error
        self._connection = connection
        self._identify()
        self._check()

    def _take(self) -> None:
        make_private(self._path.parent)
        try:
            taken = self._lock.take()
        except OSError as error:
            raise storage_error(error, self._path) from error
        if not taken:
            raise Conflict(
                message=f"Another coordinator uses {self._path}.",
                advice="Stop it, or give this one another --state-dir or --database.",
            )

    def _identify(self) -> None:
        """Make sure that the file is empty or ours."""
        marked = self.query("PRAGMA application_id")[0][0]
        tables = self.query("SELECT COUNT(*) FROM sqlite_master")[0][0]
        if marked not in (0, _APPLICATION_ID) or (marked == 0 and tables > 0):
            raise StoreForeign(
                message=f"{self._path} is a database of another program.",
                advice="Give --database another path.",
            )

    def _check(self) -> None:
        found = [str(row[0]) for row in self.query("PRAGMA quick_check(5)")]
        if found != ["ok"]:
            raise StoreDamaged(
                message=f"{self._path} is damaged: {found[0].splitlines()[0]}",
                advice=_RESTORE,
                detail={"quick_check": found},
            )

    def prepare(self) -> None:
        """See `Database.prepare`."""
        self.run("PRAGMA foreign_keys = ON")
        self.run("PRAGMA synchronous = FULL")
        mode = self.query("PRAGMA journal_mode = WAL")[0][0]
        if mode != "wal":
            raise StoreFailed(
                message=f"SQLite cannot keep a write-ahead log beside {self._path}.",
                advice="Put the database on a local disk.",
            )
        if self.query("PRAGMA application_id")[0][0] != _APPLICATION_ID:
            self.run(f"PRAGMA application_id = {_APPLICATION_ID}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Database.transaction`."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            # SQLite may have given up the transaction by itself.
            with contextlib.suppress(FfclusterError):
                if self._open.in_transaction:
                    self.run("ROLLBACK")
            raise

    def run(self, statement: str, values: Row = ()) -> None:
        """See `Database.run`."""
        with self._translated():
            self._open.execute(statement, values)

    def run_each(self, statement: str, rows: Sequence[Row]) -> None:
        """See `Database.run_each`."""
        with self._translated():
            self._open.executemany(statement, rows)

    def query(self, statement: str, values: Row = ()) -> list[tuple[Any, ...]]:
        """See `Database.query`."""
        with self._translated():
            return self._open.execute(statement, values).fetchall()

    def has_table(self, name: str) -> bool:
        """See `Database.has_table`."""
        found = self.query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,))
        return bool(found)

    def close(self) -> None:
        """See `Database.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # What was acknowledged is in the log, whatever becomes of its last checkpoint.
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        self._lock.free()

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreFailed(message=f"{self._path} is closed.")
        return self._connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _error(self, error: sqlite3.Error) -> FfclusterError:
        # The low byte is the cause, the rest says where.
        cause = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if cause == sqlite3.SQLITE_FULL:
            return DiskFull(
                message=f"No space left to write {self._path.name} in {self._path.parent}.",
                advice="Free some space there; what is to be stored waits.",
            )
        if cause in _DAMAGED:
            return StoreDamaged(message=f"{self._path} is damaged: {error}.", advice=_RESTORE)
        if cause in _PASSING:
            return StoreUnavailable(
                message=f"Cannot use {self._path} now: {error}.",
                advice="See what else uses it, and whether its disk is well; it is tried again.",
            )
        return StoreFailed(message=f"{self._path} refuses: {error}.")


_RESTORE = "Move it away and put a backup in its place; without one, jobs are submitted again."
