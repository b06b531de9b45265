"""What clients are shown of jobs and workers: plain data, derived from the cluster's state."""

from __future__ import annotations

import attrs

from ffcluster.core.durable import QuarantineEntry
from ffcluster.core.load import WorkerLoad
from ffcluster.core.model import (
    Capability,
    Diagnosis,
    JobOutcome,
    JobSpec,
    Measurement,
    PluginSummary,
)
from ffcluster.errors import ErrorReport


@attrs.frozen
class SegmentView:
    """One segment: `state` is pending, assigned, checking or committed.

    `encoder` and `device` say what makes or made it, `fallback` whether that stands in for
    hardware, `kind` (once committed) which parameter sets it carries, `border_psnr_db` how alike
    the pictures at its ends are to the source's where that was compared.
    """

    first_frame: int
    frame_count: int
    state: str
    worker: str = ""
    attempts: int = 0
    encode_s: float | None = None
    size_bytes: int | None = None
    encoder: str = ""
    device: str = ""
    fallback: bool = False
    kind: str = ""
    border_psnr_db: float | None = None


@attrs.frozen
class ShareView:
    """What one worker did, and does now, for one job; `devices` has "" for its CPU."""

    worker: str
    encoder: str
    segments: int
    frames: int
    running: int
    fps: float
    failures: int = 0
    devices: tuple[str, ...] = ()
    worker_id: str = ""


@attrs.frozen
class JobView:
    """One job as a client sees it.

    Attributes:
        id: The job's id.
        state: Name of its state, for example `Processing`.
        reason: Why it waits, in words, or "".
        spec: What was asked for.
        encoder: The encoder chosen for it, or "".
        frame_count: Presented frames of the film, or None before it was indexed.
        duration_s: Length of the film in seconds, or None before it was indexed.
        frames_done: Frames encoded, those of running attempts included.
        frames_committed: Frames in committed segments.
        segments_committed: Number of committed segments.
        fps: Frames per second over all workers now.
        speed: Multiple of real time now.
        eta_s: Estimated seconds until it is published, or None.
        elapsed_s: Seconds since it was submitted (until it ended).
        shares: A row per worker that took part.
        retries: Attempts that failed or were lost.
        warnings: What a person should know about the source.
        error: Why it failed, or None.
        outcome: The published file, or None.
        segments: Every segment; only where it was asked for.
        priority: Jobs with a higher one get workers first.
        paused: Whether nothing more of it is started.
        submitted_at: When it was submitted: Unix time in seconds on the coordinator's clock.
        segment_count: Segments that it is cut into so far; the film is cut as workers need it.
        eta_low_s: `eta_s` if all goes as well as the spread of measured segments allows, or None.
        eta_high_s: `eta_s` if all goes as badly, or None.
        predicted_size_bytes: Size of the video by the bytes per committed frame, or None.
        ended_at: When it ended, on the same clock, or None.
        share_count: Workers that took part; `shares` may be cut to those that did most.
        source_uploaded: Whether a client sent the source, rather than naming a file.
        source_kept_until: Until when the uploaded source of an ended job stays at most, on the
            same clock; None where it is gone, or where nothing was uploaded.
    """

    id: str
    state: str
    reason: str
    spec: JobSpec
    encoder: str = ""
    frame_count: int | None = None
    duration_s: float | None = None
    frames_done: int = 0
    frames_committed: int = 0
    segments_committed: int = 0
    fps: float = 0.0
    speed: float = 0.0
    eta_s: float | None = None
    elapsed_s: float = 0.0
    shares: tuple[ShareView, ...] = ()
    retries: int = 0
    warnings: tuple[str, ...] = ()
    error: ErrorReport | None = None
    outcome: JobOutcome | None = None
    segments: tuple[SegmentView, ...] = ()
    priority: int = 0
    paused: bool = False
    submitted_at: float = 0.0
    segment_count: int = 0
    eta_low_s: float | None = None
    eta_high_s: float | None = None
    predicted_size_bytes: int | None = None
    ended_at: float | None = None
    share_count: int = 0
    source_uploaded: bool = False
    source_kept_until: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("Completed", "Failed", "Cancelled")


@attrs.frozen
class WorkerView:
    """One worker as a client sees it; `state` is for example `Idle` or `Processing`.

    `builds` are the versions of its ffmpegs, the preferred one first; `diagnoses` say what could
    work there and does not; `measurements` are its own benchmarks; `quarantines` are devices that
    kept failing and rest. `draining` says that it is given nothing, `drained_by_operator` that this
    lasts until it is resumed. `load` is None where the worker does not tell it,
    `last_heard_at` (Unix time in seconds on the coordinator's clock) where it was not heard since
    the coordinator started.
    """

    id: str
    name: str
    state: str
    address: str
    version: str
    platform: str
    ffmpeg: str
    cpus: int
    draining: bool = False
    capabilities: tuple[Capability, ...] = ()
    running: int = 0
    fps: float = 0.0
    segments_done: int = 0
    frames_done: int = 0
    failures: int = 0
    connected_s: float = 0.0
    builds: tuple[str, ...] = ()
    plugins: tuple[PluginSummary, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    quarantines: tuple[QuarantineEntry, ...] = ()
    drained_by_operator: bool = False
    average_fps: float | None = None
    load: WorkerLoad | None = None
    last_heard_at: float | None = None
