"""Join results into the output while later segments still encode. Opens no media file itself.

A helper process (`ffcluster.media.joiner`) writes the output; an ffmpeg beside it encodes, once
and whole, the sound and subtitles that are not copied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import JobSpec, ResultReport
from ffcluster.core.profile import Codec
from ffcluster.core.timeline import FrameRange
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.errors import Cancelled, Code, FfclusterError, IncompatibleSegments, JoinFailed
from ffcluster.media.carry import CarryPlan
from ffcluster.media.command import convert_command
from ffcluster.media.lines import LineProcess
from ffcluster.media.platform import remove
from ffcluster.media.runner import Finished, Runner, Running, python_command

# Encoders that reorder frames do so by this many at most times; asking for it at once spares most
# joins a second start when the first segment happens to need less.
_USUAL_REORDER = 2
_REORDERS = (Codec.H264, Codec.HEVC)
_IN_BAND = (Codec.H264, Codec.HEVC, Codec.AV1)


@attrs.frozen(kw_only=True)
class NeedsRestart(FfclusterError):
    """The join must be started again from the first segment, with what is set here.

    Attributes:
        reorder_frames: Give this as the joiner's `reorder_frames`, or None to leave it.
        in_band: Give this as the joiner's `in_band`, or None to leave it.
    """

    code = Code.JOIN_FAILED
    reorder_frames: int | None = None
    in_band: bool | None = None


class Joiner:
    """Writes one output, segment after segment.

    Args:
        runner: Starts the processes.
        build: The ffmpeg that encodes sound and converts subtitles.
        source: The source.
        index_path: Its index.
        target: The file to write: a temporary name in the directory of the output.
        spec: What the client asked for.
        carry: What else of the source the output gets.
        video: The source's video stream.
        in_band: Whether segments carry different parameter sets, each its own.
        keeps_timing: False when filters change the number or times of frames; the one segment
            then brings its own times.
        reorder_frames: Frames by which presentation lags behind decoding, at least.
    """

    def __init__(
        self,
        runner: Runner,
        build: FfmpegBuild,
        source: Path,
        index_path: Path,
        target: Path,
        spec: JobSpec,
        carry: CarryPlan,
        video: VideoFormat,
        in_band: bool = False,
        keeps_timing: bool = True,
        reorder_frames: int = 0,
    ) -> None:
        self._runner = runner
        self._build = build
        self._source = source
        self._index_path = index_path
        self._target = target
        self._conversion_path = target.with_name(target.name + ".streams")
        self._spec = spec
        self._carry = carry
        self._video = video
        self._in_band = in_band
        self._keeps_timing = keeps_timing
        self._reorder_frames = reorder_frames
        self._first: ResultReport | None = None
        self._next_frame = 0
        self._lines = LineProcess(
            runner, python_command("ffcluster.media.joiner"), "The process that joins the segments"
        )
        self._conversion: Running | None = None
        self._converted: list[Deferred[None]] = []
        self._conversion_end: Finished | None = None
        self._aborted = False

    def start(self) -> None:
        """Start to encode what is not copied; segments may be appended at once."""
        if not self._carry.converted:
            return
        command = convert_command(
            self._build, self._source, self._carry, self._spec.profile, self._conversion_path
        )
        self._conversion = self._runner.run(command)
        self._conversion.done.addCallback(self._conversion_ended)

    def append(self, result: Path, frames: FrameRange, report: ResultReport) -> Deferred[None]:
        """Append the next segment; fires when its packets are in the muxer's hands.

        Args:
            result: The segment's file; may be deleted when the Deferred has fired.
            frames: The segment; must start where the last one stopped, or after that if the job
                may do without what lies between (`JobSpec.allow_missing`).
            report: What was found in the file.

        Raises:
            NeedsRestart: The join must start anew with other settings.
            IncompatibleSegments: The segment cannot be joined to the others in this container.
            JoinFailed: Reading or writing failed.
            HelperDied: The joining process ended.
        """
        return Deferred.fromCoroutine(self._append(result, frames, report))

    def finish(self) -> Deferred[None]:
        """Write what is left of the other streams and the container's end.

        Raises:
            JoinFailed: Writing failed, or segments are missing.
        """
        return Deferred.fromCoroutine(self._finish())

    def abort(self) -> Deferred[None]:
        """End the processes and remove what was written."""
        self._aborted = True
        return Deferred.fromCoroutine(self._abort())

    async def _append(self, result: Path, frames: FrameRange, report: ResultReport) -> None:
        if frames.first < self._next_frame or not (
            frames.first == self._next_frame or self._spec.allow_missing
        ):
            raise JoinFailed(
                message=f"segment {frames} does not follow frame {self._next_frame}",
            )
        self._next_frame = frames.stop
        self._compare(frames, report)
        if self._first is None:
            self._first = report
            await self._wait_for_conversion()
            await self._lines.call("start", **self._settings())
        if self._aborted:
            raise Cancelled(message="the join was aborted")
        await self._lines.call(
            "append",
            result=str(result.absolute()),
            first=frames.first,
            stop=frames.stop,
            in_band=self._in_band,
        )

    def _compare(self, frames: FrameRange, report: ResultReport) -> None:
        if self._first is None:
            self._reorder_frames = max(self._reorder_frames, self._usual_reorder(report))
            return
        first = self._first
        for name in ("codec", "width", "height", "pix_fmt"):
            if getattr(first, name) != getattr(report, name):
                raise IncompatibleSegments(
                    message=f"segment {frames} has another {name} than the first: "
                    f"{getattr(report, name)} instead of {getattr(first, name)}",
                    advice="Pin one encoder with --encoder.",
                )
        if report.reorder_frames > self._reorder_frames:
            raise NeedsRestart(
                message=f"segment {frames} reorders {report.reorder_frames} frames",
                reorder_frames=report.reorder_frames,
            )
        if report.parameter_sets != first.parameter_sets and not self._in_band:
            self._refuse_or_restart(frames)

    def _refuse_or_restart(self, frames: FrameRange) -> None:
        codec, container = self._spec.profile.codec, self._spec.container
        if codec in _IN_BAND:
            raise NeedsRestart(
                message=f"segment {frames} carries other parameter sets than the first",
                in_band=True,
            )
        raise IncompatibleSegments(
            message=f"segment {frames} has another header than the first, and {codec.value} in "
            f"{container.value} can hold only one",
            advice="Pin one encoder with --encoder, or use workers with the same ffmpeg.",
        )

    def _usual_reorder(self, report: ResultReport) -> int:
        profile = self._spec.profile
        reorders = profile.codec in _REORDERS and profile.b_frames != 0 and self._keeps_timing
        return max(report.reorder_frames, _USUAL_REORDER if reorders else 0)

    def _settings(self) -> dict[str, Any]:
        return {
            "source": str(self._source.absolute()),
            "index": str(self._index_path.absolute()),
            "target": str(self._target.absolute()),
            "container": self._spec.container.value,
            "streams": [attrs.asdict(stream) for stream in self._carry.streams],
            "chapters": self._carry.chapters,
            "start_us": self._carry.start_us,
            "conversion": str(self._conversion_path.absolute()) if self._conversion else None,
            "in_band": self._in_band,
            "keeps_timing": self._keeps_timing,
            "gaps": self._spec.allow_missing,
            "delay": self._reorder_frames,
        }

    async def _wait_for_conversion(self) -> None:
        if self._conversion is None:
            return
        if self._conversion_end is None:
            waiting: Deferred[None] = Deferred()
            self._converted.append(waiting)
            await waiting
        finished = self._conversion_end
        if finished is None or self._aborted:
            raise Cancelled(message="the join was aborted")
        if finished.returncode != 0 or not finished.ended:
            raise JoinFailed(
                message="Encoding the sound or subtitles failed",
                detail={"returncode": finished.returncode, "stderr": finished.stderr_tail},
            )

    def _conversion_ended(self, finished: Finished) -> None:
        self._conversion_end = finished
        waiting, self._converted = self._converted, []
        for deferred in waiting:
            deferred.callback(None)

    async def _finish(self) -> None:
        if self._first is None:
            raise JoinFailed(message="there are no segments to join")
        await self._lines.call("finish", frames=self._next_frame)
        await self._lines.close()
        remove(self._conversion_path)

    async def _abort(self) -> None:
        if self._conversion is not None:
            await self._conversion.terminate()
        await self._lines.close()
        remove(self._conversion_path)
        remove(self._target)
