from __future__ import annotations

import attrs

from ffcluster.core.model import Capability, Diagnosis
from ffcluster.core.profile import Codec, RateMode
from ffcluster.encoders.backend import Finding, Machine
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection, merged
from ffcluster.encoders.registry import Registry
from ffcluster.testing import FakeBackend, entry_point

BUILD = FfmpegBuild("ffmpeg", "9.0", 9, 0, frozenset({"h264_fake"}))
EIGHT = Capability(
    "h264_fake",
    Codec.H264,
    "fake",
    "cuda:0",
    pix_fmts=("nv12",),
    rate_modes=(RateMode.BITRATE,),
    min_size=(32, 64),
    max_size=(4096, 0),
    without=("aq",),
    driver="1.0",
)
TEN = attrs.evolve(
    EIGHT,
    pix_fmts=("p010le", "nv12"),
    bit_depths=(10,),
    rate_modes=(RateMode.LOSSLESS, RateMode.QUALITY),
    min_size=(48, 16),
    max_size=(8192, 2304),
    without=("look",),
    hardware_decode=True,
    driver="",
)


def found(*findings: Finding) -> Detection:
    registry = Registry.of([entry_point("fake", lambda: [FakeBackend(found=findings)])])
    return Detection(registry, BUILD, Machine(2, "linux"))


def test_findings_about_one_encoder_on_one_device_are_one_capability() -> None:
    (capability,) = found(EIGHT, TEN).capabilities
    assert capability.pix_fmts == ("nv12", "p010le")
    assert capability.bit_depths == (8, 10)
    assert capability.rate_modes == tuple(RateMode)
    assert capability.min_size == (48, 64)
    assert capability.max_size == (4096, 2304)
    assert capability.without == ("aq", "look")
    assert capability.hardware_decode
    assert capability.driver == "1.0"


def test_other_devices_and_encoders_stay_apart() -> None:
    others = [attrs.evolve(EIGHT, device="cuda:1"), attrs.evolve(EIGHT, encoder="av1_fake")]
    assert len(found(EIGHT, *others).capabilities) == 3


def test_limit_of_one_side_holds_for_both_until_the_other_is_known() -> None:
    assert found(EIGHT).capabilities[0].max_size == (4096, 4096)
    assert merged(EIGHT, attrs.evolve(EIGHT, max_size=(0, 100))).max_size == (4096, 100)


def test_merging_twice_changes_nothing() -> None:
    once = merged(EIGHT, TEN)
    assert merged(once, TEN) == merged(once, EIGHT) == once


def test_equal_diagnoses_are_told_once() -> None:
    told = Diagnosis("fake", "cuda:0", "no session")
    other = attrs.evolve(told, device="cuda:1")
    assert found(told, told, other).diagnoses == [told, other]
