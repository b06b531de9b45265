"""The coordinator's one port: which requests may come in at all, and how long they may take.

What is not allowed, too long or malformed is answered before its body is read.
"""

from __future__ import annotations

import io
import re
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from ffcluster.net.access import Caller
from ffcluster.net.door import (
    HEADER_TOO_LONG,
    LENGTH_REQUIRED,
    URI_TOO_LONG,
    Door,
    Refusal,
    path_segments,
    too_long,
)

_LARGEST_OTHER_BODY = 64 * 1024
# A request's headers must be whole within this time, its body within the other one plus what the
# slowest useful line needs for it.
_HEADER_DEADLINE_S = 20.0
_BODY_DEADLINE_S = 60.0
_SLOWEST_BYTES_PER_S = 4096
_LINGER_S = 2.0
_REQUEST_LINE = re.compile(rb"[A-Z]+ ")


@attrs.define
class Traffic:
    """Bytes in the bodies of all requests and answers: pieces, results, films, pages."""

    received_bytes: int = 0
    sent_bytes: int = 0


class BoundedRequest(Request):
    """A request whose body is refused unread when it is not allowed or too long.

    Attributes:
        caller: Who asks; None where nobody has to say.
    """

    channel: Any
    caller: Caller | None = None
    _refused = False

    def __init__(self, channel: Any, queued: object = None) -> None:
        super().__init__(channel)  # type: ignore[no-untyped-call]
        channel.transport.expect(_HEADER_DEADLINE_S)

    def gotLength(self, length: int | None) -> None:
        """Decide by the headers alone whether the body may come."""
        site: CoordinatorSite = self.channel.site
        # What the request's first line said becomes the request's own only when its body is there.
        method, uri = self.channel._command.decode("ascii", "replace"), self.channel._path
        found = site.door.admit(method, uri, self.getHeader)
        refusal = found if isinstance(found, Refusal) else self._too_much(length)
        if refusal is None:
            self.caller = found if isinstance(found, Caller) else None
            self.channel.transport.serve(self.caller)
            self.channel.transport.expect(_BODY_DEADLINE_S + (length or 0) / _SLOWEST_BYTES_PER_S)
            self.content = io.BytesIO()  # bounded, so it need not go through a temporary file
            return
        self._refused = True
        as_problem = path_segments(uri.partition(b"?")[0])[0] == "api"
        self.channel.transport.refuse(
            refusal.answer(as_problem=as_problem, with_body=method != "HEAD")
        )

    def getHeader(self, key: Any) -> Any:
        """A header's value as text; every byte is some character, so nothing can fail here."""
        if isinstance(key, bytes):
            return super().getHeader(key)
        value = super().getHeader(key.encode("ascii"))
        return value.decode("latin-1") if value is not None else None

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a stretch of the body, unless the request was refused."""
        if not self._refused:
            self.channel.site.traffic.received_bytes += len(data)
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def write(self, data: bytes) -> None:
        """Send a stretch of the answer's body."""
        if self.method != b"HEAD" and self.channel is not None:
            self.channel.site.traffic.sent_bytes += len(data)
        super().write(data)  # type: ignore[no-untyped-call]

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer a whole request; what came along with a refused one is never looked at."""
        if not self._refused:
            self.channel.transport.expect(None)
            super().requestReceived(command, path, version)  # type: ignore[no-untyped-call]

    def finish(self) -> None:
        """The answer is whole; the caller has nothing more to do with this connection."""
        if self.channel is not None:
            self.channel.transport.serve(None)
        super().finish()  # type: ignore[no-untyped-call]

    def _too_much(self, length: int | None) -> Refusal | None:
        if self.getHeader("transfer-encoding"):
            return LENGTH_REQUIRED
        is_block = self.getHeader("content-range") is not None
        limit = self.channel.site.block_limit if is_block else _LARGEST_OTHER_BODY
        return too_long(limit) if (length or 0) > limit else None


class BoundedChannel(HTTPChannel):
    """HTTP/1.1 that says so when a line is too long, instead of just ending the connection."""

    transport: Any

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse what cannot be a request, or a header, any more."""
        refusal = URI_TOO_LONG if _REQUEST_LINE.match(line) else HEADER_TOO_LONG
        self.transport.refuse(refusal.answer(as_problem=b" /api/" in line[:32], with_body=True))


class CoordinatorSite(Site):
    """The coordinator's one port.

    Args:
        root: The resource tree.
        door: Lets requests in.
        block_limit: Longest body of a PUT in bytes.
        traffic: Counts what goes in and out; None: nobody wants to know.
    """

    # No factory that would also speak HTTP/2, which breaks streamed uploads.
    protocol: Any = BoundedChannel
    requestFactory: Any = BoundedRequest
    noisy = False

    def __init__(
        self,
        reactor: Any,
        root: Resource,
        *,
        door: Door,
        block_limit: int,
        traffic: Traffic | None = None,
    ) -> None:
        super().__init__(root, timeout=120, reactor=reactor)  # type: ignore[no-untyped-call]
        self.traffic = traffic or Traffic()
        self.door = door
        self.block_limit = block_limit

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only."""
        return [b"http/1.1"]

    def log(self, request: Any) -> None:
        """Write no access log: a line for each block of each segment would bury all else."""

    def getResourceFor(self, request: Any) -> IResource:
        """Find the resource, with the headers that every answer has."""
        request.setHeader("server", "ffcluster")
        request.setHeader("x-content-type-options", "nosniff")
        return super().getResourceFor(request)  # type: ignore[no-any-return, no-untyped-call]


class _GuardedConnection(ProtocolWrapper):
    """A connection on which every request must be whole within a fixed time.

    Every byte resets the idle time-out of the web server, so a slow sender would never meet it.
    """

    factory: GuardedFactory
    transport: Any
    _deadline: Any = None
    _refused = False
    _served: Caller | None = None

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.expect(_HEADER_DEADLINE_S)
        super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def expect(self, within_s: float | None) -> None:
        """End the connection unless this is called again in time; None: nothing is awaited."""
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
        if within_s is not None:
            self._deadline = self.factory.reactor.callLater(
                within_s, self.transport.abortConnection
            )

    def serve(self, caller: Caller | None) -> None:
        """Say whose request is carried out on this connection now; None: nobody's by name."""
        self._served = caller

    def end_for(self, token_id: str) -> None:
        """End the connection if a request with this token is carried out on it."""
        if self._served is not None and self._served.token_id == token_id:
            self.transport.abortConnection()

    def refuse(self, answer: bytes) -> None:
        """Answer and end the connection.

        What the peer still sends is read and dropped for a moment: if it were left unread, the
        system would reset the connection and the peer might never see the answer.
        """
        self._refused = True
        self.transport.unregisterProducer()
        self.transport.write(answer)
        half_close = getattr(self.transport, "loseWriteConnection", self.transport.loseConnection)
        half_close()
        self.expect(_LINGER_S)

    def dataReceived(self, data: bytes) -> None:
        if not self._refused:
            super().dataReceived(data)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self.expect(None)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


class GuardedFactory(WrappingFactory):
    """Limits the number of connections and the time that each may take to say what it wants."""

    protocol = _GuardedConnection
    noisy = False

    def __init__(self, reactor: Any, site: CoordinatorSite, max_connections: int) -> None:
        super().__init__(site)  # type: ignore[no-untyped-call]
        self.reactor = reactor
        self._max_connections = max_connections
        self._emptied: Deferred[None] | None = None

    def buildProtocol(self, addr: Any) -> Any:
        """Guard a new connection, or close it when there are too many."""
        if len(self.protocols) >= self._max_connections:
            return None
        return super().buildProtocol(addr)

    def unregisterProtocol(self, p: Any) -> None:
        """A connection is gone."""
        super().unregisterProtocol(p)  # type: ignore[no-untyped-call]
        if not self.protocols and self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    def end_for(self, token_id: str) -> None:
        """End every transfer and stream that was begun with a token, which is good no more."""
        for connection in list(self.protocols):
            connection.end_for(token_id)

    async def close(self, patience_s: float) -> None:
        """Wait until every connection has ended; end those that are left after `patience_s`."""
        if not self.protocols:
            return
        self._emptied = Deferred()
        late = self.reactor.callLater(patience_s, self._abort_all)
        try:
            await self._emptied
        finally:
            if late.active():
                late.cancel()

    def _abort_all(self) -> None:
        for connection in list(self.protocols):
            connection.transport.abortConnection()
