"""One profile on every encoder's scales: what carries over, what is dropped, what is refused."""

from __future__ import annotations

import itertools
from importlib.metadata import entry_points

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.core.profile import Codec, Profile, RateControl, RateMode
from ffcluster.encoders.neutral import (
    REFERENCE_ENCODERS,
    dropped,
    fit,
    from_reference,
    reference_schema,
    to_reference,
)
from ffcluster.encoders.params import ProfileOptions, build_profile
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.encoders.software_schemas import SCHEMAS as SOFTWARE
from ffcluster.errors import InvalidOption, UnsupportedOption


def known_schemas() -> list[EncoderSchema]:
    """Those of the core and of every first-party plugin."""
    names = {"nvenc", "qsv", "amf", "videotoolbox", "vaapi"}
    points = sorted(entry_points(group="ffcluster"), key=lambda p: p.name)
    modules = [point.load() for point in points if point.name in names]
    backends = [backend for module in modules for backend in module.ffcluster_backends()]
    return [*SOFTWARE, *(schema for backend in backends for schema in backend.schemas)]


SCHEMAS = known_schemas()
BY_NAME = {schema.encoder: schema for schema in SCHEMAS}
WITH_QUALITY = [schema for schema in SCHEMAS if schema.quality is not None]
PAIRS = [
    (one, other)
    for one, other in itertools.permutations(SCHEMAS, 2)
    if one.codec is other.codec and one.codec is not Codec.FFV1
]
encoders = pytest.mark.parametrize("schema", WITH_QUALITY, ids=lambda s: s.encoder)
pairs = pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda s: s.encoder)


def steps(schema: EncoderSchema) -> list[float]:
    """Every quality between a schema's limits that makes a difference to people."""
    assert schema.quality is not None
    low, high = schema.quality
    count = round(high - low) * (1 if schema.whole_quality else 2)
    return [low + n * (high - low) / count for n in range(count + 1)]


@encoders
def test_qualities_on_the_reference_scale_never_change_places(schema: EncoderSchema) -> None:
    reference = reference_schema(schema.codec)
    own = [from_reference(schema, quality) for quality in steps(reference)]
    assert own == sorted(own) or own == sorted(own, reverse=True)
    assert len(set(own)) > len(own) / 3, "nearly everything comes out the same"


@encoders
def test_own_quality_survives_the_way_to_the_reference_scale_and_back(
    schema: EncoderSchema,
) -> None:
    ends = [own for _, own in schema.reference_quality] or list(schema.quality or ())
    for quality in steps(schema):
        if min(ends) <= quality <= max(ends):
            back = from_reference(schema, to_reference(schema, quality))
            assert back == pytest.approx(quality, abs=0.01)


@encoders
@given(quality=st.floats(-1000, 1000))
def test_every_quality_comes_out_as_one_that_the_encoder_takes(
    schema: EncoderSchema, quality: float
) -> None:
    found = from_reference(schema, quality)
    schema.check_scales(Profile(codec=schema.codec, rate=RateControl(quality=found)))


@encoders
def test_default_quality_is_near_the_reference_encoders_default(schema: EncoderSchema) -> None:
    reference = reference_schema(schema.codec)
    assert schema.default_quality is not None
    assert reference.default_quality is not None
    found = to_reference(schema, schema.default_quality)
    assert found == pytest.approx(reference.default_quality, abs=6)


@pairs
def test_every_pinned_profile_fits_every_other_encoder_of_its_codec(
    one: EncoderSchema, other: EncoderSchema
) -> None:
    for preset in (None, *one.presets):
        rate = RateControl(quality=one.quality[1] if one.quality else None)
        profile = Profile(codec=one.codec, encoder=one.encoder, rate=rate, preset=preset)
        fitted = fit(profile, other, one)
        other.check(fitted)
        assert fitted.encoder == other.encoder
        assert fit(fitted, other, one) == fitted, "fitting twice changes nothing"


@pairs
def test_presets_keep_their_order(one: EncoderSchema, other: EncoderSchema) -> None:
    if not other.presets:
        return
    profile = Profile(codec=one.codec, encoder=one.encoder)
    fitted = [fit(attrs.evolve(profile, preset=p), other, one).preset for p in one.presets]
    places = [other.presets.index(preset or "") for preset in fitted]
    assert places == sorted(places)
    if len(one.presets) > 1:
        assert (places[0], places[-1]) == (0, len(other.presets) - 1)


@pytest.mark.parametrize("codec", list(REFERENCE_ENCODERS), ids=str)
def test_unpinned_profile_is_on_the_reference_encoders_scales(codec: Codec) -> None:
    reference = reference_schema(codec)
    assert reference.codec is codec
    profile = Profile(codec=codec, preset=(reference.presets or (None,))[0])
    assert fit(profile, reference, None) == attrs.evolve(profile, encoder=reference.encoder)


def test_preset_keeps_its_name_where_the_other_encoder_has_it_too() -> None:
    fitted = fit(Profile(preset="faster"), BY_NAME["h264_qsv"], None)
    assert fitted.preset == "faster"
    # A number's meaning is its encoder's own: 8 is libaom's fastest and SVT-AV1's middle.
    svt = Profile(codec=Codec.AV1, preset="8")
    assert fit(svt, BY_NAME["libaom-av1"], None).preset == "5"


def test_published_equivalences_are_what_is_computed() -> None:
    hevc = RateControl(quality=22)
    for encoder, own in (("hevc_qsv", 25), ("hevc_amf", 25), ("hevc_videotoolbox", 60)):
        fitted = fit(Profile(codec=Codec.HEVC, rate=hevc), BY_NAME[encoder], None)
        assert fitted.rate.quality == own
    for encoder, own in (("av1_qsv", 24), ("av1_amf", 120)):
        av1 = Profile(codec=Codec.AV1, rate=RateControl(quality=35))
        assert fit(av1, BY_NAME[encoder], None).rate.quality == own


def test_pinned_quality_goes_over_the_reference_scale_to_the_others() -> None:
    pinned = BY_NAME["hevc_videotoolbox"]
    profile = Profile(codec=Codec.HEVC, encoder="hevc_videotoolbox", rate=RateControl(quality=60))
    assert fit(profile, BY_NAME["libx265"], pinned).rate.quality == 22
    assert fit(profile, BY_NAME["hevc_qsv"], pinned).rate.quality == 25


def test_rate_that_is_no_quality_is_kept() -> None:
    rate = RateControl(RateMode.BITRATE, None, 5_000_000, 8_000_000)
    profile = Profile(encoder="libx264", rate=rate)
    assert fit(profile, BY_NAME["h264_qsv"], BY_NAME["libx264"]).rate == rate


def test_own_options_of_the_pinned_encoder_are_refused_elsewhere() -> None:
    profile = Profile(encoder="libx264", encoder_options=(("aq-mode", "2"),))
    assert fit(profile, BY_NAME["libx264"], BY_NAME["libx264"]) == profile
    with pytest.raises(UnsupportedOption, match="aq-mode") as caught:
        fit(profile, BY_NAME["h264_qsv"], BY_NAME["libx264"])
    assert caught.value.option == "aq-mode"


def test_tune_that_the_other_encoder_lacks_is_dropped_and_said() -> None:
    profile = Profile(tune="film", b_frames=8, preset="slow")
    fitted = fit(profile, BY_NAME["h264_amf"], None)
    assert (fitted.tune, fitted.b_frames) == (None, 3)
    notes = dropped(profile, fitted)
    assert len(notes) == 2
    assert "film" in notes[0]
    x265 = Profile(codec=Codec.HEVC, encoder="libx265", tune="psnr", codec_profile="main10")
    assert dropped(x265, fit(x265, BY_NAME["libx265"], BY_NAME["libx265"])) == ()


def test_codec_profile_is_mapped_only_to_the_same_one() -> None:
    amf = BY_NAME["h264_amf"]
    assert fit(Profile(codec_profile="high"), amf, None).codec_profile == "high"
    fitted = fit(Profile(codec_profile="baseline"), amf, None)
    assert fitted.codec_profile == "constrained_baseline"
    with pytest.raises(UnsupportedOption) as caught:
        fit(Profile(codec_profile="high422"), amf, None)
    assert caught.value.option == "codec_profile"


def test_scales_of_an_encoder_that_is_not_known_here_are_not_guessed() -> None:
    foreign = Profile(encoder="h264_rkmpp", rate=RateControl(quality=30))
    with pytest.raises(UnsupportedOption, match="own scale"):
        fit(foreign, BY_NAME["libx264"], None)
    neutral = Profile(encoder="h264_rkmpp")
    assert fit(neutral, BY_NAME["libx264"], None).encoder == "libx264"


@pytest.mark.parametrize(
    "points",
    [((10, 10),), ((10, 10), (5, 20)), ((1, 1), (20, 30), (51, 20)), ((1, 1), (20, 1))],
)
def test_table_that_is_not_strictly_monotonic_is_refused(
    points: tuple[tuple[float, float], ...],
) -> None:
    with pytest.raises(ValueError, match="reference_quality"):
        EncoderSchema(encoder="h264_x", codec=Codec.H264, reference_quality=points)


def test_settings_without_a_pinned_encoder_are_checked_against_the_reference_encoder() -> None:
    build_profile(ProfileOptions(codec="av1", quality=60, preset="13"), schemas=BY_NAME)
    for bad in (
        ProfileOptions(codec="av1", preset="p5"),
        ProfileOptions(codec="h264", quality=60),
        ProfileOptions(codec="h264", preset="p5"),
        ProfileOptions(codec="hevc", tune="uhq"),
    ):
        with pytest.raises(InvalidOption):
            build_profile(bad, schemas=BY_NAME)
    pinned = ProfileOptions(encoder="hevc_videotoolbox", quality=80, preset="speed")
    assert build_profile(pinned, schemas=BY_NAME).rate.quality == 80
