"""The worker: keeps a session with its coordinator, and runs the attempts that it is offered."""

from __future__ import annotations

import os
import platform
import random
import secrets
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster import __version__
from ffcluster.core.model import Capability
from ffcluster.encoders.backend import Machine
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.errors import (
    ErrorReport,
    FfclusterError,
    NoUsableEncoder,
    ProtocolError,
    Refused,
    Unreachable,
)
from ffcluster.media.binary import find_ffmpeg, inspect
from ffcluster.media.detect import detect
from ffcluster.media.runner import Runner
from ffcluster.net import codec, messages
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.bulk_client import BulkClient
from ffcluster.net.session import BackOff, Liveness
from ffcluster.net.websocket import CLOSE_NORMAL, CLOSE_PROTOCOL, Connection, dial
from ffcluster.services.attempt import AttemptRun
from ffcluster.services.config import WorkerSettings
from ffcluster.store import files

log = Logger()

_decode = codec.decoder(messages.ToWorker | messages.Welcome)

EXIT_UNREACHABLE, EXIT_REFUSED = 4, 5
_PROGRESS_EVERY_S = 0.5


class WorkerService(Service):
    """A daemon that encodes segments for one coordinator.

    Attributes:
        finished: Fires with an exit code when a worker that is not persistent cannot go on, or
            with the error when it cannot work at all.
        failure: Why, in words.
    """

    runner: Runner
    build: FfmpegBuild

    def __init__(self, reactor: Any, settings: WorkerSettings) -> None:
        self.settings = settings
        self.finished: Deferred[int] = Deferred()
        self.failure = ""
        self._reactor = reactor
        self._address = CoordinatorAddress(settings.host, settings.port)
        self._back_off = BackOff(settings.reconnect_delay_s, random.SystemRandom().random)
        self._registry = Registry.load()
        self._capabilities: tuple[Capability, ...] = ()
        self._id = ""
        self._living: Deferred[Any] | None = None
        self._ended: Deferred[None] = Deferred()
        self._session: _WorkerSession | None = None
        self._draining = False
        self.runner = Runner(reactor)

    # --- start and stop ------------------------------------------------------------------------

    def startService(self) -> None:
        """Find out what this machine can do, then connect, again and again."""
        super().startService()  # type: ignore[no-untyped-call]
        for warning in self.settings.warnings:
            log.warn("{warning}", warning=warning)
        self._living = ensureDeferred(self._live())
        self._living.addErrback(self._broke)
        self._living.addBoth(lambda _: self._ended.callback(None))

    def stopService(self) -> Deferred[Any]:
        """End everything now: encoders, the session, temporary files."""
        super().stopService()  # type: ignore[no-untyped-call]
        return ensureDeferred(self._stop())

    def drain(self) -> Deferred[None]:
        """Finish the running segments within the limit, give back the rest, and leave."""
        return ensureDeferred(self._drain())

    async def _stop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.end("the worker stops")
        elif self._living is not None:
            self._living.cancel()
        await self.runner.close()
        if self._living is not None:
            await self._ended
        await deferToThread(files.remove_tree, self._attempts_dir)

    async def _drain(self) -> None:
        self._draining = True
        if self._session is not None:
            log.info("draining: no further segments are accepted")
            await self._session.drain(self.settings.drain_timeout_s)
        if self.running:
            await self.stopService()

    def _broke(self, failure: Any) -> None:
        if not self.running:
            return
        error = failure.value
        if not failure.check(FfclusterError):
            log.failure("the worker broke", failure)
        self._give_up(ErrorReport.of(error))

    def _give_up(self, error: ErrorReport) -> None:
        self.failure = f"{error.message} {error.advice}".strip()
        log.error("the worker gives up: {reason}", reason=self.failure)
        unreachable = error.code in (Unreachable.code,)
        if not self.finished.called:
            self.finished.callback(EXIT_UNREACHABLE if unreachable else EXIT_REFUSED)

    # --- its life ------------------------------------------------------------------------------

    @property
    def _attempts_dir(self) -> Path:
        return self.settings.work_dir / "attempts"

    async def _live(self) -> None:
        await self._prepare()
        while self.running and not self._draining:
            try:
                reason = await self._serve()
                error: FfclusterError = Unreachable(message=f"The session ended: {reason}.")
            except (Unreachable, Refused) as refused:
                error = refused
            if not self.running or self._draining:
                return
            if not self.settings.persistent:
                self._give_up(ErrorReport.of(error))
                return
            delay_s = self._back_off.failed()
            log.warn(
                "{error} Trying again in {delay} s.", error=error.message, delay=round(delay_s, 1)
            )
            await deferLater(self._reactor, delay_s, lambda: None)

    async def _prepare(self) -> None:
        settings = self.settings
        self._id = await deferToThread(self._prepare_work_dir)
        self.build = await inspect(find_ffmpeg(settings.ffmpeg, os.environ), self.runner)
        machine = Machine(settings.cpus or usable_cpus(), sys.platform)
        found = await detect(self._registry, self.build, machine, self.runner)
        wanted = [c for c in found.capabilities if settings.encoder in (None, c.encoder)]
        if not wanted:
            offered = ", ".join(sorted({c.encoder for c in found.capabilities})) or "none"
            raise NoUsableEncoder(
                message=f"This ffmpeg has no usable encoder {settings.encoder or ''}".strip() + ".",
                advice=f"Usable here: {offered}. `ffcluster doctor` shows why others are not.",
            )
        if settings.slots is not None:
            wanted = [self._with_slots(c, settings.slots, machine.cpus) for c in wanted]
        self._capabilities = tuple(wanted)
        log.info(
            "worker {name}: ffmpeg {version}, {encoders}",
            name=settings.name,
            version=self.build.version,
            encoders=", ".join(f"{c.encoder} x{c.slots}" for c in wanted),
        )

    @staticmethod
    def _with_slots(capability: Capability, slots: int, cpus: int) -> Capability:
        threads = max(1, cpus // slots) if capability.threads else 0
        return attrs.evolve(capability, slots=slots, threads=threads)

    def _prepare_work_dir(self) -> str:
        """Make the directories, clean up after an earlier run, read or make the lasting id."""
        work_dir = files.make_private(self.settings.work_dir)
        files.remove_tree(self._attempts_dir)
        files.make_private(self._attempts_dir)
        identity = work_dir / "worker-id"
        if identity.exists():
            known = identity.read_text(encoding="ascii", errors="replace").strip()
            if known.isalnum() and len(known) <= 64:
                return known
        fresh = secrets.token_hex(8)
        identity.write_text(fresh, encoding="ascii")
        return fresh

    async def _serve(self) -> str:
        """Hold one session to its end; return why it ended."""
        session = _WorkerSession(self, self._reactor, self._attempts_dir)
        bulk = BulkClient(self._reactor, self._address, self.settings.token)
        try:
            await dial(self._reactor, self._address, session, token=self.settings.token)
            self._session = session
            session.greet(self._hello(), bulk, self._registry, self._capabilities)
            await session.welcomed
            self._back_off.succeeded()
            log.info("connected to {address}", address=self._address.authority)
            return await session.ended
        finally:
            self._session = None
            await session.end("the session is over")
            await bulk.close()

    def _hello(self) -> messages.Hello:
        settings = self.settings
        return messages.Hello(
            protocols=messages.PROTOCOL_VERSIONS,
            role="worker",
            version=__version__,
            worker_id=self._id,
            name=settings.name,
            platform=f"{platform.system()} {platform.machine()}",
            ffmpeg=self.build.version,
            cpus=settings.cpus or usable_cpus(),
            benchmark_duration_s=settings.benchmark_duration_s,
            capabilities=self._capabilities,
        )


class _WorkerSession:
    """One session with the coordinator, and the attempts that belong to it."""

    def __init__(self, service: WorkerService, reactor: Any, directory: Path) -> None:
        self.runner = service.runner
        self.build = service.build
        self.ended: Deferred[str] = Deferred()
        self.welcomed: Deferred[None] = Deferred()
        self._reactor = reactor
        self._directory = directory
        self._connection: Connection | None = None
        self._attempts: dict[int, AttemptRun] = {}
        self._waiting: dict[int, tuple[AttemptRun, Deferred[None]]] = {}
        self._encoding: dict[int, Fraction] = {}
        self._told: dict[int, tuple[int, float]] = {}
        self._block_bytes = 2**20
        self._draining = False
        self._liveness = Liveness(reactor.seconds(), reactor.seconds())
        self._loop = LoopingCall(self._report)
        self._loop.clock = reactor

    def greet(
        self,
        hello: messages.Hello,
        bulk: BulkClient,
        registry: Registry,
        capabilities: tuple[Capability, ...],
    ) -> None:
        """Introduce this worker; offers may come from now on."""
        self._bulk = bulk
        self._registry = registry
        self._capabilities = {c.encoder: c for c in capabilities}
        self.send(hello)
        self._loop.start(_PROGRESS_EVERY_S, now=False)

    # --- what the connection tells -------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """The connection is up."""
        self._connection = connection

    def received(self, payload: bytes) -> None:
        """Handle one message of the coordinator."""
        if self._connection is None:
            # This side has ended the session; an offer that was on its way has nobody to run it.
            return
        self._liveness.heard(self._reactor.seconds())
        try:
            message = _decode(payload)
        except ProtocolError as error:
            log.warn("a message was not understood: {error}", error=error.message)
            return
        if isinstance(message, messages.Welcome):
            self._block_bytes = message.block_bytes
            if not self.welcomed.called:
                self.welcomed.callback(None)
        elif isinstance(message, messages.Offer):
            self._take(message)
        elif isinstance(message, messages.Revoke):
            attempt = self._attempts.get(message.epoch)
            if attempt is not None:
                attempt.stop(give_back=False)
        elif isinstance(message, messages.Failure):
            self._told_off(message)
        elif isinstance(message, messages.Drain):
            ensureDeferred(self.drain(None))

    def closed(self, reason: str) -> None:
        """The connection is gone."""
        self._connection = None
        if not self.welcomed.called:
            self.welcomed.errback(Refused(message=f"The coordinator closed the session: {reason}"))
        if not self.ended.called:
            self.ended.callback(reason)

    def _told_off(self, message: messages.Failure) -> None:
        log.warn("the coordinator says: {error}", error=message.error.message)
        if not self.welcomed.called:
            self.welcomed.errback(message.error.to_error())

    def send(self, message: messages.Message) -> None:
        """Tell the coordinator; in silence when the connection is gone."""
        if self._connection is not None:
            self._liveness.said(self._reactor.seconds())
            self._connection.send(codec.encode(message))

    # --- attempts ------------------------------------------------------------------------------

    def _take(self, offer: messages.Offer) -> None:
        if offer.epoch in self._attempts:
            return
        if self._draining:
            self.send(messages.Returned(offer.epoch))
            return
        capability = self._capabilities.get(offer.order.encoder)
        try:
            if capability is None:
                raise NoUsableEncoder(message=f"This worker does not offer {offer.order.encoder}.")
            backend = self._registry.backend(capability.backend)
        except FfclusterError as error:
            self.send(messages.Failed(offer.epoch, ErrorReport.of(error)))
            return
        attempt = AttemptRun(
            self, self._bulk, offer, capability, backend, self._directory, self._block_bytes
        )
        self._attempts[offer.epoch] = attempt
        attempt.done.addCallback(lambda _: self._attempts.pop(offer.epoch, None))
        attempt.start()

    def slot(self, attempt: AttemptRun) -> Deferred[None]:
        """Fires when the attempt may encode; slots are given in order of epochs."""
        granted: Deferred[None] = Deferred()
        self._waiting[attempt.offer.epoch] = (attempt, granted)
        self._grant()
        return granted

    def release(self, attempt: AttemptRun) -> None:
        """The attempt no longer uses its slot, or never will."""
        epoch = attempt.offer.epoch
        waited = self._waiting.pop(epoch, None)
        held = self._encoding.pop(epoch, None)
        self._told.pop(epoch, None)
        if waited is not None or held is not None:
            self._grant()

    def _grant(self) -> None:
        # Whoever gets a slot may give it back before `callback` returns, so look afresh each time.
        while self._waiting:
            epoch = min(self._waiting)
            attempt, granted = self._waiting[epoch]
            unit = attempt.capability.unit
            if sum(self._encoding.values(), unit) > 1:
                return
            del self._waiting[epoch]
            self._encoding[epoch] = unit
            granted.callback(None)

    def _report(self) -> None:
        """Tell the progress of all running attempts in one message, or that we are alive."""
        rows = []
        for epoch in self._encoding:
            attempt = self._attempts[epoch]
            now = (attempt.frames, attempt.fps)
            if self._told.get(epoch) != now and attempt.frames:
                self._told[epoch] = now
                rows.append(messages.AttemptProgress(epoch, *now))
        if rows:
            self.send(messages.Progress(tuple(rows)))
        elif self._liveness.must_speak(self._reactor.seconds()):
            self.send(messages.Heartbeat())
        if self._liveness.given_up(self._reactor.seconds()) and self._connection is not None:
            self._connection.close(CLOSE_PROTOCOL, "nothing was heard for too long")
            self.closed("nothing was heard from the coordinator")

    async def drain(self, limit_s: float | None) -> None:
        """Give back what has not begun, let the rest finish within `limit_s`, then leave."""
        if self._draining:
            return
        self._draining = True
        self.send(messages.Draining())
        for attempt in list(self._attempts.values()):
            if not attempt.encoding:
                attempt.stop(give_back=True)
        running = _all_of([attempt.when_done() for attempt in self._attempts.values()])
        if limit_s is not None:
            running.addTimeout(limit_s, self._reactor, onTimeoutCancel=lambda *_: None)
        await running
        await _all_of([a.stop(give_back=True) for a in list(self._attempts.values())])
        if self._connection is not None:
            self._connection.close(CLOSE_NORMAL, "the worker leaves")

    async def end(self, reason: str) -> None:
        """End every attempt and the connection."""
        if self._loop.running:
            self._loop.stop()
        stops = [attempt.stop(give_back=False) for attempt in list(self._attempts.values())]
        if self._connection is not None:
            self._connection.close(CLOSE_NORMAL, reason)
            self.closed(reason)
        await _all_of(stops)


def _all_of(waits: list[Deferred[None]]) -> Deferred[Any]:
    return DeferredList(waits, consumeErrors=True)


def usable_cpus() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
