"""Receipts: how a job was made, segment by segment and attempt by attempt. Derived from entries."""

from __future__ import annotations

import attrs

from ffcluster.core.durable import AttemptEntry, BlobRef
from ffcluster.core.media import VideoFormat
from ffcluster.core.model import JobOutcome, JobSpec, PreRoll, ResultReport, Source
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
