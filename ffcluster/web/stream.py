"""Live events over HTTP: the routes, and one viewer's connection. Decides nothing of what is shown.

A viewer that reads too slowly costs a bounded queue and nothing else: what does not fit is dropped,
and the viewer is told once that it has to look anew.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import attrs
import orjson
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.server import Request
from zope.interface import implementer

from ffcluster.converting import in_words
from ffcluster.core.durable import EventEntry
from ffcluster.core.model import JobId
from ffcluster.errors import Code, InvalidOption
from ffcluster.net.access import Scope
from ffcluster.web.paging import LIMIT, NAME
from ffcluster.web.routing import TAKEN, Answer, Call, Route, Taken

MOST_UNSENT_BYTES = 256 * 1024
HEARTBEAT = b":\n\n"
_USUAL_EVENTS = 100
_BEGINNING = b"retry: 2000\n\n"


class About(enum.StrEnum):
    """Of what a viewer is told how it changes, besides the cluster's status."""

    JOBS = "jobs"
    WORKERS = "workers"


@attrs.frozen
class EventsQuery:
    """Which events a viewer is shown.

    Attributes:
        job_id: Of this job only, and its segments and shares with it.
        about: Changes of jobs or of workers only; of both by default.
        after: Begin after the event with this number; `Last-Event-ID` goes before it.
    """

    job_id: str | None = attrs.field(default=None, validator=NAME)
    about: About | None = None
    after: int | None = None


@attrs.frozen
class LogQuery:
    """Which page of the events that are kept.

    Attributes:
        job_id: Of this job only.
        after: Events with a number above this; without it, from the oldest that is kept.
        limit: How many at most, from 1 to 500.
    """

    job_id: str | None = attrs.field(default=None, validator=NAME)
    after: int | None = None
    limit: int = attrs.field(default=_USUAL_EVENTS, validator=LIMIT)


@attrs.frozen
class LoggedEvent:
    """An event as it is shown; `data` depends on its kind.

    Attributes:
        number: From one counter, without gaps.
        at: When.
        kind: What, for example `job.state`.
        job_id: The job that it is about, or None.
        worker_id: The worker that it is about, or None.
        epoch: The attempt that it is about, or None.
        data: What is to be known about it.
    """

    number: int
    at: str
    kind: str
    job_id: str | None
    worker_id: str | None
    epoch: int | None
    data: dict[str, str | int | float | bool | None]


@attrs.frozen
class EventPage:
    """A page of the events that are kept, oldest first.

    Attributes:
        items: The events.
        next_cursor: What to give as `after` for the next page, or None at the end.
        last_event: Number of the latest event of all.
    """

    items: tuple[LoggedEvent, ...]
    next_cursor: str | None
    last_event: int


def timestamp(at_s: float) -> str:
    """Unix time as RFC 3339 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(at_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown_event(entry: EventEntry) -> LoggedEvent:
    """An event as it is shown."""
    return LoggedEvent(
        number=entry.number,
        at=timestamp(entry.at),
        kind=entry.kind,
        job_id=entry.job_id,
        worker_id=entry.worker_id,
        epoch=entry.epoch,
        data=in_words(dict(entry.data)),
    )


def frame(kind: str, data: Any, number: int | None = None) -> bytes:
    """One event of a stream; only what is stored has a number."""
    try:
        text = orjson.dumps(data)
    except TypeError:
        # Names of files may hold bytes that are no text.
        text = orjson.dumps(in_words(data))
    named = b"" if number is None else b"id: %d\n" % number
    return b"%sevent: %s\ndata: %s\n\n" % (named, kind.encode(), text)


def event_frame(entry: EventEntry) -> bytes:
    """A stored event in a stream."""
    return frame(entry.kind, attrs.asdict(shown_event(entry)), entry.number)


@implementer(IPushProducer)
class Viewer:
    """One connection that is shown events.

    Args:
        request: Answered with the stream.
        job_id: The only job that is shown, or None.
        about: The only changes that are shown where `job_id` is None, or None.

    Attributes:
        closed: Whether nothing can be shown any more.
        shown: Number of the last stored event that it was shown, or need not be shown.
        live: Whether it gets new events at once; not while it is shown earlier ones.
        skipped: Whether something did not fit, so that it must be told to look anew.
        missed: Whether something changed that it was not told while it was shown earlier events.
        paused_at: Since when it takes nothing more, or None; the hub sets the time.
        drained: Called when everything was taken; the hub sets it.
    """

    def __init__(self, request: Request, job_id: JobId | None, about: About | None = None) -> None:
        self.job_id = job_id
        self.about = about
        self.closed = False
        self.shown = 0
        self.live = False
        self.skipped = False
        self.missed = False
        self.paused_at: float | None = None
        self.drained: Callable[[], None] = lambda: None
        self._gone: Callable[[], None] = lambda: None
        self._request: Any = request
        self._paused = False
        self._begun = False
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        request.notifyFinish().addBoth(lambda _: self._ended())

    @property
    def writable(self) -> bool:
        """Whether what is sent now goes out at once."""
        return not self._paused and not self._queue and not self.closed

    def begin(self, gone: Callable[[], None]) -> None:
        """Answer with the beginning of the stream; `gone` is called once when it has ended."""
        request = self._request
        if self.closed:
            gone()
            return
        self._gone = gone
        self._begun = True
        request.setHeader(b"content-type", b"text/event-stream")
        request.setHeader(b"cache-control", b"no-store")
        # Proxies must not collect what is to be seen at once.
        request.setHeader(b"x-accel-buffering", b"no")
        request.registerProducer(self, True)
        self.send(_BEGINNING)

    def send(self, data: bytes) -> None:
        """Show one or more whole frames; they are dropped with all that waits when it is too much.

        `skipped` says so then; nothing more is taken until the viewer has read what was sent.
        """
        if self.closed or self.skipped:
            return
        if self.writable:
            self._request.write(data)
            return
        self._queue.append(data)
        self._queued_bytes += len(data)
        if self._queued_bytes > MOST_UNSENT_BYTES:
            self._drop()
            self.skipped = True

    def close(self) -> None:
        """End the stream."""
        if self.closed:
            return
        request = self._request
        self._ended()
        if self._begun:
            request.unregisterProducer()
            request.finish()

    def abort(self) -> None:
        """End the connection, whatever of it is still unsent."""
        if not self.closed:
            self._request.channel.forceAbortClient()

    def pauseProducing(self) -> None:
        """The connection takes nothing more for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The connection takes more."""
        self._paused = False
        while self._queue and not self._paused and not self.closed:
            data = self._queue.popleft()
            self._queued_bytes -= len(data)
            self._request.write(data)
        if self.writable:
            self.paused_at = None
            self.drained()

    def stopProducing(self) -> None:
        """The connection is gone; `notifyFinish` tells too."""

    def _drop(self) -> None:
        self._queue.clear()
        self._queued_bytes = 0

    def _ended(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._drop()
        gone, self._gone = self._gone, lambda: None
        gone()
        self.drained()
        self.drained = lambda: None


class Hub(Protocol):
    """Shows events to all viewers; see `ffcluster.services.viewing.viewers`."""

    async def reachable(self, after: int) -> None:
        """Make sure that all events after this number are kept.

        Raises:
            EventsGone: They are not.
        """

    def attach(self, viewer: Viewer, after: int | None) -> None:
        """Show events to a viewer from now on, and before that those after a number.

        Raises:
            TooMany: There are as many viewers as there may be.
        """

    async def page(self, after: int | None, limit: int, job_id: JobId | None) -> EventPage:
        """A page of the events that are kept.

        Raises:
            EventsGone: Those after this number are not.
        """


def stream_routes(hub: Hub) -> tuple[Route, ...]:
    """The routes of live events."""

    async def stream(call: Call) -> Answer | Taken:
        query: EventsQuery = call.query
        viewer = Viewer(call.request, _job_id(query.job_id), query.about)
        after = _last_event(call.request.getHeader("last-event-id"), query.after)
        if after is not None:
            await hub.reachable(after)
        hub.attach(viewer, after)
        return TAKEN

    async def log(call: Call) -> Answer | Taken:
        query: LogQuery = call.query
        after = None if query.after is None else _checked(query.after)
        return Answer(await hub.page(after, query.limit, _job_id(query.job_id)))

    return (
        Route(
            method="GET",
            path="/events",
            name="watch_events",
            summary="Watch what happens as server-sent events.",
            tag="events",
            scope=Scope.VIEWER,
            serve=stream,
            query=EventsQuery,
            media_type="text/event-stream",
            problems=(Code.EVENTS_GONE, Code.TOO_MANY),
        ),
        Route(
            method="GET",
            path="/events/log",
            name="list_events",
            summary="Read the events that are kept, page by page, oldest first.",
            tag="events",
            scope=Scope.VIEWER,
            serve=log,
            query=LogQuery,
            response=EventPage,
            problems=(Code.EVENTS_GONE,),
        ),
    )


def _job_id(text: str | None) -> JobId | None:
    return None if text is None else JobId(text)


def _last_event(header: str | None, after: int | None) -> int | None:
    """Where to begin: a browser that connects again says it in a header."""
    if not header:
        return None if after is None else _checked(after)
    if not header.isascii() or not header.isdigit() or len(header) > 18:
        raise InvalidOption(
            message="Last-Event-ID is the number of an event.", option="last-event-id"
        )
    return int(header)


def _checked(after: int) -> int:
    if not 0 <= after < 2**62:
        raise InvalidOption(message="`after` is the number of an event.", option="after")
    return after


def drained(viewer: Viewer) -> Deferred[None]:
    """Fires when the viewer takes more, or is gone."""
    done: Deferred[None] = Deferred()
    if viewer.writable or viewer.closed:
        done.callback(None)
        return done
    before = viewer.drained

    def tell() -> None:
        viewer.drained = before
        done.callback(None)
        before()

    viewer.drained = tell
    return done
