"""The amf plugin, by the tests that all hardware plugins share and by its own.

Nothing here ran on an AMD GPU: failures are recordings of machines without one, or texts put
together from ffmpeg's source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import attrs
import pytest

import ffcluster_amf
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

(BACKEND,) = ffcluster_amf.ffcluster_backends()
VIDEO = video(codec="h264", width=640, height=480, color=())
ENCODERS = frozenset({"h264_amf", "hevc_amf", "av1_amf"})
BUILD = FfmpegBuild("ffmpeg", "9.0.2", 9, 0, ENCODERS, frozenset({"vpp_amf"}))
OLD = FfmpegBuild("ffmpeg", "5.1.9", 5, 1, frozenset({"h264_amf", "hevc_amf"}))
WINDOWS = Machine(4, "win32")
LINUX = Machine(4, "linux", (DeviceNode("/dev/dri/renderD128", "0x1002", "amdgpu", "Radeon"),))
ADAPTERS = ProbeOutcome(
    1,
    stderr="""[AVHWDeviceContext @ 0x1] Using device 1002:744c (AMD Radeon RX 7900 XTX).
[AVHWDeviceContext @ 0x2] Using device 1002:164e (AMD Radeon(TM) Graphics).
[AVHWDeviceContext @ 0x3] Using device 1414:008c (Microsoft Basic Render Driver).
Device creation failed: -542398533.
""",
)
QUALITY = RateControl()
BITRATE = RateControl(RateMode.BITRATE, target_bps=5_000_000)


def detect(
    machine: Machine, answer: Callable[[Probe], ProbeOutcome], build: FfmpegBuild = BUILD
) -> Detection:
    found = Detection(Registry.load(allow={"amf"}), build, machine)
    while not found.finished:
        for probe in found.take_probes():
            found.feed(probe, answer(probe))
    assert not found.errors, found.errors
    return found


def windows(trial: Callable[[Probe], ProbeOutcome]) -> Callable[[Probe], ProbeOutcome]:
    return lambda probe: ADAPTERS if "nullsrc" in " ".join(probe.argv) else trial(probe)


def made(
    encoder: str,
    rate: RateControl = QUALITY,
    *,
    device: str = "dx:0",
    without: tuple[str, ...] = (),
    pix_fmt: str = "nv12",
    on_device: str | None = None,
    **changes: object,
) -> EncodeArguments:
    codec = Codec(encoder.removesuffix("_amf"))
    offered = Capability(encoder, codec, "amf", device, (pix_fmt,), without=without)
    filters = parse_filters(on_device) if on_device else ()
    profile = Profile(codec=codec, encoder=encoder, rate=rate, filters=filters, **changes)  # type: ignore[arg-type]
    hardware_decode = on_device is not None
    return BACKEND.arguments(
        BUILD, offered, profile, VIDEO, threads=0, hardware_decode=hardware_decode
    )


def line(arguments: EncodeArguments) -> str:
    return " ".join(arguments.output_args)


class TestAmf(BackendContract):
    backend: ClassVar[Backend] = BACKEND
    devices = ("dx:0", "amf:0")
    distribution = "ffcluster-plugin-amf"
    # tests/encoders/test_argv_lint.py has many more.
    lint_samples = 4


def test_windows_finds_every_amd_adapter_with_one_command() -> None:
    found = detect(WINDOWS, windows(lambda _probe: ProbeOutcome(0)))
    assert {(c.device, c.encoder) for c in found.capabilities} == {
        (device, encoder) for device in ("dx:0", "dx:1") for encoder in ENCODERS
    }
    names = {c.device: c.device_name for c in found.capabilities}
    assert names == {"dx:0": "AMD Radeon RX 7900 XTX", "dx:1": "AMD Radeon(TM) Graphics"}
    depths = {c.encoder: c.bit_depths for c in found.capabilities}
    assert depths == {"h264_amf": (8,), "hevc_amf": (8, 10), "av1_amf": (8, 10)}


def test_windows_without_an_amd_adapter_is_diagnosed() -> None:
    other = attrs.evolve(ADAPTERS, stderr=ADAPTERS.stderr.replace("1002:", "8086:"))
    (diagnosis,) = detect(WINDOWS, lambda _probe: other).diagnoses
    assert "no AMD GPU" in diagnosis.cause


def test_linux_has_one_device_without_a_choice() -> None:
    found = detect(LINUX, lambda _probe: ProbeOutcome(0))
    assert {(c.device, c.device_name) for c in found.capabilities} == {("amf:0", "Radeon")}
    assert made("h264_amf", device="amf:0").global_args == ("-init_hw_device", "amf=am")
    (told,) = BACKEND.detect(OLD, LINUX)
    assert "needs a newer ffmpeg" in told.cause  # type: ignore[union-attr]


def test_windows_opens_amf_on_the_adapter_where_ffmpeg_can() -> None:
    assert made("h264_amf", device="dx:1").global_args == (
        "-init_hw_device", "d3d11va=dx:1", "-init_hw_device", "amf=am@dx",
    )  # fmt: skip
    older = detect(WINDOWS, windows(lambda _probe: ProbeOutcome(0)), OLD)
    assert {c.encoder for c in older.capabilities} == OLD.encoders
    assert not any(c.hardware_decode for c in older.capabilities)
    offered = older.capabilities[0]
    profile = Profile(codec=offered.codec)
    older_args = BACKEND.arguments(OLD, offered, profile, VIDEO, threads=0)
    assert older_args.global_args == ("-init_hw_device", f"d3d11va={offered.device}")


def test_linux_without_an_amd_gpu_costs_no_probe() -> None:
    (found,) = BACKEND.detect(BUILD, Machine(4, "linux"))
    assert not isinstance(found, Probe)
    assert "no render node of an AMD GPU" in found.cause  # type: ignore[union-attr]


def test_missing_runtime_points_to_vaapi() -> None:
    found = detect(LINUX, lambda _probe: failure("amf", "no runtime"))
    assert not found.capabilities
    (diagnosis,) = found.diagnoses
    assert "VAAPI" in diagnosis.hint


@pytest.mark.parametrize(
    ("encoder", "quality", "expected"),
    [
        ("h264_amf", 24, "-qp_i 24 -qp_p 26 -qp_b 28"),
        ("hevc_amf", 25, "-qp_i 25 -qp_p 27 -forced_idr"),
        ("av1_amf", 120, "-qp_i 120 -qp_p 128 -qp_b 136"),
        ("h264_amf", 51, "-qp_i 51 -qp_p 51 -qp_b 51"),
    ],
)
def test_quality_is_a_constant_quantizer_on_the_codecs_own_scale(
    encoder: str, quality: int, expected: str
) -> None:
    found = line(made(encoder, RateControl(quality=quality)))
    assert f"-rc cqp {expected}" in found
    assert "preanalysis" not in found


def test_bit_rate_obeys_a_peak_and_looks_ahead() -> None:
    peak = attrs.evolve(BITRATE, max_bps=8_000_000, buffer_bits=10_000_000)
    found = line(made("h264_amf", peak))
    assert "-rc vbr_peak -b:v 5000000 -maxrate 8000000 -bufsize 10000000 -preanalysis 1" in found
    assert "preanalysis" not in line(made("h264_amf", peak, without=("preanalysis",)))


def test_presets_go_by_name_and_headers_stand_at_every_keyframe() -> None:
    hevc = line(made("hevc_amf", preset="quality", gop_frames=48))
    for words in ("-quality quality", "-gops_per_idr 1", "-header_insertion_mode idr", "-g 48"):
        assert words in hevc
    assert "-header_insertion_mode gop" in line(made("av1_amf"))
    assert "-bitdepth 10" in line(made("hevc_amf", pix_fmt="p010le"))
    assert "-bitdepth" not in line(made("hevc_amf"))


def test_decoding_on_the_device() -> None:
    windows = made("hevc_amf", on_device="scale=320:-2")
    assert windows.global_args == (
        "-init_hw_device", "d3d11va=dx:0", "-init_hw_device", "amf=am@dx",
        "-filter_hw_device", "am",
    )  # fmt: skip
    assert "d3d11va" in windows.input_args
    assert windows.filters[0] == "format=d3d11|amf,vpp_amf=w=320:h=240:format=nv12"
    assert "amf" in made("hevc_amf", device="amf:0", on_device="").input_args


def test_preanalysis_and_unknown_options_are_left_out_where_refused() -> None:
    def older(probe: Probe) -> ProbeOutcome:
        words = " ".join(probe.argv)
        if "-bitdepth" in words:
            return ProbeOutcome(8, stderr="Unrecognized option 'bitdepth'.\n")
        if "-preanalysis 1" in words:
            return ProbeOutcome(
                171, stderr="[hevc_amf @ 0x1] encoder->Init() failed with error 1\n"
            )
        return ProbeOutcome(0)

    found = detect(WINDOWS, windows(older))
    by_encoder = {c.encoder: c for c in found.capabilities if c.device == "dx:0"}
    assert by_encoder["h264_amf"].without == ("preanalysis",)
    assert set(by_encoder["hevc_amf"].without) == {"bitdepth", "preanalysis"}
    assert by_encoder["hevc_amf"].bit_depths == (8, 10)
    dropped = [d for d in found.diagnoses if d.trouble is Trouble.DROPPED]
    assert {d.without for d in dropped} == {"bitdepth", "preanalysis"}


@pytest.mark.parametrize("entry", recorded("amf"), ids=lambda r: f"{r.name}-{r.ffmpeg}")
def test_every_recorded_failure_is_explained(entry: Recorded) -> None:
    offered = Capability("h264_amf", Codec.H264, "amf", device="amf:0")
    found = BACKEND.explain(offered, entry.outcome)
    assert found is not None
    assert found.hint
