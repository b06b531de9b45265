"""Tests that every hardware plugin shares: it claims nothing and builds good options."""

from __future__ import annotations

import itertools
from typing import ClassVar

import attrs
import pytest

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability
from ffcluster.core.profile import Profile, RateControl, RateMode
from ffcluster.core.timeline import TimeBase
from ffcluster.encoders.backend import Backend, Diagnosis, EncoderSchema, Machine
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.errors import UnsupportedOption
from tests.encoders.builds import build_id, builds, run

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


class HardwareBackendContract:
    """Tests to inherit; a plugin sets its backend and the platform that it lives on."""

    backend: ClassVar[Backend]
    platform: ClassVar[str] = "linux"

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        schemas = self.backend.schemas
        if "build" in metafunc.fixturenames:
            # A build without the encoder has no parser for its options.
            pairs = [(s, b) for b in builds() for s in schemas if s.encoder in b.encoders]
            names = [f"{s.encoder}-{build_id(b)}" for s, b in pairs]
            metafunc.parametrize(("schema", "build"), pairs, ids=names)
        elif "schema" in metafunc.fixturenames:
            metafunc.parametrize("schema", schemas, ids=lambda s: s.encoder)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(schema.encoder for schema in self.backend.schemas)

    def capability(self, schema: EncoderSchema, depth: int) -> Capability:
        pix_fmt = "nv12" if depth == 8 else "p010le"
        return Capability(schema.encoder, schema.codec, self.backend.name, pix_fmts=(pix_fmt,))

    def test_plugin_is_found_by_its_entry_point(self) -> None:
        name = self.backend.name
        registry = Registry.load(allow={name})
        (found,) = [p for p in registry.plugins if p.name == name]
        assert found.distribution == f"ffcluster-plugin-{name}"
        assert found.backends == (name,)
        assert set(registry.schemas) >= self.names

    def test_nothing_is_claimed_because_an_encoder_is_compiled_in(self) -> None:
        build = FfmpegBuild("ffmpeg", "9.0", 9, 0, self.names)
        machine = Machine(4, self.platform, ("/dev/dri/renderD128",))
        (found,) = self.backend.detect(build, machine)
        assert isinstance(found, Diagnosis)
        assert found.cause.startswith("not probed: ")
        assert found.hint

    def test_ffmpeg_without_the_family_is_diagnosed_and_other_platforms_stay_silent(self) -> None:
        bare = FfmpegBuild("ffmpeg", "9.0", 9, 0, frozenset({"libx264"}))
        (found,) = self.backend.detect(bare, Machine(4, self.platform))
        assert isinstance(found, Diagnosis)
        assert self.backend.detect(bare, Machine(4, "plan9")) == []

    def test_lossless_is_refused_where_the_family_has_none(self, schema: EncoderSchema) -> None:
        lossless = Profile(codec=schema.codec, rate=RateControl(RateMode.LOSSLESS))
        if RateMode.LOSSLESS in schema.rate_modes:
            schema.check(lossless)
        else:
            with pytest.raises(UnsupportedOption):
                schema.check(lossless)

    def test_every_argv_is_accepted_by_the_option_parser(
        self, schema: EncoderSchema, build: FfmpegBuild
    ) -> None:
        presets = itertools.cycle((None, *schema.presets))
        for rate, depth in itertools.product(rates(schema), (8, 10)):
            preset = next(presets)
            profile = Profile(codec=schema.codec, rate=rate, preset=preset, gop_frames=48)
            source = VIDEO if depth == 8 else attrs.evolve(VIDEO, pix_fmt="yuv420p10le")
            made = self.backend.arguments(
                build, self.capability(schema, depth), profile, source, threads=0
            )
            # Without the device the encoder cannot open, but its options are parsed before that.
            filters = [text for text in made.filters if text != "hwupload"]
            done = run(
                build.path, "-hide_banner", "-nostdin", "-f", "lavfi",
                "-i", "testsrc2=s=640x480:r=25:d=0.04", "-vf", ",".join(filters),
                *made.output_args, "-f", "null", "-",
            )  # fmt: skip
            for complaint in COMPLAINTS:
                assert complaint not in done.stderr, (made.output_args, done.stderr[-1500:])
