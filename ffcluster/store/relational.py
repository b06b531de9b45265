"""A store in the tables of any database that is served."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ffcluster.core.durable import (
    AttemptEntry,
    Changes,
    Counters,
    DeliveryEntry,
    EventEntry,
    KeyEntry,
    Saved,
    SegmentEntry,
    TokenEntry,
)
from ffcluster.core.model import JobId
from ffcluster.errors import StoreDamaged
from ffcluster.store.database import Database
from ffcluster.store.documents import from_document, latest_time, to_document
from ffcluster.store.migrating import (
    MIGRATIONS,
    Migration,
    known_version,
    migrate,
    read_meta,
    write_meta,
)
from ffcluster.store.tables import (
    ATTEMPTS,
    DELIVERIES,
    EVENTS,
    JOBS,
    KEYS,
    SEGMENTS,
    SHARES,
    TABLES,
    TOKENS,
    WEBHOOKS,
    WORKERS,
    Row,
    text_column,
)

_UNFINISHED = "JOIN jobs ON jobs.id = {0}.job_id AND jobs.state <> 'Completed'"
_LOAD_SEGMENTS = (
    f"SELECT segments.document FROM segments {_UNFINISHED.format('segments')} "  # noqa: S608
    "ORDER BY jobs.number, segments.first_frame"
)
_LOAD_ATTEMPTS = (
    f"SELECT attempts.document FROM attempts {_UNFINISHED.format('attempts')} "  # noqa: S608
    "WHERE attempts.outcome = 'live' OR EXISTS (SELECT 1 FROM segments "
    "WHERE segments.job_id = attempts.job_id AND segments.committed = attempts.epoch) "
    "ORDER BY attempts.epoch"
)
_LOAD_SHARES = (
    "SELECT shares.document FROM shares JOIN jobs ON jobs.id = shares.job_id "
    "ORDER BY jobs.number, shares.worker_id"
)
_LOAD_DELIVERIES = (
    "SELECT deliveries.document FROM deliveries JOIN webhooks ON webhooks.id = webhook_id "
    "WHERE state = 'waiting' ORDER BY webhooks.number, event"
)
_REMOVE_JOB = "DELETE FROM jobs WHERE id = ?"
_REMOVE_WORKER = "DELETE FROM workers WHERE id = ?"
_REMOVE_SEGMENT = "DELETE FROM segments WHERE job_id = ? AND first_frame = ?"
_REMOVE_WEBHOOK = "DELETE FROM webhooks WHERE id = ?"
_REMOVE_DELIVERIES = "DELETE FROM deliveries WHERE webhook_id = ?"
_AT_ONCE = 1000
_LAST = 2**63 - 1


class RelationalStore:
    """`ffcluster.store.interface.JobStore` on a database.

    Args:
        database: Where the tables are.
        migrations: The steps to this version's schema.
    """

    def __init__(self, database: Database, migrations: Sequence[Migration] = MIGRATIONS) -> None:
        self._database = database
        self._migrations = migrations
        self._clock_s = -math.inf

    def open(self) -> None:
        """See `JobStore.open`."""
        try:
            self._database.open()
            known_version(self._database, self._migrations)
            self._database.prepare()
            migrate(self._database, self._migrations)
            self._clock_s = self._stored_clock()
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """See `JobStore.close`."""
        self._database.close()

    def load(self) -> Saved:
        """See `JobStore.load`."""
        query = self._database.query
        counters = read_meta(self._database, "counters")
        return Saved(
            jobs=JOBS.entries(query("SELECT document FROM jobs ORDER BY number")),
            segments=SEGMENTS.entries(query(_LOAD_SEGMENTS)),
            attempts=ATTEMPTS.entries(query(_LOAD_ATTEMPTS)),
            shares=SHARES.entries(query(_LOAD_SHARES)),
            workers=WORKERS.entries(query("SELECT document FROM workers ORDER BY number")),
            webhooks=WEBHOOKS.entries(query("SELECT document FROM webhooks ORDER BY number")),
            deliveries=DELIVERIES.entries(query(_LOAD_DELIVERIES)),
            counters=Counters() if counters is None else from_document(counters, Counters),
            clock_s=self._stored_clock(),
        )

    def apply(self, changes: Sequence[Changes]) -> None:
        """See `JobStore.apply`."""
        statements = [statement for one in changes for statement in _statements(one)]
        counters = next((c.counters for c in reversed(changes) if c.counters is not None), None)
        clock_s = max(self._clock_s, latest_time(changes))
        with self._database.transaction():
            for statement, rows in statements:
                self._database.run_each(statement, rows)
            if counters is not None:
                write_meta(self._database, "counters", to_document(counters))
            if clock_s > self._clock_s:
                write_meta(self._database, "clock", repr(clock_s))
        self._clock_s = clock_s

    def segments(
        self, job_id: JobId, after: int = -1, limit: int | None = None
    ) -> tuple[SegmentEntry, ...]:
        """See `JobStore.segments`."""
        return SEGMENTS.entries(
            self._database.query(
                "SELECT document FROM segments WHERE job_id = ? AND first_frame > ? "
                "ORDER BY first_frame LIMIT ?",
                (text_column(job_id), after, _LAST if limit is None else limit),
            )
        )

    def attempts(
        self, job_id: JobId, after: int = -1, limit: int | None = None
    ) -> tuple[AttemptEntry, ...]:
        """See `JobStore.attempts`."""
        return ATTEMPTS.entries(
            self._database.query(
                "SELECT document FROM attempts WHERE job_id = ? AND epoch > ? "
                "ORDER BY epoch LIMIT ?",
                (text_column(job_id), after, _LAST if limit is None else limit),
            )
        )

    def events(self, after: int, limit: int, job_id: JobId | None = None) -> tuple[EventEntry, ...]:
        """See `JobStore.events`."""
        if job_id is None:
            rows = self._database.query(
                "SELECT document FROM events WHERE number > ? ORDER BY number LIMIT ?",
                (after, limit),
            )
        else:
            rows = self._database.query(
                "SELECT document FROM events WHERE job_id = ? AND number > ? "
                "ORDER BY number LIMIT ?",
                (text_column(job_id), after, limit),
            )
        return EVENTS.entries(rows)

    def key(self, name: str) -> KeyEntry | None:
        """See `JobStore.key`."""
        rows = self._database.query(
            "SELECT document FROM idempotency_keys WHERE name = ?", (text_column(name),)
        )
        return KEYS.entries(rows)[0] if rows else None

    def tokens(self) -> tuple[TokenEntry, ...]:
        """See `JobStore.tokens`."""
        return TOKENS.entries(self._database.query("SELECT document FROM tokens ORDER BY number"))

    def deliveries(self, webhook_id: str, before: int, limit: int) -> tuple[DeliveryEntry, ...]:
        """See `JobStore.deliveries`."""
        return DELIVERIES.entries(
            self._database.query(
                "SELECT document FROM deliveries WHERE webhook_id = ? AND event < ? "
                "ORDER BY event DESC LIMIT ?",
                (text_column(webhook_id), before, limit),
            )
        )

    def prune(self, events_before: int, keys_before: float, deliveries_before: float = 0.0) -> None:
        """See `JobStore.prune`."""
        with self._database.transaction():
            self._database.run("DELETE FROM events WHERE number < ?", (events_before,))
            self._database.run("DELETE FROM idempotency_keys WHERE at < ?", (keys_before,))
            self._database.run(
                "DELETE FROM deliveries WHERE state <> 'waiting' AND at < ?", (deliveries_before,)
            )

    def everything(self) -> Iterator[Changes]:
        """See `JobStore.everything`."""
        saved = self.load()
        yield Changes(workers=saved.workers, tokens=self.tokens(), webhooks=saved.webhooks)
        for job in saved.jobs:
            of_job = (text_column(job.id),)
            query = self._database.query
            yield Changes(
                jobs=(job,),
                segments=self.segments(job.id),
                attempts=self.attempts(job.id),
                shares=tuple(share for share in saved.shares if share.job_id == job.id),
                keys=KEYS.entries(
                    query("SELECT document FROM idempotency_keys WHERE job_id = ?", of_job)
                ),
            )
        number = -1
        while events := self.events(number, _AT_ONCE):
            yield Changes(events=events)
            number = events[-1].number
        for webhook in saved.webhooks:
            number = _LAST
            while deliveries := self.deliveries(webhook.id, number, _AT_ONCE):
                yield Changes(deliveries=deliveries)
                number = deliveries[-1].event.number
        yield Changes(counters=saved.counters)

    def _stored_clock(self) -> float:
        text = read_meta(self._database, "clock") or "0"
        try:
            return float(text)
        except ValueError:
            raise StoreDamaged(
                message=f"The database has {text[:40]!r} for its clock.", advice="Restore a backup."
            ) from None


def _statements(changes: Changes) -> Iterator[tuple[str, list[Row]]]:
    """What stores `changes`, but for the counters."""
    for table in TABLES:
        entries = getattr(changes, table.field)
        if entries:
            yield table.upsert, [table.row(entry) for entry in entries]
    if changes.removed_segments:
        rows: list[Row] = [(text_column(job), first) for job, first in changes.removed_segments]
        yield _REMOVE_SEGMENT, rows
    if changes.removed_jobs:
        yield _REMOVE_JOB, [(text_column(job),) for job in changes.removed_jobs]
    if changes.removed_workers:
        yield _REMOVE_WORKER, [(text_column(worker),) for worker in changes.removed_workers]
    if changes.removed_webhooks:
        webhooks: list[Row] = [(text_column(webhook),) for webhook in changes.removed_webhooks]
        yield _REMOVE_DELIVERIES, webhooks
        yield _REMOVE_WEBHOOK, webhooks
