from __future__ import annotations

import attrs
import pytest

from ffcluster.core import events as ev
from ffcluster.core.cluster import Policy
from ffcluster.core.job import JobState
from ffcluster.core.model import Epoch, Fallback, JobId, PreRoll, SegmentProof, WorkerId
from ffcluster.core.profile import FilterScope, Profile, VideoFilter
from ffcluster.core.reporting import contributions
from ffcluster.core.segment import AttemptState
from ffcluster.core.transition import InvalidTransition
from ffcluster.core.worker import WorkerState
from ffcluster.errors import Code, ErrorReport
from tests.core.cluster_model import Simulation, capability, facts, spec

BROKEN = ErrorReport(
    Code.ENCODE_FAILED, "ffmpeg exited with 1", detail={"stderr": "boom"}, retryable=True
)
SHORT = ErrorReport(Code.WRONG_FRAME_COUNT, "249 of 250 frames", retryable=True)


def states(job: object) -> list[str]:
    return [state.value for state, _ in job.history] + [job.state.value]


def test_a_film_is_split_encoded_and_joined_in_order() -> None:
    sim = Simulation(Policy(required_workers=2))
    sim.join("a")
    sim.join("b")
    job = sim.submit("j", 5000)
    sim.run()
    sim.assert_whole(job)
    assert states(job) == [
        "Queued",
        "WaitingForClients",
        "Benchmarking",
        "Processing",
        "Combining",
        "Completed",
    ]
    assert {share.name for share in job.shares.values() if share.frames} == {"a", "b"}


def test_a_job_waits_for_the_required_workers_and_says_how_many_are_missing() -> None:
    sim = Simulation(Policy(required_workers=3))
    sim.join("a")
    job = sim.submit("j", 1000)
    sim.run()
    assert job.state is JobState.WAITING_FOR_CLIENTS
    assert job.reason == "waiting for 2 more workers"
    sim.join("b")
    assert job.reason == "waiting for 1 more worker"
    sim.join("c")
    sim.run()
    sim.assert_whole(job)


def test_a_worker_without_a_known_rate_gets_a_probe_of_at_most_the_benchmark_duration() -> None:
    sim = Simulation(Policy(required_workers=2, benchmark_duration_s=4.0))
    sim.join("a")
    sim.join("b")
    job = sim.submit("j", 50_000)
    sim.run(until_s=1)
    assert sorted(len(s.frames) for s in job.segments.values()) == [100, 100]
    assert job.state is JobState.BENCHMARKING
    assert all(w.state is WorkerState.BENCHMARKING for w in sim.state.workers.values())
    sim.run()
    sim.assert_whole(job)


def test_the_smaller_benchmark_duration_of_coordinator_and_worker_counts() -> None:
    sim = Simulation(Policy(required_workers=1, benchmark_duration_s=10.0))
    sim.post(ev.WorkerJoined(WorkerId("a"), spec_facts_with_benchmark(2.0)))
    job = sim.submit("j", 50_000)
    sim.run(until_s=0.2)
    assert [len(s.frames) for s in job.segments.values()] == [50]


def spec_facts_with_benchmark(seconds: float) -> object:
    return attrs.evolve(facts("a"), benchmark_duration_s=seconds)


def test_a_fast_worker_gets_larger_segments_and_both_end_together() -> None:
    sim = Simulation(Policy(required_workers=2))
    sim.join("slow", rate_fps=10)
    sim.join("fast", rate_fps=90)
    job = sim.submit("j", 20_000)
    sim.run()
    sim.assert_whole(job)
    frames = {share.name: share.frames for share in job.shares.values()}
    assert frames["fast"] > 6 * frames["slow"]
    assert job.ended_at is not None
    # 20,000 frames at 100 frames/s need 200 s; the probe and the tail may cost a little.
    assert job.ended_at < 200 * 1.12


def test_segments_shrink_towards_the_end() -> None:
    sim = Simulation(Policy(required_workers=4))
    for name in "abcd":
        sim.join(name, rate_fps=25)
    job = sim.submit("j", 30_000)
    sim.run()
    sizes = [len(s.frames) for s in job.segments.values()]
    assert max(sizes[-4:]) < max(sizes[4:12])


def test_two_jobs_share_the_workers() -> None:
    sim = Simulation(Policy(required_workers=2))
    sim.join("a")
    sim.join("b")
    first = sim.submit("one", 10_000)
    second = sim.submit("two", 10_000)
    sim.run(until_s=70)
    assert first.frames_committed
    assert second.frames_committed
    sim.run()
    sim.assert_whole(first)
    sim.assert_whole(second)


def test_a_lost_workers_segments_go_to_the_others_and_the_late_result_is_ignored() -> None:
    sim = Simulation(Policy(required_workers=2, retry_delay_s=1))
    sim.join("a")
    sim.join("b")
    job = sim.submit("j", 10_000)
    sim.run(until_s=3)
    lost = [a.epoch for a in sim.state.attempts.values() if a.worker_id == "a"]
    assert lost
    sim.kill("a")
    assert sim.state.workers[WorkerId("a")].state is WorkerState.DISCONNECTED
    before = job.frames_committed
    sim.post(ev.AttemptDelivered(lost[0], SegmentProof(250)))
    assert job.frames_committed == before
    sim.run()
    sim.assert_whole(job)
    assert job.retries == len(lost)


def test_a_worker_that_joins_in_mid_job_is_used() -> None:
    sim = Simulation()
    sim.join("a")
    job = sim.submit("j", 10_000)
    sim.run(until_s=20)
    sim.join("late")
    sim.run()
    sim.assert_whole(job)
    assert {share.name for share in job.shares.values() if share.frames} == {"a", "late"}


def test_a_job_without_workers_waits_again_and_goes_on_when_one_returns() -> None:
    sim = Simulation(Policy(required_workers=1, retry_delay_s=1))
    sim.join("a")
    job = sim.submit("j", 5_000)
    sim.run(until_s=10)
    sim.kill("a")
    assert job.state is JobState.WAITING_FOR_CLIENTS
    assert job.reason == "no connected worker has libx264"
    sim.join("a")
    sim.run()
    sim.assert_whole(job)


def test_a_failed_segment_is_retried_after_the_delay_on_another_worker_first() -> None:
    sim = Simulation(Policy(required_workers=2, retry_delay_s=5))
    sim.join("a")
    sim.join("b")
    failed: list[object] = []

    def fail_once_on_a(offer: object) -> ErrorReport | None:
        if offer.worker_id == "a" and not failed and not offer.trial:
            failed.append((offer.frames, sim.now))
            return BROKEN
        return None

    sim.fail = fail_once_on_a
    job = sim.submit("j", 6_000)
    sim.run()
    sim.assert_whole(job)
    frames, _ = failed[0]
    assert job.segments[frames.first].committed.worker_id == "b"
    assert job.segments[frames.first].committed.offered_at >= failed[0][1] + 5


def test_a_segment_that_fails_too_often_fails_the_job_with_the_evidence() -> None:
    sim = Simulation(Policy(required_workers=1, max_retries=2, retry_delay_s=1))
    sim.join("a")
    sim.fail = lambda offer: BROKEN if offer.frames.first == 0 else None
    job = sim.submit("j", 2_000)
    sim.run()
    assert job.state is JobState.FAILED
    assert job.error.code is Code.ENCODE_FAILED
    assert job.error.detail["stderr"] == "boom"
    assert job.error.detail["worker"] == "a"
    assert job.error.detail["segment"]["first_frame"] == 0
    assert len(job.error.detail["failures"]) == 3
    assert not sim.state.attempts


def test_a_wrong_frame_count_climbs_the_ladder_at_once_before_it_counts_as_a_failure() -> None:
    sim = Simulation(Policy(required_workers=1, max_retries=0, retry_delay_s=100))
    sim.join("a")
    seen: list[PreRoll] = []

    def too_short(offer: object) -> ErrorReport | None:
        if offer.frames.first == 0:
            seen.append(offer.pre_roll)
            return None if offer.pre_roll is PreRoll.WHOLE else SHORT
        return None

    sim.fail = too_short
    job = sim.submit("j", 2_000)
    sim.run()
    sim.assert_whole(job)
    assert seen == [PreRoll.KEYFRAME, PreRoll.TWO_KEYFRAMES, PreRoll.WHOLE]


def test_cancelling_revokes_every_attempt() -> None:
    sim = Simulation()
    sim.join("a", slots=4)
    job = sim.submit("j", 50_000)
    sim.run(until_s=5)
    sim.post(ev.JobCancelled(job.id))
    assert job.state is JobState.CANCELLED
    assert not sim.state.attempts
    assert sim.state.workers[WorkerId("a")].state is WorkerState.IDLE
    sim.run()
    assert not any(worker.running for worker in sim.workers.values())


def test_a_draining_worker_finishes_what_runs_and_gets_nothing_more() -> None:
    sim = Simulation(Policy(required_workers=2))
    sim.join("a")
    sim.join("b")
    job = sim.submit("j", 20_000)
    sim.run(until_s=8)
    sim.post(ev.WorkerDraining(WorkerId("a")))
    running = [a for a in sim.state.workers[WorkerId("a")].attempts.values() if a.holds_slot]
    assert all(a.state is AttemptState.RUNNING for a in running)
    done = sim.state.workers[WorkerId("a")].segments_done
    sim.run()
    sim.assert_whole(job)
    assert sim.state.workers[WorkerId("a")].segments_done == done + len(running)


def test_a_returned_attempt_is_nobodys_failure() -> None:
    sim = Simulation(Policy(required_workers=1, max_retries=0))
    sim.join("a")
    job = sim.submit("j", 2_000)
    sim.run(until_s=2)
    (attempt,) = [a for a in sim.state.attempts.values() if a.state is AttemptState.RUNNING]
    sim.workers[WorkerId("a")].devices[""].running.clear()
    sim.post(ev.AttemptReturned(attempt.epoch))
    sim.run()
    sim.assert_whole(job)
    assert job.retries == 0


def test_an_overdue_attempt_is_overtaken_by_an_idle_worker() -> None:
    sim = Simulation(Policy(required_workers=2, benchmark_duration_s=2))
    sim.join("fast", rate_fps=100)
    sim.join("slow", rate_fps=100)
    job = sim.submit("j", 12_000)
    sim.run(until_s=20)
    sim.workers[WorkerId("slow")].devices[""].rate_fps = 1.0
    sim.run()
    sim.assert_whole(job)
    assert job.ended_at < 200


def test_a_film_whose_filters_see_everything_is_one_segment() -> None:
    sim = Simulation(Policy(required_workers=2))
    sim.join("a")
    sim.join("b")
    hqdn3d = Profile(filters=(VideoFilter("hqdn3d", scope=FilterScope.STREAM),))
    job = sim.submit("j", 10_000, profile=hqdn3d)
    sim.run()
    sim.assert_whole(job)
    assert len(job.segments) == 1


def test_forced_cuts_are_obeyed() -> None:
    sim = Simulation()
    sim.join("a")
    job = sim.submit("j", 1_000, cut_frames=(7, 500, 501))
    sim.run()
    sim.assert_whole(job)
    assert sim.joined[job.id] == [(0, 7), (7, 500), (500, 501), (501, 1000)]


def test_no_usable_encoder_is_retried_and_then_fails_the_job() -> None:
    sim = Simulation(Policy(required_workers=1, max_retries=2, retry_delay_s=3))
    sim.post(ev.WorkerJoined(WorkerId("a"), attrs.evolve(facts("a"), capabilities=())))
    job = sim.submit("j", 1_000)
    sim.run()
    assert job.state is JobState.FAILED
    assert job.error.code is Code.NO_USABLE_ENCODER
    assert job.ended_at >= 6


def test_a_result_unlike_the_others_is_refused() -> None:
    from ffcluster.core import effects as fx
    from tests.core.cluster_model import report

    class Odd(Simulation):
        odd = False

        def carry_out(self, effect: fx.Effect) -> None:
            if isinstance(effect, fx.CheckResult) and effect.frames.first and not self.odd:
                self.odd = True
                wrong = attrs.evolve(report(len(effect.frames)), pix_fmt="yuv444p")
                checked = ev.AttemptChecked(effect.epoch, wrong)
                self.later(0.02, lambda: self.post(checked))
                return
            super().carry_out(effect)

    sim = Odd(Policy(required_workers=1, retry_delay_s=0))
    sim.join("a")
    job = sim.submit("j", 3_000)
    sim.run()
    assert sim.odd
    sim.assert_whole(job)
    assert job.retries == 1


def test_unknown_and_repeated_events_change_nothing() -> None:
    sim = Simulation()
    sim.join("a")
    job = sim.submit("j", 1_000)
    sim.run()
    sim.assert_whole(job)
    for event in (
        ev.AttemptStarted(Epoch(1)),
        ev.AttemptProgressed(Epoch(1), 5, 1.0),
        ev.AttemptDelivered(Epoch(1), SegmentProof(1)),
        ev.AttemptFailed(Epoch(99), BROKEN),
        ev.AttemptReturned(Epoch(1)),
        ev.JobCancelled(job.id),
        ev.JobFailed(job.id, BROKEN),
        ev.JobSubmitted(job.id, spec()),
        ev.JobCancelled(JobId("nosuch")),
        ev.WorkerLeft(WorkerId("nosuch")),
    ):
        sim.post(event)
    assert job.state is JobState.COMPLETED


def test_an_illegal_move_names_the_subject_and_its_history() -> None:
    sim = Simulation()
    sim.join("a")
    job = sim.submit("j", 1_000)
    sim.run()
    with pytest.raises(InvalidTransition, match="job j: Completed -> Processing is no move"):
        job.move(JobState.PROCESSING, 0.0)


@pytest.mark.parametrize("seed", range(30))
def test_workers_that_come_and_go_and_fail_never_lose_a_frame(seed: int) -> None:
    sim = Simulation(
        Policy(required_workers=2, retry_delay_s=1, max_retries=50, poison_after=50), seed
    )
    names = [f"w{n}" for n in range(8)]
    for name in names:
        sim.join(name, rate_fps=sim.random.choice([5, 25, 100]), slots=sim.random.choice([1, 2, 4]))
    sim.fail = lambda offer: sim.random.choice([None, None, None, BROKEN, SHORT])
    jobs = [sim.submit(f"j{n}", sim.random.randrange(1, 20_000)) for n in range(3)]

    def disturb() -> None:
        name = sim.random.choice(names[1:])
        if sim.random.random() < 0.5:
            sim.kill(name)
        else:
            sim.join(name, rate_fps=sim.random.choice([5, 25, 100]))
        if any(not job.ended for job in jobs):
            sim.later(sim.random.uniform(1, 20), disturb)

    sim.later(3, disturb)
    sim.run()
    for job in jobs:
        sim.assert_whole(job)


NVENC = capability("h264_nvenc", "cuda:0", slots=3)
QSV = capability("h264_qsv", "/dev/dri/renderD128", slots=2)


@pytest.mark.parametrize("seed", range(30))
def test_devices_that_come_and_go_and_are_full_never_lose_a_frame(seed: int) -> None:
    sim = Simulation(
        Policy(required_workers=2, retry_delay_s=1, max_retries=80, poison_after=50), seed
    )
    chance = sim.random
    names = [f"w{n}" for n in range(6)]

    def join(name: str) -> None:
        second = attrs.evolve(NVENC, device="cuda:1")
        more = chance.choice([(), (NVENC,), (NVENC, second), (QSV,), (NVENC, QSV)])
        sim.join(
            name,
            chance.choice([5, 25, 100]),
            chance.choice([1, 2, 4]),
            *more,
            rates={"cuda:0": 120.0, "cuda:1": 80.0},
            sets={"libx264": chance.choice(["x", "x", "y"])},
            sessions=chance.choice([0, 1, 2, 8]),
        )

    # One machine stays and can do everything, so that no job must wait for ever.
    sim.join("w0", 25.0, 2, NVENC, QSV, sets={"libx264": "x"}, sessions=2)
    for name in names[1:]:
        join(name)
    sim.fail = lambda o: chance.choice([None] * 6 + [BROKEN]) if not o.trial else None
    jobs = [
        sim.submit(
            f"j{n}",
            chance.randrange(1, 10_000),
            mix=chance.random() < 0.4,
            fallback=chance.choice(list(Fallback)),
        )
        for n in range(3)
    ]

    def disturb() -> None:
        name = chance.choice(names[1:])
        if chance.random() < 0.5:
            sim.kill(name)
        else:
            join(name)
        if chance.random() < 0.3:
            device = sim.workers[WorkerId("w0")].devices["cuda:0"]
            device.sessions = chance.choice([1, 2, 8])
        if any(not job.ended for job in jobs):
            sim.later(chance.uniform(1, 20), disturb)

    sim.later(0.2, disturb)
    # Classes that only a machine had that never returns leave their job waiting: bring it back.
    sim.run(until_s=2_000)
    for name, sets in (("y", "y"), ("x", "x")):
        sim.join(name, 50.0, 2, NVENC, QSV, sets={"libx264": sets})
    sim.run()
    for job in jobs:
        sim.assert_whole(job)
        kinds = set(sim.joined_sets[job.id])
        stood_in = any(made.fallback for made in contributions(job))
        assert len(kinds) == 1 or job.spec.mix or stood_in
    assert not sim.state.attempts
