"""One profile on every encoder's own scales. Runs nothing and asks no encoder.

A profile that pins an encoder gives quality, preset and tune on that encoder's own scales. One
that pins none gives them on those of its codec's *reference encoder*: libx264, libx265, SVT-AV1,
libvpx-vp9. `fit` carries either over to any encoder of the same codec; what it gives pins that
encoder, so fitting twice changes nothing.

How qualities compare is in `EncoderSchema.reference_quality`: rough published equivalences, not
measured on hardware. They are where calibration starts; `ffcluster benchmark` gives the VMAF to
calibrate by.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import attrs

from ffcluster.core.profile import Codec, Profile
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.encoders.software_schemas import SCHEMAS
from ffcluster.errors import UnsupportedOption

REFERENCE_ENCODERS: Mapping[Codec, str] = {
    Codec.H264: "libx264",
    Codec.HEVC: "libx265",
    Codec.AV1: "libsvtav1",
    Codec.VP9: "libvpx-vp9",
    Codec.FFV1: "ffv1",
}
_BY_NAME = {schema.encoder: schema for schema in SCHEMAS}
# Names of the same codec profile; what is not here means the same only under the same name.
_SAME_PROFILES = (
    frozenset({"baseline", "constrained_baseline"}),
    frozenset({"high444", "high444p"}),
    frozenset({"0", "profile0"}),
    frozenset({"1", "profile1"}),
    frozenset({"2", "profile2"}),
    frozenset({"3", "profile3"}),
)


def reference_schema(codec: Codec) -> EncoderSchema:
    """Settings of the software encoder whose scales stand for every encoder of `codec`."""
    return _BY_NAME[REFERENCE_ENCODERS[codec]]


def fit(profile: Profile, schema: EncoderSchema, pinned: EncoderSchema | None) -> Profile:
    """`profile` on the own scales of `schema`'s encoder, pinned to it.

    Quality goes over piecewise linearly, presets by their place between fastest and slowest
    unless the target has that name too, B-frames up to what the target can. A tune that the
    target does not have is dropped, for it is a hint; `dropped` says so. A codec profile decides
    which decoders can read the result, so that is mapped only to the same one.

    Args:
        profile: What the user wants.
        schema: Settings of the encoder that shall do it.
        pinned: Settings of the encoder that the profile pins; None when it pins none, or when
            its settings are not known here.

    Raises:
        UnsupportedOption: The encoder's own options, a codec profile or the scales of an unknown
            encoder cannot be carried over; `option` names what.
    """
    if profile.encoder == schema.encoder:
        return profile
    if pinned is None and profile.encoder is not None:
        _require_no_own_scales(profile)
    elif pinned is None and schema.encoder == REFERENCE_ENCODERS[profile.codec]:
        return attrs.evolve(profile, encoder=schema.encoder)
    source = pinned or reference_schema(profile.codec)
    if profile.encoder_options:
        name = profile.encoder_options[0][0]
        raise UnsupportedOption(
            message=f"{name!r} is {source.encoder}'s own option and means nothing to "
            f"{schema.encoder}",
            option=name,
            advice=f"leave it out, or allow no encoder but {source.encoder}",
        )
    b_frames = profile.b_frames
    if b_frames is not None and schema.max_b_frames:
        b_frames = min(b_frames, schema.max_b_frames)
    return attrs.evolve(
        profile,
        encoder=schema.encoder,
        rate=attrs.evolve(profile.rate, quality=_quality(profile.rate.quality, source, schema)),
        preset=_preset(profile.preset, source, schema, by_name=pinned is None),
        tune=profile.tune if profile.tune in schema.tunes else None,
        codec_profile=_codec_profile(profile.codec_profile, schema),
        b_frames=b_frames,
    )


def dropped(profile: Profile, fitted: Profile) -> tuple[str, ...]:
    """What `fit` left out or lowered on the way from `profile` to `fitted`, in words."""
    notes = []
    if profile.tune is not None and fitted.tune is None:
        notes.append(f"{fitted.encoder} has no tune {profile.tune!r}: it is left out")
    if profile.preset is not None and fitted.preset is None:
        notes.append(f"{fitted.encoder} has no presets: {profile.preset!r} is left out")
    if profile.b_frames is not None and fitted.b_frames != profile.b_frames:
        notes.append(f"{fitted.encoder} uses at most {fitted.b_frames} B-frames in a row")
    return tuple(notes)


def to_reference(schema: EncoderSchema, quality: float) -> float:
    """A quality on the encoder's own scale, on that of its codec's reference encoder."""
    if not schema.reference_quality:
        return quality
    return _interpolate(sorted((own, ref) for ref, own in schema.reference_quality), quality)


def from_reference(schema: EncoderSchema, quality: float) -> float:
    """A quality on the scale of the codec's reference encoder, on the encoder's own.

    Never outside of what the encoder takes, and a whole number where it wants one.
    """
    if schema.reference_quality:
        quality = _interpolate(list(schema.reference_quality), quality)
    low, high = schema.quality or (quality, quality)
    quality = min(max(quality, low), high)
    # Interpolation leaves a tail of digits that would only make arguments hard to read.
    return float(math.floor(quality + 0.5)) if schema.whole_quality else round(quality, 2)


def _quality(quality: float | None, source: EncoderSchema, target: EncoderSchema) -> float | None:
    if quality is None or target.quality is None:
        return quality
    # What is only the best of another scale must not become 0, which for libx264 is lossless.
    reference = to_reference(source, quality)
    return from_reference(target, max(1.0, reference) if source.reference_quality else reference)


def _interpolate(points: list[tuple[float, float]], x: float) -> float:
    x = min(max(x, points[0][0]), points[-1][0])
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x <= x1:
            return y0 + (x - x0) * (y1 - y0) / (x1 - x0)
    return points[-1][1]


def _preset(
    preset: str | None, source: EncoderSchema, target: EncoderSchema, *, by_name: bool
) -> str | None:
    if preset is None or not target.presets:
        return None
    # A number says nothing by itself: 8 is SVT-AV1's middle and libaom's fastest.
    if by_name and preset in target.presets and not preset.lstrip("-").isdigit():
        return preset
    if preset not in source.presets:
        # Not on the ladder: the target's own check then refuses it by name.
        return preset
    last = max(1, len(source.presets) - 1)
    place = source.presets.index(preset) / last * (len(target.presets) - 1)
    return target.presets[math.floor(place + 0.5)]


def _codec_profile(name: str | None, target: EncoderSchema) -> str | None:
    if name is None or name in target.profiles:
        return name
    names = next((same for same in _SAME_PROFILES if name in same), frozenset[str]())
    for other in target.profiles:
        if other in names:
            return other
    raise UnsupportedOption(
        message=f"{target.encoder} has no codec profile {name!r}",
        option="codec_profile",
        advice="it has: " + (", ".join(target.profiles) or "none"),
    )


def _require_no_own_scales(profile: Profile) -> None:
    own = {"quality": profile.rate.quality, "preset": profile.preset}
    for option, value in own.items():
        if value is not None:
            raise UnsupportedOption(
                message=f"the {option} {value!r} is on {profile.encoder}'s own scale, which is "
                "not known here",
                option=option,
                advice="install the plugin that brings this encoder, or leave it out",
            )


__all__ = [
    "REFERENCE_ENCODERS",
    "dropped",
    "fit",
    "from_reference",
    "reference_schema",
    "to_reference",
]
