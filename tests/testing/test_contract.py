"""The contract suite finds what it is there to find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from ffcluster.core.model import Capability, Diagnosis
from ffcluster.core.profile import Codec, Profile, RateControl, RateMode
from ffcluster.encoders.backend import EncodeArguments, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.encoders.software import SoftwareBackend
from ffcluster.testing import (
    BackendContract,
    FakeBackend,
    builds,
    complaints,
    detect_here,
    sampled_profiles,
)
from ffcluster.testing.joining import join_problem

SCHEMA = EncoderSchema(
    encoder="h264_fake",
    codec=Codec.H264,
    quality=(1, 51),
    default_quality=20,
    rate_modes=(RateMode.QUALITY, RateMode.BITRATE, RateMode.LOSSLESS),
    peak=frozenset({RateMode.BITRATE}),
    presets=("fast", "slow"),
    tunes=("hq",),
    max_b_frames=4,
)
DEVICE = Capability("h264_fake", Codec.H264, "fake", "fake:0", pix_fmts=("nv12",), ffmpeg="9.0.2")


def contract(backend: object) -> BackendContract:
    return type("Contract", (BackendContract,), {"backend": backend})()


def test_device_that_was_not_tried_is_found_out() -> None:
    with pytest.raises(AssertionError):
        contract(FakeBackend(found=(DEVICE,))).test_detect_is_pure_and_claims_no_device_untried(
            "linux"
        )


def test_claim_after_a_failed_trial_is_found_out() -> None:
    probe = Probe("fake", ("-c:v", "h264_fake"))
    trusting = FakeBackend(found=(probe,), answer=lambda _probe, _outcome: [DEVICE])
    with pytest.raises(AssertionError):
        contract(trusting).test_detection_ends_however_its_commands_end("linux", "crashes")


def test_detection_without_an_end_is_found_out() -> None:
    probe = Probe("fake", ("-c:v", "h264_fake"))
    stubborn = FakeBackend(found=(probe,), answer=lambda again, _outcome: [again])
    with pytest.raises(AssertionError):
        contract(stubborn).test_detection_ends_however_its_commands_end("linux", "hangs")


def test_diagnosis_without_a_hint_is_found_out() -> None:
    silent = FakeBackend(found=(Diagnosis("fake", "", "it does not work"),))
    with pytest.raises(AssertionError):
        contract(silent).test_ffmpeg_without_the_encoders_is_diagnosed_or_passed_over()


@pytest.mark.parametrize(
    "changes",
    [
        {"quality": (51, 1)},
        {"default_quality": 99},
        {"rate_modes": (RateMode.QUALITY,)},
        {"presets": ("fast", "fast")},
        {"quality": None},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_schema_that_contradicts_itself_is_found_out(changes: dict[str, Any]) -> None:
    contract(FakeBackend()).test_schema_is_sound(SCHEMA)
    with pytest.raises(AssertionError):
        contract(FakeBackend()).test_schema_is_sound(attrs.evolve(SCHEMA, **changes))


def test_backend_that_takes_anything_is_found_out() -> None:
    with pytest.raises(pytest.fail.Exception):
        contract(FakeBackend()).test_what_the_encoder_cannot_do_is_refused(SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        ("-nosuchoption", "1"),
        ("-crf", "nonsense"),
        # Known to ffmpeg, and not to this encoder.
        ("-deadline", "good"),
    ],
)
@pytest.mark.parametrize("build", builds(), ids=lambda b: f"{b.major}.{b.minor}")
def test_arguments_that_ffmpeg_does_not_take_are_found_out(
    build: FfmpegBuild, wrong: tuple[str, ...]
) -> None:
    good = EncodeArguments(filters=("format=yuv420p",), output_args=("-c:v", "libx264"))
    assert complaints(build, good, must_encode=True) == ""
    bad = attrs.evolve(good, output_args=(*good.output_args, *wrong))
    assert complaints(build, bad)


def test_samples_hold_every_setting_and_are_the_same_in_every_run() -> None:
    profiles = list(sampled_profiles(SCHEMA, 8, 200))
    assert profiles == list(sampled_profiles(SCHEMA, 8, 200))
    for profile in profiles:
        SCHEMA.check(profile)
    assert {p.rate.mode for p in profiles} == set(RateMode)
    assert {p.preset for p in profiles} == {None, "fast", "slow"}
    assert {p.b_frames for p in profiles} == {None, 0, 3}
    few = list(sampled_profiles(SCHEMA, 8, 12))
    assert len(few) == 12
    assert {p.rate.mode for p in few} == set(RateMode)


def test_segments_with_other_parameter_sets_are_found_out(tmp_path: Path) -> None:
    class Fickle(SoftwareBackend):
        calls = 0

        def arguments(self, *args: Any, **kwargs: Any) -> EncodeArguments:
            made = super().arguments(*args, **kwargs)
            Fickle.calls += 1
            return attrs.evolve(made, output_args=(*made.output_args, "-refs", str(Fickle.calls)))

    build = builds()[0]
    backend = Fickle()
    x264 = next(
        c for c in detect_here(SoftwareBackend(), build).capabilities if c.encoder == "libx264"
    )
    profile = Profile(encoder="libx264", rate=RateControl(quality=30), preset="ultrafast")
    assert "parameter sets" in join_problem(backend, build, x264, profile, tmp_path)


def test_outcome_of_a_program_that_is_not_there_is_told() -> None:
    from ffcluster.testing import read_build, run_ffmpeg

    assert run_ffmpeg("/nosuch/ffmpeg", "-version") == ProbeOutcome(
        None, stderr="cannot start: [Errno 2] No such file or directory: '/nosuch/ffmpeg'"
    )
    with pytest.raises(ValueError, match="nosuch"):
        read_build("/nosuch/ffmpeg")
