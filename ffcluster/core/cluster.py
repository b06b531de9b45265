"""The whole cluster as one state with one mutator: `ClusterState.handle(event, now) -> effects`.

Knows no clock, socket or file. Handling is deterministic: the same events at the same times give
the same effects, which is what the simulator and recovery rest on. Events of attempts that are no
longer live are ignored, so duplicates, replays and late results change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import singledispatchmethod

import attrs

from ffcluster.core import scheduling
from ffcluster.core.effects import (
    CheckResult,
    CloseJob,
    DiscardAttempt,
    Effect,
    FinishJoin,
    IndexSource,
    JobChanged,
    JoinSegment,
    OfferAttempt,
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
from ffcluster.core.job import Job, JobState, Share
from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, Epoch, JobId, JobSpec, ResultReport, WorkerId
from ffcluster.core.planning import next_segment
from ffcluster.core.segment import (
    Attempt,
    AttemptFailure,
    AttemptState,
    Segment,
    SegmentState,
)
from ffcluster.core.throughput import SETTLED_AFTER_S, Throughput
from ffcluster.core.worker import PREFETCH_LOAD, RUNNING_LOAD, Worker, WorkerState
from ffcluster.errors import Code, ErrorReport

# Picks one encoder for a job from the capabilities of each worker, or says why none will do.
ChooseEncoder = Callable[[JobSpec, VideoFormat, Sequence[Sequence[Capability]]], str | ErrorReport]


@attrs.frozen
class Policy:
    """The coordinator's settings that decisions depend on.

    Attributes:
        required_workers: Connected workers needed before a job starts.
        benchmark_duration_s: Longest probe segment, in seconds of film.
        max_retries: Retries of one segment (and of finding an encoder) before the job fails.
        retry_delay_s: Seconds between a failure and the next attempt.
        fixed_crew: No worker will ever join beyond those that a job needs to start.
    """

    required_workers: int = 3
    benchmark_duration_s: float = 10.0
    max_retries: int = 3
    retry_delay_s: float = 5.0
    fixed_crew: bool = False


class ClusterState:
    """Jobs, workers and attempts, and every decision about them."""

    def __init__(self, policy: Policy, choose_encoder: ChooseEncoder, first_epoch: int = 1) -> None:
        self.policy = policy
        self.jobs: dict[JobId, Job] = {}
        self.workers: dict[WorkerId, Worker] = {}
        self.attempts: dict[Epoch, Attempt] = {}
        self._choose_encoder = choose_encoder
        self._next_epoch = first_epoch
        self._effects: list[Effect] = []
        self._hungry: set[WorkerId] = set()
        self._feed_all = False

    def handle(self, event: Event, now: float) -> tuple[Effect, ...]:
        """Take `event` in and say what must be done.

        Args:
            event: What happened.
            now: Monotonic seconds; never less than in an earlier call.
        """
        self._handle(event, now)
        self._start_jobs(now)
        self._schedule(now)
        effects, self._effects = tuple(dict.fromkeys(self._effects)), []
        return effects

    def next_wake(self, now: float) -> float | None:
        """When a `Ticked` is needed next; None: nothing waits for a time that is yet to come."""
        times = [job.not_before for job in self.active_jobs() if not job.started]
        times += [s.not_before for job in self.active_jobs() for s in job.waiting.values()]
        return min((due for due in times if due > now), default=None)

    def active_jobs(self) -> Iterator[Job]:
        """Jobs that have not ended, in the order of their submission."""
        return (job for job in self.jobs.values() if not job.ended)

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
        self._feed_all = True

    @_handle.register
    def _(self, event: JobSubmitted, now: float) -> None:
        if event.job_id in self.jobs:
            return
        self.jobs[event.job_id] = Job(event.job_id, event.spec, now)
        self._effects += [IndexSource(event.job_id), JobChanged(event.job_id)]

    @_handle.register
    def _(self, event: SourceIndexed, now: float) -> None:
        job = self._active(event.job_id)
        if job is None or job.summary is not None:
            return
        job.summary = event.summary
        job.warnings = event.summary.warnings
        job.move(JobState.WAITING_FOR_CLIENTS, now)
        self._effects.append(JobChanged(job.id))

    @_handle.register
    def _(self, event: JobFailed, now: float) -> None:
        job = self._active(event.job_id)
        if job is not None:
            self._fail(job, event.error, now)

    @_handle.register
    def _(self, event: JobCancelled, now: float) -> None:
        job = self._active(event.job_id)
        if job is not None:
            self._close(job, JobState.CANCELLED, now)

    @_handle.register
    def _(self, event: JobPublished, now: float) -> None:
        job = self._active(event.job_id)
        if job is not None and job.state is JobState.COMBINING:
            job.outcome = event.outcome
            self._close(job, JobState.COMPLETED, now)

    @_handle.register
    def _(self, event: WorkerJoined, now: float) -> None:
        known = self.workers.get(event.worker_id)
        if known is not None:
            self._lose_worker(known, "the worker opened a new session", now)
            known.move(WorkerState.CONNECTED)
            known.facts, known.connected_at, known.draining = event.facts, now, False
        else:
            self.workers[event.worker_id] = Worker(event.worker_id, event.facts, now)
        self._feed_all = True
        self._effects.append(WorkerChanged(event.worker_id))

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
            self._revoke(attempt)
            self._give_again(attempt, now)
        self._effects.append(WorkerChanged(worker.id))

    @_handle.register
    def _(self, event: AttemptStarted, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is None or attempt.state is not AttemptState.OFFERED:
            return
        attempt.move(AttemptState.RUNNING)
        attempt.started_at = now
        self._effects.append(JobChanged(attempt.job_id))

    @_handle.register
    def _(self, event: AttemptProgressed, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is None or attempt.state is not AttemptState.RUNNING:
            return
        attempt.frames_done = min(max(event.frames, attempt.frames_done), len(attempt.frames))
        attempt.fps = max(0.0, event.fps)
        worker, job = self.workers[attempt.worker_id], self.jobs[attempt.job_id]
        self._estimate(worker, job, attempt, now)
        self._hungry.add(worker.id)
        self._effects += [JobChanged(job.id), WorkerChanged(worker.id)]

    @_handle.register
    def _(self, event: AttemptDelivered, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is None or not attempt.holds_slot:
            return
        attempt.move(AttemptState.CHECKING)
        attempt.proof = event.proof
        attempt.frames_done = len(attempt.frames)
        worker, job = self.workers[attempt.worker_id], self.jobs[attempt.job_id]
        started = attempt.started_at if attempt.started_at is not None else attempt.offered_at
        key = scheduling.rate_key(job)
        if key is not None:
            known = worker.rates.setdefault(key, Throughput(0.0))
            # The upload is not slot time, but the worker's word is believed only that far.
            held_s = now - started
            known.add(len(attempt.frames), min(max(event.proof.encode_s, held_s / 2), held_s))
        worker.settle()
        self._hungry.add(worker.id)
        self._effects += [
            CheckResult(attempt.epoch, job.id, attempt.frames),
            JobChanged(job.id),
            WorkerChanged(worker.id),
        ]

    @_handle.register
    def _(self, event: AttemptChecked, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is None or attempt.state is not AttemptState.CHECKING:
            return
        job = self.jobs[attempt.job_id]
        odd = _unlike_the_others(job, event.report)
        if odd is not None:
            self._attempt_failed(attempt, odd, now)
            return
        self._commit(job, attempt, event.report, now)

    @_handle.register
    def _(self, event: AttemptFailed, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is not None:
            self._attempt_failed(attempt, event.error, now)

    @_handle.register
    def _(self, event: AttemptReturned, now: float) -> None:
        attempt = self.attempts.get(event.epoch)
        if attempt is not None and attempt.holds_slot:
            self._end(attempt, committed=False)
            self._give_again(attempt, now)

    # --- jobs ----------------------------------------------------------------------------------

    def _active(self, job_id: JobId) -> Job | None:
        job = self.jobs.get(job_id)
        return None if job is None or job.ended else job

    def _start_jobs(self, now: float) -> None:
        for job in self.active_jobs():
            if job.state is JobState.WAITING_FOR_CLIENTS and not job.started:
                self._start(job, now)

    def _start(self, job: Job, now: float) -> None:
        ready = [worker for worker in self.workers.values() if worker.available]
        missing = self.policy.required_workers - len(ready)
        if missing > 0:
            self._wait(job, f"waiting for {missing} more worker{'s' if missing > 1 else ''}")
            return
        if job.not_before > now:
            return
        assert job.summary is not None  # noqa: S101 - only an indexed job waits for workers
        offers = [worker.facts.capabilities for worker in ready]
        choice = self._choose_encoder(job.spec, job.summary.video, offers)
        if isinstance(choice, str):
            job.encoder, job.started, job.reason = choice, True, ""
            self._feed_all = True
            self._effects.append(JobChanged(job.id))
            return
        job.start_failures += 1
        if not choice.retryable or job.start_failures > self.policy.max_retries:
            self._fail(job, choice, now)
            return
        job.not_before = now + self.policy.retry_delay_s
        self._wait(job, choice.message)

    def _wait(self, job: Job, reason: str) -> None:
        if job.reason != reason:
            job.reason = reason
            self._effects.append(JobChanged(job.id))

    def _fail(self, job: Job, error: ErrorReport, now: float) -> None:
        job.error = error
        self._close(job, JobState.FAILED, now)

    def _close(self, job: Job, state: JobState, now: float) -> None:
        job.move(state, now)
        job.reason = ""
        for segment in job.unfinished.values():
            for attempt in list(segment.live.values()):
                self._revoke(attempt)
        job.unfinished.clear()
        job.waiting.clear()
        self._feed_all = True
        self._effects += [CloseJob(job.id), JobChanged(job.id)]

    def _settle_job(self, job: Job, now: float) -> None:
        """Take the state that the job's segments say."""
        if job.ended or job.state is JobState.COMBINING or not job.started:
            return
        if job.frames_committed == job.frame_count:
            job.reason = ""
            job.move(JobState.COMBINING, now)
            self._effects += [FinishJoin(job.id), JobChanged(job.id)]
            return
        live = [a for s in job.unfinished.values() for a in s.live.values()]
        if not live and not any(scheduling.slots(w, job) for w in self.workers.values()):
            job.move(JobState.WAITING_FOR_CLIENTS, now)
            self._wait(job, f"no connected worker has {job.encoder}")
            return
        job.reason = ""
        probing = job.segments_committed == 0 and all(attempt.probe for attempt in live)
        if job.state is JobState.PROCESSING or (live and not probing):
            job.move(JobState.PROCESSING, now)
        elif live:
            job.move(JobState.BENCHMARKING, now)

    # --- attempts ------------------------------------------------------------------------------

    def _commit(self, job: Job, attempt: Attempt, report: ResultReport, now: float) -> None:
        segment = job.segments[attempt.frames.first]
        self._end(attempt, committed=True)
        for other in list(segment.live.values()):
            self._revoke(other)
        segment.move(SegmentState.COMMITTED)
        segment.committed, segment.report = attempt, report
        job.sample = job.sample or report
        del job.unfinished[segment.frames.first]
        job.frames_committed += len(segment.frames)
        job.segments_committed += 1
        share = self._share(job, attempt.worker_id)
        share.segments += 1
        share.frames += len(segment.frames)
        worker = self.workers[attempt.worker_id]
        worker.segments_done += 1
        worker.frames_done += len(segment.frames)
        self._hand_to_join(job)
        self._settle_job(job, now)
        self._effects += [JobChanged(job.id), WorkerChanged(worker.id)]

    def _hand_to_join(self, job: Job) -> None:
        while (segment := job.segments.get(job.join_next)) is not None:
            if segment.committed is None or segment.report is None:
                return
            self._effects.append(
                JoinSegment(job.id, segment.committed.epoch, segment.frames, segment.report)
            )
            job.join_next = segment.frames.stop

    def _attempt_failed(self, attempt: Attempt, error: ErrorReport, now: float) -> None:
        job = self.jobs[attempt.job_id]
        segment = job.segments[attempt.frames.first]
        worker = self.workers[attempt.worker_id]
        self._end(attempt, committed=False)
        job.retries += 1
        wider = segment.pre_roll.next if error.code is Code.WRONG_FRAME_COUNT else None
        if wider is not None:
            # Too little of the source before the segment is nobody's failure: widen, at once.
            segment.pre_roll = wider
            self._give_again(attempt, now)
            return
        segment.failures.append(AttemptFailure(attempt.epoch, worker.id, worker.facts.name, error))
        self._share(job, worker.id).failures += 1
        worker.failures += 1
        if len(segment.failures) > self.policy.max_retries:
            self._fail(job, _segment_error(segment), now)
            return
        self._give_again(attempt, now, delay_s=self.policy.retry_delay_s)

    def _give_again(self, attempt: Attempt, now: float, delay_s: float = 0.0) -> None:
        """Queue the segment of an ended attempt again, unless another attempt of it is live."""
        job = self.jobs[attempt.job_id]
        segment = job.segments[attempt.frames.first]
        if segment.live or segment.state is not SegmentState.ASSIGNED:
            return
        segment.move(SegmentState.PENDING)
        segment.not_before = now + delay_s
        self._feed_all = True
        job.waiting[segment.frames.first] = segment
        self._effects.append(JobChanged(job.id))

    def _revoke(self, attempt: Attempt) -> None:
        self._effects.append(RevokeAttempt(attempt.epoch, attempt.worker_id))
        self._end(attempt, committed=False)

    def _end(self, attempt: Attempt, *, committed: bool) -> None:
        """Take a live attempt out of every record."""
        attempt.move(AttemptState.ENDED)
        del self.attempts[attempt.epoch]
        worker = self.workers[attempt.worker_id]
        worker.attempts.pop(attempt.epoch, None)
        worker.settle()
        self._hungry.add(worker.id)
        del self.jobs[attempt.job_id].segments[attempt.frames.first].live[attempt.epoch]
        self._effects.append(DiscardAttempt(attempt.epoch, attempt.job_id, committed))

    def _lose_worker(self, worker: Worker, reason: str, now: float) -> None:
        if worker.state is WorkerState.DISCONNECTED:
            return
        worker.move(WorkerState.DISCONNECTED)
        lost = ErrorReport(
            Code.WORKER_LOST, f"worker {worker.facts.name} went away: {reason}", retryable=True
        )
        for attempt in [a for a in worker.attempts.values() if a.holds_slot]:
            self._attempt_failed(attempt, lost, now)
        self._effects.append(WorkerChanged(worker.id))

    def _share(self, job: Job, worker_id: WorkerId) -> Share:
        name = self.workers[worker_id].facts.name
        return job.shares.setdefault(worker_id, Share(name))

    def _estimate(self, worker: Worker, job: Job, attempt: Attempt, now: float) -> None:
        """Learn a first rate from a running attempt, so that the next one can be sized."""
        key = scheduling.rate_key(job)
        if key is None or attempt.started_at is None:
            return
        known = worker.rates.get(key)
        elapsed_s = now - attempt.started_at
        if elapsed_s < SETTLED_AFTER_S or not attempt.frames_done:
            return
        if known is None:
            worker.rates[key] = Throughput(attempt.frames_done / elapsed_s)
        elif known.measurements == 0:
            known.fps = attempt.frames_done / elapsed_s

    # --- scheduling ----------------------------------------------------------------------------

    def _schedule(self, now: float) -> None:
        # Only those whose situation changed are looked at: a thousand busy workers cost nothing.
        while self._feed_all or self._hungry:
            ids = list(self.workers) if self._feed_all else list(self._hungry)
            self._feed_all = False
            self._hungry.clear()
            for worker_id in ids:
                worker = self.workers[worker_id]
                self._fill(worker, now)
                worker.settle()
        for job in self.active_jobs():
            self._settle_job(job, now)

    def _fill(self, worker: Worker, now: float) -> None:
        """Give `worker` attempts until it has no room or there is nothing for it."""
        if not worker.available:
            return
        while any(self._give(worker, job, now) for job in self._by_need()):
            pass

    def _by_need(self) -> list[Job]:
        """Jobs that encode, the one with the least live attempts first: they share the workers."""
        jobs = [job for job in self.active_jobs() if job.encoding]
        if len(jobs) > 1:
            jobs.sort(key=lambda j: sum(len(s.live) for s in j.unfinished.values()))
        return jobs

    def _give(self, worker: Worker, job: Job, now: float) -> bool:
        capability = worker.capability(job.encoder)
        if capability is None:
            return False
        load = worker.load
        room_now = load + capability.unit <= RUNNING_LOAD
        if not room_now and (
            load + capability.unit > PREFETCH_LOAD or not scheduling.prefetch_due(worker, job)
        ):
            return False
        workers = self.workers.values()
        segment = scheduling.retry_for(worker, job, workers, now)
        if segment is not None:
            del job.waiting[segment.frames.first]
        elif job.uncarved:
            segment = self._carve(worker, job)
        elif room_now and not job.waiting:
            return self._take_over(worker, job, now)
        if segment is None:
            return False
        self._offer(worker, job, segment, now)
        return True

    def _carve(self, worker: Worker, job: Job) -> Segment:
        assert job.summary is not None  # noqa: S101 - encoding implies an index
        probe_s = min(self.policy.benchmark_duration_s, worker.facts.benchmark_duration_s)
        want = scheduling.wanted_frames(
            worker, job, self.workers.values(), probe_s, fixed_crew=self.policy.fixed_crew
        )
        frames = next_segment(
            job.spec, job.summary, job.frontier, want.frames, snap=not want.last_round
        )
        segment = Segment(frames)
        job.segments[frames.first] = segment
        job.unfinished[frames.first] = segment
        job.frontier = frames.stop
        return segment

    def _take_over(self, worker: Worker, job: Job, now: float) -> bool:
        """Near the end: take an attempt that waits elsewhere, or overtake one that is overdue."""
        waiting = scheduling.stealable(worker, job, self.workers)
        if waiting is not None:
            segment = job.segments[waiting.frames.first]
            self._revoke(waiting)
            segment.move(SegmentState.PENDING)
            self._offer(worker, job, segment, now)
            return True
        rates = {
            attempt.epoch: scheduling.rate_fps(self.workers[attempt.worker_id], job)
            for segment in job.unfinished.values()
            for attempt in segment.live.values()
        }
        late = scheduling.overdue(worker, job, rates)
        if late is None:
            return False
        self._offer(worker, job, job.segments[late.frames.first], now, speculative=True)
        return True

    def _offer(
        self, worker: Worker, job: Job, segment: Segment, now: float, *, speculative: bool = False
    ) -> None:
        capability = worker.capability(job.encoder)
        assert capability is not None  # noqa: S101 - the caller has just looked
        attempt = Attempt(
            epoch=Epoch(self._next_epoch),
            job_id=job.id,
            frames=segment.frames,
            worker_id=worker.id,
            unit=capability.unit,
            offered_at=now,
            probe=scheduling.rate_fps(worker, job) is None,
            speculative=speculative,
        )
        self._next_epoch += 1
        self.attempts[attempt.epoch] = attempt
        worker.attempts[attempt.epoch] = attempt
        segment.live[attempt.epoch] = attempt
        segment.tried += 1
        if segment.state is SegmentState.PENDING:
            segment.move(SegmentState.ASSIGNED)
        worker.settle()
        self._share(job, worker.id)
        self._effects += [
            OfferAttempt(
                attempt.epoch, worker.id, job.id, segment.frames, segment.pre_roll, job.encoder
            ),
            JobChanged(job.id),
            WorkerChanged(worker.id),
        ]


def _unlike_the_others(job: Job, report: ResultReport) -> ErrorReport | None:
    """Say why a result cannot stand beside those committed before; None when it can."""
    if job.sample is None:
        return None
    for what in ("codec", "width", "height", "pix_fmt"):
        found, expected = getattr(report, what), getattr(job.sample, what)
        if found != expected:
            return ErrorReport(
                Code.RESULT_INVALID,
                f"the result's {what} is {found}, the other segments have {expected}",
                retryable=True,
            )
    return None


def _segment_error(segment: Segment) -> ErrorReport:
    """The error of a job whose segment failed too often: the last failure, with its history."""
    last = segment.failures[-1]
    first, final = segment.frames.first, segment.frames.stop - 1
    return ErrorReport(
        last.error.code,
        f"frames {first} to {final} failed {len(segment.failures)} times, "
        f"last on {last.worker_name}: {last.error.message}",
        last.error.advice,
        detail={
            **last.error.detail,
            "segment": {"first_frame": first, "frame_count": len(segment.frames)},
            "worker": last.worker_name,
            "failures": [
                {"worker": f.worker_name, "code": f.error.code.value, "message": f.error.message}
                for f in segment.failures
            ],
        },
    )


__all__ = ["ChooseEncoder", "ClusterState", "Policy"]
