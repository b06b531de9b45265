"""Filmstrips and Gantt charts: everything is in them once, and they stay small."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from ffcluster.core.picturing import (
    AttemptSpan,
    Stretch,
    Window,
    filmstrip,
    gantt,
)
from tests.steps import outcome

STATES = ("pending", "assigned", "checking", "committed", "missing")
# A busy machine takes its time over an example.
FEWER = settings(max_examples=60)
ENDS = ("live", "committed", "failed", "returned", "superseded")


@st.composite
def films(draw: st.DrawFn) -> tuple[list[Stretch], int]:
    """Segments of any sizes, with gaps that are not cut yet, and the film's length."""
    at, stretches = 0, []
    for _ in range(draw(st.integers(0, 30))):
        at += draw(st.sampled_from((0, 0, 0, 1, 40)))
        stop = at + draw(st.integers(1, 300))
        stretches.append(
            Stretch(
                at,
                stop,
                draw(st.sampled_from(STATES)),
                draw(st.sampled_from(("", "one", "two"))),
                draw(st.sampled_from(("", "libx264"))),
                draw(st.none() | st.integers(0, 10**9)),
                draw(st.integers(0, 3)),
                draw(st.booleans()),
            )
        )
        at = stop
    return stretches, at + draw(st.integers(1, 500))


@FEWER
@given(films(), st.integers(1, 400), st.data())
def test_every_frame_is_in_exactly_one_bucket_and_counts_add_up(
    film: tuple[list[Stretch], int], most: int, data: st.DataObject
) -> None:
    stretches, frame_count = film
    first = data.draw(st.integers(0, frame_count - 1))
    stop = data.draw(st.integers(first + 1, frame_count))
    buckets = outcome(filmstrip(stretches, first, stop, most))
    assert 1 <= len(buckets) <= most
    at = first
    for bucket in buckets:
        assert bucket.first_frame == at
        assert bucket.frame_count > 0
        states = bucket.states
        by_state = [getattr(states, name) for name in STATES]
        assert sum(by_state) == bucket.frame_count
        at += bucket.frame_count
    assert at == stop
    inside = [s for s in stretches if s.stop > first and s.first < stop]
    assert sum(bucket.segments for bucket in buckets) == len(inside)
    assert sum(bucket.retries for bucket in buckets) == sum(s.retries for s in inside)
    assert sum(b.size_bytes or 0 for b in buckets) == sum(s.size_bytes or 0 for s in inside)
    assert any(b.speculative for b in buckets) == any(s.speculative for s in inside)


@FEWER
@given(films())
def test_each_segment_has_a_bucket_where_they_fit(film: tuple[list[Stretch], int]) -> None:
    stretches, frame_count = film
    buckets = outcome(filmstrip(stretches, 0, frame_count, 400))
    own = [bucket for bucket in buckets if bucket.segments]
    assert [(b.first_frame, b.first_frame + b.frame_count) for b in own] == [
        (s.first, s.stop) for s in stretches
    ]
    assert [b.worker or "" for b in own] == [s.worker for s in stretches]


def test_bucket_of_several_workers_names_none() -> None:
    stretches = [Stretch(0, 5, "committed", "one"), Stretch(5, 10, "committed", "two")]
    (bucket,) = outcome(filmstrip(stretches, 0, 10, 1))
    assert bucket.worker is None
    assert bucket.segments == 2


@st.composite
def attempts(draw: st.DrawFn) -> list[AttemptSpan]:
    """Attempts of a few workers, in any order."""
    spans = []
    for epoch in range(1, draw(st.integers(0, 40)) + 1):
        offered = draw(st.floats(1000.0, 2000.0))
        started = draw(st.none() | st.floats(0.0, 50.0))
        end = draw(st.sampled_from(ENDS))
        begun = offered + (started or 0.0)
        stopped = None if end == "live" else begun + draw(st.floats(0.0, 300.0))
        worker = draw(st.sampled_from("abcdef"))
        spans.append(
            AttemptSpan(
                epoch, worker, f"name of {worker}", epoch * 10, 10, offered,
                None if started is None else begun, stopped,
                "running" if end == "live" else "ended", end,
                draw(st.booleans()), False, False, "libx264", "",
            )
        )  # fmt: skip
    return draw(st.permutations(spans))


@FEWER
@given(attempts(), st.integers(1, 100), st.floats(0.0, 1000.0), st.floats(0.0, 1000.0))
def test_every_attempt_in_the_window_is_in_one_bar(
    spans: Sequence[AttemptSpan], most: int, from_s: float, width_s: float
) -> None:
    window = Window(origin=1000.0, from_s=from_s, to_s=from_s + width_s, now_s=1500.0)
    chart = outcome(gantt(spans, window, most))
    lanes, left_out = chart.lanes, chart.left_out
    shown = [span for span in spans if window.shows(span)]
    workers = {span.worker_id for span in shown}
    assert sum(len(lane.bars) for lane in lanes) <= most
    assert len(lanes) + left_out == chart.count == len(workers)
    assert all(lane.bars for lane in lanes)
    drawn = [span for span in shown if span.worker_id in {lane.worker_id for lane in lanes}]
    bars = [bar for lane in lanes for bar in lane.bars]
    assert sum(bar.merged for bar in bars) == len(drawn)
    assert sum(bar.frame_count for bar in bars) == sum(span.frames for span in drawn)
    for bar in bars:
        assert window.from_s <= bar.start_s <= window.to_s
        assert bar.end_s is None or bar.start_s <= bar.end_s <= window.to_s
        assert (bar.end_s is None) == (bar.end == "live") or bar.end == "mixed"


@FEWER
@given(attempts())
def test_nothing_is_merged_where_there_is_room(spans: Sequence[AttemptSpan]) -> None:
    window = Window(origin=1000.0, from_s=0.0, to_s=1000.0, now_s=1000.0)
    lanes = outcome(gantt(spans, window, 40)).lanes
    bars = {bar.epoch: bar for lane in lanes for bar in lane.bars}
    shown = [span for span in spans if window.shows(span)]
    assert sorted(bars) == sorted(span.epoch for span in shown)
    assert all(bars[span.epoch].end == span.end for span in shown)


def test_failures_are_not_hidden_among_successes() -> None:
    ends = ["failed" if number % 50 == 7 else "committed" for number in range(1000)]
    spans = [
        AttemptSpan(n, "w", "w", n, 1, n, n, n + 0.5, "ended", end, False, False, False, "x", "")
        for n, end in enumerate(ends)
    ]
    (lane,) = outcome(gantt(spans, Window(0.0, 0.0, 1000.0, 1000.0), 40)).lanes
    failed = [bar for bar in lane.bars if bar.end == "failed"]
    assert sum(bar.merged for bar in failed) == ends.count("failed")
    assert not any(bar.end == "mixed" for bar in lane.bars)


def test_a_full_lane_leaves_others_their_bars() -> None:
    def span(epoch: int, worker: str) -> AttemptSpan:
        return AttemptSpan(
            epoch, worker, worker, epoch, 1, epoch, None, epoch + 1.0, "ended", "committed",
            False, False, False, "x", "",
        )  # fmt: skip

    spans = [span(n, "full") for n in range(500)] + [span(1000 + n, "small") for n in range(3)]
    chart = outcome(gantt(spans, Window(0.0, 0.0, 2000.0, 2000.0), 50))
    assert chart.left_out == 0
    assert {lane.worker: len(lane.bars) for lane in chart.lanes}["small"] == 3


@FEWER
@given(attempts(), st.integers(0, 8), st.integers(1, 8))
def test_some_of_the_lanes_are_those_that_all_of_them_have_there(
    spans: Sequence[AttemptSpan], first: int, most: int
) -> None:
    window = Window(origin=1000.0, from_s=0.0, to_s=1000.0, now_s=1000.0)
    everything = outcome(gantt(spans, window, 40))
    part = outcome(gantt(spans, window, 40, first, most))
    assert part.lanes == everything.lanes[first : first + most]
    assert (part.first, part.count, part.left_out) == (first, everything.count, 0)
