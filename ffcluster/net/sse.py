"""Server-sent events as they come off the line. Knows no event by name; opens no connection."""

from __future__ import annotations

import attrs

from ffcluster.errors import ProtocolError

# An event that is longer than this comes from no coordinator.
MAX_EVENT_BYTES = 16 * 2**20


@attrs.frozen
class ServerEvent:
    """One event.

    Attributes:
        kind: Its name; `message` when it has none.
        data: Its data, lines joined by line feeds.
        id: The number that names it, or "" when it has none.
    """

    kind: str
    data: str
    id: str = ""


class EventParser:
    """Makes events of bytes, as they arrive, by the rules of the HTML standard.

    Comments (the heartbeats), `retry` and fields that nobody knows are passed over.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._size_bytes = 0
        self._fields: dict[str, str] = {}
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Take bytes; answers the events that they complete.

        Raises:
            ProtocolError: An event is too long.
        """
        lines = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n")
        self._rest = lines.pop()
        self._size_bytes += len(data)
        events = [event for line in lines if (event := self._line(line)) is not None]
        if self._size_bytes > MAX_EVENT_BYTES:
            raise ProtocolError(message=f"An event is longer than {MAX_EVENT_BYTES} bytes.")
        return events

    def _line(self, line: bytes) -> ServerEvent | None:
        if not line:
            return self._complete()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name:
            self._fields[name] = value
        return None

    def _complete(self) -> ServerEvent | None:
        fields, data = self._fields, self._data
        self._fields, self._data, self._size_bytes = {}, [], len(self._rest)
        if not data:
            return None
        return ServerEvent(fields.get("event", "message"), "\n".join(data), fields.get("id", ""))
