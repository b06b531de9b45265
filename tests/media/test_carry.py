"""What becomes of sound, subtitles, chapters, covers and attachments."""

from __future__ import annotations

import io

import av
import pytest

from ffcluster.core.model import JobSpec
from ffcluster.core.profile import AudioMode, Codec, Container, Profile, SubtitleMode
from ffcluster.errors import ContainerUnsuitable
from ffcluster.media import carry
from ffcluster.media.carry import CarriedStream, SourceFacts, StreamFact, plan_carry

VIDEO = StreamFact(0, "video", "h264")


def _facts(*streams: StreamFact, chapters: int = 0) -> SourceFacts:
    return SourceFacts("matroska,webm", 0, (VIDEO, *streams), chapters, start_us=40_000)


def _spec(container: Container, codec: Codec = Codec.H264, **settings: object) -> JobSpec:
    profile = Profile(codec=codec, **settings)  # type: ignore[arg-type]
    return JobSpec(profile, container, f"out.{container.value}", "in.mkv")


def test_everything_goes_into_mkv_in_order() -> None:
    facts = _facts(
        StreamFact(1, "subtitle", "ass"),
        StreamFact(2, "audio", "truehd"),
        StreamFact(3, "attachment", "", title="font.ttf"),
        StreamFact(4, "video", "mjpeg", is_cover=True),
        chapters=3,
    )
    plan = plan_carry(facts, _spec(Container.MKV))
    assert [s.source_index for s in plan.streams] == [2, 1, 3, 4]
    assert plan.chapters
    assert plan.lost == ()
    assert plan.converted == ()
    assert plan.start_us == 40_000


def test_text_subtitles_are_converted_for_mp4_and_pictures_are_lost() -> None:
    facts = _facts(
        StreamFact(1, "subtitle", "subrip", language="fra"),
        StreamFact(2, "subtitle", "hdmv_pgs_subtitle", language="eng"),
    )
    plan = plan_carry(facts, _spec(Container.MP4))
    assert plan.streams == (CarriedStream(1, "subtitle", "mov_text", converted=True),)
    assert len(plan.lost) == 1
    assert "eng" in plan.lost[0]
    assert "mp4" in plan.lost[0]
    assert plan.conversion_format == "mp4"


def test_sound_that_does_not_fit_is_an_error_with_advice() -> None:
    facts = _facts(StreamFact(1, "audio", "vorbis"))
    with pytest.raises(ContainerUnsuitable, match="vorbis") as caught:
        plan_carry(facts, _spec(Container.MP4))
    assert "--audio aac" in caught.value.advice
    plan = plan_carry(facts, _spec(Container.MP4, audio=AudioMode.AAC))
    assert plan.streams == (CarriedStream(1, "audio", "aac", converted=True),)


def test_webm_takes_only_its_own_codecs() -> None:
    with pytest.raises(ContainerUnsuitable, match="h264") as caught:
        plan_carry(_facts(), _spec(Container.WEBM))
    assert ".mkv" in caught.value.advice
    with pytest.raises(ContainerUnsuitable):
        plan_carry(_facts(StreamFact(1, "audio", "aac")), _spec(Container.WEBM, Codec.VP9))
    plan = plan_carry(
        _facts(StreamFact(1, "audio", "aac"), StreamFact(2, "subtitle", "ass"), chapters=2),
        _spec(Container.WEBM, Codec.VP9, audio=AudioMode.OPUS),
    )
    assert [s.codec for s in plan.streams] == ["opus", "webvtt"]
    assert not plan.chapters
    assert len(plan.lost) == 1


def test_what_the_user_does_not_want_is_not_called_lost() -> None:
    facts = _facts(StreamFact(1, "audio", "aac"), StreamFact(2, "subtitle", "subrip"))
    wish = _spec(Container.MP4, audio=AudioMode.NONE, subtitles=SubtitleMode.NONE)
    plan = plan_carry(facts, wish)
    assert plan.streams == ()
    assert plan.lost == ()


def test_chapter_track_of_mp4_is_not_reported_as_lost_data() -> None:
    track, timecode = StreamFact(1, "data", "bin_data"), StreamFact(2, "data", "")
    plan = plan_carry(_facts(track, timecode, chapters=2), _spec(Container.MKV))
    assert len(plan.lost) == 1
    assert "#2" in plan.lost[0]


@pytest.mark.parametrize("container", list(Container))
def test_muxers_take_all_that_the_tables_promise(container: Container) -> None:
    name = {"mkv": "matroska"}.get(container.value, container.value)
    output = av.open(io.BytesIO(), "w", format=name)
    able = {av.codec.Codec(codec, mode).canonical_name for codec, mode in _codecs(output)}
    promised = carry._AUDIO[container] | carry._VIDEO[container]
    assert promised <= able
    assert {c.value for c in carry._OUTPUT_VIDEO.get(container, ())} <= able


def _codecs(output: av.container.OutputContainer) -> list[tuple[str, str]]:
    found = []
    for name in output.supported_codecs:
        for mode in ("r", "w"):
            try:
                av.codec.Codec(name, mode)
            except av.codec.codec.UnknownCodecError:
                continue
            found.append((name, mode))
            break
    return found
