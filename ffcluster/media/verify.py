"""Prove finished files, through a helper process and, for pictures, through ffmpeg.

Nothing is published before `verify_published` has returned; `compare_files` is for people.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import attrs
from twisted.internet import threads
from twisted.internet.defer import Deferred

from ffcluster.core.model import JobSpec
from ffcluster.core.timeline import FrameRange
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.errors import VerificationFailed
from ffcluster.media.carry import CarryPlan
from ffcluster.media.command import framemd5_command
from ffcluster.media.framehash import first_difference, read_hashes
from ffcluster.media.limits import SOURCE_FORMATS
from ffcluster.media.lines import LineProcess
from ffcluster.media.runner import Runner, python_command


@attrs.frozen
class PublishedReport:
    """What was found in a finished file that is right.

    Attributes:
        frame_count: Video packets.
        largest_time_error_s: Largest rounding of a frame's time by the container, in seconds.
        shift_s: Seconds by which the whole film, sound included, was moved because its container
            has no times below 0 and its sound starts before its video.
        streams: Number of streams.
        identical_streams: Copied sound and subtitle streams whose packets are the source's.
    """

    frame_count: int
    largest_time_error_s: float
    shift_s: float
    streams: int
    identical_streams: int


@attrs.frozen
class ComparisonReport:
    """How an output compares with its source.

    Attributes:
        source_frames: Frames of the source.
        output_frames: Frames of the output.
        largest_time_error_s: Largest difference of a frame's time, in seconds.
        source_streams: Kinds of the source's streams.
        output_streams: Kinds of the output's streams.
        pictures_equal: Whether all decoded pictures are bit-identical, or None when not compared.
        differences: What is not as it should be, a sentence each.
        notes: What else a person should know.
    """

    source_frames: int
    output_frames: int
    largest_time_error_s: float
    source_streams: tuple[str, ...]
    output_streams: tuple[str, ...]
    pictures_equal: bool | None
    differences: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether frames and times are the source's, and pictures too where they were compared."""
        return not self.differences


def _helper(runner: Runner) -> LineProcess:
    return LineProcess(
        runner, python_command("ffcluster.media.helper"), "The process that verifies"
    )


def verify_published(
    runner: Runner,
    target: Path,
    source: Path,
    index_path: Path,
    spec: JobSpec,
    carry: CarryPlan,
    *,
    keeps_timing: bool = True,
    frames: int | None = None,
    missing: Sequence[FrameRange] = (),
) -> Deferred[PublishedReport]:
    """Demux the finished file and compare it with the source's index and the plan.

    Args:
        runner: Starts the helper.
        target: The finished file, still under its temporary name.
        source: The source.
        index_path: Its index.
        spec: What the client asked for.
        carry: What else of the source the output must have.
        keeps_timing: Whether each frame must have the source's time.
        frames: Number of frames where filters changed it; only without `keeps_timing`.
        missing: Frames of the source that are not to be in it.

    Raises:
        VerificationFailed: Frames, times, order, streams or copied packets are not right.
        HelperDied: The helper ended; a retry may help.
    """
    return Deferred.fromCoroutine(
        _verify(runner, target, source, index_path, spec, carry, keeps_timing, frames, missing)
    )


async def _verify(
    runner: Runner,
    target: Path,
    source: Path,
    index_path: Path,
    spec: JobSpec,
    carry: CarryPlan,
    keeps_timing: bool,
    frames: int | None,
    missing: Sequence[FrameRange],
) -> PublishedReport:
    lines = _helper(runner)
    try:
        answer = await lines.call(
            "verify",
            target=str(target.absolute()),
            source=str(source.absolute()),
            index=str(index_path.absolute()),
            container=spec.container.value,
            streams=[attrs.asdict(stream) for stream in carry.streams],
            chapters=carry.chapters,
            start_us=carry.start_us,
            keeps_timing=keeps_timing,
            frames=frames,
            missing=[(gap.first, gap.stop) for gap in missing],
        )
    finally:
        await lines.close()
    return PublishedReport(**answer)


def compare_files(
    runner: Runner, build: FfmpegBuild, source: Path, output: Path, *, decoded: bool
) -> Deferred[ComparisonReport]:
    """Compare an output with its source: frames, times, streams, and pictures if `decoded`.

    Args:
        runner: Starts the processes.
        build: The ffmpeg that decodes.
        source: The source.
        output: The output.
        decoded: Decode both and compare every picture; right for lossless outputs only.

    Raises:
        SourceError: One of the files cannot be read.
        VerificationFailed: One of the files cannot be decoded.
    """
    return Deferred.fromCoroutine(_compare(runner, build, source, output, decoded))


async def _compare(
    runner: Runner, build: FfmpegBuild, source: Path, output: Path, decoded: bool
) -> ComparisonReport:
    with tempfile.TemporaryDirectory(prefix="ffcluster-verify-") as name:
        directory = Path(name)
        lines = _helper(runner)
        try:
            answer = await lines.call(
                "compare",
                source=str(source.absolute()),
                output=str(output.absolute()),
                directory=name,
            )
        finally:
            await lines.close()
        differences = list(answer["differences"])
        equal = None
        if decoded:
            different = await _first_other_picture(runner, build, source, output, answer, directory)
            equal = different is None
            if different is not None:
                differences.append(f"the picture of frame {different} is not the source's")
    return ComparisonReport(
        source_frames=answer["source_frames"],
        output_frames=answer["output_frames"],
        largest_time_error_s=answer["largest_time_error_s"],
        source_streams=tuple(answer["source_streams"]),
        output_streams=tuple(answer["output_streams"]),
        pictures_equal=equal,
        differences=tuple(differences),
        notes=tuple(text for text in answer["damaged"] if text),
    )


async def _first_other_picture(
    runner: Runner,
    build: FfmpegBuild,
    source: Path,
    output: Path,
    answer: dict[str, object],
    directory: Path,
) -> int | None:
    hashes: list[list[bytes]] = []
    for name, path in (("source", source), ("output", output)):
        target = directory / f"{name}.md5"
        command = framemd5_command(
            build,
            path,
            target,
            pix_fmt=str(answer["pix_fmt"]),
            formats=SOURCE_FORMATS,
            stream=f"0:{answer[f'{name}_video']}",
        )
        finished = await runner.run(command).done
        if finished.returncode != 0 or not finished.ended:
            raise VerificationFailed(
                message=f"{path.name} does not decode",
                detail={"stderr": finished.stderr_tail, "argv": list(command.redacted())},
            )
        pool = runner.reactor.getThreadPool()
        hashes.append(await threads.deferToThreadPool(runner.reactor, pool, read_hashes, target))
    return first_difference(*hashes)
