"""The routes of live events over real connections: numbers, refusals, and readers that do not."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from ffcluster.core.durable import Changes, EventEntry
from ffcluster.core.model import JobId
from ffcluster.errors import EventsGone, FfclusterError, InvalidOption
from ffcluster.net.access import Caller, Scope
from ffcluster.services.viewing.viewers import Viewers
from ffcluster.web.routing import TAKEN, Call, Route
from ffcluster.web.stream import (
    MOST_UNSENT_BYTES,
    EventPage,
    EventsQuery,
    LogQuery,
    event_frame,
    stream_routes,
)
from tests.integration.media_case import asynchronous
from tests.services.viewing.test_viewers import State, Store, Window, event

_TEXT = "x" * 2000


class Served(Resource):
    """Answers each request by a route, as it comes."""

    isLeaf = True

    def __init__(self, routes: tuple[Route, ...]) -> None:
        super().__init__()
        self._stream, self._log = routes
        self.refused: list[FfclusterError] = []

    def render_GET(self, request: Any) -> int:
        after = request.args.get(b"after")
        query = EventsQuery(after=int(after[0]) if after else None)
        call = Call(Caller("", Scope.VIEWER), {}, query, None, None, "", request)
        ensureDeferred(self._stream.serve(call)).addCallbacks(
            self._taken, self._refuse, callbackArgs=(), errbackArgs=(request,)
        )
        return NOT_DONE_YET

    def _taken(self, answer: object) -> None:
        assert answer is TAKEN

    def _refuse(self, failure: Any, request: Any) -> None:
        self.refused.append(failure.value)
        request.setResponseCode(409)
        request.finish()

    def log(self, **query: Any) -> Deferred[Any]:
        call: Any = Call(Caller("", Scope.VIEWER), {}, LogQuery(**query), None, None, "", None)  # type: ignore[arg-type]
        return ensureDeferred(self._log.serve(call))


class StreamTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.store = Store([event(number) for number in range(1, 11)])
        state: Any = State()
        self.hub = Viewers(
            reactor, state, Window(), self.store, seconds=lambda: 1.0, last_event=10
        )  # fmt: skip
        self.served = Served(stream_routes(self.hub))
        self.port: Any = reactor.listenTCP(0, Site(self.served), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(self.port.stopListening)

    def connect(self, path: str = "/events", header: str = "") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        self.addCleanup(connection.close)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n".encode())
        return connection

    async def read_until(self, connection: socket.socket, end: bytes) -> bytes:
        def read() -> bytes:
            data = b""
            while end not in data:
                more = connection.recv(65536)
                if not more:
                    raise AssertionError(data[-1000:])
                data += more
            return data

        found: bytes = await deferToThread(read)
        return found

    async def until(self, happened: Callable[[], object]) -> None:
        while not happened():
            await deferLater(reactor, 0.005, lambda: None)  # type: ignore[arg-type]

    def stored(self, number: int, reason: str = "") -> None:
        entry = event(number, JobId("a"), reason=reason)
        self.store.kept.append(entry)
        self.hub.stored([Changes(events=(entry,))])

    @asynchronous
    async def test_last_event_id_goes_before_the_query(self) -> None:
        connection = self.connect("/events?after=2", "Last-Event-ID: 8\r\n")
        data = await self.read_until(connection, b"id: 10\n")
        assert b"content-type: text/event-stream" in data.lower()
        assert b"cache-control: no-store" in data.lower()
        assert b"id: 9\n" in data
        assert b"id: 8\n" not in data
        self.stored(11)
        assert b"event: job.state\n" in await self.read_until(connection, b"id: 11\n")
        connection.close()
        await self.until(lambda: not len(self.hub))

    @asynchronous
    async def test_numbers_that_are_none_or_gone_are_refused(self) -> None:
        for path, header in (
            ("/events", "Last-Event-ID: nine\r\n"),
            ("/events", "Last-Event-ID: " + "9" * 30 + "\r\n"),
            ("/events?after=-1", ""),
            ("/events?after=99", ""),
        ):
            data = await self.read_until(self.connect(path, header), b"\r\n\r\n")
            assert data.startswith(b"HTTP/1.1 409")
        kinds = [type(error) for error in self.served.refused]
        assert kinds == [InvalidOption, InvalidOption, InvalidOption, EventsGone]
        assert len(self.hub) == 0

    @asynchronous
    async def test_log_is_read_in_pages(self) -> None:
        page = (await self.served.log(after=3, limit=2)).body
        assert isinstance(page, EventPage)
        assert [item.number for item in page.items] == [4, 5]
        assert (page.next_cursor, page.last_event) == ("5", 10)
        self.failureResultOf(self.served.log(after=-1), InvalidOption)
        for limit in (0, 501):
            with pytest.raises(ValueError, match="limit"):
                LogQuery(limit=limit)

    @asynchronous
    async def test_reader_that_sleeps_costs_a_bounded_queue_and_is_told_to_look_anew(self) -> None:
        asleep = self.connect()
        await self.read_until(asleep, b"event: hello")
        awake = self.connect()
        await self.read_until(awake, b"event: hello")
        slow, quick = self.hub._viewers
        awake_read = ensureDeferred(self.read_until(awake, b"event: worker.left"))
        last = 10
        while not slow.skipped:
            for _ in range(20):
                last += 1
                self.stored(last, _TEXT)
                assert slow._queued_bytes <= MOST_UNSENT_BYTES
            await self.until(lambda: quick.writable)
        self.hub.stored([Changes(events=(EventEntry(last + 1, 1.0, "worker.left"),))])
        data = await awake_read
        # Whoever read got everything, however much the other one left.
        numbers = [int(line[4:]) for line in data.splitlines() if line.startswith(b"id: ")]
        assert numbers == list(range(11, last + 2))
        data = await self.read_until(asleep, b'"last_event":%d}' % (last + 1))
        self.stored(last + 2)
        data += await self.read_until(asleep, b"id: %d\n" % (last + 2))
        # The system's own buffers may grow and let it catch up once more in between; but after
        # all that, it is told once.
        assert data.count(b'"last_event":%d}' % (last + 1)) == 1
        assert data.count(b"id: ") < last


def test_event_shows_nothing_that_json_cannot_hold() -> None:
    entry = EventEntry(1, 0.0, "worker.joined", data=(("name", "\udc80"),))
    assert b'"name":"?"' in event_frame(entry)
