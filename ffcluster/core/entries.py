"""From the cluster's records to the frozen entries that are stored. Changes nothing."""

from __future__ import annotations

from ffcluster.core.crews import Crew
from ffcluster.core.durable import (
    AttemptEntry,
    FailureEntry,
    JobEntry,
    QuarantineEntry,
    SegmentEntry,
    ShareEntry,
    StoredCrew,
    StoredKind,
    StoredPost,
    StoredRate,
    WorkerEntry,
)
from ffcluster.core.job import Job, Share
from ffcluster.core.model import JobId, WorkerId
from ffcluster.core.segment import Attempt, AttemptFailure, Segment
from ffcluster.core.throughput import RateKey, Throughput
from ffcluster.core.worker import Worker


def job_entry(job: Job) -> JobEntry:
    """A job, without its segments."""
    return JobEntry(
        id=job.id,
        spec=job.spec,
        source=job.source,
        state=job.state.value,
        submitted_at=job.submitted_at,
        history=tuple((state.value, at) for state, at in job.history),
        ended_at=job.ended_at,
        summary=job.summary,
        started=job.started,
        single_segment=job.single_segment,
        priority=job.priority,
        paused=job.paused,
        kept=job.kept,
        crews=tuple(_crew(crew) for crew in job.crews),
        retries=job.retries,
        warnings=job.warnings,
        error=job.error,
        publication=job.publication,
        outcome=job.outcome,
    )


def _crew(crew: Crew) -> StoredCrew:
    return StoredCrew(
        crew.stand_in,
        tuple(StoredKind(*kind.shape, kind.parameter_sets) for kind in crew.kinds),
        tuple(StoredPost(*known) for known in crew.capabilities.items()),
    )


def segment_entry(job_id: JobId, segment: Segment) -> SegmentEntry:
    """A segment of a job."""
    committed = segment.committed
    return SegmentEntry(
        job_id=job_id,
        frames=segment.frames,
        state=segment.state.value,
        pre_roll=segment.pre_roll,
        tried=segment.tried,
        failures=tuple(_failure(failure) for failure in segment.failures),
        committed=committed.epoch if committed else None,
        report=segment.report,
        blob=committed.blob if committed else None,
    )


def _failure(failure: AttemptFailure) -> FailureEntry:
    post = failure.post_key
    return FailureEntry(
        failure.epoch,
        post.worker_id,
        failure.worker_name,
        post.key.encoder,
        post.key.device,
        failure.error,
    )


def attempt_entry(attempt: Attempt, worker_name: str) -> AttemptEntry:
    """An attempt at a segment."""
    return AttemptEntry(
        epoch=attempt.epoch,
        job_id=attempt.job_id,
        frames=attempt.frames,
        worker_id=attempt.worker_id,
        worker_name=worker_name,
        capability=attempt.capability,
        state=attempt.state.value,
        offered_at=attempt.offered_at,
        pre_roll=attempt.pre_roll,
        probe=attempt.probe,
        speculative=attempt.speculative,
        fallback=attempt.fallback,
        started_at=attempt.started_at,
        delivered_at=attempt.delivered_at,
        ended_at=attempt.ended_at,
        end=attempt.end,
        error=attempt.error,
        proof=attempt.proof,
        blob=attempt.blob,
    )


def share_entry(job_id: JobId, worker_id: WorkerId, share: Share) -> ShareEntry:
    """What a worker did for a job."""
    return ShareEntry(
        job_id,
        worker_id,
        share.name,
        share.segments,
        share.frames,
        share.failures,
        tuple(share.encoders.items()),
        tuple(share.devices),
    )


def worker_entry(worker: Worker) -> WorkerEntry:
    """A worker."""
    return WorkerEntry(
        id=worker.id,
        facts=worker.facts,
        connected_at=worker.connected_at,
        drained_by_operator=worker.drained_by_operator,
        rates=tuple(_rate(key, rate) for key, rate in worker.rates.items()),
        segments_done=worker.segments_done,
        frames_done=worker.frames_done,
        failures=worker.failures,
        quarantines=quarantines(worker),
    )


def quarantines(worker: Worker) -> tuple[QuarantineEntry, ...]:
    """Why and until when places of a worker rest, or rested when they were last seen to work."""
    return tuple(
        QuarantineEntry(rest.place.backend, rest.place.device, rest.reason, rest.until, rest.times)
        for rest in worker.quarantines.values()
        if rest.reason
    )


def _rate(key: RateKey, rate: Throughput) -> StoredRate:
    return StoredRate(
        key.encoder,
        key.device,
        key.preset,
        key.width,
        key.height,
        key.pix_fmt,
        key.filters,
        rate.fps,
        rate.measurements,
    )
