"""Settings from several places laid over each other, and the checked profile that they make."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from ffcluster.core.profile import (
    AudioMode,
    Codec,
    Profile,
    RateControl,
    RateMode,
    SubtitleMode,
    VideoFilter,
)
from ffcluster.encoders.filters import checked_filter
from ffcluster.encoders.neutral import fit, reference_schema
from ffcluster.encoders.pixfmt import describe
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.errors import InvalidOption, UnsupportedOption

Schemas = Mapping[str, EncoderSchema]

_ENCODER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{1,40}")
_CODEC_PREFIXES = {"h264_": Codec.H264, "hevc_": Codec.HEVC, "av1_": Codec.AV1, "vp9_": Codec.VP9}
_BIT_RATE = re.compile(r"(\d{1,10}(?:\.\d{1,6})?)([kKMG]?)(?:bps|bit/s)?")
_FACTORS = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}


@attrs.frozen
class Settings:
    """What one place (a named profile, ffmpeg's options, the command line) says; None: nothing."""

    codec: Codec | None = None
    encoder: str | None = None
    quality: float | None = None
    target_bps: int | None = None
    max_bps: int | None = None
    buffer_bits: int | None = None
    lossless: bool | None = None
    preset: str | None = None
    tune: str | None = None
    codec_profile: str | None = None
    pix_fmt: str | None = None
    bit_depth: int | None = None
    gop_frames: int | None = None
    b_frames: int | None = None
    encoder_options: tuple[tuple[str, str], ...] | None = None
    filters: tuple[VideoFilter, ...] | None = None
    audio: AudioMode | None = None
    audio_bitrate_bps: int | None = None
    subtitles: SubtitleMode | None = None

    @classmethod
    def of(cls, profile: Profile) -> Settings:
        """The settings that make `profile`."""
        rate = profile.rate
        return cls(
            codec=profile.codec,
            encoder=profile.encoder,
            quality=rate.quality,
            target_bps=rate.target_bps,
            max_bps=rate.max_bps,
            buffer_bits=rate.buffer_bits,
            lossless=True if rate.mode is RateMode.LOSSLESS else None,
            preset=profile.preset,
            tune=profile.tune,
            codec_profile=profile.codec_profile,
            pix_fmt=profile.pix_fmt,
            bit_depth=profile.bit_depth,
            gop_frames=profile.gop_frames,
            b_frames=profile.b_frames,
            encoder_options=profile.encoder_options or None,
            filters=profile.filters or None,
            audio=profile.audio,
            audio_bitrate_bps=profile.audio_bitrate_bps,
            subtitles=profile.subtitles,
        )

    def under(self, upper: Settings) -> Settings:
        """These settings with `upper` laid over them.

        Naming another codec or encoder drops what belonged to the former one: encoder, preset,
        tune, profile, quality and its own options. A rate mode replaces the former rate mode.
        """
        lower = self
        if upper.codec not in (None, self.codec) or upper.encoder not in (None, self.encoder):
            kept = None if upper.encoder else self.codec
            lower = attrs.evolve(
                lower,
                codec=kept,
                encoder=None,
                preset=None,
                tune=None,
                codec_profile=None,
                quality=None,
                encoder_options=None,
            )
        if upper.quality is not None or upper.target_bps is not None or upper.lossless is not None:
            lower = attrs.evolve(lower, quality=None, target_bps=None, lossless=None)
        if upper.lossless:
            lower = attrs.evolve(lower, max_bps=None, buffer_bits=None)
        if upper.pix_fmt is not None or upper.bit_depth is not None:
            lower = attrs.evolve(lower, bit_depth=None, pix_fmt=None)
        if upper.audio is not None:
            lower = attrs.evolve(lower, audio_bitrate_bps=None)
        said = attrs.asdict(upper, recurse=False, filter=lambda _, value: value is not None)
        return attrs.evolve(lower, **said)

    def profile(self, schemas: Schemas, name: str = "") -> Profile:
        """Make the profile, everything that can be checked without the source being checked.

        Raises:
            InvalidOption: Settings contradict each other, or a value is out of range.
            UnsupportedOption: The encoder has no such setting.
        """
        codec = self._codec(schemas)
        profile = Profile(
            name=name,
            codec=codec,
            encoder=self.encoder,
            rate=self._rate(codec),
            preset=self.preset,
            pix_fmt=self.pix_fmt,
            bit_depth=self.bit_depth,
            gop_frames=self.gop_frames,
            b_frames=self.b_frames,
            codec_profile=self.codec_profile,
            tune=self.tune,
            encoder_options=self.encoder_options or (),
            filters=self.filters or (),
            audio=self.audio or AudioMode.COPY,
            audio_bitrate_bps=self.audio_bitrate_bps,
            subtitles=self.subtitles or SubtitleMode.COPY,
        )
        return checked_profile(profile, schemas)

    def _codec(self, schemas: Schemas) -> Codec:
        if self.encoder is None:
            return self.codec or Codec.H264
        if not _ENCODER_NAME.fullmatch(self.encoder):
            raise InvalidOption(
                message=f"{self.encoder!r} is not an encoder's name", option="encoder"
            )
        schema = schemas.get(self.encoder)
        codec = schema.codec if schema else _codec_by_name(self.encoder) or self.codec
        if codec is None:
            raise InvalidOption(
                message=f"the encoder {self.encoder!r} is not known here",
                option="encoder",
                advice="known are: " + ", ".join(sorted(schemas)) + "; for one of a worker's "
                "own plugins give --codec as well",
            )
        if self.codec not in (None, codec):
            raise InvalidOption(
                message=f"--codec {self.codec} contradicts --encoder {self.encoder}, "
                f"which writes {codec}",
                option="encoder",
                advice="leave out one of them",
            )
        return codec

    def _rate(self, codec: Codec) -> RateControl:
        given = {
            "quality": self.quality is not None,
            "bitrate": self.target_bps is not None,
            "lossless": bool(self.lossless),
        }
        names = [name for name, is_given in given.items() if is_given]
        if len(names) > 1:
            raise InvalidOption(
                message=f"{' and '.join(names)} contradict each other",
                option=names[-1],
                advice="give one of quality, bitrate and lossless",
            )
        mode = RateMode.QUALITY
        if self.lossless or (codec is Codec.FFV1 and not names):
            mode = RateMode.LOSSLESS
        elif self.target_bps is not None:
            mode = RateMode.BITRATE
        return RateControl(mode, self.quality, self.target_bps, self.max_bps, self.buffer_bits)


def checked_profile(profile: Profile, schemas: Schemas) -> Profile:
    """`profile` with all that can be found out about its filters found out anew, and checked.

    For profiles that came from a peer: what it claims of its filters is not believed. Quality,
    preset and tune of a profile that pins no encoder must be on the reference encoder's scales.

    Raises:
        InvalidOption: A value is out of range.
        UnsupportedOption: No encoder that could be meant has such a setting.
    """
    filters = tuple(checked_filter(f) for f in profile.filters[:33])
    if len(filters) > 32:
        raise InvalidOption(message="there are too many filters", option="filters")
    _check_format(profile)
    _check_audio(profile)
    _check_encoder(profile, schemas)
    return attrs.evolve(profile, filters=filters)


def parse_bit_rate(text: str, option: str) -> int:
    """Read `5M`, `800k`, `1.5M` or plain bits per second.

    Raises:
        InvalidOption: It is none of these.
    """
    found = _BIT_RATE.fullmatch(text.strip())
    if found is None:
        raise InvalidOption(
            message=f"{option} cannot be {text!r}",
            option=option,
            advice="give bits, not bytes, per second: 800k is 800,000 and 5M is 5,000,000",
        )
    return round(float(found[1]) * _FACTORS[found[2]])


def _codec_by_name(encoder: str) -> Codec | None:
    return next((c for prefix, c in _CODEC_PREFIXES.items() if encoder.startswith(prefix)), None)


def _check_format(profile: Profile) -> None:
    if profile.pix_fmt is not None and describe(profile.pix_fmt) is None:
        raise InvalidOption(
            message=f"{profile.pix_fmt!r} is not a pixel format that ffcluster knows",
            option="pix_fmt",
            advice="for example yuv420p, yuv420p10le or yuv444p",
        )
    if profile.bit_depth is not None and profile.bit_depth not in (8, 10, 12):
        raise InvalidOption(
            message=f"{profile.bit_depth} bits per sample are not possible",
            option="bit_depth",
            advice="give 8, 10 or 12",
        )
    known = describe(profile.pix_fmt) if profile.pix_fmt else None
    if known and profile.bit_depth not in (None, known.depth):
        raise InvalidOption(
            message=f"{profile.pix_fmt} has {known.depth} bits, not {profile.bit_depth}",
            option="bit_depth",
            advice="give one of them",
        )


def _check_audio(profile: Profile) -> None:
    bits = profile.audio_bitrate_bps
    if bits is None:
        return
    if profile.audio not in (AudioMode.AAC, AudioMode.OPUS):
        raise InvalidOption(
            message=f"an audio bit rate makes no sense with --audio {profile.audio}",
            option="audio_bitrate",
            advice="give --audio aac or --audio opus as well",
        )
    if not 6_000 <= bits <= 2_000_000:
        raise InvalidOption(
            message=f"an audio bit rate of {bits} bits per second is out of range",
            option="audio_bitrate",
            advice="give 6k to 2M",
        )


def _check_encoder(profile: Profile, schemas: Schemas) -> None:
    if profile.encoder is not None and profile.encoder not in schemas:
        if not _ENCODER_NAME.fullmatch(profile.encoder):
            raise InvalidOption(
                message=f"{profile.encoder!r} is not an encoder's name", option="encoder"
            )
        if profile.encoder_options:
            name = profile.encoder_options[0][0]
            raise UnsupportedOption(
                message=f"{name!r} cannot be checked: {profile.encoder} is not known here",
                option=name,
                advice="install the plugin that brings this encoder",
            )
        return
    if profile.encoder is not None:
        schemas[profile.encoder].check(profile)
        return
    reference_schema(profile.codec).check_scales(profile)
    refusals: list[InvalidOption] = []
    for schema in schemas.values():
        if schema.codec is not profile.codec:
            continue
        try:
            schema.check(fit(profile, schema, None))
        except InvalidOption as refusal:
            refusals.append(refusal)
        else:
            return
    if refusals:
        raise refusals[0]
