"""What was given lately: forgotten by halves, and whose turn it is by it."""

from __future__ import annotations

import pytest

from ffcluster.core import events as ev
from ffcluster.core.cluster import Policy
from ffcluster.core.job import Job, JobState
from ffcluster.core.usage import HALF_LIFE_S, Usage
from tests.core.cluster_model import Simulation


def test_half_is_forgotten_after_a_half_life() -> None:
    usage = Usage()
    assert usage.lately(1e6) == 0
    usage.add(8.0, 100.0)
    assert usage.lately(100.0) == 8.0
    usage.add(2.0, 100.0 + HALF_LIFE_S)
    assert usage.lately(100.0 + HALF_LIFE_S) == pytest.approx(6.0)
    assert usage.lately(100.0 + 3 * HALF_LIFE_S) == pytest.approx(1.5)


def test_late_job_catches_up_and_then_both_advance_evenly() -> None:
    sim = Simulation(Policy(required_workers=4))
    for number in range(4):
        sim.join(f"w{number}")
    early = sim.submit("early", 200_000)
    sim.run(until_s=100)
    late = sim.submit("late", 200_000)
    first = advance_until(sim, 250, late, early)
    assert first[0] > 1.2 * first[1] > 0
    then = advance_until(sim, 700, late, early)
    assert then[0] == pytest.approx(then[1], rel=0.1)


def advance_until(sim: Simulation, until_s: float, *jobs: Job) -> list[int]:
    """Frames of each job that are given meanwhile."""
    before = [job.frontier for job in jobs]
    sim.run(until_s=until_s)
    return [job.frontier - done for job, done in zip(jobs, before, strict=True)]


def test_job_that_others_crowd_out_says_that_it_waits_for_its_turn() -> None:
    sim = Simulation(Policy(required_workers=1))
    sim.join("w")
    first, second = sim.submit("first", 60_000), sim.submit("second", 60_000)
    sim.run(until_s=40)
    assert second.live or first.live
    sim.post(ev.JobPrioritised(first.id, 5))
    sim.run(until_s=160)
    assert first.reason == ""
    assert not second.live
    assert second.reason == "waiting for its turn: its workers encode for other jobs"
    sim.post(ev.JobPaused(first.id))
    sim.run(until_s=200)
    assert second.live
    assert second.reason == ""
    sim.post(ev.JobResumed(first.id))
    sim.run()
    assert first.state is second.state is JobState.COMPLETED
