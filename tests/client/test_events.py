"""Status and events through the client: typed, in order, and without gaps over outages."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.defer import ensureDeferred

from ffcluster.client import DeferredClient, LoggedEvent
from ffcluster.errors import EventsGone, ProtocolError, Unreachable
from ffcluster.net import outage
from tests.net.apisite import ApiCase, event, in_json, problem, streamed, written
from tests.net.loopback import until


def plain(number: int) -> dict[str, Any]:
    return {"number": number, "at": "2026-01-02T03:04:05.678Z", "kind": "job.state",
            "job_id": "job1", "worker_id": None, "epoch": None, "data": {"to": "Processing"},
            "new_member": 1}  # fmt: skip


class Following(ApiCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.client = DeferredClient(reactor, f"ws://{self.address.authority}")
        self.addCleanup(lambda: defer.ensureDeferred(self.client.close()))

    async def test_status_is_typed_and_new_members_are_ignored(self) -> None:
        disk = {"used_bytes": 5, "limit_bytes": None, "free_bytes": None, "short_of": "", "new": 1}
        answer = {
            "version": "1.2", "started_at": "2026-01-02T03:04:05.678Z", "uptime_s": 1,
            "required_workers": 1, "jobs": {"Queued": 2}, "workers": {}, "fps": 3, "warnings": [],
            "token_required": False, "last_event": 9, "worker_command": "x", "disk": disk,
            "ffmpeg": "7", "new": {},
        }  # fmt: skip
        self.site.answers = {"GET /status": in_json(answer)}
        status = await self.client.status()
        assert (status.version, status.jobs, status.fps) == ("1.2", {"Queued": 2}, 3.0)
        assert (status.disk.used_bytes, status.disk.free_bytes) == (5, None)
        self.site.answers = {"GET /status": in_json(["nonsense"])}
        await self.assertFailure(ensureDeferred(self.client.status()), ProtocolError)

    async def test_kept_events_are_read_page_by_page_to_their_end(self) -> None:
        def page(request: Any) -> bytes:
            after = int(request.args[b"after"][0])
            left = [plain(n) for n in range(1, 6) if n > after]
            cursor = str(left[1]["number"]) if len(left) > 2 else None
            return in_json({"items": left[:2], "next_cursor": cursor, "last_event": 5})(request)

        self.site.answers = {"GET /events/log": page}
        found = [e async for e in self.client.events(job_id="job1", after=1, follow=False)]
        assert [e.number for e in found] == [2, 3, 4, 5]
        assert isinstance(found[0], LoggedEvent)
        assert [q["after"] for _, q in self.site.asked] == ["1", "3"]
        assert {q["job_id"] for _, q in self.site.asked} == {"job1"}

    async def test_live_events_go_on_after_an_outage_where_they_were(self) -> None:
        self.patch(outage, "_RETRY_BASE_S", 0.01)
        hello = event("hello", {"version": "1", "last_event": 6, "server_time": "now"})
        self.site.answers = {
            "GET /events": streamed(hello, event("job", {"id": "x"}), written(7), ends=True)
        }
        told: list[Unreachable | None] = []
        stream = self.client.events(on_outage=told.append, patience_s=60.0)
        assert (await stream.__anext__()).number == 7
        self.site.answers = {"GET /events": streamed(hello, written(8))}
        assert (await stream.__anext__()).number == 8
        await stream.close()
        assert [query for _, query in self.site.asked] == [{}, {"after": "7"}]
        assert isinstance(told[0], Unreachable)
        assert told[-1] is None

    async def test_event_that_happens_in_the_first_outage_is_not_missed(self) -> None:
        self.patch(outage, "_RETRY_BASE_S", 0.01)
        hello = event("hello", {"version": "1", "last_event": 6, "server_time": "now"})
        self.site.answers = {"GET /events": streamed(hello, ends=True)}
        stream = self.client.events(patience_s=60.0)
        waiting = ensureDeferred(stream.__anext__())

        def again(request: Any) -> Any:
            assert request.args[b"after"] == [b"6"]
            return streamed(hello, written(7))(request)

        await until(lambda: self.site.asked)
        self.site.answers = {"GET /events": again}
        assert (await waiting).number == 7
        await stream.close()

    async def test_events_that_are_gone_are_an_error(self) -> None:
        self.site.answers = {
            "GET /events": lambda r: problem(r, 409, "events_gone", "Those are gone.")
        }
        stream = self.client.events(after=1, patience_s=60.0)
        await self.assertFailure(ensureDeferred(stream.__anext__()), EventsGone)

    async def test_without_patience_an_outage_ends_the_stream(self) -> None:
        self.site.answers = {"GET /events": streamed(written(1), ends=True)}
        stream = self.client.events(after=0)
        assert (await stream.__anext__()).number == 1
        await self.assertFailure(ensureDeferred(stream.__anext__()), Unreachable)
