"""The picture's way into an encoder: pixel format, range and colour tags as explicit filters.

`-pix_fmt` substitutes silently, so the format is always a `format=` filter, and the source's
colour tags are set on the frames, from where every encoder takes them.
"""

from __future__ import annotations

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.profile import Codec, Profile, RateMode
from ffcluster.encoders.filter_table import PRIMARIES, SPACE, TRANSFER
from ffcluster.encoders.filters import chain_text, split_at_window
from ffcluster.encoders.pixfmt import PixelFormat, describe, nearest, with_depth
from ffcluster.errors import InvalidOption, UnsupportedOption

# Where a source's format is unknown by name, nothing that is likely to be in it gets lost.
_UNKNOWN = PixelFormat("unknown", "yuv", (0, 0), 10)

_SETPARAMS = {
    "color_range": "range",
    "color_primaries": "color_primaries",
    "color_trc": "color_trc",
    "colorspace": "colorspace",
}
_RANGES = {"tv": "tv", "mpeg": "tv", "limited": "tv", "pc": "pc", "jpeg": "pc", "full": "pc"}
_TAG_OPTIONS = {
    "color_primaries": PRIMARIES.allowed,
    "color_trc": TRANSFER.allowed,
    "colorspace": SPACE.allowed,
}
_CHROMA_LOCATIONS = frozenset({"left", "center", "topleft", "top", "bottomleft", "bottom"})


@attrs.frozen
class Picture:
    """How frames reach the encoder.

    Attributes:
        pix_fmt: The format that the encoder gets.
        context_filters: See `EncodeArguments.context_filters`.
        filters: See `EncodeArguments.filters`.
        output_args: Options that go with the format.
        compare_as: See `EncodeArguments.compare_as`.
        notes: What is not kept, in words.
    """

    pix_fmt: PixelFormat
    context_filters: tuple[str, ...]
    filters: tuple[str, ...]
    output_args: tuple[str, ...]
    compare_as: str
    notes: tuple[str, ...] = ()


def picture_for(
    profile: Profile, video: VideoFormat, supported: tuple[str, ...], encoder: str
) -> Picture:
    """Decide the pixel format and the filters before `encoder`, which takes `supported`.

    Raises:
        InvalidOption: The format or the size is impossible for this encoder.
        UnsupportedOption: Lossless was asked for, and the source's format cannot be kept.
    """
    source = _incoming(profile, video)
    wanted = _wanted(profile, source)
    target = _target(profile, wanted, supported, encoder)
    _check_size(profile, video, target, encoder)
    _check_depth(profile, target, encoder)
    before, after = split_at_window(profile.filters)
    full = source.full_range or dict(video.color).get("color_range") in ("pc", "jpeg")
    filters = list(chain_text(after))
    if source.full_range and target.family != "rgb":
        # Without this the change of the format's name would squeeze the samples to limited range.
        filters.append("scale=in_range=full:out_range=full")
    filters.append(f"format={target.name}")
    tags = _tags(profile, video, source, target, full)
    notes = list(_notes(source, wanted, target, encoder))
    if encoder == "ffv1" and tags.get("range") == "pc":
        # FFV1 stores no range; newer ffmpegs would squeeze the samples to say so truthfully.
        tags["range"] = "tv"
        notes.append("ffv1 stores no colour range; only the container can say that it is full")
    if tags:
        filters.append("setparams=" + ":".join(f"{k}={v}" for k, v in tags.items()))
    return Picture(
        target,
        tuple(chain_text(before)),
        tuple(filters),
        _chroma_location(video, target),
        _compare_as(target, tags.get("range") == "pc"),
        tuple(notes),
    )


def _incoming(profile: Profile, video: VideoFormat) -> PixelFormat:
    """The format that leaves the profile's filters."""
    for video_filter in reversed(profile.filters):
        if video_filter.name == "format":
            names = dict(video_filter.options)["pix_fmts"].split("|")
            return describe(names[0]) or _UNKNOWN
    return describe(video.pix_fmt) or _UNKNOWN


def _wanted(profile: Profile, source: PixelFormat) -> PixelFormat:
    wanted = source
    if profile.pix_fmt is not None:
        named = describe(profile.pix_fmt)
        if named is None:
            raise InvalidOption(
                message=f"{profile.pix_fmt!r} is not a pixel format that ffcluster knows",
                option="pix_fmt",
                advice="for example yuv420p, yuv420p10le or yuv444p",
            )
        wanted = named
    if profile.bit_depth is None or profile.bit_depth == wanted.depth:
        return wanted
    if profile.pix_fmt is not None:
        raise InvalidOption(
            message=f"{profile.pix_fmt} has {wanted.depth} bits, not {profile.bit_depth}",
            option="bit_depth",
        )
    deeper = describe(with_depth(wanted.name, profile.bit_depth) or "")
    if deeper is None:
        deeper = PixelFormat("any", "yuv", wanted.shift, profile.bit_depth)
    return deeper


def _target(
    profile: Profile, wanted: PixelFormat, supported: tuple[str, ...], encoder: str
) -> PixelFormat:
    # The full-range names are deprecated: the same samples travel under the plain name.
    offered = [name for name in supported if not name.startswith("yuvj")] or ["yuv420p"]
    plain = "yuv" + wanted.name[4:] if wanted.full_range else wanted.name
    if plain in offered:
        target = describe(plain)
    else:
        target = describe(nearest(wanted, offered))
        # Hardware takes nv12 and p010le, which hold what yuv420p and yuv420p10le hold.
        if profile.pix_fmt is not None and not (target and target.holds_the_same_as(wanted)):
            raise UnsupportedOption(
                message=f"{encoder} cannot write {profile.pix_fmt}",
                option="pix_fmt",
                advice="it can write: " + ", ".join(offered),
            )
    assert target is not None  # noqa: S101 - `nearest` gives only names that are known
    if profile.bit_depth not in (None, target.depth):
        raise UnsupportedOption(
            message=f"{encoder} cannot write {profile.bit_depth} bits per sample",
            option="bit_depth",
            advice="it can write: " + ", ".join(offered),
        )
    lossless = profile.rate.mode is RateMode.LOSSLESS or profile.codec is Codec.FFV1
    asked = profile.pix_fmt is not None or profile.bit_depth is not None
    if lossless and not asked and not target.holds_the_same_as(wanted):
        raise UnsupportedOption(
            message=f"{encoder} cannot keep {wanted.name} without loss",
            option="lossless",
            advice=f"use --encoder ffv1, or give --pix-fmt {target.name} to convert first",
        )
    return target


def _check_size(profile: Profile, video: VideoFormat, target: PixelFormat, encoder: str) -> None:
    resized = any(
        f.name in ("scale", "zscale", "crop", "pad", "transpose") for f in profile.filters
    )
    # Both codecs count their pictures' sizes in chroma samples.
    if resized or profile.codec not in (Codec.H264, Codec.HEVC):
        return
    if not target.fits(video.width, video.height):
        raise InvalidOption(
            message=f"{encoder} cannot write {video.width}x{video.height} as {target.name}: "
            "the size must be a multiple of the chroma's",
            option="scale",
            advice="crop or scale to an even size (--crop, --scale), or give --pix-fmt yuv444p",
        )


# Bits per sample that a codec's profiles can hold at most, where it is few.
_PROFILE_DEPTHS = {
    **{(Codec.H264, name): 8 for name in ("baseline", "constrained_baseline", "main", "high")},
    (Codec.H264, "constrained_high"): 8,
    (Codec.HEVC, "main"): 8,
    (Codec.HEVC, "main10"): 10,
    (Codec.VP9, "profile0"): 8,
    (Codec.VP9, "profile1"): 8,
}


def _check_depth(profile: Profile, target: PixelFormat, encoder: str) -> None:
    most = _PROFILE_DEPTHS.get((profile.codec, profile.codec_profile or ""), target.depth)
    if target.depth > most:
        raise InvalidOption(
            message=f"{encoder}'s profile {profile.codec_profile} cannot hold {target.name}",
            option="codec_profile",
            advice="leave the profile out, or give --bit-depth 8",
        )


def _tags(
    profile: Profile,
    video: VideoFormat,
    source: PixelFormat,
    target: PixelFormat,
    full: bool,
) -> dict[str, str]:
    """Colour tags as options of `setparams`, without those that the profile's filters change."""
    changed = {name for f in profile.filters for name in _changed_by(f.name, dict(f.options))}
    tags: dict[str, str] = {}
    for option, value in video.color:
        name = _SETPARAMS.get(option)
        if name is None or name in changed:
            continue
        if name == "range" and value in _RANGES:
            tags[name] = _RANGES[value]
        elif value in _TAG_OPTIONS.get(name, ()):
            tags[name] = value
    if full and "range" not in changed:
        tags["range"] = "pc"
    if source.family != target.family or target.family == "rgb":
        # The matrix and the range belong to the samples that were converted.
        tags.pop("colorspace", None)
        tags.pop("range", None)
    return tags


def _changed_by(name: str, options: dict[str, str]) -> set[str]:
    if name in ("setparams", "scale"):
        renamed = {"out_range": "range", "out_color_matrix": "colorspace"}
        return {renamed.get(option, option) for option in options}
    if name in ("zscale", "tonemap"):
        return {"range", "color_primaries", "color_trc", "colorspace"}
    return set()


def _chroma_location(video: VideoFormat, target: PixelFormat) -> tuple[str, ...]:
    location = dict(video.color).get("chroma_sample_location", "")
    if location in _CHROMA_LOCATIONS and target.shift == (1, 1):
        return ("-chroma_sample_location", location)
    return ()


def _compare_as(target: PixelFormat, full: bool) -> str:
    # Decoders give 8-bit pictures of full range under the old names; asking for the plain one
    # would make older ffmpegs squeeze the samples.
    eight_bit_yuv = target.family == "yuv" and target.depth == 8 and not target.alpha
    if full and eight_bit_yuv and target.planar:
        return "yuvj" + target.name.removeprefix("yuv")
    return target.name


def _notes(
    source: PixelFormat, wanted: PixelFormat, target: PixelFormat, encoder: str
) -> list[str]:
    notes = []
    if wanted is source and not target.holds_the_same_as(source):
        notes.append(f"{encoder} has no {source.name}: the output is {target.name}")
    if source.alpha and not target.alpha:
        notes.append("transparency is not kept")
    return notes
