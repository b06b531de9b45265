"""A real cluster for tests: coordinator and workers as `twistd` processes on a loopback port."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ffcluster.client import Client
from ffcluster.interfaces.cli.output import plain
from tests.inputs import ffmpeg_path

# The one that comes with the tests, unless somebody names another: it starts in a tenth of the
# time of a system's, and thousands are started.
_FFMPEG = {"FFCLUSTER_FFMPEG": ffmpeg_path()}
_READY = re.compile(r"coordinator listens on \S+ port (\d+)")
_START_LIMIT_S = 60.0


def twistd(
    *arguments: str, log: Path, cwd: Path, env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start one twistd service in the foreground, its log appended to a file."""
    command = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", *arguments]
    with log.open("ab") as file:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=cwd,
            env={**_FFMPEG, **os.environ, "PYTHONUNBUFFERED": "1", **env},
        )  # fmt: skip


def run(
    *arguments: object, timeout_s: float = 120, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run an `ffcluster` command to its end."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("ffcluster")), *map(str, arguments)],
        capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL,
        env={**_FFMPEG, **os.environ, **(env or {})},
    )  # fmt: skip


def wait_for(what: str, test: object, limit_s: float = _START_LIMIT_S) -> object:
    """Call `test` until it gives something, or fail saying what did not come."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = test()  # type: ignore[operator]
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come within {limit_s} s")


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def descendants(pid: int) -> list[int]:
    """Every process below `pid`."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


@attrs.define
class Cluster:
    """One coordinator and its workers, in one directory.

    Attributes:
        env: Variables of every process that is started, beside those of this one.
    """

    directory: Path
    env: Mapping[str, str] = attrs.field(factory=dict)
    coordinator: subprocess.Popen[bytes] | None = None
    workers: dict[str, subprocess.Popen[bytes]] = attrs.field(factory=dict)
    port: int = 0
    _client: Client | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def outputs(self) -> Path:
        return self.directory / "outputs"

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def start(self, *options: str) -> Cluster:
        """Start the coordinator on a free port (or the one it had) and wait until it listens."""
        log = self.directory / "coordinator.log"
        earlier = len(self.log("coordinator")) if log.exists() else 0
        self.coordinator = twistd(
            "ffcluster-server",
            "--port", str(self.port),
            "--state-dir", str(self.directory / "state"),
            "--output-dir", str(self.outputs),
            *options,
            log=log, cwd=self.directory, env=self.env,
        )  # fmt: skip

        def listening() -> object:
            assert self.coordinator is not None
            assert self.coordinator.poll() is None, self.log("coordinator")
            return _READY.search(self.log("coordinator"), earlier)

        self.port = int(wait_for("the coordinator", listening)[1])  # type: ignore[index]
        return self

    def add_worker(
        self, name: str, *options: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a worker; it may take a moment until it is connected."""
        self.workers[name] = twistd(
            "ffcluster-worker",
            "--server-ip", "127.0.0.1",
            "--server-port", str(self.port),
            "--name", name,
            "--work-dir", str(self.directory / f"work-{name}"),
            *options,
            log=self.directory / f"{name}.log", cwd=self.directory, env={**self.env, **(env or {})},
        )  # fmt: skip
        return self.workers[name]

    def ask(self, *arguments: object) -> list[dict[str, Any]]:
        """Run a command against the cluster; answers the jobs or workers that it describes."""
        done = run(*arguments, "--coordinator", self.url, "--json", env=self.env)
        assert done.returncode == 0, done.stdout + done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        described = (row.get("job") or row.get("worker") for row in rows)
        return [row for row in described if isinstance(row, dict)]

    def submit(self, film: Path, name: str, *options: str) -> str:
        """Submit a job; answers its id."""
        (submitted, *_) = self.ask("submit", film, name, "--on-server", *options)
        return str(submitted["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """Describe a job with all its segments."""
        found: dict[str, Any] = plain(self.client.job(job_id, segments=True))
        return found

    def described_workers(self) -> list[dict[str, Any]]:
        """Describe every worker."""
        return [plain(worker) for worker in self.client.workers()]

    def wait(self, job_id: str, state: str = "Completed") -> None:
        """Wait until a job has ended, and see that it did so in this way."""
        assert self.client.wait(job_id, patience_s=60.0).state == state

    @property
    def client(self) -> Client:
        """A client in this process: asking costs no process, which would take from the encoders."""
        if self._client is None:
            self._client = Client(self.url, token=self.env.get("FFCLUSTER_TOKEN"))
        return self._client

    def stop(self) -> None:
        """End everything that was started, by pid, whatever state it is in.

        Whatever happened to it: none may have broken in a way that nobody had thought of.
        """
        if self._client is not None:
            self._client.close()
            self._client = None
        every = [*self.workers.values(), self.coordinator]
        for process in every:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in every:
            if process is not None:
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for name in ("coordinator", *self.workers):
            if (self.directory / f"{name}.log").exists():
                assert "Traceback" not in self.log(name), self.log(name)[-8000:]
