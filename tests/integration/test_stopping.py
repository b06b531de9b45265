"""A cluster that is stopped or cancelled in mid-job leaves no process and no temporary file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import imageio_ffmpeg
import pytest
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from ffcluster.core.model import JobRequest
from ffcluster.core.profile import Profile
from ffcluster.errors import Unreachable
from ffcluster.net.client import CoordinatorClient
from ffcluster.services.coordinator.service import CoordinatorService
from ffcluster.services.settings.config import ServerSettings, WorkerSettings
from ffcluster.services.worker import attempt
from ffcluster.services.worker.service import WorkerService
from tests.e2e.cluster import descendants, is_alive
from tests.net.loopback import until

pytestmark = pytest.mark.slow
SLOW = Profile(preset="placebo")


class Stopping(TestCase):
    timeout = 60

    async def setUp(self) -> None:
        # A database server of other tests may run below this process.
        self.others = set(descendants(os.getpid()))
        # Autobahn's timers are in buckets, which are emptied a moment after a connection is lost.
        self.addCleanup(until, lambda: not reactor.getDelayedCalls())
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.film = self.folder / "film.mkv"
        binary = imageio_ffmpeg.get_ffmpeg_exe()
        subprocess.run(
            [binary, "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=640x480:d=12",
             "-g", "50", "-preset", "ultrafast", str(self.film)],
            check=True,
        )  # fmt: skip
        self.coordinator = CoordinatorService(reactor, self.server_settings(binary))
        self.coordinator.startService()
        self.addCleanup(self.stop, self.coordinator)
        await self.coordinator.started
        settings = WorkerSettings(
            host="127.0.0.1",
            port=self.coordinator.port,
            name="attic",
            work_dir=self.folder / "worker",
            ffmpeg=(binary,),
            reconnect_delay_s=0.05,
        )
        self.worker = WorkerService(reactor, settings)
        self.worker.startService()
        self.addCleanup(self.stop, self.worker)
        self.client = await CoordinatorClient.connect(
            reactor,  # type: ignore[arg-type]
            f"ws://127.0.0.1:{self.coordinator.port}",
            token=None,
        )
        self.addCleanup(lambda: ensureDeferred(self.client.close()))

    def server_settings(self, binary: str) -> ServerSettings:
        return ServerSettings(
            required_workers=1,
            port=0,
            output_dir=self.folder / "out",
            state_dir=self.folder / "state",
            ffmpeg=binary,
        )

    def stop(self, service: Any) -> Any:
        return service.stopService() if service.running else None

    async def begin(self) -> str:
        """Submit the film and wait until its frames are being encoded."""
        request = JobRequest("film.mkv", server_path=str(self.film), profile=SLOW)
        job = await self.client.submit(request)
        reached: list[int] = []
        watching = ensureDeferred(
            self.client.watch(job.id, lambda view: reached.append(view.frames_done))
        )
        watching.addErrback(lambda failure: failure.trap(Unreachable))
        await until(lambda: any(reached))
        return job.id

    def processes(self) -> list[int]:
        """The processes that this test's services started and that are alive."""
        return [pid for pid in descendants(os.getpid()) if pid not in self.others and is_alive(pid)]

    def assert_nothing_is_left_of_the_job(self) -> None:
        assert list((self.folder / "out").iterdir()) == []
        assert list((self.folder / "state").glob("jobs/*")) == []
        assert list((self.folder / "worker").glob("attempts/*")) == []

    async def test_stopped_worker_ends_its_encoder_and_removes_its_files(self) -> None:
        await self.begin()
        encoders = self.processes()
        assert encoders
        await self.worker.stopService()
        assert self.worker.runner.live == 0
        assert not (self.folder / "worker" / "attempts").exists()
        await until(lambda: len(self.processes()) < len(encoders))

    async def test_stopped_coordinator_ends_its_own_processes_and_the_worker_encodes_on(
        self,
    ) -> None:
        await self.begin()
        await self.coordinator.stopService()
        assert [path for path in (self.folder / "out").iterdir() if path.suffix == ".mkv"] == []
        assert self.worker.runner.live
        await self.worker.stopService()
        await until(lambda: not self.processes())
        assert not (self.folder / "worker" / "attempts").exists()

    async def test_encoder_runs_on_through_a_restart_of_the_coordinator_and_counts(self) -> None:
        job_id = await self.begin()
        encoders = set(self.worker.runner._live)
        client = await self.client_of_a_restarted_coordinator()
        while not (await client.job(job_id)).frames_done:
            await deferLater(reactor, 0.05)
        assert encoders <= set(self.worker.runner._live)
        assert (await client.job(job_id)).retries == 0

    async def test_result_that_is_stored_is_forgotten_by_its_worker_at_once(self) -> None:
        self.patch(attempt, "_KEPT_S", 1e6)
        request = JobRequest(
            "film.mkv", server_path=str(self.film), profile=Profile(preset="ultrafast")
        )
        job = await self.client.submit(request)
        await self.client.watch(job.id, lambda _: None)
        await until(lambda: self.worker._bench and self.worker._bench.is_empty)
        assert list((self.folder / "worker" / "attempts").iterdir()) == []

    async def test_cancelled_job_ends_its_encoder_and_the_worker_is_free_again(self) -> None:
        job_id = await self.begin()
        assert (await self.client.cancel(job_id)).state == "Cancelled"
        await until(lambda: not self.worker.runner.live)
        await until(lambda: not self.coordinator._runner.live)
        await until(lambda: not list((self.folder / "worker" / "attempts").iterdir()))
        self.assert_nothing_is_left_of_the_job()
        (worker,) = await self.client.workers()
        assert worker.running == 0

    async def test_stopped_coordinator_takes_no_job(self) -> None:
        await self.coordinator.stopService()
        await self.assertFailure(ensureDeferred(self.client.jobs()), Unreachable)

    async def test_worker_comes_back_to_a_coordinator_that_was_restarted(self) -> None:
        client = await self.client_of_a_restarted_coordinator()
        while [worker.state for worker in await client.workers()] != ["Idle"]:
            await deferLater(reactor, 0.05)

    async def client_of_a_restarted_coordinator(self) -> CoordinatorClient:
        port = self.coordinator.port
        await self.coordinator.stopService()
        again = CoordinatorService(
            reactor, attrs.evolve(self.server_settings(self.worker.settings.ffmpeg[0]), port=port)
        )
        again.startService()
        self.addCleanup(self.stop, again)
        await again.started
        client = await CoordinatorClient.connect(
            reactor,  # type: ignore[arg-type]
            f"ws://127.0.0.1:{port}",
            token=None,
        )
        self.addCleanup(lambda: ensureDeferred(client.close()))
        return client
