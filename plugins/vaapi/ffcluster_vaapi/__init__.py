"""VAAPI for ffcluster: H.264, HEVC, AV1 and VP9 on every render node that proves it by a trial."""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.encoders.backend import Backend
from ffcluster.encoders.hardware import HardwareBackend
from ffcluster.encoders.hookspecs import hookimpl
from ffcluster.encoders.trouble_tables import VAAPI
from ffcluster_vaapi.arguments import DECODE, device_args, options
from ffcluster_vaapi.devices import look, read_driver, steps
from ffcluster_vaapi.schemas import SCHEMAS, SINCE


@hookimpl
def ffcluster_backends() -> Sequence[Backend]:
    """Offer VAAPI."""
    return [
        HardwareBackend(
            name="vaapi",
            schemas=SCHEMAS,
            platforms=frozenset({"linux"}),
            options=options,
            rules=VAAPI,
            look=look,
            read_scout=read_driver,
            steps=steps,
            device_args=device_args,
            upload=("hwupload",),
            decode=DECODE,
            # The other encoders' ffmpeg code has no such metadata.
            hdr10=lambda _build, encoder: encoder == "hevc_vaapi",
            since=SINCE,
            slots=2,
            standing=10,
        )
    ]
