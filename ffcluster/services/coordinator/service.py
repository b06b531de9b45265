"""The coordinator as one service: opens its store, takes up what is there, listens, and stops.

An event is handled at once and to its end; what it changed is stored; then its effects are
started, and what comes of them comes back as events. Everything slow (files, databases, ffmpeg,
PyAV) happens in threads and other processes. Whatever was stored is gone on with after a restart.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from ffcluster.core.job import Job
from ffcluster.core.model import JobRequest
from ffcluster.encoders.registry import Registry
from ffcluster.errors import OutputUnwritable
from ffcluster.media.binary import find_ffmpeg, inspect
from ffcluster.media.runner import Runner
from ffcluster.net.bulk_server import bulk_tree
from ffcluster.net.door import Door, host_rule
from ffcluster.net.site import CoordinatorSite, GuardedFactory
from ffcluster.net.websocket import CoordinatorSocketFactory
from ffcluster.services.choice import plugin_warnings
from ffcluster.services.coordinator.display import Display
from ffcluster.services.coordinator.garbage import Garbage
from ffcluster.services.coordinator.outside import Outside
from ffcluster.services.coordinator.wiring import Parts
from ffcluster.services.keeping import recovery
from ffcluster.services.keeping.ledger import Ledger
from ffcluster.services.keeping.shelf import KINDS
from ffcluster.services.settings.config import ServerSettings
from ffcluster.services.settings.values import is_loopback
from ffcluster.store.blobs import FileBlobs
from ffcluster.store.opening import open_store
from ffcluster.web.api import mount
from ffcluster.web.health import Check, LiveResource, ReadyResource
from ffcluster.web.metrics import MetricsResource
from ffcluster.web.static_files import StaticFiles

log = Logger()

_MAX_CONNECTIONS = 10_000
_TEND_EVERY_S = 1.0
_SHOW_EVERY_S = 0.4
_SEARCH_EVERY_S = 5.0
# How long connections may take to end by themselves when the coordinator stops.
_CLOSING_PATIENCE_S = 1.0
# How long a database that was started at the same time may take to answer.
_DATABASE_PATIENCE_S = 60.0


class CoordinatorService(Service):
    """Owns jobs and decisions, and the one port on which workers and clients talk to it.

    Attributes:
        started: Fires when it listens, or fails with the reason why it cannot; never when it is
            stopped before that.
        finished: Fires when `shutdown_when_done` and every job has ended: 1 if one failed, or 0.
            Fails when what changes cannot be stored any more.
        port: The TCP port that it listens on.
    """

    def __init__(self, reactor: Any, settings: ServerSettings) -> None:
        self.settings = settings
        self.started: Deferred[None] = Deferred()
        self.finished: Deferred[int] = Deferred()
        self.port = settings.port
        self._reactor = reactor
        self._registry = Registry.load(settings.disabled_plugins, settings.allowed_plugins)
        self._runner = Runner(reactor)
        self._directory = recovery.StateDirectory(settings)
        self._blobs = FileBlobs(settings.state_dir)
        self._ledger: Ledger | None = None
        self._parts: Parts | None = None
        self._display: Display | None = None
        self._failed = False
        self._starting: Deferred[None] | None = None
        self._listening: Any = None
        self._guard: GuardedFactory | None = None
        self._loops: list[LoopingCall] = []
        self._garbage = Garbage()

    # --- start ---------------------------------------------------------------------------------

    def startService(self) -> None:
        """Begin to listen; `started` tells when, or why not."""
        super().startService()  # type: ignore[no-untyped-call]
        for warning in (*self.settings.warnings, *plugin_warnings(self._registry)):
            log.warn("{warning}", warning=warning)
        self._starting = ensureDeferred(self._start())
        self._starting.addCallbacks(self.started.callback, self._cannot_start)

    def _cannot_start(self, failure: Failure) -> None:
        if self.running:
            self.started.errback(failure)

    async def _start(self) -> None:
        settings = self.settings
        await deferToThread(self._directory.prepare, self._blobs)
        build = await inspect(find_ffmpeg(settings.ffmpeg, os.environ), self._runner)
        ledger = self._ledger = Ledger(
            open_store(settings.database, settings.state_dir),
            self._reactor,
            broken=self._cannot_store,
        )
        saved = await ledger.open(_DATABASE_PATIENCE_S)
        outside = Outside(
            settings, self._registry, self._runner, build, self._directory, self._blobs, ledger
        )
        parts = self._parts = Parts(outside, saved, self._job_ended)
        display = self._display = Display(outside, saved, parts)
        parts.tokens.load(await ledger.read(lambda store: store.tokens()))
        await self._take_up(parts, display)
        self._listening = await self._listen(parts, display)
        self.port = display.web.port = self._listening.getHost().port
        self._tend(parts, display)
        log.info(
            "coordinator listens on {interface} port {port}; ffmpeg {version}; "
            "jobs start with {required} or more workers",
            interface=settings.interface,
            port=self.port,
            version=build.version,
            required=settings.required_workers,
        )
        log.info("dashboard: {url}", url=display.web.dashboard_url)
        await self._submit_film(parts)
        parts.watching.start()

    async def _take_up(self, parts: Parts, display: Display) -> None:
        """Go on with what an earlier process left, and remove what nobody needs."""
        recovery.take_hold(parts.state, parts.holdings)
        await parts.uploads.take_hold()
        needed = frozenset(job.id for job in recovery.needed_jobs(parts.state))
        await deferToThread(self._directory.remove_others, needed)
        await parts.housekeeping.clean_up()
        await display.pictures.open()
        told = recovery.summary(parts.state)
        if told:
            log.info("{told}", told=told)
        # Before any event: until then no worker has a lease to come back in.
        parts.loop.begin()
        parts.webhooks.begin()
        await parts.housekeeping.start()
        # Both may take minutes, and nobody has to wait for them.
        parts.background.aside(ensureDeferred(parts.shelf.recover_uploads(parts.clock.seconds())))
        parts.background.aside(ensureDeferred(parts.show_outputs()))

    def _tend(self, parts: Parts, display: Display) -> None:
        """Begin with what is done every now and then for those who are connected."""
        display.metrics.start()
        self._garbage.begin()
        every = (
            (parts.tend, _TEND_EVERY_S),
            (parts.reception.tend, parts.reception.tend_every_s),
            (parts.reception.show, _SHOW_EVERY_S),
            (display.viewers.show, _SHOW_EVERY_S),
            (self._garbage.search, _SEARCH_EVERY_S),
        )
        for call, every_s in every:
            loop = LoopingCall(call)
            loop.clock = self._reactor
            loop.start(every_s, now=False)
            self._loops.append(loop)

    async def _submit_film(self, parts: Parts) -> None:
        """Submit the film that the command line names, unless it is being made already."""
        film = self.settings.source
        if film is None:
            return
        path = str(film.resolve())
        if any(job.source.location == path for job in parts.state.active_jobs()):
            log.info("{path} is being made already", path=path)
            return
        await parts.intake.submit(JobRequest(film.name, server_path=path))

    async def _listen(self, parts: Parts, display: Display) -> Any:
        settings = self.settings
        root = Resource()
        root.putChild(b"v1", bulk_tree(parts.shelf, KINDS))
        socket = CoordinatorSocketFactory(
            self._reactor,
            parts.tokens.caller,
            parts.reception.open_session,
            _MAX_CONNECTIONS,
        )
        root.putChild(b"ws", socket.as_resource())
        mount(root, display.routes(), await deferToThread(StaticFiles.load), self._reactor)
        root.putChild(b"metrics", MetricsResource(display.metrics))
        root.putChild(b"livez", LiveResource())  # type: ignore[no-untyped-call]
        root.putChild(b"readyz", ReadyResource(lambda: self._checks(display)))
        site = CoordinatorSite(
            self._reactor,
            root,
            door=Door(
                parts.tokens,
                host_rule(settings.allowed_hosts, loopback_only=is_loopback(settings.interface)),
            ),
            block_limit=settings.block_bytes,
            traffic=display.metrics.traffic,
        )
        kind = TCP6ServerEndpoint if ":" in settings.interface else TCP4ServerEndpoint
        endpoint = kind(self._reactor, settings.port, interface=settings.interface)
        self._guard = GuardedFactory(self._reactor, site, _MAX_CONNECTIONS)
        parts.tokens.when_revoked(self._guard.end_for)
        try:
            return await endpoint.listen(self._guard)  # type: ignore[no-untyped-call]
        except CannotListenError as error:
            raise OutputUnwritable(
                message=f"Cannot listen on {settings.interface} port {settings.port}: "
                f"{error.socketError}.",
                advice="Choose another --port or --interface, or stop what uses this one.",
            ) from error

    def _checks(self, display: Display) -> tuple[Check, ...]:
        return (
            Check("listening", self._listening is not None, "it does not listen yet"),
            Check("running", bool(self.running), "it stops"),
            *display.checks(),
        )

    # --- the end -------------------------------------------------------------------------------

    def _job_ended(self, job: Job) -> None:
        """A job ended and was cleaned up; stop if this was all there was."""
        self._failed = self._failed or job.error is not None
        parts = self._parts
        if parts is None or not self.settings.shutdown_when_done or self.finished.called:
            return
        if not any(parts.state.active_jobs()):
            self.finished.callback(1 if self._failed else 0)

    def _cannot_store(self, error: BaseException) -> None:
        """What changes cannot be stored any more: nothing may happen that nobody remembers."""
        if self.running and not self.finished.called:
            self.finished.errback(Failure(error))

    async def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        for loop in self._loops:
            if loop.running:
                loop.stop()
        if self._listening is not None:
            await self._listening.stopListening()
        if self._parts is not None:
            await self._parts.stop()
        if self._display is not None:
            await self._display.stop()
        await self._runner.close()
        if self._guard is not None:
            await self._guard.close(_CLOSING_PATIENCE_S)
        if self._ledger is not None:
            await self._ledger.close()
        self._directory.free()
        self._garbage.end()

    def stopService(self) -> Deferred[None]:
        """End every process and stop listening; all jobs are gone on with after the next start."""
        super().stopService()  # type: ignore[no-untyped-call]
        return ensureDeferred(self._stop())
