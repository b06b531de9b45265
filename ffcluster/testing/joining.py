"""Encode two segments as two workers would, join them, and look at every picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, EncodeOrder
from ffcluster.core.profile import Profile
from ffcluster.core.timeline import FrameRange, TimeBase
from ffcluster.encoders.backend import Backend
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.media.command import Command, encode_command, framemd5_command
from ffcluster.media.framehash import read_hashes
from ffcluster.media.results import examine
from ffcluster.testing.running import run_ffmpeg

_RATE = 25
_FRAMES = 24
_CUT = 12


def join_problem(
    backend: Backend, build: FfmpegBuild, capability: Capability, profile: Profile, folder: Path
) -> str:
    """What is wrong when two segments are encoded apart and joined; "" when all is right.

    Both must carry the same parameter sets, hold their frames exactly, and decode, joined, to the
    very pictures that each decodes to alone.

    Args:
        backend: The capability's backend.
        build: The ffmpeg that proved it.
        capability: What encodes; it must really work here.
        profile: The settings, on its own scales.
        folder: An empty folder for the files.
    """
    source, video = _source(build, capability, folder)
    results = []
    for number, frames in enumerate((FrameRange(0, _CUT), FrameRange(_CUT, _FRAMES))):
        result = folder / f"segment{number}.mkv"
        order = EncodeOrder(
            frames=frames,
            profile=profile,
            encoder=capability.encoder,
            video=video,
            device=capability.device,
            trim_start_s=Fraction(2 * frames.first - 1, 2 * _RATE) if frames.first else None,
            trim_end_s=Fraction(2 * frames.stop - 1, 2 * _RATE),
        )
        made = backend.arguments(build, capability, profile, video, threads=1)
        _run(build, encode_command(build, order, made, source, result))
        results.append(result)
    reports = [examine(result, capability.codec, _CUT) for result in results]
    if reports[0]["parameter_sets"] != reports[1]["parameter_sets"]:
        return "the second segment has other parameter sets than the first"
    alone = [line for result in results for line in _pictures(build, result)]
    joined = _pictures(build, _concatenated(build, results, folder))
    if joined != alone:
        return f"joined they decode to {len(joined)} pictures that differ from {len(alone)} alone"
    return ""


def _source(build: FfmpegBuild, capability: Capability, folder: Path) -> tuple[Path, VideoFormat]:
    least = max(*capability.min_size, 96)
    width, height = (least * 4 // 3 + 15) // 16 * 16, (least + 15) // 16 * 16
    source = folder / "source.mkv"
    lavfi = f"testsrc2=s={width}x{height}:r={_RATE},format=yuv420p"
    argv = (
        *(build.path, "-hide_banner", "-loglevel", "warning", "-y", "-f", "lavfi", "-i", lavfi),
        *("-frames:v", str(_FRAMES), "-c:v", "ffv1", "-f", "matroska", f"file:{source}"),
    )
    _run(build, Command(argv, "convert"))
    video = VideoFormat("ffv1", width, height, "yuv420p", TimeBase(1, 1000), (_RATE, 1))
    return source, video


def _concatenated(build: FfmpegBuild, results: list[Path], folder: Path) -> Path:
    listing, joined = folder / "segments.txt", folder / "joined.mkv"
    listing.write_text("".join(f"file {path.name}\n" for path in results))
    argv = (
        *(build.path, "-hide_banner", "-loglevel", "warning", "-y"),
        *("-f", "concat", "-safe", "0", "-i", f"file:{listing}"),
        *("-c", "copy", "-f", "matroska", f"file:{joined}"),
    )
    _run(build, Command(argv, "convert"))
    return joined


def _pictures(build: FfmpegBuild, path: Path) -> list[bytes]:
    target = path.with_suffix(".md5")
    _run(build, framemd5_command(build, path, target))
    return read_hashes(target)


def _run(build: FfmpegBuild, command: Command) -> None:
    done = run_ffmpeg(build.path, *command.argv[1:])
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command.argv[1:])}\n{done.stderr}")


__all__ = ["join_problem"]
