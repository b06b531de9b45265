"""The software encoders' settings as data. Options that touch files or joins are refused."""

from __future__ import annotations

from ffcluster.core.profile import Codec, RateMode
from ffcluster.encoders.rules import (
    FLAG,
    Choice,
    Int,
    Number,
    Numbers,
    Pattern,
    Rule,
    one_of,
)
from ffcluster.encoders.schema import EncoderSchema

_ALL_MODES = (RateMode.QUALITY, RateMode.BITRATE, RateMode.LOSSLESS)
_LOSSY = (RateMode.QUALITY, RateMode.BITRATE)
_X26X_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
_FILES = "it reads or writes a file"
_OURS = "ffcluster sets it"
_THREADS = "ffcluster decides over threads"
_SOURCE = "it is taken from the source; use -vf setparams to change it"
_RATE = "give it as -crf, -qp 0, -b:v, -maxrate or -bufsize"
_FRAMES = "it counts frames from the start of the film, and the film is encoded in segments"
_PASSES = "every segment is encoded in one pass"
_MASTERING = Pattern(
    r"G\(\d{1,6},\d{1,6}\)B\(\d{1,6},\d{1,6}\)R\(\d{1,6},\d{1,6}\)"
    r"WP\(\d{1,6},\d{1,6}\)L\(\d{1,9},\d{1,9}\)",
    "G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min) in units of 0.00002 and 0.0001 cd/m2",
)
_SVT_POINT = r"\(\d(\.\d{1,6})?,\d(\.\d{1,6})?\)"
_SVT_MASTERING = Pattern(
    f"G{_SVT_POINT}B{_SVT_POINT}R{_SVT_POINT}WP{_SVT_POINT}"
    r"L\(\d{1,5}(\.\d{1,4})?,\d{1,5}(\.\d{1,4})?\)",
    "G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min) as decimal numbers",
)
_LIGHT = Pattern(r"\d{1,5},\d{1,5}", "MaxCLL,MaxFALL")
_COLOR_NAME = Pattern(r"[a-z0-9][a-z0-9.-]{1,20}", "a name such as bt709")
_LEVEL = Pattern(r"[1-6](\.[0-3])?|[1-6][0-3]?|1b", "a level such as 4.1")


def _flags(names: str) -> dict[str, Rule]:
    """Switches, each also in its `no-` form."""
    rules: dict[str, Rule] = {}
    for name in names.split():
        rules[name] = FLAG
        rules[f"no-{name}"] = Choice(frozenset({"1"}))
    return rules


_X264_OPTIONS: dict[str, Rule] = {
    **_flags(
        "8x8dct cabac chroma-me dct-decimate fast-pskip mbtree mixed-refs psy weightb "
        "constrained-intra aud bluray-compat pic-struct"
    ),
    "aq-mode": Int(0, 3),
    "aq-strength": Number(0, 3),
    "b-adapt": Int(0, 2),
    "b-bias": Int(-100, 100),
    "b-pyramid": one_of("none strict normal 0 1 2"),
    "chroma-qp-offset": Int(-12, 12),
    "cqm": one_of("flat jvt"),
    "deadzone-inter": Int(0, 32),
    "deadzone-intra": Int(0, 32),
    "deblock": Numbers(",", 2, -6, 6),
    "direct": one_of("none spatial temporal auto"),
    "ipratio": Number(1, 10),
    "level": _LEVEL,
    "me": one_of("dia hex umh esa tesa"),
    "merange": Int(4, 64),
    "min-keyint": Int(1, 10_000),
    "nal-hrd": one_of("none vbr cbr"),
    "nr": Int(0, 100_000),
    "partitions": one_of("none all p8x8,b8x8,i8x8,i4x4 p8x8,b8x8,i8x8,i4x4,p4x4"),
    "pbratio": Number(1, 10),
    "psy-rd": Numbers(",", 2, 0, 10),
    "qcomp": Number(0, 1),
    "qpmax": Int(0, 81),
    "qpmin": Int(0, 81),
    "qpstep": Int(1, 81),
    "rc-lookahead": Int(0, 250),
    "ref": Int(1, 16),
    "scenecut": Int(0, 100),
    "slices": Int(0, 64),
    "subme": Int(0, 11),
    "trellis": Int(0, 2),
    "weightp": Int(0, 2),
    "mastering-display": _MASTERING,
    "cll": _LIGHT,
}
_X264_REFUSED = {
    **dict.fromkeys(
        (
            "stats",
            "dump-yuv",
            "log-file",
            "log-file-level",
            "qpfile",
            "cqmfile",
            "tcfile-in",
            "tcfile-out",
            "opencl-clbin",
            "output",
            "recon",
        ),
        _FILES,
    ),
    **dict.fromkeys(("threads", "lookahead-threads", "sliced-threads", "sync-lookahead"), _THREADS),
    **dict.fromkeys(("fps", "timebase", "stitchable", "open-gop", "force-cfr", "log"), _OURS),
    **dict.fromkeys(("zones", "seek", "frames", "intra-refresh"), _FRAMES),
    **dict.fromkeys(("pass",), _PASSES),
    **dict.fromkeys(("colorprim", "transfer", "colormatrix", "fullrange", "chromaloc"), _SOURCE),
    **dict.fromkeys(("qp", "crf-max"), _RATE),
}

_X265_OPTIONS: dict[str, Rule] = {
    **_flags(
        "amp aq-motion b-intra b-pyramid constrained-intra cutree early-skip fades fast-intra "
        "hdr10-opt hdr10 hdr-opt hevc-aq high-tier hrd limit-modes limit-sao rc-grain rect "
        "repeat-headers sao sao-non-deblock signhide ssim-rd strong-intra-smoothing "
        "temporal-mvp tskip tskip-fast weightb weightp aud info splitrd-skip"
    ),
    "aq-mode": Int(0, 4),
    "aq-strength": Number(0, 3),
    "b-adapt": Int(0, 2),
    "bframe-bias": Int(-90, 100),
    "cbqpoffs": Int(-12, 12),
    "chromaloc": Int(0, 5),
    "colormatrix": _COLOR_NAME,
    "colorprim": _COLOR_NAME,
    "crqpoffs": Int(-12, 12),
    "ctu": one_of("16 32 64"),
    "deblock": Numbers(",", 2, -6, 6),
    "ipratio": Number(1, 10),
    "level-idc": _LEVEL,
    "limit-refs": Int(0, 3),
    "limit-tu": Int(0, 4),
    "lookahead-slices": Int(0, 16),
    "max-cll": _LIGHT,
    "master-display": _MASTERING,
    "max-merge": Int(1, 5),
    "max-tu-size": one_of("4 8 16 32"),
    "me": one_of("dia hex umh star sea full 0 1 2 3 4 5"),
    "merange": Int(0, 32_767),
    "min-cu-size": one_of("8 16 32"),
    "min-keyint": Int(1, 10_000),
    "nr-inter": Int(0, 2000),
    "nr-intra": Int(0, 2000),
    "pbratio": Number(1, 10),
    "psy-rd": Number(0, 5),
    "psy-rdoq": Number(0, 50),
    "qcomp": Number(0.5, 1),
    "qg-size": one_of("8 16 32 64"),
    "qpmax": Int(0, 69),
    "qpmin": Int(0, 69),
    "qpstep": Int(1, 69),
    "range": one_of("limited full"),
    "rc-lookahead": Int(0, 250),
    "rd": Int(1, 6),
    "rdoq-level": Int(0, 2),
    "rdpenalty": Int(0, 2),
    # Level limits count eight with the references of B-pictures; older releases fail above.
    "ref": Int(1, 6),
    "rskip": Int(0, 2),
    "rskip-edge-threshold": Int(0, 100),
    "scenecut": Int(0, 100),
    "scenecut-bias": Number(0, 100),
    "selective-sao": Int(0, 4),
    "slices": Int(1, 64),
    "subme": Int(0, 7),
    "transfer": _COLOR_NAME,
    "tu-inter-depth": Int(1, 4),
    "tu-intra-depth": Int(1, 4),
    "vbv-init": Number(0, 1),
}
_X265_REFUSED = {
    **dict.fromkeys(
        (
            "stats",
            "csv",
            "csv-log-level",
            "log-file",
            "log-file-level",
            "analysis-save",
            "analysis-load",
            "analysis-reuse-file",
            "analysis-reuse-mode",
            "analysis-mode",
            "qpfile",
            "scaling-list",
            "lambda-file",
            "dhdr10-info",
            "nalu-file",
            "zonefile",
            "recon",
            "dolby-vision-rpu",
            "film-grain",
            "aom-film-grain",
            "input",
            "output",
            "refine-analysis-type",
        ),
        _FILES,
    ),
    **dict.fromkeys(
        ("pools", "numa-pools", "frame-threads", "wpp", "pmode", "pme", "no-wpp"), _THREADS
    ),
    **dict.fromkeys(("fps", "open-gop", "no-open-gop", "radl", "log-level", "log"), _OURS),
    **dict.fromkeys(
        ("zones", "seek", "frames", "total-frames", "chunk-start", "chunk-end", "frame-dup"),
        _FRAMES,
    ),
    **dict.fromkeys(("pass", "slow-firstpass", "multi-pass-opt-analysis"), _PASSES),
    **dict.fromkeys(("qp", "cu-lossless", "crf-max", "crf-min"), _RATE),
}

_SVT_OPTIONS: dict[str, Rule] = {
    "tune": Int(0, 4),
    "film-grain": Int(0, 50),
    "film-grain-denoise": FLAG,
    "irefresh-type": one_of("1 2"),
    "scd": FLAG,
    "scm": Int(0, 3),
    "lookahead": Int(0, 120),
    "hierarchical-levels": Int(2, 5),
    "tile-columns": Int(0, 4),
    "tile-rows": Int(0, 6),
    "enable-cdef": FLAG,
    "enable-dlf": Int(0, 2),
    "enable-restoration": FLAG,
    "enable-tf": Int(0, 2),
    "enable-overlays": FLAG,
    "enable-qm": FLAG,
    "qm-min": Int(0, 15),
    "qm-max": Int(0, 15),
    "enable-variance-boost": FLAG,
    "variance-boost-strength": Int(1, 4),
    "variance-octile": Int(1, 8),
    "sharpness": Int(-7, 7),
    "fast-decode": Int(0, 2),
    "aq-mode": Int(0, 2),
    "min-qp": Int(1, 63),
    "max-qp": Int(1, 63),
    "mastering-display": _SVT_MASTERING,
    "content-light": _LIGHT,
}
_SVT_REFUSED = {
    **dict.fromkeys(("stats", "recon", "stat-file", "fgs-table", "config", "input"), _FILES),
    **dict.fromkeys(("lp", "pin", "ss", "logical-processors"), _THREADS),
    **dict.fromkeys(("fps", "fps-num", "fps-denom", "pred-struct", "width", "height"), _OURS),
    **dict.fromkeys(("pass", "passes"), _PASSES),
    **dict.fromkeys(("rc", "qp", "tbr", "mbr", "lossless"), _RATE),
    **dict.fromkeys(("skip", "nb", "force-key-frames"), _FRAMES),
}

_VP9_OPTIONS: dict[str, Rule] = {
    "deadline": one_of("best good realtime"),
    "row-mt": FLAG,
    "tile-columns": Int(0, 6),
    "tile-rows": Int(0, 2),
    "frame-parallel": FLAG,
    "auto-alt-ref": Int(0, 6),
    "lag-in-frames": Int(0, 25),
    "arnr-maxframes": Int(0, 15),
    "arnr-strength": Int(0, 6),
    "aq-mode": Int(0, 4),
    "tune-content": one_of("default screen film"),
    "static-thresh": Int(0, 1_000_000),
    "undershoot-pct": Int(0, 100),
    "overshoot-pct": Int(0, 100),
    "max-intra-rate": Int(0, 10_000),
    "sharpness": Int(0, 7),
    "enable-tpl": FLAG,
    "level": Pattern(r"[1-6](\.[0-2])?", "a level such as 4.1"),
}
_AOM_OPTIONS: dict[str, Rule] = {
    "usage": one_of("good realtime"),
    "row-mt": FLAG,
    "tiles": Pattern(r"\d{1,2}x\d{1,2}", "columns x rows"),
    "tile-columns": Int(0, 6),
    "tile-rows": Int(0, 6),
    "frame-parallel": FLAG,
    "auto-alt-ref": FLAG,
    "lag-in-frames": Int(0, 48),
    "arnr-max-frames": Int(0, 15),
    "arnr-strength": Int(0, 6),
    "aq-mode": Int(0, 3),
    "denoise-noise-level": Int(0, 50),
    "denoise-block-size": Int(2, 32),
    "undershoot-pct": Int(0, 100),
    "overshoot-pct": Int(0, 100),
    **dict.fromkeys(
        (
            "enable-cdef",
            "enable-restoration",
            "enable-global-motion",
            "enable-intrabc",
            "enable-obmc",
            "enable-palette",
            "enable-dual-filter",
        ),
        FLAG,
    ),
}
_DROPS = {"drop-threshold": "it drops frames"}
_STEPS_9 = tuple(str(n) for n in range(8, -1, -1))
_SPEED = "it is the preset: give --preset or -cpu-used"

SCHEMAS: tuple[EncoderSchema, ...] = (
    EncoderSchema(
        encoder="libx264",
        codec=Codec.H264,
        quality=(0, 51),
        default_quality=23,
        rate_modes=_ALL_MODES,
        peak=frozenset(_LOSSY),
        presets=_X26X_PRESETS,
        tunes=(
            "film",
            "animation",
            "grain",
            "stillimage",
            "psnr",
            "ssim",
            "fastdecode",
            "zerolatency",
        ),
        profiles=("baseline", "main", "high", "high10", "high422", "high444"),
        max_b_frames=16,
        options=_X264_OPTIONS,
        params_option="x264-params",
        refused=_X264_REFUSED,
    ),
    EncoderSchema(
        encoder="libx265",
        codec=Codec.HEVC,
        quality=(0, 51),
        default_quality=28,
        rate_modes=_ALL_MODES,
        peak=frozenset(_LOSSY),
        presets=_X26X_PRESETS,
        tunes=("psnr", "ssim", "grain", "zerolatency", "fastdecode", "animation"),
        profiles=(
            "main",
            "main10",
            "main12",
            "main422-10",
            "main422-12",
            "main444-8",
            "main444-10",
            "main444-12",
        ),
        max_b_frames=16,
        options=_X265_OPTIONS,
        params_option="x265-params",
        refused=_X265_REFUSED,
    ),
    EncoderSchema(
        encoder="libsvtav1",
        codec=Codec.AV1,
        quality=(1, 63),
        default_quality=35,
        whole_quality=True,
        peak=frozenset({RateMode.QUALITY}),
        presets=tuple(str(n) for n in range(13, -2, -1)),
        tunes=("vq", "psnr"),
        profiles=("main",),
        options=_SVT_OPTIONS,
        params_option="svtav1-params",
        refused=_SVT_REFUSED,
    ),
    EncoderSchema(
        encoder="libaom-av1",
        codec=Codec.AV1,
        quality=(0, 63),
        default_quality=32,
        whole_quality=True,
        peak=frozenset(_LOSSY),
        presets=_STEPS_9,
        preset_option="cpu-used",
        tunes=("psnr", "ssim"),
        profiles=("main", "high", "professional"),
        options=_AOM_OPTIONS,
        refused=_DROPS,
    ),
    EncoderSchema(
        encoder="libvpx-vp9",
        codec=Codec.VP9,
        quality=(0, 63),
        default_quality=32,
        whole_quality=True,
        rate_modes=_ALL_MODES,
        peak=frozenset(_LOSSY),
        presets=_STEPS_9,
        preset_option="cpu-used",
        tunes=("psnr", "ssim"),
        profiles=("0", "1", "2", "3"),
        options=_VP9_OPTIONS,
        refused=_DROPS | {"speed": _SPEED, "quality": "give it as -deadline"},
    ),
    EncoderSchema(
        encoder="ffv1",
        codec=Codec.FFV1,
        rate_modes=(RateMode.LOSSLESS,),
        options={
            "coder": one_of("rice range_def range_tab"),
            "context": FLAG,
            "slicecrc": FLAG,
        },
    ),
)
