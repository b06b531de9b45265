"""Segments that are made again: the same comes of them, and what is not the same is found."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from pathlib import Path
from unittest import mock

import attrs
import pytest

from ffcluster.core.durable import AttemptEnd, AttemptEntry, BlobRef
from ffcluster.core.model import (
    Capability,
    Epoch,
    JobId,
    JobOutcome,
    JobSpec,
    PreRoll,
    SegmentProof,
    Source,
    WorkerId,
)
from ffcluster.core.profile import Codec, Container, Profile, RateControl, RateMode
from ffcluster.core.receipts import JobReceipt, SegmentReceipt
from ffcluster.core.timeline import FrameRange
from ffcluster.encoders.registry import Registry
from ffcluster.errors import InvalidOption, NotFound, NotReproducible
from ffcluster.media.sameness import Match
from ffcluster.services.local import reproduce as service
from ffcluster.services.local.reproduce import reproduce
from ffcluster.services.local.reproduction import Reproduction, Wish
from tests import inputs
from tests.integration.media_case import MediaCase, asynchronous
from tests.integration.pipeline import Pipeline

CUTS = [0, 40, 77]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class ReproduceCase(MediaCase):
    """A film that was encoded in three segments, and its receipt."""

    codec, encoder, container = Codec.H264, "libx264", Container.MP4
    rate = RateControl(RateMode.QUALITY, quality=24)

    def setUp(self) -> None:
        super().setUp()
        # What works here is found out anew, whatever this user's machine remembers.
        patch = mock.patch.object(
            service, "machine_state_dir", return_value=self.directory / "machine"
        )
        patch.start()
        self.addCleanup(patch.stop)

    async def film(self) -> JobReceipt:
        source = inputs.make("h264_closed_mp4", self.directory)
        profile = Profile(codec=self.codec, rate=self.rate)
        spec = JobSpec(profile, self.container, f"out.{self.container.value}", source.name)
        registry = Registry.load()
        capability = Capability(self.encoder, self.codec, threads=2, ffmpeg=self.build.version)
        fitted = registry.fitted(capability, profile)
        made = self.directory / "made"
        made.mkdir()
        line = Pipeline(
            self.runner, self.build, source, made, attrs.evolve(spec, profile=fitted),
            arguments=None,  # type: ignore[arg-type]
        )  # fmt: skip
        line.arguments = registry.backend("software").arguments(
            self.build, capability, fitted, await self.video(source), threads=2,
            hardware_decode=False,
        )  # fmt: skip
        target, _ = await line.run(CUTS[1:])
        assert line.summary is not None
        borders = [*CUTS, line.summary.frame_count]
        ranges = [FrameRange(a, b) for a, b in itertools.pairwise(borders)]
        segments = tuple(
            self.segment(number, frames, made / f"{number}.mkv", capability)
            for number, frames in enumerate(ranges)
        )
        outcome = JobOutcome(
            str(target), target.stat().st_size, sha256(target), line.summary.frame_count, True
        )
        return JobReceipt(
            id="job1", state="Completed", spec=spec, source=Source(str(source)),
            source_size_bytes=source.stat().st_size, frame_count=line.summary.frame_count,
            video=line.summary.video, submitted_at=0.0, history=(), ended_at=9.0,
            coordinator="0", retries=0, error=None, outcome=outcome, segments=segments,
        )  # fmt: skip

    async def video(self, source: Path):
        from ffcluster.media.source import SourceHelper

        helper = SourceHelper(self.runner)
        try:
            summary = await helper.index(source, self.directory / "probe", allow_damaged=False)
        finally:
            await helper.close()
        return summary.video

    def segment(
        self, number: int, frames: FrameRange, result: Path, capability: Capability
    ) -> SegmentReceipt:
        blob = BlobRef(sha256(result), result.stat().st_size)
        proof = SegmentProof(
            len(frames), ffmpeg=self.build.version, encoder=self.encoder, argv=("ffmpeg",)
        )
        attempt = AttemptEntry(
            Epoch(number + 1), JobId("job1"), frames, WorkerId("w1"), "attic", capability,
            "ended", 0.0, end=AttemptEnd.COMMITTED, proof=proof, blob=blob,
        )  # fmt: skip
        return SegmentReceipt(number, frames, "committed", PreRoll.KEYFRAME, None, blob, (attempt,))

    async def again(self, receipt: JobReceipt, number: int = 1, **wish: Path) -> Reproduction:
        return await reproduce(
            self.runner.reactor, receipt, Wish(number=number, ffmpegs=(self.build.path,), **wish)
        )


class Reproducing(ReproduceCase):
    @asynchronous
    async def test_every_segment_comes_out_the_same_as_in_the_published_file(self) -> None:
        receipt = await self.film()
        for number, segment in enumerate(receipt.segments):
            found = await self.again(receipt, number)
            assert found.same, found
            assert found.match in (Match.FILE, Match.PACKETS)
            assert found.frames == segment.frames
            if found.match is Match.PACKETS:
                assert found.frames_compared == len(segment.frames)
                assert "published file" in found.against

    @asynchronous
    async def test_committed_result_itself_can_be_compared_with(self) -> None:
        receipt = await self.film()
        result = self.directory / "made" / "1.mkv"
        found = await self.again(receipt, output=result)
        assert found.match in (Match.FILE, Match.PACKETS)
        assert found.match is Match.FILE or found.against == "the committed result"

    @asynchronous
    async def test_other_settings_are_found_to_give_something_else(self) -> None:
        receipt = await self.film()
        worse = Profile(codec=self.codec, rate=RateControl(RateMode.QUALITY, quality=40))
        forged = attrs.evolve(receipt, spec=attrs.evolve(receipt.spec, profile=worse))
        found = await self.again(forged)
        assert found.match is Match.NOTHING
        assert not found.same
        assert found.first_other == 40
        assert found.mean_psnr_db is not None
        assert found.least_psnr_db is not None
        assert 10 < found.least_psnr_db <= found.mean_psnr_db < 60

    @asynchronous
    async def test_frames_before_a_missing_segment_are_no_longer_counted(self) -> None:
        receipt = await self.film()
        assert receipt.outcome is not None
        cut, rest = self.directory / "without.mkv", self.directory / "rest.txt"
        names = [self.directory / "made" / f"{number}.mkv" for number in (1, 2)]
        rest.write_text("".join(f"file '{name}'\n" for name in names))
        inputs.ffmpeg("-f", "concat", "-safe", "0", "-i", str(rest), "-c", "copy", str(cut))
        outcome = attrs.evolve(
            receipt.outcome, path=str(cut), sha256=sha256(cut), missing=(FrameRange(0, 40),)
        )
        # Without the hash of the result there is only the published file to compare with.
        segments = tuple(
            attrs.evolve(segment, blob=BlobRef("ab" * 32, 1)) for segment in receipt.segments
        )
        found = await self.again(attrs.evolve(receipt, outcome=outcome, segments=segments))
        assert found.same, found
        assert "frames 0 to 36 of the published file" in found.against

    @asynchronous
    async def test_both_files_are_kept_and_nothing_else_is_left(self) -> None:
        receipt = await self.film()
        before = set(self.directory.iterdir())
        keep = self.directory / "kept"
        found = await self.again(receipt, keep=keep)
        assert [path.name for path in found.kept] == ["job1-1.made.mkv", "job1-1.committed.mkv"]
        assert sha256(found.kept[0]) == found.sha256
        assert set(self.directory.iterdir()) - before <= {keep, self.directory / "machine"}
        with pytest.raises(InvalidOption):
            await self.again(receipt, keep=keep)

    @asynchronous
    async def test_what_cannot_be_told_is_said(self) -> None:
        receipt = await self.film()
        source = Path(receipt.source.location)
        changed = self.directory / "changed.mp4"
        shutil.copyfile(source, changed)
        with changed.open("ab") as file:
            file.write(b"more")
        for wish, forged in (
            ({"source": changed}, receipt),
            ({"source": self.directory / "none.mp4"}, receipt),
            ({}, attrs.evolve(receipt, source=Source("ab" * 32, uploaded=True))),
            ({}, attrs.evolve(receipt, frame_count=78)),
            ({}, self.made_by(receipt, "h264_none")),
            ({}, attrs.evolve(receipt, segments=(attrs.evolve(
                receipt.segments[0], state="pending"),) * 3)),
        ):  # fmt: skip
            with pytest.raises(NotReproducible):
                await self.again(forged, **wish)
        with pytest.raises(NotFound):
            await self.again(receipt, 3)
        with pytest.raises(InvalidOption):
            await self.again(receipt, output=source)

    @asynchronous
    async def test_other_bytes_without_anything_to_compare_prove_nothing(self) -> None:
        receipt = await self.film()
        segments = tuple(
            attrs.evolve(segment, blob=BlobRef("ab" * 32, 1)) for segment in receipt.segments
        )
        with pytest.raises(NotReproducible) as caught:
            await self.again(attrs.evolve(receipt, outcome=None, segments=segments))
        assert "--output" in caught.value.advice

    @asynchronous
    async def test_another_ffmpeg_and_other_arguments_are_warned_of(self) -> None:
        receipt = await self.film()
        found = await self.again(self.made_by(receipt, "libx264", ffmpeg="0.0.1"))
        assert any("ffmpeg 0.0.1 then" in warning for warning in found.warnings)
        assert any("arguments" in warning for warning in found.warnings)

    def made_by(self, receipt: JobReceipt, encoder: str, **proof: str) -> JobReceipt:
        (attempt,) = receipt.segments[1].attempts
        assert attempt.proof is not None
        forged = attrs.evolve(
            attempt,
            capability=attrs.evolve(attempt.capability, encoder=encoder),
            proof=attrs.evolve(attempt.proof, **proof),
        )
        one, two, three = receipt.segments
        return attrs.evolve(receipt, segments=(one, attrs.evolve(two, attempts=(forged,)), three))


class ReproducingHevcInMatroska(ReproduceCase):
    codec, encoder, container = Codec.HEVC, "libx265", Container.MKV
    rate = RateControl(RateMode.QUALITY, quality=28)

    @asynchronous
    async def test_segment_comes_out_the_same(self) -> None:
        found = await self.again(await self.film())
        assert found.same, found
        assert found.match in (Match.FILE, Match.PACKETS)


class ReproducingLossless(ReproduceCase):
    codec, encoder, container = Codec.FFV1, "ffv1", Container.MKV
    rate = RateControl(RateMode.LOSSLESS)

    @asynchronous
    async def test_segment_comes_out_the_same(self) -> None:
        found = await self.again(await self.film())
        assert found.same, found
