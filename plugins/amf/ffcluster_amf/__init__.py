"""AMD AMF for ffcluster: `h264_amf`, `hevc_amf`, `av1_amf`.

Claims only what a trial encode on the device proved. Lossless is refused: AMF has none. On Linux
VAAPI reaches the same GPU and is the easier way.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability
from ffcluster.core.profile import Codec, Profile, RateMode
from ffcluster.encoders.backend import Backend, EncodeArguments, EncoderSchema
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.direct3d import adapter_args
from ffcluster.encoders.hardware import (
    BITRATE,
    DECODE,
    TEN_BIT,
    HardwareBackend,
    HardwareOrder,
    Step,
)
from ffcluster.encoders.hookspecs import hookimpl
from ffcluster.encoders.rules import FLAG, Int, Rule, one_of
from ffcluster_amf.devices import (
    AMF_ON_ADAPTER,
    DEVICE_DECODE,
    RULES,
    device_args,
    has_amf_device,
    look,
    read_scout,
)

# By name, for the numbers differ from codec to codec.
_PRESETS = ("speed", "balanced", "quality")
_OPTIONS: dict[str, Rule] = {
    "preencode": FLAG,
    "preanalysis": FLAG,
    "enforce_hrd": FLAG,
    "pa_scene_change_detection_enable": FLAG,
    "pa_static_scene_detection_enable": FLAG,
    "pa_lookahead_buffer_depth": Int(0, 41),
    "pa_paq_mode": one_of("none caq"),
    "pa_taq_mode": one_of("none 1 2"),
}
_VBAQ: dict[str, Rule] = {"vbaq": FLAG, "high_motion_quality_boost_enable": FLAG}
_REFUSED = {
    "frame_skipping": "it drops frames",
    "skip_frame": "it drops frames",
    "rc": "it follows from -qp, -b:v and -maxrate",
    "usage": "ffcluster sets it",
    "forced_idr": "ffcluster sets it",
    "gops_per_idr": "ffcluster sets it",
    "header_insertion_mode": "ffcluster sets it",
    "bitdepth": "it follows from the pixel format",
    "intra_refresh_mb": "a segment must begin with a whole picture",
    "latency": "it makes the encoder hurry at the cost of quality",
}


def _schema(
    encoder: str,
    codec: Codec,
    reference: tuple[tuple[float, float], ...],
    default: int,
    profiles: tuple[str, ...],
    b_frames: int,
    options: dict[str, Rule],
) -> EncoderSchema:
    return EncoderSchema(
        encoder=encoder,
        codec=codec,
        quality=(0, 255 if codec is Codec.AV1 else 51),
        default_quality=default,
        whole_quality=True,
        reference_quality=reference,
        quality_options=("qp",),
        # A constant quantizer knows no peak.
        peak=frozenset({RateMode.BITRATE}),
        presets=_PRESETS,
        preset_option="quality",
        profiles=profiles,
        max_b_frames=b_frames,
        options=options,
        refused=_REFUSED,
    )


# Where each scale begins, one published point in the middle (a guess for H.264), where it ends.
SCHEMAS = (
    _schema(
        "h264_amf",
        Codec.H264,
        ((1, 0), (22, 24), (51, 51)),
        25,
        ("main", "high", "constrained_baseline", "constrained_high"),
        3,
        _OPTIONS | _VBAQ,
    ),
    _schema(
        "hevc_amf",
        Codec.HEVC,
        ((1, 0), (22, 25), (51, 51)),
        30,
        ("main", "main10"),
        0,
        _OPTIONS | _VBAQ,
    ),
    _schema("av1_amf", Codec.AV1, ((1, 0), (35, 120), (63, 255)), 120, ("main",), 3, _OPTIONS),
)
# How much coarser P- and B-pictures are than I-pictures, on each codec's own scale.
_STEPS = {"h264_amf": 2, "hevc_amf": 2, "av1_amf": 8}


def _steps(_build: FfmpegBuild, schema: EncoderSchema) -> Sequence[Step]:
    # No GPU encodes H.264 with 10 bit.
    deep = () if schema.codec is Codec.H264 else (TEN_BIT,)
    return (*deep, BITRATE, DECODE)


def _options(order: HardwareOrder) -> list[str]:
    profile, rate = order.profile, order.profile.rate
    args = ["-usage", "transcoding"]
    if profile.preset is not None:
        args += ["-quality", profile.preset]
    if rate.mode is RateMode.QUALITY:
        args += ["-rc", "cqp", *_quantizers(order)]
    else:
        args += ["-rc", "vbr_peak", "-b:v", str(rate.target_bps), *order.peak()]
        # It looks ahead for rate control, so a constant quantizer has no use for it.
        args += order.extras(("preanalysis", "1"))
    args += order.unless_refused("-forced_idr", "1")
    if order.encoder == "hevc_amf":
        args += ["-gops_per_idr", "1", "-header_insertion_mode", "idr"]
    elif order.encoder == "av1_amf":
        args += order.unless_refused("-header_insertion_mode", "gop")
    if order.depth == 10 and order.encoder != "h264_amf":
        args += order.unless_refused("-bitdepth", "10")
    return [*args, *order.structure()]


def _quantizers(order: HardwareOrder) -> list[str]:
    step = _STEPS[order.encoder]
    highest = int(order.schema.quality[1]) if order.schema.quality else 51
    names = ("-qp_i", "-qp_p") if order.encoder == "hevc_amf" else ("-qp_i", "-qp_p", "-qp_b")
    args: list[str] = []
    for position, name in enumerate(names):
        args += [name, str(min(highest, int(order.quality) + position * step))]
    return args


@attrs.frozen(kw_only=True)
class _AmfBackend(HardwareBackend):
    """AMF, which newer ffmpegs open on Direct3D's adapter and older ones reach through it."""

    def arguments(
        self,
        build: FfmpegBuild,
        capability: Capability,
        profile: Profile,
        video: VideoFormat,
        *,
        threads: int,
        hardware_decode: bool = False,
    ) -> EncodeArguments:
        """See `Backend.arguments`."""
        made = super().arguments(
            build, capability, profile, video, threads=threads, hardware_decode=hardware_decode
        )
        if made.global_args != adapter_args(capability.device) or not has_amf_device(build):
            return made
        return attrs.evolve(made, global_args=(*made.global_args, *AMF_ON_ADAPTER))


@hookimpl
def ffcluster_backends() -> Sequence[Backend]:
    """Offer AMF."""
    return [
        _AmfBackend(
            name="amf",
            schemas=SCHEMAS,
            platforms=frozenset({"linux", "win32"}),
            options=_options,
            rules=RULES,
            look=look,
            read_scout=read_scout,
            steps=_steps,
            device_args=device_args,
            decode=DEVICE_DECODE,
            # The newest GPUs refuse narrower HEVC.
            least_size=(384, 128),
            standing=15,
        )
    ]
