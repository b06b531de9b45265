"""All that the cluster knows, and the moves that keep several of its records in step.

Decides nothing: who is offered what, and what a failure means, is decided by the modules that
share these records, on behalf of the one mutator in `cluster`.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from ffcluster.core.crews import Post
from ffcluster.core.durable import Changes
from ffcluster.core.effects import (
    CloseJob,
    DiscardAttempt,
    Effect,
    JobChanged,
    OfferAttempt,
    RevokeAttempt,
    WorkerChanged,
)
from ffcluster.core.job import Job, JobState, Share
from ffcluster.core.journal import Journal
from ffcluster.core.model import Epoch, JobId, PreRoll, WorkerId
from ffcluster.core.segment import Attempt, AttemptEnd, AttemptState, Segment, SegmentState
from ffcluster.core.timeline import FrameRange
from ffcluster.core.worker import Worker
from ffcluster.errors import ErrorReport


@attrs.frozen
class Policy:
    """The coordinator's settings that decisions depend on.

    Attributes:
        required_workers: Connected workers needed before a job starts.
        benchmark_duration_s: Longest probe segment, in seconds of film.
        max_retries: Retries of one segment (and of finding an encoder) before the job fails.
        retry_delay_s: Seconds between a failure and the next attempt.
        fixed_crew: No worker will ever join beyond those that a job needs to start.
        trial_frames: Frames from the start of the film that a trial encodes.
        lease_s: Seconds for which a worker keeps its attempts after it was last heard.
        poison_after: Different workers on which a segment may fail before its job fails.
        quarantine_after: Different segments in a row that may fail on a device before it rests.
        quarantine_s: How long it rests the first time; each further time twice as long.
    """

    required_workers: int = 3
    benchmark_duration_s: float = 10.0
    max_retries: int = 3
    retry_delay_s: float = 5.0
    fixed_crew: bool = False
    trial_frames: int = 12
    lease_s: float = 30.0
    poison_after: int = 3
    quarantine_after: int = 3
    quarantine_s: float = 60.0


@attrs.define(eq=False)
class Records:
    """Jobs, workers, live attempts, and what is still to be done and looked at.

    What must be looked at is kept in dicts, for their order: a set's differs from run to run.

    Attributes:
        effects: What the event in hand led to so far.
        hungry: Workers whose situation changed.
        feed_all: Whether every worker must be looked at.
        unstaffed: Jobs whose posts, crews or trials may have to change.
        limited: Workers with a device that said it is full.
        absent: Workers without a session whose leases have not ended.
        joinable: Jobs whose join may have something to do.
        no_space: Why nothing may be offered because of the coordinator's disk, or "".
        journal: What must be stored.
    """

    policy: Policy
    journal: Journal = attrs.field(factory=Journal)
    jobs: dict[JobId, Job] = attrs.field(factory=dict)
    workers: dict[WorkerId, Worker] = attrs.field(factory=dict)
    attempts: dict[Epoch, Attempt] = attrs.field(factory=dict)
    effects: list[Effect] = attrs.field(factory=list)
    hungry: dict[WorkerId, None] = attrs.field(factory=dict)
    feed_all: bool = False
    unstaffed: dict[JobId, None] = attrs.field(factory=dict)
    limited: dict[WorkerId, None] = attrs.field(factory=dict)
    absent: dict[WorkerId, None] = attrs.field(factory=dict)
    joinable: dict[JobId, None] = attrs.field(factory=dict)
    no_space: str = ""

    def active_jobs(self) -> Iterator[Job]:
        """Jobs that have not ended, in the order of their submission."""
        return (job for job in self.jobs.values() if not job.ended)

    def restaff_all(self) -> None:
        """The workers changed: every job looks at its posts anew."""
        self.unstaffed.update(dict.fromkeys(job.id for job in self.active_jobs()))

    def take_effects(self) -> tuple[Effect, ...]:
        """Hand out what there is to do, each thing once."""
        effects, self.effects = tuple(dict.fromkeys(self.effects)), []
        for effect in effects:
            if isinstance(effect, JobChanged) and effect.job_id in self.jobs:
                self.journal.job(self.jobs[effect.job_id])
        return effects

    def take_changes(self) -> Changes:
        """Hand out what must be stored before the effects are carried out."""
        return self.journal.take(self.jobs, self.workers)

    def share(self, job: Job, worker_id: WorkerId) -> Share:
        """The record of what a worker did for a job."""
        name = self.workers[worker_id].facts.name
        self.journal.share(job.id, worker_id)
        return job.shares.setdefault(worker_id, Share(name))

    # --- jobs ----------------------------------------------------------------------------------

    def wait(self, job: Job, reason: str) -> None:
        """Say why a job waits."""
        if job.reason != reason:
            job.reason = reason
            self.effects.append(JobChanged(job.id))

    def fail(self, job: Job, error: ErrorReport, now: float) -> None:
        """Give a job up."""
        job.error = error
        self.close(job, JobState.FAILED, now)

    def close(self, job: Job, state: JobState, now: float) -> None:
        """End a job, whatever is still live of it."""
        job.move(state, now)
        job.reason = ""
        live = [a for segment in job.unfinished.values() for a in segment.live.values()]
        for attempt in [*live, *job.trials.values()]:
            self.revoke(attempt)
        job.unfinished.clear()
        job.waiting.clear()
        job.source_ready = False
        job.kept = state is JobState.FAILED
        self.feed_all = True
        self.effects += [CloseJob(job.id, keep=job.kept), JobChanged(job.id)]

    # --- attempts ------------------------------------------------------------------------------

    def offer(
        self, post: Post, job: Job, segment: Segment, now: float, *, speculative: bool = False
    ) -> None:
        """Offer a segment to a post."""
        attempt = self._attempt(post, job, segment.frames, segment.pre_roll, now)
        attempt.probe = post.pace_fps is None
        attempt.speculative = speculative
        attempt.fallback = post.candidate.fallback or (post.crew is not None and post.crew.stand_in)
        segment.live[attempt.epoch] = attempt
        segment.tried += 1
        if segment.state is SegmentState.PENDING:
            segment.move(SegmentState.ASSIGNED)
        self.share(job, post.worker.id)
        self.journal.segment(job.id, segment.frames.first)
        self.journal.attempt(attempt)
        self._send(attempt)

    def offer_trial(self, post: Post, job: Job, now: float) -> None:
        """Offer the first frames of the film to a post, to see what it writes."""
        frames = FrameRange(0, max(1, min(job.frame_count, self.policy.trial_frames)))
        attempt = self._attempt(post, job, frames, post.pre_roll, now)
        attempt.trial = True
        job.trials[attempt.epoch] = attempt
        self._send(attempt)

    def _attempt(
        self, post: Post, job: Job, frames: FrameRange, pre_roll: PreRoll, now: float
    ) -> Attempt:
        epoch = self.journal.next_epoch()
        attempt = Attempt(epoch, job.id, frames, post.worker.id, post.capability, now)
        attempt.pre_roll = pre_roll
        self.attempts[epoch] = attempt
        post.worker.attempts[epoch] = attempt
        return attempt

    def _send(self, attempt: Attempt) -> None:
        self.workers[attempt.worker_id].settle()
        self.effects += [
            OfferAttempt(
                attempt.epoch,
                attempt.worker_id,
                attempt.job_id,
                attempt.frames,
                attempt.pre_roll,
                attempt.capability.encoder,
                attempt.device,
                attempt.trial,
            ),
            JobChanged(attempt.job_id),
            WorkerChanged(attempt.worker_id),
        ]

    def give_again(self, attempt: Attempt, now: float, delay_s: float = 0.0) -> None:
        """Queue the segment of an ended attempt again, unless another attempt of it is live."""
        job = self.jobs[attempt.job_id]
        segment = job.segments[attempt.frames.first]
        if segment.live or segment.state is not SegmentState.ASSIGNED:
            return
        segment.move(SegmentState.PENDING)
        segment.not_before = now + delay_s
        self.feed_all = True
        job.waiting[segment.frames.first] = segment
        self.journal.segment(job.id, segment.frames.first)
        self.effects.append(JobChanged(job.id))

    def revoke(self, attempt: Attempt) -> None:
        """Take an attempt back from its worker, because another one counts or none does."""
        self.effects.append(RevokeAttempt(attempt.epoch, attempt.worker_id))
        self.end(attempt, AttemptEnd.SUPERSEDED)

    def end(self, attempt: Attempt, end: AttemptEnd, error: ErrorReport | None = None) -> None:
        """Take a live attempt out of every record."""
        attempt.move(AttemptState.ENDED)
        attempt.end, attempt.error, attempt.ended_at = end, error, self.journal.now
        self.journal.attempt(attempt)
        if not attempt.trial:
            self.journal.segment(attempt.job_id, attempt.frames.first)
        del self.attempts[attempt.epoch]
        worker, job = self.workers[attempt.worker_id], self.jobs[attempt.job_id]
        worker.attempts.pop(attempt.epoch, None)
        worker.settle()
        self.hungry.setdefault(worker.id)
        if attempt.trial:
            del job.trials[attempt.epoch]
        else:
            del job.segments[attempt.frames.first].live[attempt.epoch]
        committed = end is AttemptEnd.COMMITTED
        self.effects.append(DiscardAttempt(attempt.epoch, attempt.job_id, committed))
