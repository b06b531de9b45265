"""Viewers: stored events without gap or repetition, deltas once for all, and bounded queues."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from ffcluster.core.durable import AttemptEntry, Changes, EventEntry, SegmentEntry
from ffcluster.core.job import Job
from ffcluster.core.model import Capability, Epoch, JobId, JobSpec, WorkerId
from ffcluster.core.profile import Codec, Container, Profile
from ffcluster.core.segment import Segment
from ffcluster.core.timeline import FrameRange
from ffcluster.errors import EventsGone, TooMany
from ffcluster.services.viewing import viewers as hub_module
from ffcluster.services.viewing.viewers import MOST_SEGMENTS, MOST_VIEWERS, Viewers
from ffcluster.web.stream import MOST_UNSENT_BYTES, About, Viewer

A, B = JobId("a"), JobId("b")
SPEC = JobSpec(Profile(), Container.MKV, "film.mkv", "film.mkv")


def event(number: int, job_id: JobId | None = None, **data: Any) -> EventEntry:
    return EventEntry(number, 1.5, "job.state", job_id, data=tuple(data.items()))


@attrs.define
class Store:
    """Events that are kept; a read is answered when the test says so."""

    kept: list[EventEntry] = attrs.field(factory=list)
    asked: list[Callable[[], None]] = attrs.field(factory=list)
    at_once: bool = True

    def events(self, after: int, limit: int, job_id: JobId | None = None) -> tuple[EventEntry, ...]:
        found = [e for e in self.kept if e.number > after and job_id in (None, e.job_id)]
        return tuple(found[:limit])

    def read(self, question: Callable[[Any], Any]) -> Any:
        answer: Deferred[Any] = Deferred()
        found = question(self)
        self.asked.append(lambda: answer.callback(found))
        if self.at_once:
            self.answer()
        return answer

    def answer(self) -> None:
        self.asked.pop(0)()


@attrs.define
class Window:
    """What is shown, as the test sets it."""

    jobs: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    workers: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    rows: dict[str, list[dict[str, Any]]] = attrs.field(factory=dict)
    state: dict[str, Any] = attrs.field(factory=dict)
    looks: int = 0

    def job(self, job_id: str) -> dict[str, Any] | None:
        self.looks += 1
        return dict(self.jobs[job_id]) if job_id in self.jobs else None

    def worker(self, worker_id: str) -> dict[str, Any] | None:
        return dict(self.workers[worker_id]) if worker_id in self.workers else None

    def shares(self, job_id: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self.rows.get(job_id, [])]

    def status(self) -> dict[str, Any]:
        return dict(self.state)


@attrs.define
class State:
    jobs: dict[JobId, Job] = attrs.field(factory=dict)
    workers: dict[WorkerId, object] = attrs.field(factory=dict)


class Reader:
    """A browser's end of a connection: what it was sent, as events."""

    def __init__(
        self, hub: Viewers, after: int | None, job_id: JobId | None, about: About | None
    ) -> None:
        reader = self

        class Events(Resource):
            isLeaf = True

            def render_GET(self, request: Any) -> int:
                reader.viewer = Viewer(request, job_id, about)
                hub.attach(reader.viewer, after)
                return NOT_DONE_YET

        self.viewer: Viewer
        self.transport = StringTransport()
        self.channel = Site(Events(), reactor=Clock()).buildProtocol(
            IPv4Address("TCP", "127.0.0.1", 1)
        )
        self.channel.makeConnection(self.transport)
        self.channel.dataReceived(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def pause(self) -> None:
        self.transport.producer.pauseProducing()

    def resume(self) -> None:
        self.transport.producer.resumeProducing()

    def lose(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))

    def text(self) -> str:
        """All that arrived since the last time."""
        data = self.transport.value()
        self.transport.clear()
        rest = data.split(b"\r\n\r\n", 1)[1] if data.startswith(b"HTTP") else data
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return body.decode()

    def events(self) -> list[tuple[str, Any]]:
        """The events among it."""
        found = []
        for block in self.text().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "event" in fields:
                data = json.loads(fields["data"])
                assert fields.get("id", "-") == str(data.get("number", "-"))
                found.append((fields["event"], data))
        return found

    def numbers(self) -> list[int]:
        """Numbers of the stored events among it."""
        return [data["number"] for _, data in self.events() if "number" in data]


@attrs.define
class Bench:
    clock: Clock = attrs.field(factory=Clock)
    store: Store = attrs.field(factory=Store)
    window: Window = attrs.field(factory=Window)
    state: State = attrs.field(factory=State)
    hub: Viewers = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        state: Any = self.state
        self.hub = Viewers(
            self.clock, state, self.window, self.store,
            seconds=self.clock.seconds,
            last_event=self.store.kept[-1].number if self.store.kept else 0,
        )  # fmt: skip

    def stored(self, *events: EventEntry, **changes: Any) -> None:
        self.store.kept += events
        self.hub.stored([Changes(events=events, **changes)])

    def count(self, first: int, last: int, job_id: JobId | None = None) -> None:
        for number in range(first, last + 1):
            self.stored(event(number, job_id))

    def viewer(
        self, after: int | None = None, job_id: JobId | None = None, about: About | None = None
    ) -> Reader:
        return Reader(self.hub, after, job_id, about)

    def show(self) -> None:
        self.hub.show()
        self.clock.advance(0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- stored events -----------------------------------------------------------------------------


def test_stream_begins_with_hello_and_shows_events_as_they_are_stored(bench: Bench) -> None:
    bench.count(1, 3)
    reader = bench.viewer()
    text = reader.text()
    assert text.startswith("retry: 2000\n\nevent: hello\n")
    bench.stored(event(4, A, state="Failed", source_name="bad \udc80"))
    assert reader.events() == [
        (
            "job.state",
            {
                "number": 4, "at": "1970-01-01T00:00:01.500Z", "kind": "job.state", "job_id": "a",
                "worker_id": None, "epoch": None,
                "data": {"state": "Failed", "source_name": "bad ?"},
            },
        )
    ]  # fmt: skip


def test_events_after_a_number_come_from_the_store_and_then_live_ones(bench: Bench) -> None:
    bench.store.kept = [event(number) for number in range(1, 251)]
    bench.restart()
    bench.store.at_once = False
    reader = bench.viewer(after=7)
    reached = 0
    while bench.store.asked:
        # Each page is answered only after something new was stored.
        bench.count(251 + reached, 251 + reached)
        reached += 1
        bench.store.answer()
    bench.count(251 + reached, 260 + reached)
    assert reader.numbers() == list(range(8, 261 + reached))


def test_what_was_stored_lately_is_shown_again_from_memory(bench: Bench) -> None:
    bench.count(1, 30)
    bench.store.at_once = False
    reader = bench.viewer(after=20)
    assert reader.numbers() == list(range(21, 31))


def test_viewer_of_one_job_is_shown_its_events_only(bench: Bench) -> None:
    bench.store.kept = [event(number, (A, B)[number % 2]) for number in range(1, 601)]
    bench.restart()
    reader = bench.viewer(after=0, job_id=A)
    bench.count(601, 602, B)
    bench.count(603, 603, A)
    assert reader.numbers() == [*range(2, 601, 2), 603]


def test_numbers_past_what_is_kept_are_refused(bench: Bench) -> None:
    bench.store.kept = [event(number) for number in range(50, 60)]
    bench.restart()
    for after, kept in ((48, False), (49, True), (59, True), (60, False), (0, False)):
        asked = ensureDeferred(bench.hub.reachable(after))
        failed: list[Any] = []
        asked.addErrback(failed.append)
        assert not failed if kept else failed[0].check(EventsGone), after
    page = ensureDeferred(bench.hub.page(None, 4, None)).result
    assert [item.number for item in page.items] == [50, 51, 52, 53]
    assert (page.next_cursor, page.last_event) == ("53", 59)
    assert ensureDeferred(bench.hub.page(53, 500, None)).result.next_cursor is None


def test_stream_ends_when_events_are_forgotten_under_it(bench: Bench) -> None:
    bench.store.kept = [event(number) for number in range(1, 400)]
    bench.restart()
    bench.store.at_once = False
    reader = bench.viewer(after=0)
    bench.store.kept = bench.store.kept[200:]
    while bench.store.asked:
        bench.store.answer()
    assert reader.viewer.closed
    assert reader.numbers() == list(range(1, 101))
    assert len(bench.hub) == 0


# --- slow viewers ------------------------------------------------------------------------------


def test_slow_viewer_loses_its_queue_and_is_told_once_to_look_anew(bench: Bench) -> None:
    slow, quick = bench.viewer(), bench.viewer()
    slow.text(), quick.text()
    slow.pause()
    text = "x" * 1000
    many = 2 * MOST_UNSENT_BYTES // 1000
    for number in range(1, many + 1):
        bench.stored(event(number, reason=text))
        assert slow.viewer._queued_bytes <= MOST_UNSENT_BYTES
    assert slow.text() == ""
    slow.resume()
    bench.count(many + 1, many + 1)
    names = [name for name, _ in slow.events()]
    assert names == ["reset", "job.state"]
    assert quick.numbers() == list(range(1, many + 2))


def test_a_short_pause_loses_nothing(bench: Bench) -> None:
    reader = bench.viewer()
    reader.pause()
    bench.count(1, 50)
    reader.resume()
    bench.count(51, 52)
    assert reader.numbers() == list(range(1, 53))


def test_replay_waits_for_a_viewer_that_does_not_read(bench: Bench) -> None:
    bench.store.kept = [event(number) for number in range(1, 601)]
    bench.restart()
    bench.store.at_once = False
    reader = bench.viewer(after=0)
    reader.pause()
    bench.store.answer()
    assert not bench.store.asked
    bench.window.jobs["a"] = {"id": "a", "state": "Queued"}
    bench.hub.job_changed(A)
    bench.show()
    reader.resume()
    while bench.store.asked:
        bench.store.answer()
    events = reader.events()
    assert [data["number"] for name, data in events if name == "job.state"] == [*range(1, 601)]
    assert [name for name, _ in events if name != "job.state"] == ["hello", "reset"]


def test_viewer_that_takes_nothing_for_long_is_let_go(bench: Bench) -> None:
    reader = bench.viewer()
    reader.text()
    bench.clock.advance(16)
    bench.show()
    assert reader.text().startswith(":\n\n")
    reader.pause()
    for _ in range(8):
        bench.clock.advance(16)
        bench.show()
    assert reader.transport.disconnecting or reader.transport.aborting


def test_there_is_an_end_to_viewers_and_who_left_leaves_nothing(bench: Bench) -> None:
    readers = [bench.viewer() for _ in range(MOST_VIEWERS)]
    with pytest.raises(TooMany):
        bench.hub.attach(Viewer(_request(), None), None)
    bench.window.jobs["a"] = {"id": "a"}
    bench.hub.job_changed(A)
    bench.show()
    readers[0].lose()
    bench.viewer()
    assert len(bench.hub) == MOST_VIEWERS
    bench.hub.close()
    assert len(bench.hub) == 0
    assert not bench.hub._known
    bench.hub.job_changed(A)
    bench.hub.worker_changed(WorkerId("w"))
    assert not bench.hub._touched


def test_viewer_that_left_in_the_middle_of_a_replay_is_forgotten(bench: Bench) -> None:
    bench.store.kept = [event(number) for number in range(1, 601)]
    bench.restart()
    bench.store.at_once = False
    reader = bench.viewer(after=0)
    reader.pause()
    bench.store.answer()
    viewer = weakref.ref(reader.viewer)
    reader.lose()
    del reader
    gc.collect()
    assert viewer() is None
    assert (len(bench.hub), bench.store.asked) == (0, [])


def _request() -> Any:
    class Request:
        def notifyFinish(self) -> Deferred[None]:
            return Deferred()

    return Request()


# --- what changed ------------------------------------------------------------------------------


def test_only_what_changed_is_told_and_worked_out_once_for_all(bench: Bench) -> None:
    bench.window.jobs["a"] = {"id": "a", "state": "Queued", "fps": 1.0}
    bench.state.jobs[A] = Job(A, SPEC, 0.0)
    readers = [bench.viewer(), bench.viewer()]
    for reader in readers:
        reader.text()
    looks = bench.window.looks
    bench.window.jobs["a"]["fps"] = 2.0
    bench.hub.job_changed(A)
    bench.hub.job_changed(A)
    bench.show()
    assert bench.window.looks == looks + 1
    for reader in readers:
        assert reader.events() == [("job", {"id": "a", "changes": {"fps": 2.0}})]
    bench.hub.job_changed(A)
    bench.show()
    assert readers[0].events() == []


def test_new_and_removed_jobs_and_workers_are_told(bench: Bench) -> None:
    reader = bench.viewer()
    reader.text()
    bench.window.workers["w"] = {"id": "w", "state": "Idle"}
    bench.hub.worker_changed(WorkerId("w"))
    bench.show()
    assert reader.events() == [("worker", {"id": "w", "changes": {"id": "w", "state": "Idle"}})]
    del bench.window.workers["w"]
    bench.stored(EventEntry(1, 1.0, "worker.removed", worker_id=WorkerId("w")))
    bench.stored(EventEntry(2, 1.0, "job.removed", A))
    bench.show()
    assert reader.events()[2:] == [
        ("worker", {"id": "w", "removed": True}),
        ("job", {"id": "a", "removed": True}),
    ]


def test_what_changes_before_its_first_look_was_learned_is_told_whole(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "_SLICE_S", -1.0)
    bench.window.jobs["a"] = {"id": "a", "fps": 1.0}
    bench.state.jobs = {B: Job(B, SPEC, 0.0), A: Job(A, SPEC, 0.0)}
    reader = bench.viewer()
    bench.hub.job_changed(A)
    bench.window.jobs["a"]["fps"] = 2.0
    for _ in range(9):
        bench.clock.advance(0)
    bench.show()
    for _ in range(9):
        bench.clock.advance(0)
    assert ("job", {"id": "a", "changes": {"id": "a", "fps": 2.0}}) in reader.events()


def test_status_is_told_when_more_than_its_clock_changed(bench: Bench) -> None:
    bench.window.state = {"uptime_s": 1.0, "fps": 0.0}
    reader = bench.viewer()
    reader.text()
    bench.window.state = {"uptime_s": 3.0, "fps": 0.0}
    bench.clock.advance(3)
    bench.show()
    assert reader.events() == []
    bench.window.state = {"uptime_s": 6.0, "fps": 9.0}
    bench.clock.advance(3)
    bench.show()
    assert reader.events() == [("status", {"changes": {"uptime_s": 6.0, "fps": 9.0}})]


def test_viewers_of_jobs_and_of_workers_are_told_of_those_only(bench: Bench) -> None:
    bench.window.workers["w"] = {"id": "w", "state": "Idle"}
    bench.window.jobs["a"] = {"id": "a", "state": "Queued"}
    of_jobs = bench.viewer(about=About.JOBS)
    of_jobs.text()
    bench.hub.worker_changed(WorkerId("w"))
    bench.hub.job_changed(A)
    bench.show()
    assert [kind for kind, _ in of_jobs.events()] == ["job"]
    of_workers, of_both = bench.viewer(about=About.WORKERS), bench.viewer()
    for reader in (of_workers, of_both):
        reader.text()
    bench.window.jobs["a"]["state"] = "Processing"
    bench.hub.worker_changed(WorkerId("w"))
    bench.hub.job_changed(A)
    bench.show()
    assert [kind for kind, _ in of_workers.events()] == ["worker"]
    assert [kind for kind, _ in of_both.events()] == ["worker", "job"]
    assert [kind for kind, _ in of_jobs.events()] == ["job"]


def test_workers_that_changed_while_nobody_looked_at_them_are_told_right(bench: Bench) -> None:
    bench.window.workers["w"] = {"id": "w", "state": "Idle"}
    bench.state.workers[WorkerId("w")] = None
    first, of_jobs = bench.viewer(), bench.viewer(about=About.JOBS)
    first.lose()
    bench.window.workers["w"]["state"] = "Processing"
    bench.hub.worker_changed(WorkerId("w"))
    bench.show()
    later = bench.viewer()
    later.text()
    bench.window.workers["w"]["state"] = "Idle"
    bench.hub.worker_changed(WorkerId("w"))
    bench.show()
    assert later.events() == [("worker", {"id": "w", "changes": {"state": "Idle"}})]
    assert of_jobs.events()[1:] == []


def test_what_changes_all_the_time_is_told_now_and_then_and_with_a_new_state(
    bench: Bench,
) -> None:
    bench.window.workers["w"] = {"id": "w", "state": "Processing", "fps": 9.0, "failures": 0}
    bench.state.workers[WorkerId("w")] = None
    reader = bench.viewer()
    reader.text()

    def told(after_s: float, **members: Any) -> list[Any]:
        bench.clock.advance(after_s)
        bench.window.workers["w"].update(members)
        bench.hub.worker_changed(WorkerId("w"))
        bench.show()
        return [data["changes"] for kind, data in reader.events() if kind == "worker"]

    assert told(1, fps=8.0) == []
    assert told(1, fps=7.0, failures=1) == [{"failures": 1}]
    assert told(1, fps=6.0) == [{"fps": 6.0}]
    assert told(1, fps=5.0) == []
    assert told(0, fps=0.0, state="Idle") == [{"fps": 0.0, "state": "Idle"}]


def test_shares_are_told_to_those_who_watch_their_job_as_far_as_they_changed(
    bench: Bench,
) -> None:
    bench.window.jobs["a"] = {"id": "a", "state": "Processing"}
    bench.window.rows["a"] = [{"worker_id": w, "fps": 1.0, "frames": 0} for w in ("v", "w")]
    bench.state.jobs[A] = Job(A, SPEC, 0.0)
    close, all_jobs = bench.viewer(job_id=A), bench.viewer()
    close.text()

    def told(after_s: float) -> list[Any]:
        bench.clock.advance(after_s)
        bench.show()
        return [data for kind, data in close.events() if kind == "shares"]

    bench.hub.job_changed(A)
    whole = [{"worker_id": w, "fps": 1.0, "frames": 0} for w in ("v", "w")]
    assert told(0) == [{"job_id": "a", "shares": whole, "gone": []}]
    bench.window.rows["a"][0]["fps"] = 2.0
    bench.hub.job_changed(A)
    assert told(1) == []
    # It is not forgotten although nothing changes any more.
    part = [{"worker_id": "v", "fps": 2.0}]
    assert told(2) == [{"job_id": "a", "shares": part, "gone": []}]
    del bench.window.rows["a"][1]
    bench.hub.job_changed(A)
    assert told(2) == [{"job_id": "a", "shares": [], "gone": ["w"]}]
    assert "shares" not in [kind for kind, _ in all_jobs.events()]


def _job_with_segments(bench: Bench, count: int) -> tuple[SegmentEntry, ...]:
    job = bench.state.jobs[A] = Job(A, SPEC, 0.0)
    ranges = [FrameRange(10 * n, 10 * n + 10) for n in range(count)]
    job.segments = {frames.first: Segment(frames) for frames in ranges}
    return tuple(SegmentEntry(A, frames, "pending") for frames in ranges)


def test_segments_are_told_to_those_who_watch_their_job(bench: Bench) -> None:
    entries = _job_with_segments(bench, 2)
    close, other, all_jobs = bench.viewer(job_id=A), bench.viewer(job_id=B), bench.viewer()
    for reader in (close, other, all_jobs):
        reader.text()
    attempt = AttemptEntry(
        Epoch(1), A, FrameRange(0, 10), WorkerId("w"), "w", Capability("libx264", Codec.H264),
        "running", 1.0,
    )  # fmt: skip
    bench.stored(segments=entries[1:], attempts=(attempt,))
    bench.show()
    rows = [[10, 10, "pending", "", 0, None], [0, 10, "pending", "", 0, None]]
    assert close.events() == [("segments", {"job_id": "a", "segments": rows})]
    assert other.events() == all_jobs.events() == []


def test_too_many_segments_at_once_are_to_be_read_anew(bench: Bench) -> None:
    entries = _job_with_segments(bench, MOST_SEGMENTS + 1)
    reader = bench.viewer(job_id=A)
    reader.text()
    bench.stored(segments=entries)
    bench.show()
    assert [name for name, _ in reader.events()] == ["reset"]
    bench.stored(removed_segments=((A, 0),))
    bench.show()
    assert [name for name, _ in reader.events()] == ["reset"]
