"""Jobs, their outcomes, and pages of them."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ffcluster.core.model import (
    Contribution,
    Fallback,
)
from ffcluster.core.profile import Container, Profile
from ffcluster.web.gantt import AttemptError


@attrs.frozen
class JobShare:
    """What one worker did, and does now, for one job.

    Attributes:
        encoder: The encoders that it used, most used first.
        devices: The devices that it used; "" is its CPU.
        segments: Segments of it that were committed.
        frames: Frames in them.
        running: Attempts that it runs now.
        fps: Frames per second now.
        failures: Attempts of it that failed.
    """

    worker_id: str
    worker: str
    encoder: str
    devices: tuple[str, ...]
    segments: int
    frames: int
    running: int
    fps: float
    failures: int


@attrs.frozen
class Frames:
    """Consecutive frames of a film."""

    first_frame: int
    frame_count: int


@attrs.frozen
class Borders:
    """How alike pictures at the ends of segments are to the source's.

    Attributes:
        compared: Ends that were compared.
        least_psnr_db: The least likeness that was found, or null.
    """

    compared: int
    least_psnr_db: float | None


@attrs.frozen
class Outcome:
    """A published file and its proof.

    Attributes:
        path: Where the coordinator put it.
        sha256: SHA-256 of the file, hex.
        proven: Whether every frame was proven by decoding.
        pictures_equal: Whether every picture is the source's bit for bit; null: not compared.
        in_band_parameter_sets: Whether segments carry their own parameter sets.
        lost: What of the source the container could not hold.
        notes: What else a person should know.
        made_by: What each encoder made of it.
        missing: Frames that are not in it because no worker could encode them.
        borders: What was found where segments meet.
    """

    path: str
    size_bytes: int
    sha256: str
    frame_count: int
    proven: bool
    pictures_equal: bool | None
    in_band_parameter_sets: bool
    lost: tuple[str, ...]
    notes: tuple[str, ...]
    made_by: tuple[Contribution, ...]
    missing: tuple[Frames, ...]
    borders: Borders


@attrs.frozen
class Job:
    """One film, one profile, one output.

    Attributes:
        source_name: Name of the film.
        output_name: File name of the output.
        state: `Queued`, `WaitingForClients`, `Benchmarking`, `Processing`, `Combining`,
            `Completed`, `Failed` or `Cancelled`.
        ended: Whether nothing more happens to it, unless it is retried.
        reason: Why it waits, in words, or "".
        priority: Jobs with a higher one get workers first.
        paused: Whether nothing more of it is started.
        origin: Where it came from if no client asked for it, or "".
        profile: What the output shall be like.
        encoder: The encoders that make it, or "".
        frame_count: Frames of the film; null before it was indexed.
        duration_s: Its length; null before it was indexed.
        frames_done: Frames encoded, those of running attempts included.
        frames_committed: Frames in committed segments.
        segment_count: Segments that it is cut into so far.
        segments_committed: Segments whose result is part of the output.
        fps: Frames per second over all workers now.
        speed: Multiple of real time now.
        eta_s: Estimated seconds until it is published, or null.
        eta_low_s: The same if all goes as well as measured segments allow, or null.
        eta_high_s: The same if all goes as badly, or null.
        elapsed_s: Seconds since it was submitted, until it ended.
        predicted_size_bytes: Size that the video will have, or null.
        shares: What each worker does for it; of more than 100 those that did most.
        share_count: Workers that took part.
        retries: Attempts that failed or were lost.
        warnings: What a person should know about the source.
        error: Why it failed, or null.
        outcome: The published file, or null.
        source_uploaded: Whether a client sent the film, rather than naming a file.
        source_kept_until: Until when the uploaded film of an ended job stays at the most, to
            compare and to retry; null where it is gone, or where nothing was uploaded.
        etag: Its version as `If-Match` takes it: another one when somebody could decide anew.
        links: Paths of `self`, `segments`, `filmstrip`, `gantt`, `events`, `result`, `receipt` and
            `report`.
    """

    id: str
    source_name: str
    output_name: str
    state: str
    ended: bool
    reason: str
    priority: int
    paused: bool
    origin: str
    profile: Profile
    container: Container
    exactly: bool
    allow_damaged: bool
    allow_missing: bool
    mix: bool
    fallback: Fallback
    hardware_decode: bool
    encoder: str
    frame_count: int | None
    duration_s: float | None
    frames_done: int
    frames_committed: int
    segment_count: int
    segments_committed: int
    fps: float
    speed: float
    eta_s: float | None
    eta_low_s: float | None
    eta_high_s: float | None
    elapsed_s: float
    predicted_size_bytes: int | None
    shares: tuple[JobShare, ...]
    share_count: int
    retries: int
    warnings: tuple[str, ...]
    error: AttemptError | None
    outcome: Outcome | None
    submitted_at: str
    ended_at: str | None
    source_uploaded: bool
    source_kept_until: str | None
    etag: str
    links: Mapping[str, str]


@attrs.frozen
class JobPage:
    """A page of jobs."""

    items: tuple[Job, ...]
    next_cursor: str | None
