"""Decoding and scaling on the device that encodes. Says of no source that it can: a trial does."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.profile import Profile, VideoFilter
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.picture import Picture
from ffcluster.encoders.pixfmt import describe

Size = tuple[int, int]


@attrs.frozen(kw_only=True)
class DeviceDecode:
    """How a family decodes and scales without the pictures leaving the device.

    Attributes:
        devices: Gives (arguments before the input's own, the input's own) for a device:
            `-init_hw_device ...` and `-hwaccel ... -hwaccel_output_format ...`.
        scaler: Name of the filter that scales and converts on the device.
        scale: Writes that filter for (build, pixel format, size in pixels or None to keep it).
        codecs: FFmpeg's names of the codecs that the family can decode at all.
    """

    devices: Callable[[str], tuple[tuple[str, ...], tuple[str, ...]]]
    scaler: str
    scale: Callable[[FfmpegBuild, str, Size | None], str]
    codecs: frozenset[str]

    def filters(
        self, build: FfmpegBuild, profile: Profile, video: VideoFormat, picture: Picture
    ) -> tuple[str, ...]:
        """The filters that stand for the profile's on the device.

        Raises:
            ValueError: It cannot be done there; the text says why.
        """
        if self.scaler not in build.filters:
            raise ValueError(f"this ffmpeg has no {self.scaler}")
        source = describe(video.pix_fmt)
        if video.codec not in self.codecs:
            raise ValueError(f"the device does not decode {video.codec}")
        if source is None or source.family != "yuv" or source.shift != (1, 1) or source.alpha:
            raise ValueError(f"the device does not decode {video.pix_fmt}")
        if source.depth > (8 if video.codec in _EIGHT_BIT_ONLY else 10):
            raise ValueError(f"the device does not decode {video.codec} with {source.depth} bits")
        size = _size(profile, video)
        tags = tuple(text for text in picture.filters if text.startswith("setparams="))
        return (self.scale(build, picture.pix_fmt.name, size), *tags)


_EIGHT_BIT_ONLY = frozenset({"h264", "mpeg2video", "mpeg4", "vc1", "vp8", "mjpeg"})


def _size(profile: Profile, video: VideoFormat) -> Size | None:
    """The size that the profile's only filter, a plain `scale`, makes; None without filters."""
    if not profile.filters:
        return None
    if len(profile.filters) > 1 or profile.filters[0].name != "scale":
        names = ", ".join(dict.fromkeys(f.name for f in profile.filters))
        raise ValueError(f"the filters ({names}) run in software")
    return scaled_size(profile.filters[0], video)


def scaled_size(scale: VideoFilter, video: VideoFormat) -> Size:
    """The size that `scale=w=..:h=..` makes of `video`, as ffmpeg computes it.

    -1 follows the other side, -N makes a multiple of N of it; 0 keeps the source's.

    Raises:
        ValueError: It has other options, or expressions instead of numbers.
    """
    options = dict(scale.options)
    extra = sorted(options.keys() - {"w", "h"})
    if extra:
        raise ValueError(f"scale with {extra[0]} runs in software")
    try:
        width, height = int(options["w"]), int(options["h"])
    except (KeyError, ValueError):
        raise ValueError("scale with an expression runs in software") from None
    if width < 0 and height < 0:
        raise ValueError("scale without a size runs in software")
    width, height = width or video.width, height or video.height
    if width < 0:
        width = _follow(height, video.width, video.height, -width)
    elif height < 0:
        height = _follow(width, video.height, video.width, -height)
    return width, height


def _follow(given: int, mine: int, other: int, multiple: int) -> int:
    divisor = other * multiple
    return (given * mine + divisor // 2) // divisor * multiple


__all__ = ["DeviceDecode", "Size", "scaled_size"]
