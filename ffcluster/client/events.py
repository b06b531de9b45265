"""Events of a cluster, live through outages or from what is kept. Decides nothing about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.task import deferLater

from ffcluster.client.model import members, read
from ffcluster.client.stream import Stream
from ffcluster.errors import ProtocolError, Unreachable
from ffcluster.net.api_client import ApiClient
from ffcluster.net.outage import Outage
from ffcluster.net.sse import ServerEvent
from ffcluster.web.stream import EventPage, LoggedEvent

_PAGE = 500
_HELLO = "hello"


@attrs.define
class EventFeed:
    """Hands the events that the coordinator writes down to a stream, each once and in order.

    Attributes:
        reactor: Times the pauses of an outage.
        api: The coordinator.
        stream: Takes them.
        job_id: Only those of this job, or None.
        after: Number of the last event that is not wanted; None: only what happens from now on.
    """

    reactor: Any
    api: ApiClient
    stream: Stream[LoggedEvent]
    job_id: str | None
    after: int | None

    async def kept(self) -> None:
        """Hand out what the coordinator keeps."""
        after: str | int | None = self.after
        while True:
            query = {"job_id": self.job_id, "after": after, "limit": _PAGE}
            page = read(EventPage, await self.api.get("/events/log", query))
            for event in page.items:
                await self.stream.put(event)
            after = page.next_cursor
            if after is None:
                return

    async def live(self, outage: Outage) -> None:
        """Hand out what happens, for ever; what was missed in an outage too."""

        async def take(event: ServerEvent) -> None:
            outage.over()
            await self._take(event)

        while True:
            try:
                await self.api.events({"job_id": self.job_id, "after": self.after}, take)
            except Unreachable as error:
                delay_s = outage.failed(error, self.reactor.seconds())
                await deferLater(self.reactor, delay_s)

    async def _take(self, event: ServerEvent) -> None:
        if event.kind == _HELLO and self.after is None:
            self.after = _data(event).get("last_event", 0)
        # Only what was written down has a number; the rest are changes of what a page shows.
        elif event.id and event.kind != _HELLO:
            written = read(LoggedEvent, {"kind": event.kind, **_data(event)})
            self.after = written.number
            await self.stream.put(written)


def _data(event: ServerEvent) -> Mapping[str, Any]:
    try:
        data = json.loads(event.data)
    except ValueError as error:
        raise ProtocolError(message=f"The event {event.kind!r} is not understood.") from error
    return members(data)
