"""Which GPUs Vulkan video is tried on, and by which steps. Claims nothing of any of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ffcluster.core.profile import Codec
from ffcluster.encoders.backend import EncoderSchema, FfmpegBuild, Machine, ProbeOutcome
from ffcluster.encoders.hardware import BITRATE, TEN_BIT, Device, Scout, Step

# It opens the first device only to get there, and ends because there is nothing to encode.
_LISTING = Scout(("-hide_banner", "-nostdin", "-v", "verbose", "-init_hw_device", "vulkan=vk"))
_ROW = re.compile(
    r"^\[[^\]]+\]\s+(\d+): (.+) \((integrated|discrete|virtual|software|unknown)\) \(0x",
    re.MULTILINE,
)


def look(build: FfmpegBuild, machine: Machine) -> Sequence[Scout]:
    """Ask ffmpeg for its list of GPUs: no file says which of them Vulkan reaches."""
    return [_LISTING]


def read_listing(asked: Device, outcome: ProbeOutcome) -> Sequence[Device]:
    """The GPUs in ffmpeg's list. Software renderers open just as well, and encode nothing."""
    return [
        Device(f"vulkan:{number}", name)
        for number, name, kind in _ROW.findall(outcome.stderr)
        if kind != "software"
    ]


def steps(build: FfmpegBuild, schema: EncoderSchema) -> Sequence[Step]:
    """What is tried after an encoder's first success."""
    return [BITRATE] if schema.codec is Codec.H264 else [BITRATE, TEN_BIT]


__all__ = ["look", "read_listing", "steps"]
