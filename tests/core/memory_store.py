"""A store of `Changes` in memory: what any store must do with them, in the fewest words."""

from __future__ import annotations

import attrs

from ffcluster.core import durable as du
from ffcluster.core.cluster import ClusterState
from ffcluster.core.entries import (
    attempt_entry,
    job_entry,
    segment_entry,
    share_entry,
    worker_entry,
)
from ffcluster.core.job import JobState
from ffcluster.core.model import Epoch, JobId, WorkerId

# What a worker's entry may lag behind with.
_TALLIES = frozenset({"rates", "segments_done", "frames_done", "failures"})


@attrs.define
class MemoryStore:
    """Everything that was put, by identity."""

    jobs: dict[JobId, du.JobEntry] = attrs.field(factory=dict)
    segments: dict[tuple[JobId, int], du.SegmentEntry] = attrs.field(factory=dict)
    attempts: dict[Epoch, du.AttemptEntry] = attrs.field(factory=dict)
    shares: dict[tuple[JobId, WorkerId], du.ShareEntry] = attrs.field(factory=dict)
    workers: dict[WorkerId, du.WorkerEntry] = attrs.field(factory=dict)
    events: list[du.EventEntry] = attrs.field(factory=list)
    counters: du.Counters = du.Counters()  # noqa: RUF009
    clock_s: float = 0.0

    def put(self, changes: du.Changes, now: float) -> None:
        """Store what one event changed, all of it."""
        self.clock_s = max(self.clock_s, now)
        self.jobs.update((entry.id, entry) for entry in changes.jobs)
        self.segments.update(((e.job_id, e.frames.first), e) for e in changes.segments)
        self.attempts.update((entry.epoch, entry) for entry in changes.attempts)
        self.shares.update(((e.job_id, e.worker_id), e) for e in changes.shares)
        self.workers.update((entry.id, entry) for entry in changes.workers)
        for event in changes.events:
            assert event.number == (self.events[-1].number + 1 if self.events else 1)
            self.events.append(event)
        self.counters = changes.counters or self.counters
        for name in changes.removed_segments:
            del self.segments[name]
        for worker_id in changes.removed_workers:
            self.workers.pop(worker_id, None)
        for job_id in changes.removed_jobs:
            self._remove_job(job_id)

    def _remove_job(self, job_id: JobId) -> None:
        self.jobs.pop(job_id, None)
        self.segments = {key: e for key, e in self.segments.items() if e.job_id != job_id}
        self.attempts = {key: e for key, e in self.attempts.items() if e.job_id != job_id}
        self.shares = {key: e for key, e in self.shares.items() if e.job_id != job_id}

    def copy(self) -> MemoryStore:
        """Another one with the same content."""
        return MemoryStore(
            dict(self.jobs),
            dict(self.segments),
            dict(self.attempts),
            dict(self.shares),
            dict(self.workers),
            list(self.events),
            self.counters,
            self.clock_s,
        )

    def saved(self) -> du.Saved:
        """What a coordinator needs to go on."""
        completed = {e.id for e in self.jobs.values() if e.state == JobState.COMPLETED.value}
        segments = [e for e in self.segments.values() if e.job_id not in completed]
        segments.sort(key=lambda e: (e.job_id, e.frames.first))
        committed = {e.committed for e in segments}
        attempts = sorted(
            (
                e
                for e in self.attempts.values()
                if e.job_id not in completed
                and (e.end is du.AttemptEnd.LIVE or e.epoch in committed)
            ),
            key=lambda e: e.epoch,
        )
        return du.Saved(
            jobs=tuple(sorted(self.jobs.values(), key=lambda e: e.submitted_at)),
            segments=tuple(segments),
            attempts=tuple(attempts),
            shares=tuple(self.shares.values()),
            workers=tuple(self.workers.values()),
            counters=self.counters,
            clock_s=self.clock_s,
        )

    def differences(self, state: ClusterState) -> list[str]:
        """Where what is stored is not what is in the state; tallies of workers may lag behind."""
        jobs = {job.id: job_entry(job) for job in state.jobs.values()}
        open_jobs = [job for job in state.jobs.values() if job.state is not JobState.COMPLETED]
        segments = {
            (job.id, first): segment_entry(job.id, segment)
            for job in open_jobs
            for first, segment in job.segments.items()
        }
        live = {
            attempt.epoch: attempt_entry(attempt, state.workers[attempt.worker_id].facts.name)
            for attempt in state.attempts.values()
            if not attempt.trial
        }
        shares = {
            (job.id, worker_id): share_entry(job.id, worker_id, share)
            for job in state.jobs.values()
            for worker_id, share in job.shares.items()
        }
        workers = {worker.id: worker_entry(worker) for worker in state.workers.values()}
        stored_live = {e.epoch: e for e in self.attempts.values() if e.end is du.AttemptEnd.LIVE}
        open_ids = {job.id for job in open_jobs}
        stored_segments = {key: e for key, e in self.segments.items() if e.job_id in open_ids}
        return [
            *_unlike("job", self.jobs, jobs),
            *_unlike("segment", stored_segments, segments),
            *_unlike("attempt", stored_live, live),
            *_unlike("share", self.shares, shares),
            *_unlike("worker", self.workers, workers, lagging=_TALLIES),
            *([] if self.counters == state.counters else ["counters"]),
        ]


def _unlike(
    what: str, stored: dict, there: dict, lagging: frozenset[str] = frozenset()
) -> list[str]:
    found = []
    for key in dict.fromkeys([*stored, *there]):
        one, other = stored.get(key), there.get(key)
        if one is None or other is None:
            found.append(f"{what} {key} is {'not stored' if one is None else 'only stored'}")
        elif one != other:
            fields = {field.name for field in attrs.fields(type(one))} - lagging
            pairs = [(name, getattr(one, name), getattr(other, name)) for name in sorted(fields)]
            found += [f"{what} {key}: {n} is stored as {a}, not {b}" for n, a, b in pairs if a != b]
    return found
