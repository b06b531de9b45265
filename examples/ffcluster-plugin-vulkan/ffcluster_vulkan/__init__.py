"""Vulkan video for ffcluster: H.264, HEVC and AV1 on every GPU that proves it by a trial.

Written as an example for authors of plugins: it uses nothing but what is public to them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.encoders.backend import Backend
from ffcluster.encoders.hardware import HardwareBackend
from ffcluster.encoders.hookspecs import hookimpl
from ffcluster_vulkan.arguments import device_args, options
from ffcluster_vulkan.devices import look, read_listing, steps
from ffcluster_vulkan.schemas import SCHEMAS
from ffcluster_vulkan.troubles import RULES


@hookimpl
def ffcluster_backends() -> Sequence[Backend]:
    """Offer Vulkan video."""
    return [
        HardwareBackend(
            name="vulkan",
            schemas=SCHEMAS,
            platforms=frozenset({"linux", "win32"}),
            options=options,
            rules=RULES,
            look=look,
            read_scout=read_listing,
            steps=steps,
            device_args=device_args,
            upload=("hwupload",),
            slots=2,
        )
    ]
