"""Devices that keep failing rest, longer each time, and come back one attempt at a time."""

from __future__ import annotations

from ffcluster.core import effects as fx
from ffcluster.core import events as ev
from ffcluster.core import quarantine
from ffcluster.core.cluster import ClusterState, Policy
from ffcluster.core.invariants import validate
from ffcluster.core.job import JobState
from ffcluster.core.model import JobId, WorkerId
from ffcluster.core.quarantine import MAX_REST_S, WHOLE_WORKER, Place, Quarantine, Quarantines
from ffcluster.core.reporting import worker_view
from ffcluster.core.segment import AttemptEnd, AttemptState
from ffcluster.errors import Code, ErrorReport
from tests.core.cluster_model import Simulation, capability

NVENC = capability("h264_nvenc", "cuda:0", slots=3, backend="nvenc")
HEVC = capability("hevc_nvenc", "cuda:0", slots=3, backend="nvenc")
OTHER = capability("h264_nvenc", "cuda:1", slots=3, backend="nvenc")


def fail(
    known: Quarantines,
    first_frame: int,
    now: float = 0.0,
    *,
    job: str = "j",
    after: int = 3,
    elsewhere: bool = False,
) -> Quarantine | None:
    return quarantine.failed(
        known,
        NVENC,
        (JobId(job), first_frame),
        "boom",
        now,
        after=after,
        first_rest_s=60.0,
        elsewhere=elsewhere,
    )


def rested() -> Quarantines:
    """A device that has rested once and is on probation."""
    known: Quarantines = {}
    for first in (0, 100, 200):
        fail(known, first)
    quarantine.recover(known, 60.0)
    return known


def test_different_segments_in_a_row_make_a_device_rest() -> None:
    known: Quarantines = {}
    assert fail(known, 0) is None
    assert fail(known, 100) is None
    begun = fail(known, 200, now=5.0)
    assert begun is not None
    assert (begun.until, begun.times) == (65.0, 1)
    assert begun.reason == "failed on 3 segments in a row: boom"
    assert quarantine.resting(known, NVENC) is begun


def test_segments_of_different_jobs_count_together() -> None:
    known: Quarantines = {}
    fail(known, 0, job="one")
    fail(known, 0, job="two")
    assert fail(known, 0, job="three") is not None


def test_one_segment_that_fails_again_and_again_is_not_the_devices_fault() -> None:
    known: Quarantines = {}
    assert not any(fail(known, 0) for _ in range(50))
    assert quarantine.resting(known, NVENC) is None


def test_a_success_makes_the_count_start_again() -> None:
    known: Quarantines = {}
    fail(known, 0)
    fail(known, 100)
    assert not quarantine.succeeded(known, NVENC)
    fail(known, 200)
    assert fail(known, 300) is None


def test_all_encoders_of_a_backend_on_a_device_rest_and_no_other_device() -> None:
    known: Quarantines = {}
    for first in (0, 100, 200):
        fail(known, first)
    assert quarantine.resting(known, HEVC)
    assert not quarantine.resting(known, OTHER)


def test_attempts_that_ran_on_while_it_rests_neither_count_nor_lengthen_it() -> None:
    known: Quarantines = {}
    for first in (0, 100, 200):
        fail(known, first)
    assert fail(known, 300, now=30.0) is None
    assert known[Place.of(NVENC)].until == 60.0


def test_a_success_while_it_rests_ends_the_rest() -> None:
    known: Quarantines = {}
    for first in (0, 100, 200):
        fail(known, first)
    assert quarantine.succeeded(known, NVENC)
    assert not known


def test_a_rest_ends_in_probation_when_its_time_has_come() -> None:
    known: Quarantines = {}
    for first in (0, 100, 200):
        fail(known, first)
    assert list(quarantine.wakes(known)) == [60.0]
    assert not quarantine.recover(known, 59.9)
    assert quarantine.recover(known, 60.0)
    assert quarantine.on_probation(known, NVENC)
    assert not list(quarantine.wakes(known))


def test_one_failure_on_probation_sends_it_back_for_twice_as_long_up_to_an_hour() -> None:
    known, now = rested(), 60.0
    rests = []
    for first in range(300, 1300, 100):
        begun = fail(known, first, now)
        assert begun is not None
        rests.append(begun.until - now)
        now = begun.until
        quarantine.recover(known, now)
    assert rests[:3] == [120.0, 240.0, 480.0]
    assert rests[-1] == MAX_REST_S


def test_a_success_on_probation_clears_it() -> None:
    known = rested()
    assert quarantine.succeeded(known, NVENC)
    assert not quarantine.on_probation(known, NVENC)
    assert fail(known, 300) is None


def test_a_segment_that_failed_elsewhere_too_does_not_send_it_back() -> None:
    known = rested()
    assert fail(known, 300, 70.0, elsewhere=True) is None
    assert quarantine.on_probation(known, NVENC)


def test_what_a_job_failed_with_that_failed_everywhere_is_forgiven() -> None:
    known: Quarantines = {}
    for first in (0, 100, 200):
        fail(known, first)
    assert quarantine.forgive(known, JobId("j"))
    assert not known


def test_forgiving_one_job_keeps_what_others_count_for() -> None:
    known: Quarantines = {}
    fail(known, 0)
    fail(known, 100)
    fail(known, 0, job="other")
    assert not quarantine.forgive(known, JobId("j"))
    assert quarantine.resting(known, NVENC)
    assert not quarantine.forgive(known, JobId("nosuch"))


def test_a_first_rest_that_is_forgiven_leaves_only_the_count_for_other_jobs() -> None:
    known: Quarantines = {}
    fail(known, 0, job="other")
    fail(known, 0)
    fail(known, 100)
    assert quarantine.forgive(known, JobId("j"))
    left = known[Place.of(NVENC)]
    assert (left.times, left.reason, list(left.failed)) == (0, "", [(JobId("other"), 0)])
    assert not quarantine.on_probation(known, NVENC)


def test_a_second_rest_that_is_forgiven_leaves_the_probation_of_the_first() -> None:
    known = rested()
    fail(known, 300, 70.0, job="bad")
    assert quarantine.forgive(known, JobId("bad"))
    assert quarantine.on_probation(known, NVENC)
    assert known[Place.of(NVENC)].times == 1


def test_a_worker_that_rests_as_a_whole_comes_back_without_probation() -> None:
    known: Quarantines = {}
    quarantine.rest_whole(known, "no room", 0.0, 60.0)
    assert quarantine.rest_whole(known, "no room", 10.0, 60.0) is None
    assert quarantine.resting(known, NVENC)
    assert quarantine.resting(known, OTHER)
    assert quarantine.recover(known, 60.0)
    assert WHOLE_WORKER not in known


# --- in the cluster ----------------------------------------------------------------------------

BROKEN = ErrorReport(Code.ENCODE_FAILED, "the driver is gone", retryable=True)


def fails_on(sim: Simulation, name: str, until_s: float) -> None:
    sim.fail = lambda o: (
        BROKEN if o.worker_id == name and not o.trial and sim.now < until_s else None
    )


def cluster(**policy: object) -> Simulation:
    given = {"required_workers": 2, "retry_delay_s": 1, "max_retries": 20, "poison_after": 3}
    sim = Simulation(Policy(**given | policy))
    for name in ("bad", "good"):
        sim.join(name, 50.0, 2)
    return sim


def attempts_of(sim: Simulation, name: str) -> list[fx.OfferAttempt]:
    return [o for o in sim.offers if o.worker_id == name and not o.trial]


def test_a_machine_that_only_fails_is_left_alone_and_the_job_does_not_suffer() -> None:
    sim = cluster()
    fails_on(sim, "bad", until_s=1e9)
    job = sim.submit("j", 30_000)
    sim.run()
    sim.assert_whole(job)
    # Without rests it would have failed with one segment after the other.
    assert len(attempts_of(sim, "bad")) <= 12
    assert all(share.name == "good" for share in job.shares.values() if share.frames)


def test_why_a_device_rests_is_shown_and_written_down() -> None:
    sim = cluster()
    fails_on(sim, "bad", until_s=1e9)
    sim.submit("j", 30_000)
    sim.run(until_s=40)
    worker = sim.state.workers[WorkerId("bad")]
    (shown,) = worker_view(worker, sim.now).quarantines
    assert (shown.backend, shown.device, shown.times) == ("software", "", 1)
    assert shown.reason == "failed on 3 segments in a row: the driver is gone"
    assert shown.until > sim.now
    (noted,) = [e for e in sim.store.events if e.kind == "worker.quarantined"]
    assert noted.worker_id == "bad"
    assert dict(noted.data)["reason"] == shown.reason


def test_on_probation_it_gets_one_attempt_at_a_time_until_a_success() -> None:
    sim = cluster(quarantine_s=10.0)
    fails_on(sim, "bad", until_s=15)
    job = sim.submit("j", 10_000, cut_frames=tuple(range(100, 10_000, 100)))
    bad = sim.state.workers[WorkerId("bad")]
    sim.run(until_s=12)
    (rest,) = bad.quarantines.values()
    assert not bad.attempts
    sim.run(until_s=rest.until + 1)
    assert len(bad.attempts) == 1
    sim.run()
    sim.assert_whole(job)
    assert not bad.quarantines
    assert job.shares[bad.id].frames > 0


def test_a_job_whose_only_devices_rest_waits_says_until_when_and_goes_on() -> None:
    sim = Simulation(Policy(required_workers=1, retry_delay_s=1, max_retries=20))
    sim.join("only")
    fails_on(sim, "only", until_s=30)
    job = sim.submit("j", 10_000, cut_frames=tuple(range(20, 400, 20)))
    sim.run(until_s=20)
    assert job.state is JobState.WAITING_FOR_CLIENTS
    assert job.reason.startswith("software on only rests until ")
    assert job.reason.endswith(" UTC: failed on 3 segments in a row: the driver is gone")
    sim.run()
    sim.assert_whole(job)


def test_a_job_that_begins_while_all_devices_rest_waits_for_them() -> None:
    sim = Simulation(Policy(required_workers=1, retry_delay_s=1, max_retries=20))
    sim.join("only")
    fails_on(sim, "only", until_s=30)
    first = sim.submit("one", 10_000, cut_frames=tuple(range(20, 400, 20)))
    sim.run(until_s=20)
    second = sim.submit("two", 1_000)
    sim.run(until_s=21)
    assert second.reason.startswith("software on only rests until ")
    sim.run()
    sim.assert_whole(first)
    sim.assert_whole(second)


def test_a_job_that_fails_everywhere_leaves_no_device_resting() -> None:
    sim = cluster(required_workers=3, quarantine_after=2)
    sim.join("third")
    sim.fail = lambda o: BROKEN if o.job_id == "bad" and not o.trial else None
    bad = sim.submit("bad", 10_000)
    sim.run()
    assert bad.state is JobState.FAILED
    assert not any(worker.quarantines for worker in sim.state.workers.values())
    fine = sim.submit("fine", 5_000)
    began = sim.now
    sim.run()
    sim.assert_whole(fine)
    assert fine.ended_at is not None
    assert fine.ended_at - began < 60


def test_what_waits_on_a_device_that_begins_to_rest_is_given_to_others_at_once() -> None:
    sim = cluster()
    sim.submit("j", 30_000, cut_frames=tuple(range(100, 30_000, 100)))
    sim.run(until_s=12)
    bad = sim.state.workers[WorkerId("bad")]
    waiting = [a for a in bad.attempts.values() if a.state is AttemptState.OFFERED]
    assert waiting
    running = [a for a in bad.attempts.values() if a.state is AttemptState.RUNNING]
    sim.post(ev.AttemptFailed(running[0].epoch, ErrorReport(Code.DISK_FULL, "no room")))
    assert bad.quarantines
    assert {a.end for a in waiting} == {AttemptEnd.RETURNED}
    assert all(a.state is not AttemptState.OFFERED for a in bad.attempts.values())
    assert validate(sim.state) is None


def test_an_operator_can_end_a_rest() -> None:
    sim = cluster()
    fails_on(sim, "bad", until_s=20)
    sim.submit("j", 30_000)
    sim.run(until_s=25)
    bad = sim.state.workers[WorkerId("bad")]
    assert bad.quarantines
    sim.post(ev.WorkerResumed(WorkerId("bad")))
    assert not bad.quarantines
    assert bad.attempts


def test_rests_outlive_the_coordinator() -> None:
    sim = cluster()
    fails_on(sim, "bad", until_s=1e9)
    sim.submit("j", 30_000)
    sim.run(until_s=40)
    before = sim.state.workers[WorkerId("bad")].quarantines
    again = ClusterState.restored(sim.state.policy, sim.judge, sim.store.saved())
    after = again.workers[WorkerId("bad")].quarantines
    assert [(q.place, q.until, q.times, q.reason) for q in after.values()] == [
        (q.place, q.until, q.times, q.reason) for q in before.values()
    ]
