"""Progress in ffmpeg's own forms."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from ffcluster.encoders.registry import Registry
from ffcluster.interfaces.dropin.arguments import Call, read_arguments
from ffcluster.interfaces.dropin.reporting import Reporter, State, progress_block, stats_line

BEGUN = State(frames=49, fps=8.25, time_s=1.96, speed=0.33)
DONE = State(frames=76, fps=120.4, time_s=3661.041224, speed=15.6, size_bytes=112152)


def test_lines_look_as_ffmpeg_writes_them() -> None:
    assert stats_line(BEGUN, last=False) == (
        "frame=   49 fps=8.2 q=-1.0 size=N/A time=00:00:01.96 bitrate=N/A speed=0.33x    \r"
    )
    assert stats_line(DONE, last=True) == (
        "frame=   76 fps=120 q=-1.0 Lsize=     110kB time=01:01:01.04 bitrate=   0.2kbits/s "
        "speed=15.6x    \n"
    )


def test_blocks_hold_what_ffmpeg_writes_in_its_order() -> None:
    assert progress_block(DONE, last=True).splitlines() == [
        "frame=76", "fps=120.40", "stream_0_0_q=-1.0", "bitrate=   0.2kbits/s",
        "total_size=112152", "out_time_us=3661041224", "out_time_ms=3661041224",
        "out_time=01:01:01.041224", "dup_frames=0", "drop_frames=0", "speed=15.6x", "progress=end",
    ]  # fmt: skip
    assert "total_size=N/A\n" in progress_block(State(), last=False)
    assert progress_block(State(), last=False).endswith("speed=N/A\nprogress=continue\n")


def call(*options: str) -> Call:
    found = read_arguments([*options, "-i", "a", "b.mkv"], Registry.load((), ("software",)).schemas)
    assert isinstance(found, Call)
    return found


@pytest.mark.parametrize(
    ("options", "shows"),
    [
        ((), True),
        (("-nostats",), False),
        (("-v", "error"), False),
        (("-v", "error", "-stats"), True),
    ],
)
def test_stats_are_shown_when_ffmpeg_would(options: tuple[str, ...], shows: bool) -> None:
    stderr = io.BytesIO()
    Reporter(call(*options), stderr).tell(BEGUN)
    assert bool(stderr.getvalue()) is shows


def test_messages_obey_the_level_and_do_not_cut_a_line(tmp_path: Path) -> None:
    stderr = io.BytesIO()
    reporter = Reporter(call("-v", "info", "-progress", str(tmp_path / "p")), stderr)
    reporter.tell(BEGUN)
    reporter.say("It ended.", 16)
    reporter.say("A detail.", 48)
    reporter.tell(DONE, last=True)
    reporter.close()
    assert b"\r\nIt ended.\n" in stderr.getvalue()
    assert b"detail" not in stderr.getvalue()
    blocks = (tmp_path / "p").read_text().split("progress=")
    assert [block.split("\n")[0] for block in blocks[1:]] == ["continue", "end"]


def test_listener_that_went_away_is_no_error() -> None:
    reading, writing = os.pipe()
    reporter = Reporter(call("-v", "quiet", "-progress", f"pipe:{writing}"), io.BytesIO())
    os.close(reading)
    os.close(writing)
    reporter.tell(BEGUN)
    reporter.close()
