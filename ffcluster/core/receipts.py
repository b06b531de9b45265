"""Receipts: how a job was made, segment by segment and attempt by attempt. Derived from entries."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import attrs

from ffcluster.core.durable import AttemptEnd, AttemptEntry, BlobRef, JobEntry, SegmentEntry
from ffcluster.core.media import VideoFormat
from ffcluster.core.model import JobOutcome, JobSpec, PreRoll, ResultReport, Source
from ffcluster.core.segment import SegmentState
from ffcluster.core.timeline import FrameRange
from ffcluster.errors import ErrorReport


@attrs.frozen
class SegmentReceipt:
    """How one segment was made.

    Attributes:
        number: Its place in the film, from 0.
        frames: Its frames.
        state: `pending`, `assigned`, `committed` or `missing`.
        pre_roll: How much of the source before it was decoded in the end.
        report: What was found in the committed result.
        blob: The committed result.
        attempts: Every attempt at it, in order of epochs.
    """

    number: int
    frames: FrameRange
    state: str
    pre_roll: PreRoll
    report: ResultReport | None = None
    blob: BlobRef | None = None
    attempts: tuple[AttemptEntry, ...] = ()

    @property
    def committed(self) -> AttemptEntry | None:
        """The attempt whose result counts, or None when there is none."""
        if self.state != SegmentState.COMMITTED:
            return None
        # One that was committed earlier may have been lost or dropped, and was made again.
        ends = (a for a in reversed(self.attempts) if a.end is AttemptEnd.COMMITTED)
        return next(ends, None)


@attrs.frozen
class JobReceipt:
    """How a job was made.

    Attributes:
        id: The job's id.
        state: Name of its state.
        spec: What was asked for.
        source: The film.
        source_size_bytes: Its size, or None before it was indexed.
        frame_count: Its presented frames, or None before it was indexed.
        video: Its video stream, or None before it was indexed.
        submitted_at: When it was submitted; coordinator's clock, see `ffcluster.core.durable`.
        history: (state, time) of the states that it left.
        ended_at: When it ended, or None.
        coordinator: Version of the coordinator that wrote this.
        retries: Attempts that failed or were lost.
        error: Why it failed, or None.
        outcome: The published file, or None.
        segments: Every segment, in order.
    """

    id: str
    state: str
    spec: JobSpec
    source: Source
    source_size_bytes: int | None
    frame_count: int | None
    video: VideoFormat | None
    submitted_at: float
    history: tuple[tuple[str, float], ...]
    ended_at: float | None
    coordinator: str
    retries: int
    error: ErrorReport | None
    outcome: JobOutcome | None
    segments: tuple[SegmentReceipt, ...] = ()

    def segment(self, number: int) -> SegmentReceipt | None:
        """The segment in place `number` of the film, or None."""
        return self.segments[number] if 0 <= number < len(self.segments) else None

    def segment_of(self, frame: int) -> SegmentReceipt | None:
        """The segment that holds `frame`, or None."""
        return next((s for s in self.segments if s.frames.first <= frame < s.frames.stop), None)


def job_receipt(
    job: JobEntry,
    segments: Iterable[SegmentEntry],
    attempts: Iterable[AttemptEntry],
    *,
    coordinator: str,
) -> JobReceipt:
    """Write the receipt of a job from what is stored of it.

    Args:
        job: The job.
        segments: All its segments, in any order.
        attempts: All its attempts that were ever made, in any order. An attempt at frames that a
            retry of the job cut anew is listed with the segment that holds its first frame.
        coordinator: Version of the coordinator.
    """
    ordered = sorted(segments, key=lambda segment: segment.frames.first)
    made = _by_segment(ordered, attempts)
    summary = job.summary
    return JobReceipt(
        id=job.id,
        state=job.state,
        spec=job.spec,
        source=job.source,
        source_size_bytes=summary.size_bytes if summary else None,
        frame_count=summary.frame_count if summary else None,
        video=summary.video if summary else None,
        submitted_at=job.submitted_at,
        history=job.history,
        ended_at=job.ended_at,
        coordinator=coordinator,
        retries=job.retries,
        error=job.error,
        outcome=job.outcome,
        segments=tuple(
            _segment_receipt(number, segment, made[number])
            for number, segment in enumerate(ordered)
        ),
    )


def _by_segment(
    segments: Sequence[SegmentEntry], attempts: Iterable[AttemptEntry]
) -> list[list[AttemptEntry]]:
    """Each segment's attempts, in order of epochs."""
    starts = [segment.frames.first for segment in segments]
    found: list[list[AttemptEntry]] = [[] for _ in segments]
    for attempt in sorted(attempts, key=lambda attempt: attempt.epoch):
        place = bisect_right(starts, attempt.frames.first) - 1
        if place >= 0:
            found[place].append(attempt)
    return found


def _segment_receipt(
    number: int, segment: SegmentEntry, attempts: Sequence[AttemptEntry]
) -> SegmentReceipt:
    return SegmentReceipt(
        number=number,
        frames=segment.frames,
        state=segment.state,
        pre_roll=segment.pre_roll,
        report=segment.report,
        blob=segment.blob,
        attempts=tuple(attempts),
    )
