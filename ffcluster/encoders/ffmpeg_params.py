"""Read ffmpeg's output options, as people write them, into settings. What is not known is refused.

Pure: looks at no file and starts nothing. All that is refused is reported at once.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from ffcluster.core.profile import AudioMode, Codec, SubtitleMode
from ffcluster.encoders.ffmpeg_items import Item, raise_all, split_items
from ffcluster.encoders.ffmpeg_refusals import reason_for
from ffcluster.encoders.filters import make_filter, parse_filters
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.encoders.settings import Schemas, Settings, parse_bit_rate
from ffcluster.errors import FfclusterError, InvalidOption, UnsupportedOption

_LONGEST = 8000
_VIDEO = frozenset({"", "v", "v:0", "V", "V:0"})
_AUDIO = frozenset({"a"})
_CODECS = {"h264": Codec.H264, "hevc": Codec.HEVC, "av1": Codec.AV1, "vp9": Codec.VP9}
_AUDIO_CODECS = {
    "copy": AudioMode.COPY,
    "aac": AudioMode.AAC,
    "libopus": AudioMode.OPUS,
    "opus": AudioMode.OPUS,
}
_COLOR_OPTIONS = {
    "color_range": "range",
    "colorspace": "colorspace",
    "color_primaries": "color_primaries",
    "color_trc": "color_trc",
}
_LEVEL_OPTIONS = {"libx264": "level", "libx265": "level-idc", "libvpx-vp9": "level"}
_KEYFRAME_OPTIONS = {"keyint_min": "min-keyint", "refs": "ref", "sc_threshold": "scenecut"}
# libvpx and libaom take a bit rate beside constant quality as its ceiling.
_CONSTRAINED_QUALITY = frozenset({"libvpx-vp9", "libaom-av1"})


def read_ffmpeg_params(text: str, schemas: Schemas) -> Settings:
    """Read a string of ffmpeg output options.

    Raises:
        UnsupportedOption: Something is not understood; `detail["refused"]` lists all of it as
            {"option", "reason", "advice"}.
        InvalidOption: A value cannot be used; `detail["refused"]` as above.
    """
    if len(text) > _LONGEST or any(ord(c) < 32 and c not in "\t\n\r" for c in text):
        raise InvalidOption(message="the options are too long or not text", option="ffmpeg_params")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidOption(
            message=f"the options cannot be split into words: {error}",
            option="ffmpeg_params",
            advice="close every quotation mark",
        ) from None
    reader = _Reader(schemas)
    items = []
    for found in split_items(words):
        if isinstance(found, Item):
            items.append(found)
        else:
            reader.problems.append(found)
    reader.find_encoder(items)
    for item in items:
        reader.collect(partial(reader.read, item))
    reader.collect(reader.finish)
    raise_all(reader.problems)
    return reader.settings


@attrs.define
class _Reader:
    """Collects settings and problems from one option after another."""

    schemas: Schemas
    settings: Settings = attrs.field(factory=Settings)
    problems: list[FfclusterError] = attrs.field(factory=list)
    schema: EncoderSchema | None = None
    options: dict[str, str] = attrs.field(factory=dict)
    colors: dict[str, str] = attrs.field(factory=dict)

    def collect(self, read: Callable[[], None]) -> None:
        """Run `read`; what it refuses is kept, so that the rest is looked at too."""
        try:
            read()
        except InvalidOption as problem:
            self.problems.append(problem)

    def find_encoder(self, items: list[Item]) -> None:
        """Find out which encoder the other options belong to, wherever it is named."""
        for item in items:
            if item.name == "c" and item.stream in _VIDEO and item.value is not None:
                codec = _CODECS.get(item.value)
                same = (s for s in self.schemas.values() if s.codec is codec)
                self.schema = self.schemas.get(item.value) or next(same, None)
                return
        names = {item.name for item in items}
        for schema in self.schemas.values():
            if schema.params_option and schema.params_option in names:
                self.schema = schema
                self.settings = attrs.evolve(self.settings, encoder=schema.encoder)
                return
        self.schema = self.schemas.get("libx264")

    def read(self, item: Item) -> None:
        """Read one option.

        Raises:
            InvalidOption: Its value cannot be used.
            UnsupportedOption: It is not understood.
        """
        if item.name in ("an", "sn") and not item.stream:
            kind = {"an": "audio", "sn": "subtitles"}[item.name]
            mode = AudioMode.NONE if item.name == "an" else SubtitleMode.NONE
            self._set(**{kind: mode})
            return
        reader = _READERS.get((item.name, _stream_kind(item)))
        if reader is None and not self._is_encoder_option(item):
            raise _unknown(item)
        if item.value is None:
            raise InvalidOption(message=f"{item.written} needs a value", option=item.written)
        if reader is None:
            self._encoder_option(item.name, item.value)
        else:
            reader(self, item, item.value)

    def finish(self) -> None:
        """Put together what several options say.

        Raises:
            InvalidOption: They contradict each other.
        """
        settings = self.settings
        encoder = self.schema.encoder if self.schema else ""
        if settings.target_bps is not None and settings.quality is not None:
            if encoder not in _CONSTRAINED_QUALITY:
                raise InvalidOption(
                    message="-b:v and constant quality contradict each other",
                    option="-b:v",
                    advice="give one of them; -maxrate and -bufsize limit constant quality",
                )
            self._set(target_bps=None, max_bps=settings.target_bps or None)
        if self.colors:
            tags = make_filter("setparams", self.colors.items())
            self._set(filters=(*(self.settings.filters or ()), tags))
        if self.options:
            encoder_name = self.settings.encoder
            if encoder_name is None and self.schema is not None:
                # The options mean something to this encoder only.
                encoder_name = self.schema.encoder
            self._set(encoder=encoder_name, encoder_options=tuple(self.options.items()))

    def _set(self, **changes: Any) -> None:
        self.settings = attrs.evolve(self.settings, **changes)

    def _is_encoder_option(self, item: Item) -> bool:
        schema = self.schema
        if schema is None or schema.params_option in ("svtav1-params",):
            return False
        known = item.name in schema.options or item.name in schema.refused
        return known and item.stream in _VIDEO

    def _encoder_option(self, name: str, value: str) -> None:
        if self.schema is None:
            raise UnsupportedOption(message=f"-{name}: the encoder is not known", option=f"-{name}")
        self.options[name] = self.schema.check_option(name, value)

    def video_codec(self, item: Item, value: str) -> None:
        if value in self.schemas:
            self._set(encoder=value)
        elif value in _CODECS:
            self._set(codec=_CODECS[value])
        elif value == "copy":
            raise UnsupportedOption(
                message=f"{item.written} copy: ffcluster encodes the video",
                option=item.written,
                advice="to copy it no cluster is needed: use ffmpeg",
            )
        else:
            raise UnsupportedOption(
                message=f"the encoder {value!r} is not known here",
                option=item.written,
                advice="known are: " + ", ".join(sorted({*self.schemas, *_CODECS})),
            )

    def audio_codec(self, item: Item, value: str) -> None:
        mode = _AUDIO_CODECS.get(value)
        if mode is None:
            raise UnsupportedOption(
                message=f"audio cannot be encoded with {value!r}",
                option=item.written,
                advice="possible are copy, aac and libopus",
            )
        self._set(audio=mode)

    def subtitle_codec(self, item: Item, value: str) -> None:
        if value != "copy":
            raise UnsupportedOption(
                message=f"subtitles cannot be encoded with {value!r}",
                option=item.written,
                advice="they are copied, and converted only where the container needs it; "
                "-sn leaves them out",
            )
        self._set(subtitles=SubtitleMode.COPY)

    def quality(self, item: Item, value: str) -> None:
        allowed = self.schema.quality_options if self.schema else ("crf",)
        if item.name not in allowed:
            encoder = self.schema.encoder if self.schema else "this encoder"
            raise UnsupportedOption(
                message=f"{item.written} is not how {encoder} takes its quality",
                option=item.written,
                advice="use -" + " or -".join(allowed),
            )
        self._set(quality=_number(item.written, value))

    def qp(self, item: Item, value: str) -> None:
        if self.schema is not None and "qp" in self.schema.quality_options:
            self.quality(item, value)
        elif value == "0":
            self._set(lossless=True)
        else:
            raise UnsupportedOption(
                message=f"a constant quantizer of {value!r} is not possible",
                option=item.written,
                advice="use -crf for constant quality, or -qp 0 for lossless",
            )

    def lossless(self, item: Item, value: str) -> None:
        if value not in ("0", "1"):
            raise InvalidOption(message="lossless is 0 or 1", option=item.written)
        self._set(lossless=value == "1")

    def bit_rate(self, item: Item, value: str) -> None:
        bits = parse_bit_rate(value, item.written)
        if bits == 0 and self.schema and self.schema.codec in (Codec.VP9, Codec.AV1, Codec.HEVC):
            # `-b:v 0` is how constant quality is asked for without a ceiling.
            return
        self._set(target_bps=bits)

    def max_rate(self, item: Item, value: str) -> None:
        self._set(max_bps=parse_bit_rate(value, item.written))

    def buffer_size(self, item: Item, value: str) -> None:
        self._set(buffer_bits=parse_bit_rate(value, item.written))

    def audio_bit_rate(self, item: Item, value: str) -> None:
        self._set(audio_bitrate_bps=parse_bit_rate(value, item.written))

    def preset(self, item: Item, value: str) -> None:
        expected = self.schema.preset_option if self.schema else "preset"
        if item.name not in (expected, "preset"):
            raise UnsupportedOption(
                message=f"{item.written} is not how this encoder takes its preset",
                option=item.written,
                advice=f"use -{expected}",
            )
        self._set(preset=value)

    def word(self, item: Item, value: str) -> None:
        field = {"tune": "tune", "profile": "codec_profile", "pix_fmt": "pix_fmt"}[item.name]
        self._set(**{field: value})

    def whole_number(self, item: Item, value: str) -> None:
        field = {"g": "gop_frames", "bf": "b_frames"}[item.name]
        self._set(**{field: _whole(item.written, value)})

    def filters(self, item: Item, value: str) -> None:
        self._set(filters=(*(self.settings.filters or ()), *parse_filters(value)))

    def size(self, item: Item, value: str) -> None:
        found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value)
        if found is None:
            raise InvalidOption(message="-s needs a size such as 1280x720", option=item.written)
        scale = make_filter("scale", (("w", found[1]), ("h", found[2])))
        self._set(filters=(*(self.settings.filters or ()), scale))

    def color(self, item: Item, value: str) -> None:
        self.colors[_COLOR_OPTIONS[item.name]] = value

    def level(self, item: Item, value: str) -> None:
        name = _LEVEL_OPTIONS.get(self.schema.encoder if self.schema else "")
        if name is None:
            raise UnsupportedOption(
                message="a level cannot be asked of this encoder", option=item.written
            )
        self._encoder_option(name, value)

    def keyframes(self, item: Item, value: str) -> None:
        name = _KEYFRAME_OPTIONS[item.name]
        if self.schema is None or name not in self.schema.options:
            raise UnsupportedOption(
                message=f"{item.written} means nothing to this encoder", option=item.written
            )
        self._encoder_option(name, value)

    def flags(self, item: Item, value: str) -> None:
        if value not in ("cgop", "+cgop"):
            raise UnsupportedOption(
                message=f"the flags {value!r} are refused",
                option=item.written,
                advice="only +cgop is possible, and it is always set",
            )

    def params(self, item: Item, value: str) -> None:
        """`-x264-params`, `-x265-params`, `-svtav1-params`."""
        if self.schema is None or self.schema.params_option != item.name:
            raise UnsupportedOption(
                message=f"{item.written} does not belong to the encoder that was chosen",
                option=item.written,
            )
        for pair in value.split(":"):
            key, separator, given = pair.strip().partition("=")
            if separator:
                self.collect(partial(self._param, item, key, given))
            else:
                # A switch without a value is on.
                self.collect(partial(self._encoder_option, key.replace("_", "-"), "1"))

    def _param(self, item: Item, key: str, value: str) -> None:
        key = key.replace("_", "-")
        written = f"{item.written} {key}"
        if key == "crf":
            self._set(quality=_number(written, value))
        elif key in ("bframes", "keyint"):
            field = {"bframes": "b_frames", "keyint": "gop_frames"}[key]
            self._set(**{field: _whole(written, value)})
        elif key == "lossless" and value in ("0", "1"):
            self._set(lossless=value == "1")
        elif key in ("bitrate", "vbv-maxrate", "vbv-bufsize"):
            fields = {"bitrate": "target_bps", "vbv-maxrate": "max_bps"}
            self._set(**{fields.get(key, "buffer_bits"): _whole(written, value) * 1000})
        else:
            self._encoder_option(key, value)


def _number(option: str, value: str) -> float:
    if not re.fullmatch(r"-?\d{1,4}(\.\d{1,4})?", value):
        raise InvalidOption(message=f"{option} needs a number, not {value!r}", option=option)
    return float(value)


def _whole(option: str, value: str) -> int:
    if not re.fullmatch(r"-?\d{1,7}", value):
        raise InvalidOption(message=f"{option} needs a whole number, not {value!r}", option=option)
    return int(value)


def _stream_kind(item: Item) -> str:
    if item.stream in _VIDEO:
        # `-c` and `-filter` without a stream mean all streams.
        return "all" if item.name in ("c", "filter") and not item.stream else "v"
    return item.stream if item.stream in ("a", "s") else "other"


def _unknown(item: Item) -> UnsupportedOption:
    reason = reason_for(item.name, item.stream)
    return UnsupportedOption(
        message=f"{item.written} is refused: {reason}",
        option=item.written,
    )


_Read = Callable[[_Reader, Item, str], None]
_READERS: dict[tuple[str, str], _Read] = {
    ("c", "v"): _Reader.video_codec,
    ("c", "a"): _Reader.audio_codec,
    ("c", "s"): _Reader.subtitle_codec,
    ("crf", "v"): _Reader.quality,
    ("cq", "v"): _Reader.quality,
    ("global_quality", "v"): _Reader.quality,
    ("q", "v"): _Reader.quality,
    ("qp", "v"): _Reader.qp,
    ("lossless", "v"): _Reader.lossless,
    ("b", "v"): _Reader.bit_rate,
    ("b", "a"): _Reader.audio_bit_rate,
    ("maxrate", "v"): _Reader.max_rate,
    ("bufsize", "v"): _Reader.buffer_size,
    ("preset", "v"): _Reader.preset,
    ("cpu-used", "v"): _Reader.preset,
    ("tune", "v"): _Reader.word,
    ("profile", "v"): _Reader.word,
    ("pix_fmt", "v"): _Reader.word,
    ("g", "v"): _Reader.whole_number,
    ("bf", "v"): _Reader.whole_number,
    ("filter", "v"): _Reader.filters,
    ("s", "v"): _Reader.size,
    ("level", "v"): _Reader.level,
    ("keyint_min", "v"): _Reader.keyframes,
    ("refs", "v"): _Reader.keyframes,
    ("sc_threshold", "v"): _Reader.keyframes,
    ("flags", "v"): _Reader.flags,
    ("x264-params", "v"): _Reader.params,
    ("x265-params", "v"): _Reader.params,
    ("svtav1-params", "v"): _Reader.params,
    **{(name, "v"): _Reader.color for name in _COLOR_OPTIONS},
}
