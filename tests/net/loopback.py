"""What tests of the network need: a shelf, a site on a real loopback port, a line that is cut."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
from twisted.internet import defer, endpoints, protocol, reactor, task
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource

from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.bulk_client import BulkClient
from ffcluster.net.bulk_server import Readable, bulk_tree
from ffcluster.net.door import Door, host_rule
from ffcluster.net.site import CoordinatorSite, GuardedFactory
from ffcluster.services.keeping.tokens import TokenBook
from ffcluster.store.files import IncomingFile
from tests.services.desks import MemoryWriter

TOKEN = "correct-horse-battery-staple"
BLOCK = 64 * 1024


def payload(size: int, seed: bytes = b"f") -> bytes:
    """Bytes that compress badly and repeat nowhere."""
    return hashlib.shake_128(seed).digest(size)


@attrs.define
class MemoryShelf:
    """Names to files, for one test."""

    readables: dict[str, Readable] = attrs.field(factory=dict)
    writables: dict[str, IncomingFile] = attrs.field(factory=dict)

    def readable(self, kind: str, name: str) -> Readable | None:
        return self.readables.get(name) if kind == "pieces" else None

    def writable(self, kind: str, name: str) -> IncomingFile | None:
        return self.writables.get(name) if kind == "results" else None


class LoopbackCase(TestCase):
    """A site that serves a `MemoryShelf`, and a client of it."""

    timeout = 20
    token: str | None = None
    max_connections = 100
    loopback_only = True
    allowed_hosts: tuple[str, ...] = ()

    async def setUp(self) -> None:
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.shelf = MemoryShelf()
        self.root = Resource()
        self.root.putChild(b"v1", bulk_tree(self.shelf, ("pieces", "results")))
        self.book = TokenBook(self.token, MemoryWriter(), lambda: 0.0)
        rule = host_rule(self.allowed_hosts, loopback_only=self.loopback_only)
        site = CoordinatorSite(reactor, self.root, door=Door(self.book, rule), block_limit=BLOCK)
        self.guard = GuardedFactory(reactor, site, self.max_connections)
        self.book.when_revoked(self.guard.end_for)
        self.port = await self.listen(self.guard)
        self.client = self.client_at(self.port)
        self.addCleanup(self.guard.close, 0.0)

    async def listen(self, factory: protocol.ServerFactory) -> int:
        listening = await endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
            factory
        )
        self.addCleanup(listening.stopListening)
        port: int = listening.getHost().port
        return port

    def client_at(self, port: int, token: str | None = None) -> BulkClient:
        address = CoordinatorAddress("127.0.0.1", port)
        client = BulkClient(reactor, address, token or self.token)
        self.addCleanup(lambda: defer.ensureDeferred(client.close()))
        return client

    def offer(self, data: bytes, name: str = "film") -> Readable:
        path = self.folder / name
        path.write_bytes(data)
        readable = Readable(path, len(data), hashlib.sha256(data).hexdigest())
        self.shelf.readables[name] = readable
        return readable

    def await_file(self, name: str = "film", limit: int = 2**30) -> IncomingFile:
        incoming = IncomingFile(self.folder / f"{name}.incoming", limit)
        self.shelf.writables[name] = incoming
        return incoming

    async def raw(self, request: bytes, *, port: int | None = None) -> bytes:
        """Send bytes on a connection of their own; everything that comes until it ends."""
        collector = await self.dial(port)
        collector.transport.write(request)
        answer: bytes = await collector.ended
        return answer

    async def dial(self, port: int | None = None) -> Collector:
        where = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port or self.port)
        collector = await endpoints.connectProtocol(where, Collector())
        self.addCleanup(collector.close)
        return collector


class Collector(protocol.Protocol):
    """Keeps all that arrives; `ended` fires with it when the connection is gone."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.ended: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.ended.callback(self.received)

    async def close(self) -> None:
        if not self.ended.called:
            self.transport.abortConnection()
            await self.ended


async def until(test: Any) -> None:
    """Let the reactor work until `test` is true; the case's time-out ends it otherwise."""
    while not test():
        await task.deferLater(reactor, 0.01, lambda: None)


class CuttingLine(protocol.Factory):
    """A TCP proxy that tears a connection after so many bytes in one direction.

    Args:
        port: Where to pass everything on.
        budgets: For each connection in turn, how many bytes may pass before it is torn, or None.
            Connections after the last one pass whole.
        upwards: Whether the bytes to the server are counted, or those from it.
    """

    noisy = False

    def __init__(self, port: int, budgets: list[int | None], *, upwards: bool) -> None:
        self.port = port
        self.budgets = budgets
        self.upwards = upwards
        self.cuts = 0
        self.connections = 0

    def buildProtocol(self, addr: Any) -> _Near:
        self.connections += 1
        return _Near(self, self.budgets.pop(0) if self.budgets else None)


class _Near(protocol.Protocol):
    transport: Any

    def __init__(self, line: CuttingLine, budget: int | None) -> None:
        self.line = line
        self.budget = budget
        self.far: Any = None
        self.early = b""

    def connectionMade(self) -> None:
        where = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", self.line.port)
        connecting = endpoints.connectProtocol(where, _Far(self))
        connecting.addCallbacks(self.opened, lambda _: self.transport.abortConnection())

    def opened(self, far: _Far) -> None:
        self.far = far
        if self.early:
            self.pass_on(self.early, far, upwards=True)

    def dataReceived(self, data: bytes) -> None:
        if self.far is None:
            self.early += data
        else:
            self.pass_on(data, self.far, upwards=True)

    def pass_on(self, data: bytes, to: Any, *, upwards: bool) -> None:
        if self.budget is not None and upwards is self.line.upwards:
            data = data[: self.budget]
            self.budget -= len(data)
        to.transport.write(data)
        if self.budget == 0:
            self.line.cuts += 1
            self.budget = None
            # Let what passed arrive before the line breaks.
            to.transport.loseConnection()
            self.transport.abortConnection()

    def connectionLost(self, reason: Any = None) -> None:
        if self.far is not None:
            self.far.transport.loseConnection()


class _Far(protocol.Protocol):
    transport: Any

    def __init__(self, near: _Near) -> None:
        self.near = near

    def dataReceived(self, data: bytes) -> None:
        self.near.pass_on(data, self.near, upwards=False)

    def connectionLost(self, reason: Any = None) -> None:
        self.near.transport.loseConnection()
