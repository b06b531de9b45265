"""One session of a client: dial, greet, ask and be answered, until it is closed.

It never dials again; `ffcluster.net.client` opens one after another.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from ffcluster import __version__
from ffcluster.core.views import JobView
from ffcluster.errors import ProtocolError, Refused, Unreachable
from ffcluster.net import codec, messages
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.session import Liveness
from ffcluster.net.websocket import CLOSE_PROTOCOL, Connection, dial

Reply = TypeVar("Reply", bound=messages.ToClient)
_TEND_EVERY_S = 1.0
_decode = codec.decoder(messages.ToClient | messages.Welcome, messages.MAX_REPLY_BYTES)


class ClientSession:
    """One session with a coordinator. Make it with `open`.

    Attributes:
        welcome: What the coordinator said of itself.
    """

    def __init__(self, reactor: Any, address: CoordinatorAddress) -> None:
        self._reactor = reactor
        self._address = address
        self._connection: Connection | None = None
        self._gone: Deferred[None] = Deferred()
        self._greeting: Deferred[messages.Welcome] = Deferred()
        self._requests = itertools.count(1)
        self._replies: dict[int, Deferred[Any]] = {}
        self._watches: dict[int, Callable[[messages.Job], None]] = {}
        self._liveness = Liveness(0.0, 0.0)
        self._tending = LoopingCall(self._tend)
        self._tending.clock = reactor
        self.welcome: messages.Welcome

    @classmethod
    async def open(
        cls, reactor: Any, address: CoordinatorAddress, *, token: str | None, timeout_s: float
    ) -> ClientSession:
        """Dial and greet.

        Raises:
            Unreachable: Nothing answers, or it is no coordinator.
            Unauthorized: The token is missing or wrong.
            Refused: The coordinator does not speak our protocol.
        """
        session = cls(reactor, address)
        await dial(reactor, address, session, token=token, timeout_s=timeout_s)
        try:
            await session._greet(timeout_s)
        except BaseException:
            await session.close()
            raise
        return session

    async def _greet(self, timeout_s: float) -> None:
        self._say(messages.Hello(messages.PROTOCOL_VERSIONS, "client", version=__version__))
        self._greeting.addTimeout(timeout_s, self._reactor)
        try:
            self.welcome = await self._greeting
        except defer.TimeoutError as error:
            raise Unreachable(message=f"{self._address.authority} does not greet.") from error
        self._liveness.agree(self.welcome.heartbeat_s)
        if self._connection is not None:
            every_s = min(_TEND_EVERY_S, self._liveness.look_every_s)
            self._tending.start(every_s, now=False)

    @property
    def is_open(self) -> bool:
        """Whether anything can be asked."""
        return self._connection is not None

    def need(self, protocol: int, what: str) -> None:
        """Make sure that the coordinator knows `what`, which came with version `protocol`.

        Raises:
            Refused: It does not.
        """
        if self.welcome.protocol < protocol:
            raise Refused(
                message=f"The coordinator (ffcluster {self.welcome.version or 'of old'}) does not "
                f"know {what}.",
                advice="Install the newer version of ffcluster on the coordinator too.",
            )

    # --- what the connection tells -------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """The connection is up; `open` goes on from here."""
        self._connection = connection
        now = self._reactor.seconds()
        self._liveness = Liveness(now, now)

    def received(self, payload: bytes) -> None:
        """Give a message to whoever waits for it."""
        self._liveness.heard(self._reactor.seconds())
        try:
            message = _decode(payload)
        except ProtocolError as error:
            # A newer coordinator may say things that this client does not know; but whoever waits
            # for just this answer must not wait for ever.
            reply = self._replies.pop(error.detail.get("reply_to", 0), None)
            if reply is not None:
                reply.errback(error)
            return
        if isinstance(message, messages.Welcome):
            if not self._greeting.called:
                self._greeting.callback(message)
        elif isinstance(message, messages.Failure):
            self._failed(message)
        elif not isinstance(message, messages.Heartbeat):
            self._reply(message)

    def closed(self, reason: str) -> None:
        """Everything that still waits fails."""
        self._connection = None
        if self._tending.running:
            self._tending.stop()
        if not self._gone.called:
            self._gone.callback(None)
        error = Unreachable(message=f"The coordinator closed the session: {reason}")
        waiting = [*self._replies.values(), self._greeting]
        self._replies.clear()
        for reply in waiting:
            if not reply.called:
                reply.errback(error)

    def _failed(self, message: messages.Failure) -> None:
        error = message.error.to_error()
        reply = self._replies.pop(message.reply_to, None)
        if reply is not None:
            reply.errback(error)
        elif not self._greeting.called:
            self._greeting.errback(error)

    def _reply(self, message: Any) -> None:
        reply = self._replies.pop(message.reply_to, None)
        if reply is not None:
            reply.callback(message)
        elif isinstance(message, messages.Job) and message.reply_to in self._watches:
            self._watches[message.reply_to](message)

    def _say(self, message: messages.Message) -> None:
        if self._connection is not None:
            self._liveness.said(self._reactor.seconds())
            self._connection.send(codec.encode(message))

    def _tend(self) -> None:
        """Say something when it is due, and give up a coordinator that was silent for too long."""
        now = self._reactor.seconds()
        if self._liveness.given_up(now) and self._connection is not None:
            self._connection.close(CLOSE_PROTOCOL, "nothing was heard for too long")
            self.closed("nothing was heard from it for too long")
        elif self._liveness.must_speak(now):
            self._say(messages.Heartbeat())

    # --- what a client may do ------------------------------------------------------------------

    async def ask(self, make: Callable[[int], Any], expected: type[Reply]) -> Reply:
        """Send the request that `make` makes of its number, and wait for the answer.

        Raises:
            Unreachable: The session is closed, or was while the answer was awaited.
            FfclusterError: What the coordinator answered, when it did not do it.
        """
        if self._connection is None:
            raise Unreachable(message=f"The session with {self._address.authority} is closed.")
        request = make(next(self._requests))
        reply: Deferred[Any] = Deferred()
        self._replies[request.request] = reply
        try:
            self._say(request)
            answer = await reply
        finally:
            self._replies.pop(request.request, None)
        if not isinstance(answer, expected):
            raise ProtocolError(message=f"Unexpected answer {answer.TYPE!r} to {request.TYPE!r}.")
        return answer

    async def watch(self, job_id: str, on_update: Callable[[JobView], None]) -> JobView:
        """Follow a job until it ends; `on_update` gets every view, the final one too.

        Raises:
            Unreachable: The session was closed before that.
            NotFound: There is no such job.
        """
        numbers: list[int] = []
        ended: Deferred[JobView] = Deferred()

        def update(message: messages.Job) -> None:
            on_update(message.job)
            if message.job.ended and not ended.called:
                ended.callback(message.job)

        def request(number: int) -> messages.WatchJob:
            numbers.append(number)
            self._watches[number] = update
            return messages.WatchJob(number, job_id)

        try:
            update(await self.ask(request, messages.Job))
            # From here on a closed session must wake this watch too.
            self._replies[-numbers[0]] = ended
            return await ended
        finally:
            for number in numbers:
                self._watches.pop(number, None)
                self._replies.pop(-number, None)

    async def close(self) -> None:
        """End the session."""
        if self._connection is not None:
            self._connection.close()
            await self._gone
