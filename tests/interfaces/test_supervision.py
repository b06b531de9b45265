"""The notify protocol of systemd, with a socket that listens as systemd's does."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from twisted.internet.task import Clock

from ffcluster.interfaces.supervision import Supervision

PID = 4711


@attrs.define
class Supervisor:
    """Listens."""

    listening: socket.socket
    name: str
    clock: Clock

    def supervision(self, **more: str) -> Supervision:
        return Supervision(self.clock, {"NOTIFY_SOCKET": self.name, **more}, PID)

    @property
    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.listening.recv(1000).decode())
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Supervisor]:
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("this system has no such sockets")
    abstract = request.param == "abstract"
    if abstract and not os.path.exists("/proc/net/unix"):  # noqa: PTH110
        pytest.skip("only Linux has abstract names")
    name = f"@ffcluster-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name[1:]}" if abstract else name)
        listening.setblocking(False)
        yield Supervisor(listening, name, Clock())


def test_supervisor_hears_of_readiness_and_of_the_end(supervisor: Supervisor) -> None:
    supervision = supervisor.supervision()
    supervision.begin()
    supervision.ready()
    supervision.stopping()
    assert supervisor.heard == ["READY=1", "STOPPING=1"]
    assert not supervisor.clock.getDelayedCalls()


def test_supervisor_hears_twice_in_its_time_that_the_reactor_turns(supervisor: Supervisor) -> None:
    supervision = supervisor.supervision(WATCHDOG_USEC="30000000", WATCHDOG_PID=str(PID))
    supervision.begin()
    supervisor.clock.pump([15.0, 15.0])
    assert supervisor.heard == ["WATCHDOG=1"] * 3
    supervision.end()
    assert not supervisor.clock.getDelayedCalls()


@pytest.mark.parametrize(
    "asked",
    [
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-5"},
    ],
)
def test_watchdog_of_another_process_or_of_no_time_is_none(
    asked: dict[str, str], supervisor: Supervisor
) -> None:
    supervision = supervisor.supervision(**asked)
    supervision.begin()
    assert supervisor.heard == []
    assert not supervisor.clock.getDelayedCalls()


def test_without_a_supervisor_nothing_is_done() -> None:
    clock = Clock()
    supervision = Supervision(clock, {"WATCHDOG_USEC": "30000000"}, PID)
    supervision.begin()
    supervision.ready()
    supervision.stopping()
    assert not clock.getDelayedCalls()


def test_supervisor_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    Supervision(Clock(), {"NOTIFY_SOCKET": str(tmp_path / "gone")}, PID).ready()
