"""The videotoolbox plugin, by the tests that all hardware plugins share and by its own.

Nothing here ran on a Mac: failures are texts put together from ffmpeg's source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import attrs
import pytest

import ffcluster_videotoolbox
from ffcluster.core.model import Capability, Trouble
from ffcluster.core.profile import Codec, Profile, RateControl, RateMode
from ffcluster.encoders.backend import (
    Backend,
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
from ffcluster.testing import BackendContract
from tests.encoders.builds import video
from tests.encoders.recorded import Recorded, failure, recorded

(BACKEND,) = ffcluster_videotoolbox.ffcluster_backends()
VIDEO = video(codec="h264", width=640, height=480, color=())
ENCODERS = frozenset({"h264_videotoolbox", "hevc_videotoolbox"})
BUILD = FfmpegBuild("ffmpeg", "7.1", 7, 1, ENCODERS, frozenset({"scale_vt"}))
MAC = Machine(8, "darwin")
QUALITY = RateControl()


def detect(answer: Callable[[Probe], ProbeOutcome]) -> Detection:
    found = Detection(Registry.load(allow={"videotoolbox"}), BUILD, MAC)
    while not found.finished:
        for probe in found.take_probes():
            found.feed(probe, answer(probe))
    assert not found.errors, found.errors
    return found


def made(
    encoder: str = "hevc_videotoolbox",
    rate: RateControl = QUALITY,
    *,
    build: FfmpegBuild = BUILD,
    without: tuple[str, ...] = (),
    pix_fmts: tuple[str, ...] = ("nv12", "p010le"),
    on_device: str | None = None,
    **changes: object,
) -> EncodeArguments:
    codec = Codec.HEVC if encoder.startswith("hevc") else Codec.H264
    offered = Capability(encoder, codec, "videotoolbox", "gpu", pix_fmts, without=without)
    filters = parse_filters(on_device) if on_device else ()
    profile = Profile(codec=codec, encoder=encoder, rate=rate, filters=filters, **changes)  # type: ignore[arg-type]
    hardware_decode = on_device is not None
    return BACKEND.arguments(
        build, offered, profile, VIDEO, threads=0, hardware_decode=hardware_decode
    )


def line(arguments: EncodeArguments) -> str:
    return " ".join(arguments.output_args)


class TestVideoToolbox(BackendContract):
    backend: ClassVar[Backend] = BACKEND
    devices = ("gpu",)
    distribution = "ffcluster-plugin-videotoolbox"
    # tests/encoders/test_argv_lint.py has many more.
    lint_samples = 4


def test_every_mac_has_one_device() -> None:
    found = detect(lambda _probe: ProbeOutcome(0))
    assert {(c.device, c.encoder) for c in found.capabilities} == {("gpu", e) for e in ENCODERS}
    depths = {c.encoder: c.bit_depths for c in found.capabilities}
    assert depths == {"h264_videotoolbox": (8,), "hevc_videotoolbox": (8, 10)}
    assert all(c.hardware_decode for c in found.capabilities)


def test_mac_without_constant_quality_offers_a_bit_rate_only() -> None:
    def intel(probe: Probe) -> ProbeOutcome:
        refused = "-q:v" in probe.argv
        return failure("videotoolbox", "no quality") if refused else ProbeOutcome(0)

    found = detect(intel)
    assert {c.encoder for c in found.capabilities} == ENCODERS
    for capability in found.capabilities:
        assert capability.rate_modes == (RateMode.BITRATE,)
    assert {d.without for d in found.diagnoses if d.trouble is Trouble.DROPPED} == {"quality"}


def test_quality_or_bit_rate_is_always_set_and_no_peak() -> None:
    assert "-q:v 48 " in line(made())
    assert "-q:v 75 " in line(made(rate=RateControl(quality=75)))
    bitrate = RateControl(RateMode.BITRATE, target_bps=5_000_000)
    assert "-b:v 5000000 " in line(made(rate=bitrate))
    with pytest.raises(UnsupportedOption) as caught:
        made(rate=attrs.evolve(bitrate, max_bps=8_000_000))
    assert caught.value.option == "maxrate"


def test_preset_is_whether_speed_goes_first() -> None:
    assert "-prio_speed 1" in line(made(preset="speed"))
    assert "-prio_speed 0" in line(made(preset="quality"))
    assert "-prio_speed" not in line(made(preset="speed", without=("prio_speed",)))


def test_ffmpeg_that_does_not_know_the_preset_works_without_it() -> None:
    def old(probe: Probe) -> ProbeOutcome:
        if "-prio_speed" in probe.argv:
            return ProbeOutcome(1, stderr="Unrecognized option 'prio_speed'.\n")
        return ProbeOutcome(0)

    found = detect(old)
    assert all(c.without == ("prio_speed",) for c in found.capabilities)


def test_neighbouring_segments_are_never_claimed() -> None:
    assert "-frames_before" not in line(made())
    assert "-frames_after" not in line(made())
    for option in ("frames_before", "frames_after"):
        with pytest.raises(UnsupportedOption):
            made(encoder_options=((option, "1"),))


def test_option_of_a_newer_ffmpeg_is_refused_on_an_older_one() -> None:
    spatial = (("spatial_aq", "1"),)
    with pytest.raises(UnsupportedOption, match="spatial_aq"):
        made(encoder_options=spatial)
    newer = attrs.evolve(BUILD, version="9.0.2", major=9, minor=0)
    assert "-spatial_aq 1" in line(made(build=newer, encoder_options=spatial))


def test_decoding_on_the_device_keeps_the_bit_depth() -> None:
    found = made(on_device="scale=320:-2", pix_fmts=("nv12",))
    assert found.input_args[:2] == ("-hwaccel", "videotoolbox")
    assert found.filters[0] == "format=videotoolbox_vld,scale_vt=w=320:h=240"
    assert made(on_device="").filters[0] == "format=videotoolbox_vld"
    deeper = made(on_device="", bit_depth=10)
    assert deeper.input_args == ()
    assert "bit depth" in " ".join(deeper.notes)


@pytest.mark.parametrize("entry", recorded("videotoolbox"), ids=lambda r: f"{r.name}-{r.ffmpeg}")
def test_every_recorded_failure_is_explained(entry: Recorded) -> None:
    offered = Capability("hevc_videotoolbox", Codec.HEVC, "videotoolbox", device="gpu")
    found = BACKEND.explain(offered, entry.outcome)
    assert found is not None
    assert found.hint


def test_busy_is_back_pressure() -> None:
    offered = Capability("h264_videotoolbox", Codec.H264, "videotoolbox", device="gpu")
    found = BACKEND.explain(offered, failure("videotoolbox", "busy"))
    assert found is not None
    assert found.trouble is Trouble.BUSY
