"""A big job and many workers that only seem to encode, for what is measured of a full cluster."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs

from ffcluster.core.durable import (
    AttemptEntry,
    Changes,
    Counters,
    JobEntry,
    SegmentEntry,
    StoredCrew,
    StoredKind,
    StoredPost,
)
from ffcluster.core.model import BlobRef, Epoch, JobId, ResultReport, WorkerId
from ffcluster.core.segment import AttemptEnd
from ffcluster.core.timeline import FrameRange
from ffcluster.store.opening import open_store
from tests.bench.crowd import CAPABILITY, crowd
from tests.e2e.cluster import Cluster, wait_for
from tests.inputs import ffmpeg, ffmpeg_path, pictures

SEGMENTS = 10_000
OPTIONS = ("--required-clients", "1", "--benchmark-duration", "1", "--ffmpeg", ffmpeg_path())
# What each of the other segments has.
_FRAMES = 4
_SIZE, _PARAMETER_SETS = (64, 36), "0" * 64
_REPORT = ResultReport(_FRAMES, 2**12, "h264", *_SIZE, "yuv420p", _PARAMETER_SETS, 2)
_BUCKET = re.compile(r'^ffcluster_reactor_delay_seconds_bucket\{le="([^"]+)"\} (\S+)', re.MULTILINE)


@attrs.frozen
class Load:
    """How many workers seem to be busy, each with a segment, and how often they tell of it.

    Attributes:
        workers: How many they are.
        frames: Frames of the segment that each of them holds.
        every_s: Seconds between two reports of one worker.
    """

    workers: int = 200
    frames: int = 100
    every_s: float = 1.0


# --- a big job and many workers -------------------------------------------------------------------


@contextmanager
def busy(directory: Path, load: Load) -> Iterator[tuple[Cluster, str]]:
    """A coordinator with a job of 10,000 segments, of which every worker holds one."""
    held = load.workers * load.frames
    film = directory / f"segments-{load.workers}.mkv"
    frames = held + (SEGMENTS - load.workers) * _FRAMES
    size = "{}x{}".format(*_SIZE)
    if not film.exists():
        ffmpeg(*pictures(frames, size=size), "-c:v", "libx264", "-preset", "ultrafast",
               "-g", str(_FRAMES), "-pix_fmt", "yuv420p", str(film))  # fmt: skip
    place = directory / f"busy-{load.workers}"
    place.mkdir()
    cluster = Cluster(place)
    with ExitStack() as stack:
        stack.callback(cluster.stop)
        cluster.start(*OPTIONS)
        job_id = cluster.submit(film, "out.mkv", "--preset", "medium")
        _wait_until(cluster, f"/jobs/{job_id}", lambda job: job["state"] == "WaitingForClients")
        cluster.stop()
        _cut(place / "state", load, held, frames)
        cluster.start(*OPTIONS)
        stack.enter_context(
            crowd("workers", cluster.port, load.workers, "--every", str(load.every_s))
        )
        _wait_until(cluster, f"/jobs/{job_id}", lambda job: job["share_count"] >= load.workers)
        yield cluster, job_id


def _cut(state: Path, load: Load, held: int, frames: int) -> None:
    """Make the only job one whose segments are all committed but those at its beginning."""
    store = open_store("sqlite:///ffcluster.db", state)
    store.open()
    try:
        saved = store.load()
        (job,) = saved.jobs
        waiting = [
            SegmentEntry(job.id, FrameRange(first, first + load.frames), "pending")
            for first in range(0, held, load.frames)
        ]
        done = [
            _committed(job.id, FrameRange(first, first + _FRAMES), epoch)
            for epoch, first in enumerate(range(held, frames, _FRAMES), saved.counters.next_epoch)
        ]
        segments = (*waiting, *(segment for segment, _ in done))
        attempts = tuple(attempt for _, attempt in done)
        counters = Counters(saved.counters.next_epoch + len(done), saved.counters.next_event)
        store.apply([Changes((_begun(job, load.workers),), segments, attempts, counters=counters)])
    finally:
        store.close()


def _begun(job: JobEntry, workers: int) -> JobEntry:
    kind = StoredKind("h264", *_SIZE, "yuv420p", _PARAMETER_SETS)
    crew = StoredCrew(False, (kind,), (StoredPost(CAPABILITY, _REPORT),))
    # A crew each: whoever finds one without workers is taken for those who worked on it before.
    return attrs.evolve(job, state="Processing", started=True, crews=(crew,) * workers)


def _committed(job_id: JobId, frames: FrameRange, number: int) -> tuple[SegmentEntry, AttemptEntry]:
    epoch, blob, at = Epoch(number), BlobRef("ab" * 32, _REPORT.size_bytes), time.time()
    segment = SegmentEntry(
        job_id, frames, "committed", committed=epoch, report=_REPORT, blob=blob
    )  # fmt: skip
    attempt = AttemptEntry(
        epoch, job_id, frames, WorkerId("earlier"), "earlier", CAPABILITY, "ended", at,
        started_at=at, delivered_at=at, ended_at=at, end=AttemptEnd.COMMITTED,
    )  # fmt: skip
    return segment, attempt


def asked(cluster: Cluster, path: str) -> Any:
    """What the coordinator answers at a path of its API."""
    return answer(cluster, "GET", path)


def answer(cluster: Cluster, method: str, path: str, body: Any = None) -> Any:
    """What the coordinator answers to a request to its API."""
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=60)
    try:
        connection.request(
            method, f"/api/v1{path}", None if body is None else json.dumps(body),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
        return json.loads(text)
    finally:
        connection.close()


def _wait_until(cluster: Cluster, path: str, test: Any) -> Any:
    def look() -> Any:
        found = asked(cluster, path)
        return found if test(found) else None

    return wait_for(f"what is waited for at {path}", look, 180)


# --- how late the coordinator's reactor is -------------------------------------------------------


@attrs.frozen
class Delays:
    """How often the reactor was called how late, by the upper ends of the histogram's buckets."""

    counts: dict[float, float] = attrs.field(factory=dict)

    def __sub__(self, earlier: Delays) -> Delays:
        counts = {end: n - earlier.counts.get(end, 0.0) for end, n in self.counts.items()}
        return Delays(counts)

    def __add__(self, other: Delays) -> Delays:
        ends = sorted({*self.counts, *other.counts})
        return Delays({e: self.counts.get(e, 0.0) + other.counts.get(e, 0.0) for e in ends})

    def within_ms(self, share: float) -> str:
        """How late this share of the calls was at most, in milliseconds."""
        calls = self.counts.get(float("inf"), 0.0)
        for end, count in sorted(self.counts.items()):
            if calls and count >= share * calls:
                return f"<= {end * 1000:g}"
        return "-"


def delays(cluster: Cluster) -> Delays:
    """What `/metrics` says of the reactor so far."""
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=60)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return Delays({float(end): float(count) for end, count in _BUCKET.findall(text)})
