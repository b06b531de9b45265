"""The whole cluster as one state with one mutator: `ClusterState.handle(event, now) -> effects`.

Knows no clock, socket or file. Handling is deterministic: the same events at the same times give
the same effects, which is what the simulator and recovery rest on. Events of attempts that are no
longer live are ignored, so duplicates, replays and late results change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatchmethod

from ffcluster.core import scheduling
from ffcluster.core.assignment import Assignment
from ffcluster.core.attempts import Attempts
from ffcluster.core.crews import PostState
from ffcluster.core.effects import (
    CheckResult,
    Effect,
    FinishJoin,
    IndexSource,
    JobChanged,
    RevokeAttempt,
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
    JobCancelled,
    JobFailed,
    JobPublished,
    JobSubmitted,
    SourceIndexed,
    Ticked,
    WorkerDraining,
    WorkerJoined,
    WorkerLeft,
)
from ffcluster.core.job import Job, JobState
from ffcluster.core.judge import Judge
from ffcluster.core.model import Epoch, JobId, WorkerId
from ffcluster.core.records import Policy, Records
from ffcluster.core.segment import Attempt, AttemptState
from ffcluster.core.staffing import Staffing
from ffcluster.core.worker import Worker, WorkerState
from ffcluster.errors import Code, ErrorReport


class ClusterState:
    """Jobs, workers and attempts, and every decision about them.

    Args:
        policy: Settings that decisions depend on.
        judge: What is known of encoders.
        first_epoch: Epoch of the first attempt.
    """

    def __init__(self, policy: Policy, judge: Judge, first_epoch: int = 1) -> None:
        self._records = Records(policy, first_epoch)
        self._staffing = Staffing(self._records, judge)
        self._attempts = Attempts(self._records, judge)
        self._assignment = Assignment(self._records)

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
        """All workers that were ever connected."""
        return self._records.workers

    @property
    def attempts(self) -> dict[Epoch, Attempt]:
        """All live attempts, trials among them."""
        return self._records.attempts

    def handle(self, event: Event, now: float) -> tuple[Effect, ...]:
        """Take `event` in and say what must be done.

        Args:
            event: What happened.
            now: Monotonic seconds; never less than in an earlier call.
        """
        records = self._records
        for worker_id in list(records.limited):
            self._recover(self.workers[worker_id], now)
        self._handle(event, now)
        self._staffing.start_jobs(now)
        self._staffing.staff_jobs(now)
        self._assignment.schedule(now)
        for job in list(self.active_jobs()):
            self._settle_job(job, now)
        return records.take_effects()

    def next_wake(self, now: float) -> float | None:
        """When a `Ticked` is needed next; None: nothing waits for a time that is yet to come."""
        jobs = list(self.active_jobs())
        times = [job.not_before for job in jobs if not job.started]
        times += [s.not_before for job in jobs for s in job.waiting.values()]
        times += [
            post.not_before
            for job in jobs
            for post in job.every_post()
            if post.state is PostState.WANTED and post.available
        ]
        if any(job.started for job in jobs):
            limited = [self.workers[worker_id] for worker_id in self._records.limited]
            times += [due for worker in limited if worker.available for due in worker.wakes()]
        return min((due for due in times if due > now), default=None)

    def active_jobs(self) -> Iterator[Job]:
        """Jobs that have not ended, in the order of their submission."""
        return self._records.active_jobs()

    def forget(self, job_id: JobId) -> None:
        """Drop the record of an ended job."""
        if self.jobs[job_id].ended:
            del self.jobs[job_id]

    # --- what happened -------------------------------------------------------------------------

    @singledispatchmethod
    def _handle(self, event: Event, now: float) -> None:
        raise TypeError(f"{event!r} is not an event")

    @_handle.register
    def _(self, event: Ticked, now: float) -> None:
        self._records.feed_all = True
        self._records.restaff_all()

    @_handle.register
    def _(self, event: JobSubmitted, now: float) -> None:
        if event.job_id in self.jobs:
            return
        self.jobs[event.job_id] = Job(event.job_id, event.spec, now)
        self._records.effects += [IndexSource(event.job_id), JobChanged(event.job_id)]

    @_handle.register
    def _(self, event: SourceIndexed, now: float) -> None:
        job = self._active(event.job_id)
        if job is None or job.summary is not None:
            return
        job.summary = event.summary
        job.warnings = event.summary.warnings
        job.move(JobState.WAITING_FOR_CLIENTS, now)
        self._records.effects.append(JobChanged(job.id))

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
    def _(self, event: JobPublished, now: float) -> None:
        job = self._active(event.job_id)
        if job is not None and job.state is JobState.COMBINING:
            job.outcome = event.outcome
            self._records.close(job, JobState.COMPLETED, now)

    @_handle.register
    def _(self, event: WorkerJoined, now: float) -> None:
        known = self.workers.get(event.worker_id)
        if known is not None:
            self._lose_worker(known, "the worker opened a new session", now)
            known.move(WorkerState.CONNECTED)
            known.facts, known.connected_at, known.draining = event.facts, now, False
            known.limits.clear()
        else:
            known = self.workers[event.worker_id] = Worker(event.worker_id, event.facts, now)
        self._staffing.worker_joined(known)
        self._records.feed_all = True
        self._records.effects.append(WorkerChanged(event.worker_id))

    @_handle.register
    def _(self, event: WorkerLeft, now: float) -> None:
        worker = self.workers.get(event.worker_id)
        if worker is not None:
            self._lose_worker(worker, event.reason, now)

    @_handle.register
    def _(self, event: WorkerDraining, now: float) -> None:
        worker = self.workers.get(event.worker_id)
        if worker is None or not worker.available:
            return
        worker.draining = True
        for attempt in [a for a in worker.attempts.values() if a.state is AttemptState.OFFERED]:
            self._take_back(attempt, now)
        self._records.restaff_all()
        self._records.effects.append(WorkerChanged(worker.id))

    @_handle.register
    def _(self, event: AttemptStarted, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is None or attempt.state is not AttemptState.OFFERED:
            return
        attempt.move(AttemptState.RUNNING)
        attempt.started_at = now
        self._records.effects.append(JobChanged(attempt.job_id))

    @_handle.register
    def _(self, event: AttemptProgressed, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is None or attempt.state is not AttemptState.RUNNING:
            return
        attempt.frames_done = min(max(event.frames, attempt.frames_done), len(attempt.frames))
        attempt.fps = max(0.0, event.fps)
        self._attempts.progressed(attempt, now)
        self._records.hungry.setdefault(attempt.worker_id)
        self._records.effects += [JobChanged(attempt.job_id), WorkerChanged(attempt.worker_id)]

    @_handle.register
    def _(self, event: AttemptDelivered, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is None or not attempt.holds_slot:
            return
        attempt.move(AttemptState.CHECKING)
        attempt.proof = event.proof
        attempt.frames_done = len(attempt.frames)
        self._attempts.delivered(attempt, event.proof.encode_s, now)
        worker = self.workers[attempt.worker_id]
        worker.settle()
        self._records.hungry.setdefault(worker.id)
        self._records.effects += [
            CheckResult(attempt.epoch, attempt.job_id, attempt.frames),
            JobChanged(attempt.job_id),
            WorkerChanged(worker.id),
        ]

    @_handle.register
    def _(self, event: AttemptChecked, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is None or attempt.state is not AttemptState.CHECKING:
            return
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

    # --- jobs ----------------------------------------------------------------------------------

    def _active(self, job_id: JobId) -> Job | None:
        job = self.jobs.get(job_id)
        return None if job is None or job.ended else job

    def _settle_job(self, job: Job, now: float) -> None:
        """Take the state that the job's attempts say."""
        if job.ended or job.state is JobState.COMBINING or not job.started:
            return
        if job.frames_committed == job.frame_count:
            job.reason = ""
            for trial in list(job.trials.values()):
                self._take_back(trial, now)
            job.move(JobState.COMBINING, now)
            self._records.effects += [FinishJoin(job.id), JobChanged(job.id)]
            return
        live = [a for s in job.unfinished.values() for a in s.live.values()]
        trying = bool(job.trials) and not job.segments_committed
        if not live and not trying and not scheduling.team(job):
            job.move(JobState.WAITING_FOR_CLIENTS, now)
            self._records.wait(job, self._staffing.why_waiting(job))
            return
        job.reason = ""
        probing = not job.segments_committed and all(attempt.probe for attempt in live)
        if job.state is JobState.PROCESSING or (live and not probing):
            job.move(JobState.PROCESSING, now)
        elif live or trying:
            job.move(JobState.BENCHMARKING, now)

    def _take_back(self, attempt: Attempt, now: float) -> None:
        """An attempt is not wanted there any more, through nobody's fault."""
        self._records.effects.append(RevokeAttempt(attempt.epoch, attempt.worker_id))
        self._attempts.returned(attempt, now)

    def _lose_worker(self, worker: Worker, reason: str, now: float) -> None:
        if worker.state is WorkerState.DISCONNECTED:
            return
        worker.move(WorkerState.DISCONNECTED)
        lost = ErrorReport(
            Code.WORKER_LOST, f"worker {worker.facts.name} went away: {reason}", retryable=True
        )
        for attempt in [a for a in worker.attempts.values() if a.holds_slot]:
            # The first one may have been its job's last chance, which ends the others too.
            if attempt.epoch in self.attempts:
                self._attempts.failed(attempt, lost, now)
        self._records.restaff_all()
        self._records.effects.append(WorkerChanged(worker.id))

    def _recover(self, worker: Worker, now: float) -> None:
        """Let devices that said that they are full have more again when their time has come."""
        if worker.recover(now):
            self._records.effects.append(WorkerChanged(worker.id))
        self._records.hungry.setdefault(worker.id)
        if not worker.limits:
            self._records.limited.pop(worker.id, None)


__all__ = ["ClusterState", "Policy"]
