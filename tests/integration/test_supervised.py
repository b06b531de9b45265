"""Both programs under a supervisor that speaks systemd's notify protocol, as real processes."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

BIN = Path(sys.executable).parent
PATIENCE_S = 60

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="this system has no such sockets"
)


@attrs.define
class Supervisor:
    """Starts one process, and listens to it."""

    folder: Path
    listening: socket.socket
    process: subprocess.Popen[bytes] | None = None
    heard: list[str] = attrs.field(factory=list)

    def start(self, *command: str) -> None:
        log = self.folder / "log"
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [str(BIN / "ffcluster"), *command],
                stdout=file,
                stderr=file,
                cwd=self.folder,
                env={
                    "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
                    "HOME": str(self.folder),
                    "NOTIFY_SOCKET": str(self.folder / "notify"),
                    "WATCHDOG_USEC": "200000",
                },
            )

    def hears(self, word: str) -> None:
        """Wait until the process says a word that it did not say before."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                said = self.listening.recv(1000).decode()
            except TimeoutError:
                continue
            self.heard.append(said)
            if said == word:
                return
        raise AssertionError(f"{word} was not said: {self.heard} {self.log}")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(1.0)
        found = Supervisor(tmp_path, listening)
        yield found
        if found.process is not None and found.process.poll() is None:
            found.process.kill()
            found.process.wait()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (("server", "--port=0", "--state-dir=state"), "coordinator listens on"),
        # Port 1 answers nobody: a worker is ready before it is connected.
        (("worker", "--server-port=1", "--work-dir=work", "--state-dir=state"), "ffmpeg"),
    ],
)
def test_supervisor_hears_when_it_works_that_it_lives_and_when_it_ends(
    program: tuple[str, ...], said: str, supervisor: Supervisor
) -> None:
    supervisor.start(*program)
    supervisor.hears("READY=1")
    assert said in supervisor.log
    supervisor.hears("WATCHDOG=1")
    supervisor.hears("WATCHDOG=1")
    assert supervisor.process is not None
    supervisor.process.send_signal(signal.SIGTERM)
    supervisor.hears("STOPPING=1")
    assert supervisor.process.wait(PATIENCE_S) == 0, supervisor.log
