"""The media side of one job on the coordinator: index, pieces, checks, join, publication.

Owns the job's directory, its helper process and its join. Decides nothing about workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
from twisted.internet.defer import DeferredLock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.effects import OfferAttempt
from ffcluster.core.media import MediaSummary
from ffcluster.core.model import (
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
from ffcluster.errors import FfclusterError, JoinFailed, ProtocolError
from ffcluster.media.carry import CarryPlan, plan_carry
from ffcluster.media.join import Joiner, NeedsRestart
from ffcluster.media.runner import Runner
from ffcluster.media.source import SourceHelper
from ffcluster.media.verify import verify_published
from ffcluster.store import files

log = Logger()


@attrs.frozen
class CutPiece:
    """A piece on disk, ready to be fetched, with the order that goes with it."""

    path: Path
    size_bytes: int
    sha256: str
    order: EncodeOrder


@attrs.frozen
class _Committed:
    epoch: Epoch
    frames: FrameRange
    report: ResultReport


class JobMedia:
    """Everything that one job does with files and media processes.

    Args:
        job_id: The job.
        spec: What was asked for.
        source: The film; only ever read.
        directory: The job's own directory; made here, removed by `close`.
        output_dir: Where the output is published.
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
        runner: Runner,
        build: FfmpegBuild,
        stall_timeout_s: float,
    ) -> None:
        self.job_id = job_id
        self.spec = spec
        self.source = source
        self.directory = directory
        self.summary: MediaSummary | None = None
        self._output_dir = output_dir
        self._partial = output_dir / f".{Path(spec.output_name).stem}.{job_id}.partial"
        self._runner = runner
        self._build = build
        self._stall_timeout_s = stall_timeout_s
        self._helper = SourceHelper(runner)
        self._index_path = directory / "index"
        self._carry: CarryPlan | None = None
        self._join = _JoinQueue(self._make_joiner, self.result_path)
        self._closed = False

    # --- the source ----------------------------------------------------------------------------

    async def index(self) -> MediaSummary:
        """Read the whole source once and find out whether the job can be done.

        Raises:
            SourceError: The source cannot be used.
            ContainerUnsuitable: The container cannot hold what was asked for.
        """
        await deferToThread(files.make_private, self.directory)
        await deferToThread(files.make_private, self.directory / "pieces")
        await deferToThread(files.make_private, self.directory / "results")
        summary = await self._helper.index(
            self.source, self._index_path, allow_damaged=self.spec.allow_damaged
        )
        self._carry = plan_carry(await self._helper.facts(), self.spec)
        self.summary = summary
        return summary

    async def cut(self, offer: OfferAttempt, profile: Profile) -> CutPiece:
        """Cut the packets that an attempt needs into a file of their own.

        Args:
            offer: The attempt.
            profile: The job's profile, on the scales of the encoder that shall do it.
        """
        summary, frames = self._indexed(), offer.frames
        path = self.directory / "pieces" / f"{offer.epoch}.mkv"
        piece = await self._helper.cut(frames, offer.pre_roll, profile.context_frames, path)
        compares = self.spec.exactly and profile.rate.mode is RateMode.LOSSLESS
        order = EncodeOrder(
            frames=frames,
            profile=profile,
            encoder=offer.encoder,
            video=summary.video,
            device=offer.device,
            # Lossless is proven against what ffmpeg decodes, not against what a device does.
            hardware_decode=self.spec.hardware_decode and not compares,
            trim_start_s=piece.trim_start_s,
            trim_end_s=piece.trim_end_s,
            # Of a trial only the headers count.
            decoded_check=self.spec.exactly and not offer.trial,
            picture_check=compares and not offer.trial,
            counts_frames=profile.keeps_timing,
            stall_timeout_s=self._stall_timeout_s,
        )
        return CutPiece(path, piece.size_bytes, piece.sha256, order)

    def drop_piece(self, epoch: Epoch) -> None:
        """The attempt is over: its piece is not needed any more."""
        self._unlink(self.directory / "pieces" / f"{epoch}.mkv")

    # --- results -------------------------------------------------------------------------------

    def result_path(self, epoch: Epoch) -> Path:
        """Where an attempt's result arrives and stays until the job ends."""
        return self.directory / "results" / f"{epoch}.mkv"

    def result_limit_bytes(self, frames: FrameRange) -> int:
        """No honest result is larger: every picture uncompressed, at 16 bits and full chroma."""
        video = self._indexed().video
        return len(frames) * video.width * video.height * 6 * 4 + 16 * 2**20

    async def check(self, epoch: Epoch, order: EncodeOrder, proof: SegmentProof) -> ResultReport:
        """Look at a delivered result; what the worker claims of it must hold.

        Raises:
            WrongFrameCount, ResultInvalid: It is not what was asked for.
        """
        if order.counts_frames and proof.encoded_frames != len(order.frames):
            raise ProtocolError(
                message=f"The worker sent a result of {proof.encoded_frames} frames where "
                f"{len(order.frames)} were asked for."
            )
        return await self._helper.check(self.result_path(epoch), order)

    # --- the join ------------------------------------------------------------------------------

    async def append(
        self, epoch: Epoch, frames: FrameRange, report: ResultReport, *, mixes: bool
    ) -> None:
        """Append a committed result to the join; called strictly in order of frames.

        Args:
            epoch: The attempt that made it.
            frames: Its frames.
            report: What was found in it.
            mixes: Whether segments with other parameter sets are to be expected: the join then
                begins in a way that has room for them.

        Raises:
            JoinFailed, IncompatibleSegments, DiskFull: The join cannot go on.
        """
        await self._join.append(_Committed(epoch, frames, report), mixes=mixes)

    async def finish(
        self, proofs: Sequence[SegmentProof], made_by: Sequence[Contribution], notes: Sequence[str]
    ) -> JobOutcome:
        """End the join, verify the whole file against the index, and publish it.

        Args:
            proofs: Of every committed segment.
            made_by: Which encoder made how much of it.
            notes: What else a person should know of how it was made.

        Raises:
            JoinFailed, IncompatibleSegments, VerificationFailed, OutputUnwritable, DiskFull:
                Nothing was published.
        """
        summary, carry = self._indexed(), self._carry
        assert carry is not None  # noqa: S101 - set together with the summary
        keeps_timing = self.spec.profile.keeps_timing
        began = self._runner.reactor.seconds()
        await self._join.finish()
        joined = self._runner.reactor.seconds()
        await verify_published(
            self._runner,
            self._partial,
            self.source,
            self._index_path,
            self.spec,
            carry,
            keeps_timing=keeps_timing,
            frames=None if keeps_timing else self._join.frame_count,
        )
        log.info(
            "job {id}: joined {join} s after its last segment; verified in {verify} s",
            id=self.job_id,
            join=round(joined - began, 2),
            verify=round(self._runner.reactor.seconds() - joined, 2),
        )
        sha256 = await deferToThread(files.sha256_of, self._partial)
        size = (await deferToThread(self._partial.stat)).st_size
        target = await deferToThread(
            files.publish, self._partial, self._output_dir, self.spec.output_name
        )
        equal = [proof.pictures_equal for proof in proofs]
        told = [summary.damaged] if summary.damaged else []
        if not self.spec.exactly:
            told.append("not proven: the frames were counted in the container, not decoded")
        return JobOutcome(
            path=str(target),
            size_bytes=size,
            sha256=sha256,
            frame_count=self._join.frame_count,
            proven=self.spec.exactly,
            pictures_equal=all(equal) if equal and None not in equal else None,
            in_band_parameter_sets=self._join.in_band,
            lost=carry.lost,
            notes=(*told, *notes),
            made_by=tuple(made_by),
        )

    async def close(self) -> None:
        """End the job's processes and remove its files; what was published stays."""
        if self._closed:
            return
        self._closed = True
        await self._join.abort()
        await self._helper.close()
        await deferToThread(self._partial.unlink, True)
        await deferToThread(files.remove_tree, self.directory)

    def _make_joiner(self, in_band: bool, reorder_frames: int) -> Joiner:
        summary, carry = self._indexed(), self._carry
        assert carry is not None  # noqa: S101 - set together with the summary
        return Joiner(
            runner=self._runner,
            build=self._build,
            source=self.source,
            index_path=self._index_path,
            target=self._partial,
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


class _JoinQueue:
    """Feeds committed results to the joiner one by one, and starts over when it must.

    The joiner writes a header before it has seen every segment. If a later one does not fit under
    it (other parameter sets, deeper reordering), the join starts again from the first result.
    """

    def __init__(
        self,
        make_joiner: Callable[[bool, int], Joiner],
        result_path: Callable[[Epoch], Path],
    ) -> None:
        self._make_joiner = make_joiner
        self._result_path = result_path
        self._committed: list[_Committed] = []
        self._position = 0
        self._joiner: Joiner | None = None
        self._lock = DeferredLock()
        self._error: FfclusterError | None = None
        self._aborted = False
        self._reorder_frames = 0
        self.in_band = False

    @property
    def frame_count(self) -> int:
        """Frames in all results that were queued."""
        return sum(committed.report.frame_count for committed in self._committed)

    async def append(self, committed: _Committed, *, mixes: bool) -> None:
        """Queue a result and wait until it is in the joiner's hands; raises what went wrong.

        What `mixes` says counts for the first result; later ones that differ start the join anew.
        """
        if not self._committed:
            self.in_band = mixes
        self._committed.append(committed)
        await self._advance()
        if self._error is not None:
            raise self._error

    async def finish(self) -> None:
        """Wait for everything queued, then end the join; raises what went wrong on the way."""
        while True:
            await self._advance()
            if self._error is not None:
                raise self._error
            try:
                if self._joiner is None:
                    raise JoinFailed(message="There is nothing to join.")
                await self._joiner.finish()
            except NeedsRestart as restart:
                await self._start_over(restart)
            else:
                self._joiner = None
                return

    async def abort(self) -> None:
        """End the joiner; nothing is written any more."""
        self._aborted = True
        if self._joiner is not None:
            await self._joiner.abort()

    async def _advance(self) -> None:
        await self._lock.acquire()
        try:
            while self._position < len(self._committed) and not self._aborted:
                if self._error is not None:
                    return
                await self._append_next()
        except FfclusterError as error:
            if not self._aborted:
                self._error = error
        finally:
            self._lock.release()

    async def _append_next(self) -> None:
        following = self._committed[self._position]
        if self._joiner is None:
            self._reorder_frames = max(self._reorder_frames, following.report.reorder_frames)
            self._joiner = self._make_joiner(self.in_band, self._reorder_frames)
            self._joiner.start()
        try:
            await self._joiner.append(
                self._result_path(following.epoch), following.frames, following.report
            )
        except NeedsRestart as restart:
            await self._start_over(restart)
        else:
            self._position += 1

    async def _start_over(self, restart: NeedsRestart) -> None:
        log.info("the join starts over: {reason}", reason=restart)
        self.in_band = self.in_band or bool(restart.in_band)
        self._reorder_frames = max(self._reorder_frames, restart.reorder_frames or 0)
        joiner, self._joiner = self._joiner, None
        self._position = 0
        if joiner is not None:
            await joiner.abort()
