"""The vaapi plugin, by the tests that all plugins share and by its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import attrs
import pytest

import ffcluster_vaapi
from ffcluster.core.model import Capability, Trouble
from ffcluster.core.profile import Codec, Profile, RateControl, RateMode
from ffcluster.encoders.backend import (
    Backend,
    DeviceNode,
    EncodeArguments,
    Machine,
    Probe,
    ProbeOutcome,
)
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection
from ffcluster.encoders.filters import parse_filters
from ffcluster.encoders.registry import Registry
from ffcluster.errors import UnsupportedOption
from ffcluster.testing import BackendContract, recordings_in
from tests.encoders.builds import video
from tests.encoders.recorded import failure

(BACKEND,) = ffcluster_vaapi.ffcluster_backends()
ALL = frozenset({"h264_vaapi", "hevc_vaapi", "av1_vaapi", "vp9_vaapi"})
FILTERS = frozenset({"scale_vaapi"})
OLD = FfmpegBuild("ffmpeg", "5.1.9", 5, 1, ALL - {"av1_vaapi"}, FILTERS)
NEW = FfmpegBuild("ffmpeg", "9.0.2", 9, 0, ALL, FILTERS)
INTEL = DeviceNode("/dev/dri/renderD128", "0x8086", "i915")
AMD = DeviceNode("/dev/dri/renderD129", "0x1002", "amdgpu", "AMD Radeon RX 6600")
PLAIN = Profile()
VIDEO = video(codec="h264", width=640, height=480, color=())
OPENED = ProbeOutcome(
    0,
    stderr="[VAAPI @ 0x1] VAAPI driver: Intel iHD driver for Intel(R) Gen Graphics - 23.1.1 ().\n",
)
MESA = ProbeOutcome(
    0,
    stderr="[VAAPI @ 0x1] VAAPI driver: Mesa Gallium driver 22.3.6 for AMD Radeon RX 6600 "
    "(navi23, LLVM 15.0.6, DRM 3.49, 6.1.0-18-amd64).\n",
)


def detect(
    answers: Mapping[str, ProbeOutcome],
    *nodes: DeviceNode,
    build: FfmpegBuild = NEW,
    asked: list[Probe] | None = None,
) -> Detection:
    """Detection where what matches a pattern is answered so, and everything else works."""
    machine = Machine(4, "linux", nodes or (INTEL,))
    found = Detection(Registry.load(allow={"vaapi"}), build, machine)
    while not found.finished:
        for probe in found.take_probes():
            if asked is not None:
                asked.append(probe)
            line = " ".join(probe.argv)
            outcome = next((o for pattern, o in answers.items() if re.search(pattern, line)), None)
            found.feed(probe, outcome or (OPENED if "-hwaccels" in line else ProbeOutcome(0)))
    assert not found.errors, found.errors
    return found


def made(
    profile: Profile = PLAIN,
    encoder: str = "h264_vaapi",
    build: FfmpegBuild = NEW,
    *,
    on_device: bool = False,
    **capability: object,
) -> EncodeArguments:
    codec = {"h264": Codec.H264, "hevc": Codec.HEVC, "av1": Codec.AV1, "vp9": Codec.VP9}
    fields: dict[str, object] = {"pix_fmts": ("nv12", "p010le"), "device": "/dev/dri/renderD129"}
    offered = Capability(
        encoder,
        codec[encoder.split("_")[0]],
        "vaapi",
        **{**fields, **capability},  # type: ignore[arg-type]
    )
    return BACKEND.arguments(
        build,
        offered,
        attrs.evolve(profile, codec=offered.codec),
        VIDEO,
        threads=0,
        hardware_decode=on_device,
    )


def value(arguments: EncodeArguments, option: str) -> str:
    words = arguments.output_args
    return words[words.index(option) + 1]


class TestVaapi(BackendContract):
    backend: ClassVar[Backend] = BACKEND
    recordings = recordings_in(Path(__file__).with_name("recordings"))
    distribution = "ffcluster-plugin-vaapi"
    # tests/encoders/test_argv_lint.py has many more.
    lint_samples = 4


def test_every_render_node_is_opened_once_and_tried_by_itself() -> None:
    asked: list[Probe] = []
    found = detect({"renderD129 .*-hwaccels": MESA}, INTEL, AMD, asked=asked)
    assert {(c.encoder, c.device) for c in found.capabilities} == {
        (encoder, node.path) for encoder in ALL for node in (INTEL, AMD)
    }
    assert len([p for p in asked if "-hwaccels" in p.argv]) == 2
    shown = {c.device: (c.device_name, c.driver) for c in found.capabilities}
    assert shown == {
        "/dev/dri/renderD128": (
            "Intel iHD driver for Intel(R) Gen Graphics - 23.1.1 ()",
            "iHD 23.1.1",
        ),
        "/dev/dri/renderD129": ("AMD Radeon RX 6600", "Mesa 22.3.6"),
    }
    assert all(c.hardware_decode for c in found.capabilities)
    assert not found.diagnoses


def test_machine_without_a_node_costs_no_probe() -> None:
    (told,) = BACKEND.detect(NEW, Machine(4, "linux"))
    assert "no render node" in getattr(told, "cause", "")


def test_node_that_may_not_be_opened_names_the_groups_and_costs_no_probe() -> None:
    closed = attrs.evolve(INTEL, usable=False)
    asked: list[Probe] = []
    (told,) = detect({}, closed, asked=asked).diagnoses
    assert not asked
    assert (told.device, told.ffmpeg) == (INTEL.path, "9.0.2")
    assert "render or video" in told.hint


def test_node_of_nvidias_own_driver_points_to_nvenc() -> None:
    node = DeviceNode("/dev/dri/renderD130", "0x10de", "nvidia")
    (told,) = detect({}, node).diagnoses
    assert "ffcluster-plugin-nvenc" in told.hint


@pytest.mark.parametrize("build", [OLD, NEW], ids=["5.1", "9.0"])
@pytest.mark.parametrize("name", ["no such node", "no permission", "no driver"])
def test_node_that_does_not_open_costs_one_probe(build: FfmpegBuild, name: str) -> None:
    asked: list[Probe] = []
    refused = failure("vaapi", name, build.version)
    found = detect({"-hwaccels": refused}, build=build, asked=asked)
    assert len(asked) == 1
    (told,) = found.diagnoses
    assert (told.device, told.encoder, told.ffmpeg) == (INTEL.path, "", build.version)
    assert told.trouble is Trouble.MISSING


def test_libva_too_old_for_this_ffmpeg_is_told_once() -> None:
    crash = failure("vaapi", "libva too old")
    found = detect({"-c:v": crash}, INTEL, AMD)
    (told,) = found.diagnoses
    assert "libva" in told.cause
    assert "second --ffmpeg" in told.hint


@pytest.mark.parametrize("build", [OLD, NEW], ids=["5.1", "9.0"])
def test_driver_without_icq_uses_a_constant_quantizer(build: FfmpegBuild) -> None:
    found = detect({"-rc_mode ICQ": failure("vaapi", "no ICQ", build.version)}, build=build)
    h264 = next(c for c in found.capabilities if c.encoder == "h264_vaapi")
    assert h264.without == ("ICQ",)
    assert h264.rate_modes == (RateMode.QUALITY, RateMode.BITRATE)
    assert value(made(without=h264.without), "-rc_mode") == "CQP"
    assert value(made(without=h264.without), "-qp") == "24"
    dropped = [d for d in found.diagnoses if d.trouble is Trouble.DROPPED]
    assert {d.without for d in dropped} == {"ICQ"}
    assert "CQP, CBR, VBR" in dropped[0].cause


def test_driver_with_nothing_but_a_constant_quantizer_claims_no_bit_rate() -> None:
    only = "Driver does not support {} RC mode (supported modes: CQP)."
    answers = {
        f"-rc_mode {mode}": ProbeOutcome(234, stderr=only.format(mode))
        for mode in ("ICQ", "VBR", "CBR")
    }
    found = detect(answers)
    assert {c.rate_modes for c in found.capabilities} == {(RateMode.QUALITY,)}
    assert {c.without for c in found.capabilities} == {("ICQ",), ()}


def test_driver_without_constant_quality_claims_bit_rates_only() -> None:
    only = "Driver does not support {} RC mode (supported modes: CBR, VBR)."
    answers = {
        f"-rc_mode {mode}": ProbeOutcome(234, stderr=only.format(mode)) for mode in ("ICQ", "CQP")
    }
    assert {c.rate_modes for c in detect(answers).capabilities} == {(RateMode.BITRATE,)}


def test_limits_come_from_the_driver() -> None:
    refused = failure("vaapi", "too small")
    found = detect({"s=16x16": refused})
    assert {(c.min_size, c.max_size) for c in found.capabilities} == {((128, 128), (4096, 4096))}


def test_ten_bit_is_claimed_where_it_was_proven() -> None:
    refused = failure("vaapi", "no 10 bit")
    found = detect({"format=p010le.*(hevc|h264)_vaapi": refused})
    depths = {c.encoder: c.bit_depths for c in found.capabilities}
    assert depths == {
        "h264_vaapi": (8,),
        "hevc_vaapi": (8,),
        "av1_vaapi": (8, 10),
        "vp9_vaapi": (8, 10),
    }
    assert [d.encoder for d in found.diagnoses] == ["hevc_vaapi"]


def test_gpu_that_fails_while_it_encodes_is_broken() -> None:
    for release in ("5.1.9", "9.0.2"):
        capability = Capability("h264_vaapi", Codec.H264, "vaapi", INTEL.path)
        told = BACKEND.explain(capability, failure("vaapi", "picture fails", release))
        assert told is not None
        assert told.trouble is Trouble.BROKEN
        assert told.device == INTEL.path


def test_picture_is_uploaded_after_the_format_and_the_tags() -> None:
    offered = Capability("h264_vaapi", Codec.H264, "vaapi", AMD.path, ("nv12",))
    source = attrs.evolve(VIDEO, color=(("colorspace", "bt709"),))
    arguments = BACKEND.arguments(NEW, offered, PLAIN, source, threads=0)
    assert arguments.filters == ("format=nv12", "setparams=colorspace=bt709", "hwupload")
    assert arguments.global_args == (
        "-init_hw_device",
        "vaapi=va:/dev/dri/renderD129",
        "-filter_hw_device",
        "va",
    )


def test_quality_goes_to_the_option_that_each_encoder_obeys() -> None:
    assert value(made(), "-rc_mode") == "ICQ"
    assert value(made(), "-global_quality") == "24"
    for encoder in ("av1_vaapi", "vp9_vaapi"):
        arguments = made(Profile(rate=RateControl(quality=99)), encoder)
        assert value(arguments, "-rc_mode") == "CQP"
        assert value(arguments, "-global_quality") == "99"
        assert "-qp" not in arguments.output_args


def test_bit_rates_are_variable_or_constant_as_the_driver_can() -> None:
    peak = Profile(rate=RateControl(RateMode.BITRATE, None, 5_000_000, 8_000_000, 10_000_000))
    arguments = made(peak)
    assert value(arguments, "-rc_mode") == "VBR"
    assert value(arguments, "-maxrate") == "8000000"
    constant = made(peak, without=("VBR",))
    assert value(constant, "-rc_mode") == "CBR"
    assert "-maxrate" not in constant.output_args


def test_structure_of_the_stream_is_that_of_the_profile() -> None:
    arguments = made(Profile(gop_frames=48, b_frames=2, preset="2", codec_profile="high"))
    for option, expected in (
        ("-g", "48"),
        ("-bf", "2"),
        ("-compression_level", "2"),
        ("-profile:v", "high"),
        ("-idr_interval", "0"),
        ("-flags", "+cgop"),
    ):
        assert value(arguments, option) == expected


def test_option_of_newer_ffmpegs_is_refused_on_older_ones() -> None:
    blocks = Profile(encoder_options=(("blbrc", "1"),))
    assert value(made(blocks), "-blbrc") == "1"
    with pytest.raises(UnsupportedOption):
        made(blocks, build=OLD)


def test_pictures_that_were_decoded_on_the_gpu_stay_there() -> None:
    arguments = made(Profile(filters=parse_filters("scale=w=320:h=-2")), on_device=True)
    assert arguments.input_args == (
        "-hwaccel",
        "vaapi",
        "-hwaccel_device",
        "va",
        "-hwaccel_output_format",
        "vaapi",
    )
    assert arguments.filters == ("scale_vaapi=w=320:h=240:format=nv12",)


def test_only_hevc_writes_hdr10_metadata() -> None:
    source = attrs.evolve(VIDEO, pix_fmt="yuv420p10le", mastering_display="G(1,2)")
    for encoder, codec in (("hevc_vaapi", Codec.HEVC), ("av1_vaapi", Codec.AV1)):
        offered = Capability(encoder, codec, "vaapi", INTEL.path, ("nv12", "p010le"))
        arguments = BACKEND.arguments(NEW, offered, Profile(codec=codec), source, threads=0)
        assert arguments.filters[0] == "format=p010le"
        assert any("HDR10" in note for note in arguments.notes) is (codec is Codec.AV1)
        assert ("-sei" in arguments.output_args) is (codec is Codec.HEVC)
