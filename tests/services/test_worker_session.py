"""The worker's side of a session: slots, offers, reports, draining."""

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
from ffcluster.errors import Code
from ffcluster.net import messages
from ffcluster.net.session import HEARTBEAT_S, SILENCE_LIMIT_S
from ffcluster.services import worker_session as session_module
from ffcluster.services.worker_session import WorkerSession
from tests.services.desks import FakeConnection, say

VIDEO = VideoFormat("h264", 4, 4, "yuv420p", TimeBase(1, 25))


def offer(epoch: int, encoder: str = "libx264", device: str = "") -> messages.Offer:
    order = EncodeOrder(FrameRange(0, 10), Profile(), encoder, VIDEO, device)
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


class FakeRegistry:
    def backend(self, name: str) -> object:
        return object()


@attrs.define
class FakeWorkshop:
    runner: Any = None
    registry: Any = attrs.field(factory=FakeRegistry)

    def build_for(self, capability: Capability) -> Any:
        return None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[FakeAttempt]:
    made: list[FakeAttempt] = []

    def make(bench: Any, bulk: Any, order: Any, capability: Any, *_: object) -> FakeAttempt:
        made.append(FakeAttempt(bench, order, capability))
        return made[-1]

    monkeypatch.setattr(session_module, "AttemptRun", make)
    return made


@pytest.fixture
def session(clock: Clock, attempts: list[FakeAttempt]) -> WorkerSession:
    made = WorkerSession(FakeWorkshop(), clock, Path("/work"))
    made.opened(FakeConnection())  # type: ignore[arg-type]
    capabilities = (
        Capability("libx264", Codec.H264, slots=2),
        Capability("h264_nvenc", Codec.H264, "nvenc", "cuda:0", slots=1),
        Capability("hevc_nvenc", Codec.HEVC, "nvenc", "cuda:0", slots=2),
    )
    made.greet(messages.Hello((1,), "worker", capabilities=capabilities), None)  # type: ignore[arg-type]
    say(made, messages.Welcome(1, "1", 5.0, 4096))
    sent(made).clear()
    return made


def sent(session: WorkerSession) -> list[Any]:
    connection: Any = session._connection
    said: list[Any] = connection.sent
    return said


def wait_for_slots(session: WorkerSession, attempts: list[FakeAttempt]) -> list[Deferred[None]]:
    return [session.slot(attempt) for attempt in attempts]  # type: ignore[arg-type]


# --- slots ---------------------------------------------------------------------------------------


def test_slots_are_given_in_order_of_epochs(
    session: WorkerSession, attempts: list[FakeAttempt]
) -> None:
    for epoch in (3, 4, 2, 1):
        say(session, offer(epoch))
    granted = wait_for_slots(session, attempts)
    assert [slot.called for slot in granted] == [True, True, False, False]
    session.release(attempts[0])  # type: ignore[arg-type]
    assert [slot.called for slot in granted] == [True, True, False, True]
    session.release(attempts[1])  # type: ignore[arg-type]
    assert all(slot.called for slot in granted)


def test_each_device_has_slots_of_its_own(
    session: WorkerSession, attempts: list[FakeAttempt]
) -> None:
    for epoch in (1, 2, 3):
        say(session, offer(epoch))
    say(session, offer(4, "h264_nvenc", "cuda:0"))
    say(session, offer(5, "h264_nvenc", "cuda:0"))
    granted = wait_for_slots(session, attempts)
    assert [slot.called for slot in granted] == [True, True, False, True, False]
    session.release(attempts[3])  # type: ignore[arg-type]
    assert [slot.called for slot in granted] == [True, True, False, True, True]


def test_encoders_on_one_device_share_its_slots_in_order_of_epochs(
    session: WorkerSession, attempts: list[FakeAttempt]
) -> None:
    say(session, offer(1, "hevc_nvenc", "cuda:0"))
    say(session, offer(2, "h264_nvenc", "cuda:0"))
    say(session, offer(3, "hevc_nvenc", "cuda:0"))
    granted = wait_for_slots(session, attempts)
    # The second needs the whole device; the third would fit and waits behind it all the same.
    assert [slot.called for slot in granted] == [True, False, False]
    session.release(attempts[0])  # type: ignore[arg-type]
    assert [slot.called for slot in granted] == [True, True, False]


def test_slot_given_back_at_once_passes_to_the_next_and_no_further(
    session: WorkerSession, attempts: list[FakeAttempt]
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
    session: WorkerSession, attempts: list[FakeAttempt]
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
    session: WorkerSession, attempts: list[FakeAttempt]
) -> None:
    say(session, offer(1))
    session.release(attempts[0])  # type: ignore[arg-type]
    assert session._encoding == {}


# --- offers --------------------------------------------------------------------------------------


def test_repeated_offer_is_taken_once(session: WorkerSession, attempts: list[FakeAttempt]) -> None:
    say(session, offer(1))
    say(session, offer(1))
    assert len(attempts) == 1


def test_offer_for_an_encoder_that_is_not_here_fails(session: WorkerSession) -> None:
    say(session, offer(1, "hevc_nvenc"))
    (failed,) = sent(session)
    assert (failed.epoch, failed.error.code) == (1, Code.NO_USABLE_ENCODER)


def test_offer_for_a_device_that_is_not_here_fails(session: WorkerSession) -> None:
    say(session, offer(1, "h264_nvenc", "cuda:1"))
    (failed,) = sent(session)
    assert failed.error.code is Code.NO_USABLE_ENCODER
    assert "h264_nvenc on cuda:1" in failed.error.message


def test_revoked_attempt_is_stopped_and_not_given_back(
    session: WorkerSession, attempts: list[FakeAttempt]
) -> None:
    say(session, offer(1))
    say(session, messages.Revoke(1))
    say(session, messages.Revoke(99))
    assert attempts[0].stopped == [False]
    assert session._attempts == {}


def test_offer_after_the_end_of_the_session_starts_nothing(
    session: WorkerSession, attempts: list[FakeAttempt]
) -> None:
    Deferred.fromCoroutine(session.end("over"))
    say(session, offer(1))
    assert attempts == []


def test_end_stops_every_attempt(session: WorkerSession, attempts: list[FakeAttempt]) -> None:
    say(session, offer(1))
    say(session, offer(2))
    ending = Deferred.fromCoroutine(session.end("over"))
    assert [attempt.stopped for attempt in attempts] == [[False], [False]]
    assert ending.called


def test_drain_gives_back_what_has_not_begun_and_waits_for_the_rest(
    session: WorkerSession, attempts: list[FakeAttempt]
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
    session: WorkerSession, attempts: list[FakeAttempt], clock: Clock
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


def keep_alive(session: WorkerSession, clock: Clock, seconds: float) -> None:
    """Let time pass while the coordinator is heard."""
    for _ in range(round(seconds / 0.5)):
        say(session, messages.Heartbeat())
        clock.advance(0.5)


def test_progress_of_all_attempts_goes_in_one_message_and_only_when_it_changed(
    session: WorkerSession, attempts: list[FakeAttempt], clock: Clock
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


def test_idle_worker_sends_heartbeats(session: WorkerSession, clock: Clock) -> None:
    keep_alive(session, clock, 2 * HEARTBEAT_S + 1)
    assert sent(session) == [messages.Heartbeat()] * 2


def test_silent_coordinator_is_given_up(session: WorkerSession, clock: Clock) -> None:
    connection: Any = session._connection
    clock.pump([0.5] * round(SILENCE_LIMIT_S / 0.5 - 1))
    assert not session.ended.called
    clock.pump([0.5] * 2)
    assert session.ended.called
    assert connection.closed_with is not None


def test_message_that_is_not_understood_changes_nothing(session: WorkerSession) -> None:
    session.received(b"nonsense")
    session.received(b'{"type": "from_the_future"}')
    assert not session.ended.called
    assert sent(session) == []
