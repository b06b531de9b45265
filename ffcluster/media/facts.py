"""Read from PyAV what a source holds, as plain data. Runs in helper processes only."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

_FIELD_ORDERS = {0: "unknown", 1: "progressive", 2: "tt", 3: "bb", 4: "tb", 5: "bt"}
_RANGES = {1: "tv", 2: "pc"}
_PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020",
    10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "jedec-p22",
}  # fmt: skip
_TRANSFERS = {
    1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear",
    9: "log100", 10: "log316", 11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1",
    14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
_SPACES = {
    0: "rgb", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco",
    9: "bt2020nc", 10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c",
    14: "ictcp",
}  # fmt: skip
# AVMasteringDisplayMetadata: primaries of R, G, B as (x, y), the white point, the least and the
# greatest luminance, all rationals, then two flags that say which of them are set.
_MASTERING = struct.Struct("20i2i")


def side_data(frame: VideoFrame, name: str) -> bytes:
    """The frame's side data of one type, or b""."""
    held: Any = frame.side_data
    try:
        return bytes(held[name])
    except KeyError:
        return b""


def mastering_display(data: bytes) -> str:
    """Write mastering metadata as x265's `master-display`, or "" when it is incomplete."""
    if len(data) < _MASTERING.size:
        return ""
    numbers = _MASTERING.unpack_from(data)
    values = [Fraction(n, d or 1) for n, d in zip(numbers[0:20:2], numbers[1:20:2], strict=True)]
    has_primaries, has_luminance = numbers[20:22]
    if not (has_primaries and has_luminance):
        return ""
    red, green, blue, white = (
        "({},{})".format(*(round(v * 50_000) for v in values[i : i + 2])) for i in (0, 2, 4, 6)
    )
    dark, bright = (round(v * 10_000) for v in values[8:10])
    return f"G{green}B{blue}R{red}WP{white}L({bright},{dark})"


def content_light(data: bytes) -> str:
    """Write content light level as `MaxCLL,MaxFALL`, or ""."""
    if len(data) < 8:
        return ""
    return "{},{}".format(*struct.unpack_from("2I", data))


def display_matrix(frame: VideoFrame) -> list[int]:
    """The nine numbers of the frame's display matrix, or []."""
    data = side_data(frame, "DISPLAYMATRIX")
    return list(struct.unpack_from("9i", data)) if len(data) >= 36 else []


def _color(context: Any) -> list[list[str]]:
    known = [
        ("color_range", _RANGES.get(context.color_range)),
        ("colorspace", _SPACES.get(context.colorspace)),
        ("color_primaries", _PRIMARIES.get(context.color_primaries)),
        ("color_trc", _TRANSFERS.get(context.color_trc)),
    ]
    # Code 0 of the matrix means RGB, yet is also what a YUV stream without the tag may show.
    if known[1][1] == "rgb" and not str(context.pix_fmt).startswith(("gbr", "rgb", "bgr")):
        known.pop(1)
    return [[option, value] for option, value in known if value]


def _rate(stream: VideoStream) -> list[int]:
    for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate):
        if rate:
            return [rate.numerator, rate.denominator]
    return [0, 1]


def video_format(stream: VideoStream, frame: VideoFrame | None) -> dict[str, Any]:
    """`ffcluster.core.media.VideoFormat` of a stream as plain data, and its display matrix."""
    context = stream.codec_context
    base = stream.time_base or Fraction(1, 1000)
    aspect = stream.sample_aspect_ratio
    matrix = display_matrix(frame) if frame else []
    return {
        "codec": context.name if context.codec is None else context.codec.canonical_name,
        "width": context.width,
        "height": context.height,
        "pix_fmt": (frame.format.name if frame else context.pix_fmt) or "",
        "time_base": [base.numerator, base.denominator],
        "frame_rate": _rate(stream),
        "field_order": _FIELD_ORDERS.get(int(context.field_order), "unknown"),
        "color": _color(context),
        "sample_aspect_ratio": [aspect.numerator, aspect.denominator] if aspect else [0, 1],
        "rotation_degrees": round(frame.rotation) if frame and matrix else 0,
        "mastering_display": mastering_display(_first(frame, "MASTERING_DISPLAY_METADATA")),
        "content_light": content_light(_first(frame, "CONTENT_LIGHT_LEVEL")),
    }


def _first(frame: VideoFrame | None, name: str) -> bytes:
    return side_data(frame, name) if frame else b""


def _codec_name(stream: Any) -> str:
    context = stream.codec_context
    if context is None:
        return (stream.name or "") if stream.type == "data" else ""
    return str(context.codec.canonical_name)


def _stream(stream: Any) -> dict[str, Any]:
    flags = stream.disposition
    return {
        "index": stream.index,
        "kind": stream.type if stream.type != "unknown" else "data",
        "codec": _codec_name(stream),
        "language": stream.metadata.get("language", ""),
        "title": stream.metadata.get("title", stream.metadata.get("filename", "")),
        "dispositions": [flag.name for flag in av.stream.Disposition if flags & flag],
        "is_cover": bool(flags & av.stream.Disposition.attached_pic),
        "decodable": stream.codec_context is not None,
        "channels": getattr(stream.codec_context, "channels", 0) if stream.type == "audio" else 0,
    }


def source_facts(container: InputContainer, video: VideoStream) -> dict[str, Any]:
    """`ffcluster.media.carry.SourceFacts` of an open source as plain data."""
    return {
        "format": container.format.name,
        "video_index": video.index,
        "streams": [_stream(s) for s in container.streams],
        "chapters": len(container.chapters()),
        "start_us": container.start_time or 0,
        "metadata": sorted(container.metadata.items()),
    }
