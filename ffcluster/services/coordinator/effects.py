"""Carry out what the cluster decides: start the work, and post what comes of it as events.

An effect may come late: what it is about may have ended while its event was being stored. Then
nothing is done. Owns the orders of live attempts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatchmethod

import attrs
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.cluster import ClusterState
from ffcluster.core.effects import (
    CheckResult,
    CloseJob,
    DiscardAttempt,
    DismissWorker,
    Effect,
    FinishJoin,
    ForgetJob,
    IndexSource,
    JobChanged,
    JoinSegment,
    OfferAttempt,
    Publish,
    RestartJoin,
    ResumeAttempt,
    RevokeAttempt,
    WorkerChanged,
)
from ffcluster.core.events import AttemptChecked, AttemptFailed, Event, JobFailed, SourceIndexed
from ffcluster.core.job import Job
from ffcluster.core.model import EncodeOrder, Epoch, JobId, WorkerId
from ffcluster.core.segment import Attempt
from ffcluster.encoders.registry import Registry
from ffcluster.errors import Cancelled, Code, ErrorReport, TransferFailed
from ffcluster.net import messages
from ffcluster.net.bulk_server import Readable
from ffcluster.net.websocket import CLOSE_NORMAL
from ffcluster.services.background import Background
from ffcluster.services.coordinator.gateway import Session
from ffcluster.services.jobs.assembly import Assembly
from ffcluster.services.jobs.jobmedia import JobMedia
from ffcluster.services.jobs.openjobs import OpenJobs
from ffcluster.services.keeping.holdings import Holdings
from ffcluster.services.keeping.shelf import TicketShelf
from ffcluster.services.keeping.uploads import KeptUploads
from ffcluster.steps import Step, reached

log = Logger()


class EffectRunner:
    """Carries out effects.

    Args:
        state: The cluster's state; only read here.
        jobs: The media side of every job.
        shelf: Where pieces, results and outputs are fetched and put.
        holdings: Who needs which blob.
        uploads: How long uploaded sources stay.
        assembly: Joins and publishes.
        registry: The plugins, which know each encoder's own scales.
        background: Where work goes on.
        session_of: The open session of a worker, or None.
        changed: Told of every job that a viewer should see anew.
        worker_changed: Told of every such worker.
        closed: Told of every job that has ended and was cleaned up.
    """

    def __init__(
        self,
        state: ClusterState,
        jobs: OpenJobs,
        shelf: TicketShelf,
        holdings: Holdings,
        uploads: KeptUploads,
        assembly: Assembly,
        registry: Registry,
        background: Background,
        *,
        session_of: Callable[[WorkerId], Session | None],
        changed: Callable[[JobId], None],
        worker_changed: Callable[[WorkerId], None],
        closed: Callable[[Job], None],
    ) -> None:
        self._state = state
        self._jobs = jobs
        self._shelf = shelf
        self._holdings = holdings
        self._uploads = uploads
        self._assembly = assembly
        self._registry = registry
        self._background = background
        self._session_of = session_of
        self._changed = changed
        self._worker_changed = worker_changed
        self._closed = closed
        self._orders: dict[Epoch, EncodeOrder] = {}

    @singledispatchmethod
    def carry_out(self, effect: Effect) -> None:
        """Start what `effect` asks for; what comes of it is posted as an event."""
        raise TypeError(f"{effect!r} is not an effect")

    @carry_out.register
    def _(self, effect: JobChanged) -> None:
        self._changed(effect.job_id)

    @carry_out.register
    def _(self, effect: WorkerChanged) -> None:
        self._worker_changed(effect.worker_id)

    # --- jobs ----------------------------------------------------------------------------------

    @carry_out.register
    def _(self, effect: IndexSource) -> None:
        self._background.start(
            self._index(effect.job_id), lambda error: JobFailed(effect.job_id, error)
        )

    async def _index(self, job_id: JobId) -> Event:
        job = self._state.jobs.get(job_id)
        if job is None:
            raise Cancelled(message=f"Job {job_id} was removed.")
        self._uploads.need(job)
        media = await self._jobs.open(job)
        # Whoever still has an attempt of an earlier process has its piece, too.
        await media.within(media.clean(()))
        return SourceIndexed(job_id, await media.within(media.index(job.summary)))

    @carry_out.register
    def _(self, effect: CloseJob) -> None:
        job = self._state.jobs.get(effect.job_id)
        closing = self._jobs.close(effect.job_id, keep=effect.keep)
        if not effect.keep:
            self._uploads.let_go(effect.job_id)
        if job is not None:
            reached(Step.OUTPUT_TOLD)
            _log_end(job)
            closing.addCallback(lambda _: self._closed(job))
        self._background.aside(closing)

    @carry_out.register
    def _(self, effect: ForgetJob) -> None:
        self._uploads.let_go(effect.job_id)
        self._background.aside(self._jobs.forget(effect.job_id))
        if effect.job_id not in self._state.jobs:
            self._shelf.hide_output(effect.job_id)

    @carry_out.register
    def _(self, effect: JoinSegment) -> None:
        self._assembly.append(effect)

    @carry_out.register
    def _(self, effect: RestartJoin) -> None:
        self._assembly.restart(effect)

    @carry_out.register
    def _(self, effect: FinishJoin) -> None:
        self._assembly.finish(effect)

    @carry_out.register
    def _(self, effect: Publish) -> None:
        self._assembly.publish(effect)

    # --- attempts ------------------------------------------------------------------------------

    def _live(self, epoch: Epoch) -> Attempt:
        attempt = self._state.attempts.get(epoch)
        if attempt is None:
            raise Cancelled(message=f"Attempt {epoch} has ended.")
        return attempt

    @carry_out.register
    def _(self, effect: OfferAttempt) -> None:
        self._background.start(
            self._offer(effect), lambda error: _on_this_side(effect.epoch, error)
        )

    async def _offer(self, effect: OfferAttempt) -> None:
        media, attempt = self._jobs[effect.job_id], self._live(effect.epoch)
        profile = self._registry.fitted(attempt.capability, media.spec.profile)
        cut = await media.cut(effect, profile)
        session = self._session_of(effect.worker_id)
        if effect.epoch not in self._state.attempts or session is None:
            media.drop_piece(effect.epoch)
            return
        self._orders[effect.epoch] = cut.order
        piece_path, result_path = self._shelf.open_attempt(
            effect.epoch,
            Readable(cut.path, cut.size_bytes, cut.sha256),
            media.result_limit_bytes(effect.frames),
        )
        piece = messages.Piece(piece_path, cut.size_bytes, cut.sha256)
        session.send(messages.Offer(effect.epoch, effect.job_id, cut.order, piece, result_path))

    @carry_out.register
    def _(self, effect: ResumeAttempt) -> None:
        self._background.start(
            self._resume(effect), lambda error: _on_this_side(effect.epoch, error)
        )

    async def _resume(self, effect: ResumeAttempt) -> None:
        media = self._jobs[effect.job_id]
        self._live(effect.epoch)
        limit_bytes = media.result_limit_bytes(effect.frames)
        upload = await self._shelf.resume_attempt(effect.epoch, limit_bytes)
        self._live(effect.epoch)
        session = self._session_of(effect.worker_id)
        if session is not None:
            session.send(messages.Resume(effect.epoch, upload))

    @carry_out.register
    def _(self, effect: RevokeAttempt) -> None:
        self._revoke(effect.epoch, effect.worker_id)

    def _revoke(self, epoch: Epoch, worker_id: WorkerId) -> None:
        session = self._session_of(worker_id)
        if session is not None:
            session.send(messages.Revoke(epoch))

    @carry_out.register
    def _(self, effect: DiscardAttempt) -> None:
        incoming = self._shelf.close_attempt(effect.epoch)
        self._orders.pop(effect.epoch, None)
        media = self._jobs.get(effect.job_id)
        if media is not None:
            media.drop_piece(effect.epoch)
        if incoming is not None:
            self._background.aside(deferToThread(incoming.discard))
        if not effect.committed:
            self._holdings.drop_result(effect.job_id, effect.epoch)

    @carry_out.register
    def _(self, effect: CheckResult) -> None:
        self._revoke(effect.epoch, effect.worker_id)
        self._background.start(
            self._check(effect), lambda error: AttemptFailed(effect.epoch, error)
        )

    async def _check(self, effect: CheckResult) -> Event:
        media, attempt = self._jobs[effect.job_id], self._live(effect.epoch)
        if attempt.proof is None or attempt.blob is None:
            raise TransferFailed(message="It is not known where the result is.")
        report = await media.check(attempt.blob, self._order(media, attempt), attempt.proof)
        return AttemptChecked(effect.epoch, report)

    def _order(self, media: JobMedia, attempt: Attempt) -> EncodeOrder:
        """What a worker was told to do; worked out again when that was by an earlier process."""
        known = self._orders.get(attempt.epoch)
        if known is not None:
            return known
        profile = self._registry.fitted(attempt.capability, media.spec.profile)
        return media.order(OfferAttempt.of(attempt), profile)

    @carry_out.register
    def _(self, effect: DismissWorker) -> None:
        session = self._session_of(effect.worker_id)
        if session is not None:
            session.close(CLOSE_NORMAL, "the worker was removed from the cluster")


def _on_this_side(epoch: Epoch, error: ErrorReport) -> Event:
    """An attempt that failed for what is wrong here; a disk that is full is not its worker's."""
    if error.code is Code.DISK_FULL:
        error = attrs.evolve(error, code=Code.TRANSFER_FAILED)
    return AttemptFailed(epoch, error)


def _log_end(job: Job) -> None:
    if job.outcome is not None:
        log.info(
            "job {job}: {state}; {frames} frames in {path}",
            job=job.id,
            state=job.state.value,
            frames=job.outcome.frame_count,
            path=job.outcome.path,
        )
    elif job.error is not None:
        log.error(
            "job {job}: {state}: {error}",
            job=job.id,
            state=job.state.value,
            error=job.error.message,
        )
    else:
        log.info("job {job}: {state}", job=job.id, state=job.state.value)
