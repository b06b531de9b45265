"""Where AMF is: AMD's Direct3D adapters on Windows, AMD's runtime over Vulkan on Linux.

Also how such a device decodes and scales, and what its error texts mean.
"""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.core.model import Trouble
from ffcluster.encoders.backend import Diagnosis, Machine, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.direct3d import adapter_args, adapter_scout, adapters
from ffcluster.encoders.hardware import Device, DeviceDecode, Scout, Size
from ffcluster.encoders.trouble_tables import AMF
from ffcluster.encoders.troubles import About, Rule

_AMD = "0x1002"
# Linux offers no choice: the runtime takes the GPU that Vulkan names first.
_LINUX_DEVICE = "amf:0"
# Where AMF is a device of its own, it is opened on the adapter.
AMF_ON_ADAPTER = ("-init_hw_device", "amf=am@dx")

RULES: Sequence[Rule] = (
    Rule(
        r"Using device (?!1002:)",
        Trouble.MISSING,
        "there is no AMD GPU among the display adapters",
        "if there should be one, enable it in the firmware and install AMD's driver",
        about=About.FAMILY,
    ),
    Rule(
        r"(?i)pre-?analysis[^\n]*(?:not supported|failed|unsupported)|PreAnalysis is not",
        Trouble.UNSUPPORTED,
        "the GPU has no pre-analysis",
        drops="preanalysis",
    ),
    Rule(
        r"encoder->Init\(\) failed with error \d+",
        Trouble.UNSUPPORTED,
        "the GPU does not start with pre-analysis",
        drops="preanalysis",
    ),
    *AMF,
)


def look(build: FfmpegBuild, machine: Machine) -> Sequence[Device | Scout | Diagnosis]:
    """See `HardwareBackend.look`."""
    if machine.platform == "win32":
        return [adapter_scout()]
    node = next((node for node in machine.devices if node.vendor == _AMD), None)
    if node is None:
        cause = "there is no render node of an AMD GPU (/dev/dri/renderD*)"
        hint = "check that its kernel driver (amdgpu) is loaded, or give the container /dev/dri"
        return [Diagnosis("amf", "", cause, hint)]
    if not has_amf_device(build):
        cause = f"AMF on Linux needs a newer ffmpeg than {build.version}"
        return [Diagnosis("amf", "", cause, "use ffmpeg 8 or newer, or VAAPI for the same GPU")]
    device = Device(_LINUX_DEVICE, node.name, node.driver)
    source = ("-f", "lavfi", "-i", "nullsrc=s=16x16:d=0.04", "-f", "null", "-")
    return [Scout(("-hide_banner", "-nostdin", *device_args(_LINUX_DEVICE), *source), device)]


def read_scout(device: Device, outcome: ProbeOutcome) -> Sequence[Device]:
    """The AMD adapters that Windows listed, or the one device of Linux if it opened."""
    if not device.name:
        return adapters(outcome, _AMD)
    return [device] if outcome.returncode == 0 else []


def has_amf_device(build: FfmpegBuild) -> bool:
    """Whether AMF is a device of its own in `build` rather than a way of Direct3D's."""
    return build.at_least(8)


def device_args(device: str) -> tuple[str, ...]:
    """Arguments that open `device` (`dx:1`, `amf:0`)."""
    if device.startswith("dx:"):
        return adapter_args(device)
    return ("-init_hw_device", "amf=am")


def _decode_devices(device: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not device.startswith("dx:"):
        hwaccel = ("-hwaccel", "amf", "-hwaccel_device", "am", "-hwaccel_output_format", "amf")
        return (*device_args(device), "-filter_hw_device", "am"), hwaccel
    opened = (*device_args(device), *AMF_ON_ADAPTER, "-filter_hw_device", "am")
    hwaccel = ("-hwaccel", "d3d11va", "-hwaccel_device", "dx", "-hwaccel_output_format", "d3d11")
    return opened, hwaccel


def _scale(_build: FfmpegBuild, pix_fmt: str, size: Size | None) -> str:
    measures = "" if size is None else f"w={size[0]}:h={size[1]}:"
    # The scaler takes pictures from the CPU as well, and a decoder that fell back to the CPU
    # must not pass for one on the GPU.
    return f"format=d3d11|amf,vpp_amf={measures}format={pix_fmt}"


# The scaler is in no ffmpeg before 9.0 that was looked at; `DeviceDecode` asks the build for it.
DEVICE_DECODE = DeviceDecode(
    devices=_decode_devices,
    scaler="vpp_amf",
    scale=_scale,
    codecs=frozenset({"h264", "hevc", "av1", "vp9", "mpeg2video", "vc1"}),
)


__all__ = [
    "AMF_ON_ADAPTER",
    "DEVICE_DECODE",
    "RULES",
    "device_args",
    "has_amf_device",
    "look",
    "read_scout",
]
