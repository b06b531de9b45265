"""Requests to addresses that somebody else named: unless allowed, only to such as all may reach.

The address that is connected to is the one that was looked at, so a name that changes what it
stands for in between leads nowhere. Redirects are not followed, and nothing of an answer is kept
but its status.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import attrs
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredSemaphore, ensureDeferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import ConnectError, ConnectionAborted, ConnectionClosed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.threads import deferToThread
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.client import (
    URI,
    Agent,
    FileBodyProducer,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from ffcluster import __version__
from ffcluster.errors import FfclusterError, InvalidOption, Refused, Unreachable

ANSWER_WITHIN_S = 15.0
_CONNECT_WITHIN_S = 10.0
_LARGEST_ANSWER = 64 * 1024
_LONGEST_URL = 2000
# Looking up a name takes a thread that others need too, for as long as its servers please.
_LOOKUPS = 3
# Each host's certificate is checked with all authorities at hand: a megabyte, and 10 ms to read.
_HOSTS_AT_HAND = 16
# Addresses of IPv6 that stand for one of IPv4, by their last 32 bits.
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))

Resolve = Callable[[str, int], Awaitable[list[str]]]


def is_public(text: str) -> bool:
    """Whether an address belongs to no private, local or special network."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and any(address in network for network in _TRANSLATED):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address.is_site_local or address.teredo is not None:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def check_url(url: str, *, private: bool) -> None:
    """Refuse a URL that nothing may be sent to.

    Args:
        url: What somebody asks for.
        private: Whether addresses of private networks, and HTTP without encryption, are allowed.

    Raises:
        InvalidOption: Saying why, without the URL: it may hold a secret.
    """
    if not 0 < len(url) <= _LONGEST_URL or not all("!" <= c <= "~" for c in url):
        raise _bad(f"up to {_LONGEST_URL} printable ASCII characters are allowed")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _bad("it is not understood") from None
    if parts.scheme not in (("https", "http") if private else ("https",)):
        raise _bad("it must begin with https://")
    if "@" in parts.netloc or not host or port == 0:
        raise _bad("a host is needed, and no user or password")
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        if not private and not is_public(host):
            raise _bad("addresses of private networks are not allowed")
        return
    try:
        host.encode("idna")
        if parts.scheme == "https":
            optionsForClientTLS(host)
    except ValueError:
        raise _bad("no host can have this name, or no certificate can be for it") from None


def _bad(why: str) -> InvalidOption:
    return InvalidOption(
        message=f"The URL cannot be used: {why}.",
        advice="The coordinator's --webhook-allow-private allows http:// and private networks.",
        option="url",
    )


async def resolved(host: str, port: int) -> list[str]:
    """Addresses that a name stands for now."""
    rows = await deferToThread(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    return [str(row[4][0]) for row in rows]


@attrs.define(eq=False)
class Outgoing:
    """Posts to URLs that somebody else named.

    Attributes:
        reactor: Connects.
        private: Whether addresses of private networks are allowed.
        resolve: Looks names up.
        answer_within_s: How long a request may take as a whole.
    """

    reactor: Any
    private: bool = False
    resolve: Resolve = resolved
    answer_within_s: float = ANSWER_WITHIN_S
    _secured: Callable[[str], Any] = attrs.field(
        factory=lambda: functools.lru_cache(_HOSTS_AT_HAND)(optionsForClientTLS)
    )
    _lookups: DeferredSemaphore = attrs.field(factory=lambda: DeferredSemaphore(_LOOKUPS))

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Post `body`; give the status of the answer.

        Raises:
            Refused: It leads into a private network.
            Unreachable: Nobody answered, or not in time, or with too much.
        """
        route = _Route(self)
        agent: Any = Agent.usingEndpointFactory(self.reactor, route)
        fields = Headers({name: [value] for name, value in headers.items()})
        fields.setRawHeaders("user-agent", [f"ffcluster/{__version__}"])
        try:
            asked = agent.request(
                b"POST", url.encode("ascii"), fields, FileBodyProducer(BytesIO(body))
            )
            asked.addTimeout(self.answer_within_s, self.reactor)
            response = await asked
        except FfclusterError:
            raise
        except Exception as error:
            raise Unreachable(message=self._reason(error)[:200]) from error
        finally:
            route.close()
        return int(response.code)

    def _reason(self, error: BaseException) -> str:
        """Why nothing was answered, for the person who looks after the receiver."""
        wrapped = (RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed)
        cause = error
        if isinstance(error, wrapped) and error.reasons:
            cause = error.reasons[0].value or error
        if isinstance(cause, (defer.TimeoutError, defer.CancelledError)):
            return f"no answer within {self.answer_within_s:g} s"
        answered = "what it answered is no HTTP" if isinstance(error, ResponseFailed) else ""
        return _in_words(cause) or answered or type(cause).__name__


def _in_words(error: BaseException) -> str:
    """What a person is told; empty where there are no words for it."""
    if isinstance(error, VerificationError):
        return "its certificate is for another name"
    if isinstance(error, SSL.Error):
        said = " ".join(str(entry[-1]) for entry in (error.args or ((),))[0])
        if "certificate verify failed" in said:
            return "its certificate has expired, or no authority that is trusted here made it"
        return f"no encrypted connection came about: {said}"
    if isinstance(error, ConnectionAborted):
        return f"its answer is longer than {_LARGEST_ANSWER // 1024} KiB"
    if isinstance(error, ConnectionClosed):
        return "it ended the connection without an answer"
    if isinstance(error, UnicodeError):
        return "its host has a name that cannot be looked up"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) if isinstance(error, ConnectError) else ""


@implementer(IAgentEndpointFactory)
class _Route:
    """The way of one request; knows its connection, to end it."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._opened: list[_BoundedAnswer] = []

    def endpointForURI(self, uri: URI) -> Any:
        host = uri.host.decode("ascii").strip("[]")
        plain = _CheckedEndpoint(self._outgoing, host, uri.port)
        endpoint: Any = plain
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._outgoing._secured(host), plain)
        return _BoundedEndpoint(endpoint, self._opened)

    def close(self) -> None:
        for connection in self._opened:
            if connection.transport is not None:
                connection.transport.abortConnection()


@implementer(IStreamClientEndpoint)
@attrs.frozen
class _CheckedEndpoint:
    """Connects to an address that a name stands for, if that is allowed."""

    _outgoing: Outgoing
    _host: str
    _port: int

    def connect(self, factory: Any) -> Deferred[Any]:
        return ensureDeferred(self._connect(factory))

    async def _connect(self, factory: Any) -> Any:
        outgoing = self._outgoing
        await outgoing._lookups.acquire()
        try:
            found = await outgoing.resolve(self._host, self._port)
        finally:
            outgoing._lookups.release()
        addresses = [address for address in found if outgoing.private or is_public(address)]
        if not addresses:
            raise Refused(message=f"{self._host} is in a private network, or has no address")
        for tried, address in enumerate(addresses[:3], 1):
            kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            endpoint = kind(outgoing.reactor, address, self._port, _CONNECT_WITHIN_S / 2)
            try:
                return await endpoint.connect(factory)
            except ConnectError:
                if tried == len(addresses[:3]):
                    raise
        raise AssertionError("there is an address")


class _BoundedAnswer(ProtocolWrapper):
    """A connection that is ended when it sends too much."""

    transport: Any
    _received = 0

    def dataReceived(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > _LARGEST_ANSWER:
            self.transport.abortConnection()
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]


class _BoundedFactory(WrappingFactory):
    protocol = _BoundedAnswer
    noisy = False


@implementer(IStreamClientEndpoint)
@attrs.frozen
class _BoundedEndpoint:
    """Bounds what comes over an endpoint's connections, and notes them."""

    _endpoint: Any
    _opened: list[_BoundedAnswer]

    async def _connect(self, factory: Any) -> Any:
        bounded = _BoundedFactory(factory)  # type: ignore[no-untyped-call]
        wrapper = await self._endpoint.connect(bounded)
        self._opened.append(wrapper)
        return wrapper.wrappedProtocol

    def connect(self, factory: Any) -> Deferred[Any]:
        return ensureDeferred(self._connect(factory))
