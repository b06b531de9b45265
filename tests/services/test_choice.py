"""Who can do a job, who fits to whom, and why nobody can: as the plugins answer the core."""

from __future__ import annotations

import attrs
import pytest

from ffcluster.core.judge import Candidate, Judge
from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, Diagnosis, Fallback, JobSpec
from ffcluster.core.profile import Codec, Container, Profile, RateControl, RateMode
from ffcluster.core.timeline import TimeBase
from ffcluster.encoders.registry import Registry
from ffcluster.encoders.software_schemas import SCHEMAS
from ffcluster.errors import Code, ErrorReport
from ffcluster.services.choice import RegistryJudge, plugin_warnings

REGISTRY = Registry.load()
VIDEO = VideoFormat("h264", 1280, 720, "yuv420p", TimeBase(1, 25), (25, 1))
BY_NAME = {schema.encoder: schema for schema in SCHEMAS}


def software(encoder: str) -> Capability:
    schema = BY_NAME[encoder]
    return Capability(
        encoder, schema.codec, pix_fmts=("yuv420p",), rate_modes=schema.rate_modes,
        presets=schema.presets, rank=50,
    )  # fmt: skip


X264, X265 = software("libx264"), software("libx265")
SVT, AOM = software("libsvtav1"), software("libaom-av1")
NVENC = Capability(
    "h264_nvenc", Codec.H264, "nvenc", "cuda:0", pix_fmts=("yuv420p", "nv12"), rank=140,
    rate_modes=(RateMode.QUALITY, RateMode.BITRATE),
)  # fmt: skip
STRANGE = attrs.evolve(NVENC, encoder="h264_strange", backend="strange", device="strange:0")


def spec(
    codec: Codec = Codec.H264,
    *,
    container: Container = Container.MKV,
    fallback: Fallback = Fallback.STRICT,
    **profile: object,
) -> JobSpec:
    return JobSpec(
        Profile(codec=codec, **profile),  # type: ignore[arg-type]
        container,
        "out.mkv",
        "in.mkv",
        fallback=fallback,
    )


def judge(*diagnoses: Diagnosis) -> RegistryJudge:
    return RegistryJudge(REGISTRY, lambda: diagnoses)


def found(wanted: JobSpec, *offered: Capability) -> list[tuple[str, bool]]:
    answer = judge().candidates(wanted, VIDEO, offered)
    assert not isinstance(answer, ErrorReport), answer
    return [(candidate.capability.encoder, candidate.fallback) for candidate in answer]


def refused(
    wanted: JobSpec, *offered: Capability, known: tuple[Diagnosis, ...] = ()
) -> ErrorReport:
    answer = judge(*known).candidates(wanted, VIDEO, offered)
    assert isinstance(answer, ErrorReport)
    assert answer.code is Code.NO_USABLE_ENCODER
    assert answer.retryable
    return answer


def test_it_is_a_judge() -> None:
    asked: Judge = judge()
    assert asked.carries_mixture(spec()) == ""


def test_without_a_pinned_encoder_hardware_and_software_are_candidates_alike() -> None:
    both = [("libx264", False), ("h264_nvenc", False)]
    for fallback in Fallback:
        assert found(spec(fallback=fallback), X264, NVENC, X265) == both


def test_candidates_are_ranked_by_their_backends() -> None:
    answer = judge().candidates(spec(), VIDEO, [X264, NVENC])
    assert not isinstance(answer, ErrorReport)
    software_, hardware = (candidate.rank for candidate in answer)
    assert hardware > 100 > software_


def test_what_is_offered_twice_is_one_candidate() -> None:
    assert judge().candidates(spec(), VIDEO, [X264, X264]) == (Candidate(X264, 50),)


def test_capability_that_cannot_do_the_profile_is_none() -> None:
    lossless = spec(rate=RateControl(RateMode.LOSSLESS))
    assert found(lossless, X264, NVENC) == [("libx264", False)]


def test_pinned_encoder_is_the_only_candidate() -> None:
    assert found(spec(encoder="h264_nvenc"), X264, NVENC) == [("h264_nvenc", False)]


def test_software_is_a_fallback_of_pinned_hardware_where_the_job_allows_it() -> None:
    wanted = spec(encoder="h264_nvenc", fallback=Fallback.ALLOW)
    assert found(wanted, X264, X265, NVENC) == [("h264_nvenc", False), ("libx264", True)]
    assert found(wanted, X264) == [("libx264", True)]


def test_quality_of_pinned_hardware_is_carried_over_to_its_fallback() -> None:
    # 51 is in the range of both; what only one of them knows by name is not a fallback.
    wanted = spec(
        encoder="h264_nvenc", fallback=Fallback.ALLOW, rate=RateControl(quality=51), preset="p7"
    )
    assert found(wanted, X264) == [("libx264", True)]
    own = spec(
        encoder="h264_nvenc", fallback=Fallback.ALLOW, encoder_options=(("spatial-aq", "1"),)
    )
    assert refused(own, X264)


def test_other_software_never_stands_in_for_pinned_software() -> None:
    wanted = spec(Codec.AV1, encoder="libsvtav1", fallback=Fallback.ALLOW)
    assert found(wanted, SVT, AOM) == [("libsvtav1", False)]
    assert refused(wanted, AOM)


def test_encoder_of_a_plugin_that_only_the_worker_has_is_judged_by_its_capability() -> None:
    assert found(spec(), STRANGE) == [("h264_strange", False)]


def test_refusal_names_each_encoder_with_its_reason() -> None:
    report = refused(spec(Codec.AV1), X264, X265)
    assert "av1" in report.message
    assert "libx264" in report.advice
    assert "libx265" in report.advice


def test_refusal_tells_what_is_known_of_the_encoder_and_what_helps() -> None:
    known = (
        Diagnosis("nvenc", "cuda:0", "the driver is too old", "update it", "h264_nvenc"),
        Diagnosis("nvenc", "", "something about HEVC", "no matter", "hevc_nvenc"),
        Diagnosis("vaapi", "", "no render node", "no matter either"),
    )
    report = refused(spec(encoder="h264_nvenc"), X264, known=known)
    assert "update it" in report.advice
    assert "no matter" not in report.advice
    assert report.detail["diagnoses"] == ["h264_nvenc cuda:0: the driver is too old"]


def test_refusal_of_hardware_says_that_software_could_do_it() -> None:
    assert "--fallback allow" in refused(spec(encoder="h264_nvenc"), X264).advice
    assert "--fallback allow" not in refused(spec(encoder="h264_nvenc"), X265).advice
    assert "--fallback allow" not in refused(spec(encoder="libx264"), X265).advice


def test_joins_are_the_plugins_to_decide() -> None:
    assert judge().joins(spec(), X264, NVENC) is None


@pytest.mark.parametrize("codec", [Codec.H264, Codec.HEVC, Codec.AV1, Codec.VP9])
def test_every_codec_that_brings_its_headers_along_can_be_mixed(codec: Codec) -> None:
    assert judge().carries_mixture(spec(codec)) == ""


def test_ffv1_cannot_be_mixed_and_says_why() -> None:
    assert "header" in judge().carries_mixture(spec(Codec.FFV1))


def test_names_that_no_plugin_has_are_warned_of() -> None:
    registry = Registry.load(disabled={"softwear"})
    assert any("softwear" in warning for warning in plugin_warnings(registry))
