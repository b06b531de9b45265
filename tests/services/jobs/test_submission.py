"""From a client's request to a full specification; names stay in the output folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.core.model import Fallback, JobRequest, JobSpec
from ffcluster.core.profile import Codec, Container, Profile, RateControl, RateMode
from ffcluster.encoders.registry import Registry
from ffcluster.errors import ContainerUnsuitable, FfclusterError, InvalidOption, Refused
from ffcluster.services.jobs.submission import check_name, make_spec
from ffcluster.services.settings.config import ServerSettings

REGISTRY = Registry.load()


def request(**changes: object) -> JobRequest:
    return JobRequest(**({"source_name": "film.mkv", "server_path": "/films/film.mkv"} | changes))  # type: ignore[arg-type]


def spec(settings: ServerSettings | None = None, **changes: object) -> JobSpec:
    return make_spec(request(**changes), settings or ServerSettings(), REGISTRY)


@pytest.mark.parametrize(
    "sources",
    [{"server_path": None}, {"upload_id": "u1"}, {"server_path": None, "upload_id": None}],
)
def test_exactly_one_source_is_needed(sources: dict[str, str | None]) -> None:
    with pytest.raises(Refused, match="either"):
        spec(**sources)


@pytest.mark.parametrize(
    "name",
    [
        "../film.mp4",
        "a/film.mp4",
        "/film.mp4",
        "..",
        ".",
        "",
        ".film.mp4",
        "a\\film.mp4",
        "C:film.mp4",
        "film\n.mp4",
        "film\x00.mp4",
        "film\x1b[31m.mp4",
        "film?.mp4",
        "film*.mp4",
        'film".mp4',
        "<film>.mp4",
        "a|b.mp4",
        "x" * 201 + ".mp4",
        "é" * 100 + ".mp4",
        "film\u202e4pm.mp4",
    ],
)
def test_name_that_is_no_plain_file_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        check_name(name)
    assert caught.value.option == "--file-name-output"


@pytest.mark.parametrize(
    "name", ["film.mp4", "Der Film (1).mkv", "фильм.webm", "a.b.c.mov", "-x.mp4"]
)
def test_plain_names_are_taken(name: str) -> None:
    check_name(name)


@given(st.text(max_size=60))
def test_name_that_is_taken_stays_in_its_directory(name: str) -> None:
    try:
        check_name(name)
    except InvalidOption:
        return
    assert (Path("/out") / name).parent == Path("/out")


@given(st.text(max_size=300))
def test_name_made_from_any_source_name_can_be_taken(source_name: str) -> None:
    made = spec(source_name=source_name, output_name=None)
    check_name(made.output_name)
    assert made.container is Container.MKV


def test_name_made_from_a_long_name_of_wide_letters_is_cut_between_letters() -> None:
    made = spec(source_name="映" * 200 + ".mkv").output_name
    assert made == "映" * 62 + "-encoded.mkv"


def test_name_of_the_job_beats_that_of_the_settings_and_both_beat_the_made_one() -> None:
    settings = ServerSettings(output_name="server.mp4")
    assert spec(settings, output_name="job.mov").output_name == "job.mov"
    assert spec(settings).output_name == "server.mp4"
    assert spec().output_name == "film-encoded.mkv"


def test_container_follows_the_suffix() -> None:
    for suffix in ("mp4", "mov", "mkv"):
        assert spec(output_name=f"film.{suffix}").container is Container(suffix)
    with pytest.raises(FfclusterError):
        spec(output_name="film.avi")
    with pytest.raises(FfclusterError):
        spec(output_name="film")


def test_codec_that_the_container_cannot_hold_is_refused() -> None:
    with pytest.raises(ContainerUnsuitable):
        spec(output_name="film.webm", profile=Profile(codec=Codec.H264))


def test_profile_of_the_job_beats_that_of_the_settings() -> None:
    settings = ServerSettings(profile=Profile(name="server"))
    assert spec(settings).profile.name == "server"
    assert spec(settings, profile=Profile(name="job")).profile.name == "job"


def test_setting_that_the_pinned_encoder_does_not_know_is_refused() -> None:
    with pytest.raises(FfclusterError, match="preset"):
        spec(profile=Profile(encoder="libx264", preset="warp-nine"))


def test_exactly_follows_the_settings_unless_the_job_says_otherwise() -> None:
    loose = ServerSettings(exactly=False)
    assert spec(loose).exactly is False
    assert spec(loose, exactly=True).exactly is True
    assert spec(exactly=False).exactly is False


@pytest.mark.parametrize("cuts", [(0,), (5, -1)])
def test_cut_before_the_first_frame_is_refused(cuts: tuple[int, ...]) -> None:
    with pytest.raises(InvalidOption) as caught:
        spec(cut_frames=cuts)
    assert caught.value.option == "cut_frames"


def test_lossless_profile_is_carried_over_unchanged() -> None:
    profile = Profile(rate=RateControl(RateMode.LOSSLESS))
    assert spec(profile=profile).profile == profile


def test_how_encoders_may_share_a_job_is_passed_on() -> None:
    made = spec(mix=True, fallback=Fallback.ALLOW, hardware_decode=True)
    assert (made.mix, made.fallback, made.hardware_decode) == (True, Fallback.ALLOW, True)
    plain = spec()
    assert (plain.mix, plain.fallback, plain.hardware_decode) == (False, Fallback.STRICT, False)
