"""Cut, encode, check, join and verify one film without coordinator and workers."""

from __future__ import annotations

import itertools
import subprocess
from fractions import Fraction
from pathlib import Path

import attrs

from ffcluster.core.media import MediaSummary
from ffcluster.core.model import EncodeOrder, JobSpec, PreRoll
from ffcluster.core.profile import Codec, Container, Profile
from ffcluster.core.timeline import FrameRange
from ffcluster.encoders.backend import EncodeArguments
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.errors import WrongFrameCount
from ffcluster.media.carry import plan_carry
from ffcluster.media.encode import encode_piece
from ffcluster.media.join import Joiner, NeedsRestart
from ffcluster.media.runner import Runner
from ffcluster.media.source import SourceHelper
from ffcluster.media.verify import PublishedReport, verify_published


@attrs.frozen
class Shown:
    """One decoded picture: its time in seconds and its hash."""

    time: Fraction
    md5: str


def decode(ffmpeg: str, path: Path, pix_fmt: str, stream: str = "v:0") -> list[Shown]:
    """Decode a whole film with one ffmpeg process; times as they stand in the file."""
    encoder_base = (
        ["-enc_time_base", "-1"] if " 5." in version(ffmpeg) else ["-enc_time_base", "demux"]
    )
    done = subprocess.run(
        [ffmpeg, "-v", "error", "-nostdin", "-copyts", "-noautorotate", "-i", str(path),
         "-map", f"0:{stream}", "-vf", f"format={pix_fmt}", "-fps_mode", "passthrough",
         *encoder_base, "-f", "framemd5", "-"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    base = Fraction(1)
    shown = []
    for line in done.stdout.splitlines():
        if line.startswith("#tb 0:"):
            base = Fraction(line.split(":")[1].strip())
        elif line and not line.startswith("#"):
            fields = [field.strip() for field in line.split(",")]
            shown.append(Shown(int(fields[2]) * base, fields[-1]))
    return shown


def version(ffmpeg: str) -> str:
    return subprocess.run([ffmpeg, "-version"], check=True, capture_output=True, text=True).stdout


@attrs.define
class Pipeline:
    """The way of one film.

    Attributes:
        runner: Starts processes.
        build: The ffmpeg that encodes.
        source: The film.
        directory: For everything that is made.
        spec: What is asked for.
        arguments: How to encode.
        picture_check: Compare every picture.
        retries: Steps of the retry ladder that were needed.
    """

    runner: Runner
    build: FfmpegBuild
    source: Path
    directory: Path
    spec: JobSpec
    arguments: EncodeArguments
    picture_check: bool = False
    allow_damaged: bool = False
    retries: int = 0
    restarts: int = 0
    alternate: EncodeArguments | None = None
    summary: MediaSummary | None = None
    lost: tuple[str, ...] = ()

    async def run(self, cuts: list[int] | None = None) -> tuple[Path, PublishedReport]:
        """Make the output, cut at frames `cuts` (or at every keyframe)."""
        helper = SourceHelper(self.runner)
        index_path = self.directory / "film.index"
        try:
            summary = await helper.index(self.source, index_path, allow_damaged=self.allow_damaged)
            self.summary = summary
            carry = plan_carry(await helper.facts(), self.spec)
            self.lost = carry.lost
            borders = sorted(
                {0, summary.frame_count, *(cuts if cuts is not None else summary.cut_frames)}
            )
            segments = [FrameRange(a, b) for a, b in itertools.pairwise(borders)]
            results = []
            for number, frames in enumerate(segments):
                results.append(await self._segment(helper, summary, frames, number))
            target = self.directory / f"out.{self.spec.container.value}"
            await self._join(index_path, target, carry, summary, segments, results)
            report = await verify_published(
                self.runner, target, self.source, index_path, self.spec, carry,
                keeps_timing=self.spec.profile.keeps_timing,
                frames=sum(r.frame_count for _, r in results),
            )  # fmt: skip
            return target, report
        finally:
            await helper.close()

    async def _segment(self, helper, summary, frames, number):
        pre_roll = PreRoll.KEYFRAME
        piece = self.directory / f"{number}.piece"
        result = self.directory / f"{number}.mkv"
        arguments = self.alternate if self.alternate and number % 2 else self.arguments
        while True:
            cut = await helper.cut(frames, pre_roll, self.spec.profile.context_frames, piece)
            assert cut.size_bytes == piece.stat().st_size
            order = EncodeOrder(
                frames=frames, profile=self.spec.profile, encoder="test", video=summary.video,
                trim_start_s=cut.trim_start_s, trim_end_s=cut.trim_end_s,
                picture_check=self.picture_check, counts_frames=self.spec.profile.keeps_timing,
            )  # fmt: skip
            try:
                await encode_piece(self.runner, self.build, arguments, order, piece, result)
                return result, await helper.check(result, order)
            except WrongFrameCount:
                if pre_roll.next is None:
                    raise
                pre_roll = pre_roll.next
                self.retries += 1

    async def _join(self, index_path, target, carry, summary, segments, results):
        in_band, reorder = False, 0
        while True:
            joiner = Joiner(
                self.runner, self.build, self.source, index_path, target, self.spec, carry,
                summary.video, in_band=in_band, keeps_timing=self.spec.profile.keeps_timing,
                reorder_frames=reorder,
            )  # fmt: skip
            joiner.start()
            try:
                for frames, (result, report) in zip(segments, results, strict=True):
                    await joiner.append(result, frames, report)
                await joiner.finish()
                return
            except NeedsRestart as needed:
                self.restarts += 1
                await joiner.abort()
                in_band = needed.in_band or in_band
                reorder = needed.reorder_frames or reorder


def spec_for(container: Container, codec: Codec = Codec.H264, **profile: object) -> JobSpec:
    """A job that asks for `codec` in `container`."""
    return JobSpec(
        profile=Profile(codec=codec, **profile),  # type: ignore[arg-type]
        container=container,
        output_name=f"out.{container.value}",
        source_name="film",
    )
