"""A PostgreSQL database, by psycopg. Refuses a schema that is not ours and a second coordinator.

Our tables lie in a schema of their own, `ffcluster`. An advisory lock keeps other coordinators
out; it ends with the connection. When a connection was lost, the next one goes on only if nobody
else has used the database in between: each coordinator writes its own mark when it begins.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ffcluster.errors import (
    Conflict,
    DiskFull,
    FfclusterError,
    InvalidOption,
    StoreDamaged,
    StoreFailed,
    StoreForeign,
    StoreUnavailable,
)
from ffcluster.store.tables import Row

# "ffcluste" as a number: what our advisory lock is on.
_LOCK = 0x6666636C75737465
# The server may need a moment to see that the coordinator before this one is dead.
_PATIENCE_S = 5.0
_PARAMETERS: dict[str, Any] = {
    "application_name": "ffcluster",
    "client_encoding": "utf8",
    "connect_timeout": 10,
    # A server that is cut off is noticed within half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_SETTINGS = (
    "SET search_path TO ffcluster",
    # The server, too, notices a coordinator that is cut off, and frees its lock.
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
)
_TABLES = "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = 'ffcluster'"
_LOCK_TAKEN = "55P03"
# Read-only: the server became a standby.
_PASSING_STATES = frozenset({"25006", _LOCK_TAKEN})
# Connection, resources, operator's intervention, system, transactions that were rolled back.
_PASSING_CLASSES = frozenset({"08", "53", "57", "58", "40"})
_DAMAGED = frozenset({"XX001", "XX002"})


class PostgresDatabase:
    """`ffcluster.store.database.Database` on a server.

    Args:
        url: As libpq understands it. What it leaves open comes from libpq's environment
            (`PGPASSFILE`, `PGSERVICE` ...).
        patience_s: How long to wait for another coordinator to be gone.

    Raises:
        InvalidOption: The URL is not one.
    """

    def __init__(self, url: str, patience_s: float = _PATIENCE_S) -> None:
        try:
            self._parameters = _PARAMETERS | conninfo_to_dict(url)
        except psycopg.Error:
            # The error's own text repeats the URL, and with it the password.
            raise InvalidOption(
                message="The URL of the PostgreSQL database is not understood.",
                advice="postgresql://USER@HOST:PORT/NAME; a password belongs into a file "
                "that PGPASSFILE names.",
                option="database",
            ) from None
        self._patience_ms = max(1, round(patience_s * 1000))
        self._mark = secrets.token_hex(16)
        self._begun = False
        self._connection: psycopg.Connection | None = None

    def open(self) -> None:
        """See `Database.open`."""
        encoding = self.query("SHOW server_encoding")[0][0]
        if encoding != "UTF8":
            raise StoreFailed(
                message=f"The database keeps text as {encoding}, which does not hold every name.",
                advice="Make one with: createdb --encoding UTF8 --template template0 NAME",
            )
        tables = {name for (name,) in self.query(_TABLES)}
        if tables and not tables & {"meta", "owner"}:
            raise StoreForeign(
                message="The database has a schema 'ffcluster' that is not ours.",
                advice="Give --database another database.",
            )

    def prepare(self) -> None:
        """See `Database.prepare`."""
        with self.transaction():
            if not self.query("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = 'ffcluster'"):
                self.run("CREATE SCHEMA ffcluster")
            if not self.has_table("owner"):
                self.run("CREATE TABLE owner (mark TEXT NOT NULL)")
            self.run("DELETE FROM owner")
            self.run("INSERT INTO owner (mark) VALUES (?)", (self._mark,))
        self._begun = True

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Database.transaction`."""
        self.run("BEGIN")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                if self._connection is not None:
                    self._connection.execute("ROLLBACK")
            raise

    def run(self, statement: str, values: Row = ()) -> None:
        """See `Database.run`."""
        with self._cursor() as cursor:
            cursor.execute(_marked(statement), values)

    def run_each(self, statement: str, rows: Sequence[Row]) -> None:
        """See `Database.run_each`."""
        with self._cursor() as cursor:
            cursor.executemany(_marked(statement), rows)

    def query(self, statement: str, values: Row = ()) -> list[tuple[Any, ...]]:
        """See `Database.query`."""
        with self._cursor() as cursor:
            return cursor.execute(_marked(statement), values).fetchall()

    def has_table(self, name: str) -> bool:
        """See `Database.has_table`."""
        return bool(self.query(f"{_TABLES} AND tablename = ?", (name,)))

    def close(self) -> None:
        """See `Database.close`."""
        self._begun = False
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    @contextmanager
    def _cursor(self) -> Iterator[psycopg.Cursor]:
        try:
            with self._connected().cursor() as cursor:
                yield cursor
        except psycopg.Error as error:
            if self._connection is not None and self._connection.closed:
                self._connection = None
            raise _error(error) from error

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            connection = psycopg.connect(autocommit=True, **self._parameters)
            try:
                self._begin(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _begin(self, connection: psycopg.Connection) -> None:
        """Set a new connection up, and make sure that this coordinator is the only one."""
        for setting in _SETTINGS:
            connection.execute(setting.encode())
        if connection.execute("SHOW synchronous_commit").fetchone() == ("off",):
            connection.execute("SET synchronous_commit = on")
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = {self._patience_ms}".encode())
                connection.execute("SELECT pg_advisory_lock(%s::bigint)", (_LOCK,))
        except psycopg.errors.LockNotAvailable:
            # After a lost connection it is most likely that one which holds the lock.
            if self._begun:
                raise
            raise _taken("Another coordinator uses the PostgreSQL database.") from None
        if not self._begun:
            return
        found = connection.execute("SELECT mark FROM owner").fetchall()
        if found != [(self._mark,)]:
            raise _taken(
                "Another coordinator used the PostgreSQL database while it was out of reach."
            )


def _marked(statement: str) -> bytes:
    """The statement as psycopg takes it; none of ours has a question or percent mark otherwise."""
    return statement.replace("?", "%s").encode()


def _taken(message: str) -> Conflict:
    return Conflict(message=message, advice="Stop it, or give this one another --database.")


def _error(error: psycopg.Error) -> FfclusterError:
    """An error of our own, decided by the SQLSTATE; none means that the connection is at fault."""
    state = error.sqlstate or ""
    text = error.diag.message_primary or next(iter(str(error).splitlines()), "")
    if state == "53100":
        return DiskFull(
            message=f"The PostgreSQL server has no space left: {text}.",
            advice="Free some space there; what is to be stored waits.",
        )
    if state in _DAMAGED:
        return StoreDamaged(
            message=f"The PostgreSQL database is damaged: {text}.", advice="Restore a backup."
        )
    lost = not state and isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    if lost or state in _PASSING_STATES or state[:2] in _PASSING_CLASSES:
        return StoreUnavailable(
            message=f"The PostgreSQL database cannot be used now: {text}.",
            advice="See whether the server runs and can be reached; it is tried again.",
        )
    return StoreFailed(
        message=f"The PostgreSQL database refuses: {text}.",
        detail={"sqlstate": state},
    )
