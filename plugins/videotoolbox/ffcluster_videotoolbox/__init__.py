"""Apple VideoToolbox for ffcluster. Probes nothing yet, so it offers no capability."""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.core.profile import Codec, RateMode
from ffcluster.encoders.backend import Backend, EncoderSchema
from ffcluster.encoders.hardware import HardwareBackend, HardwareOrder
from ffcluster.encoders.hookspecs import hookimpl
from ffcluster.encoders.rules import FLAG

_REFUSED = {
    "frames_before": "ffcluster decides over segments",
    "frames_after": "ffcluster decides over segments",
    "allow_sw": "the software encoders are chosen as such",
    "realtime": "it may drop quality to keep up",
}


def _schema(encoder: str, codec: Codec, profiles: tuple[str, ...]) -> EncoderSchema:
    return EncoderSchema(
        encoder=encoder,
        codec=codec,
        # Higher is better here; Apple Silicon only.
        quality=(1, 100),
        default_quality=60,
        whole_quality=True,
        quality_options=("q",),
        presets=("speed", "quality"),
        profiles=profiles,
        max_b_frames=2,
        options={"power_efficient": FLAG},
        refused=_REFUSED,
    )


SCHEMAS = (
    _schema("h264_videotoolbox", Codec.H264, ("baseline", "main", "high")),
    _schema("hevc_videotoolbox", Codec.HEVC, ("main", "main10")),
)


def _options(order: HardwareOrder) -> list[str]:
    profile, rate = order.profile, order.profile.rate
    # One of the two must always be set: the default is 200 kbit/s.
    if rate.mode is RateMode.QUALITY:
        args = ["-q:v", f"{order.quality:g}"]
    else:
        args = ["-b:v", str(rate.target_bps)]
    if profile.preset is not None:
        args += order.unless_refused("-prio_speed", "1" if profile.preset == "speed" else "0")
    return [*args, *order.structure()]


@hookimpl
def ffcluster_backends() -> Sequence[Backend]:
    """Offer VideoToolbox."""
    return [
        HardwareBackend(
            name="videotoolbox",
            schemas=SCHEMAS,
            platforms=frozenset({"darwin"}),
            hint="an encoder counts only after a trial encode; until then use a software encoder",
            options=_options,
        )
    ]
