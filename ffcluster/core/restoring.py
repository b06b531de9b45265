"""From stored entries back to the cluster's records. What cannot be made sense of is an error.

Sessions, trials and progress are gone; workers that held something have a lease to come back in.
"""

from __future__ import annotations

from collections import defaultdict

from ffcluster.core import results
from ffcluster.core.crews import Crew, Kind, Shape
from ffcluster.core.durable import (
    AttemptEnd,
    AttemptEntry,
    JobEntry,
    Saved,
    SegmentEntry,
    ShareEntry,
    StoredCrew,
    WorkerEntry,
)
from ffcluster.core.job import Job, JobState, Share
from ffcluster.core.model import CapabilityKey, Epoch, JobId
from ffcluster.core.quarantine import Place, Quarantine
from ffcluster.core.records import Records
from ffcluster.core.segment import (
    Attempt,
    AttemptFailure,
    AttemptState,
    PostKey,
    Segment,
    SegmentState,
)
from ffcluster.core.throughput import RateKey, Throughput
from ffcluster.core.worker import Worker, WorkerState


def restore(records: Records, saved: Saved) -> None:
    """Fill empty `records` with what was stored."""
    for worker_entry in saved.workers:
        worker = _worker(worker_entry)
        records.workers[worker.id] = worker
        if worker.quarantines:
            records.limited.setdefault(worker.id)
    attempts = {entry.epoch: entry for entry in saved.attempts}
    by_job: dict[JobId, list[SegmentEntry]] = defaultdict(list)
    for segment_entry in saved.segments:
        by_job[segment_entry.job_id].append(segment_entry)
    shares: dict[JobId, list[ShareEntry]] = defaultdict(list)
    for share_entry in saved.shares:
        shares[share_entry.job_id].append(share_entry)
    for job_entry in saved.jobs:
        job = _job(job_entry)
        records.jobs[job.id] = job
        job.shares = {entry.worker_id: _share(entry) for entry in shares[job.id]}
        if job.state is JobState.COMPLETED:
            _complete(job)
        else:
            for segment_entry in sorted(by_job[job.id], key=lambda entry: entry.frames.first):
                _add_segment(job, segment_entry, attempts)
    for attempt_entry in saved.attempts:
        if attempt_entry.end is AttemptEnd.LIVE:
            _revive(records, attempt_entry)
    for worker in records.workers.values():
        if any(attempt.holds_slot for attempt in worker.attempts.values()):
            worker.state = WorkerState.ABSENT
            records.absent.setdefault(worker.id)
    records.journal.restored(saved.counters, records.jobs)


def _worker(entry: WorkerEntry) -> Worker:
    worker = Worker(entry.id, entry.facts, entry.connected_at, WorkerState.DISCONNECTED)
    worker.draining = worker.drained_by_operator = entry.drained_by_operator
    worker.segments_done, worker.frames_done = entry.segments_done, entry.frames_done
    worker.failures = entry.failures
    for rate in entry.rates:
        key = RateKey(
            rate.encoder,
            rate.device,
            rate.preset,
            rate.width,
            rate.height,
            rate.pix_fmt,
            rate.filters,
        )
        worker.rates[key] = Throughput(rate.fps, rate.measurements)
    for rest in entry.quarantines:
        place = Place(rest.backend, rest.device)
        worker.quarantines[place] = Quarantine(
            place, times=rest.times, resting=True, until=rest.until, reason=rest.reason
        )
    return worker


def _job(entry: JobEntry) -> Job:
    return Job(
        entry.id,
        entry.spec,
        entry.submitted_at,
        JobState(entry.state),
        [(JobState(state), at) for state, at in entry.history],
        source=entry.source,
        priority=entry.priority,
        paused=entry.paused,
        kept=entry.kept,
        summary=entry.summary,
        crews=[_crew(crew) for crew in entry.crews],
        single_segment=entry.single_segment,
        started=entry.started,
        retries=entry.retries,
        warnings=entry.warnings,
        error=entry.error,
        publication=entry.publication,
        outcome=entry.outcome,
        ended_at=entry.ended_at,
    )


def _crew(entry: StoredCrew) -> Crew:
    kinds = {
        Kind(Shape(k.codec, k.width, k.height, k.pix_fmt), k.parameter_sets): None
        for k in entry.kinds
    }
    return Crew(
        stand_in=entry.stand_in,
        kinds=kinds,
        capabilities={post.capability: post.report for post in entry.posts},
    )


def _share(entry: ShareEntry) -> Share:
    return Share(
        entry.name,
        entry.segments,
        entry.frames,
        entry.failures,
        dict(entry.encoders),
        dict.fromkeys(entry.devices),
    )


def _complete(job: Job) -> None:
    """Of a completed job only the totals are needed; its receipt has the rest."""
    outcome = job.outcome
    if outcome is None:
        return
    job.frames_missing = sum(len(frames) for frames in outcome.missing)
    job.frames_committed = job.frame_count - job.frames_missing
    job.segments_committed = sum(share.segments for share in job.shares.values())
    job.frontier = job.join_next = job.frame_count
    for made in outcome.made_by:
        job.made[(made.encoder, made.hardware, made.parameter_sets, made.fallback)] = made


def _add_segment(job: Job, entry: SegmentEntry, attempts: dict[Epoch, AttemptEntry]) -> None:
    frames = entry.frames
    segment = Segment(frames, SegmentState(entry.state), entry.pre_roll, tried=entry.tried)
    segment.failures = [
        AttemptFailure(
            failure.epoch,
            PostKey(failure.worker_id, CapabilityKey(failure.encoder, failure.device)),
            failure.worker_name,
            failure.error,
        )
        for failure in entry.failures
    ]
    job.segments[frames.first] = segment
    job.losses += segment.losses
    job.frontier = frames.stop
    if segment.state is SegmentState.COMMITTED:
        assert entry.committed is not None  # noqa: S101 - stored together with the state
        segment.committed, segment.report = _attempt(attempts[entry.committed]), entry.report
        job.frames_committed += len(frames)
        job.segments_committed += 1
        if entry.report is not None:
            job.sample = job.sample or entry.report
            results.count(job, segment.committed, entry.report)
    elif segment.state is SegmentState.MISSING:
        job.frames_missing += len(frames)
    elif not job.ended:
        job.unfinished[frames.first] = segment
        if segment.state is SegmentState.PENDING:
            job.waiting[frames.first] = segment


def _attempt(entry: AttemptEntry) -> Attempt:
    return Attempt(
        entry.epoch,
        entry.job_id,
        entry.frames,
        entry.worker_id,
        entry.capability,
        entry.offered_at,
        probe=entry.probe,
        speculative=entry.speculative,
        fallback=entry.fallback,
        state=AttemptState(entry.state),
        started_at=entry.started_at,
        proof=entry.proof,
        pre_roll=entry.pre_roll,
        blob=entry.blob,
        delivered_at=entry.delivered_at,
        ended_at=entry.ended_at,
        end=entry.end,
        error=entry.error,
    )


def _revive(records: Records, entry: AttemptEntry) -> None:
    attempt = _attempt(entry)
    records.attempts[attempt.epoch] = attempt
    records.workers[attempt.worker_id].attempts[attempt.epoch] = attempt
    job = records.jobs[attempt.job_id]
    job.segments[attempt.frames.first].live[attempt.epoch] = job.live[attempt.epoch] = attempt
    if attempt.holds_slot:
        job.frames_held += attempt.frames_left


def begin_anew(job: Job, now: float) -> None:
    """Before anything was committed, and while nothing is held, a crew binds nobody."""
    held = any(segment.live for segment in job.unfinished.values())
    if not job.segments_committed and not held:
        job.crews.clear()
        job.started = False
        if job.state in (JobState.BENCHMARKING, JobState.PROCESSING):
            job.move(JobState.WAITING_FOR_CLIENTS, now)
