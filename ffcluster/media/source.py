"""One source, read through a helper process of its own. Decides nothing about segments."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults

from ffcluster.core.media import MediaSummary, VideoFormat
from ffcluster.core.model import EncodeOrder, PreRoll, ResultReport
from ffcluster.core.timeline import FrameRange, TimeBase
from ffcluster.encoders.filters import checked_filter
from ffcluster.encoders.pixfmt import describe
from ffcluster.errors import FfclusterError, HelperDied, ResultInvalid
from ffcluster.media.carry import SourceFacts, StreamFact
from ffcluster.media.lines import LineProcess
from ffcluster.media.runner import Runner, python_command

_KEYFRAMES = {PreRoll.KEYFRAME: 1, PreRoll.TWO_KEYFRAMES: 2, PreRoll.WHOLE: None}

# Segments that one result may have been exchanged with.
_KEPT_CUTS = 64


@attrs.frozen
class Piece:
    """The packets cut from the source for one segment.

    Attributes:
        size_bytes: Size of the file.
        sha256: SHA-256 of the file, hex.
        trim_start_s: Seconds in the piece before which decoded frames are dropped; None: none.
        trim_end_s: Seconds in the piece from which decoded frames are dropped; None: none.
        packets: Number of packets.
    """

    size_bytes: int
    sha256: str
    trim_start_s: Fraction | None
    trim_end_s: Fraction | None
    packets: int


class SourceHelper:
    """The helper processes of one source. Each starts at its first call, and again after it died.

    Results are looked at in a process of their own: a cut waits for no check, and what a result
    does to its reader hurts no cut.

    All methods fail with `HelperDied`, which a retry may cure, when the process ends in between.
    """

    def __init__(self, runner: Runner) -> None:
        self._lines = LineProcess(
            runner, python_command("ffcluster.media.helper"), "The process that reads the source"
        )
        self._checks = LineProcess(
            runner, python_command("ffcluster.media.helper"), "The process that checks results"
        )
        self._closed = False
        self._cuts: deque[FrameRange] = deque(maxlen=_KEPT_CUTS)
        self._source: Path | None = None
        self._index_path: Path | None = None

    def use(self, source: Path, index_path: Path) -> None:
        """Work with a source that was indexed before."""
        self._source, self._index_path = source, index_path

    def index(
        self,
        source: Path,
        index_path: Path,
        *,
        allow_damaged: bool,
        on_progress: Callable[[float], None] | None = None,
    ) -> Deferred[MediaSummary]:
        """Index `source` into `index_path`.

        Args:
            source: The file; only ever read.
            index_path: The index to write, see `ffcluster.media.index`.
            allow_damaged: Accept a source that is cut off or broken.
            on_progress: Called with the part that is done, 0 to 1.

        Raises:
            SourceMissing: There is no such file, or it cannot be opened.
            SourceUnreadable: It is no video that can be decoded.
            SourceDamaged: It is not whole, and `allow_damaged` is False or it has no index.
        """
        self.use(source, index_path)
        answer = self._lines.call(
            "index",
            source=str(source.absolute()),
            index=str(index_path.absolute()),
            allow_damaged=allow_damaged,
            on_progress=on_progress,
        )
        return answer.addCallback(_summary)

    def facts(self) -> Deferred[SourceFacts]:
        """What the source holds beside its pictures."""
        answer = self._lines.call("facts", **self._files())
        return answer.addCallback(_facts)

    def cut(
        self, frames: FrameRange, pre_roll: PreRoll, context_frames: int, target: Path
    ) -> Deferred[Piece]:
        """Cut the packets for `frames` out of the source.

        Args:
            frames: The segment.
            pre_roll: How far to go back before its first frame.
            context_frames: Further frames on either side for filters that look at neighbours;
                the trim still lets through `frames` only.
            target: File to write.

        Raises:
            SourceDamaged: The source is not what it was when it was indexed.
            DiskFull: There is no room for the piece.
        """
        self._cuts.append(frames)
        answer = self._lines.call(
            "cut",
            first=frames.first,
            stop=frames.stop,
            keyframes=_KEYFRAMES[pre_roll],
            context=context_frames,
            target=str(target.absolute()),
            **self._files(),
        )
        return answer.addCallback(_piece)

    def check(self, result: Path, order: EncodeOrder) -> Deferred[ResultReport]:
        """Demux a worker's result; if frames are to be proven, compare it with the source too.

        Pictures near the segment's borders are decoded from both. That is left out where no source
        is known or the job's filters cannot be repeated for single pictures; `border_psnr_db` is
        then None.

        Raises:
            WrongFrameCount: It does not hold exactly the segment's frames.
            ResultInvalid: It is not one whole Matroska video stream of the profile's codec, size
                and pixel format, shows other pictures than the source, or cannot be read safely.
            SourceDamaged: The source is not what it was when it was indexed.
        """
        return Deferred.fromCoroutine(self._check(result, order))

    async def _check(self, result: Path, order: EncodeOrder) -> ResultReport:
        call: dict[str, Any] = {
            "result": str(result.absolute()),
            "codec": order.profile.codec.value,
            "frames": len(order.frames) if order.counts_frames else None,
            "pixels": 4 * order.video.width * order.video.height,
            "borders": self._borders(order),
        }
        if call["borders"]:
            call |= self._files()
        try:
            answer = await self._checks.call("check", **call)
        except HelperDied:
            if self._closed:
                raise
            # Once may be an accident; twice is the file's doing.
            try:
                answer = await self._checks.call("check", **call)
            except HelperDied as again:
                raise ResultInvalid(
                    message="A segment's result is not valid: the process that reads it ends",
                    detail=again.detail,
                ) from again
        report = ResultReport(**answer)
        _compare_format(report, order)
        return report

    def _borders(self, order: EncodeOrder) -> dict[str, Any] | None:
        profile, frames = order.profile, order.frames
        wanted = self._source is not None and order.decoded_check and order.counts_frames
        if not wanted or profile.needs_single_segment:
            return None
        checked = (checked_filter(f) for f in profile.filters)
        others = (cut for cut in dict.fromkeys(reversed(self._cuts)) if cut != frames)
        return {
            "first": frames.first,
            "filters": [(f.name, f.options) for f in checked],
            "context": profile.context_frames,
            "others": [cut.first for cut in others if len(cut) == len(frames)],
        }

    def close(self) -> Deferred[None]:
        """End the processes."""
        self._closed = True
        closing = [self._lines.close(), self._checks.close()]
        return gatherResults(closing, consumeErrors=True).addCallback(lambda _: None)

    def _files(self) -> dict[str, Any]:
        if self._source is None or self._index_path is None:
            raise FfclusterError(message="no source was indexed yet")
        return {"source": str(self._source.absolute()), "index": str(self._index_path.absolute())}


def _compare_format(report: ResultReport, order: EncodeOrder) -> None:
    """Refuse pixels of another kind than the profile names."""
    profile, found = order.profile, describe(report.pix_fmt)
    named = describe(profile.pix_fmt) if profile.pix_fmt else None
    wrong = found is not None and (
        (named is not None and not found.holds_the_same_as(named))
        or profile.bit_depth not in (None, found.depth)
    )
    if wrong:
        asked = profile.pix_fmt or f"{profile.bit_depth} bits per sample"
        raise ResultInvalid(
            message=f"A segment's result is not valid: it is {report.pix_fmt}, not {asked}",
            detail={"pix_fmt": report.pix_fmt},
        )


def video_format(data: dict[str, Any]) -> VideoFormat:
    """Make the helper's plain data a `VideoFormat`."""
    num, den = data["time_base"]
    shaped: dict[str, Any] = {
        "time_base": TimeBase(num, den),
        "color": tuple((option, value) for option, value in data["color"]),
        "frame_rate": tuple(data["frame_rate"]),
        "sample_aspect_ratio": tuple(data["sample_aspect_ratio"]),
    }
    return VideoFormat(**(data | shaped))


def _summary(data: dict[str, Any]) -> MediaSummary:
    return MediaSummary(
        **(data | {"video": video_format(data["video"]), "warnings": tuple(data["warnings"])})
    )


def _facts(data: dict[str, Any]) -> SourceFacts:
    streams = tuple(
        StreamFact(**(stream | {"dispositions": tuple(stream["dispositions"])}))
        for stream in data["streams"]
    )
    metadata = tuple((key, value) for key, value in data["metadata"])
    return SourceFacts(**(data | {"streams": streams, "metadata": metadata}))


def _seconds(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)


def _piece(data: dict[str, Any]) -> Piece:
    return Piece(
        size_bytes=data["size_bytes"],
        sha256=data["sha256"],
        trim_start_s=_seconds(data["trim_start_s"]),
        trim_end_s=_seconds(data["trim_end_s"]),
        packets=data["packets"],
    )
