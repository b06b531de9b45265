"""The -progress stream."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ffcluster.media.progress import Progress, ProgressParser

STREAM = (
    b"frame=12\nfps=48.50\nstream_0_0_q=28.0\nbitrate=N/A\ntotal_size=N/A\nout_time_us=N/A\n"
    b"speed=N/A\nprogress=continue\n"
    b"frame=30\nfps=50.1\ntotal_size=4096\nout_time_us=1200000\nspeed=1.5x\nprogress=end\n"
)
REPORTS = [
    Progress(frame=12, fps=48.5),
    Progress(30, 50.1, 1_200_000, 4096, 1.5, ended=True),
]


def test_reports_are_read_and_unknown_values_are_none() -> None:
    assert ProgressParser().feed(STREAM) == REPORTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    borders = sorted({0, len(STREAM), *cuts})
    parser = ProgressParser()
    found = []
    for start, stop in itertools.pairwise(borders):
        found += parser.feed(STREAM[start:stop])
    assert found == REPORTS


@given(st.binary(max_size=300))
def test_noise_is_survived(noise: bytes) -> None:
    ProgressParser().feed(noise + b"\nprogress=\n")


def test_endless_line_does_not_grow() -> None:
    parser = ProgressParser()
    for _ in range(100):
        parser.feed(b"x" * 1000)
    assert parser.feed(b"\n" + STREAM) == REPORTS
