"""The settings of the NVENC encoders as data."""

from __future__ import annotations

from ffcluster.core.profile import Codec, RateMode
from ffcluster.encoders.backend import EncoderSchema
from ffcluster.encoders.rules import FLAG, Int, Rule, one_of

_PRESETS = ("p1", "p2", "p3", "p4", "p5", "p6", "p7")
_MODES = (RateMode.QUALITY, RateMode.BITRATE, RateMode.LOSSLESS)
_LOSSY = frozenset({RateMode.QUALITY, RateMode.BITRATE})
# Spelt as every release from 5.1 to 9.0 takes them.
_OPTIONS: dict[str, Rule] = {
    "spatial-aq": FLAG,
    "aq-strength": Int(1, 15),
    "temporal-aq": FLAG,
    "rc-lookahead": Int(0, 32),
    "multipass": one_of("disabled qres fullres"),
    "b_ref_mode": one_of("disabled each middle"),
    "no-scenecut": FLAG,
    "nonref_p": FLAG,
    "strict_gop": FLAG,
    "weighted_pred": FLAG,
}
_SPLIT: dict[str, Rule] = {"split_encode_mode": one_of("disabled auto forced 2 3")}
_REFUSED = {
    "gpu": "ffcluster chooses the device",
    "rc": "it follows from -cq, -b:v and -maxrate",
    "global_quality": "newer ffmpegs refuse it; use -cq",
    "intra-refresh": "segments must start with a keyframe",
    "forced-idr": "ffcluster sets it",
    "level": "its units differ between encoders; the encoder finds it",
}
# The first ffmpeg with which each was seen; the releases between were not looked at.
SINCE = {
    "split_encode_mode": (7, 1),
    "tune=uhq": (9, 0),
    "profile=high10": (9, 0),
}


def _schema(
    encoder: str,
    codec: Codec,
    quality: tuple[float, int],
    reference: tuple[tuple[float, float], ...],
    profiles: tuple[str, ...],
    options: dict[str, Rule],
) -> EncoderSchema:
    default_quality, highest_quality = quality
    return EncoderSchema(
        encoder=encoder,
        codec=codec,
        # Zero would mean that the driver decides.
        quality=(1, highest_quality),
        default_quality=default_quality,
        reference_quality=reference,
        quality_options=("cq",),
        rate_modes=_MODES if codec is not Codec.AV1 else _MODES[:2],
        peak=_LOSSY,
        presets=_PRESETS,
        tunes=("hq", "ll", "ull") if codec is Codec.H264 else ("hq", "uhq", "ll", "ull"),
        profiles=profiles,
        max_b_frames=4,
        options=options,
        refused=_REFUSED,
    )


# Rough published equivalences: CRF of the codec's reference encoder and CQ. See `neutral`.
SCHEMAS = (
    _schema(
        "h264_nvenc",
        Codec.H264,
        (26, 51),
        ((0, 1), (23, 26), (51, 51)),
        ("baseline", "main", "high", "high10", "high444p"),
        _OPTIONS,
    ),
    _schema(
        "hevc_nvenc",
        Codec.HEVC,
        (32, 51),
        ((0, 1), (22, 27), (51, 51)),
        ("main", "main10", "rext"),
        _OPTIONS | _SPLIT,
    ),
    _schema(
        "av1_nvenc",
        Codec.AV1,
        (36, 63),
        ((0, 1), (35, 36), (63, 63)),
        (),
        _OPTIONS | _SPLIT,
    ),
)

__all__ = ["SCHEMAS", "SINCE"]
