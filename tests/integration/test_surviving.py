"""One job's media side with real files and processes: whatever dies or fills up, one right output.

Segments are encoded once; then the job is joined, verified and published again and again, with an
end of the process at every named step, damaged results and full disks in between.
"""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from ffcluster import steps
from ffcluster.core.effects import OfferAttempt
from ffcluster.core.media import MediaSummary
from ffcluster.core.model import (
    BlobRef,
    Epoch,
    JobId,
    JobOutcome,
    PreRoll,
    ResultReport,
    SegmentProof,
    WorkerId,
)
from ffcluster.core.profile import Container, RateControl, RateMode
from ffcluster.core.timeline import FrameRange
from ffcluster.encoders.backend import EncodeArguments
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.errors import BlobDamaged, BlobLost, Cancelled, DiskFull, JoinFailed, SourceChanged
from ffcluster.media.encode import encode_piece
from ffcluster.media.runner import Runner
from ffcluster.services.jobs.jobmedia import JobMedia
from ffcluster.steps import Step
from ffcluster.store.blobs import FileBlobs
from ffcluster.store.files import sha256_of
from tests import inputs
from tests.integration.media_case import MediaCase, asynchronous
from tests.integration.pipeline import Shown, decode, spec_for
from tests.store.crashing import small_disk

KIND = "h264_open_mp4"
JOB = JobId("0123456789ab")
_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-threads", "1", "-qp", "0")
_KILLED_AT = (Step.SEGMENT_JOINED, Step.JOIN_FINISHED, Step.OUTPUT_VERIFIED, Step.OUTPUT_PLACED)
SPEC = spec_for(Container.MP4, rate=RateControl(RateMode.LOSSLESS))


@attrs.frozen
class Made:
    """What is durable of a job whose segments are all committed."""

    build: FfmpegBuild
    source: Path
    summary: MediaSummary | None = None
    results: tuple[tuple[Epoch, FrameRange, ResultReport, BlobRef], ...] = ()


def job_media(runner: Runner, made: Made, directory: Path, output_dir: Path) -> JobMedia:
    """The media side of the job, as any process begins it."""
    blobs = FileBlobs(directory)
    blobs.prepare()
    return JobMedia(
        JOB,
        SPEC,
        made.source,
        directory / "jobs" / JOB,
        output_dir=output_dir,
        blobs=blobs,
        runner=runner,
        build=made.build,
        stall_timeout_s=60.0,
    )


async def join_all(media: JobMedia, made: Made) -> JobOutcome:
    """Append every result and end the join."""
    appending = [
        ensureDeferred(media.append(epoch, frames, report, blob, mixes=False))
        for epoch, frames, report, blob in made.results
    ]
    ends = await DeferredList(appending, consumeErrors=True)
    for failure in [end for done, end in ends if not done]:
        if not failure.check(Cancelled):
            failure.raiseException()
    return await media.finish([SegmentProof(1)], (), ())


def run_alone(directory: Path, output_dir: Path, step: str) -> None:
    """Take the job up in a process of its own, and kill it at `step`. Called by the child."""

    def observe(reached: Step) -> None:
        if reached.value == step:
            os.kill(os.getpid(), signal.SIGKILL)

    made: Made = pickle.loads((directory / "made").read_bytes())

    async def work() -> None:
        media = job_media(Runner(reactor), made, directory, output_dir)
        await media.index(made.summary)
        steps.observer = observe
        outcome = await join_all(media, made)
        (directory / "outcome").write_bytes(pickle.dumps(outcome))
        await media.publish(outcome)

    def begin() -> None:
        ensureDeferred(work()).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()


class SurvivingTests(MediaCase):
    timeout = 300

    def setUp(self) -> None:
        super().setUp()
        self.state, self.output = self.directory / "state", self.directory / "output"
        self.state.mkdir()
        self.output.mkdir()

    async def make(self) -> Made:
        """Encode every segment of a film, as workers would."""
        source = inputs.make(KIND, self.directory)
        made = Made(self.build, source)
        media = self.media(made)
        summary = await media.index()
        third = summary.frame_count // 3
        borders = [0, third, 2 * third, summary.frame_count]
        results = []
        for number, (first, stop) in enumerate(itertools.pairwise(borders)):
            results.append(await self._encode(media, Epoch(number + 1), FrameRange(first, stop)))
        await media.stop()
        return attrs.evolve(made, summary=summary, results=tuple(results))

    async def _encode(
        self, media: JobMedia, epoch: Epoch, frames: FrameRange
    ) -> tuple[Epoch, FrameRange, ResultReport, BlobRef]:
        offer = OfferAttempt(epoch, WorkerId("w"), JOB, frames, PreRoll.KEYFRAME, "libx264")
        cut = await media.cut(offer, SPEC.profile)
        blobs = FileBlobs(self.state)
        result = blobs.incoming(f"result-{epoch}")
        arguments = EncodeArguments(filters=("format=yuv420p",), output_args=_X264)
        proof = await encode_piece(
            self.runner, self.build, arguments, cut.order, cut.path, result.with_suffix(".mkv")
        )
        result.with_suffix(".mkv").rename(result)
        blob = blobs.adopt(result, sha256_of(result), result.stat().st_size, owner=str(epoch))
        return epoch, frames, await media.check(blob, cut.order, proof), blob

    def media(self, made: Made, output: Path | None = None) -> JobMedia:
        return job_media(self.runner, made, self.state, output or self.output)

    def names(self) -> set[str]:
        return {path.name for path in self.output.iterdir()}

    def shown(self, path: Path) -> list[Shown]:
        return decode(inputs.ffmpeg_path(), path, "yuv420p")

    def is_right(self, made: Made, outcome: JobOutcome) -> None:
        """The one output is there, and shows the source's pictures at the source's times."""
        assert self.names() == {"out.mp4"}
        assert outcome.path == str(self.output / "out.mp4")
        source, output = self.shown(made.source), self.shown(Path(outcome.path))
        assert [picture.md5 for picture in output] == [picture.md5 for picture in source]
        start = source[0].time - output[0].time
        assert [picture.time + start for picture in output] == [p.time for p in source]

    @asynchronous
    async def test_job_goes_on_in_another_process_at_every_point(self) -> None:
        made = await self.make()
        begun = self.media(made)
        await begun.index(made.summary)
        await begun.append(*made.results[0], mixes=False)
        await begun.stop()

        joined = self.media(made)
        await joined.index(made.summary)
        outcome = await join_all(joined, made)
        await joined.stop()
        assert self.names() == {f".out.{JOB}.partial"}

        published = self.media(made)
        assert await published.publish(outcome) == outcome
        await published.stop()

        again = self.media(made)
        await again.publish(outcome)
        self.is_right(made, outcome)
        await again.close()
        self.is_right(made, outcome)
        assert not again.directory.exists()

    @asynchronous
    async def test_process_may_be_killed_at_every_step(self) -> None:
        made = await self.make()
        (self.state / "made").write_bytes(pickle.dumps(made))
        for step in _KILLED_AT:
            await self._killed(step)
            told = self.state / "outcome"
            media = self.media(made)
            if step is Step.OUTPUT_PLACED:
                assert "out.mp4" in self.names()
                outcome = await media.publish(pickle.loads(told.read_bytes()))
            else:
                assert "out.mp4" not in self.names()
                assert not told.exists()
                await media.index(made.summary)
                outcome = await media.publish(await join_all(media, made))
            self.is_right(made, outcome)
            await media.close(keep=True)
            told.unlink(missing_ok=True)
            Path(outcome.path).unlink()

    def _killed(self, step: Step) -> Deferred[None]:
        code = (
            "from pathlib import Path\n"
            "from tests.integration.test_surviving import run_alone\n"
            f"run_alone(Path({str(self.state)!r}), Path({str(self.output)!r}), {step.value!r})\n"
        )

        def run() -> None:
            child = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
            assert child.returncode == -9, step

        return deferToThread(run)

    @asynchronous
    async def test_result_that_was_altered_or_deleted_is_found_and_can_be_made_again(self) -> None:
        made = await self.make()
        media, blobs = self.media(made), FileBlobs(self.state)
        await media.index(made.summary)
        epoch, frames, _, blob = made.results[1]
        kept = blobs.path(blob).read_bytes()
        for harm, error in ((self._flip, BlobDamaged), (Path.unlink, BlobLost)):
            harm(blobs.path(blob))
            caught = await self.assertFailure(ensureDeferred(join_all(media, made)), error)
            assert caught.detail["first_frame"] == frames.first
            assert caught.detail["epoch"] == epoch
            assert self.names() == set()
            blobs.path(blob).write_bytes(kept)
            restarting = ensureDeferred(media.restart_join())
            outcome = await join_all(media, made)
            await restarting
            await media.restart_join()
            assert outcome.sha256
        outcome = await join_all(media, made)
        await media.publish(outcome)
        self.is_right(made, outcome)
        await media.close()

    def _flip(self, path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    @asynchronous
    async def test_verified_file_that_is_lost_before_it_is_placed_is_joined_again(self) -> None:
        made = await self.make()
        media = self.media(made)
        await media.index(made.summary)
        outcome = await join_all(media, made)
        (self.output / f".out.{JOB}.partial").unlink()
        caught = await self.assertFailure(ensureDeferred(media.publish(outcome)), JoinFailed)
        assert caught.retryable
        await media.restart_join()
        outcome = await media.publish(await join_all(media, made))
        self.is_right(made, outcome)
        await media.close()

    @asynchronous
    async def test_full_disk_leaves_nothing_and_the_join_goes_on_when_there_is_room(self) -> None:
        made = await self.make()
        size = sum(blob.size_bytes for *_, blob in made.results)
        try:
            disk = small_disk(self.directory / "disk", size + 512 * 1024)
            self.output = disk.__enter__()
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            raise SkipTest("only root may mount a small file system here") from error
        try:
            ballast = self.output / "ballast"
            ballast.write_bytes(bytes(size // 2 + 512 * 1024))
            media = self.media(made)
            await media.index(made.summary)
            await self.assertFailure(ensureDeferred(join_all(media, made)), DiskFull)
            assert self.names() == {"ballast"}
            ballast.unlink()
            await media.restart_join()
            outcome = await media.publish(await join_all(media, made))
            self.is_right(made, outcome)
            await media.close()
        finally:
            disk.__exit__(None, None, None)

    @asynchronous
    async def test_film_without_a_segment_is_published_when_that_is_said(self) -> None:
        made = await self.make()
        media = self.media(made)
        media.spec = attrs.evolve(SPEC, allow_missing=True)
        await media.index(made.summary)
        gap = made.results[1][1]
        for result in (made.results[0], made.results[2]):
            await media.append(*result, mixes=False)
        outcome = await media.publish(await media.finish((), (), (), missing=[gap]))
        assert outcome.missing == (gap,)
        wanted = [
            p.md5
            for n, p in enumerate(self.shown(made.source))
            if n not in range(gap.first, gap.stop)
        ]
        assert [p.md5 for p in self.shown(Path(outcome.path))] == wanted
        assert outcome.frame_count == len(wanted)
        await media.close()

    @asynchronous
    async def test_source_that_changed_between_two_processes_is_refused(self) -> None:
        made = await self.make()
        with made.source.open("ab") as file:
            file.write(b"more")
        media = self.media(made)
        await self.assertFailure(ensureDeferred(media.index(made.summary)), SourceChanged)
        shutil.rmtree(media.directory)
        await self.assertFailure(ensureDeferred(media.index(made.summary)), SourceChanged)
        await media.close()

    @asynchronous
    async def test_pieces_that_no_attempt_owns_are_removed(self) -> None:
        made = await self.make()
        media = self.media(made)
        pieces = media.directory / "pieces"
        assert {path.name for path in pieces.iterdir()} == {"1.mkv", "2.mkv", "3.mkv"}
        await media.clean({Epoch(2)})
        assert {path.name for path in pieces.iterdir()} == {"2.mkv"}
        await media.close(keep=True)
        assert not pieces.exists()
        assert (media.directory / "index").exists()
        await media.close()
        assert not media.directory.exists()
