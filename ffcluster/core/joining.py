"""When committed results go to the join, and what becomes of it: failure, verification, the place.

The join is given every segment strictly in order of frames. It may have to begin anew: after a
restart of the coordinator, after it failed, and when a result that it had not read yet was lost.
"""

from __future__ import annotations

from ffcluster.core import results
from ffcluster.core.effects import (
    DiscardAttempt,
    FinishJoin,
    JobChanged,
    JoinSegment,
    Publish,
    RestartJoin,
)
from ffcluster.core.job import Job, JobState
from ffcluster.core.model import JobOutcome
from ffcluster.core.records import Records
from ffcluster.core.segment import AttemptEnd, Segment, SegmentState
from ffcluster.errors import Code, ErrorReport

# A join that waits for room on the disk looks again after this time, for as long as it takes.
_SPACE_PAUSE_S = 10.0


class Joining:
    """Hands results to the join, on behalf of the cluster's state."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def advance(self, now: float) -> None:
        """Hand over whatever can be handed over now."""
        joinable, self._records.joinable = self._records.joinable, {}
        for job_id in joinable:
            job = self._records.jobs.get(job_id)
            if job is not None and not job.ended and job.source_ready:
                self._advance(job, now)

    def _advance(self, job: Job, now: float) -> None:
        if job.join_not_before > now:
            self._records.joinable.setdefault(job.id)
            return
        if job.publication is not None:
            # Verified before: all that may be missing is its place.
            self._records.effects.append(Publish(job.id, job.publication))
            return
        while (segment := job.segments.get(job.join_next)) is not None and self._hand(job, segment):
            job.join_next = segment.frames.stop
        if job.state is JobState.COMBINING and job.join_next == job.frame_count:
            self._records.effects.append(FinishJoin(job.id))

    def _hand(self, job: Job, segment: Segment) -> bool:
        """Hand one segment over; whether the next may follow."""
        if segment.state is SegmentState.MISSING:
            return True
        made, report = segment.committed, segment.report
        if made is None or report is None:
            return False
        self._records.effects.append(
            JoinSegment(job.id, made.epoch, segment.frames, report, made.blob)
        )
        return True

    def failed(self, job: Job, error: ErrorReport, now: float) -> None:
        """The join came to nothing: begin it anew if that may help, or give the job up."""
        policy = self._records.policy
        if error.code is Code.DISK_FULL:
            pause_s = _SPACE_PAUSE_S
        else:
            job.join_failures += 1
            pause_s = policy.retry_delay_s
        if not error.retryable or job.join_failures > policy.max_retries:
            self._records.fail(job, error, now)
            return
        self._records.journal.note("join.failed", job_id=job.id, reason=error.message)
        self._restart(job)
        job.join_not_before = now + pause_s
        self._records.wait(job, f"the join is tried again: {error.message}")

    def lost(self, job: Job, segment: Segment, error: ErrorReport, now: float) -> None:
        """A committed result is gone: its segment must be made again, and joined again."""
        made, report = segment.committed, segment.report
        if made is None or report is None:
            return
        records = self._records
        segment.committed, segment.report = None, None
        segment.move(SegmentState.PENDING)
        segment.not_before = 0.0
        made.end, made.error = AttemptEnd.FAILED, error
        records.journal.attempt(made)
        records.journal.segment(job.id, segment.frames.first)
        records.journal.note("segment.lost", job_id=job.id, epoch=made.epoch, reason=error.message)
        job.frames_committed -= len(segment.frames)
        job.segments_committed -= 1
        job.retries += 1
        results.uncount(job, made, report)
        job.unfinished[segment.frames.first] = segment
        job.waiting[segment.frames.first] = segment
        records.feed_all = True
        records.unstaffed.setdefault(job.id)
        records.effects.append(DiscardAttempt(made.epoch, job.id, committed=False))
        if job.state is JobState.COMBINING:
            job.move(JobState.PROCESSING, now)
        self._restart(job)

    def _restart(self, job: Job) -> None:
        job.join_next = 0
        job.publication = None
        self._records.joinable.setdefault(job.id)
        self._records.effects += [RestartJoin(job.id), JobChanged(job.id)]

    def verified(self, job: Job, outcome: JobOutcome) -> None:
        """The file is right and its place chosen: written down first, then it may appear there."""
        # One that was on its way when the join was begun anew is of a file that is gone.
        joined = job.publication is not None or job.join_next == job.frame_count
        if job.state is JobState.COMBINING and joined:
            job.publication = outcome
            self._records.effects += [Publish(job.id, outcome), JobChanged(job.id)]

    def published(self, job: Job, outcome: JobOutcome, now: float) -> None:
        """The file is in its place."""
        if job.state is JobState.COMBINING and job.publication is not None:
            job.outcome = outcome
            self._records.close(job, JobState.COMPLETED, now)
