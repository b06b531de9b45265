"""The thin layer over Autobahn: bytes in, bytes out. Nothing behind it sees frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
from autobahn.exception import Disconnected
from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from autobahn.websocket.types import ConnectionDeny
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionLost, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.internet.ssl import optionsForClientTLS

from ffcluster import __version__
from ffcluster.errors import FfclusterError, Forbidden, Refused, Unauthorized, Unreachable
from ffcluster.net.access import Caller
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.messages import MAX_MESSAGE_BYTES, MAX_REPLY_BYTES, SUBPROTOCOL
from ffcluster.net.patience import bounded
from ffcluster.net.tokens import authorization

# WebSocket close codes of our own (4000-4999 are free for applications).
CLOSE_NORMAL = 1000
CLOSE_PROTOCOL = 4400
CLOSE_FORBIDDEN = 4403

_OPTIONS: dict[str, Any] = {
    "failByDrop": False,  # a clean close with its reason instead of a torn connection
    "tcpNoDelay": True,
    # Liveness is told by the protocol's own heartbeats, which follow the reactor's clock.
    "autoPingInterval": 0,
    "openHandshakeTimeout": 10,
    "closeHandshakeTimeout": 3,
}
# A coordinator that answered a close drops the connection at once; one that does not is dropped.
_DROP_AFTER_S = 1.0


class Peer(Protocol):
    """What stands behind a connection."""

    def opened(self, connection: Connection) -> None:
        """The handshake is done; `connection` may be used."""

    def received(self, payload: bytes) -> None:
        """One whole text message arrived."""

    def closed(self, reason: str) -> None:
        """The connection is gone. Called once, and only after `opened`."""


class Connection:
    """One open WebSocket, as a peer may use it."""

    def __init__(self, protocol: WebSocketClientProtocol | WebSocketServerProtocol) -> None:
        self._protocol = protocol

    @property
    def address(self) -> str:
        """`host:port` of the other side."""
        transport: Any = self._protocol.transport
        peer = transport.getPeer()
        return f"{peer.host}:{peer.port}"

    def send(self, payload: bytes) -> None:
        """Send one text message; after the end of the connection it is dropped in silence."""
        try:
            self._protocol.sendMessage(payload, isBinary=False)  # type: ignore[no-untyped-call]
        except Disconnected:
            return

    def close(self, code: int = CLOSE_NORMAL, reason: str = "") -> None:
        """End the connection, saying why in at most 100 characters."""
        self._protocol.sendClose(code, reason[:100])


class _ServerProtocol(WebSocketServerProtocol):
    """One connection on the coordinator."""

    factory: CoordinatorSocketFactory
    _caller: Caller | None = None
    _peer: Peer | None = None

    def onConnect(self, request: Any) -> str:
        # Whether a page of another site asks was looked at by the site, as of every request.
        self._caller = self.factory.admit(request.headers.get("authorization"))
        if self._caller is None:
            raise ConnectionDeny(401, "a valid token is needed")
        if SUBPROTOCOL not in request.protocols:
            raise ConnectionDeny(400, f"the subprotocol {SUBPROTOCOL} is needed")
        return SUBPROTOCOL

    def onOpen(self) -> None:
        # From here on the session ends the connection of a caller whose token is revoked.
        transport: Any = self.transport
        transport.serve(None)
        assert self._caller is not None  # noqa: S101 - nobody else is connected
        self._peer = self.factory.make_peer(self._caller)
        self._peer.opened(Connection(self))

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if isBinary:
            self.sendClose(CLOSE_PROTOCOL, "binary messages are not allowed")
        elif self._peer is not None:
            self._peer.received(payload)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.closed(reason or f"close code {code}")


class CoordinatorSocketFactory(WebSocketServerFactory):
    """Accepts control connections on the coordinator.

    Args:
        admit: Who shows an Authorization header; None: nobody who may come in.
        make_peer: Makes what stands behind a new connection of a caller.
        max_connections: Further ones are refused.
    """

    protocol: Any = _ServerProtocol

    def __init__(
        self,
        reactor: Any,
        admit: Callable[[str | None], Caller | None],
        make_peer: Callable[[Caller], Peer],
        max_connections: int,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            server=f"ffcluster/{__version__}", protocols=[SUBPROTOCOL], reactor=reactor
        )
        self.admit = admit
        self.make_peer = make_peer
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            maxFramePayloadSize=MAX_MESSAGE_BYTES,
            maxMessagePayloadSize=MAX_MESSAGE_BYTES,
            maxConnections=max_connections,
            **_OPTIONS,
        )

    def as_resource(self) -> WebSocketResource:
        """The web resource that takes connections over."""
        return WebSocketResource(self)


@attrs.frozen
class _Timer:
    """Times what Autobahn times, by the reactor that a connection lives in."""

    reactor: Any

    def call_later(self, delay_s: float, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call `call` after so many seconds; answers what can be cancelled until then."""
        return self.reactor.callLater(delay_s, call, *arguments)


class _ClientProtocol(WebSocketClientProtocol):
    """One connection on a worker or client."""

    factory: _ClientFactory
    serverConnectionDropTimeoutCall: Any

    def onCloseFrame(self, code: int, reasonRaw: bytes) -> None:
        """Give the coordinator a moment to drop what was closed, then drop it ourselves."""
        super().onCloseFrame(code, reasonRaw)
        if self.state == self.STATE_CLOSING and self.serverConnectionDropTimeoutCall is None:
            self.serverConnectionDropTimeoutCall = self.factory.reactor.callLater(
                _DROP_AFTER_S, self.onServerConnectionDropTimeout
            )

    def onOpen(self) -> None:
        peer = self.factory.peer
        self.factory.was_open = True
        connection = Connection(self)
        peer.opened(connection)
        self.factory.settle(connection)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if not isBinary:
            self.factory.peer.received(payload)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        if self.factory.was_open:
            self.factory.peer.closed(reason or f"close code {code}")
            return
        status = (getattr(self, "http_status_line", None) or "").split(" ", 2)
        self.factory.settle(_refusal(self.factory.address, status, reason))


class _ClientFactory(WebSocketClientFactory):
    protocol: Any = _ClientProtocol
    # What a client's own program logs is no place for the coming and going of connections.
    noisy = False

    def __init__(
        self, reactor: Any, address: CoordinatorAddress, token: str | None, peer: Peer
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            address.websocket_url,
            useragent=f"ffcluster/{__version__}",
            protocols=[SUBPROTOCOL],
            headers=authorization(token),
            reactor=reactor,
        )
        self.address = address
        self.peer = peer
        self.was_open = False
        self.opened: Deferred[Connection] = Deferred(lambda _: self._abandon())
        self._live: Any = None
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            maxFramePayloadSize=MAX_REPLY_BYTES,
            maxMessagePayloadSize=MAX_REPLY_BYTES,
            serverConnectionDropTimeout=0,
            **_OPTIONS,
        )
        # Autobahn would time handshakes by the global reactor, which may not be this one.
        self._batched_timer = _Timer(reactor)

    def buildProtocol(self, addr: Any) -> Any:
        self._live = super().buildProtocol(addr)
        return self._live

    def _abandon(self) -> None:
        """Nobody waits for the handshake any more."""
        if self._live is not None:
            self._live.dropConnection(abort=True)

    def settle(self, outcome: Connection | FfclusterError) -> None:
        """Give the outcome of the handshake to whoever dialled, once."""
        if self.opened.called:
            return
        if isinstance(outcome, Connection):
            self.opened.callback(outcome)
        else:
            self.opened.errback(outcome)


def _refusal(address: CoordinatorAddress, status: list[str], reason: str) -> FfclusterError:
    """Turn the HTTP status of a failed handshake into an error."""
    code = status[1] if len(status) > 1 else ""
    said = status[2] if len(status) > 2 else reason
    if code == "401":
        return Unauthorized(
            message=f"The coordinator at {address.authority} wants a valid token.",
            advice="Give the coordinator's token with --token-file FILE or FFCLUSTER_TOKEN_FILE.",
        )
    if code == "403":
        return Forbidden(
            message=f"The coordinator at {address.authority} does not let this token or page in."
        )
    if code:
        return Refused(message=f"The coordinator at {address.authority} refused: {code} {said}")
    return Unreachable(message=f"No WebSocket at {address.authority}: {reason}")


async def dial(
    reactor: IReactorTime,
    address: CoordinatorAddress,
    peer: Peer,
    *,
    token: str | None = None,
    timeout_s: float = 10.0,
) -> Connection:
    """Open a control connection; `peer` hears of everything that happens on it.

    Raises:
        Unreachable: Nothing answers there in time, or it is no coordinator.
        Unauthorized: The token is missing or wrong.
        Refused: The coordinator answered and said no.
    """
    factory = _ClientFactory(reactor, address, token, peer)
    endpoint: Any = HostnameEndpoint(reactor, address.host, address.port, timeout=timeout_s)
    if address.secure:
        endpoint = wrapClientTLS(optionsForClientTLS(address.host), endpoint)
    try:
        await bounded(reactor, endpoint.connect(factory), timeout_s)
    except (ConnectError, ConnectionLost, ConnectTimeout, DNSLookupError, OSError) as error:
        raise Unreachable(
            message=f"No coordinator answers at {address.authority}: {error}",
            advice="Check the address, that the coordinator runs, and that no firewall is between.",
        ) from None
    return await factory.opened
