"""Which render nodes VAAPI is tried on, and by which steps. Claims nothing of any of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from ffcluster.core.model import Trouble
from ffcluster.core.profile import Codec
from ffcluster.encoders.backend import (
    DeviceNode,
    Diagnosis,
    EncoderSchema,
    FfmpegBuild,
    Machine,
    ProbeOutcome,
)
from ffcluster.encoders.hardware import BITRATE, DECODE, TEN_BIT, Device, Scout, Step
from ffcluster_vaapi.arguments import device_args

_NODE = "/dev/dri/renderD"
_DRIVER = re.compile(r"VAAPI driver: (.+?)\.?\s*$", re.MULTILINE)
_NAME = re.compile(r"iHD|i965|Mesa|nouveau|virgl")
_VERSION = re.compile(r"\d+(?:\.\d+)+")
# Smaller than any GPU encodes: the refusal names what it can.
_LIMITS = Step("limits", "the possible sizes", size=(16, 16), finds_limits=True)


def look(build: FfmpegBuild, machine: Machine) -> Sequence[Scout | Diagnosis]:
    """Open every render node that may be opened and can have an encoder."""
    nodes = [node for node in machine.devices if node.path.startswith(_NODE)]
    if not nodes:
        return [
            Diagnosis(
                "vaapi",
                "",
                "there is no render node (/dev/dri/renderD*)",
                "install the GPU's kernel driver; in a container pass it on (--device /dev/dri)",
            )
        ]
    return [_seen(node) for node in nodes]


def _seen(node: DeviceNode) -> Scout | Diagnosis:
    if not node.usable:
        return Diagnosis(
            "vaapi",
            node.path,
            "this user may not open the device",
            "add the user that runs this worker to the group that owns it, render or video "
            "(usermod -aG render,video USER), and log in again",
        )
    if node.driver in ("nvidia", "nvidia-drm"):
        return Diagnosis(
            "vaapi",
            node.path,
            "NVIDIA's own driver has no VAAPI encoder",
            "use ffcluster-plugin-nvenc for this GPU",
            trouble=Trouble.UNSUPPORTED,
        )
    return Scout.opening(Device(node.path, node.name), device_args(node.path))


def read_driver(asked: Device, outcome: ProbeOutcome) -> Sequence[Device]:
    """The node, if it opened, with the driver's name and version."""
    if outcome.returncode != 0 or outcome.timed_out:
        return []
    found = _DRIVER.search(outcome.stderr)
    said = found[1].strip() if found else ""
    version = _VERSION.search(said)
    name = _NAME.search(said)
    driver = " ".join(found[0] for found in (name, version) if found) or said
    return [Device(asked.name, asked.label or said, driver)]


def steps(build: FfmpegBuild, schema: EncoderSchema) -> Sequence[Step]:
    """What is tried after an encoder's first success."""
    if schema.codec is not Codec.H264:
        return [BITRATE, TEN_BIT, DECODE, _LIMITS]
    deep = [attrs.evolve(TEN_BIT, rare=True)] if build.at_least(7, 1) else []
    return [BITRATE, *deep, DECODE, _LIMITS]


__all__ = ["look", "read_driver", "steps"]
