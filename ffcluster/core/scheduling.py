"""Which post gets how much of which job. Functions over the records; they change nothing.

Work is pulled: a segment is carved when a slot has room for it, of a size that fits that worker's
measured rate and shrinks towards the end of the film, so that all slots end together (guided
self-scheduling). A waiting attempt is given only shortly before a slot falls free, which keeps
the choice open as long as possible without ever letting the slot run dry.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from ffcluster.core.crews import Post
from ffcluster.core.job import Job
from ffcluster.core.model import Epoch
from ffcluster.core.planning import min_segment_frames
from ffcluster.core.segment import Attempt, AttemptState, Segment
from ffcluster.core.worker import RUNNING_LOAD

# A slot's next segment is this part of its fair share of what is left.
_SHARE = 0.5
# Bounds of a segment's encoding time on the worker that gets it, in seconds.
MIN_ENCODE_S, MAX_ENCODE_S = 2.0, 30.0
# Length of a segment, in seconds of film, where a single slot encodes everything.
LONE_SEGMENT_S = 120.0
# Give the next attempt when the running one has about this long to go: time to cut and to fetch.
PREFETCH_LEAD_S = 4.0
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
        (standing_in if crew.stand_in else regular).extend(p for p in crew.posts if p.available)
    return regular or standing_in


def works(post: Post, job: Job) -> bool:
    """Whether `post` may be given segments now."""
    if post.crew is None or not post.available:
        return False
    if not post.crew.stand_in:
        return True
    return not any(p.available for c in job.crews if not c.stand_in for p in c.posts)


@attrs.frozen
class Strength:
    """What all posts that may work on a job can do together.

    Attributes:
        slots: Attempts that may run at once.
        known_fps: Frames per second of those slots whose rate is known.
        unknown_slots: Slots whose rate is not known.
    """

    slots: int
    known_fps: float
    unknown_slots: int

    @classmethod
    def of(cls, job: Job) -> Strength:
        """Add up the posts of a job."""
        paces = [(slots(post), post.pace_fps) for post in team(job)]
        return cls(
            sum(count for count, _ in paces),
            sum(count * pace for count, pace in paces if pace is not None),
            sum(count for count, pace in paces if pace is None),
        )


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
    live = [a for segment in job.unfinished.values() for a in segment.live.values()]
    encoding = sum(len(a.frames) - a.frames_done for a in live if a.holds_slot)
    ends_in_s = (job.uncarved + encoding) / max(total_rate, own)
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


def retry_for(post: Post, job: Job, now: float) -> Segment | None:
    """The first segment to give again that `post` may have now, or None.

    A segment that failed here is left to another post as long as there is another on which it
    did not fail.
    """
    others: list[Post] | None = None
    for segment in sorted(job.waiting.values(), key=lambda s: s.frames.first):
        if segment.not_before > now:
            continue
        failed_on = segment.failed_on
        if post.key in failed_on:
            others = team(job) if others is None else others
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


def stealable(post: Post, job: Job) -> Attempt | None:
    """An attempt that waits behind another at some other post while `post` is idle."""
    candidates = [
        attempt
        for segment in job.unfinished.values()
        for attempt in segment.live.values()
        if attempt.state is AttemptState.OFFERED
        and not _same_place(attempt, post)
        and _waits(attempt, job)
        and len(segment.live) == 1
        and post.key not in segment.failed_on
    ]
    return max(candidates, key=lambda a: len(a.frames), default=None)


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


def _same_place(attempt: Attempt, post: Post) -> bool:
    return (attempt.worker_id, attempt.device) == (post.worker.id, post.device)


def _waits(attempt: Attempt, job: Job) -> bool:
    post = job.post(attempt.post_key)
    return post is not None and post.worker.load_on(attempt.device) > RUNNING_LOAD


def overdue(post: Post, job: Job, rate_of: dict[Epoch, float | None]) -> Attempt | None:
    """The running attempt that a second attempt at idle `post` would overtake by most, or None.

    Args:
        post: An idle post with a known rate.
        job: The job, with nothing left to carve or to give again.
        rate_of: Known slot rate of each live attempt's post.
    """
    own = post.pace_fps
    if own is None:
        return None
    best: tuple[float, Attempt] | None = None
    for segment in job.unfinished.values():
        if len(segment.live) != 1 or post.key in segment.failed_on:
            continue
        (attempt,) = segment.live.values()
        if _same_place(attempt, post) or attempt.state is not AttemptState.RUNNING:
            continue
        rest = attempt.remaining_s(rate_of.get(attempt.epoch))
        ours = len(attempt.frames) / own + _SPECULATE_MARGIN_S
        if rest is None or ours >= rest * _SPECULATE_BELOW:
            continue
        if best is None or rest > best[0]:
            best = (rest, attempt)
    return best[1] if best else None


def orphaned(post: Post, job: Job) -> Attempt | None:
    """The attempt with most left to do whose worker is away, for idle `post` to overtake; or None.

    Its worker may yet come back with it in time: whichever result is there first counts.
    """
    left_alone = [
        attempt
        for segment in job.unfinished.values()
        for attempt in segment.live.values()
        if len(segment.live) == 1 and attempt.holds_slot and post.key not in segment.failed_on
    ]
    return max(
        (attempt for attempt in left_alone if _away(attempt, job)),
        key=lambda a: len(a.frames) - a.frames_done,
        default=None,
    )


def _away(attempt: Attempt, job: Job) -> bool:
    post = job.post(attempt.post_key)
    return post is not None and not post.worker.present


def rates(job: Job, attempts: Iterable[Attempt]) -> dict[Epoch, float | None]:
    """Known slot rate of each attempt's post."""
    found: dict[Epoch, float | None] = {}
    for attempt in attempts:
        post = job.post(attempt.post_key)
        found[attempt.epoch] = post.pace_fps if post else None
    return found
