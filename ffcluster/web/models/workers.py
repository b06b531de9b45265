"""Workers, what they can do, and what they do now."""

from __future__ import annotations

import attrs

from ffcluster.core.load import WorkerLoad
from ffcluster.core.model import (
    Capability,
    Diagnosis,
    Measurement,
    PluginSummary,
)


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
