"""Which post gets how much of which job. Functions over the records; they change nothing.

Work is pulled: a segment is carved when a slot has room for it, of a size that fits that worker's
measured rate and shrinks towards the end of the film, so that all slots end together (guided
self-scheduling). A waiting attempt is given only shortly before a slot falls free, which keeps
the choice open as long as possible without ever letting the slot run dry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import attrs

from ffcluster.core.crews import Post, Strength
from ffcluster.core.job import Job
from ffcluster.core.planning import min_segment_frames
from ffcluster.core.segment import Attempt, AttemptState, Segment
from ffcluster.core.worker import PREFETCH_LEAD_S, RUNNING_LOAD

# A slot's next segment is this part of its fair share of what is left.
_SHARE = 0.5
# Bounds of a segment's encoding time on the worker that gets it, in seconds.
MIN_ENCODE_S, MAX_ENCODE_S = 2.0, 30.0
# Length of a segment, in seconds of film, where a single slot encodes everything.
LONE_SEGMENT_S = 120.0
# A second attempt pays off when it would end in less than this part of the first one's rest.
_SPECULATE_BELOW = 0.5
_SPECULATE_MARGIN_S = 3.0


def slots(post: Post) -> int:
    """Attempts that `post` may run at once now."""
    return post.worker.slots(post.capability)


def team(job: Job) -> list[Post]:
    """The posts that may be given segments now: stand-ins only while nobody else is there."""
    regular: list[Post] = []
    standing_in: list[Post] = []
    for crew in job.crews:
        (standing_in if crew.stand_in else regular).extend(p for p in crew.posts if p in crew.ready)
    return regular or standing_in


def manned(job: Job) -> bool:
    """Whether anybody may be given segments now."""
    return any(crew.ready for crew in job.crews)


def strength(job: Job) -> Strength:
    """What all posts that may be given segments now can do together."""
    regular = [crew.strength for crew in job.crews if crew.ready and not crew.stand_in]
    standing_in = [crew.strength for crew in job.crews if crew.ready and crew.stand_in]
    return sum(regular or standing_in, Strength())


def works(post: Post, job: Job) -> bool:
    """Whether `post` may be given segments now."""
    if post.crew is None or not post.available:
        return False
    if not post.crew.stand_in:
        return True
    return not any(crew.ready for crew in job.crews if not crew.stand_in)


@attrs.frozen
class Want:
    """How much a worker should get next.

    Attributes:
        frames: Size of the segment, before it is fitted to keyframes.
        last_round: After this the film is used up: sizes now decide whether all end together, so
            they are kept rather than fitted to keyframes.
    """

    frames: int
    last_round: bool = False


def wanted_frames(
    post: Post, job: Job, strength: Strength, probe_s: float, *, fixed_crew: bool
) -> Want:
    """Size of the next segment for `post`.

    All slots would end together at the time `T` = (frames not encoded yet) / (rate of all slots);
    a slot's fair share is what it can encode from when it falls free until `T`. It gets half of
    that, so that errors of the estimate can be made good later, and all of it in the last round.
    A rate that was only benchmarked, on other content, is trusted for half as much.

    Args:
        post: The post that has room.
        job: The job; indexed, with its crew chosen.
        strength: Of all that may work on the job.
        probe_s: Longest probe in seconds of film, for a post without a known rate.
        fixed_crew: No further worker will come, so a lone slot may take all that is left.
    """
    assert job.summary is not None  # noqa: S101 - a job without index is never scheduled
    own = post.pace_fps
    if strength.slots == 1 and fixed_crew:
        # Nobody to share with, and encoders that fill a machine alone lose time at every start.
        return Want(round(LONE_SEGMENT_S * job.summary.mean_fps))
    if own is None:
        fair = job.uncarved // max(1, 2 * strength.slots)
        return Want(max(1, min(round(probe_s * job.summary.mean_fps), fair)))
    caution = 1.0 if post.measured else 0.5
    most = own * MAX_ENCODE_S * caution
    least = max(own * MIN_ENCODE_S, min_segment_frames(job.summary))
    total_rate = strength.known_fps + own * strength.unknown_slots
    ends_in_s = (job.uncarved + job.frames_held) / max(total_rate, own)
    fair_frames = own * max(0.0, ends_in_s - _free_in_s(post, own))
    half = fair_frames * _SHARE * caution
    if half >= least:
        return Want(round(min(half, most)))
    return Want(round(min(max(fair_frames, least / 2), most)), last_round=True)


def _free_in_s(post: Post, rate: float) -> float:
    """Seconds until a slot of `post` falls free; 0 when one is free now."""
    held = post.worker.held_on(post.device)
    if post.worker.load_on(post.device) < RUNNING_LOAD or not held:
        return 0.0
    return min(a.remaining_s(rate) or 0.0 for a in held)


def due(job: Job, now: float) -> list[Segment]:
    """The segments to give again whose time has come, in the film's order."""
    waiting = [segment for segment in job.waiting.values() if segment.not_before <= now]
    waiting.sort(key=lambda segment: segment.frames.first)
    return waiting


def retry_for(post: Post, job: Job, waiting: Iterable[Segment]) -> Segment | None:
    """The first segment of `waiting` that still waits and that `post` may have, or None.

    A segment that failed here is left to another post as long as there is another on which it
    did not fail.
    """
    others: list[Post] | None = None
    for segment in waiting:
        if job.waiting.get(segment.frames.first) is not segment:
            continue
        if segment.failures and post.key in segment.failed_on:
            others = team(job) if others is None else others
            failed_on = segment.failed_on
            if any(p.key not in failed_on for p in others):
                continue
        return segment
    return None


def prefetch_due(post: Post) -> bool:
    """Whether a busy post should get its next attempt now, to fetch while it encodes."""
    known = post.pace_fps
    if known is None:
        return False
    held = post.worker.held_on(post.device)
    rests = [a.remaining_s(known) for a in held if a.state is AttemptState.RUNNING]
    waiting = sum(1 for a in held if a.state is AttemptState.OFFERED)
    falling_free = sum(1 for rest in rests if rest is not None and rest <= PREFETCH_LEAD_S)
    return waiting < falling_free


@attrs.define
class Tail:
    """The live attempts of a job of which all is given, those first that most is gained by.

    Attributes:
        offered: Those that did not begin, the longest first.
        left_alone: Those of workers that are away, with most to do first.
        late: Those that a second attempt may overtake, with the seconds they have to go.
    """

    offered: deque[Attempt]
    left_alone: Sequence[Attempt]
    late: Sequence[tuple[float, Attempt]]

    @classmethod
    def of(cls, job: Job) -> Tail:
        """Look at all live attempts of a job."""
        alone = [
            attempt
            for segment in job.unfinished.values()
            if len(segment.live) == 1
            for attempt in segment.live.values()
        ]
        offered = [a for a in alone if a.state is AttemptState.OFFERED]
        offered.sort(key=lambda a: -len(a.frames))
        left_alone = [a for a in alone if a.holds_slot and _away(a, job)]
        left_alone.sort(key=lambda a: -a.frames_left)
        late = [(_rest_s(a, job), a) for a in alone if a.state is AttemptState.RUNNING]
        late = [entry for entry in late if entry[0] * _SPECULATE_BELOW > _SPECULATE_MARGIN_S]
        late.sort(key=lambda entry: -entry[0])
        return cls(deque(offered), left_alone, late)


def _rest_s(attempt: Attempt, job: Job) -> float:
    """Seconds until an attempt's encoder is done; 0 where that is not known."""
    if attempt.fps:
        return attempt.remaining_s(None) or 0.0
    post = job.post(attempt.post_key)
    return attempt.remaining_s(post.pace_fps if post else None) or 0.0


def _may_overtake(post: Post, attempt: Attempt, job: Job) -> bool:
    """Whether `post` may make what `attempt` is making alone."""
    segment = job.unfinished.get(attempt.frames.first)
    if segment is None or len(segment.live) != 1 or attempt.epoch not in segment.live:
        return False
    if (attempt.worker_id, attempt.device) == (post.worker.id, post.device):
        return False
    return not segment.failures or post.key not in segment.failed_on


def stealable(post: Post, job: Job, tail: Tail) -> Attempt | None:
    """An attempt that waits behind another at some other post while `post` is idle."""
    while tail.offered and not _waits(tail.offered[0], job):
        tail.offered.popleft()
    for attempt in tail.offered:
        if _may_overtake(post, attempt, job) and _waits(attempt, job):
            return attempt
    return None


def pays_off_to_try(job: Job, trial_frames: int) -> bool:
    """Whether somebody who must be tried first could still get more to do than the trial."""
    if job.uncarved or job.waiting:
        return True
    waiting = (
        len(attempt.frames)
        for segment in job.unfinished.values()
        for attempt in segment.live.values()
        if attempt.state is AttemptState.OFFERED and _waits(attempt, job)
    )
    return sum(waiting) > trial_frames


def _waits(attempt: Attempt, job: Job) -> bool:
    if attempt.state is not AttemptState.OFFERED:
        return False
    post = job.post(attempt.post_key)
    if post is None or len(post.worker.attempts) < 2:
        return False
    return post.worker.overloaded(attempt.device)


def overdue(post: Post, job: Job, tail: Tail) -> Attempt | None:
    """The running attempt that a second attempt at idle `post` would overtake by most, or None.

    Args:
        post: An idle post with a known rate.
        job: The job, with nothing left to carve or to give again.
        tail: Its live attempts.
    """
    own = post.pace_fps
    if own is None:
        return None
    for rest_s, attempt in tail.late:
        ours = len(attempt.frames) / own + _SPECULATE_MARGIN_S
        if ours < rest_s * _SPECULATE_BELOW and _may_overtake(post, attempt, job):
            return attempt
    return None


def orphaned(post: Post, job: Job, tail: Tail) -> Attempt | None:
    """The attempt with most left to do whose worker is away, for idle `post` to overtake; or None.

    Its worker may yet come back with it in time: whichever result is there first counts.
    """
    return next((a for a in tail.left_alone if _may_overtake(post, a, job)), None)


def _away(attempt: Attempt, job: Job) -> bool:
    post = job.post(attempt.post_key)
    return post is not None and not post.worker.present
