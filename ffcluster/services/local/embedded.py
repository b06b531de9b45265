"""A coordinator and its workers inside one process, for a single film on one machine.

Owns a private folder and a loopback port behind a random token. Leaves nothing behind: `close`
ends every encoder and removes the folder. It never touches the source or the final output.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from ffcluster.errors import NoUsableEncoder
from ffcluster.media.machine import usable_cpus
from ffcluster.services.coordinator.service import CoordinatorService
from ffcluster.services.settings.config import ServerSettings, WorkerSettings
from ffcluster.services.worker.service import WorkerService

_HOST = "127.0.0.1"
# Nothing here is overloaded by a retry that comes soon: coordinator and worker are one process.
_RETRY_DELAY_S = 0.5


class EmbeddedCluster:
    """One coordinator and `workers` workers, started and stopped together.

    A single worker takes all cores and runs as many segments side by side as its encoder pays
    off with; more workers share the cores evenly.

    Attributes:
        url: The coordinator, once it was started.
        token: What it wants to be shown.
        output_dir: Where the coordinator publishes; on the file system of `folder`.
        broken: Fails when a worker cannot work at all, or the coordinator can store nothing any
            more; never fires otherwise.
    """

    def __init__(
        self,
        reactor: Any,
        folder: Path,
        *,
        workers: int = 1,
        ffmpegs: Sequence[str] = (),
        exactly: bool = True,
    ) -> None:
        self._reactor = reactor
        self._folder = folder
        self.url = ""
        self.token = secrets.token_urlsafe(32)
        self.output_dir = folder / "output"
        self.broken: Deferred[None] = Deferred()
        self._coordinator = CoordinatorService(
            reactor,
            ServerSettings(
                required_workers=workers,
                fixed_crew=True,
                output_dir=self.output_dir,
                state_dir=folder / "state",
                interface=_HOST,
                port=0,
                exactly=exactly,
                retry_delay_s=_RETRY_DELAY_S,
                # Whoever encodes one film may use the disk up for it.
                min_free_bytes=0,
                token=self.token,
                ffmpeg=ffmpegs[0] if ffmpegs else None,
            ),
        )
        self._coordinator.finished.addErrback(self._break)
        self._worker_count = workers
        self._ffmpegs = tuple(ffmpegs)
        self._workers: list[WorkerService] = []
        self._closed = False
        # A second Ctrl-C stops the reactor under a running cluster; encoders must end all the same.
        self._trigger = reactor.addSystemEventTrigger("before", "shutdown", self._stop_and_remove)

    async def start(self) -> None:
        """Start everything.

        Raises:
            FfclusterError: When something cannot start; everything is stopped again then.
        """
        try:
            self._coordinator.startService()
            await self._coordinator.started
            port = self._coordinator.port
            for number in range(1, self._worker_count + 1):
                worker = WorkerService(self._reactor, self._worker_settings(number, port))
                self._workers.append(worker)
                worker.finished.addCallback(self._worker_gave_up, worker)
                worker.startService()
            self.url = f"ws://{_HOST}:{port}"
        except BaseException:
            await self.close()
            raise

    def _worker_settings(self, number: int, port: int) -> WorkerSettings:
        several = self._worker_count > 1
        return WorkerSettings(
            host=_HOST,
            port=port,
            token=self.token,
            name=f"local-{number}" if several else "local",
            cpus=max(1, usable_cpus() // self._worker_count) if several else None,
            work_dir=self._folder / f"worker-{number}",
            ffmpeg=self._ffmpegs,
        )

    def _worker_gave_up(self, _code: int, worker: WorkerService) -> None:
        self._break(Failure(NoUsableEncoder(message=worker.failure)))

    def _break(self, failure: Failure) -> None:
        if not self._closed and not self.broken.called:
            self.broken.errback(failure)

    async def close(self) -> None:
        """Stop everything and remove the folder; safe to call more than once."""
        if self._closed:
            return
        self._closed = True
        self.broken.addErrback(lambda _: None)
        await self._stop_and_remove()
        self._reactor.removeSystemEventTrigger(self._trigger)

    def _stop_and_remove(self) -> Deferred[Any]:
        """End the workers first: a coordinator that goes away makes them look for it."""
        stopping: Deferred[Any] = _stop_all(self._workers)
        stopping.addCallback(lambda _: _stop_all([self._coordinator]))
        return stopping.addCallback(
            lambda _: deferToThread(shutil.rmtree, self._folder, ignore_errors=True)
        )


def _stop_all(services: list[WorkerService] | list[CoordinatorService]) -> Deferred[Any]:
    running = [service for service in services if service.running]
    stops = [maybeDeferred(service.stopService) for service in running]
    return DeferredList(stops, consumeErrors=True)
