"""The whole cluster as one state with one mutator: `ClusterState.handle(event, now) -> effects`.

Knows no clock, socket or file. Handling is deterministic: the same events at the same times give
the same effects, which is what the simulator and recovery rest on. Events of attempts that are no
longer live are ignored, so duplicates, replays and late results change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatchmethod

from ffcluster.core import restoring
from ffcluster.core.assignment import Assignment
from ffcluster.core.attempts import Attempts
from ffcluster.core.control import Control
from ffcluster.core.durable import Changes, Counters, Saved
from ffcluster.core.effects import (
    CheckResult,
    Effect,
    IndexSource,
    JobChanged,
    WorkerChanged,
)
from ffcluster.core.events import (
    AttemptChecked,
    AttemptDelivered,
    AttemptFailed,
    AttemptProgressed,
    AttemptReturned,
    AttemptStarted,
    Event,
    HeldAttempt,
    JobCancelled,
    JobFailed,
    JobPaused,
    JobPrioritised,
    JobPublished,
    JobRemoved,
    JobResumed,
    JobRetried,
    JobSubmitted,
    JobVerified,
    JoinFailed,
    ResultsExpired,
    ResultSuperseded,
    SegmentLost,
    SourceIndexed,
    SpaceChanged,
    Ticked,
    WebhookGaveUp,
    WorkerDraining,
    WorkerJoined,
    WorkerLeft,
    WorkerRemoved,
    WorkerResumed,
)
from ffcluster.core.job import Job, JobState
from ffcluster.core.joining import Joining
from ffcluster.core.judge import Judge
from ffcluster.core.model import Epoch, JobId, WorkerId
from ffcluster.core.presence import Presence
from ffcluster.core.progress import settle
from ffcluster.core.records import Policy, Records
from ffcluster.core.rests import Rests
from ffcluster.core.segment import Attempt, AttemptState
from ffcluster.core.staffing import Staffing
from ffcluster.core.worker import Worker


class ClusterState:
    """Jobs, workers and attempts, and every decision about them.

    Args:
        policy: Settings that decisions depend on.
        judge: What is known of encoders.
    """

    def __init__(self, policy: Policy, judge: Judge) -> None:
        self._records = Records(policy)
        self._staffing = Staffing(self._records, judge)
        self._attempts = Attempts(self._records, judge)
        self._assignment = Assignment(self._records)
        self._joining = Joining(self._records)
        self._rests = Rests(self._records)
        self._presence = Presence(self._records, self._attempts, self._staffing, self._rests)
        self._control = Control(self._records, self._attempts)
        self._wake: float | None = None

    @classmethod
    def restored(cls, policy: Policy, judge: Judge, saved: Saved) -> ClusterState:
        """The state that was stored; `resume` says what must be done to go on."""
        state = cls(policy, judge)
        restoring.restore(state._records, saved)
        return state

    def resume(self, now: float) -> tuple[Effect, ...]:
        """Go on after a restart: open what is needed, and give the workers time to come back."""
        records = self._records
        records.journal.now = now
        for worker_id in records.absent:
            self.workers[worker_id].lease_until = now + records.policy.lease_s
        for job in records.active_jobs():
            restoring.begin_anew(job, now)
            records.effects += [IndexSource(job.id), JobChanged(job.id)]
        self._wake = self._next_wake(now)
        return records.take_effects()

    @property
    def policy(self) -> Policy:
        """The settings."""
        return self._records.policy

    @property
    def jobs(self) -> dict[JobId, Job]:
        """All jobs that are remembered."""
        return self._records.jobs

    @property
    def workers(self) -> dict[WorkerId, Worker]:
        """All workers that were ever connected and not removed."""
        return self._records.workers

    @property
    def attempts(self) -> dict[Epoch, Attempt]:
        """All live attempts, trials among them."""
        return self._records.attempts

    @property
    def counters(self) -> Counters:
        """Where the counters stand."""
        return self._records.journal.counters

    def handle(self, event: Event, now: float) -> tuple[Effect, ...]:
        """Take `event` in and say what must be done.

        Args:
            event: What happened.
            now: Seconds of the coordinator's clock; never less than in an earlier call.
        """
        records = self._records
        records.begin(now)
        if isinstance(event, AttemptProgressed) and self._is_quiet(now):
            self._handle(event, now)
            offered = records.journal.counters.next_epoch
            self._assignment.schedule(now)
            if records.journal.counters.next_epoch != offered:
                self._conclude(now)
            return records.take_effects()
        if self._wake is not None and self._wake <= now:
            # What waited is due, whatever the event is about: no other one may come for it.
            self._look_anew()
        self._rests.recover_all(now)
        self._presence.expire(now)
        self._handle(event, now)
        self._staffing.start_jobs(now)
        self._staffing.staff_jobs(now)
        self._assignment.schedule(now)
        self._conclude(now)
        return records.take_effects()

    def _is_quiet(self, now: float) -> bool:
        """Whether nothing waits for the next event: most that come tell of progress only."""
        records = self._records
        due = self._wake is not None and self._wake <= now
        recovers = records.recover_at is None or records.recover_at <= now
        return not (due or recovers or records.resumes or records.unfinished)

    def _conclude(self, now: float) -> None:
        """What follows from all that was done for an event."""
        for job in list(self.active_jobs()):
            settle(self._records, job, self._staffing, self._attempts, now)
        self._joining.advance(now)
        self._wake = self._next_wake(now)

    def take_changes(self) -> Changes:
        """What must be stored since the last call, before its effects are carried out."""
        return self._records.take_changes()

    def next_wake(self, now: float) -> float | None:
        """When a `Ticked` is needed next, `now` at the soonest; None: nothing waits for a time."""
        if self._records.hurried:
            return now
        return None if self._wake is None else max(self._wake, now)

    def _next_wake(self, now: float) -> float | None:
        jobs = list(self.active_jobs())
        times = [job.not_before for job in jobs if not job.started]
        times += [job.join_not_before for job in jobs]
        times += [self.workers[worker_id].lease_until for worker_id in self._records.absent]
        times += [s.not_before for job in jobs for s in job.waiting.values()]
        times += [post.not_before for job in jobs for post in job.roster.postponed]
        if any(job.started for job in jobs):
            times += self._rests.wakes()
        return min((due for due in times if due > now), default=None)

    def active_jobs(self) -> Iterator[Job]:
        """Jobs that have not ended, in the order of their submission."""
        return self._records.active_jobs()

    # --- jobs ----------------------------------------------------------------------------------

    @singledispatchmethod
    def _handle(self, event: Event, now: float) -> None:
        raise TypeError(f"{event!r} is not an event")

    @_handle.register
    def _(self, event: Ticked, now: float) -> None:
        if not self._records.resumes:
            self._look_anew()

    def _look_anew(self) -> None:
        self._records.full.clear()
        self._records.feed_all = True
        self._records.restaff_all()

    @_handle.register
    def _(self, event: JobSubmitted, now: float) -> None:
        if event.job_id in self.jobs:
            return
        job = Job(event.job_id, event.spec, now, source=event.source, priority=event.priority)
        self.jobs[event.job_id] = job
        self._records.effects += [IndexSource(event.job_id), JobChanged(event.job_id)]

    @_handle.register
    def _(self, event: SourceIndexed, now: float) -> None:
        job = self._active(event.job_id)
        if job is None or job.source_ready:
            return
        job.source_ready = True
        if job.summary is None:
            job.summary, job.warnings = event.summary, event.summary.warnings
        if job.state is JobState.QUEUED:
            job.move(JobState.WAITING_FOR_CLIENTS, now)
        self._records.feed_all = True
        self._records.unstaffed.setdefault(job.id)
        self._records.joinable.setdefault(job.id)
        self._records.effects.append(JobChanged(job.id))
        self._take_up(job)

    def _take_up(self, job: Job) -> None:
        """The source is open: go on with what was live before it was."""
        for attempt in [a for s in job.unfinished.values() for a in s.live.values()]:
            if attempt.state is AttemptState.CHECKING:
                self._check(attempt)
            elif self.workers[attempt.worker_id].present:
                self._presence.resume_claimed([attempt])

    @_handle.register
    def _(self, event: JobFailed, now: float) -> None:
        job = self._active(event.job_id)
        if job is not None:
            self._records.fail(job, event.error, now)

    @_handle.register
    def _(self, event: JobCancelled, now: float) -> None:
        job = self._active(event.job_id)
        if job is not None:
            self._records.close(job, JobState.CANCELLED, now)

    @_handle.register
    def _(self, event: JobPaused, now: float) -> None:
        job = self._active(event.job_id)
        if job is not None:
            self._control.pause(job, now)

    @_handle.register
    def _(self, event: JobResumed, now: float) -> None:
        job = self._active(event.job_id)
        if job is not None:
            self._control.resume(job)

    @_handle.register
    def _(self, event: JobRetried, now: float) -> None:
        job = self.jobs.get(event.job_id)
        if job is not None and job.state in (JobState.FAILED, JobState.CANCELLED):
            self._control.retry(job, now)

    @_handle.register
    def _(self, event: JobPrioritised, now: float) -> None:
        job = self._active(event.job_id)
        if job is not None:
            self._control.prioritise(job, event.priority)

    @_handle.register
    def _(self, event: ResultsExpired, now: float) -> None:
        job = self.jobs.get(event.job_id)
        if job is not None and job.ended and job.kept:
            self._control.expire(job)

    @_handle.register
    def _(self, event: JobRemoved, now: float) -> None:
        job = self.jobs.get(event.job_id)
        if job is not None and job.ended:
            self._control.remove(job)

    # --- the join ------------------------------------------------------------------------------

    @_handle.register
    def _(self, event: JoinFailed, now: float) -> None:
        job = self._active(event.job_id)
        if job is not None:
            self._joining.failed(job, event.error, now)

    @_handle.register
    def _(self, event: SegmentLost, now: float) -> None:
        job = self._active(event.job_id)
        segment = job.segments.get(event.first_frame) if job is not None else None
        if job is not None and segment is not None:
            self._joining.lost(job, segment, event.error, now)

    @_handle.register
    def _(self, event: JobVerified, now: float) -> None:
        job = self._active(event.job_id)
        if job is not None:
            self._joining.verified(job, event.outcome)

    @_handle.register
    def _(self, event: JobPublished, now: float) -> None:
        job = self._active(event.job_id)
        if job is not None:
            self._joining.published(job, event.outcome, now)

    # --- workers -------------------------------------------------------------------------------

    @_handle.register
    def _(self, event: WorkerJoined, now: float) -> None:
        self._presence.joined(event, now)

    @_handle.register
    def _(self, event: WorkerLeft, now: float) -> None:
        self._presence.left(event, now)

    @_handle.register
    def _(self, event: WorkerDraining, now: float) -> None:
        self._presence.drain(event, now)

    @_handle.register
    def _(self, event: WorkerResumed, now: float) -> None:
        worker = self.workers.get(event.worker_id)
        if worker is not None:
            self._presence.resume(worker)

    @_handle.register
    def _(self, event: WorkerRemoved, now: float) -> None:
        worker = self.workers.get(event.worker_id)
        if worker is not None:
            self._presence.remove(worker, now)

    @_handle.register
    def _(self, event: SpaceChanged, now: float) -> None:
        self._records.no_space = event.reason
        self._records.feed_all = True

    @_handle.register
    def _(self, event: WebhookGaveUp, now: float) -> None:
        note, webhook, reason = self._records.journal.note, event.webhook_id, event.reason
        if event.event is None:
            note("webhook.disabled", webhook=webhook, reason=reason)
        else:
            note("webhook.given_up", event=event.event, webhook=webhook, reason=reason)

    # --- attempts ------------------------------------------------------------------------------

    @_handle.register
    def _(self, event: AttemptStarted, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is not None and attempt.state is AttemptState.OFFERED:
            self._start(attempt, now)

    def _start(self, attempt: Attempt, now: float) -> None:
        attempt.move(AttemptState.RUNNING)
        attempt.started_at = now
        self._records.full.discard(attempt.worker_id)
        self._records.journal.attempt(attempt)
        self._records.effects.append(JobChanged(attempt.job_id))

    @_handle.register
    def _(self, event: AttemptProgressed, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is None or not attempt.holds_slot:
            return
        if attempt.state is AttemptState.OFFERED:
            # It started while this coordinator was away.
            self._start(attempt, now)
        frames_done = min(max(event.frames, attempt.frames_done), len(attempt.frames))
        self._records.held(attempt, attempt.frames_done - frames_done)
        attempt.frames_done = frames_done
        attempt.fps = max(0.0, event.fps)
        self._attempts.progressed(attempt, now)
        self._records.stir(attempt.worker_id)
        self._records.effects += [JobChanged(attempt.job_id), WorkerChanged(attempt.worker_id)]

    @_handle.register
    def _(self, event: AttemptDelivered, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is None or not attempt.holds_slot:
            return
        self._records.held(attempt, -attempt.frames_left)
        attempt.move(AttemptState.CHECKING)
        attempt.proof, attempt.blob, attempt.delivered_at = event.proof, event.blob, now
        attempt.frames_done = len(attempt.frames)
        self._records.journal.attempt(attempt)
        self._attempts.delivered(attempt, event.proof.encode_s, now)
        worker = self.workers[attempt.worker_id]
        worker.settle()
        self._records.stir(worker.id)
        self._check(attempt)
        self._records.effects.append(WorkerChanged(worker.id))

    def _check(self, attempt: Attempt) -> None:
        self._records.effects += [
            CheckResult(attempt.epoch, attempt.worker_id, attempt.job_id, attempt.frames),
            JobChanged(attempt.job_id),
        ]

    @_handle.register
    def _(self, event: AttemptChecked, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is not None and attempt.state is AttemptState.CHECKING:
            self._attempts.checked(attempt, event.report, now)

    @_handle.register
    def _(self, event: AttemptFailed, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is not None:
            self._attempts.failed(attempt, event.error, now)

    @_handle.register
    def _(self, event: AttemptReturned, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is not None and attempt.holds_slot:
            self._attempts.returned(attempt, now)

    @_handle.register
    def _(self, event: ResultSuperseded, now: float) -> None:
        worker = self.workers.get(event.worker_id)
        if worker is not None and event.epoch not in self.attempts:
            self._presence.superseded(worker, HeldAttempt(event.epoch, JobId("")))

    def _active(self, job_id: JobId) -> Job | None:
        job = self.jobs.get(job_id)
        return None if job is None or job.ended else job


__all__ = ["ClusterState", "Policy"]
