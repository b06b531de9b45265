"""What a benchmark runs: a clip, sessions side by side for a while, and VMAF of a result.

Chooses no encoder and keeps nothing: every file lies in the folder that it was given.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from ffcluster.core.media import MediaSummary, VideoFormat
from ffcluster.core.model import PreRoll
from ffcluster.core.timeline import FrameRange, TimeBase
from ffcluster.encoders.benchmarking import BenchmarkCommand, BenchmarkOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.pixfmt import describe
from ffcluster.errors import EncodeFailed
from ffcluster.media.command import Command, file_url, input_arguments
from ffcluster.media.detect import outcome_of
from ffcluster.media.limits import PIECE_FORMATS, RESULT_FORMATS
from ffcluster.media.runner import Runner
from ffcluster.media.source import SourceHelper

SYNTHETIC = "synthetic"
_SYNTHETIC_FPS = 25
_SYNTHETIC_FRAMES = 100
_CLIP_TIMEOUT_S = 300.0
_LEAST_GRACE_S = 10.0
# Enough for a mean that holds: VMAF takes longer than many encoders.
_VMAF_FRAMES = 50
_VMAF_TIMEOUT_S = 300.0
_VMAF_SCORE = re.compile(r"VMAF score:\s*(\d+(?:\.\d+)?)")
# Decoding is part of what a worker does, so the clip is compressed like a film, lightly.
_CLIP_ENCODERS = {
    "libx264": ("-preset", "veryfast", "-crf", "16", "-bf", "2"),
    "mpeg4": ("-q:v", "2"),
}


@attrs.frozen
class Clip:
    """What is encoded again and again.

    Attributes:
        path: A Matroska file.
        video: Its video stream.
        frames: Its frames.
        name: What it is, for people.
    """

    path: Path
    video: VideoFormat
    frames: int
    name: str

    @property
    def input_args(self) -> tuple[str, ...]:
        """Open it so that it never ends."""
        return ("-stream_loop", "-1", *input_arguments(self.path, PIECE_FORMATS))


async def make_clip(
    runner: Runner, build: FfmpegBuild, folder: Path, size: tuple[int, int]
) -> Clip:
    """Make a synthetic clip of 4 s.

    A zoom into a fractal gives detail on every scale that moves everywhere, a test picture over
    it gives sharp edges, text and plain areas, and noise gives the grain that films have: none of
    them alone costs an encoder what a film does.

    Raises:
        EncodeFailed: ffmpeg cannot make it.
    """
    width, height = size
    encoder = next((name for name in _CLIP_ENCODERS if name in build.encoders), "mpeg4")
    path = folder / "clip.mkv"
    half = f"{max(2, width // 2)}x{max(2, height // 2)}"
    graph = (
        f"mandelbrot=s={half}:r={_SYNTHETIC_FPS}:start_scale=0.2:end_scale=0.02:end_pts=100"
        f":maxiter=300,scale={width}:{height},format=yuv420p[fractal];"
        f"testsrc2=s={width}x{height}:r={_SYNTHETIC_FPS},format=yuv420p[picture];"
        "[fractal][picture]blend=all_mode=average,noise=alls=5:allf=t:all_seed=1,format=yuv420p"
    )
    argv = (
        build.path, "-hide_banner", "-loglevel", "warning", "-y",
        "-f", "lavfi", "-i", graph, "-frames:v", str(_SYNTHETIC_FRAMES),
        "-c:v", encoder, *_CLIP_ENCODERS[encoder], "-g", "50",
        "-f", "matroska", file_url(path),
    )  # fmt: skip
    made = await runner.run(
        Command(argv, "convert", reports_progress=True, is_heavy=True), timeout_s=_CLIP_TIMEOUT_S
    ).done
    if made.returncode != 0 or not made.ended:
        raise EncodeFailed(
            message="ffmpeg could not make a synthetic clip",
            advice="Give it real content with --input FILE, or another ffmpeg with --ffmpeg.",
            detail={"stderr": made.stderr_tail},
        )
    codec = "h264" if encoder == "libx264" else encoder
    video = VideoFormat(
        codec, width, height, "yuv420p", TimeBase(1, 1000), (_SYNTHETIC_FPS, 1), "progressive"
    )
    return Clip(path, video, _SYNTHETIC_FRAMES, f"{SYNTHETIC} {width}x{height}")


async def cut_clip(runner: Runner, source: Path, folder: Path, film_s: float) -> Clip:
    """Cut `film_s` seconds out of the middle of a film, from a keyframe on.

    Raises:
        FfclusterError: It cannot be read, and why.
    """
    helper = SourceHelper(runner)
    path = folder / "clip.mkv"
    try:
        summary = await helper.index(source, folder / "index", allow_damaged=True)
        frames = middle(summary, film_s)
        await helper.cut(frames, PreRoll.KEYFRAME, 0, path)
    finally:
        await helper.close()
    return Clip(path, summary.video, len(frames), source.name)


def middle(summary: MediaSummary, film_s: float) -> FrameRange:
    """The stretch of about `film_s` seconds in the middle of a film that begins where it can."""
    wanted = max(1, min(summary.frame_count, round(film_s * summary.mean_fps)))
    earliest = (summary.frame_count - wanted) // 2
    before = [cut for cut in summary.cut_frames if cut <= earliest]
    first = before[-1] if before else 0
    return FrameRange(first, first + wanted)


async def run_sessions(
    runner: Runner,
    build: FfmpegBuild,
    commands: Sequence[BenchmarkCommand],
    duration_s: float,
    result: Path | None = None,
) -> list[BenchmarkOutcome]:
    """Run all commands at once, and end each after `duration_s`.

    Args:
        runner: Starts them.
        build: The ffmpeg to run.
        commands: One for each session.
        duration_s: Seconds that each may take.
        result: The file that a single session writes, to report its size.
    """
    sessions = [
        Deferred.fromCoroutine(_session(runner, build, command, duration_s)) for command in commands
    ]
    ended = await gatherResults(sessions, consumeErrors=True)
    size_bytes = await deferToThread(_size, result) if result is not None else None
    return [attrs.evolve(session, size_bytes=size_bytes) for session in ended]


async def _session(
    runner: Runner, build: FfmpegBuild, command: BenchmarkCommand, duration_s: float
) -> BenchmarkOutcome:
    running = runner.run(
        Command((build.path, *command.argv), "encode", reports_progress=True, is_heavy=True),
        env=dict(command.env),
    )
    # Slow encoders hold many frames back and still write them when they are asked to end.
    grace_s = max(_LEAST_GRACE_S, duration_s)
    time_is_up = runner.reactor.callLater(duration_s, running.terminate, grace_s)
    try:
        end = await running.done
    finally:
        was_ended = not time_is_up.active()
        if not was_ended:
            time_is_up.cancel()
    outcome = attrs.evolve(outcome_of(end), timed_out=was_ended)
    return BenchmarkOutcome(outcome, end.progress.frame, end.elapsed_s)


async def vmaf(
    runner: Runner, build: FfmpegBuild, clip: Clip, result: Path, threads: int
) -> float | None:
    """Mean VMAF of the first frames of `result` against those of the clip, 0 to 100.

    Args:
        runner: Starts ffmpeg.
        build: An ffmpeg with the filter `libvmaf`.
        clip: What was encoded.
        result: What came out, a Matroska file.
        threads: Threads to use.

    Returns:
        The mean, or None when it could not be computed.
    """
    known = describe(clip.video.pix_fmt)
    pix_fmt = "yuv420p10le" if known is not None and known.depth > 8 else "yuv420p"
    count = min(clip.frames, _VMAF_FRAMES)
    # Frames are compared by their number: times differ between containers.
    chain = f"trim=end_frame={count},setpts=N/({_SYNTHETIC_FPS}*TB),format={pix_fmt}"
    graph = (
        f"[0:v:0]{chain}[made];[1:v:0]{chain}[given];"
        f"[made][given]libvmaf=n_threads={threads}:shortest=1"
    )
    argv = (
        build.path, "-hide_banner", "-loglevel", "info", "-nostats", "-noautorotate",
        *input_arguments(result, RESULT_FORMATS), "-noautorotate",
        *input_arguments(clip.path, PIECE_FORMATS),
        "-filter_complex", graph, "-an", "-sn", "-dn", "-f", "null", "-",
    )  # fmt: skip
    compared = await runner.run(
        Command(argv, "check", is_heavy=True), timeout_s=_VMAF_TIMEOUT_S
    ).done
    score = _VMAF_SCORE.search(compared.stderr_tail) if compared.returncode == 0 else None
    return float(score[1]) if score else None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
