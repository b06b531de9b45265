"""Each software encoder's own options. Takes only what its schema has accepted."""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.profile import Codec, Profile, RateMode
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.picture import Picture
from ffcluster.encoders.pixfmt import PixelFormat
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.errors import InvalidOption, UnsupportedOption

_MASTERING = re.compile(
    r"G\((\d+),(\d+)\)B\((\d+),(\d+)\)R\((\d+),(\d+)\)WP\((\d+),(\d+)\)L\((\d+),(\d+)\)"
)
_CONTENT_LIGHT = re.compile(r"\d{1,5},\d{1,5}")
_LARGEST_RATE = 100_000_000


@attrs.frozen
class Order:
    """All that an encoder's own arguments depend on."""

    schema: EncoderSchema
    profile: Profile
    video: VideoFormat
    picture: Picture
    threads: int

    @property
    def quality(self) -> str:
        """Constant quality as text, the encoder's default included."""
        quality = self.profile.rate.quality
        return f"{self.schema.default_quality if quality is None else quality:g}"

    @property
    def frame_rate(self) -> str:
        """The mean frame rate as a fraction, or "" when it is unknown or a filter changes it."""
        num, den = self.video.frame_rate
        known = 0 < num < _LARGEST_RATE and 0 < den < _LARGEST_RATE
        return f"{num}/{den}" if known and self.profile.keeps_timing else ""

    @property
    def keeps_light(self) -> bool:
        """Whether the output shows the same light as the source, so its HDR metadata holds."""
        changing = {"zscale", "tonemap", "eq", "hue", "lut", "lutyuv", "lutrgb", "setparams"}
        return not any(f.name in changing for f in self.profile.filters)


def _x264(order: Order) -> list[str]:
    profile = order.profile
    params = {"stitchable": "1"}
    if order.frame_rate:
        # The level in the parameter sets depends on it, and a short piece misstates it.
        params["fps"] = order.frame_rate
    params |= _hdr(order, "mastering-display", "cll", order.video.mastering_display)
    params |= dict(profile.encoder_options)
    lossless = ["-qp", "0"] if profile.rate.mode is RateMode.LOSSLESS else []
    return [
        *(lossless or _x26x_rate(order)),
        *_common(order),
        *_threads(order),
        "-x264-params",
        _params(params),
    ]


def _x265(order: Order) -> list[str]:
    profile = order.profile
    params = {"log-level": "error", "open-gop": "0"}
    if order.frame_rate:
        params["fps"] = order.frame_rate
    if order.threads:
        # Without a pool x265 turns wavefronts off, which would change the parameter sets.
        params["pools"] = str(order.threads)
        params["frame-threads"] = "1" if order.threads < 4 else "2"
    params |= _hdr(order, "master-display", "max-cll", order.video.mastering_display)
    params |= _look_ahead(profile) | dict(profile.encoder_options)
    rate = _x26x_rate(order)
    if profile.rate.mode is RateMode.LOSSLESS:
        rate = []
        params["lossless"] = "1"
    return [*rate, *_common(order), "-x265-params", _params(params)]


# (B-frames in a row, frames looked ahead) of the presets that differ from the others.
_X265_PRESETS = {
    "ultrafast": (3, 5),
    "superfast": (3, 10),
    "veryfast": (4, 15),
    "faster": (4, 15),
    "fast": (4, 15),
    "slower": (8, 40),
    "veryslow": (8, 40),
    "placebo": (8, 60),
}


def _look_ahead(profile: Profile) -> dict[str, str]:
    """Let libx265 look ahead further than its B-frames reach, without which it does not start.

    Raises:
        InvalidOption: The profile says that it must not.
    """
    b_frames, look_ahead = _X265_PRESETS.get(profile.preset or "", (4, 20))
    if profile.tune == "zerolatency":
        b_frames, look_ahead = 0, 0
    b_frames = b_frames if profile.b_frames is None else profile.b_frames
    given = dict(profile.encoder_options).get("rc-lookahead")
    if given is not None and b_frames and int(given) <= b_frames:
        raise InvalidOption(
            message=f"libx265 must look ahead further than the {b_frames} B-frames in a row",
            option="rc-lookahead",
            advice=f"give more than {b_frames}, or fewer B-frames",
        )
    return {"rc-lookahead": str(b_frames + 1)} if b_frames and look_ahead <= b_frames else {}


def _x26x_rate(order: Order) -> list[str]:
    rate = order.profile.rate
    args = ["-crf", order.quality]
    if rate.mode is RateMode.BITRATE:
        args = ["-b:v", str(rate.target_bps)]
    if rate.max_bps is not None:
        # Both encoders ignore a peak without a buffer.
        buffer_bits = rate.buffer_bits or 2 * rate.max_bps
        args += ["-maxrate", str(rate.max_bps), "-bufsize", str(buffer_bits)]
    elif rate.buffer_bits is not None:
        raise InvalidOption(message="bufsize needs maxrate", option="bufsize")
    return args


def _svt(order: Order) -> list[str]:
    profile, rate = order.profile, order.profile.rate
    args = ["-crf", order.quality]
    if rate.mode is RateMode.BITRATE:
        args = ["-b:v", str(rate.target_bps)]
        if profile.gop_frames == 1:
            raise UnsupportedOption(
                message="libsvtav1 makes no video of keyframes only at a bit rate",
                option="gop",
                advice="give a quality instead, or a GOP of 2 frames or more",
            )
        if dict(profile.encoder_options).get("tune") in ("3", "4"):
            raise UnsupportedOption(
                message="libsvtav1's tunes 3 and 4 go with a quality only, not with a bit rate",
                option="tune",
            )
    if rate.max_bps is not None:
        args += ["-maxrate", str(rate.max_bps)]
    if rate.buffer_bits is not None:
        args += ["-bufsize", str(rate.buffer_bits)]
    params: dict[str, str] = {}
    if order.threads:
        params["lp"] = str(min(order.threads, 6))
    if order.frame_rate:
        # A short piece may claim more frames per second than this encoder agrees to.
        params["fps-num"], params["fps-denom"] = order.frame_rate.split("/")
    if profile.tune is not None:
        params["tune"] = {"vq": "0", "psnr": "1"}[profile.tune]
    mastering = _svt_mastering(order.video.mastering_display)
    params |= _hdr(order, "mastering-display", "content-light", mastering)
    params |= dict(profile.encoder_options)
    common = _common(attrs.evolve(order, profile=attrs.evolve(profile, tune=None)))
    return [*args, *common, *(["-svtav1-params", _params(params)] if params else [])]


def _vpx(order: Order) -> list[str]:
    """Both libvpx-vp9 and libaom-av1."""
    profile, rate = order.profile, order.profile.rate
    args: list[str] = []
    if rate.mode is RateMode.LOSSLESS:
        args = ["-lossless", "1"]
    elif rate.mode is RateMode.QUALITY:
        # With a peak this is constrained quality: these libraries take the peak as the bit rate.
        args = ["-crf", order.quality, "-b:v", str(rate.max_bps or 0)]
    else:
        args = ["-b:v", str(rate.target_bps)]
        if rate.max_bps is not None:
            args += ["-maxrate", str(rate.max_bps)]
    if rate.buffer_bits is not None and (rate.max_bps or rate.mode is RateMode.BITRATE):
        args += ["-bufsize", str(rate.buffer_bits)]
    options = {"row-mt": "1"} | dict(profile.encoder_options)
    own = [word for name, value in options.items() for word in (f"-{name}", value)]
    if order.schema.encoder == "libaom-av1" and order.threads == 1:
        # With one thread newer releases switch on a tool that changes the sequence header.
        order = attrs.evolve(order, threads=2)
    return [*args, *_common(order), *own, *_threads(order)]


def _ffv1(order: Order) -> list[str]:
    # The header holds the number of slices, which otherwise follows the number of threads.
    small = min(order.video.width, order.video.height) < 16 and not order.profile.filters
    options = {"level": "3", "g": "1", "slices": "1" if small else "4", "slicecrc": "1"}
    options |= dict(order.profile.encoder_options)
    own = [word for name, value in options.items() for word in (f"-{name}", value)]
    return [*own, *_threads(order)]


ENCODERS: dict[str, Callable[[Order], list[str]]] = {
    "libx264": _x264,
    "libx265": _x265,
    "libsvtav1": _svt,
    "libaom-av1": _vpx,
    "libvpx-vp9": _vpx,
    "ffv1": _ffv1,
}


def _common(order: Order) -> list[str]:
    profile = order.profile
    args: list[str] = []
    if profile.preset is not None:
        args += [f"-{order.schema.preset_option}", profile.preset]
    if profile.tune is not None:
        args += ["-tune", profile.tune]
    if profile.codec_profile is not None:
        name = profile.codec_profile
        args += ["-profile:v", _PROFILE_NUMBERS.get((order.schema.encoder, name), name)]
    if profile.gop_frames is not None:
        args += ["-g", str(profile.gop_frames)]
    if profile.b_frames is not None and order.schema.max_b_frames:
        args += ["-bf", str(profile.b_frames)]
    return [*args, "-flags", "+cgop"]


_PROFILE_NUMBERS = {
    ("libsvtav1", "main"): "0",
    ("libaom-av1", "main"): "0",
    ("libaom-av1", "high"): "1",
    ("libaom-av1", "professional"): "2",
}


def _threads(order: Order) -> list[str]:
    return ["-threads", str(order.threads)] if order.threads else []


def _params(params: dict[str, str]) -> str:
    # Every value was checked against a rule that has neither of the separators.
    return ":".join(f"{name}={value}" for name, value in params.items())


def _hdr(order: Order, mastering_key: str, light_key: str, mastering: str) -> dict[str, str]:
    params: dict[str, str] = {}
    if not order.keeps_light:
        return params
    if mastering and _MASTERING.fullmatch(order.video.mastering_display):
        params[mastering_key] = mastering
    if _CONTENT_LIGHT.fullmatch(order.video.content_light):
        params[light_key] = order.video.content_light
    return params


def _svt_mastering(text: str) -> str:
    """x265's units (0.00002 and 0.0001 cd/m2) as the decimal numbers that SVT-AV1 takes."""
    found = _MASTERING.fullmatch(text)
    if found is None:
        return ""
    numbers = [int(n) for n in found.groups()]
    points = [
        f"({x / 50_000:g},{y / 50_000:g})"
        for x, y in zip(numbers[:8:2], numbers[1:8:2], strict=True)
    ]
    light = f"({numbers[8] / 10_000:.10g},{numbers[9] / 10_000:.10g})"
    return "".join(n + p for n, p in zip(("G", "B", "R", "WP", "L"), (*points, light), strict=True))


def hdr_notes(order: Order) -> list[str]:
    """What the encoder does not carry of the source's HDR10 metadata, in words."""
    carried = order.schema.encoder in ("libx264", "libx265", "libsvtav1")
    if not (order.video.mastering_display or order.video.content_light):
        return []
    if not order.keeps_light:
        return ["filters change the light, so the source's HDR10 metadata is left out"]
    return [] if carried else [f"{order.schema.encoder} writes no HDR10 metadata into the stream"]


# (log2 of chroma subsampling, horizontally and vertically, at least; bits per sample at most)
_PROFILE_LIMITS: dict[tuple[str, str], tuple[tuple[int, int], int]] = {
    ("libx264", "baseline"): ((1, 1), 8),
    ("libx264", "main"): ((1, 1), 8),
    ("libx264", "high"): ((1, 1), 8),
    ("libx264", "high10"): ((1, 1), 10),
    ("libx264", "high422"): ((1, 0), 10),
    ("libx265", "main"): ((1, 1), 8),
    ("libx265", "main10"): ((1, 1), 10),
    ("libx265", "main12"): ((1, 1), 12),
    ("libx265", "main422-10"): ((1, 0), 10),
    ("libx265", "main422-12"): ((1, 0), 12),
    ("libx265", "main444-8"): ((0, 0), 8),
    ("libx265", "main444-10"): ((0, 0), 10),
}


def _check_profile_name(profile: Profile, pix_fmt: PixelFormat, encoder: str) -> None:
    """Refuse a codec profile that cannot hold the pixel format; encoders would fail on it.

    Raises:
        InvalidOption: It cannot.
    """
    name = profile.codec_profile
    if name is None:
        return
    gray = pix_fmt.family == "gray"
    limits = _PROFILE_LIMITS.get((encoder, name), ((0, 0), 16))
    shift = (1, 1) if gray else pix_fmt.shift
    fits = shift[0] >= limits[0][0] and shift[1] >= limits[0][1] and pix_fmt.depth <= limits[1]
    if encoder == "libvpx-vp9":
        number = (shift != (1, 1)) + 2 * (pix_fmt.depth > 8)
        fits = name == str(number)
    elif encoder == "libaom-av1":
        fits = name == _aom_profile(shift, pix_fmt.depth)
    elif encoder == "libx264" and _lossless(profile, pix_fmt):
        fits = name == "high444"
    if not fits:
        raise InvalidOption(
            message=f"{encoder}'s profile {name} cannot hold {pix_fmt.name}"
            + (" without loss" if _lossless(profile, pix_fmt) else ""),
            option="codec_profile",
            advice="leave the profile out: the encoder then writes the one that is needed",
        )


def _lossless(profile: Profile, pix_fmt: PixelFormat) -> bool:
    # CRF 0 is libx264's way to say lossless, for 8 bits.
    best = profile.codec is Codec.H264 and profile.rate.quality == 0 and pix_fmt.depth == 8
    return profile.rate.mode is RateMode.LOSSLESS or best


def check_picture(profile: Profile, pix_fmt: PixelFormat, encoder: str) -> None:
    """Refuse what `encoder` cannot do with pictures in `pix_fmt`.

    Raises:
        InvalidOption: The codec profile cannot hold them.
        UnsupportedOption: It cannot keep them without loss.
    """
    _check_profile_name(profile, pix_fmt, encoder)
    lossless = profile.rate.mode is RateMode.LOSSLESS
    if lossless and encoder == "libvpx-vp9" and pix_fmt.depth > 8:
        # Its lossless mode was seen to change single pictures of 10-bit video.
        raise UnsupportedOption(
            message="libvpx-vp9 is not exact with more than 8 bits per sample",
            option="lossless",
            advice="use --encoder libx265 or ffv1",
        )


def check_options(profile: Profile, build: FfmpegBuild, encoder: str) -> None:
    """Refuse options that this ffmpeg's library is too old for: it would only warn.

    Raises:
        UnsupportedOption: There is one.
    """
    if encoder != "libsvtav1" or build.at_least(*_NEWER_SVT):
        return
    for name, value in profile.encoder_options:
        if name in _NEWER_SVT_OPTIONS or (name, value) in _NEWER_SVT_VALUES:
            raise UnsupportedOption(
                message=f"libsvtav1's {name}={value} needs a newer ffmpeg than {build.version}",
                option=name,
            )


# SVT-AV1 2.0 and newer; ffmpeg says which one it has only when it encodes.
_NEWER_SVT = (7, 0)
_NEWER_SVT_OPTIONS = frozenset(
    {"enable-qm", "qm-min", "qm-max", "enable-variance-boost", "variance-boost-strength"}
    | {"variance-octile", "sharpness", "film-grain-denoise"}
)
_NEWER_SVT_VALUES = frozenset(
    {("tune", "2"), ("tune", "3"), ("tune", "4"), ("enable-dlf", "2"), ("enable-tf", "2")}
    | {("fast-decode", "2"), ("scm", "3")}
)


def _aom_profile(shift: tuple[int, int], depth: int) -> str:
    if depth > 10 or shift == (1, 0):
        return "professional"
    return "main" if shift == (1, 1) else "high"
