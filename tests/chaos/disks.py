"""Faults of what is stored: R7 full disks that have room again later, R8 blobs that are lost or
altered, R13 a database server that goes away and comes back.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from twisted.internet.threads import deferToThread

from ffcluster.core.receipts import JobReceipt
from tests.chaos.film import LOSSY
from tests.chaos.layout import Layout
from tests.chaos.processes import sleep
from tests.chaos.rig import LEASE_S
from tests.chaos.run import Fault, Run, Scenario
from tests.chaos.volumes import available
from tests.store.postgres_server import missing

_BALLAST = "ballast"
_STEP = 64 * 1024


# What recovers counts from the moment at which there is room, or a server, again.


# --- R7: full disks ------------------------------------------------------------------------------


def fill(directory: Path) -> Path:
    """Use up every byte that `directory`'s volume has left; answers the file that does."""
    ballast = directory / _BALLAST
    with ballast.open("ab", buffering=0) as file:
        for size in (_STEP, 4096, 512, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    return ballast


def _full(volume: str, seconds: float) -> Fault:
    async def fault(run: Run) -> None:
        if volume.startswith("work-"):
            run.victim = volume.removeprefix("work-")
        await run.moment(high=0.8)
        deadline = time.monotonic() + seconds
        ballast = run.rig.directory / volume / _BALLAST
        try:
            while time.monotonic() < deadline:
                # What was freed meanwhile is used up again.
                fill(run.rig.directory / volume)
                await sleep(0.05)
        finally:
            ballast.unlink(missing_ok=True)
            run.fault_at = time.time()

    return fault


def _small(volume: str, mebibytes: int, *server: str) -> Layout:
    return Layout(volumes={volume: mebibytes}, server=server)


# --- R8: blobs -----------------------------------------------------------------------------------


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _alter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x01
    _overwrite(path, bytes(data))


def _shorten(path: Path) -> None:
    _overwrite(path, path.read_bytes()[:-1])


def _overwrite(path: Path, data: bytes) -> None:
    os.chmod(path, 0o600)  # noqa: PTH101 - blobs may be written once only
    path.write_bytes(data)


def _blobs(run: Run) -> list[Path]:
    return sorted(p for p in (run.rig.state / "blobs").rglob("*") if p.is_file())


async def _committed_blobs(run: Run) -> list[Path]:
    receipt: JobReceipt = await run.rig.ask("receipt", run.job_id)
    names = {segment.blob.sha256 for segment in receipt.segments if segment.blob is not None}
    return [path for path in _blobs(run) if path.name in names]


def _while_stopped(spoil: Callable[[Path], None]) -> Fault:
    """Between the death of the coordinator and its restart."""

    async def fault(run: Run) -> None:
        await run.committed(run.chance.randint(2, 9))
        run.rig.coordinator.signal(signal.SIGKILL)
        await run.rig.coordinator.ended()
        run.fault_at = time.time()
        blobs = _blobs(run)
        spoilt = run.chance.sample(blobs, min(2, len(blobs)))
        for path in spoilt:
            spoil(path)
        run.facts["spoilt"] = len(spoilt)
        await run.rig.start_coordinator()
        run.noticed_at = time.time()

    return fault


def _before_joining(spoil: Callable[[Path], None]) -> Fault:
    """While the first segment waits, so that nothing behind it can be joined."""

    async def fault(run: Run) -> None:
        holds = [run.rig.control(name) / "hold" for name in run.rig.workers]
        for hold in holds:
            # Segments that begin at a keyframe, as the first one does, drop nothing before them.
            hold.write_text("trim=end=")
        await run.committed(1)
        committed = await _committed_blobs(run)
        run.fault_at = time.time()
        spoil(run.chance.choice(committed))
        run.facts["spoilt"] = 1
        for hold in holds:
            hold.unlink()

    return fault


# --- R13: the database server --------------------------------------------------------------------


def _database_away(seconds: float, *, takes_along: bool = False) -> Fault:
    async def fault(run: Run) -> None:
        server = run.rig.database
        assert server is not None
        await run.moment()
        if takes_along:
            run.rig.coordinator.signal(signal.SIGKILL)
        await deferToThread(server.stop)
        await sleep(seconds)
        await deferToThread(server.start)
        run.fault_at = time.time()
        if takes_along:
            await run.rig.restart_coordinator()
            run.noticed_at = time.time()

    return fault


_POSTGRES = Layout(postgres=True)

SCENARIOS = [
    Scenario("R13", "restarted", _database_away(0.0), _POSTGRES, unfit=missing),
    Scenario("R13", "away for 2 leases", _database_away(2 * LEASE_S), _POSTGRES, unfit=missing),
    Scenario("R13", "dies with the coordinator", _database_away(0.0, takes_along=True), _POSTGRES,
             unfit=missing),
    *(
        Scenario(
            "R7", f"{what} full for {seconds:g} s", _full(volume, seconds), unfit=available,
            layout=_small(volume, mebibytes, *server), making=LOSSY,
        )
        for seconds in (1.0, LEASE_S * 2)
        for what, volume, mebibytes, server in (
            ("worker", "work-w1", 8, ()),
            ("state", "state", 32, ()),
            ("database", "database", 8, ("--database", "sqlite:///{directory}/database/jobs.db")),
            ("output", "outputs", 16, ()),
        )
    ),
    *(
        Scenario("R8", f"blob {what} while it was down", _while_stopped(spoil))
        for what, spoil in (("deleted", _remove), ("altered", _alter), ("shortened", _shorten))
    ),
    *(
        Scenario("R8", f"blob {what} before it is joined", _before_joining(spoil))
        for what, spoil in (("deleted", _remove), ("altered", _alter))
    ),
]  # fmt: skip
