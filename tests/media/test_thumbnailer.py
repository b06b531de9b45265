"""The process that takes pictures, played by the test: asked one thing at a time, idle it ends."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from ffcluster.errors import HelperDied, SourceDamaged
from ffcluster.media.thumbnailer import PictureOrder, Thumbnailer
from tests.media.test_lines import Process, Processes

ORDER = PictureOrder(
    Path("/films/film.mkv"), Path("/state/index"), True, 7, Fraction(7, 25), False, 90, 57600
)
TARGET = Path("/state/picture.jpg")


class SlowProcess(Process):
    """Takes a while to end."""

    def terminate(self) -> Deferred[None]:
        self.over: Deferred[None] = Deferred()
        return self.over

    def finish(self) -> None:
        self.end()
        self.over.callback(None)


class SlowProcesses(Processes):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.reactor = clock

    def run(self, command: Any, *, on_output: Any = None, **how: Any) -> Any:
        self.started.append(SlowProcess(on_output))
        return self.started[-1]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runner(clock: Clock) -> SlowProcesses:
    return SlowProcesses(clock)


@pytest.fixture
def taker(runner: SlowProcesses) -> Thumbnailer:
    return Thumbnailer(runner)


def result(asked: Any) -> Any:
    asked.addErrback(lambda failure: failure.value)
    return asked.result


def test_order_reaches_the_process_and_its_answer_comes_back(
    taker: Thumbnailer, runner: SlowProcesses
) -> None:
    asked = ensureDeferred(taker.take(ORDER, TARGET))
    (process,) = runner.started
    (call,) = process.calls
    assert call["op"] == "take"
    assert (call["file"], call["index"], call["target"]) == (
        "/films/film.mkv", "/state/index", "/state/picture.jpg",
    )  # fmt: skip
    assert (call["frame"], call["at_s"], call["exact"]) == (7, "7/25", False)
    process.say(id=1, result={"size_bytes": 1234})
    assert result(asked) == 1234


def test_what_is_wrong_with_the_film_comes_back(taker: Thumbnailer, runner: SlowProcesses) -> None:
    asked = ensureDeferred(taker.take(ORDER, TARGET))
    runner.started[0].say(id=1, error={"code": "source_damaged", "message": "broken"})
    assert isinstance(result(asked), SourceDamaged)


def test_process_without_work_ends_and_the_next_picture_waits_for_that(
    taker: Thumbnailer, runner: SlowProcesses, clock: Clock
) -> None:
    asked = ensureDeferred(taker.take(ORDER, TARGET))
    first: Any = runner.started[0]
    first.say(id=1, result={"size_bytes": 1})
    assert result(asked) == 1
    clock.advance(19.0)
    assert not hasattr(first, "over")
    clock.advance(2.0)
    again = ensureDeferred(taker.take(ORDER, TARGET))
    assert len(runner.started) == 1
    first.finish()
    assert len(runner.started) == 2
    runner.started[1].say(id=2, result={"size_bytes": 2})
    assert result(again) == 2


def test_process_that_dies_is_started_again(taker: Thumbnailer, runner: SlowProcesses) -> None:
    asked = ensureDeferred(taker.take(ORDER, TARGET))
    runner.started[0].end()
    assert isinstance(result(asked), HelperDied)
    again = ensureDeferred(taker.take(ORDER, TARGET))
    runner.started[1].say(id=2, result={"size_bytes": 2})
    assert result(again) == 2


def test_nothing_is_left_to_do_when_it_is_closed(
    taker: Thumbnailer, runner: SlowProcesses, clock: Clock
) -> None:
    asked = ensureDeferred(taker.take(ORDER, TARGET))
    runner.started[0].say(id=1, result={"size_bytes": 1})
    assert result(asked) == 1
    closing = ensureDeferred(taker.close())
    assert not clock.getDelayedCalls()
    process: Any = runner.started[0]
    process.finish()
    assert closing.called


def test_picture_that_is_taken_when_it_is_closed_fails(
    taker: Thumbnailer, runner: SlowProcesses, clock: Clock
) -> None:
    asked = ensureDeferred(taker.take(ORDER, TARGET))
    ensureDeferred(taker.close())
    process: Any = runner.started[0]
    process.finish()
    assert isinstance(result(asked), HelperDied)
    assert not clock.getDelayedCalls()
