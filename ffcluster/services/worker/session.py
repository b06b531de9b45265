"""One session of a worker with its coordinator: greeting, messages, heartbeats.

Attempts belong to the `Workbench`, which outlives the session. Dials nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from ffcluster.core.load import WorkerLoad
from ffcluster.errors import ProtocolError, Refused
from ffcluster.net import codec, messages
from ffcluster.net.session import Liveness
from ffcluster.net.websocket import CLOSE_NORMAL, CLOSE_PROTOCOL, Connection
from ffcluster.services.worker.workbench import Workbench

log = Logger()

_decode = codec.decoder(messages.ToWorker | messages.Welcome)

_PROGRESS_EVERY_S = 0.5


class WorkerSession:
    """One connection to the coordinator, from the greeting to the end.

    Args:
        bench: Has the attempts.
        reactor: Times what is said.
        take_load: The machine's load, if it was read since it was taken last.

    Attributes:
        welcomed: Fires when the coordinator accepted the worker; fails when it did not.
        ended: Fires with the reason when the session is over.
    """

    def __init__(
        self,
        bench: Workbench,
        reactor: Any,
        take_load: Callable[[], WorkerLoad | None] = lambda: None,
    ) -> None:
        self.ended: Deferred[str] = Deferred()
        self.welcomed: Deferred[None] = Deferred()
        self._bench = bench
        self._reactor = reactor
        self._take_load = take_load
        self._connection: Connection | None = None
        self._liveness = Liveness(reactor.seconds(), reactor.seconds())
        self._loop = LoopingCall(self._report)
        self._loop.clock = reactor

    @property
    def heartbeat_s(self) -> float:
        """Silence after which a side says that it is alive."""
        return self._liveness.heartbeat_s

    def greet(self, hello: messages.Hello) -> None:
        """Introduce this worker."""
        self.send(hello)
        self._keep_reporting()

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
        match message:
            case messages.Welcome():
                self._welcome(message)
            case messages.Offer():
                self._bench.take(message)
            case messages.Resume():
                self._bench.resume(message)
            case messages.Revoke(epoch=epoch):
                self._bench.revoke(epoch)
            case messages.Failure():
                self._told_off(message)
            case messages.Drain():
                ensureDeferred(self._drain())

    def closed(self, reason: str) -> None:
        """The connection is gone."""
        if self._connection is None:
            return
        self._connection = None
        if self._loop.running:
            self._loop.stop()
        self._bench.parted()
        if not self.welcomed.called:
            self.welcomed.errback(Refused(message=f"The coordinator closed the session: {reason}"))
        self.ended.callback(reason)

    def _welcome(self, message: messages.Welcome) -> None:
        if self.welcomed.called:
            return
        self._liveness.agree(message.heartbeat_s)
        self._keep_reporting()
        self._bench.joined(self.send, message.protocol, message.block_bytes)
        self.welcomed.callback(None)

    def _told_off(self, message: messages.Failure) -> None:
        log.warn("the coordinator says: {error}", error=message.error.message)
        if not self.welcomed.called:
            self.welcomed.errback(message.error.to_error())

    async def _drain(self) -> None:
        await self._bench.drain(None)
        self.close("the worker leaves")

    # --- what this side says -------------------------------------------------------------------

    def send(self, message: messages.Hello | messages.FromWorker) -> None:
        """Tell the coordinator; in silence when the connection is gone."""
        if self._connection is not None:
            self._liveness.said(self._reactor.seconds())
            self._connection.send(codec.encode(message))

    def close(self, reason: str, code: int = CLOSE_NORMAL) -> None:
        """End the session from this side; safe to call more than once."""
        if self._connection is not None:
            self._connection.close(code, reason)
            self.closed(reason)

    def _keep_reporting(self) -> None:
        if self._loop.running:
            self._loop.stop()
        self._loop.start(min(_PROGRESS_EVERY_S, self._liveness.look_every_s), now=False)

    def _report(self) -> None:
        """Tell the progress of all running attempts in one message, or that we are alive."""
        now = self._reactor.seconds()
        if self._liveness.given_up(now):
            self.close("nothing was heard from the coordinator for too long", CLOSE_PROTOCOL)
            return
        rows = self._bench.progress()
        if rows:
            self.send(messages.Progress(rows))
        load = self._take_load()
        if load is not None or self._liveness.must_speak(now):
            self.send(messages.Heartbeat(load))
