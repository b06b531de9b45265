"""One session of a worker with its coordinator, and the attempts that belong to it.

Grants slots: each device has its own, in order of epochs. Connects nothing and detects nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from ffcluster.core.model import Capability, CapabilityKey
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.errors import ErrorReport, FfclusterError, NoUsableEncoder, ProtocolError, Refused
from ffcluster.media.runner import Runner
from ffcluster.net import codec, messages
from ffcluster.net.bulk_client import BulkClient
from ffcluster.net.session import Liveness
from ffcluster.net.websocket import CLOSE_NORMAL, CLOSE_PROTOCOL, Connection
from ffcluster.services.attempt import AttemptRun

log = Logger()

_decode = codec.decoder(messages.ToWorker | messages.Welcome)

_PROGRESS_EVERY_S = 0.5


class Workshop(Protocol):
    """What a session needs from its worker."""

    runner: Runner
    registry: Registry

    def build_for(self, capability: Capability) -> FfmpegBuild:
        """The ffmpeg that `capability` was proven with."""


class WorkerSession:
    """One session with the coordinator, and the attempts that belong to it."""

    def __init__(self, workshop: Workshop, reactor: Any, directory: Path) -> None:
        self.runner = workshop.runner
        self.registry = workshop.registry
        self.build_for = workshop.build_for
        self.ended: Deferred[str] = Deferred()
        self.welcomed: Deferred[None] = Deferred()
        self._reactor = reactor
        self._directory = directory
        self._connection: Connection | None = None
        self._attempts: dict[int, AttemptRun] = {}
        self._waiting: dict[int, tuple[AttemptRun, Deferred[None]]] = {}
        self._encoding: dict[int, Capability] = {}
        self._told: dict[int, tuple[int, float]] = {}
        self._capabilities: Mapping[CapabilityKey, Capability] = {}
        self._block_bytes = 2**20
        self._draining = False
        self._liveness = Liveness(reactor.seconds(), reactor.seconds())
        self._loop = LoopingCall(self._report)
        self._loop.clock = reactor

    def greet(self, hello: messages.Hello, bulk: BulkClient) -> None:
        """Introduce this worker; offers may come from now on."""
        self._bulk = bulk
        self._capabilities = {c.key: c for c in hello.capabilities}
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
        order = offer.order
        capability = self._capabilities.get(CapabilityKey(order.encoder, order.device))
        try:
            if capability is None:
                where = f" on {order.device}" if order.device else ""
                raise NoUsableEncoder(message=f"This worker does not offer {order.encoder}{where}.")
            self.registry.backend(capability.backend)
        except FfclusterError as error:
            self.send(messages.Failed(offer.epoch, ErrorReport.of(error)))
            return
        attempt = AttemptRun(
            self, self._bulk, offer, capability, self._directory, self._block_bytes
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
        while (epoch := self._next_to_encode()) is not None:
            attempt, granted = self._waiting.pop(epoch)
            self._encoding[epoch] = attempt.capability
            granted.callback(None)

    def _next_to_encode(self) -> int | None:
        """The first epoch in line whose device has room; one device never waits for another."""
        full: set[str] = set()
        for epoch in sorted(self._waiting):
            wanted = self._waiting[epoch][0].capability
            if wanted.device in full:
                continue
            if self._load_on(wanted.device) + wanted.unit <= 1:
                return epoch
            full.add(wanted.device)
        return None

    def _load_on(self, device: str) -> Fraction:
        busy = (c.unit for c in self._encoding.values() if c.device == device)
        return sum(busy, Fraction(0))

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
