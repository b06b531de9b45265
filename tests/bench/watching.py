"""What watching costs: the coordinator's CPU, its answers, the encoders; and how soon it is seen.

The cluster of most of it is one big job with many workers that only seem to encode
(`tests.bench.busy`): what they cost is the same with and without viewers.
"""

from __future__ import annotations

import http.client
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import add
from pathlib import Path

import attrs
import psutil

from tests.bench.busy import SEGMENTS, Delays, Load, busy, delays
from tests.bench.crowd import crowd, read_so_far
from tests.bench.measure import table
from tests.bench.screen import seen_table, size_table
from tests.bench.watched_encode import encode_table
from tests.e2e.cluster import Cluster

VIEWERS = (0, 1, 20)
_USUAL = Load(workers=200)
_LARGE = Load(workers=1000, frames=40, every_s=5.0)
_LARGE_LOOKS = 15
_ENCODE_S = 150.0
_QUERY_S = 6.0
_SETTLE_S = 3.0
_PROBES_PER_S = 10


@attrs.frozen
class Cost:
    """What a coordinator did within a while.

    Attributes:
        cpu: CPU seconds a second, of its own process alone.
        late_ms: How late nineteen of twenty answers to a trivial question came at most.
        latest_ms: How late the last of them came.
        viewer_bytes: What each viewer read, in bytes a second.
        resets: How often a viewer was told to look anew.
        delays: How late the reactor was.
    """

    cpu: float
    late_ms: float
    latest_ms: float
    viewer_bytes: float
    resets: int
    delays: Delays


def watching(directory: Path, rounds: int, seconds: float) -> str:
    """Measure everything; `seconds` is how long each number of viewers is looked at."""
    parts = []
    with busy(directory, _USUAL) as (cluster, job_id):
        costs = [[_cost(cluster, count, seconds) for count in VIEWERS] for _ in range(rounds)]
        parts += [
            _cost_table(costs, seconds), _read_table(cluster, job_id), seen_table(cluster, job_id),
        ]  # fmt: skip
    with busy(directory, _LARGE) as (cluster, job_id):
        parts.append(size_table(cluster, job_id, _LARGE.workers, _LARGE_LOOKS))
    return "\n".join([*parts, encode_table(directory, _ENCODE_S)])


# --- the coordinator ------------------------------------------------------------------------------


@contextmanager
def _watched(cluster: Cluster, count: int) -> Iterator[subprocess.Popen[str] | None]:
    """So many viewers; without any there is no process for them either."""
    if count == 0:
        yield None
        return
    with crowd("viewers", cluster.port, count) as viewers:
        yield viewers


def _cost(cluster: Cluster, count: int, seconds: float) -> Cost:
    """Look at the coordinator for a while, with so many viewers."""
    assert cluster.coordinator is not None
    process = psutil.Process(cluster.coordinator.pid)
    with _watched(cluster, count) as viewers:
        # What viewers are sent at their beginning, and what is left of those before, is over.
        time.sleep(_SETTLE_S)
        before, late_before = read_so_far(viewers) if viewers else None, delays(cluster)
        used, began = _cpu_s(process), time.monotonic()
        late = _probed(cluster, seconds)
        took_s, cpu_s = time.monotonic() - began, _cpu_s(process) - used
        waited = delays(cluster) - late_before
        if viewers is None or before is None:
            return Cost(cpu_s / took_s, _late(late), max(late), 0.0, 0, waited)
        after = read_so_far(viewers)
        assert after.open == count, f"{count - after.open} streams ended"
        each = (after.bytes - before.bytes) / count / took_s
        return Cost(cpu_s / took_s, _late(late), max(late), each, after.resets, waited)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _late(values_ms: Sequence[float]) -> float:
    return statistics.quantiles(values_ms, n=20, method="inclusive")[-1]


def _probed(cluster: Cluster, seconds: float) -> list[float]:
    """Milliseconds that answers to a question that costs nothing took, in one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=60)
    connection.connect()
    found, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        asked_at = time.perf_counter()
        connection.request("GET", "/livez")
        connection.getresponse().read()
        found.append((time.perf_counter() - asked_at) * 1000)
        time.sleep(1 / _PROBES_PER_S)
    connection.close()
    return found


def _cost_table(costs: Sequence[Sequence[Cost]], seconds: float) -> str:
    rows = []
    for column, count in enumerate(VIEWERS):
        own = [row[column] for row in costs]
        rows.append((
            count,
            _spread([one.cpu for one in own], "{:.3f}"),
            _spread([row[column].cpu / row[0].cpu for row in costs], "{:.2f}"),
            _spread([one.viewer_bytes / 1024 for one in own], "{:.1f}") if count else "-",
            _spread([one.late_ms for one in own], "{:.1f}"),
            _spread([one.latest_ms for one in own], "{:.0f}"),
            *(reduce(add, (one.delays for one in own)).within_ms(q) for q in (0.95, 1.0)),
            sum(one.resets for one in own),
        ))  # fmt: skip
    return table(
        f"A coordinator with {SEGMENTS:,} segments and {_USUAL.workers} busy workers, "
        f"{len(costs)} rounds of {seconds:g} s, median (min-max)",
        ("viewers", "CPU s/s", "CPU to none", "KiB/s a viewer", "answer p95 ms", "latest ms",
         "reactor p95 ms", "reactor most ms", "resets"),
        rows,
    )  # fmt: skip


def _spread(values: Sequence[float], form: str) -> str:
    shown = [form.format(one) for one in (statistics.median(values), min(values), max(values))]
    return "{} ({}-{})".format(*shown)


def _read_table(cluster: Cluster, job_id: str) -> str:
    """What the viewers of different pages are sent."""
    rows = []
    for name, query in (
        ("list of jobs", "?about=jobs"),
        ("one job", f"?job_id={job_id}"),
        ("workers", "?about=workers"),
        ("everything", ""),
    ):
        with crowd("viewers", cluster.port, 1, "--query", query) as viewers:
            time.sleep(_SETTLE_S)
            before, began = read_so_far(viewers), time.monotonic()
            time.sleep(_QUERY_S)
            read = read_so_far(viewers).bytes - before.bytes
            rows.append((name, f"{read / 1024 / (time.monotonic() - began):.1f}"))
    return table("What a viewer is sent", ("page", "KiB/s"), rows)
