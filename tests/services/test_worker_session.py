"""The worker's side of a session: slots, offers, draining, and coming back after a loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, EncodeOrder
from ffcluster.core.profile import Codec, Profile
from ffcluster.core.timeline import FrameRange, TimeBase
from ffcluster.errors import Code, Refused, Unreachable
from ffcluster.net import messages
from ffcluster.net.session import HEARTBEAT_S, SILENCE_LIMIT_S
from ffcluster.services import worker as worker_module
from ffcluster.services.config import WorkerSettings
from ffcluster.services.worker import EXIT_REFUSED, EXIT_UNREACHABLE, WorkerService, _WorkerSession
from tests.services.desks import FakeConnection, say

VIDEO = VideoFormat("h264", 4, 4, "yuv420p", TimeBase(1, 25))


def offer(epoch: int, encoder: str = "libx264") -> messages.Offer:
    order = EncodeOrder(FrameRange(0, 10), Profile(), encoder, VIDEO)
    piece = messages.BlobRef("/v1/pieces/a", 1, "0" * 64)
    return messages.Offer(epoch, "job1", order, piece, "/v1/results/a")


@attrs.define(eq=False)
class FakeAttempt:
    """An attempt that does only what a test tells it to."""

    bench: Any
    offer: messages.Offer
    capability: Capability
    encoding: bool = False
    frames: int = 0
    fps: float = 0.0
    done: Deferred[None] = attrs.field(factory=Deferred)
    stopped: list[bool] = attrs.field(factory=list)

    def start(self) -> None:
        """Nothing starts by itself."""

    def when_done(self) -> Deferred[None]:
        over: Deferred[None] = Deferred()
        self.done.addCallback(lambda _: over.called or over.callback(None))
        return over

    def stop(self, *, give_back: bool) -> Deferred[None]:
        self.stopped.append(give_back)
        if not self.done.called:
            self.done.callback(None)
        return self.done


@attrs.define
class FakeService:
    runner: Any = None
    build: Any = None


class FakeRegistry:
    def backend(self, name: str) -> object:
        return object()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[FakeAttempt]:
    made: list[FakeAttempt] = []

    def make(bench: Any, bulk: Any, order: Any, capability: Any, *_: object) -> FakeAttempt:
        made.append(FakeAttempt(bench, order, capability))
        return made[-1]

    monkeypatch.setattr(worker_module, "AttemptRun", make)
    return made


@pytest.fixture
def session(clock: Clock, attempts: list[FakeAttempt]) -> _WorkerSession:
    made = _WorkerSession(FakeService(), clock, Path("/work"))  # type: ignore[arg-type]
    made.opened(FakeConnection())  # type: ignore[arg-type]
    capability = Capability("libx264", Codec.H264, slots=2)
    hello = messages.Hello((1,), "worker")
    made.greet(hello, None, FakeRegistry(), (capability,))  # type: ignore[arg-type]
    say(made, messages.Welcome(1, "1", 5.0, 4096))
    sent(made).clear()
    return made


def sent(session: _WorkerSession) -> list[Any]:
    connection: Any = session._connection
    said: list[Any] = connection.sent
    return said


def wait_for_slots(session: _WorkerSession, attempts: list[FakeAttempt]) -> list[Deferred[None]]:
    return [session.slot(attempt) for attempt in attempts]  # type: ignore[arg-type]


# --- slots ---------------------------------------------------------------------------------------


def test_slots_are_given_in_order_of_epochs(
    session: _WorkerSession, attempts: list[FakeAttempt]
) -> None:
    for epoch in (3, 4, 2, 1):
        say(session, offer(epoch))
    granted = wait_for_slots(session, attempts)
    assert [slot.called for slot in granted] == [True, True, False, False]
    session.release(attempts[0])  # type: ignore[arg-type]
    assert [slot.called for slot in granted] == [True, True, False, True]
    session.release(attempts[1])  # type: ignore[arg-type]
    assert all(slot.called for slot in granted)


def test_slot_given_back_at_once_passes_to_the_next_and_no_further(
    session: _WorkerSession, attempts: list[FakeAttempt]
) -> None:
    for epoch in range(1, 7):
        say(session, offer(epoch))
    granted = wait_for_slots(session, attempts[:2])
    fallen: list[int] = []

    def fall(_: None, attempt: FakeAttempt) -> None:
        fallen.append(attempt.offer.epoch)
        session.release(attempt)  # type: ignore[arg-type]

    for attempt in attempts[2:5]:
        granted.append(session.slot(attempt).addCallback(fall, attempt))  # type: ignore[arg-type]
    granted.append(session.slot(attempts[5]))  # type: ignore[arg-type]
    session.release(attempts[0])  # type: ignore[arg-type]
    assert fallen == [3, 4, 5]
    assert granted[5].called
    assert len(session._encoding) == 2


def test_cancelled_wait_gives_way_to_those_behind(
    session: _WorkerSession, attempts: list[FakeAttempt]
) -> None:
    for epoch in range(1, 5):
        say(session, offer(epoch))
    granted = wait_for_slots(session, attempts)
    granted[2].addErrback(lambda failure: failure.trap(CancelledError))
    granted[2].cancel()
    session.release(attempts[2])  # type: ignore[arg-type]
    session.release(attempts[0])  # type: ignore[arg-type]
    assert granted[3].called
    assert session._waiting == {}


def test_release_without_a_slot_changes_nothing(
    session: _WorkerSession, attempts: list[FakeAttempt]
) -> None:
    say(session, offer(1))
    session.release(attempts[0])  # type: ignore[arg-type]
    assert session._encoding == {}


# --- offers --------------------------------------------------------------------------------------


def test_repeated_offer_is_taken_once(session: _WorkerSession, attempts: list[FakeAttempt]) -> None:
    say(session, offer(1))
    say(session, offer(1))
    assert len(attempts) == 1


def test_offer_for_an_encoder_that_is_not_here_fails(session: _WorkerSession) -> None:
    say(session, offer(1, "hevc_nvenc"))
    (failed,) = sent(session)
    assert (failed.epoch, failed.error.code) == (1, Code.NO_USABLE_ENCODER)


def test_revoked_attempt_is_stopped_and_not_given_back(
    session: _WorkerSession, attempts: list[FakeAttempt]
) -> None:
    say(session, offer(1))
    say(session, messages.Revoke(1))
    say(session, messages.Revoke(99))
    assert attempts[0].stopped == [False]
    assert session._attempts == {}


def test_offer_after_the_end_of_the_session_starts_nothing(
    session: _WorkerSession, attempts: list[FakeAttempt]
) -> None:
    Deferred.fromCoroutine(session.end("over"))
    say(session, offer(1))
    assert attempts == []


def test_end_stops_every_attempt(session: _WorkerSession, attempts: list[FakeAttempt]) -> None:
    say(session, offer(1))
    say(session, offer(2))
    ending = Deferred.fromCoroutine(session.end("over"))
    assert [attempt.stopped for attempt in attempts] == [[False], [False]]
    assert ending.called


def test_drain_gives_back_what_has_not_begun_and_waits_for_the_rest(
    session: _WorkerSession, attempts: list[FakeAttempt]
) -> None:
    say(session, offer(1))
    say(session, offer(2))
    attempts[0].encoding = True
    draining = Deferred.fromCoroutine(session.drain(100.0))
    assert [attempt.stopped for attempt in attempts] == [[], [True]]
    say(session, offer(3))
    assert sent(session) == [messages.Draining(), messages.Returned(3)]
    assert not draining.called
    attempts[0].done.callback(None)
    assert draining.called
    connection: Any = session._connection
    assert connection.closed_with is not None


def test_drain_gives_back_what_does_not_end_in_time(
    session: _WorkerSession, attempts: list[FakeAttempt], clock: Clock
) -> None:
    say(session, offer(1))
    attempts[0].encoding = True
    draining = Deferred.fromCoroutine(session.drain(100.0))
    keep_alive(session, clock, 99.0)
    assert not draining.called
    keep_alive(session, clock, 2.0)
    assert attempts[0].stopped == [True]
    assert draining.called


# --- reports -------------------------------------------------------------------------------------


def keep_alive(session: _WorkerSession, clock: Clock, seconds: float) -> None:
    """Let time pass while the coordinator is heard."""
    for _ in range(round(seconds / 0.5)):
        say(session, messages.Heartbeat())
        clock.advance(0.5)


def test_progress_of_all_attempts_goes_in_one_message_and_only_when_it_changed(
    session: _WorkerSession, attempts: list[FakeAttempt], clock: Clock
) -> None:
    say(session, offer(1))
    say(session, offer(2))
    wait_for_slots(session, attempts)
    attempts[0].frames, attempts[0].fps = 5, 25.0
    attempts[1].frames, attempts[1].fps = 7, 50.0
    clock.advance(0.5)
    clock.advance(0.5)
    (progress,) = sent(session)
    rows = [(row.epoch, row.frames, row.fps) for row in progress.attempts]
    assert rows == [(1, 5, 25.0), (2, 7, 50.0)]


def test_idle_worker_sends_heartbeats(session: _WorkerSession, clock: Clock) -> None:
    keep_alive(session, clock, 2 * HEARTBEAT_S + 1)
    assert sent(session) == [messages.Heartbeat()] * 2


def test_silent_coordinator_is_given_up(session: _WorkerSession, clock: Clock) -> None:
    connection: Any = session._connection
    clock.pump([0.5] * round(SILENCE_LIMIT_S / 0.5 - 1))
    assert not session.ended.called
    clock.pump([0.5] * 2)
    assert session.ended.called
    assert connection.closed_with is not None


def test_message_that_is_not_understood_changes_nothing(session: _WorkerSession) -> None:
    session.received(b"nonsense")
    session.received(b'{"type": "from_the_future"}')
    assert not session.ended.called
    assert sent(session) == []


# --- coming back ---------------------------------------------------------------------------------


class Service(WorkerService):
    """A worker that knows what its machine can do, and dials into nothing."""

    dialled: int = 0
    outcome: Any = None

    async def _prepare(self) -> None:
        """Nothing to find out."""

    async def _serve(self) -> str:
        self.dialled += 1
        outcome = self.outcome
        if isinstance(outcome, Exception):
            raise outcome
        self._back_off.succeeded()
        return await outcome


def started(clock: Clock, outcome: Any, **settings: Any) -> Service:
    service = Service(clock, WorkerSettings(name="attic", work_dir=Path("/none"), **settings))
    service._back_off.random = lambda: 0.5
    service.outcome = outcome
    service.startService()
    return service


def dials_by_time(service: Service, clock: Clock, seconds: int) -> list[int]:
    times = []
    for second in range(seconds):
        before = service.dialled
        clock.advance(1)
        if service.dialled > before:
            times.append(second + 1)
    return times


def test_worker_dials_again_with_growing_delays_while_the_coordinator_is_away(
    clock: Clock,
) -> None:
    service = started(clock, Unreachable(message="away"), reconnect_delay_s=3.0)
    assert service.dialled == 1
    assert dials_by_time(service, clock, 200) == [3, 9, 21, 45, 93, 153]


def test_refusal_is_tried_again_too_because_the_token_may_be_put_right(clock: Clock) -> None:
    service = started(clock, Refused(message="no"), reconnect_delay_s=3.0)
    assert dials_by_time(service, clock, 10) == [3, 9]


def test_worker_comes_back_after_a_restart_of_the_coordinator_and_delays_start_anew(
    clock: Clock,
) -> None:
    service = started(clock, Unreachable(message="away"), reconnect_delay_s=3.0)
    dials_by_time(service, clock, 20)
    held: Deferred[str] = Deferred()
    service.outcome = held
    assert dials_by_time(service, clock, 30) == [1]
    service.outcome = Unreachable(message="away")
    held.callback("the coordinator stops")
    assert dials_by_time(service, clock, 10) == [3, 9]


def test_worker_that_is_not_persistent_ends_with_a_code_and_a_reason(clock: Clock) -> None:
    for outcome, code in (
        (Unreachable(message="nobody there"), EXIT_UNREACHABLE),
        (Refused(message="not you"), EXIT_REFUSED),
    ):
        service = started(clock, outcome, persistent=False)
        assert service.finished.result == code
        assert outcome.message in service.failure
        assert service.dialled == 1
