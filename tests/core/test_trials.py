"""Trials, the choice of a crew, mixing: how a job gets those who work on it."""

from __future__ import annotations

import attrs
import pytest

from ffcluster.core import effects as fx
from ffcluster.core import events as ev
from ffcluster.core.cluster import Policy
from ffcluster.core.crews import PostState
from ffcluster.core.job import JobState
from ffcluster.core.judgement import LOST_BOUND
from ffcluster.core.model import JobId, Measurement, PreRoll, SegmentProof, WorkerId
from ffcluster.core.profile import FilterScope, Profile, VideoFilter
from ffcluster.core.reporting import contributions, encoder_names, job_view
from ffcluster.errors import Code, ErrorReport
from tests.core.cluster_model import Simulation, capability, facts, report

NVENC = capability("h264_nvenc", "cuda:0", slots=2)
BROKEN = ErrorReport(Code.ENCODE_FAILED, "the driver is too old", retryable=True)


def trials(sim: Simulation) -> list[tuple[str, str]]:
    return [(o.worker_id, o.encoder) for o in sim.offers if o.trial]


def encoders(sim: Simulation) -> set[tuple[str, str]]:
    return {(o.worker_id, o.encoder) for o in sim.offers if not o.trial}


def pair(**changes: object) -> Simulation:
    """Two workers: `a` with x264 and NVENC, `b` with x264."""
    sim = Simulation(Policy(required_workers=2, retry_delay_s=1, **changes))
    sim.join("a", 50.0, 1, NVENC, rates={"cuda:0": 200.0})
    sim.join("b")
    return sim


def test_each_candidate_is_tried_once_with_the_first_frames_and_nothing_is_kept() -> None:
    sim = pair()
    job = sim.submit("j", 10_000)
    sim.run()
    sim.assert_whole(job)
    assert sorted(trials(sim)) == [("a", "h264_nvenc"), ("a", "libx264"), ("b", "libx264")]
    tried = [o for o in sim.offers if o.trial]
    assert {(o.frames.first, o.frames.stop) for o in tried} == {(0, 12)}
    assert {o.device for o in tried} == {"", "cuda:0"}
    assert job.retries == 0
    assert not job.trials


def test_a_job_is_benchmarking_while_trials_run() -> None:
    sim = pair()
    job = sim.submit("j", 10_000)
    sim.run(until_s=0.2)
    assert job.state is JobState.BENCHMARKING
    assert not job.segments
    assert {a.trial for a in sim.state.attempts.values()} == {True}


def test_without_mix_one_class_makes_the_whole_film() -> None:
    sim = pair()
    job = sim.submit("j", 10_000)
    sim.run()
    sim.assert_whole(job)
    assert len(set(sim.joined_sets[job.id])) == 1
    assert encoders(sim) == {("a", "h264_nvenc")}
    assert encoder_names(job) == "h264_nvenc"


def test_known_rates_choose_the_class_with_more_throughput() -> None:
    sim = Simulation(Policy(required_workers=4, retry_delay_s=1))
    slow = measured("h264_nvenc", "cuda:0", 60.0)
    sim.join("a", 50.0, 1, NVENC, software=False, changes={"measurements": (slow,)})
    for name in "bcd":
        sim.join(name, changes={"measurements": (measured("libx264", "", 50.0),)})
    job = sim.submit("j", 10_000)
    sim.run()
    sim.assert_whole(job)
    assert encoder_names(job) == "libx264"


def measured(encoder: str, device: str, fps: float) -> Measurement:
    return Measurement(encoder, device, "", 1280, 720, fps, fps / 25, 1)


def test_with_mix_every_class_and_every_device_takes_part() -> None:
    sim = pair()
    job = sim.submit("j", 20_000, mix=True)
    sim.run()
    sim.assert_whole(job)
    assert encoders(sim) == {("a", "h264_nvenc"), ("a", "libx264"), ("b", "libx264")}
    assert len(set(sim.joined_sets[job.id])) == 2
    view = job_view(job, sim.now, segments=True)
    assert view.encoder == "h264_nvenc + libx264"
    assert {row.worker: row.encoder for row in view.shares} == {
        "a": "h264_nvenc + libx264",
        "b": "libx264",
    }
    assert {(s.encoder, s.device) for s in view.segments} == {
        ("h264_nvenc", "cuda:0"),
        ("libx264", ""),
    }
    assert len({s.kind for s in view.segments}) == 2
    made = contributions(job)
    assert [m.encoder for m in made] == ["h264_nvenc", "libx264"]
    assert [m.hardware for m in made] == [True, False]
    assert sum(m.segments for m in made) == job.segments_committed


def test_with_mix_a_class_of_another_shape_is_left_out() -> None:
    sim = pair()
    odd = attrs.evolve(NVENC, encoder="odd", device="odd:0")
    sim.join("c", 50.0, 1, odd, software=False)

    def carry_out(effect: fx.Effect) -> None:
        if isinstance(effect, fx.CheckResult) and sim._offered[effect.epoch].encoder == "odd":
            wrong = attrs.evolve(report(12, "odd"), pix_fmt="yuv444p")
            sim.later(0.1, lambda: sim.post(ev.AttemptChecked(effect.epoch, wrong)))
            return
        Simulation.carry_out(sim, effect)

    sim.carry_out = carry_out
    job = sim.submit("j", 10_000, mix=True)
    sim.run()
    sim.assert_whole(job)
    assert "c" not in {worker for worker, _ in encoders(sim)}


def test_mix_is_refused_at_the_start_where_the_container_cannot_carry_it() -> None:
    sim = pair()
    sim.judge.no_mixture = "avc1 in MP4 has one header"
    job = sim.submit("j", 10_000, mix=True)
    sim.run()
    assert job.state is JobState.FAILED
    assert job.error.code is Code.INCOMPATIBLE_SEGMENTS
    assert "avc1 in MP4 has one header" in job.error.message
    assert not sim.offers


@pytest.mark.parametrize("fixed_crew", [True, False])
def test_a_single_candidate_starts_without_a_trial(fixed_crew: bool) -> None:
    sim = Simulation(Policy(required_workers=1, fixed_crew=fixed_crew))
    sim.join("a")
    job = sim.submit("j", 5_000)
    sim.run()
    sim.assert_whole(job)
    assert trials(sim) == []


def test_the_second_best_encoder_of_a_lone_worker_needs_no_trial() -> None:
    sim = Simulation()
    sim.join("a", 50.0, 1, capability("slower", rank=10))
    job = sim.submit("j", 5_000)
    sim.run()
    sim.assert_whole(job)
    assert trials(sim) == []
    assert encoder_names(job) == "libx264"


def test_of_two_encoders_on_one_device_only_the_better_one_works() -> None:
    sim = Simulation(Policy(required_workers=2))
    sim.join("a", 50.0, 1, capability("slower", rank=10), sets={"slower": "s", "libx264": "s"})
    sim.join("b", 50.0, 1, capability("slower", rank=10), sets={"slower": "s", "libx264": "s"})
    job = sim.submit("j", 10_000)
    sim.run()
    sim.assert_whole(job)
    assert encoders(sim) == {("a", "libx264"), ("b", "libx264")}


def test_two_devices_of_a_worker_work_side_by_side_in_one_class() -> None:
    sim = Simulation()
    other = attrs.evolve(NVENC, device="cuda:1")
    sim.join("a", 50.0, 1, NVENC, other, software=False)
    job = sim.submit("j", 10_000)
    sim.run(until_s=5)
    running = [a.device for a in sim.state.attempts.values() if a.started_at is not None]
    assert sorted(running) == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]
    sim.run()
    sim.assert_whole(job)


def test_a_film_that_is_one_segment_needs_no_trial_and_goes_to_the_best() -> None:
    sim = Simulation(Policy(required_workers=2))
    sim.join("b")
    sim.join("a", 50.0, 1, NVENC)
    whole = Profile(filters=(VideoFilter("hqdn3d", scope=FilterScope.STREAM),))
    job = sim.submit("j", 5_000, profile=whole)
    sim.run()
    sim.assert_whole(job)
    assert trials(sim) == []
    assert encoders(sim) == {("a", "h264_nvenc")}


def test_a_film_as_short_as_a_trial_is_made_at_once() -> None:
    sim = pair()
    job = sim.submit("j", 12)
    sim.run()
    sim.assert_whole(job)
    assert len(job.segments) == 1
    assert trials(sim) == []


def test_one_segment_goes_to_another_worker_when_the_best_fails() -> None:
    sim = Simulation(Policy(required_workers=2, retry_delay_s=1))
    sim.join("b")
    sim.join("a", 50.0, 1, NVENC)
    sim.fail = lambda offer: BROKEN if offer.device else None
    whole = Profile(filters=(VideoFilter("hqdn3d", scope=FilterScope.STREAM),))
    job = sim.submit("j", 5_000, profile=whole)
    sim.run()
    sim.assert_whole(job)
    assert encoder_names(job) == "libx264"


def test_a_failed_trial_excludes_the_candidate_with_its_reason_and_is_no_retry() -> None:
    sim = pair()
    sim.fail = lambda offer: BROKEN if offer.device else None
    job = sim.submit("j", 5_000)
    sim.run()
    sim.assert_whole(job)
    assert job.retries == 0
    (refused,) = [p for p in job.every_post() if p.state is PostState.REFUSED]
    assert (refused.worker.id, refused.reason) == ("a", "the driver is too old")
    assert sim.state.workers[WorkerId("a")].failures == 0


def test_a_job_of_which_every_candidate_failed_names_each_reason() -> None:
    sim = pair()
    sim.fail = lambda offer: BROKEN
    job = sim.submit("j", 5_000)
    sim.run()
    assert job.state is JobState.FAILED
    assert job.error.code is Code.NO_USABLE_ENCODER
    for name in ("a: libx264", "a: h264_nvenc on cuda:0", "b: libx264"):
        assert f"{name}: the driver is too old" in job.error.message
    assert not sim.state.attempts


def test_a_trial_climbs_the_pre_roll_ladder() -> None:
    sim = pair()
    seen: list[PreRoll] = []

    def short(offer: fx.OfferAttempt) -> ErrorReport | None:
        if offer.trial and offer.device:
            seen.append(offer.pre_roll)
            if offer.pre_roll is not PreRoll.WHOLE:
                return ErrorReport(Code.WRONG_FRAME_COUNT, "11 of 12 frames")
        return None

    sim.fail = short
    job = sim.submit("j", 5_000)
    sim.run()
    sim.assert_whole(job)
    assert seen == [PreRoll.KEYFRAME, PreRoll.TWO_KEYFRAMES, PreRoll.WHOLE]
    assert encoder_names(job) == "h264_nvenc"


def test_a_lost_transfer_is_not_the_encoders_fault_and_the_trial_is_made_again() -> None:
    sim = pair()
    lost = [ErrorReport(Code.TRANSFER_FAILED, "the upload broke off")]
    sim.fail = lambda offer: lost.pop() if lost and offer.device else None
    job = sim.submit("j", 5_000)
    sim.run()
    sim.assert_whole(job)
    assert trials(sim).count(("a", "h264_nvenc")) == 2
    assert encoder_names(job) == "h264_nvenc"


def test_a_trial_that_the_worker_gives_back_is_not_waited_for() -> None:
    sim = pair()
    job = sim.submit("j", 5_000)
    sim.run(until_s=0.16)
    (trial,) = [a for a in sim.state.attempts.values() if a.device]
    sim.workers[WorkerId("a")].devices["cuda:0"].running.clear()
    sim.post(ev.AttemptReturned(trial.epoch))
    sim.run()
    sim.assert_whole(job)
    assert encoder_names(job) == "libx264"


def test_a_worker_that_leaves_during_its_trial_is_not_waited_for() -> None:
    sim = pair()
    job = sim.submit("j", 5_000)
    sim.run(until_s=0.16)
    sim.kill("a")
    sim.run()
    sim.assert_whole(job)
    assert job.retries == 0
    assert encoders(sim) == {("b", "libx264")}


def test_when_all_leave_during_their_trials_the_job_starts_anew_later() -> None:
    sim = pair()
    job = sim.submit("j", 5_000)
    sim.run(until_s=0.16)
    sim.kill("a")
    sim.kill("b")
    assert job.state is JobState.WAITING_FOR_CLIENTS
    assert job.reason == "waiting for 2 more workers"
    sim.join("c")
    sim.join("d")
    sim.run()
    sim.assert_whole(job)


def test_a_late_worker_is_tried_and_takes_part_when_its_class_fits() -> None:
    sim = Simulation()
    sim.join("a")
    job = sim.submit("j", 20_000)
    sim.run(until_s=20)
    sim.join("late")
    sim.join("odd", sets={"libx264": "another build"})
    sim.run()
    sim.assert_whole(job)
    assert sorted(trials(sim)) == [("late", "libx264"), ("odd", "libx264")]
    assert {share.name for share in job.shares.values() if share.frames} == {"a", "late"}


def test_a_late_worker_is_tried_even_when_all_is_given_and_takes_what_waits_elsewhere() -> None:
    sim = Simulation(Policy(required_workers=1, benchmark_duration_s=60))
    sim.join("a", rate_fps=100)
    job = sim.submit("j", 20_000)
    sim.run(until_s=1)
    while job.uncarved and not job.ended:
        sim.run(until_s=sim.now + 1)
    assert not job.ended
    sim.join("late", rate_fps=100)
    sim.run()
    sim.assert_whole(job)
    assert trials(sim) == [("late", "libx264")]


def test_a_late_worker_waits_until_the_first_result_says_what_the_class_is() -> None:
    sim = Simulation(Policy(required_workers=1, benchmark_duration_s=60))
    sim.join("a", rate_fps=10)
    job = sim.submit("j", 5_000)
    sim.run(until_s=1)
    sim.join("late")
    sim.run(until_s=10)
    (late,) = job.posts[WorkerId("late")]
    assert late.state is PostState.KNOWN
    assert late.crew is None
    sim.run()
    sim.assert_whole(job)
    assert late.crew is not None
    assert job.shares[WorkerId("late")].frames


def test_a_late_worker_with_mix_brings_its_own_class() -> None:
    sim = Simulation()
    sim.join("a")
    job = sim.submit("j", 20_000, mix=True)
    sim.run(until_s=20)
    sim.join("odd", sets={"libx264": "another build"})
    sim.run()
    sim.assert_whole(job)
    assert {share.name for share in job.shares.values() if share.frames} == {"a", "odd"}


def test_late_workers_are_not_tried_when_nothing_is_left_to_give() -> None:
    sim = Simulation()
    sim.join("a")
    job = sim.submit("j", 300, cut_frames=(299,))
    sim.run(until_s=5.9)
    assert not job.uncarved
    sim.join("late")
    sim.run()
    sim.assert_whole(job)
    assert trials(sim) == []


def test_a_worker_that_comes_back_the_same_is_not_tried_again_but_a_changed_one_is() -> None:
    sim = Simulation(Policy(required_workers=2, retry_delay_s=1))
    sim.join("a")
    sim.join("b")
    job = sim.submit("j", 30_000)
    sim.run(until_s=20)
    sim.kill("b")
    sim.join("b")
    sim.run(until_s=60)
    assert trials(sim) == [("a", "libx264"), ("b", "libx264")]
    sim.kill("b")
    updated = capability(ffmpeg="10.0")
    sim.join("b", 50.0, 1, updated, software=False)
    sim.run()
    sim.assert_whole(job)
    assert trials(sim).count(("b", "libx264")) == 2


def test_a_crew_that_leaves_before_anything_was_committed_binds_nobody() -> None:
    sim = pair()
    job = sim.submit("j", 5_000)
    sim.run(until_s=1.0)
    assert encoder_names(job) == "h264_nvenc"
    sim.kill("a")
    sim.run()
    sim.assert_whole(job)
    assert encoder_names(job) == "libx264"


def test_a_crew_that_is_gone_is_waited_for_once_something_was_committed() -> None:
    sim = pair()
    job = sim.submit("j", 50_000)
    sim.run(until_s=30)
    assert job.segments_committed
    sim.kill("a")
    sim.run()
    assert job.state is JobState.WAITING_FOR_CLIENTS
    assert job.reason == "no connected worker has h264_nvenc"
    sim.join("a", 50.0, 1, NVENC)
    sim.run()
    sim.assert_whole(job)
    assert encoders(sim) == {("a", "h264_nvenc")}


def test_verdicts_split_equal_sets_and_join_different_ones() -> None:
    same = {"sets": {"libx264": "s", "h264_nvenc": "s"}}
    for verdict, expected in ((None, 2), (False, 1), (True, 2)):
        sim = Simulation(Policy(required_workers=2))
        sets = same["sets"] if verdict is not True else {}
        if verdict is not None:
            sim.judge.verdicts["libx264", "h264_nvenc"] = verdict
        sim.join("a", 50.0, 1, NVENC, software=False, sets=sets)
        sim.join("b", sets=sets)
        job = sim.submit("j", 20_000)
        sim.run()
        sim.assert_whole(job)
        assert len(encoders(sim)) == expected, verdict


def test_a_worker_whose_sets_change_is_accepted_where_the_container_carries_both() -> None:
    sim = Simulation(Policy(required_workers=2))
    sim.join("a")
    sim.join("b")
    job = sim.submit("j", 20_000)
    sim.run(until_s=5)
    sim.workers[WorkerId("b")].sets["libx264"] = "new"
    sim.run()
    sim.assert_whole(job)
    assert len(contributions(job)) == 2
    assert job.retries == 0


def test_a_wrong_join_is_impossible_where_the_container_carries_one_header() -> None:
    sim = Simulation(Policy(required_workers=2, retry_delay_s=1, max_retries=50))
    sim.judge.no_mixture = "this container has one header"
    sim.join("a")
    sim.join("b")
    job = sim.submit("j", 20_000)
    sim.run(until_s=5)
    sim.workers[WorkerId("b")].sets["libx264"] = "new"
    sim.run()
    sim.assert_whole(job)
    assert len(set(sim.joined_sets[job.id])) == 1
    failures = [f.error for s in job.segments.values() for f in s.failures]
    assert {e.code for e in failures} == {Code.RESULT_INVALID}
    assert "this container has one header" in failures[0].message


def test_a_lone_worker_may_write_different_sets_everywhere() -> None:
    sim = Simulation()
    sim.judge.no_mixture = "this container has one header"
    sim.join("a")
    job = sim.submit("j", 20_000)
    sim.run(until_s=20)
    sim.workers[WorkerId("a")].sets["libx264"] = "new"
    sim.run()
    sim.assert_whole(job)
    assert len(set(sim.joined_sets[job.id])) == 2


def test_a_result_of_another_encoder_than_was_offered_is_refused() -> None:
    sim = Simulation(Policy(required_workers=1, max_retries=0))
    sim.join("a")
    job = sim.submit("j", 5_000)
    sim.run(until_s=2)
    (attempt,) = [a for a in sim.state.attempts.values() if a.started_at is not None]
    sim.post(ev.AttemptDelivered(attempt.epoch, SegmentProof(250, encoder="libopenh264")))
    sim.run()
    assert job.state is JobState.FAILED
    assert job.error.code is Code.RESULT_INVALID
    assert "libopenh264" in job.error.message


def test_a_benchmarked_worker_needs_no_probe_and_is_trusted_for_half() -> None:
    sim = Simulation(Policy(required_workers=1, benchmark_duration_s=2))
    sim.join("a", changes={"measurements": (measured("libx264", "", 50.0),)})
    job = sim.submit("j", 50_000)
    sim.run(until_s=0.2)
    (first,) = job.segments.values()
    assert len(first.frames) == 750
    assert job.state is JobState.PROCESSING
    sim.run()
    sim.assert_whole(job)
    assert max(len(s.frames) for s in job.segments.values()) == 1500


def test_trials_of_a_busy_worker_come_before_its_next_segments() -> None:
    sim = pair()
    first = sim.submit("one", 50_000, mix=True)
    sim.run(until_s=30)
    second = sim.submit("two", 5_000)
    sim.run()
    sim.assert_whole(first)
    sim.assert_whole(second)
    assert (second.ended_at or 1e9) < (first.ended_at or 0.0)


def test_losing_two_attempts_at_once_can_fail_the_job_only_once() -> None:
    sim = Simulation(Policy(required_workers=1, max_retries=0))
    job = sim.submit("j", 50_000)
    for _ in range(LOST_BOUND + 1):
        sim.join("a", slots=3)
        sim.run(until_s=sim.now + 2)
        sim.kill("a")
    assert job.state is JobState.FAILED
    assert job.error.code is Code.WORKER_LOST


def test_cancelling_revokes_trials() -> None:
    sim = pair()
    job = sim.submit("j", 5_000)
    sim.run(until_s=0.16)
    sim.post(ev.JobCancelled(job.id))
    assert not sim.state.attempts
    assert not job.trials
    sim.run()


def test_a_draining_worker_gives_its_waiting_trials_up() -> None:
    sim = pair()
    job = sim.submit("j", 5_000)
    sim.run(until_s=0.11)
    assert len(sim.state.attempts) == 3
    sim.post(ev.WorkerDraining(WorkerId("a")))
    assert {a.worker_id for a in sim.state.attempts.values()} == {"b"}
    sim.run()
    sim.assert_whole(job)


def test_the_view_of_a_job_in_trial_names_no_encoder() -> None:
    sim = pair()
    job = sim.submit("j", 5_000)
    sim.run(until_s=0.2)
    view = job_view(job, sim.now, segments=True)
    assert (view.encoder, view.segments, view.frames_done) == ("", (), 0)


def test_a_job_without_any_candidate_says_what_the_judge_says() -> None:
    sim = Simulation(Policy(required_workers=1, max_retries=0))
    sim.judge.refuses = {"libx264"}
    sim.post(ev.WorkerJoined(WorkerId("a"), facts("a")))
    job = sim.submit("j", 1_000)
    sim.run()
    assert job.error.message == "nothing to encode with"
    assert job.id == JobId("j")
