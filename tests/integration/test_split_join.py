"""Every kind of input, cut, encoded, checked, joined and verified, against one ffmpeg process.

The oracle is one ffmpeg that decodes the whole source: the output must decode to the same
pictures (lossless), each shown at the same time. Films are cut at their keyframes here, and go
through the other ffmpeg where there are two; `tests.e2e.test_exact` cuts them anywhere.
"""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import av

from ffcluster.core.media import MediaSummary
from ffcluster.core.model import JobSpec
from ffcluster.core.profile import (
    AudioMode,
    Codec,
    Container,
    FilterScope,
    RateControl,
    RateMode,
    VideoFilter,
)
from ffcluster.encoders.backend import EncodeArguments
from ffcluster.media.carry import SourceFacts
from ffcluster.media.source import SourceHelper
from tests import inputs
from tests.integration.media_case import MediaCase, all_builds, asynchronous
from tests.integration.pipeline import Pipeline, Shown, decode, spec_for

# Kinds whose sound cannot be copied into Matroska.
_AUDIO_ENCODED = ("wmv2_asf",)
_LOSSLESS = RateControl(RateMode.LOSSLESS)
_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-threads", "2")


def _arbitrary(kind: str, frames: int) -> list[int]:
    chosen = random.Random(kind)
    return sorted(chosen.sample(range(1, frames), min(frames - 1, 4))) if frames > 1 else []


def _start(summary: MediaSummary, facts: SourceFacts) -> Fraction:
    """The source's start as ffmpeg subtracts it: in whole ticks of the stream."""
    base = summary.video.time_base.fraction
    return round(Fraction(facts.start_us, 1_000_000) / base) * base


class SplitJoinTests(MediaCase):
    timeout = 300

    async def _facts(self, kind: str):
        source = inputs.make(kind, self.directory)
        helper = SourceHelper(self.runner)
        try:
            summary = await helper.index(
                source, self.directory / "facts.index", allow_damaged=False
            )
            return source, summary, await helper.facts()
        finally:
            await helper.close()

    async def _lossless(self, kind: str) -> None:
        source, summary, facts = await self._facts(kind)
        pix_fmt = summary.video.pix_fmt
        audio = AudioMode.AAC if kind in _AUDIO_ENCODED else AudioMode.COPY
        pipeline = Pipeline(
            self.runner, all_builds()[-1], source, self.directory,
            spec_for(Container.MKV, rate=_LOSSLESS, audio=audio),
            EncodeArguments(filters=(f"format={pix_fmt}",), output_args=(*_X264, "-qp", "0")),
            picture_check=True,
        )  # fmt: skip
        output, report = await pipeline.run(None)
        expected = decode(inputs.ffmpeg_path(), source, pix_fmt, str(facts.video_index))
        found = decode(inputs.ffmpeg_path(), output, pix_fmt)
        assert [s.md5 for s in found] == [s.md5 for s in expected]
        start = _start(summary, facts) - Fraction(report.shift_s)
        self._assert_times(found, expected, start, Container.MKV)
        assert report.frame_count == len(expected)

    def _assert_times(
        self, found: list[Shown], expected: list[Shown], start: Fraction, container: Container
    ) -> None:
        assert len(found) == len(expected)
        errors = [abs(f.time - (e.time - start)) for f, e in zip(found, expected, strict=True)]
        rounding = Fraction(1, 1000) if container in (Container.MKV, Container.WEBM) else 0
        assert max(errors) <= rounding + Fraction(1, 10**9)

    async def _lossy(self, kind: str) -> None:
        source, summary, facts = await self._facts(kind)
        pix_fmt = summary.video.pix_fmt
        pipeline = Pipeline(
            self.runner, self.build, source, self.directory, spec_for(Container.MP4),
            EncodeArguments(
                filters=(f"format={pix_fmt}",),
                output_args=("-c:v", "libx264", "-preset", "medium", "-crf", "30", "-threads", "2"),
            ),
        )  # fmt: skip
        output, _report = await pipeline.run(_arbitrary(kind, summary.frame_count))
        assert pipeline.restarts == 0, "every segment has the same parameter sets"
        expected = decode(inputs.ffmpeg_path(), source, pix_fmt, str(facts.video_index))
        found = decode(inputs.ffmpeg_path(), output, pix_fmt)
        self._assert_times(found, expected, _start(summary, facts), Container.MP4)


def _add_kind(kind: str) -> None:
    name = kind.replace("-", "_")

    @asynchronous
    async def at_keyframes(self: SplitJoinTests) -> None:
        await self._lossless(kind)

    setattr(SplitJoinTests, f"test_{name}_is_exact_when_cut_at_keyframes", at_keyframes)


def _add_lossy(kind: str) -> None:
    @asynchronous
    async def lossy(self: SplitJoinTests) -> None:
        await self._lossy(kind)

    setattr(SplitJoinTests, f"test_lossy_{kind}_has_every_frame_at_its_time", lossy)


for _kind in inputs.KINDS:
    _add_kind(_kind)
for _kind in ("h264_open_ts", "vfr_mkv", "vfr_90k_mp4", "hevc_open_mkv", "h264_single_gop_mp4"):
    _add_lossy(_kind)


class FilterTests(MediaCase):
    """Filters that look at neighbours, and filters that make frames of their own."""

    async def _one_process(self, source, chain: str) -> list[Shown]:
        whole = self.directory / "whole.mkv"
        inputs.ffmpeg(
            "-i", str(source), "-map", "0:v:0", "-vf", chain, "-fps_mode", "passthrough",
            "-enc_time_base", "1/90000", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "0",
            "-f", "nut", str(whole),
        )  # fmt: skip
        return decode(inputs.ffmpeg_path(), whole, "yuv420p")

    @asynchronous
    async def test_deinterlacer_sees_the_neighbours_across_cuts(self) -> None:
        source = inputs.make("h264_interlaced_mp4", self.directory)
        chain = "bwdif=mode=send_frame"
        expected = await self._one_process(source, chain)
        spec = spec_for(
            Container.MP4,
            rate=_LOSSLESS,
            filters=(VideoFilter("bwdif", scope=FilterScope.WINDOW, context_frames=2),),
        )
        pipeline = Pipeline(
            self.runner, self.build, source, self.directory, spec,
            EncodeArguments(context_filters=(chain,), filters=("format=yuv420p",),
                            output_args=(*_X264, "-qp", "0")),
            picture_check=True,
        )  # fmt: skip
        output, _ = await pipeline.run([17, 33, 50])
        found = decode(inputs.ffmpeg_path(), output, "yuv420p")
        assert [s.md5 for s in found] == [s.md5 for s in expected]

    @asynchronous
    async def test_filter_that_makes_frames_keeps_its_own_even_times(self) -> None:
        source = inputs.make("video_after_audio_mkv", self.directory)
        chain = "fps=30"
        spec = spec_for(
            Container.MP4,
            filters=(VideoFilter("fps", (("fps", "30"),), FilterScope.STREAM, keeps_timing=False),),
        )
        pipeline = Pipeline(
            self.runner, self.build, source, self.directory, spec,
            EncodeArguments(filters=(chain, "format=yuv420p"), output_args=(*_X264, "-qp", "0")),
        )  # fmt: skip
        output, report = await pipeline.run([])
        found = decode(inputs.ffmpeg_path(), output, "yuv420p")
        gaps = {b.time - a.time for a, b in itertools.pairwise(found)}
        assert gaps == {Fraction(1, 30)}
        assert report.frame_count == len(found)
        assert abs(found[0].time - Fraction(7, 10)) <= Fraction(1, 30)


class MixedEncoderTests(MediaCase):
    """Segments whose headers differ."""

    async def _mixed(self, container: Container, codec: Codec) -> None:
        source = inputs.make("h264_open_mkv", self.directory)
        if codec is Codec.H264:
            one = ("-c:v", "libx264", "-preset", "medium", "-qp", "0", "-bf", "2")
            other = (
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-qp",
                "0",
                "-bf",
                "0",
                "-refs",
                "5",
            )
        else:
            base = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params")
            one = (*base, "lossless=1:log-level=error:ctu=64")
            other = (*base, "lossless=1:log-level=error:ctu=32:bframes=0")
        pipeline = Pipeline(
            self.runner, self.build, source, self.directory,
            spec_for(container, codec, rate=_LOSSLESS),
            EncodeArguments(filters=("format=yuv420p",), output_args=one),
            picture_check=True,
            alternate=EncodeArguments(filters=("format=yuv420p",), output_args=other),
        )  # fmt: skip
        output, _ = await pipeline.run([20, 40, 61])
        assert pipeline.restarts == 1
        expected = decode(inputs.ffmpeg_path(), source, "yuv420p")
        for build in all_builds():
            found = decode(build.path, output, "yuv420p")
            assert [s.md5 for s in found] == [s.md5 for s in expected]

    @asynchronous
    async def test_h264_of_two_encoders_decodes_right_from_mp4(self) -> None:
        await self._mixed(Container.MP4, Codec.H264)

    @asynchronous
    async def test_h264_of_two_encoders_decodes_right_from_mkv(self) -> None:
        await self._mixed(Container.MKV, Codec.H264)

    @asynchronous
    async def test_hevc_of_two_encoders_decodes_right_from_mp4(self) -> None:
        await self._mixed(Container.MP4, Codec.HEVC)

    @asynchronous
    async def test_hevc_of_two_encoders_decodes_right_from_mkv(self) -> None:
        await self._mixed(Container.MKV, Codec.HEVC)


class OtherCodecTests(MediaCase):
    """Codecs and containers that the table of kinds does not write."""

    async def _encode(
        self, kind: str, container: Container, codec: Codec, output: tuple[str, ...],
        audio: AudioMode = AudioMode.COPY,
    ) -> Pipeline:  # fmt: skip
        source = inputs.make(kind, self.directory)
        pipeline = Pipeline(
            self.runner, self.build, source, self.directory,
            spec_for(container, codec, audio=audio),
            EncodeArguments(filters=("format=yuv420p",), output_args=output),
        )  # fmt: skip
        await pipeline.run([30, 60])
        return pipeline

    @asynchronous
    async def test_vp9_and_opus_go_into_webm(self) -> None:
        vp9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "300k")
        await self._encode("h264_open_mp4", Container.WEBM, Codec.VP9, vp9, AudioMode.OPUS)

    @asynchronous
    async def test_av1_goes_into_mp4(self) -> None:
        av1 = ("-c:v", "libsvtav1", "-preset", "12", "-crf", "45")
        await self._encode("h264_open_mkv", Container.MP4, Codec.AV1, av1)

    @asynchronous
    async def test_ffv1_goes_into_mkv(self) -> None:
        await self._encode(
            "h264_open_mkv", Container.MKV, Codec.FFV1, ("-c:v", "ffv1", "-level", "3")
        )

    @asynchronous
    async def test_hevc_goes_into_mov_under_its_usual_name(self) -> None:
        x265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error")
        pipeline = await self._encode("h264_open_ts", Container.MOV, Codec.HEVC, x265)
        assert b"hvc1" in (pipeline.directory / "out.mov").read_bytes()


class CarryTests(MediaCase):
    """Everything beside the pictures, in the finished file."""

    async def _output(self, kind: str, container: Container, **profile: object):
        source = inputs.make(kind, self.directory)
        spec: JobSpec = spec_for(container, **profile)  # type: ignore[arg-type]
        arguments = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "35")
        pipeline = Pipeline(
            self.runner, self.build, source, self.directory, spec,
            EncodeArguments(filters=("format=yuv420p",), output_args=arguments),
        )  # fmt: skip
        output, report = await pipeline.run([30, 55])
        return pipeline, output, report

    @asynchronous
    async def test_mkv_keeps_tracks_chapters_fonts_languages_and_flags(self) -> None:
        _, output, report = await self._output("everything_mkv", Container.MKV)
        assert report.identical_streams == 4
        with av.open(str(output)) as film:
            assert [s.type for s in film.streams] == [
                "video",
                "audio",
                "audio",
                "subtitle",
                "subtitle",
                "attachment",
            ]
            assert film.metadata["title"] == "A film"
            assert [c["metadata"]["title"] for c in film.chapters()] == ["First", "Second"]
            languages = [s.metadata.get("language") for s in list(film.streams)[1:4]]
            assert languages == ["deu", "eng", "fra"]
            assert film.streams[2].metadata["title"] == "Comment"
            assert "comment" in film.streams[2].disposition.name
            assert film.streams[4].disposition.name == "forced"
            assert len(film.streams[5].data) == 5120

    @asynchronous
    async def test_mp4_gets_text_subtitles_converted_and_says_what_is_lost(self) -> None:
        pipeline, output, report = await self._output("everything_mkv", Container.MP4)
        assert report.identical_streams == 2
        assert len(pipeline.lost) == 1
        assert "attachment" in pipeline.lost[0]
        with av.open(str(output)) as film:
            kinds = [s.type for s in film.streams if s.type != "data"]
            assert kinds == ["video", "audio", "audio", "subtitle", "subtitle"]
            assert len(film.chapters()) == 2
            subtitles = film.streams.subtitles[0]
            texts = [bytes(p) for p in film.demux(subtitles) if p.size > 2]
            assert [t[2:8] for t in texts] == [b"Line 0", b"Line 1", b"Line 2", b"Line 3"]

    @asynchronous
    async def test_cover_picture_is_carried_into_mp4_and_mkv(self) -> None:
        for container in (Container.MP4, Container.MKV):
            _, output, _ = await self._output("everything_mp4", container)
            assert b"\x89PNG\r\n" in output.read_bytes()

    @asynchronous
    async def test_rotation_is_kept(self) -> None:
        for container in (Container.MP4, Container.MKV):
            _, output, _ = await self._output("rotated_mp4", container)
            with av.open(str(output)) as film:
                assert next(film.decode(video=0)).rotation == 90

    @asynchronous
    async def test_interleaving_follows_time(self) -> None:
        _, output, _ = await self._output("everything_mkv", Container.MP4)
        with av.open(str(output)) as film:
            positions = {}
            for packet in film.demux():
                if packet.size and packet.pos:
                    second = int((packet.dts or 0) * packet.time_base)
                    positions.setdefault(second, []).append(packet.pos)
        for earlier, later in zip(sorted(positions), sorted(positions)[1:], strict=False):
            if later - earlier == 1:
                assert min(positions[earlier]) < min(positions[later])

    @asynchronous
    async def test_sound_is_encoded_whole_and_stays_in_step(self) -> None:
        for kind in ("audio_after_video_mp4", "h264_starts_late_ts"):
            _, output, _ = await self._output(kind, Container.MP4, audio=AudioMode.AAC)
            whole = self.directory / "one.mp4"
            inputs.ffmpeg("-i", str(self.directory / next(
                p.name for p in self.directory.iterdir() if p.stem == kind)),
                "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", str(whole))  # fmt: skip
            assert _audio_start(output) == _audio_start(whole)


def _audio_start(path) -> float:
    with av.open(str(path)) as film:
        stream = film.streams.audio[0]
        packet = next(p for p in film.demux(stream) if p.size)
        return float(round((packet.pts or 0) * packet.time_base, 2))
