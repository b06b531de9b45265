"""Files that are no video, or not a whole one: named before any worker is used."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import EncodeOrder, PreRoll
from ffcluster.core.profile import Container, Profile
from ffcluster.core.timeline import FrameRange, TimeBase
from ffcluster.encoders.backend import EncodeArguments
from ffcluster.errors import (
    EncodeFailed,
    EncodeStalled,
    HelperDied,
    ResultInvalid,
    SourceDamaged,
    SourceError,
    SourceMissing,
    SourceUnreadable,
    VerificationFailed,
    WrongFrameCount,
)
from ffcluster.media.carry import plan_carry
from ffcluster.media.encode import encode_piece
from ffcluster.media.source import SourceHelper
from ffcluster.media.verify import compare_files, verify_published
from tests import inputs
from tests.integration.media_case import MediaCase, asynchronous
from tests.integration.pipeline import Pipeline, decode, spec_for

_FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "35")
_LOSSLESS = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "0")


class ForeignInputTests(MediaCase):
    def setUp(self) -> None:
        super().setUp()
        self.helper = SourceHelper(self.runner)
        self.addCleanup(self.helper.close)

    async def _error(self, path: Path, *, allow_damaged: bool = False) -> SourceError:
        try:
            await self.helper.index(path, self.directory / "x.index", allow_damaged=allow_damaged)
        except SourceError as error:
            assert not (self.directory / "x.index").exists()
            return error
        raise AssertionError("it was accepted")

    @asynchronous
    async def test_missing_file_directory_and_empty_file_are_told_apart(self) -> None:
        empty = self.directory / "empty.mp4"
        empty.touch()
        assert type(await self._error(self.directory / "none.mkv")) is SourceMissing
        assert type(await self._error(self.directory)) is SourceMissing
        error = await self._error(empty)
        assert type(error) is SourceUnreadable
        assert "empty" in error.message

    @asynchronous
    async def test_text_and_playlists_are_called_what_they_are(self) -> None:
        film = inputs.make("h264_one_frame_mp4", self.directory)
        texts = {
            "notes.mp4": ("Dear diary,\ntoday was a day.\n", "text"),
            "list.mp4": (f"ffconcat version 1.0\nfile '{film}'\n", "playlist"),
            "hls.mp4": (f"#EXTM3U\n#EXTINF:1,\n{film}\n#EXT-X-ENDLIST\n", "playlist"),
        }
        for name, (text, word) in texts.items():
            path = self.directory / name
            path.write_text(text, encoding="utf-8")
            error = await self._error(path)
            assert type(error) is SourceUnreadable
            assert word in error.message

    @asynchronous
    async def test_sound_without_pictures_is_refused(self) -> None:
        path = self.directory / "sound.mp4"
        inputs.ffmpeg(*inputs.tone(1), "-c:a", "aac", str(path))
        assert "no video stream" in (await self._error(path)).message

    @asynchronous
    async def test_cover_picture_alone_is_no_video(self) -> None:
        cover, path = self.directory / "cover.png", self.directory / "song.mp4"
        inputs.ffmpeg(*inputs.pictures(1), str(cover))
        inputs.ffmpeg(*inputs.tone(1), "-i", str(cover), "-map", "0", "-map", "1", "-c:v", "copy",
                      "-disposition:v:0", "attached_pic", str(path))  # fmt: skip
        assert "no video stream" in (await self._error(path)).message

    @asynchronous
    async def test_encrypted_film_is_called_encrypted(self) -> None:
        film, path = inputs.make("h264_open_mp4", self.directory), self.directory / "drm.mp4"
        inputs.ffmpeg("-i", str(film), "-c", "copy", "-encryption_scheme", "cenc-aes-ctr",
                      "-encryption_key", "00112233445566778899aabbccddeeff",
                      "-encryption_kid", "ffeeddccbbaa99887766554433221100", str(path))  # fmt: skip
        error = await self._error(path)
        assert type(error) is SourceUnreadable
        assert "encrypted" in error.message

    @asynchronous
    async def test_video_stream_without_frames_is_refused(self) -> None:
        film = inputs.make("h264_open_mkv", self.directory)
        path = self.directory / "none.mkv"
        data = film.read_bytes()
        path.write_bytes(data[: data.index(b"\x1f\x43\xb6\x75")])
        assert type(await self._error(path)) is SourceUnreadable

    @asynchronous
    async def test_mp4_without_its_index_is_damaged_beyond_use(self) -> None:
        film = inputs.make("h264_open_mp4", self.directory)
        path = self.directory / "cut.mp4"
        path.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
        for allow in (False, True):
            error = await self._error(path, allow_damaged=allow)
            assert type(error) is SourceDamaged
            assert "moov" in error.message

    async def _cut_off(self, kind: str, *more: str, part: float = 0.6) -> Path:
        film = inputs.make(kind, self.directory)
        path = self.directory / f"cut{film.suffix}"
        if more:
            whole = self.directory / f"whole{film.suffix}"
            inputs.ffmpeg("-i", str(film), "-c", "copy", *more, str(whole))
            film = whole
        path.write_bytes(film.read_bytes()[: int(film.stat().st_size * part) - 77])
        return path

    async def _usable(self, path: Path) -> None:
        error = await self._error(path)
        assert type(error) is SourceDamaged
        assert "--allow-damaged" in error.advice
        pipeline = Pipeline(
            self.runner, self.build, path, self.directory, spec_for(Container.MKV),
            EncodeArguments(filters=("format=yuv420p",), output_args=_LOSSLESS),
            allow_damaged=True,
        )  # fmt: skip
        output, report = await pipeline.run()
        assert pipeline.summary is not None
        assert pipeline.summary.damaged
        assert report.frame_count > 20
        found = decode(inputs.ffmpeg_path(), output, "yuv420p")
        whole = decode(inputs.ffmpeg_path(), path, "yuv420p")
        # ffmpeg also shows the last packet's picture, broken or not; here it is left out.
        rest = iter([shown.md5 for shown in whole])
        assert all(shown.md5 in rest for shown in found)
        assert len(whole) - len(found) <= 2

    @asynchronous
    async def test_truncated_faststart_mp4_is_usable_on_request(self) -> None:
        await self._usable(await self._cut_off("h264_open_mp4", "-movflags", "+faststart"))

    @asynchronous
    async def test_truncated_mkv_is_usable_on_request(self) -> None:
        await self._usable(await self._cut_off("h264_open_mkv"))

    @asynchronous
    async def test_truncated_transport_stream_is_usable_on_request(self) -> None:
        await self._usable(await self._cut_off("h264_open_ts"))

    @asynchronous
    async def test_truncated_avi_is_usable_on_request(self) -> None:
        await self._usable(await self._cut_off("mpeg4_asp_avi"))

    @asynchronous
    async def test_stream_whose_clock_starts_anew_is_refused_with_advice(self) -> None:
        film = inputs.make("h264_5994_ts", self.directory)
        path = self.directory / "twice.ts"
        path.write_bytes(film.read_bytes() * 2)
        error = await self._error(path, allow_damaged=True)
        assert type(error) is SourceUnreadable
        assert "clock jumps back" in error.message
        assert "-c copy" in error.advice

    @asynchronous
    async def test_transport_stream_with_lost_packets_is_usable_on_request(self) -> None:
        film = inputs.make("h264_open_ts", self.directory)
        data = film.read_bytes()
        middle = len(data) // 2 // 188 * 188
        path = self.directory / "holes.ts"
        path.write_bytes(data[:middle] + data[middle + 188 * 7 :])
        assert type(await self._error(path)) is SourceDamaged
        summary = await self.helper.index(path, self.directory / "x.index", allow_damaged=True)
        assert summary.damaged
        assert summary.frame_count > 20


class HostileResultTests(MediaCase):
    """A worker's result is not trusted."""

    def setUp(self) -> None:
        super().setUp()
        self.helper = SourceHelper(self.runner)
        self.addCleanup(self.helper.close)
        self.order = EncodeOrder(
            FrameRange(0, 10), Profile(), "libx264", VideoFormat("h264", 320, 180, "yuv420p",
                                                                 TimeBase(1, 25)),
        )  # fmt: skip

    def _result(self, *arguments: str, frames: int = 10, name: str = "r.mkv") -> Path:
        path = self.directory / name
        inputs.ffmpeg(*inputs.pictures(frames), *(arguments or _FAST), "-f", "matroska", str(path))
        return path

    async def _refused(self, path: Path, error: type[Exception]) -> None:
        try:
            await self.helper.check(path, self.order)
        except error:
            return
        raise AssertionError("it was accepted")

    @asynchronous
    async def test_good_result_is_reported(self) -> None:
        report = await self.helper.check(self._result(), self.order)
        assert (report.frame_count, report.codec, report.width) == (10, "h264", 320)
        again = await self.helper.check(self._result(name="again.mkv"), self.order)
        assert again.parameter_sets == report.parameter_sets

    @asynchronous
    async def test_wrong_count_codec_container_and_damage_are_refused(self) -> None:
        await self._refused(self._result(frames=9), WrongFrameCount)
        await self._refused(self._result("-c:v", "ffv1"), ResultInvalid)
        whole = self._result()
        cut = self.directory / "cut.mkv"
        cut.write_bytes(whole.read_bytes()[:-400])
        await self._refused(cut, Exception)
        mp4 = self.directory / "r.mp4"
        inputs.ffmpeg(*inputs.pictures(10), *_FAST, str(mp4))
        await self._refused(mp4, ResultInvalid)
        text = self.directory / "text.mkv"
        text.write_text("ffconcat version 1.0\nfile '/etc/passwd'\n", encoding="utf-8")
        await self._refused(text, ResultInvalid)

    @asynchronous
    async def test_second_stream_is_refused(self) -> None:
        path = self.directory / "two.mkv"
        inputs.ffmpeg(*inputs.pictures(10), *inputs.tone(0.4), *_FAST, "-c:a", "flac", str(path))
        await self._refused(path, ResultInvalid)


class EncodeTests(MediaCase):
    """One piece on a worker, when things go wrong."""

    async def _piece(self):
        source = inputs.make("h264_open_mp4", self.directory)
        helper = SourceHelper(self.runner)
        try:
            index = self.directory / "i"
            summary = await helper.index(source, index, allow_damaged=False)
            piece = self.directory / "piece"
            cut = await helper.cut(FrameRange(10, 40), PreRoll.KEYFRAME, 0, piece)
        finally:
            await helper.close()
        order = EncodeOrder(
            FrameRange(10, 40), Profile(), "libx264", summary.video,
            trim_start_s=cut.trim_start_s, trim_end_s=cut.trim_end_s, stall_timeout_s=20.0,
        )  # fmt: skip
        return piece, order

    async def _fails(self, arguments: EncodeArguments, error: type[Exception], order=None):
        piece, made = await self._piece()
        try:
            await encode_piece(
                self.runner, self.build, arguments, order or made, piece, self.directory / "r.mkv"
            )
        except error as caught:
            assert self.runner.live == 0
            return caught
        raise AssertionError("it succeeded")

    @asynchronous
    async def test_failure_names_the_command_and_quotes_ffmpeg(self) -> None:
        caught = await self._fails(
            EncodeArguments(output_args=("-c:v", "libx264", "-preset", "nonsense")), EncodeFailed
        )
        assert "nonsense" in caught.detail["argv"]
        assert "preset" in caught.detail["stderr"]
        assert not any(str(self.directory) in word for word in caught.detail["argv"])

    @asynchronous
    async def test_encoder_that_makes_no_frame_is_ended(self) -> None:
        import attrs

        piece, order = await self._piece()
        # Half a second a frame is slower than the watchdog of this test allows.
        slow = EncodeArguments(filters=("realtime=speed=0.01",), output_args=_FAST)
        try:
            await encode_piece(
                self.runner, self.build, slow, attrs.evolve(order, stall_timeout_s=1.0),
                piece, self.directory / "r.mkv",
            )  # fmt: skip
        except EncodeStalled:
            assert self.runner.live == 0
            return
        raise AssertionError("it succeeded")

    @asynchronous
    async def test_dropped_frames_are_noticed(self) -> None:
        caught = await self._fails(
            EncodeArguments(filters=("select=mod(n\\,2)",), output_args=_FAST), WrongFrameCount
        )
        assert caught.detail["found"] == 15

    @asynchronous
    async def test_lossy_result_fails_the_comparison_of_pictures(self) -> None:
        import attrs

        _, order = await self._piece()
        await self._fails(
            EncodeArguments(filters=("format=yuv420p",), output_args=_FAST),
            ResultInvalid,
            attrs.evolve(order, picture_check=True),
        )

    @asynchronous
    async def test_helper_that_was_killed_is_started_again(self) -> None:
        source = inputs.make("h264_open_mp4", self.directory)
        helper = SourceHelper(self.runner)
        index = self.directory / "i"
        await helper.index(source, index, allow_damaged=False)
        waiting = helper.cut(FrameRange(0, 30), PreRoll.KEYFRAME, 0, self.directory / "p")
        await helper.close()
        error = await waiting.addErrback(lambda failure: failure.value)
        assert type(error) is HelperDied
        assert error.retryable
        piece = await helper.cut(FrameRange(0, 30), PreRoll.KEYFRAME, 0, self.directory / "p")
        assert piece.packets >= 30
        await helper.close()


class VerifyTests(MediaCase):
    """A finished file that is not right is never called right."""

    async def _made(self):
        source = inputs.make("h264_open_mkv", self.directory)
        pipeline = Pipeline(
            self.runner, self.build, source, self.directory, spec_for(Container.MP4),
            EncodeArguments(filters=("format=yuv420p",), output_args=_FAST),
        )  # fmt: skip
        output, _ = await pipeline.run()
        return source, output

    async def _rejected(self, spoil: Callable[[Path, Path], None]) -> str:
        source, output = await self._made()
        spoiled = self.directory / "spoiled.mp4"
        spoil(output, spoiled)
        helper = SourceHelper(self.runner)
        helper.use(source, self.directory / "film.index")
        spec = spec_for(Container.MP4)
        carry = plan_carry(await helper.facts(), spec)
        await helper.close()
        try:
            await verify_published(
                self.runner, spoiled, source, self.directory / "film.index", spec, carry
            )
        except VerificationFailed as error:
            return error.message
        raise AssertionError("it was accepted")

    @asynchronous
    async def test_missing_frames_are_found(self) -> None:
        message = await self._rejected(
            lambda a, b: inputs.ffmpeg("-i", str(a), "-c", "copy", "-frames:v", "80", str(b))
        )
        assert "80 frames" in message

    @asynchronous
    async def test_moved_frames_are_found(self) -> None:
        message = await self._rejected(
            lambda a, b: inputs.ffmpeg(
                "-i",
                str(a),
                "-i",
                str(a),
                "-map",
                "0:v",
                "-map",
                "1:a",
                "-c",
                "copy",
                "-bsf:v",
                "setts=ts=TS+gte(N\\,50)*3",
                str(b),
            )
        )
        assert "off its time" in message

    @asynchronous
    async def test_other_sound_is_found(self) -> None:
        message = await self._rejected(
            lambda a, b: inputs.ffmpeg("-i", str(a), "-c:v", "copy", "-c:a", "aac", str(b))
        )
        assert "does not hold the packets" in message

    @asynchronous
    async def test_missing_sound_is_found(self) -> None:
        message = await self._rejected(
            lambda a, b: inputs.ffmpeg("-i", str(a), "-c", "copy", "-an", str(b))
        )
        assert "streams" in message

    @asynchronous
    async def test_comparison_of_files_finds_pictures_and_times(self) -> None:
        source, output = await self._made()
        same = await compare_files(self.runner, self.build, source, output, decoded=False)
        assert same.is_exact
        assert same.source_frames == same.output_frames == 90
        lossy = await compare_files(self.runner, self.build, source, output, decoded=True)
        assert lossy.pictures_equal is False
        assert not lossy.is_exact
        short = self.directory / "short.mp4"
        inputs.ffmpeg("-i", str(output), "-c", "copy", "-frames:v", "80", str(short))
        other = await compare_files(self.runner, self.build, source, short, decoded=False)
        assert not other.is_exact
        itself = await compare_files(self.runner, self.build, source, source, decoded=True)
        assert itself.is_exact
        assert itself.pictures_equal
        assert itself.largest_time_error_s == Fraction(0)
