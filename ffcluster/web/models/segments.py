"""Segments of a job, and the attempts at each."""

from __future__ import annotations

import attrs

from ffcluster.web.gantt import AttemptError


@attrs.frozen
class Segment:
    """A range of frames that is encoded alone.

    Attributes:
        state: `pending`, `assigned`, `checking`, `committed` or `missing`.
        worker: Who makes or made it, or "".
        attempts: How often it was tried.
        encode_s: Seconds that its encoder ran, or null.
        size_bytes: Size of its result, or null.
        encoder: What makes or made it.
        device: The device on which; "" is the CPU.
        fallback: Whether that stands in for hardware.
        kind: Which parameter sets its result carries.
        border_psnr_db: How alike the pictures at its ends are to the source's, or null.
    """

    first_frame: int
    frame_count: int
    state: str
    worker: str
    attempts: int
    encode_s: float | None
    size_bytes: int | None
    encoder: str
    device: str
    fallback: bool
    kind: str
    border_psnr_db: float | None


@attrs.frozen
class SegmentPage:
    """A page of segments, in order."""

    items: tuple[Segment, ...]
    next_cursor: str | None


@attrs.frozen
class SegmentAttempt:
    """An attempt at a segment in short; `GET /jobs/{job_id}/attempts/{epoch}` tells all.

    Attributes:
        state: `offered`, `running`, `checking` or `ended`.
        end: `live`, `committed`, `failed`, `returned` or `superseded`.
    """

    epoch: int
    worker_id: str
    worker: str
    encoder: str
    device: str
    state: str
    end: str
    speculative: bool
    fallback: bool
    probe: bool
    offered_at: str
    started_at: str | None
    ended_at: str | None
    error: AttemptError | None


@attrs.frozen
class SegmentDetail:
    """A segment with all attempts at it; see `Segment`.

    Attributes:
        attempts: The attempts, the first one first.
    """

    first_frame: int
    frame_count: int
    state: str
    worker: str
    attempts: tuple[SegmentAttempt, ...]
    encode_s: float | None
    size_bytes: int | None
    encoder: str
    device: str
    fallback: bool
    kind: str
    border_psnr_db: float | None
