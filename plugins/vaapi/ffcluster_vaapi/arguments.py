"""VAAPI's own options. Takes only what its schema has accepted."""

from __future__ import annotations

from ffcluster.core.profile import RateMode
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.hardware import DeviceDecode, HardwareOrder, Size

# These take a quantizer only as the general quality.
_GENERAL_QUALITY = frozenset({"av1_vaapi", "vp9_vaapi"})
_CODECS = frozenset({"h264", "hevc", "av1", "vp9", "vp8", "mpeg2video", "vc1"})


def options(order: HardwareOrder) -> list[str]:
    """Everything after `-c:v NAME`."""
    profile, rate = order.profile, order.profile.rate
    if rate.mode is RateMode.BITRATE:
        mode = "CBR" if order.refused("VBR") else "VBR"
        # A peak that equals the target is what CBR is to ffmpeg.
        args = ["-rc_mode", mode, "-b:v", str(rate.target_bps)]
        args += order.peak() if mode == "VBR" else []
    else:
        args = _quality(order)
    if profile.preset is not None:
        args += ["-compression_level", profile.preset]
    if order.encoder == "hevc_vaapi":
        args += ["-sei", "hdr"]
    return [*args, "-idr_interval", "0", *order.structure()]


def _quality(order: HardwareOrder) -> list[str]:
    quality = f"{order.quality:g}"
    if order.encoder in _GENERAL_QUALITY:
        return ["-rc_mode", "CQP", "-global_quality", quality]
    if order.refused("ICQ"):
        return ["-rc_mode", "CQP", "-qp", quality]
    return ["-rc_mode", "ICQ", "-global_quality", quality]


def device_args(device: str) -> tuple[str, ...]:
    """Open the render node for the upload and the encoder."""
    node = f":{device}" if device else ""
    return ("-init_hw_device", f"vaapi=va{node}", "-filter_hw_device", "va")


def _devices(device: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (
        device_args(device),
        ("-hwaccel", "vaapi", "-hwaccel_device", "va", "-hwaccel_output_format", "vaapi"),
    )


def _scale(build: FfmpegBuild, pix_fmt: str, size: Size | None) -> str:
    sides = f"w={size[0]}:h={size[1]}:" if size else ""
    return f"scale_vaapi={sides}format={pix_fmt}"


DECODE = DeviceDecode(devices=_devices, scaler="scale_vaapi", scale=_scale, codecs=_CODECS)

__all__ = ["DECODE", "device_args", "options"]
