"""Receipts out of what is stored of a job."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.core.durable import AttemptEnd, AttemptEntry, BlobRef, JobEntry, SegmentEntry
from ffcluster.core.media import MediaSummary, VideoFormat
from ffcluster.core.model import Capability, Epoch, JobId, JobSpec, PreRoll, Source, WorkerId
from ffcluster.core.profile import Codec, Container, Profile
from ffcluster.core.receipts import JobReceipt, job_receipt
from ffcluster.core.timeline import FrameRange, TimeBase

JOB = JobEntry(
    JobId("job1"),
    JobSpec(Profile(), Container.MP4, "out.mp4", "in.mkv"),
    Source("/films/in.mkv"),
    "Processing",
    100.0,
    history=(("Queued", 101.0),),
    retries=2,
)
BLOB = BlobRef("ab" * 32, 1000)


def segment(first: int, stop: int, state: str = "committed") -> SegmentEntry:
    return SegmentEntry(JobId("job1"), FrameRange(first, stop), state, blob=BLOB)


def attempt(
    epoch: int, first: int, stop: int, end: AttemptEnd = AttemptEnd.COMMITTED
) -> AttemptEntry:
    return AttemptEntry(
        Epoch(epoch), JobId("job1"), FrameRange(first, stop), WorkerId("w1"), "attic",
        Capability("libx264", Codec.H264), "ended", 100.0, end=end, blob=BLOB,
    )  # fmt: skip


def receipt(*parts: SegmentEntry | AttemptEntry, job: JobEntry = JOB) -> JobReceipt:
    segments = [part for part in parts if isinstance(part, SegmentEntry)]
    attempts = [part for part in parts if isinstance(part, AttemptEntry)]
    return job_receipt(job, segments, attempts, coordinator="1.2.3")


def test_job_that_was_not_indexed_has_a_receipt_too() -> None:
    found = receipt()
    assert (found.id, found.state, found.coordinator) == ("job1", "Processing", "1.2.3")
    assert (found.source_size_bytes, found.frame_count, found.video) == (None, None, None)
    assert found.segments == ()
    assert found.retries == 2


def test_source_is_described_by_its_index() -> None:
    video = VideoFormat("h264", 320, 180, "yuv420p", TimeBase(1, 1000))
    summary = MediaSummary(video, 100, 0, 4000, [0, 50], size_bytes=5000)
    found = receipt(job=attrs.evolve(JOB, summary=summary))
    assert (found.source_size_bytes, found.frame_count, found.video) == (5000, 100, video)


def test_segments_are_numbered_in_order_and_hold_their_attempts_in_order_of_epochs() -> None:
    found = receipt(
        segment(50, 100), segment(0, 50), attempt(3, 50, 100), attempt(2, 0, 50),
        attempt(1, 0, 50, AttemptEnd.FAILED),
    )  # fmt: skip
    assert [(s.number, s.frames.first) for s in found.segments] == [(0, 0), (1, 50)]
    assert [[a.epoch for a in s.attempts] for s in found.segments] == [[1, 2], [3]]


def test_committed_attempt_is_found_among_those_that_failed() -> None:
    tries = [attempt(n, 0, 50, end) for n, end in enumerate(AttemptEnd)]
    (found,) = receipt(segment(0, 50), *tries).segments
    assert found.committed is not None
    assert found.committed.end is AttemptEnd.COMMITTED


def test_result_that_was_lost_and_made_again_counts_as_the_later_one() -> None:
    (found,) = receipt(segment(0, 50), attempt(1, 0, 50), attempt(2, 0, 50)).segments
    assert found.committed is not None
    assert found.committed.epoch == 2


def test_segment_whose_result_was_lost_has_no_committed_attempt() -> None:
    (found,) = receipt(segment(0, 50, "pending"), attempt(1, 0, 50)).segments
    assert found.committed is None
    assert len(found.attempts) == 1


def test_attempt_at_frames_that_were_cut_anew_is_listed_where_its_first_frame_is() -> None:
    found = receipt(segment(0, 30), segment(30, 60), attempt(1, 0, 60), attempt(2, 40, 60))
    assert [[a.epoch for a in s.attempts] for s in found.segments] == [[1], [2]]


def test_segments_are_found_by_number_and_by_frame() -> None:
    found = receipt(segment(0, 50), segment(50, 100))
    one, two = found.segments
    assert (found.segment(1), found.segment(2), found.segment(-1)) == (two, None, None)
    assert (found.segment_of(49), found.segment_of(50)) == (one, two)
    assert found.segment_of(100) is None


def test_deeper_pre_roll_of_a_retry_is_told() -> None:
    deeper = attrs.evolve(segment(0, 50), pre_roll=PreRoll.TWO_KEYFRAMES)
    assert receipt(deeper).segments[0].pre_roll is PreRoll.TWO_KEYFRAMES


@given(st.lists(st.integers(1, 20), max_size=8), st.lists(st.integers(0, 100), max_size=20))
def test_no_attempt_is_lost_and_none_is_listed_twice(lengths: list[int], firsts: list[int]) -> None:
    stops = [sum(lengths[: n + 1]) for n in range(len(lengths))]
    segments = [segment(b - a, b) for a, b in zip(lengths, stops, strict=True)]
    attempts = [attempt(n, first, first + 1) for n, first in enumerate(firsts)]
    found = receipt(*segments, *attempts)
    listed = [a.epoch for s in found.segments for a in s.attempts]
    assert sorted(listed) == (sorted(a.epoch for a in attempts) if segments else [])
