"""NVIDIA NVENC for ffcluster. Probes nothing yet, so it offers no capability."""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.core.profile import Codec, RateMode
from ffcluster.encoders.backend import Backend, EncoderSchema
from ffcluster.encoders.hardware import HardwareBackend, HardwareOrder
from ffcluster.encoders.hookspecs import hookimpl
from ffcluster.encoders.rules import FLAG, Int, Rule, one_of

_PRESETS = ("p1", "p2", "p3", "p4", "p5", "p6", "p7")
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
    "strict_gop": FLAG,
    "weighted_pred": FLAG,
}
_REFUSED = {
    "gpu": "ffcluster chooses the device",
    "rc": "it follows from -cq, -b:v and -maxrate",
    "intra-refresh": "segments must start with a keyframe",
    "forced-idr": "ffcluster sets it",
}


def _schema(
    encoder: str,
    codec: Codec,
    default_quality: float,
    highest_quality: int,
    profiles: tuple[str, ...],
    tunes: tuple[str, ...],
    lossless: bool,
) -> EncoderSchema:
    modes = (RateMode.QUALITY, RateMode.BITRATE, RateMode.LOSSLESS)
    return EncoderSchema(
        encoder=encoder,
        codec=codec,
        # Zero would mean that the driver decides.
        quality=(1, highest_quality),
        default_quality=default_quality,
        quality_options=("cq",),
        rate_modes=modes if lossless else modes[:2],
        peak=_LOSSY,
        presets=_PRESETS,
        tunes=tunes,
        profiles=profiles,
        max_b_frames=5,
        options=_OPTIONS,
        refused=_REFUSED,
    )


SCHEMAS = (
    _schema("h264_nvenc", Codec.H264, 26, 51, ("baseline", "main", "high"), ("hq", "ll"), True),
    _schema("hevc_nvenc", Codec.HEVC, 30, 51, ("main", "main10", "rext"), ("hq", "ll"), True),
    _schema("av1_nvenc", Codec.AV1, 36, 63, (), ("hq", "ll"), False),
)


def _options(order: HardwareOrder) -> list[str]:
    profile, rate = order.profile, order.profile.rate
    args: list[str] = []
    if rate.mode is RateMode.LOSSLESS:
        args += ["-tune", "lossless"]
    elif rate.mode is RateMode.QUALITY:
        # With constant quality -b:v 0 is needed, and -bufsize would be ignored.
        args += ["-rc", "vbr", "-cq", f"{order.quality:g}", "-b:v", "0"]
        args += [] if rate.max_bps is None else ["-maxrate", str(rate.max_bps)]
    else:
        args += ["-rc", "vbr", "-b:v", str(rate.target_bps), *order.peak()]
    if profile.preset is not None:
        args += ["-preset", profile.preset]
    if profile.tune is not None and rate.mode is not RateMode.LOSSLESS:
        args += ["-tune", profile.tune]
    if order.capability.device:
        args += ["-gpu", order.capability.device]
    return [*args, "-forced-idr", "1", *order.structure()]


@hookimpl
def ffcluster_backends() -> Sequence[Backend]:
    """Offer NVENC."""
    return [
        HardwareBackend(
            name="nvenc",
            schemas=SCHEMAS,
            platforms=frozenset({"linux", "win32"}),
            hint="a GPU counts only after a trial encode; until then use a software encoder",
            options=_options,
        )
    ]
