"""Where Quick Sync Video is: Intel's render nodes on Linux, Direct3D adapters on Windows.

Also how such a device decodes and scales, and what its error texts mean.
"""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.core.model import Trouble
from ffcluster.encoders.backend import Diagnosis, Machine, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.direct3d import adapter_args, adapter_scout, adapters
from ffcluster.encoders.hardware import Device, DeviceDecode, Scout, Size
from ffcluster.encoders.trouble_tables import QSV
from ffcluster.encoders.troubles import About, Rule

_INTEL = "0x8086"
_REFUSAL = (
    r"Selected ratecontrol mode is unsupported|some encoding parameters are not supported"
    r"|Error (?:initializing the encoder|querying [^:\n]*): "
    r"(?:unsupported|invalid video parameters|incompatible video parameters)"
)

# A refusal seldom names its cause, so what may be it is left out in this order.
RULES: Sequence[Rule] = (
    Rule(
        _REFUSAL,
        Trouble.UNSUPPORTED,
        "the chip does not look ahead with this rate control",
        drops="look_ahead",
    ),
    Rule(
        r"Selected ratecontrol mode is unsupported",
        Trouble.UNSUPPORTED,
        "the chip has no intelligent constant quality (ICQ): a constant quantizer is used",
        drops="icq",
    ),
    Rule(
        _REFUSAL,
        Trouble.UNSUPPORTED,
        "the chip has only the low-power way to encode this",
        drops="normal_power",
    ),
    Rule(
        r"Using device (?!8086:)",
        Trouble.MISSING,
        "there is no Intel GPU among the display adapters",
        "if there should be one, enable it in the firmware and install Intel's driver",
        about=About.FAMILY,
    ),
    *QSV,
    Rule(
        _REFUSAL,
        Trouble.UNSUPPORTED,
        "the chip or its runtime does not take these settings",
        "update Intel's media driver and runtime; chips that encode only in low power need HuC "
        "firmware (i915.enable_guc=2 for older kernels)",
    ),
    Rule(
        r"Failed to set value 'qsv=",
        Trouble.MISSING,
        "Intel's video runtime does not open this GPU",
        "install libmfx-gen1.2 (11th generation and newer) or libmfx1, the Media SDK (older), "
        "beside intel-media-va-driver-non-free",
        about=About.DEVICE,
    ),
)


def look(_build: FfmpegBuild, machine: Machine) -> Sequence[Device | Scout | Diagnosis]:
    """See `HardwareBackend.look`."""
    if machine.platform == "win32":
        return [adapter_scout()]
    intel = [node for node in machine.devices if node.vendor == _INTEL]
    found: list[Device | Scout | Diagnosis] = []
    for node in intel:
        if node.usable:
            found.append(Device(node.path, node.name, node.driver))
            continue
        cause = f"{node.path} may not be opened by this user"
        hint = "add the user to the groups render and video, or give the container the device"
        found.append(Diagnosis("qsv", node.path, cause, hint))
    if not found:
        cause = "there is no render node of an Intel GPU (/dev/dri/renderD*)"
        hint = "check that its kernel driver (i915 or xe) is loaded, or give the container /dev/dri"
        found.append(Diagnosis("qsv", "", cause, hint))
    return found


def read_scout(_device: Device, outcome: ProbeOutcome) -> Sequence[Device]:
    """The Intel adapters that Windows listed."""
    return adapters(outcome, _INTEL)


def device_args(device: str) -> tuple[str, ...]:
    """Arguments that open `device` (`/dev/dri/renderD128`, `dx:1`) under the name `qs`."""
    if device.startswith("/"):
        return ("-init_hw_device", f"qsv=qs,child_device={device}")
    return (*adapter_args(device), "-init_hw_device", "qsv=qs@dx")


def _decode_devices(device: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    hwaccel = ("-hwaccel", "qsv", "-hwaccel_device", "qs", "-hwaccel_output_format", "qsv")
    return (*device_args(device), "-filter_hw_device", "qs"), hwaccel


def _scale(_build: FfmpegBuild, pix_fmt: str, size: Size | None) -> str:
    measures = "" if size is None else f"w={size[0]}:h={size[1]}:"
    # The scaler takes pictures from the CPU as well, and a decoder that fell back to the CPU
    # must not pass for one on the chip.
    return f"format=qsv,vpp_qsv={measures}format={pix_fmt}"


DEVICE_DECODE = DeviceDecode(
    devices=_decode_devices,
    scaler="vpp_qsv",
    scale=_scale,
    codecs=frozenset({"h264", "hevc", "mpeg2video", "vp9", "av1", "vc1", "mjpeg"}),
)


__all__ = ["DEVICE_DECODE", "RULES", "device_args", "look", "read_scout"]
