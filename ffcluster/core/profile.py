"""The user's settings for an output, neutral of any encoder. Knows no ffmpeg option names."""

from __future__ import annotations

import enum

import attrs


class Codec(enum.StrEnum):
    """Video codecs that an output may have."""

    H264 = "h264"
    HEVC = "hevc"
    AV1 = "av1"
    VP9 = "vp9"
    FFV1 = "ffv1"


class Container(enum.StrEnum):
    """Output containers, chosen by the output's suffix."""

    MP4 = "mp4"
    MOV = "mov"
    MKV = "mkv"
    WEBM = "webm"


class RateMode(enum.StrEnum):
    """How the encoder spends bits."""

    QUALITY = "quality"
    BITRATE = "bitrate"
    LOSSLESS = "lossless"


@attrs.frozen
class RateControl:
    """Rate control of the video.

    Attributes:
        mode: Constant quality, target bitrate, or mathematically lossless.
        quality: Constant quality on the encoder's own scale (CRF for x264); None: its default.
        target_bps: Mean bits per second, for `RateMode.BITRATE`.
        max_bps: Peak bits per second, or None. Also allowed with `RateMode.QUALITY`.
        buffer_bits: Size of the rate-control buffer in bits, or None.
    """

    mode: RateMode = RateMode.QUALITY
    quality: float | None = None
    target_bps: int | None = None
    max_bps: int | None = None
    buffer_bits: int | None = None


class FilterScope(enum.StrEnum):
    """How far a filter looks, which decides what a segment's worker must be given.

    FRAME: each output frame depends on one input frame: nothing special.
    WINDOW: depends on a few neighbours: `context_frames` on either side are decoded too.
    STREAM: depends on everything before, or changes the number of frames: one segment only.
    """

    FRAME = "frame"
    WINDOW = "window"
    STREAM = "stream"


@attrs.frozen
class VideoFilter:
    """One ffmpeg video filter that was understood option by option.

    Attributes:
        name: The filter's name, for example `scale`.
        options: (option, value) pairs in order; every option is named, none positional.
        scope: How far the filter looks.
        context_frames: Neighbours needed on each side for `FilterScope.WINDOW`.
        keeps_timing: False when the filter changes the number or the times of frames.
    """

    name: str
    options: tuple[tuple[str, str], ...] = ()
    scope: FilterScope = FilterScope.FRAME
    context_frames: int = 0
    keeps_timing: bool = True


class AudioMode(enum.StrEnum):
    """What becomes of the audio streams."""

    COPY = "copy"
    AAC = "aac"
    OPUS = "opus"
    NONE = "none"


class SubtitleMode(enum.StrEnum):
    """What becomes of the subtitle streams."""

    COPY = "copy"
    NONE = "none"


@attrs.frozen
class Profile:
    """Everything that decides what the output looks and sounds like, except its container.

    Attributes:
        name: The name in the profiles file; empty for one made on the command line.
        codec: Codec of the video.
        encoder: Encoder to pin (`libx264`, `hevc_nvenc`), or None for the best one available.
        rate: Rate control.
        preset: The encoder's own preset name, or None for its default.
        pix_fmt: Pixel format of the output (`yuv420p10le`), or None to keep the source's.
        bit_depth: Bits per sample of the output, or None to keep those of `pix_fmt` or the source.
        gop_frames: Longest distance between keyframes, in frames, or None.
        b_frames: Most consecutive B-frames, or None.
        codec_profile: `high`, `main10` ..., or None.
        tune: The encoder's own tune name, or None.
        encoder_options: Further encoder options that were understood, as (name, value).
        filters: Video filters in order.
        audio: What becomes of the audio.
        audio_bitrate_bps: Bits per second of encoded audio, or None.
        subtitles: What becomes of the subtitles.
    """

    name: str = ""
    codec: Codec = Codec.H264
    encoder: str | None = None
    rate: RateControl = RateControl()
    preset: str | None = None
    pix_fmt: str | None = None
    bit_depth: int | None = None
    gop_frames: int | None = None
    b_frames: int | None = None
    codec_profile: str | None = None
    tune: str | None = None
    encoder_options: tuple[tuple[str, str], ...] = ()
    filters: tuple[VideoFilter, ...] = ()
    audio: AudioMode = AudioMode.COPY
    audio_bitrate_bps: int | None = None
    subtitles: SubtitleMode = SubtitleMode.COPY

    @property
    def context_frames(self) -> int:
        """Frames on either side of a segment that its filters must see."""
        return sum(f.context_frames for f in self.filters)

    @property
    def keeps_timing(self) -> bool:
        """Whether the output has exactly the source's frames at the source's times."""
        return all(f.keeps_timing for f in self.filters)

    @property
    def needs_single_segment(self) -> bool:
        """Whether a filter looks so far that the film cannot be split."""
        return any(f.scope is FilterScope.STREAM for f in self.filters)
