"""The ffmpegs at hand, and detection on them, for tests that run real encoders."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import imageio_ffmpeg

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability
from ffcluster.core.timeline import TimeBase
from ffcluster.encoders.backend import Machine, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection
from ffcluster.encoders.registry import Registry

_ENVIRONMENT = {**os.environ, "LC_ALL": "C"}


def run(path: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [path, *args],
        capture_output=True,
        text=True,
        errors="replace",
        env=_ENVIRONMENT,
        timeout=120,
        check=False,
    )


@functools.cache
def build_at(path: str) -> FfmpegBuild:
    return FfmpegBuild.parse(
        path,
        run(path, "-version").stdout,
        run(path, "-hide_banner", "-encoders").stdout,
        run(path, "-hide_banner", "-filters").stdout,
    )


@functools.cache
def builds() -> tuple[FfmpegBuild, ...]:
    """The ffmpeg on PATH, if there is one, and the one of the imageio-ffmpeg wheel."""
    paths = [shutil.which("ffmpeg"), imageio_ffmpeg.get_ffmpeg_exe()]
    found = [str(Path(path).resolve()) for path in paths if path]
    return tuple(build_at(path) for path in dict.fromkeys(found))


def build_id(build: FfmpegBuild) -> str:
    return f"{build.major}.{build.minor}"


@functools.cache
def detected(build: FfmpegBuild) -> Detection:
    detection = Detection(Registry.load(allow={"software"}), build, Machine(2, "linux"))
    while not detection.finished:
        for probe in detection.take_probes():
            done = run(build.path, *probe.argv)
            outcome = ProbeOutcome(done.returncode, done.stdout, done.stderr)
            detection.feed(probe, outcome)
    return detection


def capability(build: FfmpegBuild, encoder: str) -> Capability | None:
    return next((c for c in detected(build).capabilities if c.encoder == encoder), None)


def video(**changes: object) -> VideoFormat:
    """A small 8-bit 4:2:0 source at 25 frames per second."""
    fields: dict[str, object] = {
        "codec": "rawvideo",
        "width": 128,
        "height": 96,
        "pix_fmt": "yuv420p",
        "time_base": TimeBase(1, 1000),
        "frame_rate": (25, 1),
        "color": (
            ("color_range", "tv"),
            ("colorspace", "bt709"),
            ("color_primaries", "bt709"),
            ("color_trc", "bt709"),
            ("chroma_sample_location", "left"),
        ),
    }
    return VideoFormat(**{**fields, **changes})  # type: ignore[arg-type]
