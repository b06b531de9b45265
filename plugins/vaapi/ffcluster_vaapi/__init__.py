"""VAAPI for ffcluster. Probes nothing yet, so it offers no capability."""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.core.profile import Codec, RateMode
from ffcluster.encoders.backend import Backend, EncoderSchema
from ffcluster.encoders.hardware import HardwareBackend, HardwareOrder
from ffcluster.encoders.hookspecs import hookimpl
from ffcluster.encoders.rules import FLAG, Int

_PRESETS = ("7", "6", "5", "4", "3", "2", "1")
_REFUSED = {
    "low_power": "drivers that know nothing else use it by themselves",
    "rc_mode": "it follows from -global_quality, -b:v and -maxrate",
    "idr_interval": "ffcluster sets it",
}


def _schema(
    encoder: str, codec: Codec, highest: int, quality: int, profiles: tuple[str, ...], b_frames: int
) -> EncoderSchema:
    return EncoderSchema(
        encoder=encoder,
        codec=codec,
        quality=(1, highest),
        default_quality=quality,
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


SCHEMAS = (
    _schema("h264_vaapi", Codec.H264, 51, 24, ("constrained_baseline", "main", "high"), 4),
    _schema("hevc_vaapi", Codec.HEVC, 51, 25, ("main", "main10"), 4),
    _schema("av1_vaapi", Codec.AV1, 255, 120, ("main",), 4),
    _schema("vp9_vaapi", Codec.VP9, 255, 100, (), 0),
)
# These take a quantizer only as the general quality.
_GENERAL_QUALITY = frozenset({"av1_vaapi", "vp9_vaapi"})


def _device(device: str) -> tuple[str, ...]:
    node = f":{device}" if device else ""
    return ("-init_hw_device", f"vaapi=va{node}", "-filter_hw_device", "va")


def _options(order: HardwareOrder) -> list[str]:
    profile, rate = order.profile, order.profile.rate
    quality = f"{order.quality:g}"
    if rate.mode is RateMode.BITRATE:
        args = ["-rc_mode", "VBR", "-b:v", str(rate.target_bps), *order.peak()]
    elif order.encoder in _GENERAL_QUALITY:
        args = ["-rc_mode", "CQP", "-global_quality", quality]
    elif "ICQ" in order.capability.without:
        args = ["-rc_mode", "CQP", "-qp", quality]
    else:
        args = ["-rc_mode", "ICQ", "-global_quality", quality]
    if profile.preset is not None:
        args += ["-compression_level", profile.preset]
    if order.encoder == "hevc_vaapi":
        args += ["-sei", "hdr"]
    return [*args, "-idr_interval", "0", *order.structure()]


@hookimpl
def ffcluster_backends() -> Sequence[Backend]:
    """Offer VAAPI."""
    return [
        HardwareBackend(
            name="vaapi",
            schemas=SCHEMAS,
            platforms=frozenset({"linux"}),
            hint="a GPU counts only after a trial encode; until then use a software encoder",
            options=_options,
            device_args=_device,
            upload=("hwupload",),
            hdr10=frozenset({"hevc_vaapi"}),
        )
    ]
