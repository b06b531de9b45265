"""A cluster of real processes, built to be broken: everything of it lies in one directory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import defer
from twisted.internet.threads import deferToThread

from ffcluster.core.model import JobRequest
from ffcluster.core.views import JobView, WorkerView
from ffcluster.errors import FfclusterError
from ffcluster.net.client import CoordinatorClient
from tests.chaos import network, volumes
from tests.chaos.film import CUTS, Making, Wrong
from tests.chaos.launch import CONTROL
from tests.chaos.layout import Layout, write_encoder
from tests.chaos.network import Namespace
from tests.chaos.processes import Process, mentioning, reactor, sleep, until
from tests.chaos.proxy import Proxy
from tests.inputs import ffmpeg_path
from tests.store.postgres_server import PostgresServer, postgres_server

ROOT = Path(__file__).parents[2]
LEASE_S = 3.0
STALL_S = 5.0
_READY = re.compile(r"coordinator listens on \S+ port (\d+)")
_TOKEN = "chaos-chaos-chaos-chaos"
_START_LIMIT_S = 60.0


@attrs.define(eq=False)
class Rig:
    """One cluster. `start` it, hurt it, `stop` it.

    Attributes:
        directory: Everything of it is here.
        film: What its jobs encode.
        layout: How it is built.
        earlier: Source tree of the earlier version.
        restarts: How often the coordinator was started again.
        spoilt: Whether it is no longer as its layout says.
        database: Its PostgreSQL server, or None.
    """

    directory: Path
    film: Path
    layout: Layout = attrs.field(factory=Layout)
    earlier: Path | None = None
    port: int = 0
    workers: dict[str, Process] = attrs.field(factory=dict)
    proxies: dict[str, Proxy] = attrs.field(factory=dict)
    namespaces: dict[str, Namespace] = attrs.field(factory=dict)
    restarts: int = 0
    spoilt: bool = False
    database: PostgresServer | None = None
    _stack: contextlib.ExitStack = attrs.field(factory=contextlib.ExitStack)
    _options: dict[str, tuple[str, ...]] = attrs.field(factory=dict)
    _coordinator: Process | None = None
    _client: CoordinatorClient | None = None

    @property
    def coordinator(self) -> Process:
        assert self._coordinator is not None
        return self._coordinator

    @property
    def host(self) -> str:
        return network.outside() if self.layout.namespaced else "127.0.0.1"

    @property
    def token(self) -> str | None:
        return _TOKEN if self.layout.namespaced else None

    @property
    def keeps_receipts(self) -> bool:
        """Whether its coordinator can tell how a job was made."""
        return "coordinator" not in self.layout.versions

    @property
    def outputs(self) -> Path:
        return self.directory / "outputs"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def control(self, name: str) -> Path:
        """Where the process `name` looks for what it is told."""
        return self.directory / f"control-{name}"

    def work(self, name: str) -> Path:
        return self.directory / f"work-{name}"

    # --- start and stop ------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all of it, and wait until the workers are there."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for name, mebibytes in self.layout.volumes.items():
            volumes.mount(self.directory / name, mebibytes)
        if self.layout.postgres:
            self.database = self._stack.enter_context(postgres_server(durable=True))
        self.outputs.mkdir(exist_ok=True)
        (self.directory / "token").write_text(_TOKEN)
        await self.start_coordinator()
        names = [f"w{number}" for number in range(1, self.layout.workers + 1)]
        for name in names:
            await self._add_worker(name)
        await self.connected(*names)

    def _process(self, name: str, *options: str) -> Process:
        """A process of the version that the layout wants; `options` begin with the service."""
        self._options[name] = options
        control = self.control(name)
        control.mkdir(exist_ok=True)
        env = {CONTROL: str(control), "PYTHONPATH": str(ROOT)}
        program = [sys.executable, "-m", "tests.chaos.launch"]
        if name in self.layout.versions:
            env["PYTHONPATH"] = str(self.earlier)
            program = [str(Path(sys.executable).with_name("twistd"))]
        if name in self.namespaces:
            program = [*self.namespaces[name].prefix, *program]
        return Process(
            name,
            [*program, "-n", "--pidfile=", *options, "--allow-plugin", "software"],
            self.directory / f"{name}.log",
            env,
            self.directory,
        )

    def upgrade(self, name: str) -> None:
        """Start a worker that has ended again, in the present version."""
        self.layout = attrs.evolve(
            self.layout, versions=tuple(n for n in self.layout.versions if n != name)
        )
        self.spoilt = True
        self.workers[name] = self._process(name, *self._options[name])
        self.workers[name].start()

    async def start_coordinator(self) -> None:
        """Start it, again on the port that it had."""
        if self._coordinator is None:
            self.port = _free_port(self.host)
            self._coordinator = self._process(
                "coordinator", "ffcluster-server", *self._server_options()
            )
        self._coordinator.start()
        await until("the coordinator", self._listening, _START_LIMIT_S)

    def _server_options(self) -> list[str]:
        options = [
            "--port", str(self.port),
            "--state-dir", str(self.state),
            "--output-dir", str(self.outputs),
            "--required-clients", "1",
            "--benchmark-duration", "1",
            "--retry-delay", "0",
            "--stall-timeout", f"{STALL_S:g}",
            "--ffmpeg", ffmpeg_path(),
        ]  # fmt: skip
        if "coordinator" not in self.layout.versions:
            options += ["--lease", f"{LEASE_S:g}", "--min-free", "0"]
        if self.database is not None:
            options += ["--database", self.database.url()]
        if self.layout.namespaced:
            options += ["--interface", self.host, "--token-file", str(self.directory / "token"),
                        "--source-dir", str(self.film.parent)]  # fmt: skip
        return [*options, *(o.format(directory=self.directory) for o in self.layout.server)]

    def _listening(self) -> re.Match[str] | None:
        if not self.coordinator.alive:
            raise Wrong(f"the coordinator ended with {self.coordinator.exit_code}")
        return _READY.search(self.coordinator.said())

    async def _add_worker(self, name: str) -> None:
        host, port = self.host, self.port
        if self.layout.namespaced:
            self.namespaces[name] = Namespace.make()
        if self.layout.proxied:
            self.proxies[name] = await Proxy.start(reactor, self.port)
            host, port = "127.0.0.1", self.proxies[name].port
        control = self.control(name)
        control.mkdir(exist_ok=True)
        script = self.directory / f"ffmpeg-{name}"
        write_encoder(script, control)
        options = [
            "--server-ip", host, "--server-port", str(port),
            "--name", name, "--work-dir", str(self.work(name)), "--slots", "1",
            # Findings about the scripts, which all behave alike, are shared by all rigs.
            "--state-dir", str(self.directory / "machine"),
            "--ffmpeg", str(script), "--encoder", "libx264",
            "--reconnect-delay", "0.3", "--drain-timeout", "20",
        ]  # fmt: skip
        if self.layout.namespaced:
            options += ["--token-file", str(self.directory / "token")]
        self.workers[name] = self._process(name, "ffcluster-worker", *options)
        self.workers[name].start()

    async def stop(self) -> None:
        """End everything of it."""
        await self._forget_client()
        for process in [*self.workers.values(), self._coordinator]:
            if process is not None and process.alive:
                process.signal(signal.SIGCONT)
                process.signal(signal.SIGKILL)
        await sleep(0.3)
        for pid in mentioning(str(self.directory)):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for proxy in self.proxies.values():
            await proxy.close()
        for namespace in self.namespaces.values():
            namespace.remove()
        for name in self.layout.volumes:
            volumes.unmount(self.directory / name)
        await deferToThread(self._stack.close)

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- what a client does --------------------------------------------------------------------

    async def client(self) -> CoordinatorClient:
        if self._client is None:
            self._client = await CoordinatorClient.connect(
                reactor, f"ws://{self.host}:{self.port}", token=self.token, timeout_s=5
            )
        return self._client

    async def _forget_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(FfclusterError, defer.TimeoutError):
                await defer.ensureDeferred(client.close()).addTimeout(3, reactor)

    async def ask(self, what: str, *arguments: Any, limit_s: float = 60.0) -> Any:
        """Ask the coordinator, again and again while it cannot be reached."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                client = await self.client()
                asked = defer.ensureDeferred(getattr(client, what)(*arguments))
                return await asked.addTimeout(10, reactor)
            except (FfclusterError, defer.TimeoutError) as error:
                if isinstance(error, FfclusterError) and not error.retryable:
                    raise
                await self._forget_client()
                if time.monotonic() > deadline:
                    raise Wrong(f"the coordinator does not answer {what}: {error}") from error
                await sleep(0.1)

    async def submit(self, making: Making, name: str, **how: Any) -> str:
        """Submit the film; answers the job's id."""
        request = JobRequest(
            self.film.name,
            server_path=str(self.film),
            profile=making.profile,
            output_name=f"{name}.{making.suffix}",
            cut_frames=CUTS,
            **how,
        )
        view: JobView = await self.ask("submit", request)
        return view.id

    async def job(self, job_id: str) -> JobView:
        view: JobView = await self.ask("job", job_id)
        return view

    async def end_of(self, job_id: str, limit_s: float) -> JobView:
        """Wait until a job has ended."""
        deadline = time.monotonic() + limit_s
        while not (view := await self.job(job_id)).ended:
            if time.monotonic() > deadline:
                raise Wrong(
                    f"the job did not end within {limit_s:g} s: {view.state}, {view.reason!r}, "
                    f"{view.segments_committed} segments committed"
                )
            await sleep(0.1)
        return view

    async def connected(self, *names: str, limit_s: float = _START_LIMIT_S) -> None:
        """Wait until the workers `names` are there and idle."""
        deadline = time.monotonic() + limit_s
        while True:
            views: list[WorkerView] = await self.ask("workers")
            idle = {view.name for view in views if view.state == "Idle" and not view.draining}
            if idle >= set(names):
                return
            if time.monotonic() > deadline:
                states = {view.name: view.state for view in views}
                raise Wrong(f"the workers did not come back within {limit_s:g} s: {states}")
            await sleep(0.1)

    # --- what keeps it alive -------------------------------------------------------------------

    async def restart_coordinator(self, after_s: float = 0.0) -> None:
        """What a supervisor does when the coordinator died."""
        await self.coordinator.ended()
        await sleep(after_s)
        self.restarts += 1
        await self.start_coordinator()

    async def heal(self) -> None:
        """Undo every fault that may still be there, and wait until all are well."""
        for name, process in self.workers.items():
            for fault in ("hang", "hold", "crawl", "poison", "clock"):
                (self.control(name) / fault).unlink(missing_ok=True)
            process.signal(signal.SIGCONT)
            if not process.alive:
                process.start()
            if name in self.proxies:
                self.proxies[name].heal()
            if name in self.namespaces:
                self.namespaces[name].heal()
        for fault in ("kill", "killed", "clock"):
            (self.control("coordinator") / fault).unlink(missing_ok=True)
        self.coordinator.signal(signal.SIGCONT)
        if not self.coordinator.alive:
            await self.start_coordinator()
        await self.connected(*self.workers)

    def stored(self) -> dict[str, int]:
        """The coordinator's counters, as they are in its database."""
        path = self.state / "ffcluster.db"
        if not path.exists():
            return {}
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            row = database.execute("SELECT value FROM meta WHERE name = 'counters'").fetchone()
        return dict(json.loads(row[0])) if row else {}

    def encodes(self) -> int:
        """How many encodes of segments have begun."""
        count = 0
        for name in self.workers:
            with contextlib.suppress(FileNotFoundError):
                count += len((self.control(name) / "encodes").read_text().splitlines())
        return count

    async def clean(self, *kept: str, limit_s: float = 45.0) -> None:
        """Wait until nothing is left but the outputs `kept`; the job must have been removed.

        Raises:
            Wrong: Something is left.
        """
        deadline = time.monotonic() + limit_s
        while left := self._left_over(kept):
            if time.monotonic() > deadline:
                raise Wrong(f"left behind: {left}".replace(str(self.directory), ""))
            await sleep(0.1)

    def _left_over(self, kept: tuple[str, ...]) -> list[str]:
        found = [f"output {p.name}" for p in self.outputs.iterdir() if p.name not in kept]
        for folder in ("jobs", "incoming", "blobs", "uploads"):
            found += [f"state {path}" for path in _files(self.state / folder)]
        for name, process in self.workers.items():
            found += [f"work {path}" for path in _files(self.work(name) / "attempts")]
            found += [f"process {pid} of {name}" for pid in process.children()]
        found += [f"process {pid} of the coordinator" for pid in self.coordinator.children()]
        known = {p.pid for p in [*self.workers.values(), self.coordinator] if p.alive}
        found += [
            f"process {pid}: {line}"
            for pid, line in mentioning(str(self.directory)).items()
            if pid not in known
        ]
        return found


def _files(directory: Path) -> list[Path]:
    """Every file below a directory, in which others may be tidying up just now."""
    try:
        return [path for path in directory.rglob("*") if path.is_file()]
    except FileNotFoundError:
        return [directory]


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
