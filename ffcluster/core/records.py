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

# What may be done for one event: looks at a worker on behalf of a job, some microseconds each.
_BUDGET = 600


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
        full: Workers that had no room when they were looked at last, and nothing changed since.
        feed_all: Whether every worker that is not full must be looked at.
        unfed: Workers of whom the looking at was put off.
        budget: How much more may be done for the event in hand before the rest is put off.
        hurried: Whether something was put off.
        resumes: Whether the event before put something off.
        unstaffed: Jobs whose posts, crews or trials may have to change.
        limited: Workers with a device that said it is full, or that rests.
        recover_at: When the next of these may have more again; None: it must be found out.
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
    full: set[WorkerId] = attrs.field(factory=set)
    feed_all: bool = False
    unfed: dict[WorkerId, None] = attrs.field(factory=dict)
    budget: int = 0
    hurried: bool = False
    resumes: bool = False
    unstaffed: dict[JobId, None] = attrs.field(factory=dict)
    limited: dict[WorkerId, None] = attrs.field(factory=dict)
    recover_at: float | None = None
    absent: dict[WorkerId, None] = attrs.field(factory=dict)
    joinable: dict[JobId, None] = attrs.field(factory=dict)
    no_space: str = ""

    def active_jobs(self) -> Iterator[Job]:
        """Jobs that have not ended, in the order of their submission."""
        return (job for job in self.jobs.values() if not job.ended)

    def begin(self, now: float) -> None:
        """An event is taken in."""
        self.journal.now = now
        self.resumes, self.budget, self.hurried = self.hurried, _BUDGET, False

    @property
    def unfinished(self) -> bool:
        """Whether anything is left to look at."""
        return bool(self.feed_all or self.unfed or self.hungry or self.unstaffed)

    def stir(self, worker_id: WorkerId) -> None:
        """A worker's situation changed: it must be looked at."""
        self.hungry.setdefault(worker_id)
        self.full.discard(worker_id)

    def forget(self, worker_id: WorkerId) -> None:
        """A worker is no longer known."""
        for listed in (self.hungry, self.unfed, self.absent, self.limited):
            listed.pop(worker_id, None)
        self.full.discard(worker_id)
        self.recover_at = None

    def reconsider(self, worker: Worker) -> None:
        """Whether a worker may be given work changed: its posts are placed anew."""
        self.full.discard(worker.id)
        self.recover_at = None
        for job in self.active_jobs():
            for post in job.posts.get(worker.id, ()):
                job.roster.place(post)

    def reweigh(self, worker: Worker) -> None:
        """How much a worker can do changed."""
        self.full.discard(worker.id)
        self.recover_at = None
        for job in self.active_jobs():
            for post in job.posts.get(worker.id, ()):
                if post.crew is not None:
                    post.crew.weigh(post)

    def spend(self, cost: int) -> bool:
        """Use up some of what may be done for one event; whether there is anything left."""
        self.budget -= cost
        if self.budget > 0:
            return True
        self.hurried = True
        return False

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
        job.roster.close()
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
        segment.live[attempt.epoch] = job.live[attempt.epoch] = attempt
        job.frames_held += len(attempt.frames)
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
            OfferAttempt.of(attempt),
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

    def held(self, attempt: Attempt, more_frames: int) -> None:
        """An attempt has so many frames more (or fewer) to encode than before."""
        if not attempt.trial:
            self.jobs[attempt.job_id].frames_held += more_frames

    def revoke(self, attempt: Attempt) -> None:
        """Take an attempt back from its worker, because another one counts or none does."""
        self.effects.append(RevokeAttempt(attempt.epoch, attempt.worker_id))
        self.end(attempt, AttemptEnd.SUPERSEDED)

    def end(self, attempt: Attempt, end: AttemptEnd, error: ErrorReport | None = None) -> None:
        """Take a live attempt out of every record."""
        self.held(attempt, -attempt.frames_left if attempt.holds_slot else 0)
        attempt.move(AttemptState.ENDED)
        attempt.end, attempt.error, attempt.ended_at = end, error, self.journal.now
        self.journal.attempt(attempt)
        if not attempt.trial:
            self.journal.segment(attempt.job_id, attempt.frames.first)
        del self.attempts[attempt.epoch]
        worker, job = self.workers[attempt.worker_id], self.jobs[attempt.job_id]
        worker.attempts.pop(attempt.epoch, None)
        worker.settle()
        self.stir(worker.id)
        if attempt.trial:
            del job.trials[attempt.epoch]
        else:
            del job.segments[attempt.frames.first].live[attempt.epoch]
            del job.live[attempt.epoch]
        committed = end is AttemptEnd.COMMITTED
        self.effects.append(DiscardAttempt(attempt.epoch, attempt.job_id, committed))
