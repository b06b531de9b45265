"""The vaapi plugin: it loads, claims nothing, and builds options that ffmpeg's parser accepts."""

from __future__ import annotations

import itertools

import attrs
import pytest

import ffcluster_vaapi
from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability
from ffcluster.core.profile import Profile, RateControl, RateMode
from ffcluster.core.timeline import TimeBase
from ffcluster.encoders.backend import Diagnosis, EncoderSchema, Machine
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.errors import UnsupportedOption
from tests.encoders.builds import build_id, builds, run

(BACKEND,) = ffcluster_vaapi.ffcluster_backends()
NAMES = frozenset(schema.encoder for schema in BACKEND.schemas)
VIDEO = VideoFormat("h264", 640, 480, "yuv420p", TimeBase(1, 1000))
# What ffmpeg says of options that it does not know, and of values that it does not take.
COMPLAINTS = (
    "has not been used for any stream",
    "Unrecognized option",
    "Option not found",
    "Unable to parse",
    "Undefined constant",
    "Error setting option",
    "out of range",
)
every_build = pytest.mark.parametrize("build", builds(), ids=build_id)
every_schema = pytest.mark.parametrize("schema", BACKEND.schemas, ids=lambda s: s.encoder)


def rates(schema: EncoderSchema) -> list[RateControl]:
    found = [
        RateControl(),
        RateControl(quality=30),
        RateControl(RateMode.BITRATE, target_bps=5_000_000),
    ]
    if RateMode.BITRATE in schema.peak:
        peak = {"max_bps": 8_000_000, "buffer_bits": 10_000_000}
        found.append(RateControl(RateMode.BITRATE, target_bps=5_000_000, **peak))
    if RateMode.LOSSLESS in schema.rate_modes:
        found.append(RateControl(RateMode.LOSSLESS))
    return found


def capability(schema: EncoderSchema, depth: int) -> Capability:
    pix_fmt = "nv12" if depth == 8 else "p010le"
    return Capability(schema.encoder, schema.codec, BACKEND.name, pix_fmts=(pix_fmt,))


def test_plugin_is_found_by_its_entry_point() -> None:
    registry = Registry.load(allow={"vaapi"})
    (found,) = [p for p in registry.plugins if p.name == "vaapi"]
    assert found.distribution == "ffcluster-plugin-vaapi"
    assert found.backends == ("vaapi",)
    assert set(registry.schemas) >= NAMES


def test_nothing_is_claimed_because_an_encoder_is_compiled_in() -> None:
    build = FfmpegBuild("ffmpeg", "9.0", 9, 0, NAMES)
    (found,) = BACKEND.detect(build, Machine(4, "linux", ("/dev/dri/renderD128",)))
    assert isinstance(found, Diagnosis)
    assert found.cause.startswith("not probed: ")
    assert found.hint


def test_ffmpeg_without_the_family_is_diagnosed_and_other_platforms_stay_silent() -> None:
    bare = FfmpegBuild("ffmpeg", "9.0", 9, 0, frozenset({"libx264"}))
    (found,) = BACKEND.detect(bare, Machine(4, "linux"))
    assert isinstance(found, Diagnosis)
    assert BACKEND.detect(bare, Machine(4, "plan9")) == []


@every_schema
def test_lossless_is_refused_where_the_family_has_none(schema: EncoderSchema) -> None:
    lossless = Profile(codec=schema.codec, rate=RateControl(RateMode.LOSSLESS))
    if RateMode.LOSSLESS in schema.rate_modes:
        schema.check(lossless)
    else:
        with pytest.raises(UnsupportedOption):
            schema.check(lossless)


@every_build
@every_schema
def test_every_argv_is_accepted_by_the_option_parser(
    schema: EncoderSchema, build: FfmpegBuild
) -> None:
    if schema.encoder not in build.encoders:
        return
    presets = itertools.cycle((None, *schema.presets))
    for rate, depth in itertools.product(rates(schema), (8, 10)):
        preset = next(presets)
        profile = Profile(codec=schema.codec, rate=rate, preset=preset, gop_frames=48)
        source = VIDEO if depth == 8 else attrs.evolve(VIDEO, pix_fmt="yuv420p10le")
        made = BACKEND.arguments(build, capability(schema, depth), profile, source, threads=0)
        # Without the device the encoder cannot open, but its options are parsed before that.
        filters = [text for text in made.filters if text != "hwupload"]
        done = run(
            build.path, "-hide_banner", "-nostdin", "-f", "lavfi",
            "-i", "testsrc2=s=640x480:r=25:d=0.04", "-vf", ",".join(filters),
            *made.output_args, "-f", "null", "-",
        )  # fmt: skip
        for complaint in COMPLAINTS:
            assert complaint not in done.stderr, (made.output_args, done.stderr[-1500:])


def test_picture_is_uploaded_after_the_format_and_the_tags() -> None:
    schema = BACKEND.schemas[0]
    offered = Capability(
        schema.encoder, schema.codec, "vaapi", "/dev/dri/renderD129", ("nv12",), without=("ICQ",)
    )
    made = BACKEND.arguments(builds()[0], offered, Profile(), VIDEO, threads=0)
    assert made.filters == ("format=nv12", "hwupload")
    assert made.global_args[:2] == ("-init_hw_device", "vaapi=va:/dev/dri/renderD129")
    assert made.output_args[2:6] == ("-rc_mode", "CQP", "-qp", "24")
