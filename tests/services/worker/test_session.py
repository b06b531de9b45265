"""The worker's side of one session: greeting, messages, heartbeats, and the end."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ffcluster.core.load import WorkerLoad
from ffcluster.errors import Code, ErrorReport, ProtocolError, Refused
from ffcluster.net import messages
from ffcluster.net.session import HEARTBEAT_S, SILENCE_LIMIT_S
from ffcluster.services.worker.session import WorkerSession
from tests.services.benches import offer
from tests.services.desks import FakeConnection, say


@attrs.define
class FakeBench:
    """Notes what the session brings to it."""

    heard: list[Any] = attrs.field(factory=list)
    rows: tuple[messages.AttemptProgress, ...] = ()
    drained: Deferred[None] = attrs.field(factory=Deferred)

    def joined(self, speak: Any, protocol: int, block_bytes: int) -> None:
        self.heard.append(("joined", protocol, block_bytes))

    def parted(self) -> None:
        self.heard.append("parted")

    def take(self, message: messages.Offer) -> None:
        self.heard.append(message)

    def resume(self, message: messages.Resume) -> None:
        self.heard.append(message)

    def revoke(self, epoch: int) -> None:
        self.heard.append(("revoke", epoch))

    async def drain(self, limit_s: float | None) -> None:
        self.heard.append(("drain", limit_s))
        await self.drained

    def progress(self) -> tuple[messages.AttemptProgress, ...]:
        rows, self.rows = self.rows, ()
        return rows


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bench() -> FakeBench:
    return FakeBench()


@pytest.fixture
def connection() -> FakeConnection:
    return FakeConnection()


@pytest.fixture
def greeted(clock: Clock, bench: FakeBench, connection: FakeConnection) -> WorkerSession:
    made = WorkerSession(bench, clock)  # type: ignore[arg-type]
    made.opened(connection)  # type: ignore[arg-type]
    made.greet(messages.Hello((1, 2), "worker"))
    return made


@pytest.fixture
def session(greeted: WorkerSession, bench: FakeBench, connection: FakeConnection) -> WorkerSession:
    say(greeted, messages.Welcome(2, "1", HEARTBEAT_S, 4096))
    connection.sent.clear()
    bench.heard.clear()
    return greeted


def keep_alive(session: WorkerSession, clock: Clock, seconds: float) -> None:
    """Let time pass while the coordinator is heard."""
    for _ in range(round(seconds / 0.5)):
        say(session, messages.Heartbeat())
        clock.advance(0.5)


# --- greeting ------------------------------------------------------------------------------------


def test_bench_joins_when_the_coordinator_welcomes_the_worker(
    greeted: WorkerSession, bench: FakeBench, connection: FakeConnection
) -> None:
    assert connection.sent == [messages.Hello((1, 2), "worker")]
    assert bench.heard == []
    say(greeted, messages.Welcome(2, "1", 5.0, 4096))
    assert bench.heard == [("joined", 2, 4096)]
    assert greeted.welcomed.called


def test_second_welcome_changes_nothing(session: WorkerSession, bench: FakeBench) -> None:
    say(session, messages.Welcome(1, "1", 5.0, 1))
    assert bench.heard == []


def test_refusal_is_the_coordinators_own_error(greeted: WorkerSession) -> None:
    refusal = ErrorReport(Code.PROTOCOL, "no common version")
    refused: list[Any] = []
    greeted.welcomed.addErrback(refused.append)
    say(greeted, messages.Failure(refusal))
    assert refused[0].check(ProtocolError)


def test_session_that_ends_before_a_welcome_is_a_refusal(greeted: WorkerSession) -> None:
    refused: list[Any] = []
    greeted.welcomed.addErrback(refused.append)
    greeted.closed("go away")
    assert refused[0].check(Refused)
    assert "go away" in refused[0].value.message


# --- messages ------------------------------------------------------------------------------------


def test_what_the_coordinator_says_of_attempts_goes_to_the_bench(
    session: WorkerSession, bench: FakeBench
) -> None:
    said = (offer(1), messages.Resume(2, "/v1/results/b"), messages.Revoke(3))
    for message in said:
        say(session, message)
    assert bench.heard == [*said[:2], ("revoke", 3)]


def test_message_that_is_not_understood_changes_nothing(
    session: WorkerSession, bench: FakeBench, connection: FakeConnection
) -> None:
    session.received(b"nonsense")
    session.received(b'{"type": "from_the_future"}')
    assert not session.ended.called
    assert (connection.sent, bench.heard) == ([], [])


def test_nothing_is_taken_after_the_end_of_the_session(
    session: WorkerSession, bench: FakeBench
) -> None:
    session.close("over")
    say(session, offer(1))
    assert bench.heard == ["parted"]


def test_drain_that_the_coordinator_asks_for_has_no_limit_and_ends_the_session(
    session: WorkerSession, bench: FakeBench, connection: FakeConnection
) -> None:
    say(session, messages.Drain())
    assert bench.heard == [("drain", None)]
    assert connection.closed_with is None
    bench.drained.callback(None)
    assert connection.closed_with is not None


# --- the end -------------------------------------------------------------------------------------


def test_end_is_told_once_whoever_ended_it(
    session: WorkerSession, bench: FakeBench, connection: FakeConnection
) -> None:
    session.close("the worker stops")
    session.close("again")
    session.closed("and again")
    assert bench.heard == ["parted"]
    assert connection.closed_with == (1000, "the worker stops")
    assert session.ended.result == "the worker stops"


def test_nothing_is_said_after_the_end(
    session: WorkerSession, clock: Clock, connection: FakeConnection
) -> None:
    session.closed("the connection was lost")
    session.send(messages.Heartbeat())
    clock.advance(10 * SILENCE_LIMIT_S)
    assert connection.sent == []
    assert not clock.getDelayedCalls()


# --- reports -------------------------------------------------------------------------------------


def test_progress_goes_in_one_message(
    session: WorkerSession, bench: FakeBench, clock: Clock, connection: FakeConnection
) -> None:
    rows = (messages.AttemptProgress(1, 5, 25.0), messages.AttemptProgress(2, 7, 50.0))
    bench.rows = rows
    clock.advance(0.5)
    clock.advance(0.5)
    assert connection.sent == [messages.Progress(rows)]


def test_idle_worker_sends_heartbeats(
    session: WorkerSession, clock: Clock, connection: FakeConnection
) -> None:
    keep_alive(session, clock, 2 * HEARTBEAT_S + 1)
    assert connection.sent == [messages.Heartbeat()] * 2


def test_load_that_was_read_anew_is_sent_at_once(
    clock: Clock, bench: FakeBench, connection: FakeConnection
) -> None:
    loads = [WorkerLoad(10.0, 1, 2)]
    session = WorkerSession(bench, clock, lambda: loads.pop() if loads else None)  # type: ignore[arg-type]
    session.opened(connection)  # type: ignore[arg-type]
    session.greet(messages.Hello((1, 2), "worker"))
    say(session, messages.Welcome(2, "1", HEARTBEAT_S, 4096))
    connection.sent.clear()
    clock.advance(0.5)
    clock.advance(0.5)
    assert connection.sent == [messages.Heartbeat(WorkerLoad(10.0, 1, 2))]
    session.close("over")


def test_silent_coordinator_is_given_up(
    session: WorkerSession, clock: Clock, connection: FakeConnection
) -> None:
    clock.pump([0.5] * round(SILENCE_LIMIT_S / 0.5 - 1))
    assert not session.ended.called
    clock.pump([0.5] * 2)
    assert session.ended.called
    assert connection.closed_with is not None


def test_heartbeats_follow_what_the_welcome_said(
    greeted: WorkerSession, clock: Clock, connection: FakeConnection
) -> None:
    say(greeted, messages.Welcome(2, "1", 0.5, 4096))
    connection.sent.clear()
    for _ in range(16):
        clock.advance(0.125)
        say(greeted, messages.Heartbeat())
    assert connection.sent == [messages.Heartbeat()] * 4
    clock.pump([0.125] * 15)
    assert not greeted.ended.called
    clock.advance(0.125)
    assert greeted.ended.called


def test_worker_that_slept_past_the_limit_gives_the_session_up_when_it_wakes(
    session: WorkerSession, bench: FakeBench, clock: Clock
) -> None:
    keep_alive(session, clock, 2.0)
    clock.advance(3600.0)
    assert session.ended.called
    assert bench.heard == ["parted"]
