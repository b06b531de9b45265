"""How a file was made, in words."""

from __future__ import annotations

from ffcluster.core.model import Capability, Contribution, SegmentProof
from ffcluster.core.profile import Codec, Profile
from ffcluster.encoders.registry import Registry
from ffcluster.services.jobs.making import notes

REGISTRY = Registry.load()
X264 = Capability("libx264", Codec.H264)
NVENC = Capability("h264_nvenc", Codec.H264, "nvenc", "cuda:0")
BY_X264 = Contribution("libx264", False, "a" * 64, 3, 90, fallback=True)
BY_NVENC = Contribution("h264_nvenc", True, "b" * 64, 12, 900)


def test_a_film_of_one_encoder_that_did_all_has_no_notes() -> None:
    assert notes(Profile(), [BY_NVENC], [NVENC], [SegmentProof(1)], REGISTRY) == []


def test_stand_ins_and_mixtures_are_told() -> None:
    told = notes(Profile(), [BY_NVENC, BY_X264], [NVENC, X264], [], REGISTRY)
    assert told == [
        "software stood in for hardware: libx264 made 3 segments (90 frames)",
        "segments carry different parameter sets: h264_nvenc 12 segments, libx264 3 segments",
    ]


def test_what_an_encoder_has_no_setting_for_is_told() -> None:
    (told,) = notes(Profile(tune="film"), [BY_NVENC], [NVENC], [], REGISTRY)
    assert told == "h264_nvenc has no tune 'film': it is left out"


def test_notes_of_segments_are_told_once_and_not_endlessly() -> None:
    same = [SegmentProof(1, notes=("no HDR10 metadata",))] * 5
    assert notes(Profile(), [BY_NVENC], [NVENC], same, REGISTRY) == ["no HDR10 metadata"]
    many = [SegmentProof(1, notes=(f"note {n}",)) for n in range(1000)]
    assert len(notes(Profile(), [BY_NVENC], [NVENC], many, REGISTRY)) == 32
