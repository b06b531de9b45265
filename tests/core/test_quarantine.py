"""Devices that keep failing rest, longer each time, and come back one attempt at a time."""

from __future__ import annotations

from ffcluster.core import quarantine
from ffcluster.core.model import JobId
from ffcluster.core.quarantine import MAX_REST_S, WHOLE_WORKER, Place, Quarantine, Quarantines
from tests.core.cluster_model import capability

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
    fail(known, 0, job="other")
    fail(known, 0)
    fail(known, 100)
    assert not quarantine.forgive(known, JobId("j"))
    assert quarantine.resting(known, NVENC)
    assert not quarantine.forgive(known, JobId("nosuch"))


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
