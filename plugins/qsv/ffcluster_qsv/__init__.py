"""Intel Quick Sync Video for ffcluster. Probes nothing yet, so it offers no capability."""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.core.profile import Codec, RateMode
from ffcluster.encoders.backend import Backend, EncoderSchema
from ffcluster.encoders.hardware import HardwareBackend, HardwareOrder
from ffcluster.encoders.hookspecs import hookimpl
from ffcluster.encoders.rules import FLAG, Int, Rule

_PRESETS = ("veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_REFUSED = {
    "low_power": "newer chips decide over it themselves",
    "skip_frame": "it drops frames",
    "forced_idr": "ffcluster sets it",
    "qsv_params": "the driver's own parameters cannot be checked",
}
_H264_OPTIONS: dict[str, Rule] = {
    "look_ahead": FLAG,
    "look_ahead_depth": Int(0, 100),
    "extbrc": FLAG,
    "adaptive_i": FLAG,
    "adaptive_b": FLAG,
    "b_strategy": FLAG,
    "mbbrc": FLAG,
    "rdo": FLAG,
}
_HEVC_OPTIONS: dict[str, Rule] = {
    "extbrc": FLAG,
    "look_ahead_depth": Int(0, 100),
}


def _schema(
    encoder: str,
    codec: Codec,
    profiles: tuple[str, ...],
    options: dict[str, Rule],
    b_frames: int,
) -> EncoderSchema:
    return EncoderSchema(
        encoder=encoder,
        codec=codec,
        quality=(1, 51),
        default_quality=25,
        whole_quality=True,
        quality_options=("global_quality",),
        # Constant quality together with a peak would be another rate control (QVBR).
        peak=frozenset({RateMode.BITRATE}),
        presets=_PRESETS,
        profiles=profiles,
        max_b_frames=b_frames,
        options=options,
        refused=_REFUSED,
    )


SCHEMAS = (
    _schema("h264_qsv", Codec.H264, ("baseline", "main", "high"), _H264_OPTIONS, 7),
    _schema("hevc_qsv", Codec.HEVC, ("main", "main10", "rext"), _HEVC_OPTIONS, 7),
    _schema("av1_qsv", Codec.AV1, ("main",), _HEVC_OPTIONS, 7),
    _schema("vp9_qsv", Codec.VP9, (), {}, 0),
)


def _device(device: str) -> tuple[str, ...]:
    if device.startswith("/dev/"):
        return ("-init_hw_device", f"qsv=qs,child_device={device}")
    return ("-init_hw_device", "qsv=qs")


def _options(order: HardwareOrder) -> list[str]:
    profile, rate = order.profile, order.profile.rate
    if rate.mode is RateMode.QUALITY:
        args = ["-global_quality", f"{order.quality:g}"]
    else:
        args = ["-b:v", str(rate.target_bps), *order.peak()]
    if profile.preset is not None:
        args += ["-preset", profile.preset]
    if order.encoder != "vp9_qsv":
        args += ["-forced_idr", "1"]
    if order.encoder == "hevc_qsv":
        args += ["-idr_interval", "0"]
    return [*args, *order.structure()]


@hookimpl
def ffcluster_backends() -> Sequence[Backend]:
    """Offer Quick Sync Video."""
    return [
        HardwareBackend(
            name="qsv",
            schemas=SCHEMAS,
            platforms=frozenset({"linux", "win32"}),
            hint="a GPU counts only after a trial encode; until then use a software encoder",
            options=_options,
            device_args=_device,
        )
    ]
