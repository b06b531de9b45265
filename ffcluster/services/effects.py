"""Carry out what the cluster decides: start the work, and post what comes of it as events.

Owns the media side of every job that has not ended, and the orders of live attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core import reporting
from ffcluster.core.cluster import ClusterState
from ffcluster.core.effects import (
    CheckResult,
    CloseJob,
    DiscardAttempt,
    Effect,
    FinishJoin,
    IndexSource,
    JobChanged,
    JoinSegment,
    OfferAttempt,
    RevokeAttempt,
    WorkerChanged,
)
from ffcluster.core.events import (
    AttemptChecked,
    AttemptFailed,
    Event,
    JobFailed,
    JobPublished,
    SourceIndexed,
)
from ffcluster.core.model import EncodeOrder, Epoch, JobId, JobOutcome, WorkerId
from ffcluster.encoders.registry import Registry
from ffcluster.errors import ErrorReport, FfclusterError
from ffcluster.net import messages
from ffcluster.net.bulk_server import Readable
from ffcluster.services import making
from ffcluster.services.gateway import Session
from ffcluster.services.jobmedia import JobMedia
from ffcluster.services.shelf import TicketShelf

log = Logger()


class EffectRunner:
    """Carries out effects.

    Args:
        state: The cluster's state; only read here.
        shelf: Where pieces, results and outputs are fetched and put.
        registry: The plugins, which know each encoder's own scales.
        post: Takes an event in.
        session_of: The open session of a worker, or None.
        changed: Told of every job that a viewer should see anew.
        closed: Told of every job that has ended and was cleaned up.
    """

    def __init__(
        self,
        state: ClusterState,
        shelf: TicketShelf,
        registry: Registry,
        *,
        post: Callable[[Event], None],
        session_of: Callable[[WorkerId], Session | None],
        changed: Callable[[JobId], None],
        closed: Callable[[JobId], None],
    ) -> None:
        self._state = state
        self._shelf = shelf
        self._registry = registry
        self._post = post
        self._session_of = session_of
        self._changed = changed
        self._closed = closed
        self._media: dict[JobId, JobMedia] = {}
        self._uploaded: dict[JobId, Path] = {}
        self._orders: dict[Epoch, EncodeOrder] = {}
        self._stopping = False

    def open_job(self, media: JobMedia, uploaded: Path | None) -> None:
        """Take in a new job's media side, and the upload that is removed when the job ends."""
        self._media[media.job_id] = media
        if uploaded is not None:
            self._uploaded[media.job_id] = uploaded

    async def close(self) -> None:
        """End every job's processes and remove their files; nothing is posted any more."""
        self._stopping = True
        closing = [ensureDeferred(media.close()) for media in self._media.values()]
        await DeferredList(closing, consumeErrors=True)

    @singledispatchmethod
    def carry_out(self, effect: Effect) -> None:
        """Start what `effect` asks for; what comes of it is posted as an event."""
        raise TypeError(f"{effect!r} is not an effect")

    @carry_out.register
    def _(self, effect: JobChanged) -> None:
        self._changed(effect.job_id)

    @carry_out.register
    def _(self, effect: WorkerChanged) -> None:
        """Nobody watches workers yet; clients ask for them."""

    @carry_out.register
    def _(self, effect: IndexSource) -> None:
        async def index(media: JobMedia) -> Event:
            return SourceIndexed(effect.job_id, await media.index())

        media = self._media[effect.job_id]
        self._work(index(media), lambda error: JobFailed(effect.job_id, error))

    @carry_out.register
    def _(self, effect: OfferAttempt) -> None:
        self._work(self._offer(effect), lambda error: AttemptFailed(effect.epoch, error))

    async def _offer(self, effect: OfferAttempt) -> None:
        media = self._media[effect.job_id]
        attempt = self._state.attempts.get(effect.epoch)
        if attempt is None:
            return
        cut = await media.cut(effect, self._registry.fitted(attempt.capability, media.spec.profile))
        session = self._session_of(effect.worker_id)
        if effect.epoch not in self._state.attempts or session is None:
            media.drop_piece(effect.epoch)
            return
        self._orders[effect.epoch] = cut.order
        piece_path, result_path = self._shelf.open_attempt(
            effect.epoch,
            Readable(cut.path, cut.size_bytes, cut.sha256),
            media.result_path(effect.epoch),
            media.result_limit_bytes(effect.frames),
        )
        piece = messages.BlobRef(piece_path, cut.size_bytes, cut.sha256)
        session.send(messages.Offer(effect.epoch, effect.job_id, cut.order, piece, result_path))

    @carry_out.register
    def _(self, effect: RevokeAttempt) -> None:
        session = self._session_of(effect.worker_id)
        if session is not None:
            session.send(messages.Revoke(effect.epoch))

    @carry_out.register
    def _(self, effect: DiscardAttempt) -> None:
        result = self._shelf.close_attempt(effect.epoch)
        self._orders.pop(effect.epoch, None)
        media = self._media.get(effect.job_id)
        if media is not None:
            media.drop_piece(effect.epoch)
        if result is not None and not effect.committed:
            self._in_background(deferToThread(result.discard))

    @carry_out.register
    def _(self, effect: CheckResult) -> None:
        async def check() -> Event | None:
            order, attempt = self._orders[effect.epoch], self._state.attempts[effect.epoch]
            assert attempt.proof is not None  # noqa: S101 - delivered attempts have one
            media = self._media[effect.job_id]
            return AttemptChecked(
                effect.epoch, await media.check(effect.epoch, order, attempt.proof)
            )

        self._work(check(), lambda error: AttemptFailed(effect.epoch, error))

    @carry_out.register
    def _(self, effect: JoinSegment) -> None:
        async def append() -> None:
            media, job = self._media[effect.job_id], self._state.jobs[effect.job_id]
            mixes = job.spec.mix and len({kind for crew in job.crews for kind in crew.kinds}) > 1
            await media.append(effect.epoch, effect.frames, effect.report, mixes=mixes)

        self._work(append(), lambda error: JobFailed(effect.job_id, error))

    @carry_out.register
    def _(self, effect: FinishJoin) -> None:
        async def finish() -> Event:
            job = self._state.jobs[effect.job_id]
            committed = [s.committed for s in job.segments.values() if s.committed is not None]
            proofs = [attempt.proof for attempt in committed if attempt.proof is not None]
            made_by = reporting.contributions(job)
            used = dict.fromkeys(attempt.capability for attempt in committed)
            notes = making.notes(job.spec.profile, made_by, used, proofs, self._registry)
            outcome = await self._media[effect.job_id].finish(proofs, made_by, notes)
            self._shelf.show_output(
                effect.job_id, Readable(Path(outcome.path), outcome.size_bytes, outcome.sha256)
            )
            return JobPublished(effect.job_id, outcome)

        self._work(finish(), lambda error: JobFailed(effect.job_id, error))

    @carry_out.register
    def _(self, effect: CloseJob) -> None:
        job = self._state.jobs[effect.job_id]
        _log_end(effect.job_id, job.state.value, job.outcome, job.error)
        self._in_background(ensureDeferred(self._close_job(effect.job_id)))

    async def _close_job(self, job_id: JobId) -> None:
        media = self._media.pop(job_id)
        await media.close()
        uploaded = self._uploaded.pop(job_id, None)
        if uploaded is not None:
            await deferToThread(uploaded.unlink, True)
        self._closed(job_id)

    def _work(
        self,
        work: Coroutine[Any, Any, Event | None],
        failed: Callable[[ErrorReport], Event],
    ) -> None:
        """Drive a coroutine and post the event that it ends in."""

        def done(event: Event | None) -> None:
            if event is not None:
                self._post(event)

        def broke(failure: Any) -> None:
            if self._stopping:
                return
            if not failure.check(FfclusterError):
                log.failure("the coordinator's own work failed", failure)
            self._post(failed(ErrorReport.of(failure.value)))

        ensureDeferred(work).addCallbacks(done, broke).addErrback(
            lambda failure: log.failure("handling an event failed", failure)
        )

    def _in_background(self, work: Deferred[Any]) -> None:
        work.addErrback(lambda failure: log.failure("cleaning up failed", failure))


def _log_end(
    job_id: JobId, state: str, outcome: JobOutcome | None, error: ErrorReport | None
) -> None:
    if outcome is not None:
        log.info(
            "job {id}: {state}; {frames} frames in {path}",
            id=job_id,
            state=state,
            frames=outcome.frame_count,
            path=outcome.path,
        )
    elif error is not None:
        log.error("job {id}: {state}: {error}", id=job_id, state=state, error=error.message)
    else:
        log.info("job {id}: {state}", id=job_id, state=state)
