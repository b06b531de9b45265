"""Apple VideoToolbox for ffcluster: `h264_videotoolbox`, `hevc_videotoolbox`.

Claims only what a trial encode on the Mac proved. Lossless is refused: VideoToolbox has none for
these codecs. `-frames_before` and `-frames_after`, which help where segments meet, are not set:
a backend is not told which segment of the film it writes arguments for, and one that claims
neighbours it does not have would be wrong at the film's ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.profile import Codec, Profile, RateMode
from ffcluster.encoders.backend import Backend, Diagnosis, EncoderSchema, Machine
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.hardware import (
    BITRATE,
    DECODE,
    TEN_BIT,
    Device,
    DeviceDecode,
    HardwareBackend,
    HardwareOrder,
    Scout,
    Size,
    Step,
)
from ffcluster.encoders.hookspecs import hookimpl
from ffcluster.encoders.picture import Picture
from ffcluster.encoders.pixfmt import describe
from ffcluster.encoders.rules import FLAG, Int
from ffcluster.encoders.trouble_tables import VIDEOTOOLBOX

_REFUSED = {
    "frames_before": "ffcluster decides over segments",
    "frames_after": "ffcluster decides over segments",
    "allow_sw": "the software encoders are chosen as such",
    "require_sw": "the software encoders are chosen as such",
    "realtime": "it may drop quality to keep up",
    "prio_speed": "it is the preset",
    "constant_bit_rate": "it needs a newer macOS, and fills up what a film does not need",
    "max_slice_bytes": "it is for networks",
}


# The first ffmpeg in whose source each was seen.
_SINCE = {"power_efficient": (7, 0), "max_ref_frames": (7, 0), "spatial_aq": (8, 0)}


def _schema(encoder: str, codec: Codec, profiles: tuple[str, ...]) -> EncoderSchema:
    return EncoderSchema(
        encoder=encoder,
        codec=codec,
        # Higher is better here; Apple Silicon only.
        quality=(1, 100),
        default_quality=58 if codec is Codec.H264 else 48,
        whole_quality=True,
        # Best, one published point in the middle (a guess for H.264), worst.
        reference_quality=((1, 100), (22, 60), (51, 1)),
        quality_options=("q",),
        presets=("speed", "quality"),
        profiles=profiles,
        max_b_frames=2,
        options={"power_efficient": FLAG, "spatial_aq": FLAG, "max_ref_frames": Int(1, 16)},
        refused=_REFUSED,
    )


SCHEMAS = (
    _schema(
        "h264_videotoolbox",
        Codec.H264,
        ("baseline", "constrained_baseline", "main", "high", "constrained_high"),
    ),
    _schema("hevc_videotoolbox", Codec.HEVC, ("main", "main10")),
)


def _look(_build: FfmpegBuild, _machine: Machine) -> Sequence[Device | Scout | Diagnosis]:
    # Every Mac has it, and macOS chooses the device.
    return [Device("gpu")]


def _steps(_build: FfmpegBuild, schema: EncoderSchema) -> Sequence[Step]:
    deep = (TEN_BIT,) if schema.codec is Codec.HEVC else ()
    return (*deep, BITRATE, DECODE)


def _options(order: HardwareOrder) -> list[str]:
    profile, rate = order.profile, order.profile.rate
    # One of the two must always be set: the default is 200 kbit/s.
    if rate.mode is RateMode.QUALITY:
        args = ["-q:v", f"{order.quality:g}"]
    else:
        args = ["-b:v", str(rate.target_bps)]
    # It is in the trial as well, so an ffmpeg that does not know it is found out there.
    fast = profile.preset == "speed"
    args += order.unless_refused("-prio_speed", "1" if fast else "0")
    return [*args, *order.structure()]


@attrs.frozen(kw_only=True)
class _Decode(DeviceDecode):
    """Decoding by VideoToolbox, whose scaler cannot convert between bit depths."""

    def filters(
        self, build: FfmpegBuild, profile: Profile, video: VideoFormat, picture: Picture
    ) -> tuple[str, ...]:
        """See `DeviceDecode.filters`."""
        source = describe(video.pix_fmt)
        if source is not None and source.depth != picture.pix_fmt.depth:
            raise ValueError("the bit depth changes, which runs in software")
        return super().filters(build, profile, video, picture)


def _decode_devices(_device: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    hwaccel = ("-hwaccel", "videotoolbox", "-hwaccel_output_format", "videotoolbox_vld")
    return (), hwaccel


def _scale(_build: FfmpegBuild, _pix_fmt: str, size: Size | None) -> str:
    # A decoder that fell back to the CPU must not pass for one on the GPU.
    guard = "format=videotoolbox_vld"
    return guard if size is None else f"{guard},scale_vt=w={size[0]}:h={size[1]}"


@hookimpl
def ffcluster_backends() -> Sequence[Backend]:
    """Offer VideoToolbox."""
    return [
        HardwareBackend(
            name="videotoolbox",
            schemas=SCHEMAS,
            platforms=frozenset({"darwin"}),
            options=_options,
            rules=VIDEOTOOLBOX,
            look=_look,
            steps=_steps,
            decode=_Decode(
                devices=_decode_devices,
                scaler="scale_vt",
                scale=_scale,
                codecs=frozenset({"h264", "hevc", "mpeg2video", "mpeg4", "vp9", "av1"}),
            ),
            since=_SINCE,
            least_size=(64, 64),
            standing=20,
        )
    ]
