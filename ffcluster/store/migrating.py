"""The schema, as the numbered steps that lead to it. Forwards only, never over a later version.

A step that was released is never changed; a change of the schema is a new step. Every statement
means the same in all databases that are served.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ffcluster.errors import StoreDamaged, StoreTooNew
from ffcluster.store.database import Database

_SET = (
    "INSERT INTO meta (name, value) VALUES (?, ?) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)


@attrs.frozen
class Migration:
    """One step of the schema.

    Attributes:
        purpose: What it brings, for a person.
        statements: What is run, in order.
    """

    purpose: str
    statements: tuple[str, ...]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "jobs with their segments, attempts and shares; workers",
        (
            """CREATE TABLE jobs (
                id TEXT PRIMARY KEY,
                number BIGINT NOT NULL UNIQUE,
                state TEXT NOT NULL,
                document TEXT NOT NULL
            )""",
            """CREATE TABLE segments (
                job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
                first_frame BIGINT NOT NULL,
                state TEXT NOT NULL,
                committed BIGINT,
                document TEXT NOT NULL,
                PRIMARY KEY (job_id, first_frame)
            )""",
            """CREATE TABLE attempts (
                epoch BIGINT PRIMARY KEY,
                job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
                worker_id TEXT NOT NULL,
                outcome TEXT NOT NULL,
                document TEXT NOT NULL
            )""",
            """CREATE TABLE shares (
                job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
                worker_id TEXT NOT NULL,
                document TEXT NOT NULL,
                PRIMARY KEY (job_id, worker_id)
            )""",
            """CREATE TABLE workers (
                id TEXT PRIMARY KEY,
                number BIGINT NOT NULL UNIQUE,
                document TEXT NOT NULL
            )""",
        ),
    ),
    Migration(
        "events, idempotency keys, tokens",
        (
            """CREATE TABLE events (
                number BIGINT PRIMARY KEY,
                at DOUBLE PRECISION NOT NULL,
                kind TEXT NOT NULL,
                job_id TEXT,
                document TEXT NOT NULL
            )""",
            """CREATE TABLE idempotency_keys (
                name TEXT PRIMARY KEY,
                job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
                at DOUBLE PRECISION NOT NULL,
                document TEXT NOT NULL
            )""",
            """CREATE TABLE tokens (
                id TEXT PRIMARY KEY,
                number BIGINT NOT NULL UNIQUE,
                document TEXT NOT NULL
            )""",
        ),
    ),
    Migration(
        "indexes for receipts, for the events of a job, and for what goes with a job",
        (
            "CREATE INDEX attempts_of_job ON attempts (job_id, epoch)",
            "CREATE INDEX events_of_job ON events (job_id, number)",
            "CREATE INDEX keys_of_job ON idempotency_keys (job_id)",
        ),
    ),
    Migration(
        "webhooks and what they are told",
        (
            """CREATE TABLE webhooks (
                id TEXT PRIMARY KEY,
                number BIGINT NOT NULL UNIQUE,
                document TEXT NOT NULL
            )""",
            """CREATE TABLE deliveries (
                webhook_id TEXT NOT NULL,
                event BIGINT NOT NULL,
                at DOUBLE PRECISION NOT NULL,
                state TEXT NOT NULL,
                document TEXT NOT NULL,
                PRIMARY KEY (webhook_id, event)
            )""",
            "CREATE INDEX deliveries_by_state ON deliveries (state, at)",
        ),
    ),
)


def version_of(database: Database) -> int:
    """The schema's version; 0 where there is none yet.

    Raises:
        StoreDamaged: It is not written down as it should be.
    """
    if not database.has_table("meta"):
        return 0
    text = read_meta(database, "schema")
    if text is None or not text.isdigit():
        raise StoreDamaged(
            message="The database does not say which version its schema has.",
            advice="Go back to a backup.",
        )
    return int(text)


def known_version(database: Database, steps: Sequence[Migration] = MIGRATIONS) -> int:
    """The schema's version, if this program knows it.

    Raises:
        StoreTooNew: It does not.
        StoreDamaged: See `version_of`.
    """
    found = version_of(database)
    if found > len(steps):
        raise StoreTooNew(
            message=f"The database has schema version {found}; this program knows {len(steps)}.",
            advice="Run the version of ffcluster that wrote it or a later one, "
            "or go back to a backup.",
            detail={"found": found, "known": len(steps)},
        )
    return found


def migrate(database: Database, steps: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the schema up to the last of `steps`, in one transaction.

    Raises:
        StoreTooNew, StoreDamaged: See `known_version`. Nothing was changed.
    """
    found = known_version(database, steps)
    if found == len(steps):
        return
    with database.transaction():
        if found == 0:
            database.run("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        for step in steps[found:]:
            for statement in step.statements:
                database.run(statement)
        write_meta(database, "schema", str(len(steps)))


def read_meta(database: Database, name: str) -> str | None:
    """A value of the table `meta`, or None."""
    rows = database.query("SELECT value FROM meta WHERE name = ?", (name,))
    return str(rows[0][0]) if rows else None


def write_meta(database: Database, name: str, value: str) -> None:
    """Set a value of the table `meta`."""
    database.run(_SET, (name, value))
