"""What an encode loses to those who watch it, by CPU time.

Where every core is busy, what the coordinator computes for viewers is what the encoders do not
get. The coordinator's CPU time says it to a tenth of a percent; that of all processes, which also
holds what caches and the scheduler lose, and the time itself are there to contradict it.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import Any

import attrs
import psutil

from tests.bench.busy import OPTIONS, asked
from tests.bench.crowd import crowd
from tests.bench.films import minute_720p
from tests.bench.measure import table
from tests.e2e.cluster import Cluster
from tests.inputs import ffmpeg_path

VIEWERS = 20
_LEAST_PAIRS = 3
_SECONDS = 8


@attrs.frozen
class Encode:
    """One job: seconds that it took, CPU seconds of the coordinator and of all processes."""

    took_s: float
    coordinator_s: float
    cpu_s: float


def encode_table(directory: Path, seconds: float) -> str:
    """One worker encodes the same film without and with viewers, in turn, for about so long."""
    place = directory / "encode"
    place.mkdir()
    film, cluster = minute_720p(directory, _SECONDS), Cluster(place)
    try:
        cluster.start(*OPTIONS)
        cluster.add_worker("one", "--ffmpeg", ffmpeg_path())
        # The first one measures the worker and fills the caches; it does not count.
        _encode(cluster, film, "first.mkv", 0)
        pairs: list[tuple[Encode, Encode]] = []
        deadline = time.monotonic() + seconds
        while len(pairs) < _LEAST_PAIRS or time.monotonic() < deadline:
            # Whoever is first is another one each time, so that what drifts drifts for both.
            order = (0, VIEWERS) if len(pairs) % 2 else (VIEWERS, 0)
            made = {n: _encode(cluster, film, f"{len(pairs)}-{n}.mkv", n) for n in order}
            pairs.append((made[0], made[VIEWERS]))
    finally:
        cluster.stop()
    return _shown(pairs)


def _encode(cluster: Cluster, film: Path, name: str, count: int) -> Encode:
    assert cluster.coordinator is not None
    coordinator = psutil.Process(cluster.coordinator.pid)
    every = [coordinator, *(psutil.Process(one.pid) for one in cluster.workers.values())]
    with crowd("viewers", cluster.port, count):
        own, used = _own_s(coordinator), sum(map(_whole_s, every))
        job_id = cluster.submit(film, name, "--preset", "medium")
        cluster.wait(job_id)
        took_s = float(asked(cluster, f"/jobs/{job_id}")["elapsed_s"])
        _settled(every)
        return Encode(took_s, _own_s(coordinator) - own, sum(map(_whole_s, every)) - used)


def _own_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _whole_s(process: psutil.Process) -> float:
    """A process with all its children that have ended."""
    times: Any = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _settled(processes: list[psutil.Process]) -> None:
    """Wait until helpers have ended: only then what they used is known."""
    deadline = time.monotonic() + 10
    while any(one.children() for one in processes) and time.monotonic() < deadline:
        time.sleep(0.1)


def _shown(pairs: list[tuple[Encode, Encode]]) -> str:
    alone = [one for one, _ in pairs]
    cpu = [watched.cpu_s / one.cpu_s for one, watched in pairs]
    wall = [watched.took_s / one.took_s for one, watched in pairs]
    more = [100 * (watched.coordinator_s - one.coordinator_s) / one.cpu_s for one, watched in pairs]
    return table(
        f"{_SECONDS} s of 720p, x264 medium, one worker, {os.cpu_count()} cores: with {VIEWERS} "
        f"viewers to without, {len(pairs)} pairs, median (quartiles)",
        ("CPU s without", "coordinator's CPU more, % of all", "CPU of all processes", "time"),
        [(
            f"{statistics.median(one.cpu_s for one in alone):.1f}",
            _quartiles(more, "{:.2f}"), _quartiles(cpu, "{:.3f}"), _quartiles(wall, "{:.3f}"),
        )],
    )  # fmt: skip


def _quartiles(values: list[float], form: str) -> str:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{form} ({form}-{form})".format(middle, low, high)
