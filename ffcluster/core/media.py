"""What the core knows of media: summaries that stay small however long the film is."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import attrs

from ffcluster.core.timeline import TimeBase


@attrs.frozen
class VideoFormat:
    """The source's video stream, as needed to plan, encode and check.

    Attributes:
        codec: FFmpeg's name of the codec (`h264`).
        width: Coded picture width in pixels.
        height: Coded picture height in pixels.
        pix_fmt: FFmpeg's name of the pixel format.
        time_base: The stream's time base in the source's container.
        frame_rate: (num, den) of the mean rate, frames per second; (0, 1) when unknown.
        field_order: `progressive`, `tt`, `bb`, `tb`, `bt` or `unknown`.
        color: (option, value) pairs of known colour tags: `color_range`, `colorspace`,
            `color_primaries`, `color_trc`, `chroma_sample_location`.
        sample_aspect_ratio: (num, den); (0, 1) when unknown.
        rotation_degrees: Display rotation, counter-clockwise as ffmpeg's `-display_rotation`.
        mastering_display: x265-style `G(..)B(..)R(..)WP(..)L(..)` string, or "".
        content_light: `MaxCLL,MaxFALL`, or "".
    """

    codec: str
    width: int
    height: int
    pix_fmt: str
    time_base: TimeBase
    frame_rate: tuple[int, int] = (0, 1)
    field_order: str = "unknown"
    color: tuple[tuple[str, str], ...] = ()
    sample_aspect_ratio: tuple[int, int] = (0, 1)
    rotation_degrees: int = 0
    mastering_display: str = ""
    content_light: str = ""


def _ticks(values: Sequence[int]) -> array[int]:
    return array("q", values)


@attrs.frozen(eq=False)
class MediaSummary:
    """A source's media index, reduced to what planning needs.

    Attributes:
        video: The video stream that is encoded.
        frame_count: Presented frames.
        first_pts_ticks: PTS of frame 0, in ticks of the stream's time base.
        end_pts_ticks: PTS at which the last frame ends.
        cut_frames: Frame indexes of keyframes where a segment may start cheaply, ascending,
            thinned so that their number is bounded by the film's duration, not its frames.
        size_bytes: Size of the source file.
        warnings: What is odd about the source, in words, worst first.
        damaged: What is missing from a damaged source, or "" when it is whole.
    """

    video: VideoFormat
    frame_count: int
    first_pts_ticks: int
    end_pts_ticks: int
    cut_frames: array[int] = attrs.field(converter=_ticks)
    size_bytes: int = 0
    warnings: tuple[str, ...] = ()
    damaged: str = ""

    @property
    def duration_s(self) -> float:
        """Time from the first frame's start to the last frame's end, in seconds."""
        return float(self.video.time_base.seconds(self.end_pts_ticks - self.first_pts_ticks))

    @property
    def mean_fps(self) -> float:
        """Frames per second over the whole film; at least a small positive number."""
        return self.frame_count / max(self.duration_s, 1e-3)
