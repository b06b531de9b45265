"""Log lines: members, levels, what is no text, and a line for each event that is written down."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.web.client import _HTTP11ClientFactory

from ffcluster.core.durable import AttemptEntry, Changes, EventEntry
from ffcluster.core.kinds import KINDS
from ffcluster.core.model import Capability, Epoch, JobId, WorkerId
from ffcluster.core.profile import Codec
from ffcluster.core.segment import AttemptEnd
from ffcluster.core.timeline import FrameRange
from ffcluster.services import logs
from ffcluster.services.logs import LINES, UNTOLD, EventLog, log_observer

JOB, WORKER = JobId("5f3a"), WorkerId("w-1")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Sink:
    """A log of its own, and what came out of it."""

    def __init__(self, form: str = "json", level: str = "info") -> None:
        self.file = io.StringIO()
        self.publisher = LogPublisher(log_observer(form, level, self.file))

    def logger(self, namespace: str = "ffcluster.services.x") -> Logger:
        return Logger(namespace=namespace, observer=self.publisher)

    @property
    def text(self) -> str:
        return self.file.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.split("\n")[:-1]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Sink:
    """What the events' own log says, of every level."""
    sink = Sink(level="debug")
    monkeypatch.setattr(logs, "log", sink.logger("ffcluster.services.logs"))
    return sink


def tell(*events: EventEntry, attempts: tuple[AttemptEntry, ...] = ()) -> None:
    EventLog({WORKER: "attic"}.get).stored([Changes(events=events, attempts=attempts)])


def test_line_has_time_level_message_namespace_and_what_it_is_about() -> None:
    sink = Sink()
    sink.logger().warn("job {job}: {what}", job=JOB, what="hm", segment=48, attempt=7, worker="a")
    (line,) = sink.lines
    assert TIME.fullmatch(line.pop("time"))
    assert line == {
        "level": "warn",
        "message": "job 5f3a: hm",
        "namespace": "ffcluster.services.x",
        "job": "5f3a",
        "segment": 48,
        "attempt": 7,
        "worker": "a",
    }


def test_other_fields_of_an_event_are_only_in_its_message() -> None:
    sink = Sink()
    sink.logger().info("asked by {name}", name="wall", token="secret")
    assert "secret" not in sink.text
    assert sink.lines[0]["message"] == "asked by wall"


def test_message_of_many_lines_and_odd_names_stays_one_line() -> None:
    sink = Sink()
    sink.logger().info("{path} \u2028 {job}", path="a\nb \udcff", job="\udcfe")
    (line,) = sink.lines
    assert line["message"].startswith("a\nb \\udcff")
    assert line["job"] == "\\udcfe"
    assert sink.text.count("\n") == 1


def test_failure_brings_its_traceback() -> None:
    sink = Sink()
    try:
        raise ValueError("broken film")
    except ValueError:
        sink.logger().failure("cannot go on", job=JOB)
    (line,) = sink.lines
    assert line["level"] == "critical"
    assert line["message"] == "cannot go on"
    assert "ValueError: broken film" in line["traceback"]


def test_event_that_cannot_be_formatted_is_a_line_all_the_same() -> None:
    sink = Sink()
    sink.logger().info("{nothing.there}")
    assert "nothing" in sink.lines[0]["message"]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warn", "error"]),
        ("info", ["info", "warn", "error"]),
        ("warn", ["warn", "error"]),
        ("error", ["error"]),
    ],
)
def test_level_leaves_out_what_is_less_important(form: str, level: str, shown: list[str]) -> None:
    sink = Sink(form, level)
    for name in ("debug", "info", "warn", "error"):
        sink.logger().emit(LogLevel.levelWithName(name), f"a {name} thing")
    assert [name for name in ("debug", "info", "warn", "error") if name in sink.text] == shown


def test_libraries_say_nothing_below_info() -> None:
    """Their debugging shows headers, and with them tokens."""
    sink = Sink(level="debug")
    sink.logger("autobahn.websocket").debug("Authorization: {token}", token="secret")
    sink.logger("autobahn.websocket").info("connected")
    assert [line["message"] for line in sink.lines] == ["connected"]


@pytest.mark.parametrize("level", ["debug", "info"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_connections_of_the_http_client_do_not_bury_the_rest(form: str, level: str) -> None:
    sink = Sink(form, level)
    factory = _HTTP11ClientFactory(None, "somewhere")
    theirs = sink.logger(f"{type(factory).__module__}.{type(factory).__qualname__}")
    theirs.info("Starting factory {factory!r}", factory=factory)
    assert sink.text == ""
    theirs.warn("cannot go on")
    assert "cannot go on" in sink.text


def test_text_is_what_twisted_writes() -> None:
    sink = Sink("text")
    sink.logger().info("job {job}: submitted", job=JOB)
    assert sink.text.endswith("[ffcluster.services.x#info] job 5f3a: submitted\n")


def test_every_kind_of_event_has_a_line_or_is_told_elsewhere() -> None:
    assert set(LINES) | UNTOLD == set(KINDS)
    assert not set(LINES) & UNTOLD


@pytest.mark.parametrize("kind", sorted(LINES))
def test_line_of_every_kind_can_be_written(kind: str, told: Sink) -> None:
    data = {name: f"<{name}>" for name in KINDS[kind].data}
    tell(EventEntry(1, 5.0, kind, JOB, WORKER, Epoch(7), tuple(data.items())))
    (line,) = told.lines
    assert "Unable to format" not in line["message"]
    assert "None" not in line["message"]
    assert line["attempt"] == 7
    assert line["job"] == JOB
    assert line["worker"] in ("attic", "<worker>", "<name>")


def test_failed_attempt_is_told_with_all_that_it_is_about(told: Sink) -> None:
    data = (("first_frame", 48), ("worker", "attic"), ("code", "encode"), ("reason", "broke"))
    tell(EventEntry(1, 5.0, "attempt.failed", JOB, WORKER, Epoch(7), data))
    (line,) = told.lines
    assert line["message"] == "job 5f3a: segment 48, attempt 7 failed on attic: broke"
    assert (line["level"], line["segment"]) == ("warn", 48)


@pytest.mark.parametrize(("state", "lines"), [("Processing", 1), ("Queued", 0), ("Completed", 0)])
def test_state_of_a_job_is_told_unless_more_is_told_elsewhere(
    state: str, lines: int, told: Sink
) -> None:
    tell(EventEntry(1, 5.0, "job.state", JOB, data=(("state", state), ("reason", ""))))
    assert len(told.lines) == lines


def test_committed_segment_is_told_for_debugging(told: Sink) -> None:
    capability = Capability("libx264", Codec.H264, "software")
    entry = AttemptEntry(
        Epoch(7), JOB, FrameRange(48, 96), WORKER, "attic", capability, "ended", 1.0,
        end=AttemptEnd.COMMITTED,
    )  # fmt: skip
    tell(attempts=(entry,))
    (line,) = told.lines
    assert line["level"] == "debug"
    assert (line["segment"], line["worker"], line["attempt"]) == (48, "attic", 7)
