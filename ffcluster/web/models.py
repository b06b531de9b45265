"""The resources of the REST API, as they are shown and documented; `bodies` has what is sent."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ffcluster.core.load import WorkerLoad
from ffcluster.core.model import (
    Capability,
    Contribution,
    Diagnosis,
    Fallback,
    Measurement,
    PluginSummary,
)
from ffcluster.core.profile import Container, Profile
from ffcluster.web.gantt import AttemptError

PREFIX = "/api/v1"


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
    etag: str
    links: Mapping[str, str]


@attrs.frozen
class JobPage:
    """A page of jobs."""

    items: tuple[Job, ...]
    next_cursor: str | None


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


@attrs.frozen
class Quarantine:
    """A device that kept failing and rests.

    Attributes:
        backend: Name of the backend; "" is the worker as a whole.
        device: The device; "" is the CPU.
        reason: What it failed with.
        until: When it is tried again.
        times: How often in a row it rests.
    """

    backend: str
    device: str
    reason: str
    until: str
    times: int


@attrs.frozen
class Worker:
    """A machine that encodes.

    Attributes:
        state: `Connected`, `Benchmarking`, `Processing`, `Idle`, `Absent` or `Disconnected`.
        address: Where it connects from.
        version: Its version of ffcluster.
        ffmpeg: Version of its preferred ffmpeg.
        builds: Versions of all its ffmpegs.
        draining: Whether it is given nothing more.
        drained_by_operator: Whether that lasts until somebody resumes it.
        running: Attempts that it runs now.
        fps: Frames per second now.
        average_fps: Frames per second of one slot over what it encoded lately, or null.
        connected_s: Seconds since it connected.
        last_heard_at: When it was last heard, or null.
        capabilities: The encoders that were proven there.
        diagnoses: What could work there and does not, and why.
        measurements: Its own benchmarks.
        quarantines: Devices that kept failing.
        load: How busy its machine is; null where it does not tell.
        etag: Its version as `If-Match` takes it.
    """

    id: str
    name: str
    state: str
    address: str
    version: str
    platform: str
    ffmpeg: str
    cpus: int
    builds: tuple[str, ...]
    draining: bool
    drained_by_operator: bool
    running: int
    fps: float
    average_fps: float | None
    segments_done: int
    frames_done: int
    failures: int
    connected_s: float
    last_heard_at: str | None
    capabilities: tuple[Capability, ...]
    plugins: tuple[PluginSummary, ...]
    diagnoses: tuple[Diagnosis, ...]
    measurements: tuple[Measurement, ...]
    quarantines: tuple[Quarantine, ...]
    load: WorkerLoad | None
    etag: str


@attrs.frozen
class WorkerPage:
    """A page of workers."""

    items: tuple[Worker, ...]
    next_cursor: str | None


@attrs.frozen
class NamedProfile:
    """One of the coordinator's profiles.

    Attributes:
        name: What `profile_name` takes.
        is_default: Whether jobs get it that ask for none.
        profile: Its settings.
        etag: Its version.
    """

    name: str
    is_default: bool
    profile: Profile
    etag: str


@attrs.frozen
class ProfilePage:
    """All profiles."""

    items: tuple[NamedProfile, ...]
    next_cursor: str | None = None


@attrs.frozen
class PluginPage:
    """The plugins of the coordinator."""

    items: tuple[PluginSummary, ...]
    next_cursor: str | None = None


@attrs.frozen
class Upload:
    """Where to put a file, in blocks with `Content-Range`.

    Attributes:
        id: What `source.upload_id` takes when it is whole.
        path: Where to put it.
        block_bytes: Largest block.
    """

    id: str
    path: str
    block_bytes: int


@attrs.frozen
class PlanVideo:
    """The video of a film."""

    codec: str
    width: int
    height: int
    pix_fmt: str


@attrs.frozen
class Plan:
    """What would happen to a film.

    Attributes:
        encoder: The encoder that would be used first.
        workers: Names of connected workers that can, at most 100.
        worker_count: How many they are.
        segments: About how many segments it would be cut into.
        estimate_s: Seconds that it would take; null where nobody was measured yet.
        predicted_size_bytes: Size that the output would have; null where that is not known.
        lost: What of the source the container cannot hold.
        notes: What else a person should know.
        warnings: What is odd about the film.
    """

    source_name: str
    output_name: str
    container: Container
    profile: Profile
    frame_count: int
    duration_s: float
    video: PlanVideo
    encoder: str
    workers: tuple[str, ...]
    worker_count: int
    segments: int
    estimate_s: float | None
    predicted_size_bytes: int | None
    lost: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@attrs.frozen
class Disk:
    """The coordinator's disk.

    Attributes:
        used_bytes: What uploads, results and pictures take up; null before it was counted.
        limit_bytes: What they may take up, or null.
        free_bytes: What is left on the file system; null before it was asked.
        short_of: Why nothing new is taken in, or "".
    """

    used_bytes: int | None
    limit_bytes: int | None
    free_bytes: int | None
    short_of: str


@attrs.frozen
class Status:
    """The cluster as a whole.

    Attributes:
        version: The coordinator's version of ffcluster.
        ffmpeg: Version of its ffmpeg.
        required_workers: Workers that a job waits for before it starts.
        jobs: Number of jobs in each state.
        workers: Number of workers in each state.
        fps: Frames per second over all workers now.
        warnings: What a person should know about the settings and the disk.
        token_required: Whether callers must show a token.
        last_event: Number of the latest durable event.
        worker_command: What starts a worker on another machine.
    """

    version: str
    started_at: str
    uptime_s: float
    ffmpeg: str
    required_workers: int
    jobs: Mapping[str, int]
    workers: Mapping[str, int]
    fps: float
    warnings: tuple[str, ...]
    token_required: bool
    last_event: int
    disk: Disk
    worker_command: str
