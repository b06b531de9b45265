"""Which store a URL names. Never repeats a URL in a message: it may hold a password."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ffcluster.errors import InvalidOption
from ffcluster.store.interface import JobStore
from ffcluster.store.relational import RelationalStore
from ffcluster.store.sqlite import SqliteDatabase

DEFAULT_URL = "sqlite:///ffcluster.db"
_ALLOWED = "Allowed are sqlite:///PATH and postgresql://USER@HOST/NAME."


def open_store(url: str, state_dir: Path) -> JobStore:
    """Find the store that a URL names. It connects in `JobStore.open`, in the caller's thread.

    Args:
        url: `sqlite:///jobs.db` lies in `state_dir`, `sqlite:////var/lib/jobs.db` and
            `sqlite:///C:/jobs.db` where they say; `postgresql://...` as libpq understands it.
        state_dir: The coordinator's own directory.

    Raises:
        InvalidOption: It names none, or what is needed for it is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("postgresql", "postgres"):
        return _postgresql(url)
    if separator and scheme == "sqlite":
        return RelationalStore(SqliteDatabase(state_dir / _path(rest)))
    raise InvalidOption(
        message="The database's URL is not understood.", advice=_ALLOWED, option="database"
    )


def _postgresql(url: str) -> JobStore:
    try:
        from ffcluster.store.postgres import PostgresDatabase
    except ImportError as error:
        raise InvalidOption(
            message=f"PostgreSQL cannot be used: {error}.",
            advice='Install what it needs: pip install "ffcluster[postgresql]".',
            option="database",
        ) from error
    return RelationalStore(PostgresDatabase(url))


def _path(rest: str) -> Path:
    parts = urlsplit(f"sqlite://{rest}")
    name = unquote(parts.path.removeprefix("/"))
    if parts.netloc or parts.query or parts.fragment or not name or "\0" in name:
        raise InvalidOption(
            message="The URL of an SQLite database holds a path and nothing else.",
            advice="Relative to the state directory: sqlite:///jobs.db; absolute: "
            "sqlite:////var/lib/jobs.db. ? and # in it are written %3F and %23.",
            option="database",
        )
    return Path(name)
