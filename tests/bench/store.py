"""Commits a second through the ledger: one after another, and as they come in a busy cluster."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from ffcluster.core.durable import AttemptEntry, Changes, Counters, EventEntry, SegmentEntry
from ffcluster.core.model import BlobRef, Capability, Epoch, JobId, ResultReport, WorkerId
from ffcluster.core.profile import Codec
from ffcluster.core.segment import AttemptEnd
from ffcluster.core.timeline import FrameRange
from ffcluster.services.keeping.ledger import Ledger
from ffcluster.store.opening import open_store
from tests.bench.measure import table
from tests.store.entries import job
from tests.store.postgres_server import missing, postgres_server

_JOB = JobId("job")
_X264 = Capability("libx264", Codec.H264, presets=("ultrafast", "medium", "slow"))
_REPORT = ResultReport(240, 2**20, "h264", 1920, 1080, "yuv420p", "0" * 64, 2)
# (outstanding at once, commits)
_LOADS = ((1, 200), (100, 4000), (1000, 8000))


def commit(number: int) -> Changes:
    """What is stored when a segment is committed."""
    frames, blob = FrameRange(number * 240, (number + 1) * 240), BlobRef("ab" * 32, 2**20)
    return Changes(
        segments=(
            SegmentEntry(
                _JOB, frames, "committed", committed=Epoch(number), report=_REPORT, blob=blob
            ),
        ),
        attempts=(
            AttemptEntry(
                Epoch(number), _JOB, frames, WorkerId("w"), "attic", _X264, "ended", 1e9 + number,
                started_at=1e9 + number, delivered_at=1e9 + number, ended_at=1e9 + number,
                end=AttemptEnd.COMMITTED, blob=blob,
            ),
        ),
        events=(
            EventEntry(number, 1e9 + number, "attempt.committed", _JOB, WorkerId("w"),
                       Epoch(number)),
        ),
        counters=Counters(number + 1, number + 1),
    )  # fmt: skip


async def _rate(reactor: Any, url: str, directory: Path, outstanding: int, commits: int) -> float:
    """Commits a second with so many outstanding at any time."""
    ledger = Ledger(open_store(url, directory), reactor)
    saved = await ledger.open()
    ledger.put(Changes(jobs=(job(_JOB),)), lambda: None)
    await ledger.idle()
    done: Deferred[None] = Deferred()
    first = saved.counters.next_event
    put = told = 0

    def another() -> None:
        nonlocal put
        if put < commits:
            put += 1
            ledger.put(commit(first + put), stored)

    def stored() -> None:
        nonlocal told
        told += 1
        another()
        if told == commits:
            done.callback(None)

    began = reactor.seconds()
    for _ in range(outstanding):
        another()
    await done
    took_s: float = reactor.seconds() - began
    await ledger.close()
    return commits / took_s


async def _rows(reactor: Any, directory: Path, rounds: int) -> list[tuple[object, ...]]:
    rows = []
    with ExitStack() as stack:
        urls = {"SQLite": "sqlite:///bench.db"}
        if not missing():
            server = stack.enter_context(postgres_server(durable=True))
            urls["PostgreSQL"] = server.url()
        for name, url in urls.items():
            cells = []
            for outstanding, commits in _LOADS:
                rates = [
                    await _rate(reactor, url, directory, outstanding, commits)
                    for _ in range(rounds)
                ]
                low, middle, high = min(rates), statistics.median(rates), max(rates)
                cells.append(f"{middle:,.0f} ({low:,.0f}-{high:,.0f})")
            rows.append((name, *cells))
    return rows


def store(directory: Path, rounds: int) -> str:
    """Measure each database that is at hand."""
    from twisted.internet import reactor

    found: list[list[tuple[object, ...]]] = []
    running: Any = reactor

    def run() -> None:
        measured = Deferred.fromCoroutine(_rows(running, directory, rounds))
        measured.addCallback(found.append)
        measured.addErrback(lambda failure: failure.printTraceback())
        measured.addBoth(lambda _: running.stop())

    running.callWhenRunning(run)
    running.run()
    if not found:
        raise SystemExit("not measured to the end")
    return table(
        f"Segments committed a second through the ledger, {rounds} rounds, median (min-max)",
        ("database", *(f"{outstanding} outstanding" for outstanding, _ in _LOADS)),
        found[0],
    )
