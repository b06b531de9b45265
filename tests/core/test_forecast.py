"""What a job will come to: from what was committed, between bounds as wide as rates lay apart."""

from __future__ import annotations

import pytest

from ffcluster.core.forecast import forecast
from ffcluster.core.job import Job, JobState
from ffcluster.core.model import Epoch, JobId, SegmentProof, WorkerId
from ffcluster.core.segment import Attempt, Segment, SegmentState
from ffcluster.core.timeline import FrameRange
from tests.core.cluster_model import capability, report, spec, summary

LENGTH = 10


def job(frames: int, rates_fps: list[float], workers: int = 1) -> Job:
    """A job whose first segments were committed at these rates, by workers in turn."""
    made = Job(JobId("j"), spec(), 0.0, summary=summary(frames))
    for number, rate_fps in enumerate(rates_fps):
        span = FrameRange(number * LENGTH, (number + 1) * LENGTH)
        worker = WorkerId(f"w{number % workers}")
        attempt = Attempt(Epoch(number), made.id, span, worker, capability(), 0.0)
        attempt.proof = SegmentProof(LENGTH, encode_s=LENGTH / rate_fps)
        made.segments[span.first] = Segment(
            span, SegmentState.COMMITTED, committed=attempt, report=report(LENGTH)
        )
    return made


def test_size_follows_the_bytes_per_frame() -> None:
    assert forecast(job(1000, [25.0] * 3), 30, 25.0).size_bytes == 1_000_000


def test_size_of_a_film_in_very_many_segments_is_of_a_sample_from_all_over_it() -> None:
    made = job(100_000, [25.0] * 10_000)
    assert forecast(made, 100_000, 25.0).size_bytes == 100_000_000


def test_nothing_is_foretold_before_the_index_or_after_the_end() -> None:
    unknown = Job(JobId("j"), spec(), 0.0)
    assert forecast(unknown, 0, 0.0).eta_s is None
    ended = job(100, [25.0] * 5)
    ended.state = JobState.FAILED
    assert forecast(ended, 50, 0.0).size_bytes is None


def test_time_is_what_is_left_at_the_present_rate() -> None:
    found = forecast(job(1000, [25.0]), 500, 25.0)
    assert found.eta_s == 20.0
    assert found.eta_low_s is found.eta_high_s is None


def test_bounds_are_as_wide_as_rates_on_one_machine_lie_apart() -> None:
    found = forecast(job(1000, [20.0, 30.0] * 4), 500, 25.0)
    assert found.eta_low_s == pytest.approx(20.0 / 1.2)
    assert found.eta_high_s == pytest.approx(20.0 * 1.2)


def test_machines_of_different_speed_make_no_range() -> None:
    found = forecast(job(1000, [10.0, 90.0] * 4, workers=2), 500, 100.0)
    assert found.eta_low_s == pytest.approx(found.eta_s)
    assert found.eta_high_s == pytest.approx(found.eta_s)
