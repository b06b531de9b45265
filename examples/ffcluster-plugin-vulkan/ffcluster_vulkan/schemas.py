"""What each Vulkan encoder takes, from `ffmpeg -h encoder=` of 7.1 and 9.0."""

from __future__ import annotations

from ffcluster.core.profile import Codec, RateMode
from ffcluster.encoders.backend import EncoderSchema
from ffcluster.encoders.rules import Int, Rule, one_of

_OPTIONS: dict[str, Rule] = {
    "async_depth": Int(1, 64),
    "b_depth": Int(1, 4),
    "usage": one_of("default transcode stream record conference"),
    "content": one_of("default camera desktop rendered"),
}
_REFUSED = {
    "quality": "in some ffmpegs a higher number is faster, in others slower",
    "rc_mode": "it follows from --quality and --bitrate",
    "idr_interval": "ffcluster sets it: every GOP is closed",
    "units": "parts of the stream's headers must not differ between workers",
}
# Rough equivalence with CRF: these are quantizers.
_H26X_SCALE = ((0.0, 1.0), (18.0, 20.0), (23.0, 25.0), (28.0, 30.0), (51.0, 51.0))
_AV1_SCALE = ((0.0, 1.0), (20.0, 70.0), (35.0, 120.0), (63.0, 255.0))


def _schema(
    encoder: str,
    codec: Codec,
    highest: int,
    default: int,
    scale: tuple[tuple[float, float], ...],
    profiles: tuple[str, ...],
) -> EncoderSchema:
    return EncoderSchema(
        encoder=encoder,
        codec=codec,
        quality=(1, highest),
        default_quality=default,
        whole_quality=True,
        reference_quality=scale,
        quality_options=("qp",),
        peak=frozenset({RateMode.BITRATE}),
        tunes=("hq", "ll"),
        profiles=profiles,
        max_b_frames=2,
        options=_OPTIONS,
        refused=_REFUSED,
    )


SCHEMAS = (
    _schema(
        "h264_vulkan", Codec.H264, 51, 25, _H26X_SCALE, ("constrained_baseline", "main", "high")
    ),
    _schema("hevc_vulkan", Codec.HEVC, 51, 27, _H26X_SCALE, ("main", "main10")),
    _schema("av1_vulkan", Codec.AV1, 255, 120, _AV1_SCALE, ("main",)),
)

__all__ = ["SCHEMAS"]
