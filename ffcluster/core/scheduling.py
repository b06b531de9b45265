"""Which worker gets how much of which job. Functions over the records; they change nothing.

Work is pulled: a segment is carved when a slot has room for it, of a size that fits that worker's
measured rate and shrinks towards the end of the film, so that all slots end together (guided
self-scheduling). A waiting attempt is given only shortly before a slot falls free, which keeps
the choice open as long as possible without ever letting the slot run dry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from ffcluster.core.job import Job
from ffcluster.core.model import Epoch, WorkerId
from ffcluster.core.planning import min_segment_frames
from ffcluster.core.segment import Attempt, AttemptState, Segment
from ffcluster.core.throughput import RateKey
from ffcluster.core.worker import RUNNING_LOAD, Worker

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


def rate_key(job: Job) -> RateKey | None:
    """The job's key for known rates, or None before it is indexed and has its encoder."""
    if job.summary is None or not job.encoder:
        return None
    return RateKey.of(job.encoder, job.spec.profile, job.summary.video)


def rate_fps(worker: Worker, job: Job) -> float | None:
    """Frames per second of one slot of `worker` for `job`, or None when never measured."""
    key = rate_key(job)
    known = worker.rates.get(key) if key else None
    return known.fps if known else None


def slots(worker: Worker, job: Job) -> int:
    """Slots that `worker` has for `job`; 0 when it lacks the job's encoder or takes no work."""
    capability = worker.capability(job.encoder) if worker.available else None
    return capability.slots if capability else 0


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
    worker: Worker, job: Job, workers: Iterable[Worker], probe_s: float, *, fixed_crew: bool
) -> Want:
    """Size of the next segment for `worker`.

    All slots would end together at the time `T` = (frames not encoded yet) / (rate of all slots);
    a slot's fair share is what it can encode from when it falls free until `T`. It gets half of
    that, so that errors of the estimate can be made good later, and all of it in the last round.

    Args:
        worker: The worker that has room.
        job: The job; indexed, with its encoder chosen.
        workers: All workers, to know the fair share.
        probe_s: Longest probe in seconds of film, for a worker without a known rate.
        fixed_crew: No further worker will come, so a lone slot may take all that is left.
    """
    assert job.summary is not None  # noqa: S101 - a job without index is never scheduled
    crews = [(w, count) for w in workers if (count := slots(w, job))]
    total_slots = sum(count for _, count in crews)
    own = rate_fps(worker, job)
    if total_slots == 1 and fixed_crew:
        # Nobody to share with, and encoders that fill a machine alone lose time at every start.
        return Want(round(LONE_SEGMENT_S * job.summary.mean_fps))
    if own is None:
        fair = job.uncarved // max(1, 2 * total_slots)
        return Want(max(1, min(round(probe_s * job.summary.mean_fps), fair)))
    most = own * MAX_ENCODE_S
    least = max(own * MIN_ENCODE_S, min_segment_frames(job.summary))
    total_rate = sum(count * (rate_fps(w, job) or own) for w, count in crews)
    live = [a for segment in job.unfinished.values() for a in segment.live.values()]
    encoding = sum(len(a.frames) - a.frames_done for a in live if a.holds_slot)
    ends_in_s = (job.uncarved + encoding) / max(total_rate, own)
    fair_frames = own * max(0.0, ends_in_s - _free_in_s(worker, own))
    half = fair_frames * _SHARE
    if half >= least:
        return Want(round(min(half, most)))
    return Want(round(min(max(fair_frames, least / 2), most)), last_round=True)


def _free_in_s(worker: Worker, rate: float) -> float:
    """Seconds until a slot of `worker` falls free; 0 when one is free now."""
    held = [a for a in worker.attempts.values() if a.holds_slot]
    if worker.load < RUNNING_LOAD or not held:
        return 0.0
    return min(a.remaining_s(rate) or 0.0 for a in held)


def retry_for(worker: Worker, job: Job, workers: Iterable[Worker], now: float) -> Segment | None:
    """The first segment to give again that `worker` may have now, or None.

    A segment that failed on this worker is left to another one as long as there is another that
    has the encoder and on which it did not fail.
    """
    others = [w for w in workers if w is not worker and slots(w, job)]
    for segment in sorted(job.waiting.values(), key=lambda s: s.frames.first):
        if segment.not_before > now:
            continue
        failed_on = segment.failed_on
        if worker.id in failed_on and any(w.id not in failed_on for w in others):
            continue
        return segment
    return None


def prefetch_due(worker: Worker, job: Job) -> bool:
    """Whether a busy worker should get its next attempt now, to fetch while it encodes."""
    known = rate_fps(worker, job)
    if known is None:
        return False
    held = [a for a in worker.attempts.values() if a.holds_slot]
    rests = [a.remaining_s(known) for a in held if a.state is AttemptState.RUNNING]
    waiting = sum(1 for a in held if a.state is AttemptState.OFFERED)
    falling_free = sum(1 for rest in rests if rest is not None and rest <= PREFETCH_LEAD_S)
    return waiting < falling_free


def stealable(worker: Worker, job: Job, workers: Mapping[WorkerId, Worker]) -> Attempt | None:
    """An attempt that waits behind another on some other worker while `worker` is idle."""
    candidates = [
        attempt
        for segment in job.unfinished.values()
        for attempt in segment.live.values()
        if attempt.state is AttemptState.OFFERED
        and attempt.worker_id != worker.id
        and workers[attempt.worker_id].load > RUNNING_LOAD
        and len(segment.live) == 1
        and worker.id not in segment.failed_on
    ]
    return max(candidates, key=lambda a: len(a.frames), default=None)


def overdue(worker: Worker, job: Job, rate_of: dict[Epoch, float | None]) -> Attempt | None:
    """The running attempt that a second attempt on idle `worker` would overtake by most, or None.

    Args:
        worker: An idle worker with a known rate.
        job: The job, with nothing left to carve or to give again.
        rate_of: Known slot rate of each live attempt's worker.
    """
    own = rate_fps(worker, job)
    if own is None:
        return None
    best: tuple[float, Attempt] | None = None
    for segment in job.unfinished.values():
        if len(segment.live) != 1 or worker.id in segment.failed_on:
            continue
        (attempt,) = segment.live.values()
        if attempt.worker_id == worker.id or attempt.state is not AttemptState.RUNNING:
            continue
        rest = attempt.remaining_s(rate_of.get(attempt.epoch))
        ours = len(attempt.frames) / own + _SPECULATE_MARGIN_S
        if rest is None or ours >= rest * _SPECULATE_BELOW:
            continue
        if best is None or rest > best[0]:
            best = (rest, attempt)
    return best[1] if best else None
