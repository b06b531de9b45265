"""A worker's attempts over its life: offers, sessions that come and go, draining."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ffcluster.errors import Code
from ffcluster.net import messages
from ffcluster.services.worker import workbench as workbench_module
from ffcluster.services.worker.workbench import Workbench
from tests.services.benches import CAPABILITIES, FakeAttempt, FakeWorkshop, offer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[FakeAttempt]:
    made: list[FakeAttempt] = []

    def make(bench: Any, bulk: Any, order: Any, capability: Any, *_: object) -> FakeAttempt:
        made.append(FakeAttempt(bench, order, capability))
        return made[-1]

    monkeypatch.setattr(workbench_module, "AttemptRun", make)
    return made


@pytest.fixture
def sent() -> list[Any]:
    return []


@pytest.fixture
def bench(clock: Clock, attempts: list[FakeAttempt], sent: list[Any]) -> Workbench:
    made = Workbench(FakeWorkshop(), clock, None, Path("/work"), CAPABILITIES)  # type: ignore[arg-type]
    made.joined(sent.append, 2, 4096)
    return made


# --- offers --------------------------------------------------------------------------------------


def test_repeated_offer_is_taken_once(bench: Workbench, attempts: list[FakeAttempt]) -> None:
    bench.take(offer(1))
    bench.take(offer(1))
    assert len(attempts) == 1
    assert attempts[0].heard == ["start"]


def test_offer_for_an_encoder_that_is_not_here_fails(bench: Workbench, sent: list[Any]) -> None:
    bench.take(offer(1, "hevc_nvenc"))
    (failed,) = sent
    assert (failed.epoch, failed.error.code) == (1, Code.NO_USABLE_ENCODER)


def test_offer_for_a_device_that_is_not_here_fails(bench: Workbench, sent: list[Any]) -> None:
    bench.take(offer(1, "h264_nvenc", "cuda:1"))
    (failed,) = sent
    assert failed.error.code is Code.NO_USABLE_ENCODER
    assert "h264_nvenc on cuda:1" in failed.error.message


def test_revoked_attempt_is_stopped_and_forgotten(
    bench: Workbench, attempts: list[FakeAttempt]
) -> None:
    bench.take(offer(1))
    bench.revoke(1)
    bench.revoke(1)
    bench.revoke(99)
    assert attempts[0].heard == ["start", "stop"]
    assert bench.is_empty


def test_epoch_of_another_job_begins_when_the_files_of_the_old_one_are_gone(
    bench: Workbench, attempts: list[FakeAttempt]
) -> None:
    bench.take(offer(1))
    attempts[0].ends = False
    bench.take(offer(1, job_id="job2"))
    assert (attempts[0].stopped, len(attempts)) == (True, 1)
    attempts[0].done.callback(None)
    assert attempts[1].offer.job_id == "job2"
    assert not bench.is_empty


def test_offer_that_waited_for_an_old_epoch_is_dropped_with_its_session(
    bench: Workbench, attempts: list[FakeAttempt], sent: list[Any]
) -> None:
    bench.take(offer(1))
    attempts[0].ends = False
    bench.take(offer(1, job_id="job2"))
    bench.parted()
    attempts[0].done.callback(None)
    assert len(attempts) == 1


# --- slots and progress --------------------------------------------------------------------------


def test_progress_has_a_row_for_each_that_encodes_and_changed(
    bench: Workbench, attempts: list[FakeAttempt]
) -> None:
    for epoch in (1, 2, 3):
        bench.take(offer(epoch))
        bench.slot(attempts[-1])  # type: ignore[arg-type]
        attempts[-1].frames, attempts[-1].fps = epoch, 25.0
    rows = [(row.epoch, row.frames, row.fps) for row in bench.progress()]
    assert rows == [(1, 1, 25.0), (2, 2, 25.0)]
    attempts[1].frames = 7
    assert [(row.epoch, row.frames) for row in bench.progress()] == [(2, 7)]
    assert bench.progress() == ()
    bench.release(attempts[0])  # type: ignore[arg-type]
    assert [row.epoch for row in bench.progress()] == [3]


def test_progress_is_told_anew_in_every_session(
    bench: Workbench, attempts: list[FakeAttempt], sent: list[Any]
) -> None:
    bench.take(offer(1))
    bench.slot(attempts[0])  # type: ignore[arg-type]
    attempts[0].frames, attempts[0].fetched = 5, True
    assert bench.progress()
    bench.parted()
    bench.joined(sent.append, 2, 4096)
    assert [row.frames for row in bench.progress()] == [5]


# --- sessions ------------------------------------------------------------------------------------


def test_attempts_whose_piece_is_here_are_named_to_the_next_session(
    bench: Workbench, attempts: list[FakeAttempt]
) -> None:
    for epoch in (1, 2, 3, 4):
        bench.take(offer(epoch))
    for attempt in attempts[1:]:
        attempt.fetched = True
    attempts[2].encoded = True
    attempts[3].stopped = True
    bench.parted()
    assert bench.held() == (messages.Held(2, "job1"), messages.Held(3, "job1", encoded=True))


def test_no_more_is_named_than_a_greeting_may_hold_and_the_rest_is_stopped(
    bench: Workbench, attempts: list[FakeAttempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "MAX_HELD", 2)
    for epoch in (1, 2, 3):
        bench.take(offer(epoch))
        attempts[-1].fetched = True
    assert [held.epoch for held in bench.held()] == [1, 2]
    assert [attempt.stopped for attempt in attempts] == [False, False, True]


def test_end_of_a_session_is_told_to_every_attempt_and_stops_none(
    bench: Workbench, attempts: list[FakeAttempt], sent: list[Any]
) -> None:
    bench.take(offer(1))
    bench.parted()
    assert attempts[0].heard == ["start", "part"]
    bench.send(messages.Draining())
    assert sent == []


def test_resumed_attempt_is_told_its_path_however_often_that_comes(
    bench: Workbench, attempts: list[FakeAttempt], sent: list[Any]
) -> None:
    bench.take(offer(1))
    attempts[0].fetched = True
    bench.parted()
    bench.joined(sent.append, 2, 4096)
    bench.resume(messages.Resume(1, "/v1/results/b"))
    bench.resume(messages.Resume(1, "/v1/results/b"))
    assert attempts[0].heard == ["start", "part", "/v1/results/b", "/v1/results/b"]
    assert sent == []


def test_resumed_attempt_that_is_not_here_is_given_back(bench: Workbench, sent: list[Any]) -> None:
    bench.resume(messages.Resume(1, "/v1/results/b"))
    assert sent == [messages.Returned(1)]


def test_attempt_that_is_being_stopped_is_given_back_when_it_shall_go_on(
    bench: Workbench, attempts: list[FakeAttempt], sent: list[Any]
) -> None:
    bench.take(offer(1))
    attempts[0].ends = False
    bench.revoke(1)
    bench.resume(messages.Resume(1, "/v1/results/b"))
    assert sent == [messages.Returned(1)]


def test_end_of_a_session_of_version_1_stops_everything(
    bench: Workbench, attempts: list[FakeAttempt], sent: list[Any]
) -> None:
    bench.joined(sent.append, 1, 4096)
    bench.take(offer(1))
    attempts[0].fetched = True
    bench.parted()
    assert attempts[0].heard == ["start", "stop"]
    assert bench.held() == ()


def test_coordinator_of_version_1_takes_nothing_back(
    bench: Workbench, attempts: list[FakeAttempt], sent: list[Any]
) -> None:
    bench.take(offer(1))
    attempts[0].fetched = True
    bench.parted()
    assert not attempts[0].stopped
    bench.joined(sent.append, 1, 4096)
    assert attempts[0].stopped
    assert bench.is_empty


# --- the end -------------------------------------------------------------------------------------


def test_drain_gives_back_what_has_not_begun_and_waits_for_the_rest(
    bench: Workbench, attempts: list[FakeAttempt], sent: list[Any]
) -> None:
    bench.take(offer(1))
    bench.take(offer(2))
    attempts[0].encoding = True
    draining = Deferred.fromCoroutine(bench.drain(100.0))
    assert [attempt.heard for attempt in attempts] == [["start"], ["start", "give back"]]
    bench.take(offer(3))
    assert sent == [messages.Draining(), messages.Returned(3)]
    assert not draining.called
    attempts[0].done.callback(None)
    assert draining.called


def test_drain_gives_back_what_does_not_end_in_time(
    bench: Workbench, attempts: list[FakeAttempt], clock: Clock
) -> None:
    bench.take(offer(1))
    attempts[0].encoding = True
    draining = Deferred.fromCoroutine(bench.drain(100.0))
    clock.advance(99.0)
    assert not draining.called
    clock.advance(2.0)
    assert attempts[0].heard == ["start", "give back"]
    assert draining.called


def test_drain_goes_on_while_the_coordinator_is_away_and_is_told_to_the_next_session(
    bench: Workbench, attempts: list[FakeAttempt], sent: list[Any]
) -> None:
    bench.take(offer(1))
    attempts[0].encoding = attempts[0].fetched = True
    draining = Deferred.fromCoroutine(bench.drain(100.0))
    bench.parted()
    assert not draining.called
    sent.clear()
    bench.joined(sent.append, 2, 4096)
    assert sent == [messages.Draining()]
    attempts[0].done.callback(None)
    assert draining.called


def test_second_drain_keeps_to_its_own_limit(
    bench: Workbench, attempts: list[FakeAttempt], clock: Clock
) -> None:
    bench.take(offer(1))
    attempts[0].encoding = True
    unlimited = Deferred.fromCoroutine(bench.drain(None))
    limited = Deferred.fromCoroutine(bench.drain(10.0))
    clock.advance(9.0)
    assert not limited.called
    clock.advance(2.0)
    assert (unlimited.called, limited.called) == (True, True)


def test_worker_that_stays_after_a_drain_takes_offers_again(
    bench: Workbench, attempts: list[FakeAttempt]
) -> None:
    draining = Deferred.fromCoroutine(bench.drain(None))
    assert draining.called
    bench.accept_again()
    bench.take(offer(1))
    assert len(attempts) == 1


def test_stop_ends_every_attempt_and_tells_nobody(
    bench: Workbench, attempts: list[FakeAttempt], sent: list[Any]
) -> None:
    bench.take(offer(1))
    bench.take(offer(2))
    stopping = Deferred.fromCoroutine(bench.stop())
    assert [attempt.heard[-1] for attempt in attempts] == ["stop", "stop"]
    assert stopping.called
    assert (sent, bench.is_empty) == ([], True)
