"""NVIDIA NVENC for ffcluster: H.264, HEVC and AV1 on every GPU that proves it by a trial encode."""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.encoders.backend import Backend
from ffcluster.encoders.hardware import HardwareBackend
from ffcluster.encoders.hookspecs import hookimpl
from ffcluster.encoders.trouble_tables import NVENC
from ffcluster_nvenc.arguments import DECODE, options
from ffcluster_nvenc.devices import FIRST, look, read_list, steps
from ffcluster_nvenc.schemas import SCHEMAS, SINCE


@hookimpl
def ffcluster_backends() -> Sequence[Backend]:
    """Offer NVENC."""
    return [
        HardwareBackend(
            name="nvenc",
            schemas=SCHEMAS,
            platforms=frozenset({"linux", "win32"}),
            options=options,
            rules=NVENC,
            look=look,
            read_scout=read_list,
            first=FIRST,
            steps=steps,
            decode=DECODE,
            since=SINCE,
            # The least number of sessions that a driver for consumer GPUs ever allowed.
            slots=3,
            least_size=(145, 49),
            standing=40,
        )
    ]
