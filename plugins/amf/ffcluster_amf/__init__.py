"""AMD AMF for ffcluster. Probes nothing yet, so it offers no capability."""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.core.profile import Codec, RateMode
from ffcluster.encoders.backend import Backend, EncoderSchema
from ffcluster.encoders.hardware import HardwareBackend, HardwareOrder
from ffcluster.encoders.hookspecs import hookimpl
from ffcluster.encoders.rules import FLAG

# By name, for the numbers differ from codec to codec.
_PRESETS = ("speed", "balanced", "quality")
_OPTIONS = {"preencode": FLAG, "enforce_hrd": FLAG}
_REFUSED = {
    "frame_skipping": "it drops frames",
    "skip_frame": "it drops frames",
    "rc": "it follows from -qp, -b:v and -maxrate",
    "forced_idr": "ffcluster sets it",
}


def _schema(
    encoder: str, codec: Codec, quality: int, highest: int, profiles: tuple[str, ...], b_frames: int
) -> EncoderSchema:
    return EncoderSchema(
        encoder=encoder,
        codec=codec,
        quality=(0, highest),
        default_quality=quality,
        whole_quality=True,
        quality_options=("qp",),
        peak=frozenset({RateMode.BITRATE}),
        presets=_PRESETS,
        preset_option="quality",
        profiles=profiles,
        max_b_frames=b_frames,
        options=_OPTIONS,
        refused=_REFUSED,
    )


SCHEMAS = (
    _schema("h264_amf", Codec.H264, 24, 51, ("main", "high"), 3),
    _schema("hevc_amf", Codec.HEVC, 25, 51, ("main", "main10"), 0),
    _schema("av1_amf", Codec.AV1, 120, 255, ("main",), 3),
)
# How much coarser P- and B-pictures are than I-pictures, on each codec's own scale.
_STEPS = {"h264_amf": 2, "hevc_amf": 2, "av1_amf": 8}


def _options(order: HardwareOrder) -> list[str]:
    profile, rate = order.profile, order.profile.rate
    args = ["-usage", "transcoding"]
    if profile.preset is not None:
        args += ["-quality", profile.preset]
    if rate.mode is RateMode.QUALITY:
        args += ["-rc", "cqp", *_quantizers(order)]
    else:
        args += ["-rc", "vbr_peak", "-b:v", str(rate.target_bps), *order.peak()]
    args += ["-forced_idr", "1"]
    if order.encoder == "hevc_amf":
        args += ["-gops_per_idr", "1", "-header_insertion_mode", "idr"]
    elif order.encoder == "av1_amf":
        args += ["-header_insertion_mode", "gop"]
    if order.depth == 10 and order.encoder != "h264_amf":
        args += ["-bitdepth", "10"]
    return [*args, *order.structure()]


def _quantizers(order: HardwareOrder) -> list[str]:
    step = _STEPS[order.encoder]
    highest = int(order.schema.quality[1]) if order.schema.quality else 51
    names = ("-qp_i", "-qp_p") if order.encoder == "hevc_amf" else ("-qp_i", "-qp_p", "-qp_b")
    args: list[str] = []
    for position, name in enumerate(names):
        args += [name, str(min(highest, int(order.quality) + position * step))]
    return args


@hookimpl
def ffcluster_backends() -> Sequence[Backend]:
    """Offer AMF."""
    return [
        HardwareBackend(
            name="amf",
            schemas=SCHEMAS,
            platforms=frozenset({"linux", "win32"}),
            hint="a GPU counts only after a trial encode; on Linux VAAPI reaches the same GPU",
            options=_options,
        )
    ]
