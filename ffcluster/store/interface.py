"""What keeps the entries of a coordinator, however it does that. Knows no database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from ffcluster.core.durable import (
    AttemptEntry,
    Changes,
    DeliveryEntry,
    EventEntry,
    KeyEntry,
    Saved,
    SegmentEntry,
    TokenEntry,
)
from ffcluster.core.model import JobId


class JobStore(Protocol):
    """Where a coordinator writes down what must outlive it.

    Everything blocks, and all of it is called from one thread. What a method raises is retryable
    (`StoreUnavailable`, `DiskFull`) or it is not; after a retryable error the same call may be
    made again at any time, and the store connects again by itself.
    """

    def open(self) -> None:
        """Connect, and bring the schema up to this version; called once, before all else.

        Raises:
            StoreUnavailable: The database does not answer, or another program has locked it.
            Conflict: Another coordinator uses it.
            StoreTooNew: A later version wrote it. Nothing was changed.
            StoreForeign: It holds something else. Nothing was changed.
            StoreDamaged: It is broken.
            StoreFailed: It refuses, for example for lack of rights.
            OutputUnwritable, DiskFull: Its file cannot be made or written.
        """

    def load(self) -> Saved:
        """Everything that a coordinator needs to go on.

        Raises:
            StoreUnavailable: The database went away.
            StoreDamaged: An entry cannot be read; the message names it.
        """

    def apply(self, changes: Sequence[Changes]) -> None:
        """Store changes, one after another, all together or not at all.

        When this returns they are durable. After an error it may be unknown whether they are;
        applying them again does no harm.

        Raises:
            StoreUnavailable: The database went away, or is locked.
            DiskFull: No space is left.
            Conflict: Another coordinator took the database over.
            StoreFailed, StoreDamaged: It never will take them.
        """

    def segments(
        self, job_id: JobId, after: int = -1, limit: int | None = None
    ) -> tuple[SegmentEntry, ...]:
        """At most `limit` segments of a job that begin behind frame `after`, in order of frames."""

    def attempts(
        self, job_id: JobId, after: int = -1, limit: int | None = None
    ) -> tuple[AttemptEntry, ...]:
        """At most `limit` attempts for a job with an epoch above `after`, in order of epochs.

        All that were ever made are there.
        """

    def events(self, after: int, limit: int, job_id: JobId | None = None) -> tuple[EventEntry, ...]:
        """At most `limit` events with a number above `after`, in order; of one job, or of all."""

    def key(self, name: str) -> KeyEntry | None:
        """A client's idempotency key, or None."""

    def tokens(self) -> tuple[TokenEntry, ...]:
        """All tokens, revoked ones too, in the order in which they were made."""

    def deliveries(self, webhook_id: str, before: int, limit: int) -> tuple[DeliveryEntry, ...]:
        """At most `limit` of a webhook's deliveries of events below `before`, the latest first."""

    def prune(self, events_before: int, keys_before: float, deliveries_before: float = 0.0) -> None:
        """Forget what is old.

        Args:
            events_before: Number of the first event that is kept.
            keys_before: Keys that were made before this.
            deliveries_before: Deliveries of events before this that do not wait any more.
        """

    def everything(self) -> Iterator[Changes]:
        """All that is kept, in portions, so that another store can apply them in this order."""

    def close(self) -> None:
        """Disconnect; nothing happens when it is closed already."""
