"""Outputs without some of their frames: everything else is where it would have been."""

from __future__ import annotations

import itertools
import subprocess
from fractions import Fraction
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred

from ffcluster.core.model import EncodeOrder, JobSpec, PreRoll, ResultReport
from ffcluster.core.profile import Codec, Container
from ffcluster.core.timeline import FrameRange
from ffcluster.encoders.backend import EncodeArguments
from ffcluster.errors import JoinFailed, VerificationFailed
from ffcluster.media.carry import CarryPlan, plan_carry
from ffcluster.media.encode import encode_piece
from ffcluster.media.join import Joiner
from ffcluster.media.source import SourceHelper
from ffcluster.media.verify import PublishedReport, verify_published
from tests import inputs
from tests.integration.media_case import MediaCase, asynchronous
from tests.integration.pipeline import Shown, decode, spec_for

_B_FRAMES = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "3", "-qp", "0", "-threads", "2")
_CUTS = (17, 40, 61, 88)


@attrs.define
class Ready:
    """A film, cut and encoded losslessly, that waits to be joined."""

    source: Path
    index_path: Path
    spec: JobSpec
    carry: CarryPlan
    segments: list[FrameRange]
    results: list[tuple[Path, ResultReport]]
    video: object


class Missing(MediaCase):
    async def _ready(self, container: Container, kind: str, *, allowed: bool = True) -> Ready:
        source, index_path = inputs.make(kind, self.directory), self.directory / "index"
        spec = attrs.evolve(spec_for(container, Codec.H264), allow_missing=allowed)
        helper = SourceHelper(self.runner)
        try:
            summary = await helper.index(source, index_path, allow_damaged=False)
            carry = plan_carry(await helper.facts(), spec)
            borders = [0, *(cut for cut in _CUTS if cut < summary.frame_count)]
            borders.append(summary.frame_count)
            segments = [FrameRange(a, b) for a, b in itertools.pairwise(borders)]
            results = []
            for number, frames in enumerate(segments):
                piece, result = (self.directory / f"{number}.{end}" for end in ("piece", "mkv"))
                cut = await helper.cut(frames, PreRoll.KEYFRAME, 0, piece)
                order = EncodeOrder(
                    frames=frames, profile=spec.profile, encoder="libx264", video=summary.video,
                    trim_start_s=cut.trim_start_s, trim_end_s=cut.trim_end_s,
                )  # fmt: skip
                arguments = EncodeArguments(output_args=_B_FRAMES)
                await encode_piece(self.runner, self.build, arguments, order, piece, result)
                results.append((result, await helper.check(result, order)))
        finally:
            await helper.close()
        return Ready(source, index_path, spec, carry, segments, results, summary.video)

    async def _joined(self, ready: Ready, absent: set[int]) -> Path:
        target = self.directory / f"out.{ready.spec.container.value}"
        joiner = Joiner(
            self.runner, self.build, ready.source, ready.index_path, target, ready.spec,
            ready.carry, ready.video, reorder_frames=2,  # type: ignore[arg-type]
        )  # fmt: skip
        self.addCleanup(joiner.abort)
        joiner.start()
        for number, (result, report) in enumerate(ready.results):
            if number not in absent:
                await joiner.append(result, ready.segments[number], report)
        await joiner.finish()
        return target

    async def _verified(self, ready: Ready, target: Path, absent: set[int]) -> PublishedReport:
        gaps = [ready.segments[number] for number in sorted(absent)]
        return await verify_published(
            self.runner, target, ready.source, ready.index_path, ready.spec, ready.carry,
            missing=gaps,
        )  # fmt: skip

    async def _holds_all_but(self, container: Container, kind: str, absent: set[int]) -> None:
        ready = await self._ready(container, kind)
        target = await self._joined(ready, absent)
        report = await self._verified(ready, target, absent)
        expected = [
            shown
            for number, frames in enumerate(ready.segments)
            if number not in absent
            for shown in self._source(ready)[frames.first : frames.stop]
        ]
        found = decode(inputs.ffmpeg_path(), target, "yuv420p")
        start = Fraction(ready.carry.start_us, 1_000_000)
        assert report.frame_count == len(expected)
        assert [f.md5 for f in found] == [e.md5 for e in expected]
        rounding = Fraction(1, 1000) if container is Container.MKV else Fraction(0)
        errors = [abs(f.time - (e.time - start)) for f, e in zip(found, expected, strict=True)]
        assert max(errors) <= rounding + Fraction(report.shift_s).limit_denominator(10**6)
        self._assert_decoding_times_ascend(target)
        if ready.carry.streams:
            assert self._sound(target) == self._sound(ready.source)

    def _source(self, ready: Ready) -> list[Shown]:
        return decode(inputs.ffmpeg_path(), ready.source, "yuv420p")

    def _assert_decoding_times_ascend(self, target: Path) -> None:
        times = self._packets(target)
        assert all(a < b for a, b in itertools.pairwise(times))

    def _packets(self, target: Path) -> list[int]:
        done = subprocess.run(
            [inputs.ffmpeg_path(), "-v", "error", "-nostdin", "-copyts", "-i", str(target),
             "-map", "0:v:0", "-c", "copy", "-f", "framehash", "-"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stderr == "", "ffmpeg has nothing to say against its times"
        rows = [line for line in done.stdout.splitlines() if not line.startswith("#")]
        return [int(row.split(",")[1]) for row in rows]

    def _sound(self, path: Path) -> list[str]:
        """Hashes of the sound's packets."""
        done = subprocess.run(
            [inputs.ffmpeg_path(), "-v", "error", "-nostdin", "-i", str(path), "-map", "0:a",
             "-c", "copy", "-f", "framehash", "-"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        rows = [line for line in done.stdout.splitlines() if not line.startswith("#")]
        return [row.rsplit(",", 1)[1] for row in rows]

    @asynchronous
    async def test_mp4_without_a_segment_in_the_middle(self) -> None:
        await self._holds_all_but(Container.MP4, "h264_closed_mp4", {2})

    @asynchronous
    async def test_mkv_without_a_segment_in_the_middle(self) -> None:
        await self._holds_all_but(Container.MKV, "h264_open_mkv", {2})

    @asynchronous
    async def test_mp4_without_the_first_and_the_last(self) -> None:
        await self._holds_all_but(Container.MP4, "h264_closed_mp4", {0, 4})

    @asynchronous
    async def test_mkv_without_the_first_and_the_last(self) -> None:
        await self._holds_all_but(Container.MKV, "h264_open_mkv", {0, 4})

    @asynchronous
    async def test_several_gaps_of_uneven_times(self) -> None:
        await self._holds_all_but(Container.MP4, "vfr_90k_mp4", {1, 3})

    @asynchronous
    async def test_sound_that_begins_before_the_video(self) -> None:
        await self._holds_all_but(Container.MKV, "video_after_audio_mkv", {0, 2})

    @asynchronous
    async def test_gap_is_refused_where_it_was_not_allowed(self) -> None:
        ready = await self._ready(Container.MKV, "h264_open_mkv", allowed=False)
        await self.assertFailure(Deferred.fromCoroutine(self._joined(ready, {2})), JoinFailed)

    @asynchronous
    async def test_end_that_is_missing_is_refused_where_it_was_not_allowed(self) -> None:
        ready = await self._ready(Container.MKV, "h264_open_mkv", allowed=False)
        await self.assertFailure(Deferred.fromCoroutine(self._joined(ready, {4})), JoinFailed)

    @asynchronous
    async def test_gap_that_was_not_named_is_found(self) -> None:
        ready = await self._ready(Container.MP4, "h264_closed_mp4")
        target = await self._joined(ready, {2})
        for named in (set(), {1}, {2, 3}):
            verifying = Deferred.fromCoroutine(self._verified(ready, target, named))
            await self.assertFailure(verifying, VerificationFailed)

    @asynchronous
    async def test_segments_out_of_order_are_refused(self) -> None:
        ready = await self._ready(Container.MKV, "h264_open_mkv")
        ready.segments[1], ready.segments[2] = ready.segments[2], ready.segments[1]
        ready.results[1], ready.results[2] = ready.results[2], ready.results[1]
        await self.assertFailure(Deferred.fromCoroutine(self._joined(ready, set())), JoinFailed)
