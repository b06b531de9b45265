"""How attempts end: commits, failures, returns, and what each teaches of its post.

A segment is given again here; to whom is decided in `assignment`.
"""

from __future__ import annotations

from ffcluster.core import results
from ffcluster.core.crews import Post, PostState
from ffcluster.core.effects import JobChanged, WorkerChanged
from ffcluster.core.job import Job
from ffcluster.core.judge import Judge
from ffcluster.core.judgement import Losses, delay_s, hopeless, meaning_of
from ffcluster.core.model import Fallback, ResultReport
from ffcluster.core.records import Records
from ffcluster.core.rests import Rests
from ffcluster.core.segment import Attempt, AttemptEnd, AttemptFailure, Segment, SegmentState
from ffcluster.core.throughput import SETTLED_AFTER_S, RateKey, Throughput
from ffcluster.core.trials import Trials
from ffcluster.errors import Code, ErrorReport

# Hardware that failed so often in a row is taken out of a job that software may finish.
_GIVE_UP_AFTER = 3


class Attempts:
    """Takes in what becomes of attempts, on behalf of the cluster's state."""

    def __init__(self, records: Records, judge: Judge) -> None:
        self._records = records
        self._judge = judge
        self._rests = Rests(records)
        self._trials = Trials(records, self._rests)

    def checked(self, attempt: Attempt, report: ResultReport, now: float) -> None:
        """The result was looked at and is sound in itself."""
        if attempt.trial:
            self._trials.checked(attempt, report)
            return
        job = self._records.jobs[attempt.job_id]
        refused = results.objection(job, attempt, report, self._judge)
        if refused is not None:
            self.failed(attempt, refused, now)
            return
        self._commit(job, attempt, report)

    def _commit(self, job: Job, attempt: Attempt, report: ResultReport) -> None:
        segment = job.segments[attempt.frames.first]
        self._records.end(attempt, AttemptEnd.COMMITTED)
        for other in list(segment.live.values()):
            self._records.revoke(other)
        segment.move(SegmentState.COMMITTED)
        segment.committed, segment.report = attempt, report
        job.sample = job.sample or report
        del job.unfinished[segment.frames.first]
        job.frames_committed += len(segment.frames)
        job.segments_committed += 1
        results.count(job, attempt, report)
        self._learn(job, attempt, report)
        self._rests.succeeded(attempt)
        share = self._records.share(job, attempt.worker_id)
        share.add(attempt.capability, len(segment.frames))
        worker = self._records.workers[attempt.worker_id]
        worker.segments_done += 1
        worker.frames_done += len(segment.frames)
        self._records.joinable.setdefault(job.id)
        self._records.effects += [JobChanged(job.id), WorkerChanged(worker.id)]

    def _learn(self, job: Job, attempt: Attempt, report: ResultReport) -> None:
        """The first result of a post that was not tried says what its crew writes."""
        post = job.post(attempt.post_key)
        if (
            post is None
            or post.crew is None
            or post.capability != attempt.capability
            or post.state is PostState.REFUSED
        ):
            # Its worker is gone, or it was taken out while this was looked at; what is in the file
            # binds those who work on it all the same, and they may have waited to know it.
            results.remember(job, attempt, report)
            self._records.unstaffed.setdefault(job.id)
            return
        post.failures_in_a_row = 0
        if post.state is PostState.UNTRIED:
            post.learn(report)
            post.crew.noted(post)
            self._records.unstaffed.setdefault(job.id)

    def failed(self, attempt: Attempt, error: ErrorReport, now: float) -> None:
        """The attempt came to nothing."""
        if attempt.trial:
            self._trials.failed(attempt, error, now)
            return
        job = self._records.jobs[attempt.job_id]
        segment = job.segments[attempt.frames.first]
        self._records.end(attempt, AttemptEnd.FAILED, error)
        if error.code is Code.ENCODER_BUSY and self._back_pressure(attempt, now):
            return
        job.retries += 1
        self._records.journal.note(
            "attempt.failed",
            job_id=job.id,
            worker_id=attempt.worker_id,
            epoch=attempt.epoch,
            first_frame=segment.frames.first,
            worker=self._records.workers[attempt.worker_id].facts.name,
            code=error.code.value,
            reason=error.message,
        )
        self._records.effects.append(JobChanged(job.id))
        if not self._excused(attempt, segment, error, now):
            self._count(job, segment, attempt, error, now)

    def _back_pressure(self, attempt: Attempt, now: float) -> bool:
        """Whether a device that says that it is full may be believed: less is given, none fails."""
        worker = self._records.workers[attempt.worker_id]
        self._records.limited.setdefault(worker.id)
        believed = worker.refused(attempt.device, now)
        self._records.reweigh(worker)
        if not believed:
            return False
        self._records.give_again(attempt, now)
        self._records.effects.append(WorkerChanged(worker.id))
        return True

    def _excused(self, attempt: Attempt, segment: Segment, error: ErrorReport, now: float) -> bool:
        """Whether the segment is given again at once, with nothing held against it."""
        wider = segment.pre_roll.next if error.code is Code.WRONG_FRAME_COUNT else None
        # An encoder that never started says nothing about what it would have encoded.
        untouched = error.code is Code.WORKER_LOST and attempt.started_at is None
        meaning = meaning_of(error.code)
        if meaning.rest_s:
            self._rests.rest_whole(self._records.workers[attempt.worker_id], error, now)
        if wider is not None:
            # Too little of the source before the segment is nobody's failure: widen, at once.
            segment.pre_roll = wider
        if wider is None and not untouched and meaning.kept:
            return False
        self._records.give_again(attempt, now)
        return True

    def _count(
        self, job: Job, segment: Segment, attempt: Attempt, error: ErrorReport, now: float
    ) -> None:
        """Keep a failure as evidence, and draw the conclusions."""
        policy = self._records.policy
        worker = self._records.workers[attempt.worker_id]
        failure = AttemptFailure(attempt.epoch, attempt.post_key, worker.facts.name, error)
        segment.failures.append(failure)
        job.losses += error.code is Code.WORKER_LOST
        self._records.share(job, worker.id).failures += 1
        worker.failures += 1
        if meaning_of(error.code).against_device:
            self._rests.suspect(attempt, segment, error, now)
            self._doubt(job, attempt, error)
        if not self._hopeless(job, segment) or self._replace(job, segment):
            delay = delay_s(segment.failures, policy.retry_delay_s)
            self._records.give_again(attempt, now, delay_s=delay)
        elif not segment.live:
            # Somebody else's attempt that is still on its way is awaited: it may succeed.
            self._give_up(job, segment, now)

    def _hopeless(self, job: Job, segment: Segment) -> bool:
        """Whether a segment is given up, for all that is tried on devices that go on with it."""
        policy = self._records.policy
        failures = [f for f in segment.failures if not _replaced(job, f)]
        losses = _losses(job, segment)
        return hopeless(failures, policy.max_retries, policy.poison_after, losses)

    def _replace(self, job: Job, segment: Segment) -> bool:
        """Take hardware out of a job when a segment fails on it, and software may still try.

        It may do well with others all the while, so that `_doubt` never has enough against it.
        """
        if not any(_may_try(post) for post in job.every_post()):
            return False
        posts = [job.post(failure.post_key) for failure in segment.failures]
        doubtful = [post for post in posts if post is not None and _replaceable(job, post)]
        times = f"{len(segment.failures)} times at frame {segment.frames.first}"
        for post in doubtful:
            post.refuse(f"failed {times}: {segment.failures[-1].error.message}")
        self._records.unstaffed.setdefault(job.id)
        return bool(doubtful) and not self._hopeless(job, segment)

    def _give_up(self, job: Job, segment: Segment, now: float) -> None:
        """A segment cannot be encoded: its job fails, or goes on without it."""
        error = results.segment_error(segment)
        if not job.spec.allow_missing:
            self._records.fail(job, error, now)
            self._rests.forgive(job.id)
            return
        segment.move(SegmentState.MISSING)
        del job.unfinished[segment.frames.first]
        job.frames_missing += len(segment.frames)
        journal = self._records.journal
        journal.segment(job.id, segment.frames.first)
        journal.note(
            "segment.missing",
            job_id=job.id,
            first_frame=segment.frames.first,
            frames=len(segment.frames),
            reason=error.message,
        )
        self._records.joinable.setdefault(job.id)
        self._records.effects.append(JobChanged(job.id))
        if job.whole and not job.frames_committed:
            self._records.fail(job, error, now)
            self._rests.forgive(job.id)

    def returned(self, attempt: Attempt, now: float) -> None:
        """An attempt was given back or taken back before it failed: nobody's fault."""
        if attempt.trial:
            self._trials.returned(attempt, now)
            return
        self._records.end(attempt, AttemptEnd.RETURNED)
        self._records.give_again(attempt, now)

    def _doubt(self, job: Job, attempt: Attempt, error: ErrorReport) -> None:
        """Take hardware that does nothing but fail out of a job that software may finish."""
        post = job.post(attempt.post_key)
        if post is None:
            return
        post.failures_in_a_row += 1
        enough = min(_GIVE_UP_AFTER, self._records.policy.max_retries)
        if _replaceable(job, post) and post.failures_in_a_row >= enough:
            post.refuse(f"failed {post.failures_in_a_row} times in a row: {error.message}")
            self._records.unstaffed.setdefault(job.id)

    def delivered(self, attempt: Attempt, encode_s: float, now: float) -> None:
        """Learn the rate of the post that delivered a result."""
        self._records.workers[attempt.worker_id].succeeded(attempt.device)
        if attempt.trial or attempt.resumed:
            # One was over before the encoder had got going, of the other not all was seen.
            return
        worker, job = self._records.workers[attempt.worker_id], self._records.jobs[attempt.job_id]
        started = attempt.started_at if attempt.started_at is not None else attempt.offered_at
        # The upload is not slot time, but the worker's word is believed only that far. After a
        # broken connection the news of its start may come as late as the result.
        took_s = min(max(encode_s, (now - started) / 2), now - attempt.offered_at)
        if took_s > 0:
            known = worker.rates.setdefault(_rate_key(job, attempt), Throughput(0.0))
            known.add(len(attempt.frames), took_s)
            self._records.reweigh(worker)

    def progressed(self, attempt: Attempt, now: float) -> None:
        """Learn a first rate from a running attempt, so that the next one can be sized."""
        if attempt.trial or attempt.resumed or attempt.started_at is None:
            return
        worker, job = self._records.workers[attempt.worker_id], self._records.jobs[attempt.job_id]
        elapsed_s = now - attempt.started_at
        if elapsed_s < SETTLED_AFTER_S or not attempt.frames_done:
            return
        fps = attempt.frames_done / elapsed_s
        known = worker.rates.setdefault(_rate_key(job, attempt), Throughput(fps))
        if known.measurements == 0:
            known.fps = fps
            self._records.reweigh(worker)


def _replaceable(job: Job, post: Post) -> bool:
    """Whether software may stand in for it."""
    return job.spec.fallback is Fallback.ALLOW and post.capability.hardware


def _may_try(post: Post) -> bool:
    """Whether it is software that can be given something."""
    usable = post.worker.available and post.state is not PostState.REFUSED
    return usable and not post.capability.hardware


def _replaced(job: Job, failure: AttemptFailure) -> bool:
    """Whether it was on hardware that was taken out, and that software stands in for."""
    post = job.post(failure.post_key)
    return post is not None and post.state is PostState.REFUSED and _replaceable(job, post)


def _losses(job: Job, segment: Segment) -> Losses:
    """How the other segments of a job were lost."""
    committed = job.segments_committed - (segment.committed is not None)
    return Losses(job.losses - segment.losses, committed)


def _rate_key(job: Job, attempt: Attempt) -> RateKey:
    assert job.summary is not None  # noqa: S101 - only an indexed job has attempts
    return RateKey.of(attempt.capability, job.spec.profile, job.summary.video)
