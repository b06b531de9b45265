"""Decide what becomes of everything in a source but its pictures. Pure; opens no file."""

from __future__ import annotations

import attrs

from ffcluster.core.model import JobSpec
from ffcluster.core.profile import AudioMode, Codec, Container, SubtitleMode
from ffcluster.errors import ContainerUnsuitable


@attrs.frozen
class StreamFact:
    """One stream of a source.

    Attributes:
        index: Its number in the file.
        kind: `video`, `audio`, `subtitle`, `attachment` or `data`.
        codec: FFmpeg's name of the codec, or "".
        language: ISO 639 code, or "".
        title: Its title, or "".
        dispositions: Names of the flags that are set (`default`, `forced`).
        is_cover: Whether it is a picture that stands for the whole file.
        decodable: Whether there is a decoder for it.
        channels: Channels of audio; 0 for anything else.
    """

    index: int
    kind: str
    codec: str
    language: str = ""
    title: str = ""
    dispositions: tuple[str, ...] = ()
    is_cover: bool = False
    decodable: bool = True
    channels: int = 0

    @property
    def label(self) -> str:
        """How a person knows it."""
        words = [f"{self.kind} stream #{self.index}"]
        if self.language:
            words.append(f"[{self.language}]")
        if self.codec:
            words.append(f"({self.codec})")
        return " ".join(words)


@attrs.frozen
class SourceFacts:
    """What a source holds.

    Attributes:
        format: FFmpeg's name of the container format.
        video_index: Number of the stream that is encoded.
        streams: All streams.
        chapters: Number of chapters.
        start_us: The earliest time of all streams in microseconds; becomes 0 in the output.
        metadata: Global tags.
    """

    format: str
    video_index: int
    streams: tuple[StreamFact, ...]
    chapters: int = 0
    start_us: int = 0
    metadata: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class CarriedStream:
    """A stream of the source that the output gets.

    Attributes:
        source_index: Its number in the source.
        kind: As `StreamFact.kind`.
        codec: FFmpeg's name of the codec in the output.
        converted: Whether it is encoded anew; otherwise its packets stay as they are.
        is_cover: Whether it is a cover picture.
    """

    source_index: int
    kind: str
    codec: str
    converted: bool = False
    is_cover: bool = False


@attrs.frozen
class CarryPlan:
    """What the output holds beside its pictures.

    Attributes:
        streams: In the order of the output, after the video.
        chapters: Whether the source's chapters are carried.
        lost: What the container cannot hold, a sentence each.
        conversion_format: Muxer for the streams that are encoded anew.
        start_us: Time in the source, in microseconds, that becomes 0 in the output.
    """

    streams: tuple[CarriedStream, ...] = ()
    chapters: bool = False
    lost: tuple[str, ...] = ()
    conversion_format: str = "matroska"
    start_us: int = 0

    @property
    def converted(self) -> tuple[CarriedStream, ...]:
        """The streams that are encoded anew."""
        return tuple(s for s in self.streams if s.converted)


_VIDEO = {
    Container.MKV: frozenset({
        "av1", "dirac", "ffv1", "h264", "hevc", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4",
        "msmpeg4v3", "prores", "rawvideo", "snow", "theora", "vp8", "vp9",
    }),
    Container.MP4: frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mjpeg"}),
    Container.MOV: frozenset(
        {"h264", "hevc", "mpeg4", "mpeg2video", "mjpeg", "prores", "dnxhd"}
    ),
    Container.WEBM: frozenset({"vp8", "vp9", "av1"}),
}  # fmt: skip
_OUTPUT_VIDEO = {
    Container.MP4: frozenset({Codec.H264, Codec.HEVC, Codec.AV1, Codec.VP9}),
    Container.MOV: frozenset({Codec.H264, Codec.HEVC}),
    Container.WEBM: frozenset({Codec.AV1, Codec.VP9}),
}
_MKV_AUDIO = frozenset({
    "aac", "ac3", "alac", "atrac1", "atrac3", "cook", "dts", "eac3", "flac", "mlp", "mp1", "mp2",
    "mp3", "opus", "pcm_f32le", "pcm_f64le", "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le",
    "pcm_s32be", "pcm_s32le", "pcm_u8", "qdm2", "ra_144", "ra_288", "sipr", "truehd", "tta",
    "vorbis", "wavpack",
})  # fmt: skip
_AUDIO = {
    Container.MKV: _MKV_AUDIO,
    Container.MP4: frozenset(
        {"aac", "ac3", "eac3", "mp2", "mp3", "opus", "flac", "alac", "dts"}
    ),
    Container.MOV: frozenset({
        "aac", "ac3", "eac3", "mp2", "mp3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le",
        "pcm_s24be", "pcm_s32le", "pcm_s32be", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be",
        "pcm_u8", "pcm_s8", "pcm_mulaw", "pcm_alaw",
    }),
    Container.WEBM: frozenset({"opus", "vorbis"}),
}  # fmt: skip
_TEXT_SUBTITLES = frozenset({
    "subrip", "ass", "ssa", "webvtt", "mov_text", "text", "microdvd", "subviewer", "subviewer1",
    "sami", "realtext", "mpl2", "jacosub", "pjs", "vplayer", "stl", "ttml",
})  # fmt: skip
_MKV_SUBTITLES = frozenset({
    "subrip", "ass", "webvtt", "text", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle",
})  # fmt: skip
_COPIED_SUBTITLES = {
    Container.MP4: frozenset({"mov_text"}),
    Container.MOV: frozenset({"mov_text"}),
    Container.MKV: _MKV_SUBTITLES,
    Container.WEBM: frozenset({"webvtt"}),
}
_SUBTITLE_TARGET = {
    Container.MP4: "mov_text",
    Container.MOV: "mov_text",
    Container.MKV: "subrip",
    Container.WEBM: "webvtt",
}
_AUDIO_ADVICE = {
    Container.MP4: "Use --audio aac, or a name that ends in .mkv.",
    Container.MOV: "Use --audio aac, or a name that ends in .mkv.",
    Container.MKV: "Use --audio aac or --audio opus.",
    Container.WEBM: "Use --audio opus, or a name that ends in .mkv.",
}
_COVERS = frozenset({"mjpeg", "png", "bmp"})


def plan_carry(facts: SourceFacts, spec: JobSpec) -> CarryPlan:
    """Decide for each stream of the source whether it is copied, encoded anew or left out.

    Raises:
        ContainerUnsuitable: The container cannot hold the video or the audio that is asked for.
    """
    _check_video(spec)
    carried: list[CarriedStream] = []
    lost: list[str] = []
    for stream in facts.streams:
        if stream.index == facts.video_index:
            continue
        found = _carry(stream, facts, spec)
        if isinstance(found, CarriedStream):
            carried.append(found)
        elif found:
            lost.append(found)
    chapters = facts.chapters > 0 and spec.container is not Container.WEBM
    if facts.chapters and not chapters:
        lost.append("The chapters are left out: WebM has none.")
    order = {"video": 0, "audio": 1, "subtitle": 2, "attachment": 3}
    carried.sort(key=lambda s: (s.is_cover, order[s.kind], s.source_index))
    return CarryPlan(
        tuple(carried), chapters, tuple(lost), _conversion_format(spec.container), facts.start_us
    )


def _conversion_format(container: Container) -> str:
    # The same kind of container rounds times, and notes an encoder's delay, as the output does.
    return "matroska" if container in (Container.MKV, Container.WEBM) else container.value


def _check_video(spec: JobSpec) -> None:
    codec, container = spec.profile.codec, spec.container
    if container is Container.MKV or codec in _OUTPUT_VIDEO[container]:
        return
    able = [c.value for c in Container if c not in _OUTPUT_VIDEO or codec in _OUTPUT_VIDEO[c]]
    raise ContainerUnsuitable(
        message=f"{container.value} cannot hold {codec.value} video",
        advice=f"Choose a name that ends in .{' or .'.join(able)}, or another --codec.",
    )


def _carry(stream: StreamFact, facts: SourceFacts, spec: JobSpec) -> CarriedStream | str:
    if stream.kind == "audio":
        return _carry_audio(stream, spec)
    if stream.kind == "subtitle":
        return _carry_subtitle(stream, spec)
    if stream.kind == "video":
        return _carry_video(stream, spec.container)
    if stream.kind == "attachment":
        if spec.container is Container.MKV:
            return CarriedStream(stream.index, "attachment", stream.codec)
        name = stream.title or stream.label
        return f"The attachment {name} is left out: only mkv holds attachments."
    if stream.codec == "bin_data" and facts.chapters:
        # The text track behind an mp4's chapters; the chapters themselves are carried.
        return ""
    return f"The {stream.label} is left out: only video, sound, subtitles and fonts are carried."


def _carry_audio(stream: StreamFact, spec: JobSpec) -> CarriedStream | str:
    container, mode = spec.container, spec.profile.audio
    if mode is AudioMode.NONE:
        return ""
    if mode is AudioMode.COPY:
        if _holds_audio(container, stream.codec):
            return CarriedStream(stream.index, "audio", stream.codec)
        raise ContainerUnsuitable(
            message=f"{container.value} cannot hold the {stream.label}",
            advice=_AUDIO_ADVICE[container],
        )
    if not _holds_audio(container, mode.value):
        raise ContainerUnsuitable(
            message=f"{container.value} cannot hold {mode.value} audio",
            advice=_AUDIO_ADVICE[container],
        )
    if not stream.decodable:
        return f"The {stream.label} is left out: there is no decoder for it."
    return CarriedStream(stream.index, "audio", mode.value, converted=True)


def _holds_audio(container: Container, codec: str) -> bool:
    return codec in _AUDIO[container]


def _carry_subtitle(stream: StreamFact, spec: JobSpec) -> CarriedStream | str:
    if spec.profile.subtitles is SubtitleMode.NONE:
        return ""
    if stream.codec in _COPIED_SUBTITLES[spec.container]:
        return CarriedStream(stream.index, "subtitle", stream.codec)
    if stream.codec in _TEXT_SUBTITLES and stream.decodable:
        target = _SUBTITLE_TARGET[spec.container]
        return CarriedStream(stream.index, "subtitle", target, converted=True)
    kind = "text" if stream.codec in _TEXT_SUBTITLES else "picture"
    return (
        f"The {stream.label} is left out: {spec.container.value} cannot hold "
        f"{kind} subtitles of this kind."
    )


def _carry_video(stream: StreamFact, container: Container) -> CarriedStream | str:
    if stream.is_cover:
        if container in (Container.MP4, Container.MKV) and stream.codec in _COVERS:
            return CarriedStream(stream.index, "video", stream.codec, is_cover=True)
        return f"The cover picture #{stream.index} is left out: {container.value} has no place."
    if stream.codec in _VIDEO[container]:
        return CarriedStream(stream.index, "video", stream.codec)
    return f"The {stream.label} is left out: {container.value} cannot hold it."
