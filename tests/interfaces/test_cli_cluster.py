"""`status`, `events`, `profiles --on-server`, `webhooks`: for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.task import Clock

from ffcluster.client.stream import Stream
from ffcluster.core.profile import Profile
from ffcluster.errors import EventsGone, Forbidden, Unreachable
from ffcluster.net.access import Scope
from ffcluster.web.models.catalogue import NamedProfile
from ffcluster.web.models.status import Disk, Me, Status
from ffcluster.web.stream import LoggedEvent
from ffcluster.web.webhooks import CreatedWebhook, Delivery, Webhook
from tests.interfaces.fakes import FakeClient, invoke, objects

AT = "2026-01-02T03:04:05.678Z"
STATUS = Status(
    "0.1.0", AT, 3700.0, "7.1", 2, {"Queued": 1, "Completed": 0, "Processing": 2}, {"Idle": 3},
    123.4, ("The disk is slow.",), True, 9, Disk(2_000_000, 10**9, 5 * 10**9, ""),
    "ffcluster worker",
)  # fmt: skip
EVENTS = [
    LoggedEvent(7, AT, "job.state", "job1", None, None, {"to": "Processing"}),
    LoggedEvent(8, AT, "worker.joined", None, "w1", None, {"name": "at\x1b[2Jtic"}),
]
WEBHOOK = Webhook("h1", "https://example.org/h", ("job.state",), None, True, "", 1, AT)


@attrs.define
class Cluster(FakeClient):
    """A coordinator with events, profiles and webhooks."""

    shown: Status = STATUS
    happened: Sequence[LoggedEvent] = tuple(EVENTS)
    asked: dict[str, Any] = attrs.field(factory=dict)

    async def status(self) -> Status:
        self._say("status")
        return self.shown

    async def me(self) -> Me:
        return Me("wall", Scope.VIEWER, (Scope.VIEWER,), "t1")

    async def profiles(self) -> Sequence[NamedProfile]:
        self._say("profiles")
        return [NamedProfile("small", True, Profile(), "e")]

    def events(self, **asked: Any) -> Stream[LoggedEvent]:
        self.asked = asked

        async def produce(stream: Stream[LoggedEvent]) -> None:
            self._say("events")
            for outage in self.outages:
                asked["on_outage"](outage)
            for event in self.happened:
                await stream.put(event)

        return Stream(Clock(), produce)

    async def webhooks(self, *, job_id: str | None = None) -> Sequence[Webhook]:
        self._say("webhooks")
        return [WEBHOOK]

    async def add_webhook(
        self, url: str, *, kinds: Sequence[str] = (), secret: str | None = None
    ) -> CreatedWebhook:
        self._say(f"add {url} {','.join(kinds)}")
        return CreatedWebhook(WEBHOOK, "whsec_x")

    async def remove_webhook(self, webhook_id: str) -> None:
        self._say(f"remove {webhook_id}")

    async def deliveries(self, webhook_id: str) -> Sequence[Delivery]:
        self._say(f"deliveries {webhook_id}")
        return [Delivery("d", 7, "job.state", AT, "waiting", 2, 500, "no", AT, AT)]


def test_status_says_how_the_cluster_is_doing() -> None:
    text = invoke(Cluster(), "status").stdout
    for wanted in ("ffcluster 0.1.0, ffmpeg 7.1, up for 1:01:40", "1 Queued, 2 Processing",
                   "3 Idle; jobs start with 2 or more", "123.4 frames/s",
                   "2.0 MB of 1.0 GB used, 5.0 GB free",
                   "Warning: The disk is slow.",
                   "You: wall; may do what needs viewer"):  # fmt: skip
        assert wanted in text
    assert "Start a worker" not in text
    (line,) = objects(invoke(Cluster(), "status", "--json"))
    assert (line["type"], line["fps"], line["disk"]["short_of"]) == ("result", 123.4, "")
    assert line["me"]["scopes"] == ["viewer"]


def test_status_without_workers_says_how_to_start_one() -> None:
    shown = attrs.evolve(STATUS, workers={"Idle": 0}, disk=Disk(None, None, None, "full"))
    text = invoke(Cluster(shown=shown), "status").stdout
    assert "Start a worker: ffcluster worker" in text
    assert "Disk: not counted yet used; full" in text


def test_events_are_lines_or_objects_and_end_with_a_result() -> None:
    result = invoke(Cluster(), "events", "--job", "job1", "--after", "6")
    first, second = result.stdout.splitlines()
    assert first == f'7  {AT}  job.state  job job1  {{"to": "Processing"}}'
    assert "\x1b" not in second
    client = Cluster(outages=[Unreachable(message="gone"), None])
    *lines, last = objects(invoke(client, "events", "--follow", "--json"))
    assert [line["type"] for line in lines] == ["coordinator", "coordinator", "event", "event"]
    assert lines[2]["event"]["number"] == 7
    assert last == {"type": "result", "count": 2, "last": 8}
    assert client.asked["follow"] is True
    assert client.asked["after"] is None


def test_no_events_are_said_to_be_none() -> None:
    client = Cluster(happened=())
    assert "No events." in invoke(client, "events").stderr
    assert client.asked["follow"] is False


@pytest.mark.parametrize(
    ("error", "code"),
    [(EventsGone(message="gone"), 5), (Forbidden(message="no"), 5), (Unreachable(message="x"), 4)],
)
@pytest.mark.parametrize("words", [("events",), ("status",), ("webhooks", "list")], ids=" ".join)
def test_refusals_have_stable_exit_codes(
    words: tuple[str, ...], error: Forbidden, code: int
) -> None:
    result = invoke(Cluster(error=error), *words, "--json")
    assert result.exit_code == code
    assert objects(result)[-1]["code"] == error.code


def test_profiles_of_the_coordinator_are_listed() -> None:
    result = invoke(Cluster(), "profiles", "--on-server")
    assert "small  h264" in result.stdout
    profile, last = objects(invoke(Cluster(), "profiles", "--on-server", "--json"))
    assert (profile["name"], profile["is_default"]) == ("small", True)
    assert last["count"] == 1


@pytest.mark.parametrize(
    ("words", "said", "shown"),
    [
        (("add", "https://example.org/h", "--kind", "job.state"),
         "add https://example.org/h job.state", "whsec_x"),
        (("list",), "webhooks", "https://example.org/h"),
        (("remove", "h1"), "remove h1", "h1: removed"),
        (("deliveries", "h1"), "deliveries h1", "waiting"),
    ],
)  # fmt: skip
def test_webhooks_are_steered(words: tuple[str, ...], said: str, shown: str) -> None:
    client = Cluster()
    result = invoke(client, "webhooks", *words)
    assert result.exit_code == 0, result.output
    assert shown in result.stdout
    assert client.said[-2:] == [said, "close"]
    assert objects(invoke(Cluster(), "webhooks", *words, "--json"))[-1]["type"] == "result"


def test_token_may_be_in_the_environment_and_a_file_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFCLUSTER_TOKEN", " a-token-in-the-environment ")
    client = FakeClient()
    invoke(client, "jobs")
    assert client.said[0].endswith(" a-token-in-the-environment")
    file = tmp_path / "token"
    file.write_text("a-token-in-a-file-of-its-own\n")
    file.chmod(0o600)
    client = FakeClient()
    invoke(client, "jobs", "--token-file", file)
    assert client.said[0].endswith(" a-token-in-a-file-of-its-own")
