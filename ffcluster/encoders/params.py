"""From what a user writes to a checked profile: options, ffmpeg's parameters, profiles in TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

import attrs

from ffcluster.core.profile import AudioMode, Codec, Profile, SubtitleMode, VideoFilter
from ffcluster.encoders.containers import check_container, container_for
from ffcluster.encoders.ffmpeg_params import read_ffmpeg_params
from ffcluster.encoders.filters import filter_text, make_filter, parse_filters
from ffcluster.encoders.registry import Registry
from ffcluster.encoders.settings import Schemas, Settings, checked_profile, parse_bit_rate
from ffcluster.errors import InvalidOption

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SIZE = re.compile(r"(-?\d{1,5})[x:](-?\d{1,5})")
_HEIGHT = re.compile(r"(\d{2,5})p")
_CROP = re.compile(r"(\d{1,5})[x:](\d{1,5})(?:[+:](\d{1,5})[+:](\d{1,5}))?")


@attrs.frozen(kw_only=True)
class ProfileOptions:
    """Settings as a user gives them, by option or in TOML; None where nothing was given.

    Attributes:
        codec: `h264`, `hevc`, `av1`, `vp9` or `ffv1`.
        encoder: Encoder to pin.
        quality: Constant quality on the encoder's own scale.
        bitrate: Mean bits per second, such as `5M`.
        maxrate: Peak bits per second.
        bufsize: Rate-control buffer in bits.
        lossless: Mathematically lossless.
        preset: The encoder's own preset.
        tune: The encoder's own tune.
        codec_profile: `high`, `main10` ...
        pix_fmt: Pixel format of the output.
        bit_depth: Bits per sample of the output.
        gop: Longest distance between keyframes, in frames.
        b_frames: Most consecutive B-frames.
        scale: `1280x720`, `1280x-2` or `720p`.
        crop: `WIDTHxHEIGHT` from the middle, or `WIDTHxHEIGHT+X+Y`.
        deinterlace: True, `bwdif` or `yadif`; False for not.
        audio: `copy`, `aac`, `opus` or `none`.
        audio_bitrate: Bits per second, such as `192k`.
        subtitles: `copy` or `none`.
        ffmpeg_params: ffmpeg output options; everything above goes over them.
    """

    codec: str | None = None
    encoder: str | None = None
    quality: float | None = None
    bitrate: str | None = None
    maxrate: str | None = None
    bufsize: str | None = None
    lossless: bool | None = None
    preset: str | None = None
    tune: str | None = None
    codec_profile: str | None = None
    pix_fmt: str | None = None
    bit_depth: int | None = None
    gop: int | None = None
    b_frames: int | None = None
    scale: str | None = None
    crop: str | None = None
    deinterlace: bool | str | None = None
    audio: str | None = None
    audio_bitrate: str | None = None
    subtitles: str | None = None
    ffmpeg_params: str | None = None

    def settings(self, schemas: Schemas) -> Settings:
        """Read every value.

        Raises:
            InvalidOption: A value cannot be used.
            UnsupportedOption: `ffmpeg_params` holds what is not understood.
        """
        given = Settings(
            codec=_member(Codec, "codec", self.codec),
            encoder=self.encoder,
            quality=self.quality,
            target_bps=_bits("bitrate", self.bitrate),
            max_bps=_bits("maxrate", self.maxrate),
            buffer_bits=_bits("bufsize", self.bufsize),
            lossless=self.lossless,
            preset=self.preset,
            tune=self.tune,
            codec_profile=self.codec_profile,
            pix_fmt=self.pix_fmt,
            bit_depth=self.bit_depth,
            gop_frames=self.gop,
            b_frames=self.b_frames,
            filters=self._filters(),
            audio=_member(AudioMode, "audio", self.audio),
            audio_bitrate_bps=_bits("audio_bitrate", self.audio_bitrate),
            subtitles=_member(SubtitleMode, "subtitles", self.subtitles),
        )
        if self.ffmpeg_params is None:
            return given
        return read_ffmpeg_params(self.ffmpeg_params, schemas).under(given)

    def _filters(self) -> tuple[VideoFilter, ...] | None:
        """Pictures are deinterlaced whole, then cropped, then scaled."""
        filters: list[VideoFilter] = []
        if self.deinterlace:
            filters.append(_deinterlacer(self.deinterlace))
        if self.crop is not None:
            filters.append(_crop(self.crop))
        if self.scale is not None:
            filters.append(_scale(self.scale))
        return tuple(filters) or None


# As options and TOML keys are written: with dashes.
OPTION_NAMES = tuple(f.name.replace("_", "-") for f in attrs.fields(ProfileOptions))


def build_profile(
    options: ProfileOptions,
    base: Profile | None = None,
    schemas: Schemas | None = None,
) -> Profile:
    """Make a profile from options laid over `base`; see `Settings.under` for what wins.

    Args:
        options: What was given here.
        base: A named profile to start from.
        schemas: The encoders that are known; None: those of the installed plugins.

    Raises:
        InvalidOption: A value cannot be used, or values contradict each other.
        UnsupportedOption: Something is not understood or not possible.
    """
    known = _schemas(schemas)
    settings = options.settings(known)
    if base is not None:
        settings = Settings.of(base).under(settings)
    return settings.profile(known, base.name if base else "")


def parse_ffmpeg_params(text: str, schemas: Schemas | None = None) -> Profile:
    """Read a string of ffmpeg output options into a profile.

    Raises:
        UnsupportedOption: Something is not understood; `detail["refused"]` lists all of it.
        InvalidOption: A value cannot be used, or values contradict each other.
    """
    return build_profile(ProfileOptions(ffmpeg_params=text), schemas=schemas)


def parse_profiles(
    table: Mapping[str, Any], where: str, schemas: Schemas | None = None
) -> dict[str, Profile]:
    """Read profiles from a table of tables, as TOML gives it: {NAME: {option: value}}.

    Args:
        table: The tables.
        where: What to call it in errors (`profiles.toml: $.profile`).
        schemas: The encoders that are known; None: those of the installed plugins.

    Raises:
        InvalidOption: A key is unknown or a value cannot be used; the message has its path.
        UnsupportedOption: Something is not understood or not possible.
    """
    known = _schemas(schemas)
    profiles = {}
    for name, values in table.items():
        path = f"{where}.{name}"
        if not _NAME.fullmatch(name):
            raise InvalidOption(
                message=f"{path}: a profile's name has letters, digits, dots and dashes only",
                option=name,
            )
        try:
            options = options_from(values, path)
            profiles[name] = options.settings(known).profile(known, name)
        except InvalidOption as error:
            if error.message.startswith(path):
                raise
            raise attrs.evolve(error, message=f"{path}: {error.message}") from None
    return profiles


def read_profiles(text: str, where: str, schemas: Schemas | None = None) -> dict[str, Profile]:
    """Read a `profiles.toml`: one `[profile.NAME]` table per profile.

    Raises:
        InvalidOption: It is no TOML, or as for `parse_profiles`.
        UnsupportedOption: Something is not understood or not possible.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidOption(message=f"{where}: {error}", option="profile") from None
    unknown = sorted(set(document) - {"profile"})
    tables = document.get("profile", {})
    if unknown or not isinstance(tables, dict):
        raise InvalidOption(
            message=f"{where}: $.{unknown[0] if unknown else 'profile'} has no meaning here",
            option="profile",
            advice="write every profile as a [profile.NAME] table",
        )
    return parse_profiles(tables, f"{where}: $.profile", schemas)


def _schemas(schemas: Schemas | None) -> Schemas:
    return Registry.load().schemas if schemas is None else schemas


def options_from(values: Any, path: str) -> ProfileOptions:
    """Read options from a table, as TOML gives it: {option: value}.

    Args:
        values: The table.
        path: What to call it in errors (`profiles.toml: $.profile.archive`).

    Raises:
        InvalidOption: It is no table, a key is unknown or a value has the wrong type.
    """
    if not isinstance(values, Mapping):
        raise InvalidOption(message=f"{path}: a table of options is needed", option="profile")
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key not in OPTION_NAMES:
            raise InvalidOption(
                message=f"{path}.{key}: there is no such option",
                option=key,
                advice="known are: " + ", ".join(OPTION_NAMES),
            )
        given[key.replace("-", "_")] = _value(key, value, f"{path}.{key}")
    return ProfileOptions(**given)


_WHOLE = frozenset({"bit-depth", "gop", "b-frames"})
_BITS = frozenset({"bitrate", "maxrate", "bufsize", "audio-bitrate"})


def _value(key: str, value: Any, path: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if key == "quality" and is_number:
        return float(value)
    if key in _WHOLE and isinstance(value, int) and is_number:
        return value
    if key == "lossless" and isinstance(value, bool):
        return value
    if key == "deinterlace" and isinstance(value, bool | str):
        return value
    if key in _BITS and isinstance(value, int) and is_number:
        return str(value)
    if isinstance(value, str) and key not in _WHOLE | {"quality", "lossless"}:
        return value
    kind = "a number" if key in _WHOLE | {"quality"} else "true or false"
    if key not in _WHOLE | {"quality", "lossless"}:
        kind = "text"
    raise InvalidOption(message=f"{path}: {kind} is needed, not {value!r}", option=key)


def _member(kind: type[Any], option: str, value: str | None) -> Any:
    if value is None:
        return None
    try:
        return kind(value.lower())
    except ValueError:
        raise InvalidOption(
            message=f"{option} cannot be {value!r}",
            option=option,
            advice="possible are " + ", ".join(member.value for member in kind),
        ) from None


def _bits(option: str, value: str | None) -> int | None:
    return None if value is None else parse_bit_rate(value, option)


def _deinterlacer(value: bool | str) -> VideoFilter:
    name = "bwdif" if value is True else str(value)
    if name not in ("bwdif", "yadif"):
        raise InvalidOption(
            message=f"deinterlace cannot be {value!r}",
            option="deinterlace",
            advice="possible are bwdif and yadif",
        )
    return make_filter(name, (("mode", "send_frame"), ("parity", "auto"), ("deint", "all")))


def _scale(text: str) -> VideoFilter:
    if found := _HEIGHT.fullmatch(text):
        return make_filter("scale", (("w", "-2"), ("h", found[1])))
    found = _SIZE.fullmatch(text)
    if found is None or "0" in found.groups() or all(n.startswith("-") for n in found.groups()):
        raise InvalidOption(
            message=f"scale cannot be {text!r}",
            option="scale",
            advice="give WIDTHxHEIGHT, one of which may be -2 (as the other asks, even), or 720p",
        )
    return make_filter("scale", (("w", found[1]), ("h", found[2])))


def _crop(text: str) -> VideoFilter:
    found = _CROP.fullmatch(text)
    if found is None or "0" in found.groups()[:2]:
        raise InvalidOption(
            message=f"crop cannot be {text!r}",
            option="crop",
            advice="give WIDTHxHEIGHT for the middle, or WIDTHxHEIGHT+X+Y",
        )
    names = ("w", "h", "x", "y")
    options = [(n, v) for n, v in zip(names, found.groups(), strict=True) if v is not None]
    return make_filter("crop", options)


__all__ = [
    "OPTION_NAMES",
    "ProfileOptions",
    "build_profile",
    "check_container",
    "checked_profile",
    "container_for",
    "filter_text",
    "options_from",
    "parse_bit_rate",
    "parse_ffmpeg_params",
    "parse_filters",
    "parse_profiles",
    "read_profiles",
]
