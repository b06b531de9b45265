"""What an event costs must not grow with workers and segments that it is not about.

Counted in looks at posts, workers and devices, which is the same on every machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import pytest

from ffcluster.core import events as ev
from ffcluster.core.cluster import ClusterState, Policy
from ffcluster.core.effects import Effect, OfferAttempt
from ffcluster.core.model import WorkerId
from ffcluster.core.segment import Attempt, AttemptState
from tests.core.cluster_model import Simulation, capability, facts

_NVENC = capability("h264_nvenc", "cuda:0", slots=2)


def calls(act: Callable[[], object]) -> int:
    """How many functions of the core are called while `act` runs."""
    count = 0

    def seen(frame: object, event: str, _: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


@pytest.fixture(autouse=True)
def _unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests check the state after every event; that takes long with so many workers."""
    monkeypatch.setattr("tests.core.cluster_model.validate", lambda state: None)


def busy_cluster(workers: int) -> Simulation:
    """A long film on so many machines, two thirds of which have hardware too."""
    sim = Simulation(Policy(required_workers=1))
    for number in range(workers):
        sim.join(f"w{number}", 50.0, 1, *([_NVENC] if number % 3 else []))
    sim.submit("film", workers * 20_000)
    sim.submit("other", workers * 20_000)
    sim.run(until_s=8.0)
    return sim


def a_running_one(sim: Simulation) -> Attempt:
    return next(a for a in sim.state.attempts.values() if a.state is AttemptState.RUNNING)


def hello(sim: Simulation) -> ev.Event:
    return ev.WorkerJoined(WorkerId("late"), facts("late", 1, _NVENC))


def progress(sim: Simulation) -> ev.Event:
    attempt = a_running_one(sim)
    return ev.AttemptProgressed(attempt.epoch, attempt.frames_done + 1, 50.0)


def heard_nothing_new(sim: Simulation) -> ev.Event:
    return ev.AttemptProgressed(a_running_one(sim).epoch, 0, 50.0)


@pytest.mark.parametrize("event_of", [hello, progress, heard_nothing_new])
def test_an_event_about_one_worker_costs_the_same_among_many(
    event_of: Callable[[Simulation], ev.Event],
) -> None:
    costs = []
    for workers in (8, 48):
        sim = busy_cluster(workers)
        event = event_of(sim)
        costs.append(calls(partial(sim.state.handle, event, sim.now)))
    few, many = costs
    assert many < 2 * few, costs


def test_what_takes_long_is_done_piece_by_piece_and_completely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ffcluster.core.records._BUDGET", 40)
    sim = Simulation(Policy(required_workers=1))
    for number in range(24):
        sim.join(f"w{number}", 50.0, 1, *([_NVENC] if number % 3 else []))
    offered: list[int] = []
    handle = ClusterState.handle

    def counted(state: ClusterState, event: ev.Event, now: float) -> tuple[Effect, ...]:
        effects = handle(state, event, now)
        offered.append(sum(isinstance(effect, OfferAttempt) for effect in effects))
        if state.next_wake(now) == now:
            sim.later(0.0, lambda: sim.post(ev.Ticked()))
        return effects

    monkeypatch.setattr(ClusterState, "handle", counted)
    job = sim.submit("film", 200_000)
    sim.run()
    sim.assert_whole(job)
    assert max(offered) <= 8
