"""The settings of the VAAPI encoders as data."""

from __future__ import annotations

from ffcluster.core.profile import Codec, RateMode
from ffcluster.encoders.backend import EncoderSchema
from ffcluster.encoders.rules import FLAG, Int

_PRESETS = ("7", "6", "5", "4", "3", "2", "1")
_REFUSED = {
    "low_power": "drivers that know nothing else use it by themselves",
    "rc_mode": "it follows from -global_quality, -b:v and -maxrate",
    "idr_interval": "ffcluster sets it",
    "sei": "ffcluster sets it",
    "level": "its units differ between encoders; the encoder finds it",
}
# The first ffmpeg with which each was seen; the releases between were not looked at.
SINCE = {"blbrc": (7, 1), "profile=high10": (7, 1)}


def _schema(
    encoder: str,
    codec: Codec,
    highest: int,
    quality: int,
    reference: tuple[tuple[float, float], ...],
    profiles: tuple[str, ...],
    b_frames: int,
) -> EncoderSchema:
    return EncoderSchema(
        encoder=encoder,
        codec=codec,
        quality=(1, highest),
        default_quality=quality,
        reference_quality=reference,
        whole_quality=True,
        quality_options=("global_quality", "qp"),
        peak=frozenset({RateMode.BITRATE}),
        presets=_PRESETS,
        preset_option="compression_level",
        profiles=profiles,
        max_b_frames=b_frames,
        options={"async_depth": Int(1, 64), "b_depth": Int(1, 4), "blbrc": FLAG},
        refused=_REFUSED,
    )


# Rough published equivalences: CRF of the codec's reference encoder and this one's quality.
SCHEMAS = (
    _schema(
        "h264_vaapi",
        Codec.H264,
        51,
        24,
        ((0, 1), (23, 24), (51, 51)),
        ("constrained_baseline", "main", "high", "high10"),
        4,
    ),
    _schema(
        "hevc_vaapi",
        Codec.HEVC,
        51,
        30,
        ((0, 1), (22, 25), (51, 51)),
        ("main", "main10"),
        4,
    ),
    _schema("av1_vaapi", Codec.AV1, 255, 120, ((0, 1), (35, 120), (63, 255)), ("main",), 4),
    _schema("vp9_vaapi", Codec.VP9, 255, 100, ((0, 1), (31, 100), (63, 255)), (), 0),
)

__all__ = ["SCHEMAS", "SINCE"]
