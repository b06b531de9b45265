"""The qsv plugin, by the tests that all hardware plugins share and by its own.

Nothing here ran on an Intel GPU: failures are recordings of machines without one, or texts put
together from ffmpeg's source (marked `written`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import attrs
import pytest

import ffcluster_qsv
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
from ffcluster.testing import BackendContract
from tests.encoders.builds import video
from tests.encoders.recorded import Recorded, failure, recorded

(BACKEND,) = ffcluster_qsv.ffcluster_backends()
VIDEO = video(codec="h264", width=640, height=480, color=())
ENCODERS = frozenset({"h264_qsv", "hevc_qsv", "av1_qsv", "vp9_qsv"})
BUILD = FfmpegBuild("ffmpeg", "9.0.2", 9, 0, ENCODERS, frozenset({"vpp_qsv"}))
NODE = "/dev/dri/renderD128"
INTEL = DeviceNode(NODE, "0x8086", "i915", "Intel UHD")
AMD = DeviceNode("/dev/dri/renderD129", "0x1002")
LINUX = Machine(4, "linux", (INTEL, AMD))
QUALITY = RateControl()
WINDOWS = Machine(4, "win32")
# Put together from ffmpeg's source; the scout's third adapter is not there, so it ends with that.
ADAPTERS = ProbeOutcome(
    1,
    stderr="""[AVHWDeviceContext @ 0x1] Using device 10de:2684 (NVIDIA GeForce RTX 4090).
[AVHWDeviceContext @ 0x2] Using device 8086:a780 (Intel(R) UHD Graphics 770).
Device creation failed: -542398533.
""",
)


def detect(machine: Machine, answer: Callable[[Probe], ProbeOutcome]) -> Detection:
    found = Detection(Registry.load(allow={"qsv"}), BUILD, machine)
    while not found.finished:
        for probe in found.take_probes():
            found.feed(probe, answer(probe))
    assert not found.errors, found.errors
    return found


def made(encoder: str, rate: RateControl = QUALITY, **changes: object) -> EncodeArguments:
    given = {
        name: changes.pop(name)
        for name in ("device", "without", "pix_fmts", "hardware_decode", "build", "filters")
        if name in changes
    }
    codec = Codec({"h264": "h264", "hevc": "hevc", "av1": "av1", "vp9": "vp9"}[encoder[:-4]])
    offered = Capability(
        encoder,
        codec,
        "qsv",
        device=str(given.get("device", NODE)),
        pix_fmts=given.get("pix_fmts", ("nv12", "p010le")),  # type: ignore[arg-type]
        without=given.get("without", ()),  # type: ignore[arg-type]
    )
    filters = parse_filters(str(given["filters"])) if "filters" in given else ()
    profile = Profile(codec=codec, encoder=encoder, rate=rate, filters=filters, **changes)  # type: ignore[arg-type]
    return BACKEND.arguments(
        BUILD,
        offered,
        profile,
        VIDEO,
        threads=0,
        hardware_decode=bool(given.get("hardware_decode")),
    )


def line(arguments: EncodeArguments) -> str:
    return " ".join(arguments.output_args)


class TestQsv(BackendContract):
    backend: ClassVar[Backend] = BACKEND
    devices = ("/dev/dri/renderD128", "dx:0")
    distribution = "ffcluster-plugin-qsv"
    # tests/encoders/test_argv_lint.py has many more.
    lint_samples = 4


def test_only_intels_render_nodes_are_tried_and_the_claim_names_them() -> None:
    found = detect(LINUX, lambda _probe: ProbeOutcome(0))
    assert {c.device for c in found.capabilities} == {NODE}
    assert {c.encoder for c in found.capabilities} == ENCODERS
    by_encoder = {c.encoder: c for c in found.capabilities}
    assert by_encoder["h264_qsv"].bit_depths == (8,)
    assert by_encoder["av1_qsv"].bit_depths == (8, 10)
    for capability in found.capabilities:
        assert capability.hardware_decode
        assert set(capability.rate_modes) == {RateMode.QUALITY, RateMode.BITRATE}
        assert (capability.device_name, capability.driver) == ("Intel UHD", "i915")


@pytest.mark.parametrize(
    ("devices", "word"),
    [
        ((), "no render node of an Intel GPU"),
        ((DeviceNode(NODE, "0x1002"),), "no render node of an Intel GPU"),
        ((DeviceNode(NODE, "0x8086", usable=False),), "may not be opened"),
    ],
)
def test_linux_without_a_usable_intel_gpu_costs_no_probe(
    devices: tuple[DeviceNode, ...], word: str
) -> None:
    (found,) = BACKEND.detect(BUILD, Machine(4, "linux", devices))
    assert not isinstance(found, Probe | Capability)
    assert word in found.cause
    assert found.hint


def test_windows_finds_intels_adapters_with_one_command() -> None:
    scouts = BACKEND.detect(BUILD, WINDOWS)
    assert len(scouts) == 1
    found = detect(
        WINDOWS, lambda p: ADAPTERS if "nullsrc" in " ".join(p.argv) else ProbeOutcome(0)
    )
    assert {(c.device, c.device_name) for c in found.capabilities} == {
        ("dx:1", "Intel(R) UHD Graphics 770")
    }


def test_windows_without_an_intel_adapter_is_diagnosed() -> None:
    nvidia = attrs.evolve(ADAPTERS, stderr=ADAPTERS.stderr.replace("8086:", "1002:"))
    found = detect(WINDOWS, lambda _probe: nvidia)
    assert not found.capabilities
    (diagnosis,) = found.diagnoses
    assert "no Intel GPU" in diagnosis.cause


def test_devices_are_opened_in_the_platforms_way() -> None:
    assert made("h264_qsv").global_args == ("-init_hw_device", f"qsv=qs,child_device={NODE}")
    windows = made("h264_qsv", device="dx:1")
    assert windows.global_args == (
        "-init_hw_device", "d3d11va=dx:1", "-init_hw_device", "qsv=qs@dx",
    )  # fmt: skip


def test_each_rate_mode_has_its_options() -> None:
    assert "-global_quality 26 -look_ahead 1 -look_ahead_depth 40" in line(made("h264_qsv"))
    assert "look_ahead" not in line(made("hevc_qsv"))
    bitrate = RateControl(RateMode.BITRATE, target_bps=5_000_000)
    assert "-b:v 5000000 -look_ahead 1" in line(made("h264_qsv", bitrate))
    assert "-b:v 5000000 -extbrc 1 -look_ahead_depth 40" in line(made("av1_qsv", bitrate))
    peak = attrs.evolve(bitrate, max_bps=8_000_000, buffer_bits=10_000_000)
    assert "-maxrate 8000000 -bufsize 10000000" in line(made("hevc_qsv", peak))
    assert "-look_ahead " not in line(made("h264_qsv", peak)), "it would obey no peak"
    equal = attrs.evolve(bitrate, max_bps=5_000_000)
    assert "-maxrate 5001000" in line(made("hevc_qsv", equal)), "equal ones mean constant rate"


def test_gops_are_closed_and_forced_keyframes_are_idr() -> None:
    hevc = line(made("hevc_qsv", gop_frames=48, b_frames=2))
    for words in ("-flags +cgop", "-forced_idr 1", "-idr_interval 0", "-g 48", "-bf 2"):
        assert words in hevc
    assert "-forced_idr" not in line(made("vp9_qsv"))
    assert "-low_power" not in line(made("av1_qsv"))


def test_own_option_of_the_user_goes_over_the_default() -> None:
    found = line(made("h264_qsv", encoder_options=(("look_ahead_depth", "10"),)))
    assert "-look_ahead_depth 10" in found
    assert "-look_ahead_depth 40" not in found


def test_decoding_on_the_device_scales_there_and_fails_where_it_would_fall_back() -> None:
    found = made("hevc_qsv", hardware_decode=True, filters="scale=320:-2")
    assert found.input_args == (
        "-hwaccel", "qsv", "-hwaccel_device", "qs", "-hwaccel_output_format", "qsv",
    )  # fmt: skip
    assert found.filters[0] == "format=qsv,vpp_qsv=w=320:h=240:format=nv12"
    kept = made("hevc_qsv", hardware_decode=True)
    assert kept.filters[0] == "format=qsv,vpp_qsv=format=nv12"
    cropped = made("hevc_qsv", hardware_decode=True, filters="crop=320:240")
    assert cropped.input_args == ()
    assert "decoded in software" in " ".join(cropped.notes)


def test_what_a_chip_refuses_is_left_out_one_by_one() -> None:
    refusal = failure("qsv", "no such rate control")

    def low_power_chip(probe: Probe) -> ProbeOutcome:
        words = " ".join(probe.argv)
        refused = "-look_ahead" in words or "-global_quality" in words
        return refusal if refused else ProbeOutcome(0)

    found = detect(LINUX, low_power_chip)
    h264 = next(c for c in found.capabilities if c.encoder == "h264_qsv")
    assert h264.without == ("look_ahead", "icq")
    assert "-q:v 26" in line(made("h264_qsv", without=h264.without))
    dropped = [d for d in found.diagnoses if d.trouble is Trouble.DROPPED]
    assert {d.without for d in dropped} == {"look_ahead", "icq"}


def test_chip_that_encodes_only_in_low_power_is_asked_to() -> None:
    refusal = ProbeOutcome(
        171, stderr="[av1_qsv @ 0x1] Error initializing the encoder: unsupported (-3)\n"
    )

    def chip(probe: Probe) -> ProbeOutcome:
        return ProbeOutcome(0) if "-low_power 1" in " ".join(probe.argv) else refusal

    found = detect(LINUX, chip)
    assert {c.encoder for c in found.capabilities} == ENCODERS
    assert all("normal_power" in c.without for c in found.capabilities)


def test_refused_step_does_not_change_what_follows() -> None:
    refusal = failure("qsv", "no such profile")

    def old_chip(probe: Probe) -> ProbeOutcome:
        return refusal if probe.pix_fmt == "p010le" else ProbeOutcome(0)

    found = detect(LINUX, old_chip)
    hevc = next(c for c in found.capabilities if c.encoder == "hevc_qsv")
    assert (hevc.bit_depths, hevc.without) == ((8,), ())
    assert any("10 bit" in d.cause for d in found.diagnoses)


@pytest.mark.parametrize("entry", recorded("qsv"), ids=lambda r: f"{r.name}-{r.ffmpeg}")
def test_every_recorded_failure_is_explained(entry: Recorded) -> None:
    offered = Capability("h264_qsv", Codec.H264, "qsv", device=NODE, ffmpeg="9.0.2")
    found = BACKEND.explain(offered, entry.outcome)
    assert found is not None
    assert found.cause
    assert found.hint or found.trouble is Trouble.UNSUPPORTED


def test_device_without_runtime_is_told_apart_from_a_device_that_is_busy() -> None:
    offered = Capability("h264_qsv", Codec.H264, "qsv", device=NODE)
    missing = BACKEND.explain(offered, failure("qsv", "no runtime"))
    assert missing is not None
    assert missing.trouble is Trouble.MISSING
    assert "libmfx" in missing.hint
    busy = ProbeOutcome(171, stderr="Error initializing the encoder: device busy (2)")
    explained = BACKEND.explain(offered, busy)
    assert explained is not None
    assert explained.trouble is Trouble.BUSY
