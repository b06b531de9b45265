"""What must be true of a cluster's state between two events. Raises; repairs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from ffcluster.core.cluster import ClusterState
from ffcluster.core.crews import PostState, Strength
from ffcluster.core.job import Job, JobState
from ffcluster.core.segment import AttemptState, SegmentState
from ffcluster.core.worker import PREFETCH_LOAD, WorkerState


def validate(state: ClusterState) -> None:
    """Check every invariant.

    Raises:
        AssertionError: Naming all that do not hold.
    """
    broken = [*_attempts(state), *_workers(state)]
    for job in state.jobs.values():
        found = (*_job(job), *_staff(job), *_indexes(job))
        broken += [f"job {job.id}: {what}" for what in found]
    if broken:
        raise AssertionError("; ".join(broken))


def _attempts(state: ClusterState) -> Iterator[str]:
    for epoch, attempt in state.attempts.items():
        if attempt.state is AttemptState.ENDED:
            yield f"attempt {epoch} ended and is still listed"
        if epoch not in state.workers[attempt.worker_id].attempts:
            yield f"attempt {epoch} is unknown to its worker"
        job = state.jobs[attempt.job_id]
        if attempt.trial:
            if job.trials.get(epoch) is not attempt:
                yield f"trial {epoch} is unknown to its job"
        elif job.segments[attempt.frames.first].live.get(epoch) is not attempt:
            yield f"attempt {epoch} is unknown to its segment"


def _workers(state: ClusterState) -> Iterator[str]:
    for worker in state.workers.values():
        for epoch in worker.attempts:
            if epoch not in state.attempts:
                yield f"worker {worker.id} holds attempt {epoch}, which is not live"
        loads: dict[str, Fraction] = {}
        for attempt in worker.attempts.values():
            if attempt.holds_slot:
                loads[attempt.device] = loads.get(attempt.device, Fraction(0)) + attempt.unit
        for device, load in loads.items():
            # Behind a limit that was lowered a moment ago more may still be on its way.
            if load > PREFETCH_LOAD:
                yield f"worker {worker.id} has a load of {load} on {device or 'its CPU'}"
        if loads and worker.state in (WorkerState.IDLE, WorkerState.DISCONNECTED):
            yield f"worker {worker.id} is {worker.state} and has work"


def _staff(job: Job) -> Iterator[str]:
    tried = {attempt.post_key for attempt in job.trials.values()}
    if job.ended and job.trials:
        yield f"{len(job.trials)} trials are live after its end"
    for post in job.every_post():
        if (post.state is PostState.KNOWN) and post.report is None:
            yield f"{post.name} is known without a report"
        if (post.state is PostState.REFUSED) != bool(post.reason):
            yield f"{post.name} is {post.state} for the reason {post.reason!r}"
        if not job.ended and post.state is PostState.TRYING and post.key not in tried:
            yield f"{post.name} is being tried without a trial"
        if post.crew is None:
            continue
        if not any(post.crew is crew for crew in job.crews) or post not in post.crew.posts:
            yield f"{post.name} is in a crew that does not know of it"
        if not job.single_segment and post.kind and post.kind not in post.crew.kinds:
            yield f"{post.name} writes another kind than its crew"
    regular = [crew for crew in job.crews if not crew.stand_in]
    if len(regular) > 1 and not job.spec.mix:
        yield f"{len(regular)} crews work on it and nothing may be mixed"
    if len({crew.shape for crew in job.crews if crew.kinds}) > 1:
        yield "its crews write pictures of different shapes"


def _indexes(job: Job) -> Iterator[str]:
    """What is kept up to date piece by piece must be what counting anew would find."""
    live = {e: a for segment in job.segments.values() for e, a in segment.live.items()}
    if job.live != live:
        yield f"{len(live)} attempts are live, {len(job.live)} are listed"
    held = sum(attempt.frames_left for attempt in live.values() if attempt.holds_slot)
    if job.frames_held != held:
        yield f"{held} frames are held, counted as {job.frames_held}"
    losses = sum(segment.losses for segment in job.segments.values())
    if job.losses != losses and job.segments:
        yield f"{losses} attempts were lost, counted as {job.losses}"
    if job.ended:
        return
    posts = set(job.every_post())
    for post in posts:
        if not job.roster.is_right_about(post):
            yield f"{post.name} is not listed where it belongs"
    if not job.roster.available.keys() <= posts:
        yield "posts are listed that it does not have"
    for crew in job.crews:
        ready = {post: crew.worth(post) for post in crew.posts if post.available}
        if crew.ready != ready:
            yield f"{len(ready)} posts of a crew are ready, {len(crew.ready)} are counted"
        if crew.strength != sum((Strength().add(*known) for known in ready.values()), Strength()):
            yield "a crew's strength adds up otherwise"


def _job(job: Job) -> Iterator[str]:
    if job.state is JobState.COMPLETED and not job.segments:
        # After a restart only the totals of a completed job are remembered.
        return
    frontier = frames = committed = missing = 0
    for first, segment in job.segments.items():
        if first != segment.frames.first or first != frontier:
            yield f"segment {segment.frames} does not follow frame {frontier}"
        frontier = segment.frames.stop
        if segment.state is SegmentState.COMMITTED:
            frames += len(segment.frames)
            committed += 1
            if segment.live or segment.committed is None:
                yield f"committed segment {segment.frames} has live attempts or no result"
        elif segment.state is SegmentState.MISSING:
            missing += len(segment.frames)
            if segment.live or segment.committed is not None or first in job.unfinished:
                yield f"missing segment {segment.frames} is not given up altogether"
        elif not job.ended:
            if first not in job.unfinished:
                yield f"segment {segment.frames} is unfinished and not listed"
            if (segment.state is SegmentState.PENDING) != (first in job.waiting):
                yield f"segment {segment.frames} is {segment.state} and its queue disagrees"
            if (segment.state is SegmentState.ASSIGNED) != bool(segment.live):
                yield f"segment {segment.frames} is {segment.state} with {len(segment.live)} live"
    if frontier != job.frontier:
        yield f"frontier {job.frontier}, but segments end at {frontier}"
    if frames != job.frames_committed or committed != job.segments_committed:
        yield f"{frames} frames in {committed} segments are committed, counted otherwise"
    if missing != job.frames_missing:
        yield f"{missing} frames are missing, counted as {job.frames_missing}"
    if sum(made.frames for made in job.made.values()) != frames:
        yield f"{frames} frames are committed, but who made them adds up otherwise"
    if job.join_next > job.frontier:
        yield "the join is ahead of the segments"
    if job.state in (JobState.COMBINING, JobState.COMPLETED) and not job.whole:
        yield f"{job.state} with {frames} of {job.frame_count} frames, {missing} missing"
    if (job.state is JobState.COMPLETED) != (job.outcome is not None):
        yield f"{job.state} and an outcome of {job.outcome}"
    if (job.state is JobState.FAILED) != (job.error is not None):
        yield f"{job.state} and an error of {job.error}"
