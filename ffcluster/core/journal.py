"""What the events in hand changed of that which is stored. Decides nothing, reads no clock.

Records say what they touched; the entries are made once, when the changes are taken, so that
several events before that cost no more than one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ffcluster.core.durable import Changes, Counters, EventEntry
from ffcluster.core.entries import (
    attempt_entry,
    job_entry,
    segment_entry,
    share_entry,
    worker_entry,
)
from ffcluster.core.job import Job
from ffcluster.core.model import Epoch, JobId, WorkerId
from ffcluster.core.segment import Attempt
from ffcluster.core.worker import Worker

_LONGEST_TEXT = 2000
NoteData = str | int | float | bool | None


@attrs.define(eq=False)
class Journal:
    """What was touched since the changes were last taken.

    Attributes:
        now: Time of the event in hand.
        counters: Where the counters stand.
    """

    now: float = 0.0
    counters: Counters = attrs.field(factory=Counters)
    _stored_counters: Counters = attrs.field(factory=Counters)
    _jobs: dict[JobId, None] = attrs.field(factory=dict)
    _segments: dict[tuple[JobId, int], None] = attrs.field(factory=dict)
    _attempts: dict[Epoch, Attempt] = attrs.field(factory=dict)
    _shares: dict[tuple[JobId, WorkerId], None] = attrs.field(factory=dict)
    _workers: dict[WorkerId, None] = attrs.field(factory=dict)
    _events: list[EventEntry] = attrs.field(factory=list)
    _removed_jobs: list[JobId] = attrs.field(factory=list)
    _removed_workers: list[WorkerId] = attrs.field(factory=list)
    _removed_segments: list[tuple[JobId, int]] = attrs.field(factory=list)
    # What of a job was stored last, in short: most events change nothing that is stored.
    _marks: dict[JobId, tuple[Any, ...]] = attrs.field(factory=dict)

    def next_epoch(self) -> Epoch:
        """Draw an epoch."""
        epoch = Epoch(self.counters.next_epoch)
        self.counters = attrs.evolve(self.counters, next_epoch=epoch + 1)
        return epoch

    def count(self, *, superseded_results: int = 0, lease_expirations: int = 0) -> None:
        """Add to what is counted over the cluster's whole life."""
        self.counters = attrs.evolve(
            self.counters,
            superseded_results=self.counters.superseded_results + superseded_results,
            lease_expirations=self.counters.lease_expirations + lease_expirations,
        )

    def note(
        self,
        kind: str,
        *,
        job_id: JobId | None = None,
        worker_id: WorkerId | None = None,
        epoch: Epoch | None = None,
        **data: NoteData,
    ) -> None:
        """Write down something that a person would want to read about later.

        Texts may come from a worker; of long ones only the beginning is kept.
        """
        number = self.counters.next_event
        self.counters = attrs.evolve(self.counters, next_event=number + 1)
        self._events.append(
            EventEntry(
                number,
                self.now,
                kind,
                job_id,
                worker_id,
                epoch,
                tuple((name, _short(value)) for name, value in data.items()),
            )
        )

    def job(self, job: Job) -> None:
        """A job may have changed."""
        self._jobs.setdefault(job.id)

    def segment(self, job_id: JobId, first_frame: int) -> None:
        """A segment changed."""
        self._segments.setdefault((job_id, first_frame))

    def attempt(self, attempt: Attempt) -> None:
        """An attempt changed; trials are not kept."""
        if not attempt.trial:
            self._attempts.setdefault(attempt.epoch, attempt)

    def share(self, job_id: JobId, worker_id: WorkerId) -> None:
        """What a worker did for a job changed."""
        self._shares.setdefault((job_id, worker_id))

    def worker(self, worker_id: WorkerId) -> None:
        """More of a worker changed than its rates and tallies."""
        self._workers.setdefault(worker_id)

    def remove_job(self, job_id: JobId) -> None:
        """A job is no longer remembered."""
        self._marks.pop(job_id, None)
        self._removed_jobs.append(job_id)

    def remove_worker(self, worker_id: WorkerId) -> None:
        """A worker is no longer remembered."""
        self._removed_workers.append(worker_id)

    def remove_segment(self, job_id: JobId, first_frame: int) -> None:
        """A segment is no longer part of its job."""
        self._segments.pop((job_id, first_frame), None)
        self._removed_segments.append((job_id, first_frame))

    def restored(self, counters: Counters, jobs: Mapping[JobId, Job]) -> None:
        """What is there is what is stored."""
        self.counters = self._stored_counters = counters
        self._marks = {job.id: _mark(job) for job in jobs.values()}

    def take(self, jobs: Mapping[JobId, Job], workers: Mapping[WorkerId, Worker]) -> Changes:
        """Hand out what changed since the last time, and begin anew."""
        touched = [jobs[job_id] for job_id in self._jobs if job_id in jobs]
        changed = [job for job in touched if self._marks.get(job.id) != _mark(job)]
        for job in changed:
            self._note_state(job)
            self._marks[job.id] = _mark(job)
            if job.ended:
                # A good moment to keep what was learned of those who took part.
                self._workers.update(dict.fromkeys(job.shares))
        changes = Changes(
            jobs=tuple(job_entry(job) for job in changed),
            segments=tuple(
                segment_entry(job_id, jobs[job_id].segments[first])
                for job_id, first in self._segments
                if job_id in jobs and first in jobs[job_id].segments
            ),
            attempts=tuple(
                attempt_entry(attempt, _name(workers, attempt.worker_id))
                for attempt in self._attempts.values()
                if attempt.job_id in jobs
            ),
            shares=tuple(
                share_entry(job_id, worker_id, jobs[job_id].shares[worker_id])
                for job_id, worker_id in self._shares
                if job_id in jobs
            ),
            workers=tuple(worker_entry(workers[w]) for w in self._workers if w in workers),
            events=tuple(self._events),
            counters=self.counters if self.counters != self._stored_counters else None,
            removed_jobs=tuple(self._removed_jobs),
            removed_workers=tuple(self._removed_workers),
            removed_segments=tuple(self._removed_segments),
        )
        self._stored_counters = self.counters
        for done in (self._jobs, self._segments, self._attempts, self._shares, self._workers):
            done.clear()
        for listed in (self._events, self._removed_jobs, self._removed_workers):
            listed.clear()
        self._removed_segments.clear()
        return changes

    def _note_state(self, job: Job) -> None:
        known = self._marks.get(job.id)
        if known is None or known[0] is not job.state:
            reason = job.error.message if job.error else job.reason
            self.note(
                "job.state",
                job_id=job.id,
                state=job.state.value,
                reason=reason,
                source_name=job.spec.source_name,
                output_name=job.spec.output_name,
            )


def _short(value: NoteData) -> NoteData:
    return value[:_LONGEST_TEXT] if isinstance(value, str) else value


def _name(workers: Mapping[WorkerId, Worker], worker_id: WorkerId) -> str:
    worker = workers.get(worker_id)
    return worker.facts.name if worker else str(worker_id)


def _mark(job: Job) -> tuple[Any, ...]:
    """Equal marks: nothing that is stored of the job changed between them."""
    return (
        job.state,
        len(job.history),
        job.ended_at,
        job.summary,
        job.started,
        job.single_segment,
        job.priority,
        job.paused,
        job.kept,
        job.retries,
        job.error,
        job.publication,
        job.outcome,
        tuple(
            (crew.stand_in, tuple(crew.kinds), tuple(crew.capabilities.items()))
            for crew in job.crews
        ),
    )
