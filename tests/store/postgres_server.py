"""A private PostgreSQL server in a temporary directory, on a Unix socket that nobody else finds."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs


def binaries() -> Path | None:
    """Where `initdb` and `pg_ctl` are, the newest version first, or None."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr/pgsql").glob("bin")]
    found.sort(key=lambda folder: [int(n) for n in folder.parent.name.split(".") if n.isdigit()])
    on_path = shutil.which("pg_ctl")
    candidates = [*reversed(found), *([Path(on_path).parent] if on_path else [])]
    return next((folder for folder in candidates if (folder / "initdb").exists()), None)


def missing() -> str:
    """Why no server can be started here, or ""."""
    if os.name != "posix":
        return "the private PostgreSQL server needs Unix sockets"
    if binaries() is None:
        return "PostgreSQL is not installed (Debian: apt install postgresql)"
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        return f"psycopg cannot be used: {error}"
    return ""


@attrs.frozen
class PostgresServer:
    """A server that runs; `url` leads to its database of the given name.

    Attributes:
        folder: Holds its files and its socket.
        durable: Whether commits wait for the disk. They need not where only processes are killed.
    """

    folder: Path
    durable: bool = False

    def url(self, database: str = "postgres") -> str:
        """Where a database is."""
        return f"postgresql://{_user()}@/{database}?host={self.folder}"

    def create(self, database: str, *options: str) -> str:
        """Make a database, and say where it is."""
        self._command("createdb", "-h", self.folder, *options, database)
        return self.url(database)

    def restart(self) -> None:
        """Stop it as a crash would, and start it again."""
        self.stop()
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        # The socket is the only way in; its folder may only be entered by its owner and root.
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder}"
        if not self.durable:
            options += " -c fsync=off"
        self._control("start", "-o", options, "-l", self.folder / "log")

    def stop(self) -> None:
        """Stop it as a crash would."""
        self._control("stop", "-m", "immediate")

    def initialise(self) -> None:
        """Make its files."""
        self._command(
            "initdb", "--no-sync", "-D", self.folder / "data",
            "-A", "trust", "-E", "UTF8", "--locale", "C", "-U", _user(),
        )  # fmt: skip

    def _control(self, verb: str, *words: object) -> None:
        self._command("pg_ctl", verb, "-w", "-t", "60", "-D", self.folder / "data", *words)

    def _command(self, name: str, *words: object) -> None:
        folder = binaries()
        assert folder is not None
        argv = [str(folder / name), *map(str, words)]
        subprocess.run(
            argv, check=True, cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **_identity(),
        )  # fmt: skip


# Ends the server and removes its files when the other end of its input is closed, and so also when
# the process of the tests is killed.
_GUARD = 'read _; "$0" stop -s -m immediate -D "$1/data"; rm -rf "$1"'


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A server for as long as the context lasts."""
    # A path for a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="ffpg-", dir="/tmp"))
    if os.geteuid() == 0:
        account = pwd.getpwnam(_user())
        os.chown(folder, account.pw_uid, account.pw_gid)
    programs = binaries()
    assert programs is not None
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, programs / "pg_ctl", folder], cwd="/", stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **_identity(),
    )  # fmt: skip
    with guard:
        server = PostgresServer(folder, durable)
        server.initialise()
        server.start()
        yield server


@functools.cache
def _user() -> str:
    """Who runs it: never root, which the server refuses."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    names = {account.pw_name for account in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _identity() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam(_user())
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
