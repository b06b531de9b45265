"""NVENC's own options. Takes only what its schema has accepted."""

from __future__ import annotations

from ffcluster.core.profile import RateMode
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.hardware import DeviceDecode, HardwareOrder, Size

_CODECS = frozenset(
    {"h264", "hevc", "av1", "vp9", "vp8", "mpeg1video", "mpeg2video", "mpeg4", "vc1"}
)


def options(order: HardwareOrder) -> list[str]:
    """Everything after `-c:v NAME`."""
    profile, rate = order.profile, order.profile.rate
    args: list[str] = []
    if rate.mode is RateMode.LOSSLESS:
        args += ["-tune", "lossless"]
    elif rate.mode is RateMode.QUALITY:
        # With constant quality -b:v 0 is needed, and -bufsize would be ignored. Zero would let
        # the driver choose, so the least is one.
        args += ["-rc", "vbr", "-cq", f"{max(1.0, order.quality):g}", "-b:v", "0"]
        args += [] if rate.max_bps is None else ["-maxrate", str(rate.max_bps)]
    else:
        args += ["-rc", "vbr", "-b:v", str(rate.target_bps), *order.peak()]
    if profile.preset is not None:
        args += ["-preset", profile.preset]
    if profile.tune is not None and rate.mode is not RateMode.LOSSLESS:
        args += ["-tune", profile.tune]
    if not order.on_device:
        # Pictures that are on a device already decide over it themselves.
        args += ["-gpu", _number(order.capability.device)]
    if profile.codec_profile is None and order.depth == 10:
        args += _ten_bit_profile(order)
    return [*args, "-forced-idr", "1", *_extras(order), *order.structure()]


def _ten_bit_profile(order: HardwareOrder) -> list[str]:
    if order.encoder == "hevc_nvenc":
        return ["-profile:v", "main10"]
    if order.encoder == "h264_nvenc" and order.build.at_least(9):
        return ["-profile:v", "high10"]
    return []


def _extras(order: HardwareOrder) -> list[str]:
    profile = order.profile
    if profile.rate.mode is RateMode.LOSSLESS or profile.tune in ("ll", "ull"):
        # Both would be spoilt by looking ahead and by shifting bits about.
        return []
    pairs = [("spatial-aq", "1"), ("aq-strength", "8"), ("temporal-aq", "1")]
    pairs += [("rc-lookahead", "32"), ("multipass", "qres")]
    several = profile.b_frames is None or profile.b_frames > 1
    if several and profile.codec_profile != "baseline" and not order.refused("bf"):
        pairs.append(("b_ref_mode", "middle"))
    return order.extras(*pairs)


def _number(device: str) -> str:
    number = device.rpartition(":")[2]
    return number if number.isdecimal() else "0"


def _devices(device: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    # Surfaces beyond what the decoder itself needs; the scaler copies, so it is few.
    return (
        ("-init_hw_device", f"cuda=cu:{_number(device)}", "-filter_hw_device", "cu"),
        ("-hwaccel", "cuda", "-hwaccel_device", "cu", "-hwaccel_output_format", "cuda"),
    )


def _scale(build: FfmpegBuild, pix_fmt: str, size: Size | None) -> str:
    # Without passthrough=0 the encoder's lookahead would hold the decoder's own surfaces, which
    # are few.
    sides = f"w={size[0]}:h={size[1]}:" if size else ""
    return f"scale_cuda={sides}format={pix_fmt}:passthrough=0"


DECODE = DeviceDecode(devices=_devices, scaler="scale_cuda", scale=_scale, codecs=_CODECS)

__all__ = ["DECODE", "options"]
