"""What watching costs: the coordinator's CPU, its answers, the encoders; and how soon it is seen.

The cluster of the first two is one big job with many workers that only seem to encode
(`tests.bench.crowd`): what they cost is the same with and without viewers.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import psutil

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
from tests.bench.crowd import CAPABILITY, crowd, read_so_far
from tests.bench.films import minute_720p
from tests.bench.measure import table
from tests.browser.chromium import missing, opened, started
from tests.e2e.cluster import Cluster, wait_for
from tests.inputs import ffmpeg, ffmpeg_path, pictures

if TYPE_CHECKING:
    from playwright.sync_api import Page

WORKERS, VIEWERS = 200, (0, 1, 20)
SEGMENTS = 10_000
# What each worker holds, and what each of the other segments has.
_HELD_FRAMES, _FRAMES = 100, 4
_SETTLE_S = 3.0
_PROBES_PER_S = 10
_LOOKS = 30
_OPTIONS = ("--required-clients", "1", "--benchmark-duration", "1", "--ffmpeg", ffmpeg_path())
_SIZE, _PARAMETER_SETS = (64, 36), "0" * 64
_REPORT = ResultReport(_FRAMES, 2**12, "h264", *_SIZE, "yuv420p", _PARAMETER_SETS, 2)
# Writes down when each priority of the job is first to be read on the page.
_OBSERVE = """() => {
  window.seen = {};
  const look = () => {
    const found = document.querySelector(".priority")?.textContent.match(/-?\\d+/);
    if (found && !(found[0] in window.seen)) window.seen[found[0]] = Date.now() / 1000;
  };
  new MutationObserver(look).observe(document.body,
    { subtree: true, childList: true, characterData: true });
  look();
}"""


@attrs.frozen
class Cost:
    """What a coordinator did within a while.

    Attributes:
        cpu: CPU seconds a second, of its own process alone.
        late_ms: How late nineteen of twenty answers to a trivial question came at most.
        latest_ms: How late the last of them came.
        viewer_bytes: What each viewer read, in bytes a second.
        resets: How often a viewer was told to look anew.
    """

    cpu: float
    late_ms: float
    latest_ms: float
    viewer_bytes: float
    resets: int


def watching(directory: Path, rounds: int, seconds: float) -> str:
    """Measure everything; `seconds` is how long each number of viewers is looked at."""
    with _busy(directory) as (cluster, job_id):
        costs = [[_cost(cluster, count, seconds) for count in VIEWERS] for _ in range(rounds)]
        parts = [_cost_table(costs, seconds), _seen_table(cluster, job_id)]
    return "\n".join([*parts, _encode_table(directory, rounds)])


# --- a big job and many workers -------------------------------------------------------------------


@contextmanager
def _busy(directory: Path) -> Iterator[tuple[Cluster, str]]:
    """A coordinator with a job of 10,000 segments, of which every worker holds one."""
    held = WORKERS * _HELD_FRAMES
    film = directory / "segments.mkv"
    frames = held + (SEGMENTS - WORKERS) * _FRAMES
    size = "{}x{}".format(*_SIZE)
    if not film.exists():
        ffmpeg(*pictures(frames, size=size), "-c:v", "libx264", "-preset", "ultrafast",
               "-g", str(_FRAMES), "-pix_fmt", "yuv420p", str(film))  # fmt: skip
    place = directory / "busy"
    place.mkdir()
    cluster = Cluster(place)
    with ExitStack() as stack:
        stack.callback(cluster.stop)
        cluster.start(*_OPTIONS)
        job_id = cluster.submit(film, "out.mkv", "--preset", "medium")
        _wait_until(cluster, f"/jobs/{job_id}", lambda job: job["state"] == "WaitingForClients")
        cluster.stop()
        _cut(place / "state", held, frames)
        cluster.start(*_OPTIONS)
        stack.enter_context(crowd("workers", cluster.port, WORKERS))
        _wait_until(cluster, f"/workers?limit={WORKERS}", _all_busy)
        yield cluster, job_id


def _all_busy(page: Any) -> bool:
    return all(worker["running"] for worker in page["items"]) and len(page["items"]) == WORKERS


def _cut(state: Path, held: int, frames: int) -> None:
    """Make the only job one whose segments are all committed but those at its beginning."""
    store = open_store("sqlite:///ffcluster.db", state)
    store.open()
    try:
        saved = store.load()
        (job,) = saved.jobs
        waiting = [
            SegmentEntry(job.id, FrameRange(first, first + _HELD_FRAMES), "pending")
            for first in range(0, held, _HELD_FRAMES)
        ]
        done = [
            _committed(job.id, FrameRange(first, first + _FRAMES), epoch)
            for epoch, first in enumerate(range(held, frames, _FRAMES), saved.counters.next_epoch)
        ]
        segments = (*waiting, *(segment for segment, _ in done))
        attempts = tuple(attempt for _, attempt in done)
        counters = Counters(saved.counters.next_epoch + len(done), saved.counters.next_event)
        store.apply([Changes((_begun(job),), segments, attempts, counters=counters)])
    finally:
        store.close()


def _begun(job: JobEntry) -> JobEntry:
    kind = StoredKind("h264", *_SIZE, "yuv420p", _PARAMETER_SETS)
    crew = StoredCrew(False, (kind,), (StoredPost(CAPABILITY, _REPORT),))
    # A crew each: whoever finds one without workers is taken for those who worked on it before.
    return attrs.evolve(job, state="Processing", started=True, crews=(crew,) * WORKERS)


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


def _asked(cluster: Cluster, path: str) -> Any:
    return _answer(cluster, "GET", path)


def _answer(cluster: Cluster, method: str, path: str, body: Any = None) -> Any:
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
        found = _asked(cluster, path)
        return found if test(found) else None

    return wait_for(f"what is waited for at {path}", look, 180)


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
        before = read_so_far(viewers) if viewers else None
        used, began = _cpu_s(process), time.monotonic()
        late = _probed(cluster, seconds)
        took_s, cpu_s = time.monotonic() - began, _cpu_s(process) - used
        if viewers is None or before is None:
            return Cost(cpu_s / took_s, _late(late), max(late), 0.0, 0)
        after = read_so_far(viewers)
        assert after.open == count, f"{count - after.open} streams ended"
        each = (after.bytes - before.bytes) / count / took_s
        return Cost(cpu_s / took_s, _late(late), max(late), each, after.resets)


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
            sum(one.resets for one in own),
        ))  # fmt: skip
    return table(
        f"A coordinator with {SEGMENTS:,} segments and {WORKERS} busy workers, {len(costs)} rounds "
        f"of {seconds:g} s, median (min-max)",
        ("viewers", "CPU s/s", "CPU to none", "KiB/s a viewer", "answer p95 ms", "latest ms",
         "resets"),
        rows,
    )  # fmt: skip


def _spread(values: Sequence[float], form: str) -> str:
    shown = [form.format(one) for one in (statistics.median(values), min(values), max(values))]
    return "{} ({}-{})".format(*shown)


# --- from the event to the screen -----------------------------------------------------------------


def _seen_table(cluster: Cluster, job_id: str) -> str:
    title = "Milliseconds from a request that changes a job to the changed page"
    if missing():
        return f"### {title}\n\nNot measured: {missing()}.\n"
    with started() as browser, opened(browser, f"http://127.0.0.1:{cluster.port}/") as page:
        page.get_by_text("Live", exact=True).wait_for()
        rows = []
        for name, address in (("list of jobs", "#/jobs"), ("job", f"#/jobs/{job_id}")):
            page.evaluate("address => { location.hash = address }", address)
            page.locator(".priority").first.wait_for()
            took = _seen(page, cluster, job_id)
            shown = f"{statistics.median(took):.0f}", f"{_late(took):.0f}", f"{max(took):.0f}"
            rows.append((name, *shown))
    return table(f"{title}, {_LOOKS} changes", ("page", "p50", "p95", "most"), rows)


def _seen(page: Page, cluster: Cluster, job_id: str) -> list[float]:
    """Change the job's priority again and again; how long each took to be on the page."""
    page.evaluate(_OBSERVE)
    begin = _asked(cluster, f"/jobs/{job_id}")["priority"] + 1
    took = []
    for number in range(_LOOKS):
        # Not in step with what the coordinator does at regular times.
        page.wait_for_timeout(600 + number * 37 % 400)
        asked_at = time.time()
        _answer(cluster, "PATCH", f"/jobs/{job_id}", {"priority": begin + number})
        page.wait_for_function("wanted => wanted in window.seen", arg=str(begin + number))
        took.append((page.evaluate("() => window.seen")[str(begin + number)] - asked_at) * 1000)
    return took


# --- an encode ------------------------------------------------------------------------------------


@attrs.frozen
class Encode:
    """Seconds from a job's submission to its published file, and the coordinator's own CPU's."""

    took_s: float
    cpu_s: float


def _encode_table(directory: Path, rounds: int) -> str:
    """One worker encodes the same film without and with viewers, in turn."""
    place = directory / "encode"
    place.mkdir()
    film, cluster = minute_720p(directory), Cluster(place)
    try:
        cluster.start(*_OPTIONS)
        cluster.add_worker("one", "--ffmpeg", ffmpeg_path())
        # The first one measures the worker and fills the caches; it does not count.
        _encode(cluster, film, "first.mkv", 0)
        pairs = [
            [_encode(cluster, film, f"{turn}-{count}.mkv", count) for count in (0, VIEWERS[-1])]
            for turn in range(rounds)
        ]
    finally:
        cluster.stop()
    ratio = [watched.took_s / alone.took_s for alone, watched in pairs]
    more = [100 * (watched.cpu_s - alone.cpu_s) / alone.took_s for alone, watched in pairs]
    return table(
        f"x264 medium at 720p by one worker, with {VIEWERS[-1]} viewers to without, "
        f"{rounds} pairs, median (min-max)",
        ("seconds without", "wall", "coordinator's CPU more, % of one core"),
        [(_spread([alone.took_s for alone, _ in pairs], "{:.1f}"), _spread(ratio, "{:.3f}"),
          _spread(more, "{:.2f}"))],
    )  # fmt: skip


def _encode(cluster: Cluster, film: Path, name: str, count: int) -> Encode:
    assert cluster.coordinator is not None
    process = psutil.Process(cluster.coordinator.pid)
    with _watched(cluster, count):
        used = _cpu_s(process)
        job_id = cluster.submit(film, name, "--preset", "medium")
        cluster.wait(job_id)
        took_s = float(_asked(cluster, f"/jobs/{job_id}")["elapsed_s"])
        return Encode(took_s, _cpu_s(process) - used)
