"""The worker: finds out what its machine can do, and keeps coming back to its coordinator."""

from __future__ import annotations

import math
import platform
import random
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster import __version__
from ffcluster.core.crews import label
from ffcluster.core.model import Capability, Measurement
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.errors import (
    ErrorReport,
    FfclusterError,
    NoUsableEncoder,
    Refused,
    Unreachable,
)
from ffcluster.media.runner import Runner
from ffcluster.net import messages
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.bulk_client import BulkClient
from ffcluster.net.session import HEARTBEAT_S, BackOff
from ffcluster.net.websocket import dial
from ffcluster.services.choice import plugin_warnings
from ffcluster.services.machine.detection import Examined, examine_machine, machine_state_dir
from ffcluster.services.machine.gauges import Gauges
from ffcluster.services.machine.measurements import load_measurements
from ffcluster.services.settings.config import WorkerSettings, default_work_dir, default_worker_name
from ffcluster.services.worker.session import WorkerSession
from ffcluster.services.worker.workbench import Workbench
from ffcluster.services.worker.workdir import WorkDir

log = Logger()

EXIT_UNREACHABLE, EXIT_REFUSED = 4, 5
_MOST_HINTS = 4
# Workers without a name of their own that may run side by side on a machine.
_MOST_NAMELESS = 100
# A lease is at least six heartbeats long: whoever holds something comes back well within it.
_BEATS_TO_COME_BACK = 2


class WorkerService(Service):
    """A daemon that encodes segments for one coordinator.

    Attributes:
        prepared: Fires when it knows what its machine can do, before it connects.
        finished: Fires with an exit code when a worker that is not persistent cannot go on, or
            with the error when it cannot work at all.
        failure: Why, in words.
    """

    runner: Runner
    registry: Registry

    def __init__(self, reactor: Any, settings: WorkerSettings) -> None:
        self.settings = settings
        self.prepared: Deferred[None] = Deferred()
        self.finished: Deferred[int] = Deferred()
        self.failure = ""
        self._reactor = reactor
        self._address = CoordinatorAddress(settings.host, settings.port)
        self._back_off = BackOff(settings.reconnect_delay_s, random.SystemRandom().random)
        self.registry = Registry.load(settings.disabled_plugins, settings.allowed_plugins)
        self._examined: Examined | None = None
        self._capabilities: tuple[Capability, ...] = ()
        self._measurements: tuple[Measurement, ...] = ()
        self._id = ""
        # Several workers that nobody named may share a machine; each has its own directory.
        nameless = settings.work_dir is None and settings.name == default_worker_name()
        self._work_dir = WorkDir(
            settings.work_dir or default_work_dir(settings.name),
            spares=_MOST_NAMELESS if nameless else 0,
        )
        self._bulk = BulkClient(reactor, self._address, settings.token)
        self._bench: Workbench | None = None
        self._living: Deferred[Any] | None = None
        self._ended: Deferred[None] = Deferred()
        self._session: WorkerSession | None = None
        self._heartbeat_s = HEARTBEAT_S
        self._draining = False
        self.runner = Runner(reactor)
        self._gauges = Gauges(self.runner)

    # --- start and stop ------------------------------------------------------------------------

    def startService(self) -> None:
        """Find out what this machine can do, then connect, again and again."""
        super().startService()  # type: ignore[no-untyped-call]
        for warning in (*self.settings.warnings, *plugin_warnings(self.registry)):
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
        self._gauges.stop()
        if self._session is not None:
            self._session.close("the worker stops")
        elif self._living is not None:
            self._living.cancel()
        if self._bench is not None:
            await self._bench.stop()
        await self.runner.close()
        await self._bulk.close()
        if self._living is not None:
            await self._ended
        await deferToThread(self._work_dir.close)

    async def _drain(self) -> None:
        self._draining = True
        if self._bench is not None:
            log.info("draining: no further segments are accepted")
            await self._bench.drain(self.settings.drain_timeout_s)
        if self._session is not None:
            self._session.close("the worker leaves")
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

    async def _live(self) -> None:
        await self._prepare()
        self.prepared.callback(None)
        while self._wants_a_session:
            try:
                reason = await self._serve()
                error: FfclusterError = Unreachable(message=f"The session ended: {reason}.")
            except (Unreachable, Refused) as refused:
                error = refused
            if not self._wants_a_session:
                return
            if not self.settings.persistent:
                self._give_up(ErrorReport.of(error))
                return
            delay_s = self._back_off.failed(self._longest_delay_s)
            log.warn(
                "{error} Trying again in {delay} s.", error=error.message, delay=round(delay_s, 1)
            )
            await deferLater(self._reactor, delay_s, lambda: None)

    @property
    def _has_work(self) -> bool:
        return self._bench is not None and not self._bench.is_empty

    @property
    def _wants_a_session(self) -> bool:
        """A worker that drains comes back for as long as it has something to deliver."""
        return bool(self.running) and (self._has_work or not self._draining)

    @property
    def _longest_delay_s(self) -> float:
        """A coordinator that was restarted waits for what workers hold, yet not for ever."""
        return _BEATS_TO_COME_BACK * self._heartbeat_s if self._has_work else math.inf

    async def _prepare(self) -> None:
        settings = self.settings
        self._id = await deferToThread(self._work_dir.open)
        state_dir = settings.state_dir or machine_state_dir()
        found = self._examined = await examine_machine(
            self.runner, settings.ffmpeg, self.registry, state_dir, cpus=settings.cpus
        )
        self._measurements = await load_measurements(state_dir)
        wanted = [c for c in found.capabilities if settings.encoder in (None, c.encoder)]
        if not wanted:
            raise _nothing_to_offer(found, settings.encoder)
        self._capabilities = tuple(self._with_slots(c, found.machine.cpus) for c in wanted)
        self._bench = Workbench(
            self, self._reactor, self._bulk, self._work_dir.attempts, self._capabilities
        )
        log.info(
            "worker {worker}: ffmpeg {versions}, {encoders}",
            worker=self._name,
            versions=" and ".join(build.version for build in found.builds),
            encoders=", ".join(f"{label(c)} x{c.slots}" for c in self._capabilities),
        )

    @property
    def _name(self) -> str:
        number = self._work_dir.number
        return self.settings.name if number == 1 else f"{self.settings.name}-{number}"

    def _with_slots(self, capability: Capability, cpus: int) -> Capability:
        """`capability` with as many slots as the settings say, where they say anything."""
        settings = self.settings
        slots = settings.device_slots if capability.hardware else settings.slots
        if slots is None:
            return capability
        threads = max(1, cpus // slots) if capability.threads else 0
        return attrs.evolve(capability, slots=slots, threads=threads)

    def build_for(self, capability: Capability) -> FfmpegBuild:
        """The ffmpeg that `capability` was proven with."""
        assert self._examined is not None  # noqa: S101 - nothing is offered before it was examined
        return self._examined.build_for(capability)

    async def _serve(self) -> str:
        """Hold one session to its end; return why it ended."""
        assert self._bench is not None  # noqa: S101 - only a prepared worker connects
        if not self._draining:
            self._bench.accept_again()
        self._gauges.start()
        session = WorkerSession(self._bench, self._reactor, self._gauges.take)
        try:
            await dial(self._reactor, self._address, session, token=self.settings.token)
            self._session = session
            session.greet(self._hello())
            await session.welcomed
            self._back_off.succeeded()
            self._heartbeat_s = session.heartbeat_s
            log.info("connected to {address}", address=self._address.authority)
            return await session.ended
        finally:
            self._session = None
            session.close("the session is over")

    def _hello(self) -> messages.Hello:
        settings, found, bench = self.settings, self._examined, self._bench
        assert found is not None  # noqa: S101 - only an examined machine connects
        assert bench is not None  # noqa: S101 - made when it was examined
        return messages.Hello(
            protocols=messages.PROTOCOL_VERSIONS,
            role="worker",
            version=__version__,
            worker_id=self._id,
            name=self._name,
            platform=f"{platform.system()} {platform.machine()}",
            ffmpeg=found.builds[0].version,
            cpus=found.machine.cpus,
            benchmark_duration_s=settings.benchmark_duration_s,
            capabilities=self._capabilities[: messages.MAX_CAPABILITIES],
            builds=tuple(b.version for b in found.builds)[: messages.MAX_BUILDS],
            plugins=found.plugins[: messages.MAX_PLUGINS],
            diagnoses=found.diagnoses[: messages.MAX_DIAGNOSES],
            measurements=self._measurements[: messages.MAX_MEASUREMENTS],
            held=bench.held(),
        )


def _nothing_to_offer(found: Examined, encoder: str | None) -> NoUsableEncoder:
    offered = ", ".join(sorted({c.encoder for c in found.capabilities})) or "none"
    told = [d for d in found.diagnoses if encoder in (None, d.encoder)]
    hints = dict.fromkeys(f"{d.cause}: {d.hint}" if d.hint else d.cause for d in told)
    reasons = list(hints)[:_MOST_HINTS]
    return NoUsableEncoder(
        message=f"This machine has no usable encoder {encoder or ''}".strip() + ".",
        advice="\n".join(
            [f"Usable here: {offered}. `ffcluster doctor` shows why others are not.", *reasons]
        ),
    )
