"""Server-sent events: any cut of the bytes gives the same events, and none is endless."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.errors import ProtocolError
from ffcluster.net import sse
from ffcluster.net.sse import EventParser, ServerEvent

STREAM = (
    "retry: 2000\n\nevent: hello\ndata: {}\n\n: heartbeat\n\r\nid: 7\nevent: job.state\r\n"
    "data: one\ndata:  two é\nfuture: x\n\ndata:bare\n\nevent: cut\ndata: not whole\n"
).encode()
EVENTS = [
    ServerEvent("hello", "{}"),
    ServerEvent("job.state", "one\n two é", "7"),
    ServerEvent("message", "bare"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_events_do_not_depend_on_how_they_arrive(cuts: list[int]) -> None:
    parser, found = EventParser(), []
    places = [0, *sorted(cuts), len(STREAM)]
    for start, stop in itertools.pairwise(places):
        found += parser.feed(STREAM[start:stop])
    assert found == EVENTS


@given(st.binary(max_size=400))
def test_any_bytes_are_taken(data: bytes) -> None:
    EventParser().feed(data)


def test_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    parser = EventParser()
    parser.feed(b"data: " + b"x" * 60)
    with pytest.raises(ProtocolError):
        parser.feed(b"x" * 60)
    with pytest.raises(ProtocolError):
        EventParser().feed(b"data: x\n" * 20)
