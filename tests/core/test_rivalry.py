"""How much longer jobs take because they share workers: foretold, and then looked at."""

from __future__ import annotations

import pytest

from ffcluster.core import events as ev
from ffcluster.core.cluster import Policy
from ffcluster.core.job import Job
from ffcluster.core.profile import Profile
from ffcluster.core.reporting import job_view
from ffcluster.core.rivalry import slowdowns
from tests.core.cluster_model import Simulation, capability

NVENC = capability("h264_nvenc", "cuda:0", slots=2)


def factors(sim: Simulation) -> dict[str, float]:
    return dict(slowdowns(sim.state.jobs.values(), sim.state.workers))


def foretold(sim: Simulation) -> dict[str, float]:
    """When each job is expected to end."""
    found = factors(sim)
    views = [job_view(j, sim.now, slowdown=found.get(j.id, 1)) for j in sim.state.jobs.values()]
    return {view.id: sim.now + view.eta_s for view in views if view.eta_s is not None}


def cluster(*sizes: int, workers: int = 4) -> Simulation:
    """Jobs of these sizes in frames, a while after they began on workers of 50 fps each."""
    sim = Simulation(Policy(required_workers=workers))
    for number in range(workers):
        sim.join(f"w{number}")
    for number, frames in enumerate(sizes):
        sim.submit(f"j{number}", frames)
    sim.run(until_s=60)
    return sim


def ended(sim: Simulation) -> dict[str, float]:
    sim.run()
    return {job.id: job.ended_at or 0.0 for job in sim.state.jobs.values()}


@pytest.mark.parametrize(
    "sizes",
    [(60_000,), (60_000,) * 3, (30_000, 60_000, 120_000), (200_000, 20_000)],
    ids=["one", "three-alike", "three", "two"],
)
def test_jobs_end_when_it_was_said(sizes: tuple[int, ...]) -> None:
    sim = cluster(*sizes)
    said = foretold(sim)
    assert len(said) == len(sizes)
    for job, at in ended(sim).items():
        assert said[job] == pytest.approx(at, rel=0.1), job


def test_a_job_that_goes_first_is_not_slowed_and_the_others_wait_for_it() -> None:
    sim = cluster(60_000, 60_000)
    sim.post(ev.JobPrioritised(sim.state.jobs["j1"].id, 5))
    sim.run(until_s=90)
    assert factors(sim).keys() == {"j0"}
    said = foretold(sim)
    for job, at in ended(sim).items():
        assert said[job] == pytest.approx(at, rel=0.1), job


def test_jobs_on_other_devices_are_no_rivals() -> None:
    sim = Simulation(Policy(required_workers=1))
    sim.join("w", 50.0, 1, NVENC)
    sim.submit("cpu", 60_000, profile=Profile(encoder="libx264"))
    sim.submit("gpu", 60_000, profile=Profile(encoder="h264_nvenc"))
    sim.run(until_s=60)
    assert len(foretold(sim)) == 2
    assert factors(sim) == {}


def test_a_job_for_a_few_workers_is_a_rival_only_there() -> None:
    sim = Simulation(Policy(required_workers=40))
    for number in range(39):
        sim.join(f"w{number}", 50.0, 1)
    sim.join("gpu", 50.0, 1, NVENC)
    pinned = Profile(encoder="h264_nvenc")
    sim.submit("everywhere", 240_000, profile=Profile(encoder="libx264"))
    for number in range(2):
        sim.submit(f"pinned{number}", 30_000, profile=pinned)
    sim.run(until_s=20)
    found = factors(sim)
    assert found.keys() == {"pinned0", "pinned1"}
    assert all(factor == pytest.approx(2, rel=0.1) for factor in found.values())


def test_paused_and_ended_jobs_are_no_rivals_and_nobody_knows_when_a_paused_one_ends() -> None:
    sim = cluster(60_000, 60_000, 60_000)
    assert len(factors(sim)) == 3
    ids = [job.id for job in sim.state.jobs.values()]
    sim.post(ev.JobPaused(ids[0]))
    sim.post(ev.JobCancelled(ids[1]))
    assert factors(sim) == {}
    assert foretold(sim).keys() == {ids[2]}


def test_jobs_without_a_known_rate_are_left_out() -> None:
    sim = cluster(60_000)
    job: Job = sim.state.jobs["j0"]
    fresh = sim.submit("fresh", 60_000)
    assert not fresh.encoding
    assert slowdowns([job, fresh], sim.state.workers) == {}
