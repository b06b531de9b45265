"""The nvenc plugin, by the tests that all plugins share and by its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import attrs
import pytest

import ffcluster_nvenc
from ffcluster.core.model import Capability, Trouble
from ffcluster.core.profile import Codec, Profile, RateControl, RateMode
from ffcluster.encoders.backend import Backend, EncodeArguments, Machine, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection
from ffcluster.encoders.filters import parse_filters
from ffcluster.encoders.registry import Registry
from ffcluster.errors import UnsupportedOption
from ffcluster.testing import BackendContract, recordings_in
from tests.encoders.builds import video
from tests.encoders.recorded import failure

(BACKEND,) = ffcluster_nvenc.ffcluster_backends()
ALL = frozenset({"h264_nvenc", "hevc_nvenc", "av1_nvenc"})
FILTERS = frozenset({"scale_cuda"})
OLD = FfmpegBuild("ffmpeg", "5.1.9", 5, 1, ALL - {"av1_nvenc"}, FILTERS)
NEW = FfmpegBuild("ffmpeg", "9.0.2", 9, 0, ALL, FILTERS)
TWO_GPUS = """[h264_nvenc @ 0x1] [ GPU #0 - < NVIDIA H100 80GB HBM3 > has Compute SM 9.0 ]
[h264_nvenc @ 0x1] [ GPU #1 - < NVIDIA RTX A4000 > has Compute SM 8.6 ]
"""
PLAIN = Profile()
VIDEO = video(codec="h264", width=640, height=480, color=())
MACHINE = Machine(4, "linux", drivers=(("nvidia", "610.43"),))


def detect(
    build: FfmpegBuild, listing: ProbeOutcome, answers: Mapping[str, ProbeOutcome]
) -> Detection:
    """Detection where `-gpu list` says `listing`, and what matches a pattern fails so."""
    found = Detection(Registry.load(allow={"nvenc"}), build, MACHINE)
    while not found.finished:
        for probe in found.take_probes():
            line = " ".join(probe.argv)
            outcome = next((o for pattern, o in answers.items() if re.search(pattern, line)), None)
            found.feed(probe, listing if "-gpu list" in line else outcome or ProbeOutcome(0))
    assert not found.errors, found.errors
    return found


def made(
    profile: Profile = PLAIN,
    encoder: str = "h264_nvenc",
    build: FfmpegBuild = NEW,
    *,
    on_device: bool = False,
    **capability: object,
) -> EncodeArguments:
    codec = {"h264": Codec.H264, "hevc": Codec.HEVC, "av1": Codec.AV1}[encoder.split("_")[0]]
    fields: dict[str, object] = {"pix_fmts": ("nv12", "p010le"), "device": "cuda:1"}
    offered = Capability(encoder, codec, "nvenc", **{**fields, **capability})  # type: ignore[arg-type]
    return BACKEND.arguments(
        build,
        offered,
        attrs.evolve(profile, codec=codec),
        VIDEO,
        threads=0,
        hardware_decode=on_device,
    )


def value(arguments: EncodeArguments, option: str) -> str:
    words = arguments.output_args
    return words[words.index(option) + 1]


class TestNvenc(BackendContract):
    backend: ClassVar[Backend] = BACKEND
    recordings = recordings_in(Path(__file__).with_name("recordings"))
    distribution = "ffcluster-plugin-nvenc"
    # tests/encoders/test_argv_lint.py has many more.
    lint_samples = 4


@pytest.mark.parametrize(("build", "code"), [(OLD, 1), (NEW, 0)])
def test_gpu_without_nvenc_is_told_apart_from_its_neighbour(build: FfmpegBuild, code: int) -> None:
    refused = failure("nvenc", "unsupported device", build.version)
    found = detect(build, ProbeOutcome(code, stderr=TWO_GPUS), {"-gpu 0": refused})
    assert {c.device for c in found.capabilities} == {"cuda:1"}
    assert {c.encoder for c in found.capabilities} == build.encoders
    capability = found.capabilities[0]
    assert (capability.device_name, capability.driver) == ("NVIDIA RTX A4000", "610.43")
    (told,) = [d for d in found.diagnoses if d.device == "cuda:0"]
    assert told.cause == "this GPU has no NVENC"
    assert "H100, A100" in told.hint
    assert told.trouble is Trouble.UNSUPPORTED


def test_everything_is_proven_where_nothing_is_refused() -> None:
    found = detect(NEW, ProbeOutcome(0, stderr=TWO_GPUS), {})
    by_encoder = {c.encoder: c for c in found.capabilities if c.device == "cuda:1"}
    assert by_encoder["hevc_nvenc"].pix_fmts == ("nv12", "p010le", "yuv444p")
    assert by_encoder["hevc_nvenc"].rate_modes == tuple(RateMode)
    assert RateMode.LOSSLESS not in by_encoder["av1_nvenc"].rate_modes
    assert all(c.hardware_decode for c in found.capabilities)
    assert not found.diagnoses


def test_old_ffmpeg_never_claims_ten_bit_h264() -> None:
    found = detect(OLD, ProbeOutcome(1, stderr=TWO_GPUS), {})
    depths = {c.encoder: c.bit_depths for c in found.capabilities}
    assert depths == {"h264_nvenc": (8,), "hevc_nvenc": (8, 10)}
    assert [d.cause for d in found.diagnoses] == ["this ffmpeg was built without av1_nvenc"]


@pytest.mark.parametrize("build", [OLD, NEW], ids=["5.1", "9.0"])
@pytest.mark.parametrize(
    "name", ["no libcuda", "no libnvidia-encode", "no device", "no GPUs", "driver mismatch"]
)
def test_missing_driver_costs_one_probe(build: FfmpegBuild, name: str) -> None:
    asked = []
    found = Detection(Registry.load(allow={"nvenc"}), build, MACHINE)
    while not found.finished:
        for probe in found.take_probes():
            asked.append(probe)
            found.feed(probe, failure("nvenc", name, build.version))
    assert len(asked) == 1
    (told,) = found.diagnoses
    assert told.hint
    assert (told.device, told.encoder, told.ffmpeg) == ("", "", build.version)


def test_driver_too_old_for_this_ffmpeg_points_to_an_older_one() -> None:
    found = detect(NEW, failure("nvenc", "old driver"), {})
    (told,) = found.diagnoses
    assert "NVENC 11.1, and 13.1" in told.cause
    assert "610.00" in told.hint
    assert "second --ffmpeg" in told.hint


@pytest.mark.parametrize("build", [OLD, NEW], ids=["5.1", "9.0"])
@pytest.mark.parametrize(
    ("name", "option", "extra"),
    [
        ("no temporal AQ", "-temporal-aq 1", "temporal-aq"),
        ("no lookahead", "-rc-lookahead 32", "rc-lookahead"),
        ("no B-frame references", "-b_ref_mode middle", "b_ref_mode"),
        ("no B-frames", "-bf 2", "bf"),
    ],
)
def test_refused_extras_are_dropped_one_by_one(
    build: FfmpegBuild, name: str, option: str, extra: str
) -> None:
    answers = {option: failure("nvenc", name, build.version)}
    found = detect(build, ProbeOutcome(0, stderr=TWO_GPUS), answers)
    assert {c.without for c in found.capabilities} == {(extra,)}
    dropped = [d for d in found.diagnoses if d.trouble is Trouble.DROPPED]
    assert {d.without for d in dropped} == {extra}
    assert len(dropped) == len(found.capabilities)


def test_references_that_a_preset_cannot_have_are_dropped() -> None:
    refused = ProbeOutcome(234, stderr="InitializeEncoder failed: invalid param (8): ")
    found = detect(NEW, ProbeOutcome(0, stderr=TWO_GPUS), {"-preset p1.*-b_ref_mode": refused})
    assert {c.without for c in found.capabilities} == {("b_ref_mode",)}


def test_limits_come_from_the_driver() -> None:
    answers = {
        "s=16384x64": ProbeOutcome(187, stderr="[h264_nvenc @ 0x1] Width 16384 exceeds 4096"),
        "s=160x16384": ProbeOutcome(187, stderr="[h264_nvenc @ 0x1] Height 16384 exceeds 4096"),
    }
    found = detect(NEW, ProbeOutcome(0, stderr=TWO_GPUS), answers)
    assert {c.max_size for c in found.capabilities} == {(4096, 4096)}
    assert {c.min_size for c in found.capabilities} == {(145, 49)}


def test_session_limit_while_detecting_is_busy_and_not_a_fault() -> None:
    busy = failure("nvenc", "session limit")
    found = detect(NEW, ProbeOutcome(0, stderr=TWO_GPUS), {"-gpu 0": busy, "cu:0": busy})
    told = [d for d in found.diagnoses if d.device == "cuda:0"]
    assert [d.trouble for d in told] == [Trouble.BUSY]


def test_session_limit_in_a_job_is_back_pressure() -> None:
    capability = Capability("h264_nvenc", Codec.H264, "nvenc", "cuda:0", ffmpeg="9.0.2")
    for release in ("5.1.9", "9.0.2"):
        told = BACKEND.explain(capability, failure("nvenc", "session limit", release))
        assert told is not None
        assert told.trouble is Trouble.BUSY


def test_constant_quality_never_becomes_zero_which_means_automatic() -> None:
    assert value(made(), "-cq") == "26"
    assert value(made(), "-b:v") == "0"
    assert BACKEND.schemas[0].quality == (1, 51)


def test_rates_go_to_the_options_that_obey_them() -> None:
    peak = RateControl(RateMode.BITRATE, None, 5_000_000, 8_000_000, 10_000_000)
    arguments = made(Profile(rate=peak))
    assert value(arguments, "-rc") == "vbr"
    assert value(arguments, "-b:v") == "5000000"
    assert value(arguments, "-maxrate") == "8000000"
    assert value(arguments, "-bufsize") == "10000000"
    capped = made(Profile(rate=RateControl(quality=30, max_bps=8_000_000)))
    assert value(capped, "-maxrate") == "8000000"
    assert "-bufsize" not in capped.output_args


def test_lossless_goes_without_extras_that_would_spoil_it() -> None:
    arguments = made(Profile(rate=RateControl(RateMode.LOSSLESS)))
    assert value(arguments, "-tune") == "lossless"
    for option in ("-cq", "-spatial-aq", "-rc-lookahead", "-multipass"):
        assert option not in arguments.output_args


def test_structure_of_the_stream_is_that_of_the_profile() -> None:
    profile = Profile(gop_frames=48, b_frames=2, preset="p6", tune="hq", codec_profile="high")
    arguments = made(profile)
    for option, expected in (
        ("-g", "48"),
        ("-bf", "2"),
        ("-preset", "p6"),
        ("-tune", "hq"),
        ("-profile:v", "high"),
        ("-forced-idr", "1"),
        ("-flags", "+cgop"),
        ("-gpu", "1"),
    ):
        assert value(arguments, option) == expected


def test_b_frame_references_only_where_there_may_be_b_frames() -> None:
    assert "-b_ref_mode" in made().output_args
    assert "-b_ref_mode" in made(Profile(b_frames=2)).output_args
    assert "-b_ref_mode" not in made(Profile(b_frames=1)).output_args
    assert "-b_ref_mode" not in made(Profile(b_frames=0)).output_args
    assert "-b_ref_mode" not in made(Profile(codec_profile="baseline")).output_args
    assert "-b_ref_mode" not in made(without=("bf",)).output_args


def test_ten_bit_names_its_profile() -> None:
    deep = Profile(bit_depth=10)
    assert value(made(deep, "hevc_nvenc"), "-profile:v") == "main10"
    assert value(made(deep, "h264_nvenc"), "-profile:v") == "high10"
    assert "-profile:v" not in made(deep, "av1_nvenc").output_args


def test_ten_bit_profile_is_vetoed_where_ten_bits_were_not_proven() -> None:
    offered = Capability("h264_nvenc", Codec.H264, "nvenc", "cuda:0", ("nv12",))
    asked = Profile(encoder="h264_nvenc", codec_profile="high10")
    assert "10 bits" in (BACKEND.veto(offered, asked, VIDEO) or "")
    assert BACKEND.veto(offered, attrs.evolve(asked, codec_profile="high"), VIDEO) is None


def test_split_encoding_is_only_on_request_and_not_on_older_ffmpegs() -> None:
    assert "-split_encode_mode" not in made(encoder="hevc_nvenc").output_args
    split = Profile(encoder_options=(("split_encode_mode", "2"),))
    assert value(made(split, "hevc_nvenc"), "-split_encode_mode") == "2"
    with pytest.raises(UnsupportedOption):
        made(split, "hevc_nvenc", OLD)
    with pytest.raises(UnsupportedOption):
        made(split, "h264_nvenc")


def test_tune_of_newer_ffmpegs_is_refused_on_older_ones() -> None:
    best = Profile(tune="uhq")
    assert value(made(best, "hevc_nvenc"), "-tune") == "uhq"
    with pytest.raises(UnsupportedOption) as refusal:
        made(best, "hevc_nvenc", OLD)
    assert refusal.value.option == "tune"


def test_pictures_that_were_decoded_on_the_gpu_stay_there() -> None:
    arguments = made(Profile(filters=parse_filters("scale=w=320:h=-2")), on_device=True)
    assert arguments.global_args[:2] == ("-init_hw_device", "cuda=cu:1")
    assert "cuda" in arguments.input_args
    assert arguments.filters[0] == "scale_cuda=w=320:h=240:format=nv12:passthrough=0"
    assert "-gpu" not in arguments.output_args


def test_hdr10_metadata_is_said_to_be_lost() -> None:
    offered = Capability("hevc_nvenc", Codec.HEVC, "nvenc", "cuda:0", ("p010le",))
    source = attrs.evolve(VIDEO, pix_fmt="yuv420p10le", content_light="1000,400")
    arguments = BACKEND.arguments(NEW, offered, Profile(codec=Codec.HEVC), source, threads=0)
    assert any("HDR10" in note for note in arguments.notes)
