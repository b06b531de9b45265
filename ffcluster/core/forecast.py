"""What a job will come to: how long it still takes, between which bounds, and how large it gets.

Derived from a bounded sample of what was committed, so that it costs the same for every film.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import sqrt

import attrs

from ffcluster.core import scheduling
from ffcluster.core.job import Job
from ffcluster.core.segment import PostKey, Segment, SegmentState

_SAMPLE = 256
# Fewer rates than this say nothing of how far they lie apart.
_LEAST_RATES = 4


@attrs.frozen
class Forecast:
    """What a job will come to.

    Attributes:
        eta_s: Estimated seconds until it is published, or None.
        eta_low_s: The same if all goes as well as measured segments' spread allows, or None.
        eta_high_s: The same if all goes as badly, or None.
        size_bytes: Size of the video in the end, by the bytes per frame so far, or None.
    """

    eta_s: float | None = None
    eta_low_s: float | None = None
    eta_high_s: float | None = None
    size_bytes: int | None = None


def forecast(job: Job, frames_done: int, fps: float, slowdown: float = 1.0) -> Forecast:
    """Estimate what a job will come to. When a paused job ends nobody knows.

    Args:
        job: The job.
        frames_done: Frames encoded, those of running attempts included.
        fps: Frames per second over all workers now.
        slowdown: How many times longer it takes because other jobs need its workers, too.
    """
    if job.summary is None or job.ended:
        return Forecast()
    committed = _sample(job)
    size_bytes = _size_bytes(job, committed)
    pace = max(fps, _known_fps(job))
    if not pace or job.paused:
        return Forecast(size_bytes=size_bytes)
    eta_s = slowdown * (job.frame_count - frames_done) / pace
    spread = _spread(committed)
    if spread is None:
        return Forecast(eta_s, size_bytes=size_bytes)
    return Forecast(eta_s, eta_s / (1 + spread), eta_s * (1 + spread), size_bytes)


def _known_fps(job: Job) -> float:
    """Frames per second of all that may work on it, by what was measured of them before."""
    return scheduling.strength(job).known_fps


def _sample(job: Job) -> list[Segment]:
    """Committed segments from all over the film, a bounded number of them."""
    step = len(job.segments) // _SAMPLE + 1
    chosen = islice(job.segments.values(), 0, None, step)
    return [s for s in chosen if s.state is SegmentState.COMMITTED and s.report is not None]


def _size_bytes(job: Job, committed: Iterable[Segment]) -> int | None:
    frames = size_bytes = 0
    for segment in committed:
        if segment.report is not None:
            frames += len(segment.frames)
            size_bytes += segment.report.size_bytes
    return round(size_bytes * job.frame_count / frames) if frames else None


def _spread(committed: Iterable[Segment]) -> float | None:
    """How far the rates of segments lie apart on one post: their relative standard deviation."""
    rates: dict[PostKey, list[float]] = {}
    for segment in committed:
        attempt = segment.committed
        if attempt is not None and attempt.proof is not None and attempt.proof.encode_s > 0:
            rate = len(segment.frames) / attempt.proof.encode_s
            rates.setdefault(attempt.post_key, []).append(rate)
    squares = [
        (rate * len(own) / sum(own) - 1) ** 2
        for own in rates.values()
        if len(own) > 1
        for rate in own
    ]
    return sqrt(sum(squares) / len(squares)) if len(squares) >= _LEAST_RATES else None
