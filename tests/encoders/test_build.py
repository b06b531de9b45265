from __future__ import annotations

import pytest

from ffcluster.encoders.build import FfmpegBuild

VERSION_9 = "ffmpeg version n9.0.2-17-g2a571b6068-20260930 Copyright (c) 2000-2026\n"
VERSION_5 = "ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026 the FFmpeg developers\n"
VERSION_GIT = "ffmpeg version N-118000-gabcdef Copyright\nlibavcodec     62. 28.100 / 62. 28.100\n"
ENCODERS = """Encoders:
 V..... = Video
 ------
 V....D libx264              libx264 H.264 / AVC (codec h264)
 V.S..D ffv1                 FFmpeg video codec #1
 A....D aac                  AAC (Advanced Audio Coding)
"""
FILTERS_5 = """Filters:
  T.. = Timeline support
  | = Source or sink filter
 TSC yadif             V->V       Deinterlace the input image.
 ... trim              V->V       Pick one continuous section from the input, drop the rest.
 ..C overlay           VV->V      Overlay a video source on top of the input.
"""
FILTERS_9 = """Filters:
  T.. = Timeline support
  ------
 TS bwdif             V->V       Deinterlace the input image.
 .. movie             |->N       Read from a movie source.
"""


def parse(version: str, filters: str = FILTERS_5) -> FfmpegBuild:
    return FfmpegBuild.parse("/usr/bin/ffmpeg", version, ENCODERS, filters)


def test_releases_are_read_from_distribution_and_wheel_versions() -> None:
    assert (parse(VERSION_5).major, parse(VERSION_5).minor) == (5, 1)
    assert (parse(VERSION_9).major, parse(VERSION_9).minor) == (9, 0)
    assert parse(VERSION_9).version == "n9.0.2-17-g2a571b6068-20260930"


def test_builds_from_git_are_dated_by_their_libavcodec() -> None:
    assert parse(VERSION_GIT).major == 8


def test_text_without_a_version_is_the_oldest_there_is() -> None:
    build = parse("something else\n")
    assert (build.version, build.major) == ("unknown", 0)


def test_encoders_and_filters_are_read_without_the_legend() -> None:
    assert parse(VERSION_5).encoders == {"libx264", "ffv1", "aac"}
    assert parse(VERSION_5).filters == {"yadif", "trim", "overlay"}
    assert parse(VERSION_9, FILTERS_9).filters == {"bwdif", "movie"}


@pytest.mark.parametrize(
    ("major", "minor", "mode", "time_base", "rotation"),
    [
        (4, 4, "-vsync", "-1", False),
        (5, 0, "-vsync", "-1", False),
        (5, 1, "-fps_mode", "-1", False),
        (6, 0, "-fps_mode", "-1", True),
        (6, 1, "-fps_mode", "demux", True),
        (9, 0, "-fps_mode", "demux", True),
    ],
)
def test_differences_between_releases(
    major: int, minor: int, mode: str, time_base: str, rotation: bool
) -> None:
    build = FfmpegBuild("ffmpeg", f"{major}.{minor}", major, minor)
    assert build.fps_mode_args == (mode, "passthrough")
    assert build.enc_time_base_args == ("-enc_time_base", time_base)
    assert build.has_display_rotation is rotation
