"""What all HTTP requests to a coordinator have in common: a body in memory, and how they break."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionLost, DNSLookupError
from twisted.web.client import RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

# The line or the other side failed; asking again may help.
BROKEN = (
    ConnectError,
    ConnectionLost,
    DNSLookupError,
    ResponseFailed,
    ResponseNeverReceived,
    RequestTransmissionFailed,
    OSError,
)


@implementer(IBodyProducer)
class MemoryBody:
    """A request's body that is in memory, written at once.

    Twisted's own needs a cooperator, and that one the global reactor, which a client in a thread
    does not run.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Hand all of it over."""
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing to pause: all was handed over."""

    def resumeProducing(self) -> None:
        """Nothing to resume."""

    def stopProducing(self) -> None:
        """Nothing to stop."""
