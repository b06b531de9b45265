"""The media side of one job on the coordinator: index, pieces, checks, join, publication.

Owns the job's directory, its helper process, its join and its output's temporary file, all of
which may be taken up again after a restart. Decides nothing about workers; holds no blobs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

import attrs
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.effects import OfferAttempt
from ffcluster.core.media import MediaSummary
from ffcluster.core.model import (
    BlobRef,
    Contribution,
    EncodeOrder,
    Epoch,
    JobId,
    JobOutcome,
    JobSpec,
    ResultReport,
    SegmentProof,
)
from ffcluster.core.profile import Profile, RateMode
from ffcluster.core.timeline import FrameRange
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.errors import Cancelled, FfclusterError, JoinFailed, ProtocolError
from ffcluster.media.carry import CarryPlan, plan_carry
from ffcluster.media.join import Joiner
from ffcluster.media.runner import Runner
from ffcluster.media.source import SourceHelper
from ffcluster.media.verify import verify_published
from ffcluster.services.jobs.jobsource import JobSource
from ffcluster.services.jobs.joinqueue import CommittedResult, JoinQueue
from ffcluster.services.jobs.publication import FinishedFile, Publication
from ffcluster.steps import Step, reached
from ffcluster.store import files
from ffcluster.store.blobs import BlobStore

log = Logger()
_T = TypeVar("_T")


@attrs.frozen
class CutPiece:
    """A piece on disk, ready to be fetched, with the order that goes with it."""

    path: Path
    size_bytes: int
    sha256: str
    order: EncodeOrder


class JobMedia:
    """Everything that one job does with files and media processes; not used again once closed.

    Args:
        job_id: The job.
        spec: What was asked for.
        source: The film; only ever read.
        directory: The job's own directory; made here, removed by `close`.
        output_dir: Where the output is published.
        blobs: Where the results are.
        runner: Starts the processes.
        build: The coordinator's ffmpeg.
        stall_timeout_s: How long an encoder may make no frame.
    """

    def __init__(
        self,
        job_id: JobId,
        spec: JobSpec,
        source: Path,
        directory: Path,
        *,
        output_dir: Path,
        blobs: BlobStore,
        runner: Runner,
        build: FfmpegBuild,
        stall_timeout_s: float,
    ) -> None:
        self.job_id = job_id
        self.spec = spec
        self.source = source
        self.directory = directory
        self.summary: MediaSummary | None = None
        self._blobs = blobs
        self._runner = runner
        self._build = build
        self._stall_timeout_s = stall_timeout_s
        self._helper = SourceHelper(runner)
        self._source = JobSource(self._helper, spec, source, directory)
        self._carry: CarryPlan | None = None
        self._publication = Publication(job_id, output_dir, spec.output_name)
        self._join = JoinQueue(self._make_joiner, blobs, self._publication.discard)
        self._closed = False

    async def within(self, work: Awaitable[_T]) -> _T:
        """The result of something this job does, if it is still wanted.

        What goes on when the job is closed ends in all sorts of errors, which say nothing about
        the job: it may even have been retried meanwhile.

        Raises:
            Cancelled: The job was closed before it came.
        """
        try:
            result = await work
        except FfclusterError as error:
            if self._closed:
                raise Cancelled(message=f"Job {self.job_id} was closed.") from error
            raise
        if self._closed:
            raise Cancelled(message=f"Job {self.job_id} was closed.")
        return result

    # --- the source ----------------------------------------------------------------------------

    async def index(self, expected: MediaSummary | None = None) -> MediaSummary:
        """Read the source once and find out whether the job can be done.

        Args:
            expected: What was found earlier, in another process perhaps. The index that was made
                then is used if it is still there; otherwise the source is read again.

        Raises:
            SourceError: The source cannot be used.
            SourceChanged: It is not the file any more that was found earlier.
            ContainerUnsuitable: The container cannot hold what was asked for.
        """
        # Attempts that workers kept meanwhile are asked about before this is done.
        self.summary = expected
        await deferToThread(files.make_private, self.directory)
        await deferToThread(files.make_private, self._pieces)
        summary = await self._source.open(expected)
        self._carry = plan_carry(await self._helper.facts(), self.spec)
        self.summary = summary
        return summary

    async def clean(self, live: Collection[Epoch]) -> None:
        """Remove the pieces that no live attempt owns, left by an earlier process."""
        await deferToThread(_remove_others, self._pieces, {f"{epoch}.mkv" for epoch in live})

    async def cut(self, offer: OfferAttempt, profile: Profile) -> CutPiece:
        """Cut the packets that an attempt needs into a file of their own.

        Args:
            offer: The attempt.
            profile: The job's profile, on the scales of the encoder that shall do it.
        """
        path = self._pieces / f"{offer.epoch}.mkv"
        piece = await self._helper.cut(offer.frames, offer.pre_roll, profile.context_frames, path)
        order = attrs.evolve(
            self.order(offer, profile),
            trim_start_s=piece.trim_start_s,
            trim_end_s=piece.trim_end_s,
        )
        return CutPiece(path, piece.size_bytes, piece.sha256, order)

    def order(self, offer: OfferAttempt, profile: Profile) -> EncodeOrder:
        """What an attempt was told to do, without the trims of its piece.

        That is all that is needed to check the result of an attempt that a worker kept while the
        coordinator was away.
        """
        compares = self.spec.exactly and profile.rate.mode is RateMode.LOSSLESS
        return EncodeOrder(
            frames=offer.frames,
            profile=profile,
            encoder=offer.encoder,
            video=self._indexed().video,
            device=offer.device,
            # Lossless is proven against what ffmpeg decodes, not against what a device does.
            hardware_decode=self.spec.hardware_decode and not compares,
            # Of a trial only the headers count.
            decoded_check=self.spec.exactly and not offer.trial,
            picture_check=compares and not offer.trial,
            counts_frames=profile.keeps_timing,
            stall_timeout_s=self._stall_timeout_s,
        )

    def drop_piece(self, epoch: Epoch) -> None:
        """The attempt is over: its piece is not needed any more."""
        self._unlink(self._pieces / f"{epoch}.mkv")

    @property
    def _pieces(self) -> Path:
        return self.directory / "pieces"

    # --- results -------------------------------------------------------------------------------

    def result_limit_bytes(self, frames: FrameRange) -> int:
        """No honest result is larger: every picture uncompressed, at 16 bits and full chroma."""
        video = self._indexed().video
        return len(frames) * video.width * video.height * 6 * 4 + 16 * 2**20

    async def check(self, blob: BlobRef, order: EncodeOrder, proof: SegmentProof) -> ResultReport:
        """Look at a delivered result; what the worker claims of it must hold.

        Raises:
            WrongFrameCount, ResultInvalid: It is not what was asked for.
            BlobLost, BlobDamaged: It is not what was delivered any more.
        """
        if order.counts_frames and proof.encoded_frames != len(order.frames):
            raise ProtocolError(
                message=f"The worker sent a result of {proof.encoded_frames} frames where "
                f"{len(order.frames)} were asked for."
            )
        try:
            return await self._helper.check(self._blobs.path(blob), order)
        except FfclusterError:
            # The worker is not to blame for what happened on this disk.
            await deferToThread(self._blobs.verify, blob)
            raise

    # --- the join ------------------------------------------------------------------------------

    async def append(
        self,
        epoch: Epoch,
        frames: FrameRange,
        report: ResultReport,
        blob: BlobRef,
        *,
        mixes: bool,
    ) -> None:
        """Append a committed result to the join; called strictly in order of frames.

        It takes its place when this is called, and is read back before it is joined.

        Args:
            epoch: The attempt that made it.
            frames: Its frames.
            report: What was found in it.
            blob: The result itself.
            mixes: Whether segments with other parameter sets are to be expected: the join then
                begins in a way that has room for them.

        Raises:
            BlobLost, BlobDamaged: A result is not what was committed; the error's detail says
                which (`epoch`, `first_frame`, `stop_frame`), it need not be this one.
            JoinFailed, IncompatibleSegments, DiskFull, HelperDied: The join cannot go on.
            Cancelled: It was restarted or closed, or failed before: nothing needs to be said.
        """
        await self._join.append(CommittedResult(epoch, frames, report, blob), mixes=mixes)

    async def restart_join(self) -> None:
        """Throw away what was joined or verified; every result is appended anew.

        Takes effect when it is called: it need not be waited for before the first `append`.
        """
        await self._join.restart()

    async def finish(
        self,
        proofs: Sequence[SegmentProof],
        made_by: Sequence[Contribution],
        notes: Sequence[str],
        *,
        missing: Sequence[FrameRange] = (),
    ) -> JobOutcome:
        """End the join, verify the whole file against the index, and choose its place.

        The file is durable then, under its temporary name; nothing has appeared at its place.

        Args:
            proofs: Of every committed segment.
            made_by: Which encoder made how much of it.
            notes: What else a person should know of how it was made.
            missing: Frames that are not in it.

        Raises:
            VerificationFailed: The file is not right.
            OutputUnwritable: It cannot be made durable.
            As `append`: The join could not be ended.
        """
        began, join = self._runner.reactor.seconds(), self._join.generation
        await self._join.finish()
        joined = self._runner.reactor.seconds()
        try:
            await self._verify(missing)
            finished = await self._publication.prepare()
        except FfclusterError:
            if join == self._join.generation:
                await self._publication.discard()
            raise
        if join != self._join.generation:
            raise Cancelled(message="The join was given up.")
        reached(Step.OUTPUT_VERIFIED)
        log.info(
            "job {job}: joined {join} s after its last segment; verified in {verify} s",
            job=self.job_id,
            join=round(joined - began, 2),
            verify=round(self._runner.reactor.seconds() - joined, 2),
        )
        return self._outcome(finished, proofs, made_by, notes, missing)

    async def _verify(self, missing: Sequence[FrameRange]) -> None:
        _, carry = self._indexed(), self._carry
        assert carry is not None  # noqa: S101 - set together with the summary
        keeps_timing = self.spec.profile.keeps_timing
        await verify_published(
            self._runner,
            self._publication.partial,
            self.source,
            self._source.index_path,
            self.spec,
            carry,
            keeps_timing=keeps_timing,
            frames=None if keeps_timing else self._join.frame_count,
            missing=missing,
        )

    def _outcome(
        self,
        finished: FinishedFile,
        proofs: Sequence[SegmentProof],
        made_by: Sequence[Contribution],
        notes: Sequence[str],
        missing: Sequence[FrameRange],
    ) -> JobOutcome:
        summary, carry = self._indexed(), self._carry
        assert carry is not None  # noqa: S101 - set together with the summary
        equal = [proof.pictures_equal for proof in proofs]
        told = [summary.damaged] if summary.damaged else []
        if not self.spec.exactly:
            told.append("not proven: the frames were counted in the container, not decoded")
        return JobOutcome(
            path=str(finished.target),
            size_bytes=finished.size_bytes,
            sha256=finished.sha256,
            frame_count=self._join.frame_count,
            proven=self.spec.exactly,
            pictures_equal=all(equal) if equal and None not in equal else None,
            in_band_parameter_sets=self._join.in_band,
            lost=carry.lost,
            notes=(*told, *notes),
            made_by=tuple(made_by),
            missing=tuple(missing),
        )

    async def publish(self, outcome: JobOutcome) -> JobOutcome:
        """Let the verified file appear at `outcome.path`, once, however often this is called.

        Needs nothing but the file: neither an index nor a join of this process.

        Raises:
            PlaceTaken: Another file is there; it carries an outcome with another place.
            JoinFailed: The verified file is gone or altered: it must be joined again.
            DiskFull, OutputUnwritable: It cannot be placed; nothing appeared.
        """
        await self._publication.place(outcome)
        return outcome

    async def stop(self) -> None:
        """End the job's processes; all that another process can go on from stays."""
        self._closed = True
        await self._join.close()
        await self._helper.close()

    async def close(self, *, keep: bool = False) -> None:
        """End the job's processes and remove its files; what was published stays.

        Args:
            keep: Leave the index for a retry.
        """
        if not self._closed:
            await self.stop()
        await self._publication.discard()
        await deferToThread(files.remove_tree, self._pieces if keep else self.directory)

    def _make_joiner(self, in_band: bool, reorder_frames: int) -> Joiner:
        summary, carry = self._indexed(), self._carry
        assert carry is not None  # noqa: S101 - set together with the summary
        return Joiner(
            runner=self._runner,
            build=self._build,
            source=self.source,
            index_path=self._source.index_path,
            target=self._publication.partial,
            spec=self.spec,
            carry=carry,
            video=summary.video,
            in_band=in_band,
            reorder_frames=reorder_frames,
            keeps_timing=self.spec.profile.keeps_timing,
        )

    def _indexed(self) -> MediaSummary:
        if self.summary is None:
            raise JoinFailed(message=f"Job {self.job_id} was not indexed yet.")
        return self.summary

    def _unlink(self, path: Path) -> None:
        # Removing a large file can block for a second; nobody waits for it.
        deferToThread(path.unlink, True).addErrback(
            lambda failure: log.warn(
                "cannot remove {path}: {error}", path=path, error=failure.value
            )
        )


def _remove_others(directory: Path, keep: Collection[str]) -> None:
    for path in directory.glob("*"):
        if path.name not in keep:
            files.remove_tree(path) if path.is_dir() else path.unlink(missing_ok=True)
