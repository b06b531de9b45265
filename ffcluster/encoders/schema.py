"""What an encoder understands, as data: checked when a job is submitted, before any ffmpeg runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import attrs

from ffcluster.core.profile import Codec, Profile, RateControl, RateMode
from ffcluster.encoders.rules import Rule
from ffcluster.errors import InvalidOption, UnsupportedOption

NO_PEAK: frozenset[RateMode] = frozenset()


@attrs.frozen(kw_only=True)
class EncoderSchema:
    """Settings of one encoder.

    Attributes:
        encoder: ffmpeg's name.
        codec: The codec it writes.
        quality: (lowest, highest) constant quality on its own scale, or None when it has none.
        default_quality: What is used when a profile asks for quality without a value.
        whole_quality: Whether quality must be a whole number.
        reference_quality: (quality on the scale of the codec's reference encoder, quality on its
            own) at two or more points, ascending on the reference's side and strictly rising or
            falling on its own; straight lines between them. () when both scales are the same.
            See `neutral`.
        quality_options: ffmpeg options that mean constant quality (`crf`).
        rate_modes: Rate modes it can do.
        peak: Rate modes in which it obeys a peak bit rate.
        presets: Preset names, fastest first.
        preset_option: ffmpeg option that sets the preset.
        tunes: Tune names.
        profiles: Names for `-profile:v`.
        max_b_frames: Most consecutive B-frames; 0 when it has no such setting.
        options: Further options of the encoder by name, each with its rule.
        params_option: The option through which `options` are passed (`x264-params`), or "" when
            they are options of ffmpeg itself.
        refused: Names among its options that are known and refused, with the reason.
        lossless_advice: What to do instead when it cannot be lossless.
    """

    encoder: str
    codec: Codec
    quality: tuple[float, float] | None = None
    default_quality: float | None = None
    whole_quality: bool = False
    reference_quality: tuple[tuple[float, float], ...] = attrs.field(default=())
    quality_options: tuple[str, ...] = ("crf",)
    rate_modes: tuple[RateMode, ...] = (RateMode.QUALITY, RateMode.BITRATE)
    peak: frozenset[RateMode] = NO_PEAK
    presets: tuple[str, ...] = ()
    preset_option: str = "preset"
    tunes: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    max_b_frames: int = 0
    options: Mapping[str, Rule] = attrs.field(factory=dict)
    params_option: str = ""
    refused: Mapping[str, str] = attrs.field(factory=dict)
    lossless_advice: str = "use libx264, libx265, libvpx-vp9 or ffv1 for a lossless result"

    @reference_quality.validator
    def _monotonic(self, _: Any, points: tuple[tuple[float, float], ...]) -> None:
        steps = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(points)]
        rising = all(x > 0 and y > 0 for x, y in steps)
        falling = all(x > 0 and y < 0 for x, y in steps)
        if points and (len(points) < 2 or not (rising or falling)):
            raise ValueError(
                f"{self.encoder}: reference_quality needs two or more points, ascending, with "
                "qualities of its own that all rise or all fall"
            )

    def check(self, profile: Profile) -> None:
        """Check every setting of `profile` that does not depend on the source or the ffmpeg.

        Raises:
            InvalidOption: A value is out of range.
            UnsupportedOption: This encoder has no such setting.
        """
        if profile.codec is not self.codec:
            raise InvalidOption(
                message=f"{self.encoder} writes {self.codec}, not {profile.codec}",
                option="encoder",
                advice="leave out --codec or --encoder",
            )
        self._check_rate(profile.rate)
        self.check_scales(profile)
        self._check_name("codec_profile", profile.codec_profile, self.profiles)
        self._check_counts(profile)
        for name, value in profile.encoder_options:
            self.check_option(name, value)

    def check_scales(self, profile: Profile) -> None:
        """Check the settings of `profile` that are on an encoder's own scales.

        Raises:
            InvalidOption: The quality, the preset or the tune is not on this encoder's.
            UnsupportedOption: It has no such setting.
        """
        self._check_quality(profile.rate)
        self._check_name("preset", profile.preset, self.presets)
        self._check_name("tune", profile.tune, self.tunes)

    def check_option(self, name: str, value: str) -> str:
        """Check one of the encoder's own options and give back the value to pass on."""
        if name in self.refused:
            raise UnsupportedOption(
                message=f"{self.encoder}'s {name} is refused: {self.refused[name]}", option=name
            )
        rule = self.options.get(name)
        if rule is None:
            raise UnsupportedOption(
                message=f"{name!r} is not an option of {self.encoder} that ffcluster knows",
                option=name,
                advice="known are: " + (", ".join(sorted(self.options)) or "none"),
            )
        try:
            return rule.check(value)
        except ValueError as allowed:
            raise InvalidOption(
                message=f"{self.encoder}'s {name} cannot be {value!r}",
                option=name,
                advice=f"allowed: {allowed}",
            ) from None

    def _check_rate(self, rate: RateControl) -> None:
        if rate.mode not in self.rate_modes:
            raise UnsupportedOption(
                message=f"{self.encoder} cannot do {rate.mode}",
                option=_RATE_OPTIONS[rate.mode],
                advice=self.lossless_advice if rate.mode is RateMode.LOSSLESS else "",
            )
        if rate.mode is RateMode.BITRATE and not rate.target_bps:
            raise InvalidOption(message="a bit rate is needed", option="bitrate")
        for option, value in (("maxrate", rate.max_bps), ("bufsize", rate.buffer_bits)):
            if value is not None and rate.mode not in self.peak:
                raise UnsupportedOption(
                    message=f"{self.encoder} does not obey {option} with {rate.mode}",
                    option=option,
                )
        for option, value in (
            ("bitrate", rate.target_bps),
            ("maxrate", rate.max_bps),
            ("bufsize", rate.buffer_bits),
        ):
            if value is not None and not 1_000 <= value <= 2_000_000_000:
                raise InvalidOption(
                    message=f"{option} of {value} bits is out of range",
                    option=option,
                    advice="give bits per second from 1k to 2000M, for example 5M",
                )
        if rate.max_bps and rate.target_bps and rate.max_bps < rate.target_bps:
            raise InvalidOption(message="maxrate is below the bit rate", option="maxrate")

    def _check_quality(self, rate: RateControl) -> None:
        if rate.quality is None or rate.mode is not RateMode.QUALITY:
            return
        if self.quality is None:
            raise UnsupportedOption(
                message=f"{self.encoder} has no constant quality", option="quality"
            )
        low, high = self.quality
        whole = float(rate.quality).is_integer()
        if not low <= rate.quality <= high or (self.whole_quality and not whole):
            kind = "a whole number" if self.whole_quality else "a number"
            raise InvalidOption(
                message=f"quality {rate.quality:g} is out of range for {self.encoder}",
                option="quality",
                advice=f"give {kind} from {low:g} to {high:g}",
            )

    def _check_name(self, option: str, value: str | None, allowed: tuple[str, ...]) -> None:
        if value is None or value in allowed:
            return
        if not allowed:
            raise UnsupportedOption(
                message=f"{self.encoder} has no {option.replace('_', ' ')}", option=option
            )
        raise InvalidOption(
            message=f"{self.encoder} has no {option.replace('_', ' ')} {value!r}",
            option=option,
            advice="it has: " + ", ".join(allowed),
        )

    def _check_counts(self, profile: Profile) -> None:
        if profile.gop_frames is not None and not 1 <= profile.gop_frames <= 10_000:
            raise InvalidOption(
                message=f"a GOP of {profile.gop_frames} frames is out of range",
                option="gop",
                advice="give 1 to 10000 frames",
            )
        if profile.b_frames is None:
            return
        if not self.max_b_frames and profile.b_frames:
            raise UnsupportedOption(
                message=f"{self.encoder} has no setting for B-frames", option="b_frames"
            )
        if not 0 <= profile.b_frames <= self.max_b_frames:
            raise InvalidOption(
                message=f"{profile.b_frames} B-frames are out of range for {self.encoder}",
                option="b_frames",
                advice=f"give 0 to {self.max_b_frames}",
            )


_RATE_OPTIONS = {
    RateMode.QUALITY: "quality",
    RateMode.BITRATE: "bitrate",
    RateMode.LOSSLESS: "lossless",
}
