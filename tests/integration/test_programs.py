"""The twistd programs as real processes: exit codes, signals, pid files."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
PATIENCE_S = 60


class Program:
    """A process of ours whose output goes to a file."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.log = folder / "log"
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )

    def said(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = re.search(pattern, self.log.read_text())
            if found:
                return found
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"never said {pattern!r}:\n{self.log.read_text()}")

    def ends_with(self, code: int) -> str:
        assert self.process.wait(PATIENCE_S) == code, self.log.read_text()
        return self.log.read_text()


Starter = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    started: list[Program] = []

    def begin(*command: str) -> Program:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Program(folder, *command))
        return started[-1]

    yield begin
    for program in started:
        if program.process.poll() is None:
            program.process.kill()
            program.process.wait()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SERVER = ("ffcluster-server", "--port=0", "--state-dir=state")
TWISTD = ("twistd", "--nodaemon", "--pidfile=twistd.pid")


@pytest.mark.parametrize("front", [TWISTD + SERVER, ("ffcluster", "server", *SERVER[1:])])
def test_coordinator_ends_with_0_on_sigterm(start: Starter, front: tuple[str, ...]) -> None:
    program = start(*front)
    program.said(r"coordinator listens on 127\.0\.0\.1 port \d+")
    program.process.send_signal(signal.SIGTERM)
    program.ends_with(0)
    assert not (program.log.parent / "twistd.pid").exists()


def test_coordinator_that_cannot_listen_says_so_and_ends_with_1(start: Starter) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        program = start(*TWISTD, "ffcluster-server", f"--port={port}", "--state-dir=state")
        log = program.ends_with(1)
    assert f"port {port}" in log
    assert "Choose another --port" in log
    assert "Traceback" not in log
    assert not (program.log.parent / "twistd.pid").exists()


@pytest.mark.parametrize("front", [(*TWISTD, "ffcluster-worker"), ("ffcluster", "worker")])
def test_worker_that_is_not_persistent_ends_with_4_without_a_coordinator(
    start: Starter, front: tuple[str, ...]
) -> None:
    program = start(*front, "--no-persistent", f"--server-port={unused_port()}", "--work-dir=work")
    log = program.ends_with(4)
    assert "No coordinator answers" in log
    assert "Traceback" not in log
    assert not (program.log.parent / "twistd.pid").exists()


@pytest.mark.parametrize("connected", [True, False])
def test_worker_drains_and_ends_with_0_on_sigterm(start: Starter, connected: bool) -> None:
    port = str(unused_port())
    if connected:
        coordinator = start(*TWISTD, *SERVER)
        port = coordinator.said(r"port (\d+);")[1]
    program = start(*TWISTD, "ffcluster-worker", f"--server-port={port}", "--work-dir=work")
    program.said("connected to" if connected else "Trying again")
    program.process.send_signal(signal.SIGTERM)
    program.ends_with(0)


def test_worker_of_a_wrong_token_that_is_not_persistent_ends_with_5(
    start: Starter, tmp_path: Path
) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    for path, text in ((right, "a-secret-of-many-letters"), (wrong, "another-secret-of-many")):
        path.write_text(text)
        path.chmod(0o600)
    coordinator = start(*TWISTD, *SERVER, f"--token-file={right}")
    port = coordinator.said(r"port (\d+);")[1]
    program = start(
        *TWISTD, "ffcluster-worker", f"--server-port={port}", "--work-dir=work",
        "--no-persistent", f"--token-file={wrong}",
    )  # fmt: skip
    log = program.ends_with(5)
    assert "a-secret" not in log
    assert "another-secret" not in log


@pytest.mark.parametrize(
    "arguments",
    [
        ("ffcluster-server", "--port=abc"),
        ("ffcluster-server", "--interface=0.0.0.0"),
        ("ffcluster-worker", "--slots=0"),
    ],
)
def test_bad_options_end_twistd_with_a_message(start: Starter, arguments: tuple[str, ...]) -> None:
    program = start(*TWISTD, *arguments)
    log = program.ends_with(2)
    assert arguments[1] in log
    assert "Traceback" not in log


def test_twistd_lists_both_programs() -> None:
    done = subprocess.run(
        [str(BIN / "twistd"), "--help"], capture_output=True, text=True, check=True
    )
    assert "ffcluster-server" in done.stdout
    assert "ffcluster-worker" in done.stdout
