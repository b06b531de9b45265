"""The tables: which entry lies in which, under what identity, and with which columns to ask by.

The rest of an entry is one JSON document a row: it is always read and written as a whole, and may
get new fields without a new schema. That leaves a dozen fixed statements, which are the same in
every database that is served; an object-relational mapper would hide them, hold a second copy of
every entry, and cost more time than the database itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs

from ffcluster.core.durable import (
    AttemptEntry,
    DeliveryEntry,
    EventEntry,
    JobEntry,
    KeyEntry,
    SegmentEntry,
    ShareEntry,
    TokenEntry,
    WebhookEntry,
    WorkerEntry,
)
from ffcluster.store.documents import from_document, to_document

E = TypeVar("E")
Value = str | int | float | None
Row = tuple[Value, ...]

# Longer ones would not fit into an index of PostgreSQL.
_LONGEST_IDENTITY = 500


def text_column(text: str) -> str:
    """A text from outside as a value that every database takes, different for different texts."""
    if "\\" in text or "\0" in text or not text.isascii():
        text = text.replace("\\", "\\\\").replace("\0", "\\0")
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) > _LONGEST_IDENTITY:
        return "\\sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return text


@attrs.frozen
class Table(Generic[E]):
    """How one class of entries lies in a table.

    Attributes:
        name: The table's.
        field: The field of `Changes` that holds such entries.
        kind: The class.
        identity: Columns that tell entries apart.
        columns: Further columns to ask by.
        values: The values of `identity` and `columns`, in this order.
        numbered: Whether a column `number` keeps the order in which entries first came.
    """

    name: str
    field: str
    kind: type[E]
    identity: tuple[str, ...]
    columns: tuple[str, ...]
    values: Callable[[E], Row]
    numbered: bool = False

    @property
    def upsert(self) -> str:
        """The statement that adds a row, or replaces the one of the same identity."""
        names = [*self.identity, *self.columns, "document"]
        marks = ["?"] * len(names)
        changed = ", ".join(f"{name} = excluded.{name}" for name in (*self.columns, "document"))
        if self.numbered:
            names.append("number")
            marks.append(f"(SELECT COALESCE(MAX(number), 0) + 1 FROM {self.name})")  # noqa: S608
        return (
            f"INSERT INTO {self.name} ({', '.join(names)}) VALUES ({', '.join(marks)}) "  # noqa: S608
            f"ON CONFLICT ({', '.join(self.identity)}) DO UPDATE SET {changed}"
        )

    def row(self, entry: E) -> Row:
        """What `upsert` takes."""
        return (*self.values(entry), to_document(entry))

    def entries(self, rows: list[tuple[Any, ...]]) -> tuple[E, ...]:
        """Read entries from rows that hold a document each.

        Raises:
            StoreDamaged: One cannot be read.
        """
        return tuple(from_document(document, self.kind) for (document,) in rows)


JOBS = Table(
    "jobs",
    "jobs",
    JobEntry,
    ("id",),
    ("state",),
    lambda job: (text_column(job.id), job.state),
    numbered=True,
)
SEGMENTS = Table(
    "segments",
    "segments",
    SegmentEntry,
    ("job_id", "first_frame"),
    ("state", "committed"),
    lambda segment: (
        text_column(segment.job_id),
        segment.frames.first,
        segment.state,
        segment.committed,
    ),
)
ATTEMPTS = Table(
    "attempts",
    "attempts",
    AttemptEntry,
    ("epoch",),
    ("job_id", "worker_id", "outcome"),
    lambda attempt: (
        attempt.epoch,
        text_column(attempt.job_id),
        text_column(attempt.worker_id),
        attempt.end.value,
    ),
)
SHARES = Table(
    "shares",
    "shares",
    ShareEntry,
    ("job_id", "worker_id"),
    (),
    lambda share: (text_column(share.job_id), text_column(share.worker_id)),
)
WORKERS = Table(
    "workers",
    "workers",
    WorkerEntry,
    ("id",),
    (),
    lambda worker: (text_column(worker.id),),
    numbered=True,
)
EVENTS = Table(
    "events",
    "events",
    EventEntry,
    ("number",),
    ("at", "kind", "job_id"),
    lambda event: (
        event.number,
        event.at,
        text_column(event.kind),
        None if event.job_id is None else text_column(event.job_id),
    ),
)
KEYS = Table(
    "idempotency_keys",
    "keys",
    KeyEntry,
    ("name",),
    ("job_id", "at"),
    lambda key: (text_column(key.key), text_column(key.job_id), key.at),
)
TOKENS = Table(
    "tokens",
    "tokens",
    TokenEntry,
    ("id",),
    (),
    lambda token: (text_column(token.id),),
    numbered=True,
)
WEBHOOKS = Table(
    "webhooks",
    "webhooks",
    WebhookEntry,
    ("id",),
    (),
    lambda webhook: (text_column(webhook.id),),
    numbered=True,
)
DELIVERIES = Table(
    "deliveries",
    "deliveries",
    DeliveryEntry,
    ("webhook_id", "event"),
    ("at", "state"),
    lambda delivery: (
        text_column(delivery.webhook_id),
        delivery.event.number,
        delivery.event.at,
        text_column(delivery.state),
    ),
)
# In an order in which no row refers to one that is not there yet.
TABLES: tuple[Table[Any], ...] = (
    JOBS,
    SEGMENTS,
    ATTEMPTS,
    SHARES,
    WORKERS,
    EVENTS,
    KEYS,
    TOKENS,
    WEBHOOKS,
    DELIVERIES,
)
