"""The video filters that are understood: their options, values, and how far they look.

What is not in the table reaches no ffmpeg. Options that read files, open sockets, or depend on
time or the frame's number are left out on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from ffcluster.core.profile import FilterScope
from ffcluster.encoders.rules import (
    BOOLEAN,
    COLOR,
    FLAG,
    AnyOf,
    Expression,
    Int,
    Number,
    Pattern,
    Rule,
    Words,
    one_of,
)

Options = Mapping[str, str]


@attrs.frozen
class Reach:
    """How far a filter with certain options looks; see `VideoFilter`."""

    scope: FilterScope = FilterScope.FRAME
    context_frames: int = 0
    keeps_timing: bool = True


@attrs.frozen
class FilterSpec:
    """One filter.

    Attributes:
        options: Options by name, each with its rule.
        positional: Names of values given without a name, in order.
        aliases: Other spellings of options.
        required: Options without which the filter makes no sense.
        together: Options of which all or none must be given.
        reach: How far it looks with the given options.
    """

    options: Mapping[str, Rule] = attrs.field(factory=dict)
    positional: tuple[str, ...] = ()
    aliases: Mapping[str, str] = attrs.field(factory=dict)
    required: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    reach: Callable[[Options], Reach] = lambda _options: Reach()


def _stream(keeps_timing: bool) -> Callable[[Options], Reach]:
    return lambda _options: Reach(FilterScope.STREAM, 0, keeps_timing)


def _deinterlacer(default_mode: str) -> Callable[[Options], Reach]:
    """One picture per frame looks at its neighbours; one per field doubles their number."""

    def reach(options: Options) -> Reach:
        if options.get("mode", default_mode) in _PER_FRAME:
            return Reach(FilterScope.WINDOW, 2)
        return Reach(FilterScope.STREAM, 0, keeps_timing=False)

    return reach


def _averaging(options: Options) -> Reach:
    return Reach(FilterScope.WINDOW, int(options.get("s", "9")) // 2 + 1)


_PER_FRAME = frozenset({"send_frame", "send_frame_nospatial", "frame", "0", "2"})
_SIZE = Expression(frozenset({"iw", "ih", "in_w", "in_h", "a", "sar", "dar", "hsub", "vsub"}))
_OTHER_SIZE = Expression(_SIZE.variables | {"ow", "oh", "out_w", "out_h"})
_PLACE = Expression(_OTHER_SIZE.variables | {"w", "h", "x", "y"})
_LUT = Expression(frozenset({"val", "maxval", "minval", "negval", "clipval", "w", "h"}))
_RANGE = one_of("auto unknown tv limited mpeg pc full jpeg")
_MATRIX = one_of("auto bt601 bt470 bt709 fcc smpte170m smpte240m bt2020")
PRIMARIES = one_of(
    "bt709 bt470m bt470bg smpte170m smpte240m film bt2020 smpte428 smpte431 smpte432"
)
TRANSFER = one_of(
    "bt709 bt470m bt470bg smpte170m smpte240m linear log100 log316 iec61966-2-4 bt1361e "
    "iec61966-2-1 bt2020-10 bt2020-12 smpte2084 smpte428 arib-std-b67"
)
SPACE = one_of(
    "bt709 fcc bt470bg smpte170m smpte240m ycgco bt2020nc bt2020c smpte2085 chroma-derived-nc "
    "chroma-derived-c ictcp"
)
_SCALER_FLAGS = Words(
    "+",
    frozenset(
        {"fast_bilinear", "bilinear", "bicubic", "neighbor", "area", "bicublin", "gauss", "sinc"}
        | {"lanczos", "spline", "accurate_rnd", "full_chroma_int", "full_chroma_inp", "bitexact"}
    ),
)
_RATIO = Pattern(r"\d{1,5}(\.\d{1,6})?(/\d{1,5})?", "a ratio such as 16/9")
_RATE = AnyOf(
    (
        one_of("ntsc pal film ntsc_film"),
        Pattern(r"[1-9]\d{0,5}(\.\d{1,6})?(/[1-9]\d{0,5})?", "frames per second, or a fraction"),
    )
)
_PIX_FMTS = Pattern(r"[a-z0-9]{2,20}(\|[a-z0-9]{2,20}){0,15}", "pixel formats joined by |")
_DIRECTION = one_of("0 1 2 3 cclock_flip clock cclock clock_flip")
_PARITY = one_of("auto tff bff -1 0 1")
_DEINT = one_of("all interlaced 0 1")
_ZSCALE_RANGE = one_of("input limited full tv pc")
_ZSCALE_PRIMARIES = one_of("input 709 bt709 170m smpte170m 240m smpte240m 2020 bt2020 smpte432")
_ZSCALE_TRANSFER = one_of(
    "input 709 bt709 601 linear 2020_10 2020_12 smpte2084 iec61966-2-1 arib-std-b67"
)
_ZSCALE_MATRIX = one_of("input 709 bt709 470bg bt470bg 170m smpte170m 2020_ncl bt2020nc 2020_cl")
_UNIT = Number(-1, 1)

_YADIF = FilterSpec(
    {
        "mode": one_of("send_frame send_field send_frame_nospatial send_field_nospatial 0 1 2 3"),
        "parity": _PARITY,
        "deint": _DEINT,
    },
    ("mode", "parity", "deint"),
    reach=_deinterlacer("send_frame"),
)
_LUTS = FilterSpec(
    {f"c{i}": _LUT for i in range(4)} | dict.fromkeys("yuvrgba", _LUT),
    ("c0", "c1", "c2", "c3"),
)

FILTERS: Mapping[str, FilterSpec] = {
    "null": FilterSpec(),
    "hflip": FilterSpec(),
    "vflip": FilterSpec(),
    "scale": FilterSpec(
        {
            "w": _OTHER_SIZE,
            "h": _OTHER_SIZE,
            "flags": _SCALER_FLAGS,
            "interl": one_of("-1 0 1"),
            "in_range": _RANGE,
            "out_range": _RANGE,
            "in_color_matrix": _MATRIX,
            "out_color_matrix": _MATRIX,
            "force_original_aspect_ratio": one_of("disable decrease increase 0 1 2"),
            "force_divisible_by": Int(1, 256),
        },
        ("w", "h"),
        {"width": "w", "height": "h"},
        # With one of them alone ffmpeg takes it for the name of a size.
        together=("w", "h"),
    ),
    "zscale": FilterSpec(
        {
            "w": _OTHER_SIZE,
            "h": _OTHER_SIZE,
            "dither": one_of("none ordered random error_diffusion"),
            "filter": one_of("point bilinear bicubic spline16 spline36 lanczos"),
            "range": _ZSCALE_RANGE,
            "rangein": _ZSCALE_RANGE,
            "primaries": _ZSCALE_PRIMARIES,
            "primariesin": _ZSCALE_PRIMARIES,
            "transfer": _ZSCALE_TRANSFER,
            "transferin": _ZSCALE_TRANSFER,
            "matrix": _ZSCALE_MATRIX,
            "matrixin": _ZSCALE_MATRIX,
            "npl": Number(0, 10_000),
        },
        ("w", "h"),
        {
            "width": "w",
            "height": "h",
            "d": "dither",
            "f": "filter",
            "r": "range",
            "rin": "rangein",
            "p": "primaries",
            "pin": "primariesin",
            "t": "transfer",
            "tin": "transferin",
            "m": "matrix",
            "min": "matrixin",
        },
        together=("w", "h"),
    ),
    "tonemap": FilterSpec(
        {
            "tonemap": one_of("none linear gamma clip reinhard hable mobius"),
            "param": Number(0, 1000),
            "desat": Number(0, 1000),
            "peak": Number(0, 1000),
        },
        ("tonemap",),
        required=("tonemap",),
    ),
    "crop": FilterSpec(
        {
            "w": _OTHER_SIZE,
            "h": _OTHER_SIZE,
            "x": _PLACE,
            "y": _PLACE,
            "keep_aspect": BOOLEAN,
            "exact": BOOLEAN,
        },
        ("w", "h", "x", "y", "keep_aspect", "exact"),
        {"out_w": "w", "out_h": "h"},
    ),
    "pad": FilterSpec(
        {
            "w": _OTHER_SIZE,
            "h": _OTHER_SIZE,
            "x": _PLACE,
            "y": _PLACE,
            "color": COLOR,
            "aspect": _RATIO,
        },
        ("w", "h", "x", "y", "color"),
        {"width": "w", "height": "h"},
    ),
    "transpose": FilterSpec(
        {"dir": _DIRECTION, "passthrough": one_of("none portrait landscape")},
        ("dir", "passthrough"),
    ),
    "format": FilterSpec({"pix_fmts": _PIX_FMTS}, ("pix_fmts",), required=("pix_fmts",)),
    "setsar": FilterSpec(
        {"sar": _RATIO, "max": Int(1, 10_000)}, ("sar", "max"), {"ratio": "sar", "r": "sar"}
    ),
    "setdar": FilterSpec(
        {"dar": _RATIO, "max": Int(1, 10_000)}, ("dar", "max"), {"ratio": "dar", "r": "dar"}
    ),
    "setparams": FilterSpec(
        {
            "field_mode": one_of("auto bff tff prog"),
            "range": _RANGE,
            "color_primaries": PRIMARIES,
            "color_trc": TRANSFER,
            "colorspace": SPACE,
        },
        ("field_mode", "range", "color_primaries", "color_trc", "colorspace"),
    ),
    "eq": FilterSpec(
        {
            "contrast": Number(-1000, 1000),
            "brightness": _UNIT,
            "saturation": Number(0, 3),
            "gamma": Number(0.1, 10),
            "gamma_r": Number(0.1, 10),
            "gamma_g": Number(0.1, 10),
            "gamma_b": Number(0.1, 10),
            "gamma_weight": Number(0, 1),
        },
        ("contrast", "brightness", "saturation", "gamma"),
    ),
    "hue": FilterSpec(
        {"h": Number(-360, 360), "s": Number(-10, 10), "b": Number(-10, 10)}, ("h", "s")
    ),
    "colorbalance": FilterSpec(
        {c + t: _UNIT for c in "rgb" for t in "smh"} | {"pl": BOOLEAN},
        tuple(c + t for t in "smh" for c in "rgb"),
    ),
    "vibrance": FilterSpec({"intensity": Number(-2, 2)}, ("intensity",)),
    "negate": FilterSpec({"negate_alpha": BOOLEAN}),
    "lut": _LUTS,
    "lutyuv": _LUTS,
    "lutrgb": _LUTS,
    "unsharp": FilterSpec(
        {
            "lx": Int(3, 23),
            "ly": Int(3, 23),
            "la": Number(-2, 5),
            "cx": Int(3, 23),
            "cy": Int(3, 23),
            "ca": Number(-2, 5),
        },
        ("lx", "ly", "la", "cx", "cy", "ca"),
        {
            "luma_msize_x": "lx",
            "luma_msize_y": "ly",
            "luma_amount": "la",
            "chroma_msize_x": "cx",
            "chroma_msize_y": "cy",
            "chroma_amount": "ca",
        },
    ),
    "cas": FilterSpec({"strength": Number(0, 1), "planes": Int(0, 15)}, ("strength", "planes")),
    "gblur": FilterSpec(
        {
            "sigma": Number(0, 1024),
            "steps": Int(1, 6),
            "planes": Int(0, 15),
            "sigmaV": Number(-1, 1024),
        },
        ("sigma", "steps", "planes", "sigmaV"),
    ),
    "boxblur": FilterSpec(
        {"lr": Int(0, 200), "lp": Int(0, 50), "cr": Int(0, 200), "cp": Int(0, 50)},
        ("lr", "lp", "cr", "cp"),
        {
            "luma_radius": "lr",
            "luma_power": "lp",
            "chroma_radius": "cr",
            "chroma_power": "cp",
        },
    ),
    "smartblur": FilterSpec(
        {
            "lr": Number(0.1, 5),
            "ls": _UNIT,
            "lt": Int(-30, 30),
            "cr": Number(-0.9, 5),
            "cs": Number(-2, 1),
            "ct": Int(-31, 30),
        },
        ("lr", "ls", "lt", "cr", "cs", "ct"),
    ),
    "deblock": FilterSpec(
        {
            "filter": one_of("weak strong"),
            "block": Int(4, 512),
            "alpha": Number(0, 1),
            "beta": Number(0, 1),
            "gamma": Number(0, 1),
            "delta": Number(0, 1),
        },
        ("filter", "block"),
    ),
    "nlmeans": FilterSpec(
        {
            "s": Number(1, 30),
            "p": Int(0, 99),
            "pc": Int(0, 99),
            "r": Int(0, 99),
            "rc": Int(0, 99),
        },
        ("s", "p", "pc", "r", "rc"),
    ),
    "delogo": FilterSpec(
        dict.fromkeys("xywh", Int(0, 16_384)), ("x", "y", "w", "h"), required=tuple("xywh")
    ),
    "drawbox": FilterSpec(
        dict.fromkeys("xywh", Int(0, 16_384))
        | {"color": COLOR, "t": AnyOf((one_of("fill"), Int(0, 16_384))), "replace": FLAG},
        ("x", "y", "w", "h", "color", "t"),
        {"width": "w", "height": "h", "c": "color", "thickness": "t"},
    ),
    "yadif": _YADIF,
    "bwdif": FilterSpec(
        {"mode": one_of("send_frame send_field 0 1"), "parity": _PARITY, "deint": _DEINT},
        ("mode", "parity", "deint"),
        reach=_deinterlacer("send_field"),
    ),
    "w3fdif": FilterSpec(
        {
            "filter": one_of("simple complex 0 1"),
            "mode": one_of("frame field 0 1"),
            "parity": _PARITY,
            "deint": _DEINT,
        },
        ("filter", "mode", "parity", "deint"),
        reach=_deinterlacer("field"),
    ),
    "atadenoise": FilterSpec(
        {f"{plane}a": Number(0, 0.3) for plane in range(3)}
        | {f"{plane}b": Number(0, 5) for plane in range(3)}
        | {"s": Int(5, 129), "p": Int(0, 7), "a": one_of("p s")},
        ("0a", "0b", "1a", "1b", "2a", "2b", "s", "p"),
        reach=_averaging,
    ),
    "hqdn3d": FilterSpec(
        dict.fromkeys(
            ("luma_spatial", "chroma_spatial", "luma_tmp", "chroma_tmp"), Number(0, 1000)
        ),
        ("luma_spatial", "chroma_spatial", "luma_tmp", "chroma_tmp"),
        reach=_stream(keeps_timing=True),
    ),
    "deflicker": FilterSpec(
        {"size": Int(2, 129), "mode": one_of("am gm hm qm cm pm median")},
        ("size", "mode"),
        {"s": "size", "m": "mode"},
        reach=_stream(keeps_timing=True),
    ),
    "fps": FilterSpec(
        {"fps": _RATE, "round": one_of("zero inf down up near")},
        ("fps",),
        required=("fps",),
        reach=_stream(keeps_timing=False),
    ),
    "framerate": FilterSpec(
        {"fps": _RATE, "interp_start": Int(0, 255), "interp_end": Int(0, 255)},
        ("fps", "interp_start", "interp_end"),
        reach=_stream(keeps_timing=False),
    ),
    "minterpolate": FilterSpec(
        {
            "fps": _RATE,
            "mi_mode": one_of("dup blend mci"),
            "mc_mode": one_of("obmc aobmc"),
            "me_mode": one_of("bidir bilat"),
            "vsbmc": FLAG,
            "scd": one_of("none fdiff"),
        },
        ("fps", "mi_mode"),
        reach=_stream(keeps_timing=False),
    ),
    "decimate": FilterSpec(
        {"cycle": Int(2, 25), "dupthresh": Number(0, 100), "scthresh": Number(0, 100)},
        ("cycle", "dupthresh", "scthresh"),
        reach=_stream(keeps_timing=False),
    ),
    "mpdecimate": FilterSpec(
        {
            "max": Int(-1000, 1000),
            "hi": Int(0, 1_000_000),
            "lo": Int(0, 1_000_000),
            "frac": Number(0, 1),
        },
        ("max",),
        reach=_stream(keeps_timing=False),
    ),
    "pullup": FilterSpec(
        {
            "jl": Int(0, 1000),
            "jr": Int(0, 1000),
            "jt": Int(1, 1000),
            "jb": Int(1, 1000),
            "sb": BOOLEAN,
            "mp": one_of("y u v"),
        },
        ("jl", "jr", "jt", "jb", "sb", "mp"),
        reach=_stream(keeps_timing=False),
    ),
    "fieldmatch": FilterSpec(
        {
            "order": one_of("auto bff tff"),
            "mode": one_of("pc pc_n pc_u pc_n_ub pcn pcn_ub"),
            "combmatch": one_of("none sc full"),
        },
        ("order", "mode"),
        reach=_stream(keeps_timing=True),
    ),
}

_READS = "it reads another file"
_CHAIN = "only a single chain of filters is possible"
_TIMES = "ffcluster keeps every frame and its time; only fps and decimating filters may change them"
REFUSED: Mapping[str, str] = {
    "movie": _READS,
    "amovie": _READS,
    "subtitles": _READS,
    "ass": _READS,
    "drawtext": "it reads fonts and text files",
    "lut3d": _READS,
    "lut1d": _READS,
    "haldclut": _READS,
    "curves": "it can read a file",
    "ladspa": "it loads code from a file",
    "lv2": "it loads code",
    "frei0r": "it loads code from a file",
    "libplacebo": "it can read a file",
    "vidstabdetect": "it writes a file",
    "vidstabtransform": _READS,
    "deshake": "it can write a file",
    "metadata": "it can write a file",
    "psnr": "it can write a file",
    "ssim": "it can write a file",
    "libvmaf": "it can write a file",
    "sendcmd": "it can read a file",
    "zmq": "it opens a socket",
    "dnn_processing": _READS,
    "nnedi": _READS,
    "sr": _READS,
    "select": _TIMES,
    "trim": _TIMES,
    "setpts": _TIMES,
    "loop": _TIMES,
    "reverse": _TIMES,
    "split": _CHAIN,
    "overlay": _CHAIN,
    "hstack": _CHAIN,
    "vstack": _CHAIN,
    "concat": _CHAIN,
}
