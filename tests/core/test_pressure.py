"""Devices that say that they are full: less is given, it recovers, and it is bounded."""

from __future__ import annotations

from ffcluster.core import effects as fx
from ffcluster.core.cluster import Policy
from ffcluster.core.job import JobState
from ffcluster.core.model import WorkerId
from ffcluster.core.worker import (
    BUSY_PAUSE_S,
    MAX_BUSY_IN_A_ROW,
    PREFETCH_LOAD,
    RECOVERY_S,
    RUNNING_LOAD,
    Worker,
)
from ffcluster.errors import Code, ErrorReport
from tests.core.cluster_model import Simulation, capability, facts

NVENC = capability("h264_nvenc", "cuda:0", slots=5)


def gpu(sessions: int, **policy: object) -> Simulation:
    sim = Simulation(Policy(required_workers=1, retry_delay_s=1, **policy))
    sim.join("gpu", 25.0, 1, NVENC, software=False, sessions=sessions)
    return sim


def running(sim: Simulation) -> int:
    return len(sim.workers[WorkerId("gpu")].running)


def test_the_session_limit_is_learnt_without_a_failure_or_a_retry() -> None:
    sim = gpu(sessions=3, max_retries=0)
    job = sim.submit("j", 10_000)
    sim.run(until_s=20)
    worker = sim.state.workers[WorkerId("gpu")]
    assert worker.limit("cuda:0") == 3
    assert running(sim) == 3
    sim.run()
    sim.assert_whole(job)
    assert job.retries == 0
    assert worker.failures == 0
    assert all(not s.failures for s in job.segments.values())


def test_a_limit_recovers_one_slot_after_each_quiet_minute() -> None:
    sim = gpu(sessions=2)
    sim.submit("j", 100_000)
    sim.run(until_s=10)
    worker = sim.state.workers[WorkerId("gpu")]
    assert worker.limit("cuda:0") == 2
    sim.workers[WorkerId("gpu")].devices["cuda:0"].sessions = 1000
    limits = []
    for minute in range(1, 4):
        sim.run(until_s=10 + minute * (RECOVERY_S + 1))
        limits.append(worker.limit("cuda:0"))
    assert limits == [3, 4, None]
    assert not worker.limits
    assert running(sim) == 5


def test_behind_a_limit_nothing_waits_because_the_worker_would_start_it() -> None:
    worker = Worker(WorkerId("a"), facts("a", 1, NVENC), 0.0)
    worker.refused("cuda:0", 0.0)
    late = BUSY_PAUSE_S + 1
    assert worker.slots(NVENC) == 1
    assert worker.has_room(NVENC, RUNNING_LOAD, late)
    assert worker.has_room(capability(), PREFETCH_LOAD, 0.0)
    assert not worker.has_room(NVENC, RUNNING_LOAD, 0.0)


def test_a_device_that_others_fill_is_left_alone_for_a_while_and_asked_again() -> None:
    sim = gpu(sessions=0)
    job = sim.submit("j", 2_000)
    sim.run(until_s=BUSY_PAUSE_S * 4)
    asked = len(sim.offers)
    assert 3 <= asked <= 10
    sim.workers[WorkerId("gpu")].devices["cuda:0"].sessions = 5
    sim.run()
    sim.assert_whole(job)
    assert job.retries == 0


def test_a_device_that_never_stops_being_full_counts_as_failing() -> None:
    sim = gpu(sessions=0, max_retries=2)
    job = sim.submit("j", 100)
    sim.run()
    assert job.state is JobState.FAILED
    assert job.error.code is Code.ENCODER_BUSY
    assert len(sim.offers) == MAX_BUSY_IN_A_ROW + 3


def test_a_success_makes_the_count_of_refusals_start_again() -> None:
    worker = Worker(WorkerId("a"), facts("a", 1, NVENC), 0.0)
    for _ in range(MAX_BUSY_IN_A_ROW):
        assert worker.refused("cuda:0", 0.0)
    assert not worker.refused("cuda:0", 0.0)
    worker.succeeded("cuda:0")
    assert worker.refused("cuda:0", 0.0)


def test_a_full_device_leaves_its_segment_to_others_at_once() -> None:
    sim = Simulation(Policy(required_workers=2, retry_delay_s=1))
    for name in ("gpu", "full"):
        sim.join(name, 25.0, 1, NVENC, software=False, sessions=5)
    job = sim.submit("j", 8_000)
    sim.run(until_s=5)
    sim.workers[WorkerId("full")].devices["cuda:0"].sessions = 0
    sim.run()
    sim.assert_whole(job)
    assert job.retries == 0


def test_a_busy_trial_is_made_again_later_and_nobody_waits_for_it() -> None:
    sim = Simulation(Policy(required_workers=2, retry_delay_s=1))
    sim.join("gpu", 200.0, 1, NVENC, software=False, sessions=0)
    sim.join("cpu")
    job = sim.submit("j", 5_000)
    sim.run(until_s=2)
    assert {o.encoder for o in sim.offers if not o.trial} == {"libx264"}
    sim.run()
    sim.assert_whole(job)
    assert job.retries == 0


def test_busy_errors_of_one_device_do_not_limit_the_other() -> None:
    sim = Simulation(Policy(required_workers=1, retry_delay_s=1))
    sim.join("gpu", 25.0, 2, NVENC, sessions=1)
    job = sim.submit("j", 20_000, mix=True)
    sim.run(until_s=20)
    worker = sim.state.workers[WorkerId("gpu")]
    assert (worker.limit("cuda:0"), worker.limit("")) == (1, None)
    sim.run()
    sim.assert_whole(job)


def test_a_new_session_of_a_worker_forgets_its_limits() -> None:
    sim = gpu(sessions=2)
    sim.submit("j", 100_000)
    sim.run(until_s=10)
    sim.join("gpu", 25.0, 1, NVENC, software=False)
    assert not sim.state.workers[WorkerId("gpu")].limits
    sim.run(until_s=30)
    assert running(sim) == 5


def test_only_busy_errors_limit() -> None:
    broken = ErrorReport(Code.ENCODE_FAILED, "boom", retryable=True)
    sim = gpu(sessions=5, max_retries=50)
    failed: list[fx.OfferAttempt] = []

    def fail(offer: fx.OfferAttempt) -> ErrorReport | None:
        if len(failed) < 5:
            failed.append(offer)
            return broken
        return None

    sim.fail = fail
    job = sim.submit("j", 5_000)
    sim.run()
    sim.assert_whole(job)
    assert not sim.state.workers[WorkerId("gpu")].limits
