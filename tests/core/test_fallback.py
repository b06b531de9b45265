"""Software that stands in for hardware: when it may, when it works, and that it is recorded."""

from __future__ import annotations

import pytest

from ffcluster.core import effects as fx
from ffcluster.core.cluster import Policy
from ffcluster.core.crews import PostState
from ffcluster.core.job import JobState
from ffcluster.core.model import Fallback, WorkerId
from ffcluster.core.profile import Profile
from ffcluster.core.reporting import contributions, encoder_names, job_view
from ffcluster.errors import Code, ErrorReport
from tests.core.cluster_model import Simulation, capability

NVENC = capability("h264_nvenc", "cuda:0", slots=2)
PINNED = Profile(encoder="h264_nvenc")
BROKEN = ErrorReport(Code.ENCODE_FAILED, "the GPU fell off the bus", retryable=True)


def cluster(*, hardware: bool = True, **policy: object) -> Simulation:
    """Worker `gpu` with NVENC only, worker `cpu` with x264 only."""
    sim = Simulation(Policy(required_workers=2 if hardware else 1, retry_delay_s=1, **policy))
    if hardware:
        sim.join("gpu", 50.0, 1, NVENC, software=False)
    sim.join("cpu")
    return sim


def test_strict_pinned_hardware_that_nobody_has_fails_the_job() -> None:
    sim = cluster(hardware=False, max_retries=1)
    job = sim.submit("j", 5_000, profile=PINNED)
    sim.run()
    assert job.state is JobState.FAILED
    assert job.error.code is Code.NO_USABLE_ENCODER


def test_allowed_software_stands_in_from_the_start_and_is_recorded() -> None:
    sim = cluster(hardware=False)
    job = sim.submit("j", 5_000, profile=PINNED, fallback=Fallback.ALLOW)
    sim.run()
    sim.assert_whole(job)
    assert encoder_names(job) == "libx264"
    assert all(made.fallback for made in contributions(job))
    assert all(s.fallback for s in job_view(job, sim.now, segments=True).segments)


def test_a_late_worker_joins_software_that_stands_in_from_the_start() -> None:
    sim = cluster(hardware=False)
    job = sim.submit("j", 20_000, profile=PINNED, fallback=Fallback.ALLOW)
    sim.run(until_s=20)
    sim.join("late")
    sim.run()
    sim.assert_whole(job)
    assert {s.name for s in job.shares.values() if s.frames} == {"cpu", "late"}


def test_software_does_not_work_beside_hardware_that_was_asked_for() -> None:
    sim = cluster()
    job = sim.submit("j", 20_000, profile=PINNED, fallback=Fallback.ALLOW)
    sim.run()
    sim.assert_whole(job)
    assert {o.encoder for o in sim.offers} == {"h264_nvenc"}
    assert not any(made.fallback for made in contributions(job))


def test_software_is_used_at_the_start_when_the_hardware_fails_its_trial() -> None:
    sim = cluster()
    sim.join("gpu2", 50.0, 1, NVENC, software=False)
    sim.fail = lambda offer: BROKEN if offer.device else None
    job = sim.submit("j", 5_000, profile=PINNED, fallback=Fallback.ALLOW)
    sim.run()
    sim.assert_whole(job)
    assert encoder_names(job) == "libx264"
    assert job.retries == 0


@pytest.mark.parametrize("pinned", [True, False])
def test_software_takes_over_when_the_hardware_is_gone(pinned: bool) -> None:
    sim = cluster()
    profile = PINNED if pinned else Profile()
    job = sim.submit("j", 50_000, profile=profile, fallback=Fallback.ALLOW)
    sim.run(until_s=30)
    assert encoder_names(job) == "h264_nvenc"
    sim.kill("gpu")
    sim.run()
    sim.assert_whole(job)
    made = {m.encoder: m.fallback for m in contributions(job)}
    assert made == {"h264_nvenc": False, "libx264": True}
    view = job_view(job, sim.now, segments=True)
    assert {(s.encoder, s.fallback) for s in view.segments} == {
        ("h264_nvenc", False),
        ("libx264", True),
    }


def test_hardware_that_comes_back_takes_over_again() -> None:
    sim = cluster()
    job = sim.submit("j", 100_000, profile=PINNED, fallback=Fallback.ALLOW)
    sim.run(until_s=30)
    sim.kill("gpu")
    sim.run(until_s=120)
    sim.join("gpu", 50.0, 1, NVENC, software=False)
    sim.run(until_s=200)
    running = {a.capability.encoder for a in sim.state.attempts.values()}
    assert running == {"h264_nvenc"}
    sim.run()
    sim.assert_whole(job)


def test_software_cannot_take_over_where_the_container_carries_one_kind() -> None:
    sim = cluster()
    sim.judge.no_mixture = "avc1 in MP4 has one header"
    job = sim.submit("j", 50_000, profile=PINNED, fallback=Fallback.ALLOW)
    sim.run(until_s=30)
    sim.kill("gpu")
    sim.run()
    assert job.state is JobState.WAITING_FOR_CLIENTS
    assert job.reason == (
        "no connected worker has h264_nvenc, and software cannot stand in: "
        "avc1 in MP4 has one header"
    )


def test_software_of_the_same_class_takes_over_in_any_container() -> None:
    sim = Simulation(Policy(required_workers=2, retry_delay_s=1))
    sim.judge.no_mixture = "avc1 in MP4 has one header"
    same = {"h264_nvenc": "s", "libx264": "s"}
    sim.join("gpu", 50.0, 1, NVENC, software=False, sets=same)
    sim.join("cpu", sets=same)
    job = sim.submit("j", 50_000, profile=PINNED, fallback=Fallback.ALLOW)
    sim.run(until_s=30)
    sim.kill("gpu")
    sim.run()
    sim.assert_whole(job)
    assert set(sim.joined_sets[job.id]) == {"s"}


def test_strict_jobs_wait_for_their_hardware() -> None:
    sim = cluster()
    job = sim.submit("j", 50_000)
    sim.run(until_s=30)
    sim.kill("gpu")
    sim.run()
    assert job.state is JobState.WAITING_FOR_CLIENTS
    assert job.reason == "no connected worker has h264_nvenc"


def test_software_that_is_gone_is_not_replaced_by_other_software() -> None:
    sim = Simulation(Policy(required_workers=2, retry_delay_s=1))
    sim.join("a", rate_fps=100)
    sim.join("b", sets={"libx264": "another build"})
    job = sim.submit("j", 50_000, fallback=Fallback.ALLOW)
    sim.run(until_s=30)
    sim.kill(next(iter({o.worker_id for o in sim.offers if not o.trial})))
    sim.run()
    assert job.state is JobState.WAITING_FOR_CLIENTS
    assert job.reason == "no connected worker has libx264"


@pytest.mark.parametrize("committed_first", [True, False])
def test_hardware_that_only_fails_is_replaced(committed_first: bool) -> None:
    sim = cluster()
    broken_from_s = 20.0 if committed_first else 0.0
    sim.fail = lambda o: BROKEN if o.device and not o.trial and sim.now > broken_from_s else None
    job = sim.submit("j", 50_000, profile=PINNED, fallback=Fallback.ALLOW)
    sim.run()
    sim.assert_whole(job)
    expected = "h264_nvenc" if committed_first else "libx264"
    assert expected in encoder_names(job)
    assert job.state is JobState.COMPLETED


def test_software_tries_what_hardware_fails_at_while_it_does_well_with_the_rest() -> None:
    def over_the_hardest(offer: fx.OfferAttempt) -> bool:
        return offer.frames.first <= 25_000 < offer.frames.stop

    sim = cluster()
    sim.fail = lambda o: BROKEN if o.device and not o.trial and over_the_hardest(o) else None
    sim.join("gpu2", 50.0, 1, NVENC, software=False)
    job = sim.submit("j", 50_000, profile=PINNED, fallback=Fallback.ALLOW)
    sim.run()
    sim.assert_whole(job)
    assert {offer.encoder for offer in sim.offers if over_the_hardest(offer)} == {
        "h264_nvenc",
        "libx264",
    }
    assert len([o for o in sim.offers if o.encoder == "h264_nvenc" and not o.trial]) > 8


def test_software_learns_what_to_fit_to_from_a_result_that_is_checked_late() -> None:
    sim = cluster()
    sim.fail = lambda o: BROKEN if o.device and o.frames.first else None
    sim.check_s = lambda o: 500.0 if o.device and not o.frames.first else 0.02
    job = sim.submit("j", 50_000, profile=PINNED, fallback=Fallback.ALLOW)
    sim.run(until_s=400)
    assert {post.state for post in job.every_post()} == {PostState.REFUSED, PostState.KNOWN}
    assert all(offer.device or offer.trial for offer in sim.offers)
    sim.run()
    sim.assert_whole(job)
    made = {m.encoder: m.fallback for m in contributions(job)}
    assert made == {"h264_nvenc": False, "libx264": True}


def test_what_software_fails_at_too_is_given_up() -> None:
    sim = cluster(max_retries=2)
    sim.fail = lambda o: BROKEN if not o.trial and o.frames.first >= 25_000 else None
    job = sim.submit("j", 50_000, profile=PINNED, fallback=Fallback.ALLOW)
    sim.run()
    assert job.state is JobState.FAILED
    assert job.error.code is Code.ENCODE_FAILED
    tried = [failure["device"] for failure in job.error.detail["failures"]]
    assert tried.count("") > 2


def test_hardware_that_no_software_can_replace_fails_its_job() -> None:
    sim = Simulation(Policy(required_workers=1, max_retries=2, retry_delay_s=1))
    sim.join("gpu", 50.0, 1, NVENC, software=False)
    sim.fail = lambda o: BROKEN if not o.trial and o.frames.first == 0 else None
    job = sim.submit("j", 50_000, profile=PINNED, fallback=Fallback.ALLOW)
    sim.run()
    assert job.state is JobState.FAILED


def test_a_stand_in_that_fails_its_trial_is_not_used() -> None:
    sim = cluster()

    def fail(offer: fx.OfferAttempt) -> ErrorReport | None:
        return BROKEN if offer.trial and not offer.device else None

    sim.fail = fail
    job = sim.submit("j", 50_000, profile=PINNED, fallback=Fallback.ALLOW)
    sim.run(until_s=30)
    sim.kill("gpu")
    sim.run()
    assert job.state is JobState.WAITING_FOR_CLIENTS
    assert job.reason == "no connected worker has h264_nvenc"
    sim.join("gpu", 50.0, 1, NVENC, software=False)
    sim.fail = lambda offer: None
    sim.run()
    sim.assert_whole(job)
    assert sim.state.workers[WorkerId("cpu")].frames_done == 0
