"""Changes that wait to be stored together, in as few entries as hold them. Touches only memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from ffcluster.core.durable import Changes, Counters
from ffcluster.core.model import JobId, WorkerId

# By field of `Changes`: what tells its entries apart; see there.
_IDENTITIES: dict[str, Callable[[Any], Hashable]] = {
    "jobs": lambda job: job.id,
    "segments": lambda segment: (segment.job_id, segment.frames.first),
    "attempts": lambda attempt: attempt.epoch,
    "shares": lambda share: (share.job_id, share.worker_id),
    "workers": lambda worker: worker.id,
    "events": lambda event: event.number,
    "keys": lambda key: key.key,
    "tokens": lambda token: token.id,
    "webhooks": lambda webhook: webhook.id,
    "deliveries": lambda delivery: (delivery.webhook_id, delivery.event.number),
}


class Batch:
    """Changes in the order in which they came; of entries with one identity only the last.

    However long a store is away, what waits is bounded by what there is (and by the events, which
    are only added).
    """

    def __init__(self) -> None:
        self._done: list[Changes] = []
        self._open = _Part()

    def __bool__(self) -> bool:
        return bool(self._done) or bool(self._open)

    def add(self, changes: Changes) -> None:
        """Take changes in."""
        if self._open.removes_any_of(changes):
            # In one `Changes` removals come last: what is new under a removed name comes after it.
            self._done.append(self._open.changes())
            self._open = _Part()
        self._open.add(changes)

    def changes(self) -> tuple[Changes, ...]:
        """What stores everything that was taken in."""
        return (*self._done, self._open.changes()) if self._open else tuple(self._done)


class _Part:
    """Changes that fit into one `Changes`."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[Hashable, Any]] = {field: {} for field in _IDENTITIES}
        self._counters: Counters | None = None
        # Dictionaries rather than sets: they keep the order.
        self._jobs: dict[JobId, None] = {}
        self._workers: dict[WorkerId, None] = {}
        self._segments: dict[tuple[JobId, int], None] = {}
        self._webhooks: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(
            self._counters is not None
            or self._jobs
            or self._workers
            or self._segments
            or self._webhooks
            or any(self._entries.values())
        )

    def removes_any_of(self, changes: Changes) -> bool:
        """Whether an entry in `changes` has the identity of one that is removed here."""
        return bool(
            (self._jobs and any(job.id in self._jobs for job in changes.jobs))
            or (self._workers and any(worker.id in self._workers for worker in changes.workers))
            or (
                self._segments
                and any((s.job_id, s.frames.first) in self._segments for s in changes.segments)
            )
            or (self._webhooks and any(hook.id in self._webhooks for hook in changes.webhooks))
        )

    def add(self, changes: Changes) -> None:
        for field, entries in self._entries.items():
            for entry in getattr(changes, field):
                entries[_IDENTITIES[field](entry)] = entry
        self._counters = changes.counters or self._counters
        self._jobs.update(dict.fromkeys(changes.removed_jobs))
        self._workers.update(dict.fromkeys(changes.removed_workers))
        self._segments.update(dict.fromkeys(changes.removed_segments))
        self._webhooks.update(dict.fromkeys(changes.removed_webhooks))

    def changes(self) -> Changes:
        entries: dict[str, Any] = {
            field: tuple(entries.values()) for field, entries in self._entries.items()
        }
        return Changes(
            **entries,
            counters=self._counters,
            removed_jobs=tuple(self._jobs),
            removed_workers=tuple(self._workers),
            removed_segments=tuple(self._segments),
            removed_webhooks=tuple(self._webhooks),
        )
