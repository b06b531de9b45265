"""What clients want of jobs: pause, resume, retry, another priority, forget."""

from __future__ import annotations

from ffcluster.core.attempts import Attempts
from ffcluster.core.effects import ForgetJob, IndexSource, JobChanged, RevokeAttempt
from ffcluster.core.job import Job, JobState
from ffcluster.core.records import Records
from ffcluster.core.segment import AttemptState, SegmentState


class Control:
    """Does what clients want, on behalf of the cluster's state."""

    def __init__(self, records: Records, attempts: Attempts) -> None:
        self._records = records
        self._attempts = attempts

    def pause(self, job: Job, now: float) -> None:
        """Start nothing more; what has not begun is taken back, what runs is finished."""
        if job.paused:
            return
        job.paused = True
        live = [a for segment in job.unfinished.values() for a in segment.live.values()]
        for attempt in [*live, *job.trials.values()]:
            if attempt.state is AttemptState.OFFERED:
                self._records.effects.append(RevokeAttempt(attempt.epoch, attempt.worker_id))
                self._attempts.returned(attempt, now)
        self._note("job.paused", job)

    def resume(self, job: Job) -> None:
        """Go on."""
        if not job.paused:
            return
        job.paused = False
        job.reason = ""
        self._look_anew(job)
        self._note("job.resumed", job)

    def prioritise(self, job: Job, priority: int) -> None:
        """Give it another priority."""
        if job.priority != priority:
            job.priority = priority
            self._records.feed_all = True
            self._note("job.prioritised", job)

    def retry(self, job: Job, now: float) -> None:
        """Go on with an ended job: from what is kept of it, or from the start."""
        if not job.kept:
            self._drop_segments(job)
        job.move(JobState.QUEUED, now)
        job.error = job.ended_at = job.publication = None
        job.paused = False
        job.join_next, job.join_failures, job.join_not_before = 0, 0, 0.0
        job.start_failures, job.not_before = 0, 0.0
        job.frames_missing = 0
        for first, segment in job.segments.items():
            # Of ten thousand that are kept few are stored anew: those of which anything changes.
            changed = bool(segment.failures)
            job.losses -= segment.losses
            segment.failures.clear()
            segment.not_before = 0.0
            if segment.state is not SegmentState.COMMITTED:
                if segment.state is not SegmentState.PENDING:
                    segment.move(SegmentState.PENDING)
                    changed = True
                job.unfinished[first] = job.waiting[first] = segment
            if changed:
                self._records.journal.segment(job.id, first)
        self._unstaff(job)
        self._records.effects.append(IndexSource(job.id))
        self._note("job.retried", job)

    def _unstaff(self, job: Job) -> None:
        """Everybody may try again, also who was refused; what is in the file still binds."""
        job.started = False
        job.dismiss()
        if not job.segments_committed:
            job.crews.clear()

    def expire(self, job: Job) -> None:
        """Keep nothing of an ended job any longer; a retry begins from the start."""
        self._drop_segments(job)
        job.kept = False
        self._records.effects += [ForgetJob(job.id), JobChanged(job.id)]

    def remove(self, job: Job) -> None:
        """Remember an ended job no more."""
        del self._records.jobs[job.id]
        self._records.journal.remove_job(job.id)
        self._records.journal.note("job.removed", job_id=job.id)
        self._records.effects.append(ForgetJob(job.id))

    def _drop_segments(self, job: Job) -> None:
        for first in job.segments:
            self._records.journal.remove_segment(job.id, first)
        job.segments.clear()
        job.made.clear()
        job.dismiss()
        job.crews.clear()
        job.losses = 0
        job.frontier = job.join_next = 0
        job.frames_committed = job.segments_committed = job.frames_missing = 0
        job.sample = None

    def _look_anew(self, job: Job) -> None:
        self._records.feed_all = True
        self._records.unstaffed.setdefault(job.id)

    def _note(self, kind: str, job: Job) -> None:
        self._records.journal.note(kind, job_id=job.id, priority=job.priority)
        self._records.effects.append(JobChanged(job.id))
