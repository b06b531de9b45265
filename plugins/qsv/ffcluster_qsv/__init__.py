"""Intel Quick Sync Video for ffcluster: `h264_qsv`, `hevc_qsv`, `av1_qsv`, `vp9_qsv`.

Claims only what a trial encode on the device proved. Lossless is refused: these chips have none.
"""

from __future__ import annotations

from collections.abc import Sequence

from ffcluster.core.profile import Codec, RateMode
from ffcluster.encoders.backend import Backend, EncoderSchema
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.hardware import (
    BITRATE,
    DECODE,
    TEN_BIT,
    HardwareBackend,
    HardwareOrder,
    Step,
)
from ffcluster.encoders.hookspecs import hookimpl
from ffcluster.encoders.rules import FLAG, Int, Rule
from ffcluster_qsv.devices import DEVICE_DECODE, RULES, device_args, look, read_scout

_PRESETS = ("veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_LOOK_AHEAD_FRAMES = 40
_REFUSED = {
    "low_power": "ffcluster finds out which way the chip encodes",
    "skip_frame": "it drops frames",
    "forced_idr": "ffcluster sets it",
    "idr_interval": "ffcluster sets it",
    "int_ref_type": "a segment must begin with a whole picture",
    "qsv_params": "the driver's own parameters cannot be checked",
}
_H264_OPTIONS: dict[str, Rule] = {
    "look_ahead": FLAG,
    "look_ahead_depth": Int(0, 100),
    "extbrc": FLAG,
    "adaptive_i": FLAG,
    "adaptive_b": FLAG,
    "b_strategy": FLAG,
    "mbbrc": FLAG,
    "rdo": FLAG,
    "p_strategy": Int(0, 2),
    "max_dec_frame_buffering": Int(0, 16),
}
_HEVC_OPTIONS: dict[str, Rule] = {
    "extbrc": FLAG,
    "look_ahead_depth": Int(0, 100),
    "mbbrc": FLAG,
    "rdo": FLAG,
    "p_strategy": Int(0, 2),
    "gpb": FLAG,
    "tile_cols": Int(0, 20),
    "tile_rows": Int(0, 22),
}
_AV1_OPTIONS: dict[str, Rule] = {
    "extbrc": FLAG,
    "look_ahead_depth": Int(0, 100),
    "adaptive_i": FLAG,
    "adaptive_b": FLAG,
    "b_strategy": FLAG,
    "tile_cols": Int(0, 64),
    "tile_rows": Int(0, 64),
}
_VP9_OPTIONS: dict[str, Rule] = {"tile_cols": Int(0, 32), "tile_rows": Int(0, 4)}


def _schema(
    encoder: str,
    codec: Codec,
    profiles: tuple[str, ...],
    options: dict[str, Rule],
    b_frames: int,
    reference: tuple[tuple[float, float], ...],
    default: int,
) -> EncoderSchema:
    return EncoderSchema(
        encoder=encoder,
        codec=codec,
        quality=(1, 51),
        default_quality=default,
        whole_quality=True,
        reference_quality=reference,
        quality_options=("global_quality",),
        # Constant quality together with a peak would be another rate control (QVBR).
        peak=frozenset({RateMode.BITRATE}),
        presets=_PRESETS,
        profiles=profiles,
        max_b_frames=b_frames,
        options=options,
        refused=_REFUSED,
    )


# Where each scale begins, one published point in the middle (a guess for H.264 and VP9), where it
# ends. The reference side begins at 1, for x264's 0 is lossless.
_X26X_POINTS = ((1, 1), (22, 25), (51, 51))
SCHEMAS = (
    _schema(
        "h264_qsv", Codec.H264, ("baseline", "main", "high"), _H264_OPTIONS, 7, _X26X_POINTS, 26
    ),
    _schema("hevc_qsv", Codec.HEVC, ("main", "main10", "rext"), _HEVC_OPTIONS, 7, _X26X_POINTS, 30),
    _schema("av1_qsv", Codec.AV1, ("main",), _AV1_OPTIONS, 7, ((1, 1), (35, 24), (63, 51)), 24),
    _schema(
        "vp9_qsv",
        Codec.VP9,
        ("profile0", "profile1", "profile2", "profile3"),
        _VP9_OPTIONS,
        0,
        ((1, 1), (32, 26), (63, 51)),
        26,
    ),
)


def _steps(_build: FfmpegBuild, schema: EncoderSchema) -> Sequence[Step]:
    # No chip encodes H.264 with 10 bit, though older ffmpegs offer to try.
    deep = () if schema.codec is Codec.H264 else (TEN_BIT,)
    return (*deep, BITRATE, DECODE)


def _options(order: HardwareOrder) -> list[str]:
    args = [*_rate(order)]
    if order.profile.preset is not None:
        args += ["-preset", order.profile.preset]
    if order.refused("normal_power"):
        args += ["-low_power", "1"]
    if order.encoder != "vp9_qsv":
        args += ["-forced_idr", "1"]
    if order.encoder == "hevc_qsv":
        args += ["-idr_interval", "0"]
    return [*args, *order.structure()]


def _rate(order: HardwareOrder) -> list[str]:
    rate = order.profile.rate
    if rate.mode is RateMode.QUALITY:
        # Without a peak this is ICQ; chips without it get a constant quantizer.
        option = "-q:v" if order.refused("icq") else "-global_quality"
        return [option, f"{order.quality:g}", *_look_ahead(order)]
    args = ["-b:v", str(rate.target_bps)]
    if rate.max_bps is not None:
        # An equal peak would mean constant bit rate, with filler to reach it.
        peak = rate.max_bps + 1000 if rate.max_bps == rate.target_bps else rate.max_bps
        args += ["-maxrate", str(peak)]
    if rate.buffer_bits is not None:
        args += ["-bufsize", str(rate.buffer_bits)]
    return [*args, *_look_ahead(order)]


def _look_ahead(order: HardwareOrder) -> list[str]:
    """Looking ahead, in each encoder's own way, where it goes with the rate control."""
    rate = order.profile.rate
    if order.refused("look_ahead"):
        return []
    depth = ("look_ahead_depth", str(_LOOK_AHEAD_FRAMES))
    if order.encoder == "h264_qsv":
        # Its look-ahead is a rate control of its own, which obeys no peak.
        free = rate.max_bps is None and rate.buffer_bits is None and not order.refused("icq")
        return order.extras(("look_ahead", "1"), depth) if free else []
    if order.encoder in ("hevc_qsv", "av1_qsv") and rate.mode is RateMode.BITRATE:
        return order.extras(("extbrc", "1"), depth)
    return []


@hookimpl
def ffcluster_backends() -> Sequence[Backend]:
    """Offer Quick Sync Video."""
    return [
        HardwareBackend(
            name="qsv",
            schemas=SCHEMAS,
            platforms=frozenset({"linux", "win32"}),
            options=_options,
            rules=RULES,
            look=look,
            read_scout=read_scout,
            steps=_steps,
            device_args=device_args,
            decode=DEVICE_DECODE,
            least_size=(128, 128),
            standing=20,
        )
    ]
