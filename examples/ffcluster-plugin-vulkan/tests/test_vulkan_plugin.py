"""The Vulkan plugin, by the suite that every plugin can use and by tests of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

import ffcluster_vulkan
from ffcluster.core.model import Capability, Trouble
from ffcluster.core.profile import Codec, Profile, RateControl, RateMode
from ffcluster.encoders.backend import ProbeOutcome
from ffcluster.testing import (
    BackendContract,
    fake_build,
    load_recording,
    recordings_in,
    replay,
    sample_video,
)

(BACKEND,) = ffcluster_vulkan.ffcluster_backends()
RECORDINGS = Path(__file__).with_name("recordings")
GPU = Capability("hevc_vulkan", Codec.HEVC, "vulkan", "vulkan:1", ("nv12", "p010le"), rank=100)


class TestVulkan(BackendContract):
    backend = BACKEND
    recordings = recordings_in(RECORDINGS)
    devices = ("vulkan:0", "vulkan:1")
    distribution = "ffcluster-plugin-vulkan"


def test_only_gpus_that_encode_are_offered_and_driven_as_they_can() -> None:
    found = replay(BACKEND, load_recording(RECORDINGS / "two_gpus.json"))
    hevc = next(c for c in found.capabilities if c.encoder == "hevc_vulkan")
    assert hevc.device_name == "NVIDIA GeForce RTX 4070"
    assert hevc.bit_depths == (8, 10)
    assert hevc.without == ("vbr",)
    dropped = [d for d in found.diagnoses if d.trouble is Trouble.DROPPED]
    assert [d.without for d in dropped] == ["vbr"]
    target = Profile(codec=Codec.HEVC, rate=RateControl(RateMode.BITRATE, target_bps=5_000_000))
    made = BACKEND.arguments(fake_build("hevc_vulkan"), hevc, target, sample_video(), threads=0)
    assert made.output_args[2:6] == ("-rc_mode", "cbr", "-b:v", "5000000")


def test_device_is_opened_by_its_number_and_gets_the_picture_uploaded() -> None:
    profile = Profile(codec=Codec.HEVC)
    made = BACKEND.arguments(fake_build("hevc_vulkan"), GPU, profile, sample_video(), threads=0)
    assert made.global_args == ("-init_hw_device", "vulkan=vk:1", "-filter_hw_device", "vk")
    assert made.filters[0] == "format=nv12"
    assert made.filters[-1] == "hwupload"


@pytest.mark.parametrize(
    ("stderr", "trouble"),
    [
        ("[Vulkan @ 0x1] Unable to open the libvulkan library!\n", Trouble.MISSING),
        ("Submission failed: VK_ERROR_DEVICE_LOST\n", Trouble.BROKEN),
        ("Unable to allocate memory: VK_ERROR_OUT_OF_DEVICE_MEMORY\n", Trouble.BUSY),
        ("Input of 9000x9000 too large for encoder limits: 4096x4096 max\n", Trouble.UNSUPPORTED),
    ],
)
def test_failure_in_the_middle_of_a_job_is_told_apart(stderr: str, trouble: Trouble) -> None:
    told = BACKEND.explain(GPU, ProbeOutcome(218, stderr=stderr))
    assert told is not None
    assert told.trouble is trouble
    assert told.hint
