"""Sessions on the coordinator: what peers may say, and what becomes of it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from ffcluster.core import events
from ffcluster.core.load import GpuLoad, WorkerLoad
from ffcluster.core.model import (
    Capability,
    Diagnosis,
    JobRequest,
    Measurement,
    PluginSummary,
    SegmentProof,
    Trouble,
)
from ffcluster.core.profile import Codec
from ffcluster.errors import Code, Conflict, ErrorReport, NotFound
from ffcluster.net import messages
from ffcluster.net.access import Caller, Scope
from ffcluster.net.messages import PROTOCOL_VERSIONS
from ffcluster.net.session import BEATS_MISSED, HEARTBEAT_S, SILENCE_LIMIT_S
from ffcluster.net.websocket import CLOSE_PROTOCOL
from ffcluster.services.coordinator.gateway import Session
from tests.services.desks import FakeConnection, FakeDesk, say, view

PROOF = SegmentProof(10, 10)
RESULT = messages.Result(7, 100, "0" * 64, PROOF)
REPORT = ErrorReport(Code.ENCODE_FAILED, "it broke", retryable=True)


@pytest.fixture
def desk() -> FakeDesk:
    return FakeDesk()


ADMIN = Caller("coordinator", Scope.ADMIN)


def opened(desk: FakeDesk, caller: Caller = ADMIN) -> tuple[Session, FakeConnection]:
    session, connection = Session(desk, caller), FakeConnection()
    session.opened(connection)  # type: ignore[arg-type]
    return session, connection


def hello(role: str = "worker", **changes: Any) -> messages.Hello:
    fields: dict[str, Any] = {"worker_id": "attic", "name": "attic"} | changes
    return messages.Hello(PROTOCOL_VERSIONS, role, **fields)


def worker(desk: FakeDesk, worker_id: str = "attic") -> tuple[Session, FakeConnection]:
    session, connection = opened(desk)
    say(session, hello(worker_id=worker_id))
    connection.sent.clear()
    desk.events.clear()
    return session, connection


def client(desk: FakeDesk) -> tuple[Session, FakeConnection]:
    session, connection = opened(desk)
    say(session, hello("client", worker_id=""))
    connection.sent.clear()
    return session, connection


# --- greeting ------------------------------------------------------------------------------------


def test_worker_is_welcomed_and_joins(desk: FakeDesk) -> None:
    session, connection = opened(desk)
    capability = Capability("libx264", Codec.H264, slots=5000)
    say(session, hello(capabilities=(capability,), cpus=8))
    (welcome,) = connection.sent
    assert (welcome.protocol, welcome.heartbeat_s, welcome.block_bytes) == (2, 5.0, 4096)
    (joined,) = desk.events
    assert isinstance(joined, events.WorkerJoined)
    assert joined.facts.cpus == 8
    assert joined.facts.capabilities[0].slots == 1024
    assert desk.opened == [("attic", session)]


def test_client_is_welcomed_and_joins_nothing(desk: FakeDesk) -> None:
    session, connection = opened(desk)
    say(session, hello("client"))
    assert len(connection.sent) == 1
    assert desk.events == []
    assert desk.opened == []
    assert session.worker_id is None


def test_nameless_worker_is_called_by_its_address_and_gets_an_id(desk: FakeDesk) -> None:
    session, _ = opened(desk)
    say(session, hello(name="", worker_id=""))
    (joined,) = desk.events
    assert isinstance(joined, events.WorkerJoined)
    assert joined.facts.name == FakeConnection.address
    assert joined.worker_id


def test_names_cannot_move_the_cursor_of_a_terminal(desk: FakeDesk) -> None:
    session, _ = opened(desk)
    say(session, hello(name="\x1b[2Jattic\r\n", ffmpeg="7\x07"))
    (joined,) = desk.events
    assert isinstance(joined, events.WorkerJoined)
    assert joined.facts.name == "?[2Jattic??"
    assert joined.facts.ffmpeg == "7?"


def test_what_a_worker_says_of_its_machine_is_kept_printable_and_plausible(desk: FakeDesk) -> None:
    session, _ = opened(desk)
    measured = Measurement("libx264", "", "medium", 1280, 720, 90.0, 3.6, 2)
    told = hello(
        capabilities=(
            Capability("libx264", Codec.H264, threads=-4, device_name="a\x1b[2J"),
            Capability("libx264", Codec.H264, slots=7),
            Capability("h264_nvenc", Codec.H264, "nvenc", "cuda:0"),
        ),
        builds=("9.0.2", "5\x07"),
        plugins=(PluginSummary("nvenc", error="broken\r"),),
        diagnoses=(Diagnosis("vaapi", "", "x" * 5000, "do\x1bit", trouble=Trouble.BUSY),),
        measurements=(measured, attrs.evolve(measured, fps=-1.0), attrs.evolve(measured, width=0)),
    )
    say(session, told)
    (joined,) = desk.events
    assert isinstance(joined, events.WorkerJoined)
    facts = joined.facts
    # One capability for each encoder and device: the last that it says.
    assert [(c.encoder, c.device, c.slots) for c in facts.capabilities] == [
        ("libx264", "", 7), ("h264_nvenc", "cuda:0", 1),
    ]  # fmt: skip
    assert all(c.threads >= 0 for c in facts.capabilities)
    assert facts.builds == ("9.0.2", "5?")
    assert facts.plugins[0].error == "broken?"
    (diagnosis,) = facts.diagnoses
    assert (len(diagnosis.cause), diagnosis.hint) == (1000, "do?it")
    assert diagnosis.trouble is Trouble.BUSY
    assert facts.measurements == (measured,)


def test_notes_of_a_result_are_bounded_and_printable(desk: FakeDesk) -> None:
    session, _ = opened(desk)
    say(session, hello())
    desk.live[7] = "attic"
    proof = SegmentProof(10, notes=("odd\x1b[2J", *("more" for _ in range(100))))
    say(session, messages.Result(7, 1, "0" * 64, proof))
    (result,) = desk.delivered
    assert result.proof.notes[0] == "odd?[2J"
    assert len(result.proof.notes) == 16


def test_command_and_log_of_a_result_are_bounded_and_printable(desk: FakeDesk) -> None:
    session, _ = opened(desk)
    say(session, hello())
    desk.live[7] = "attic"
    lines = (*("line" for _ in range(100)), "the last\x1b[2J")
    proof = SegmentProof(10, argv=("word",) * 5000, log_tail=lines)
    say(session, messages.Result(7, 1, "0" * 64, proof))
    (result,) = desk.delivered
    assert len(result.proof.argv) == 1024
    assert len(result.proof.log_tail) == 16
    assert result.proof.log_tail[-1] == "the last?[2J"


def test_load_of_a_worker_is_told_and_made_printable(desk: FakeDesk) -> None:
    session, connection = worker(desk)
    say(session, messages.Heartbeat())
    assert desk.loads == []
    say(session, messages.Heartbeat(WorkerLoad(12.5, 1, 2, (GpuLoad("card\x1b[2J", 3.0),))))
    assert desk.loads == [("attic", WorkerLoad(12.5, 1, 2, (GpuLoad("card?[2J", 3.0),)))]
    assert connection.sent == []


@pytest.mark.parametrize(
    "load",
    [
        '{"cpu_percent": 101, "memory_used_bytes": 1, "memory_total_bytes": 2}',
        '{"cpu_percent": 1, "memory_used_bytes": -1, "memory_total_bytes": 2}',
        '{"cpu_percent": 1, "memory_used_bytes": 1, "memory_total_bytes": 2, "gpus": [{}]}',
        '{"cpu_percent": "a lot"}',
        '"high"',
    ],
)
def test_load_that_makes_no_sense_is_answered_and_changes_nothing(
    desk: FakeDesk, load: str
) -> None:
    session, connection = worker(desk)
    session.received(f'{{"type": "heartbeat", "load": {load}}}'.encode())
    (failure,) = connection.sent
    assert failure.error.code is Code.PROTOCOL
    assert desk.loads == []


@pytest.mark.parametrize(
    "payload",
    [b"nonsense", b"{}", b'{"type": "heartbeat"}', b'{"type": "hello", "protocols": [1]}'],
)
def test_anything_but_a_hello_first_is_answered_and_ends_the_session(
    desk: FakeDesk, payload: bytes
) -> None:
    session, connection = opened(desk)
    session.received(payload)
    (failure,) = connection.sent
    assert failure.error.code is Code.PROTOCOL
    assert connection.closed_with is not None
    assert connection.closed_with[0] == CLOSE_PROTOCOL
    assert desk.closed == [session]
    assert desk.events == []


def test_unknown_version_is_refused_with_both_sides_versions(desk: FakeDesk) -> None:
    session, connection = opened(desk)
    say(session, hello(), protocols=[98, 99])
    assert "[98, 99]" in connection.sent[0].error.message
    assert connection.closed_with is not None
    assert desk.events == []


def test_newer_peer_that_also_speaks_our_version_is_welcomed(desk: FakeDesk) -> None:
    session, connection = opened(desk)
    say(session, hello(), protocols=[1, 99], mood="good")
    assert connection.sent[0].protocol == 1


def test_what_a_worker_still_has_is_told_once_for_each_epoch(desk: FakeDesk) -> None:
    session, _ = opened(desk)
    held = (messages.Held(7, "job1"), messages.Held(8, "job1", True), messages.Held(7, "job2"))
    say(session, hello(held=held))
    (joined,) = desk.events
    assert isinstance(joined, events.WorkerJoined)
    assert [(h.epoch, h.job_id, h.encoded) for h in joined.held] == [
        (7, "job1", False), (8, "job1", True),
    ]  # fmt: skip


def test_worker_of_the_first_version_keeps_nothing(desk: FakeDesk) -> None:
    session, connection = opened(desk)
    say(session, hello(held=(messages.Held(7, "job1"),)), protocols=[1])
    (joined,) = desk.events
    assert connection.sent[0].protocol == 1
    assert isinstance(joined, events.WorkerJoined)
    assert joined.held == ()
    session.closed("gone")
    left = desk.events[-1]
    assert isinstance(left, events.WorkerLeft)
    assert left.forgets


# --- liveness ------------------------------------------------------------------------------------


def test_session_says_something_when_it_was_silent(desk: FakeDesk) -> None:
    session, connection = client(desk)
    desk.now = HEARTBEAT_S - 0.1
    session.tend()
    assert connection.sent == []
    desk.now = HEARTBEAT_S
    session.tend()
    assert connection.sent == [messages.Heartbeat()]


def test_silent_worker_is_given_up_and_leaves(desk: FakeDesk) -> None:
    session, connection = worker(desk)
    desk.now = SILENCE_LIMIT_S - 0.1
    say(session, messages.Heartbeat())
    desk.now = 2 * SILENCE_LIMIT_S - 0.2
    session.tend()
    assert connection.closed_with is None
    desk.now = 2 * SILENCE_LIMIT_S
    session.tend()
    assert connection.closed_with is not None
    (left,) = desk.events
    assert isinstance(left, events.WorkerLeft)
    # Its leases run from when it was last heard, not from when that was noticed.
    assert left.heard_at == SILENCE_LIMIT_S - 0.1
    assert not left.forgets


def test_limits_of_silence_follow_the_desk(desk: FakeDesk) -> None:
    desk.heartbeat_s = 0.5
    session, connection = worker(desk)
    desk.now = 0.5
    session.tend()
    assert connection.sent == [messages.Heartbeat()]
    desk.now = BEATS_MISSED * 0.5
    session.tend()
    assert connection.closed_with is not None


def test_lost_connection_makes_the_worker_leave_once(desk: FakeDesk) -> None:
    session, _ = worker(desk)
    session.closed("gone")
    session.closed("gone")
    session.close(1000, "again")
    assert desk.events == [events.WorkerLeft("attic", "gone", heard_at=0.0)]  # type: ignore[arg-type]
    assert desk.closed == [session]


def test_what_arrives_after_the_end_of_a_session_counts_no_more(desk: FakeDesk) -> None:
    desk.live = {7: "attic"}
    session, connection = worker(desk)
    session.close(1000, "enough")
    desk.events.clear()
    say(session, messages.Started(7))
    say(session, RESULT)
    session.received(b"nonsense")
    assert (desk.events, desk.delivered, connection.sent) == ([], [], [])


# --- workers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (messages.Started(7), events.AttemptStarted(7)),  # type: ignore[arg-type]
        (messages.Failed(7, REPORT), events.AttemptFailed(7, REPORT)),  # type: ignore[arg-type]
        (messages.Returned(7), events.AttemptReturned(7)),  # type: ignore[arg-type]
        (
            messages.Progress((messages.AttemptProgress(7, 5, 25.0),)),
            events.AttemptProgressed(7, 5, 25.0),  # type: ignore[arg-type]
        ),
    ],
)
def test_worker_speaks_about_its_own_attempts_only(
    desk: FakeDesk, message: Any, event: events.Event
) -> None:
    desk.live = {7: "attic"}
    own, _ = worker(desk, "attic")
    foreign, connection = worker(desk, "cellar")
    say(foreign, message)
    assert desk.events == []
    assert connection.sent == [messages.Revoke(7)]
    say(own, message)
    assert desk.events == [event]


def test_result_of_another_workers_attempt_is_refused(desk: FakeDesk) -> None:
    desk.live = {7: "attic"}
    foreign, connection = worker(desk, "cellar")
    say(foreign, RESULT)
    assert desk.delivered == []
    assert desk.events == [events.ResultSuperseded("cellar", 7)]  # type: ignore[arg-type]
    assert connection.sent == [messages.Revoke(7)]
    own, _ = worker(desk, "attic")
    say(own, RESULT)
    assert desk.delivered == [RESULT]


def test_late_and_replayed_messages_change_nothing_and_are_answered_by_revoke(
    desk: FakeDesk,
) -> None:
    session, connection = worker(desk)
    say(session, messages.Accepted(7))
    assert connection.sent == []
    late = (
        messages.Started(7),
        messages.Failed(7, REPORT),
        messages.Returned(7),
        messages.Progress((messages.AttemptProgress(7, 5, 25.0),)),
    )
    for message in late:
        say(session, message)
    assert (desk.events, desk.delivered) == ([], [])
    assert connection.sent == [messages.Revoke(7)] * len(late)


def test_late_result_is_counted_and_its_worker_told_to_let_go(desk: FakeDesk) -> None:
    session, connection = worker(desk)
    say(session, RESULT)
    say(session, RESULT)
    late = events.ResultSuperseded("attic", 7)  # type: ignore[arg-type]
    assert (desk.events, desk.delivered) == ([late, late], [])
    assert connection.sent == [messages.Revoke(7), messages.Revoke(7)]


def test_draining_worker_is_marked(desk: FakeDesk) -> None:
    session, _ = worker(desk)
    say(session, messages.Draining())
    assert desk.events == [events.WorkerDraining("attic")]  # type: ignore[arg-type]


def test_worker_may_not_ask_what_clients_ask(desk: FakeDesk) -> None:
    session, connection = worker(desk)
    say(session, messages.CancelJob(3, "job1"))
    (failure,) = connection.sent
    assert failure.error.code is Code.PROTOCOL
    assert failure.reply_to == 3


def test_unknown_message_is_answered_and_the_session_goes_on(desk: FakeDesk) -> None:
    desk.live = {7: "attic"}
    session, connection = worker(desk)
    session.received(b'{"type": "from_the_future", "request": 4}')
    (failure,) = connection.sent
    assert (failure.error.code, failure.reply_to) == (Code.PROTOCOL, 4)
    say(session, messages.Started(7))
    assert len(desk.events) == 1


def test_ten_bad_messages_end_the_session_and_nine_do_not(desk: FakeDesk) -> None:
    session, connection = worker(desk)
    for _ in range(9):
        session.received(b"nonsense")
    assert connection.closed_with is None
    session.received(b"nonsense")
    assert connection.closed_with is not None
    assert [type(event) for event in desk.events] == [events.WorkerLeft]
    session.received(b"nonsense")
    assert len(connection.sent) == 10


# --- clients -------------------------------------------------------------------------------------


def test_requests_are_answered_under_their_own_number(desk: FakeDesk) -> None:
    desk.answers = {
        12: messages.Job(12, view("job1")),
        13: NotFound(message="There is no job none."),
        14: Conflict(message="It has ended."),
    }
    session, connection = client(desk)
    say(session, messages.RemoveJob(11, "job1"))
    say(session, messages.GetJob(12, "job1"))
    say(session, messages.GetJob(13, "none"))
    say(session, messages.CancelJob(14, "job1"))
    assert [answer.reply_to for answer in connection.sent] == [11, 12, 13, 14]
    done, job, missing, conflict = connection.sent
    assert isinstance(done, messages.Done)
    assert job.job.id == "job1"
    assert missing.error.code is Code.NOT_FOUND
    assert conflict.error.code is Code.CONFLICT


def test_slow_answer_does_not_hold_up_the_next(desk: FakeDesk) -> None:
    slow: Deferred[Any] = Deferred()
    desk.answers = {1: slow}
    session, connection = client(desk)
    say(session, messages.Submit(1, JobRequest("film.mkv", server_path="/f")))
    say(session, messages.ListJobs(2))
    assert [answer.reply_to for answer in connection.sent] == [2]
    slow.callback(messages.Job(1, view("job1")))
    assert [answer.reply_to for answer in connection.sent] == [2, 1]


def test_answer_for_a_client_that_vanished_is_dropped(desk: FakeDesk) -> None:
    slow: Deferred[Any] = Deferred()
    desk.answers = {1: slow}
    session, connection = client(desk)
    say(session, messages.Submit(1, JobRequest("film.mkv", server_path="/f")))
    session.closed("gone")
    slow.callback(messages.Done(1))
    assert connection.sent == []


def test_unforeseen_error_is_answered_as_internal(desk: FakeDesk) -> None:
    desk.answers = {1: FileExistsError("odd")}
    session, connection = client(desk)
    say(session, messages.Submit(1, JobRequest("film.mkv", server_path="/f")))
    (failure,) = connection.sent
    assert (failure.error.code, failure.reply_to) == (Code.INTERNAL, 1)


def test_watched_job_is_shown_until_it_ends(desk: FakeDesk) -> None:
    desk.known_jobs = {"job1": view("job1")}
    session, connection = client(desk)
    say(session, messages.WatchJob(5, "job1"))
    for state in ("Processing", "Completed", "Completed"):
        desk.known_jobs["job1"] = view("job1", state)
        session.show_job(desk.known_jobs["job1"])
    shown = [(answer.reply_to, answer.job.state) for answer in connection.sent]
    assert shown == [(5, "Queued"), (5, "Processing"), (5, "Completed")]
    assert connection.sent[-1].output == "/v1/outputs/job1"
    assert session.watches == {}


def test_watch_of_a_job_that_has_ended_shows_it_once(desk: FakeDesk) -> None:
    desk.known_jobs = {"job1": view("job1", "Failed")}
    session, connection = client(desk)
    say(session, messages.WatchJob(5, "job1"))
    assert len(connection.sent) == 1
    assert session.watches == {}


def test_watch_of_an_unknown_job_is_refused_and_not_kept(desk: FakeDesk) -> None:
    session, connection = client(desk)
    say(session, messages.WatchJob(5, "none"))
    assert connection.sent[0].error.code is Code.NOT_FOUND
    assert session.watches == {}


def test_watch_of_a_client_that_vanished_shows_nothing(desk: FakeDesk) -> None:
    desk.known_jobs = {"job1": view("job1")}
    session, connection = client(desk)
    say(session, messages.WatchJob(5, "job1"))
    session.closed("gone")
    session.show_job(view("job1", "Processing"))
    assert len(connection.sent) == 1
    assert desk.events == []


def test_number_of_watches_is_bounded(desk: FakeDesk) -> None:
    desk.known_jobs = {"job1": view("job1")}
    session, connection = client(desk)
    for number in range(1, 102):
        say(session, messages.WatchJob(number, "job1"))
    assert connection.sent[-1].error.code is Code.PROTOCOL
    assert len(session.watches) == 100
