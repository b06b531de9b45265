"""One attempt on a worker: fetch the piece, wait for a slot, encode and prove, deliver the result.

From when the piece is here it needs no session: it encodes on without one, and its last word (a
result, or why there is none) waits for a session that asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.model import Capability, SegmentProof
from ffcluster.errors import (
    ErrorReport,
    FfclusterError,
    NotFound,
    PeerFull,
    TransferFailed,
    Unreachable,
)
from ffcluster.media.progress import Progress
from ffcluster.net import messages
from ffcluster.net.bulk_client import BulkClient
from ffcluster.services.worker.encoding import Workshop, encode_segment
from ffcluster.services.worker.route import Route

log = Logger()

# A last word that was said is kept for so long of an unbroken session: the coordinator needs a
# moment to store it, and asks for it again if that moment is cut off.
_KEPT_S = 10.0
# A result that cannot be put although the session is open is tried so often, at these delays. One
# that meets a full disk is tried for as long as it is wanted.
_PUT_FAILURES = 5
_PUT_PAUSE_S = 1.0
_LONGEST_PUT_PAUSE_S = 15.0


class Bench(Workshop, Protocol):
    """What an attempt needs from its worker.

    Attributes:
        clock: The reactor's.
        keeps: Whether the coordinator takes attempts back that outlived a session.
        block_bytes: Unit in which a result is put.
    """

    clock: Any
    keeps: bool
    block_bytes: int

    def slot(self, attempt: AttemptRun) -> Deferred[None]:
        """Fires when the attempt may encode; slots are given in order of epochs."""

    def release(self, attempt: AttemptRun) -> None:
        """The attempt no longer uses its slot, or never will."""

    def send(self, message: messages.FromWorker) -> None:
        """Tell the coordinator."""


class AttemptRun:
    """One attempt, from its offer until the coordinator needs nothing more of it.

    Attributes:
        offer: What the coordinator asked for.
        capability: The capability that it uses.
        encoding: Whether its encoder runs, or ran to its end.
        encoded: Whether only the delivery of its result is missing.
        stopped: Whether it was told to end.
        frames: Frames encoded so far.
        fps: Frames per second now.
        done: Fires when nothing of it is left to do, whatever came of it.
    """

    def __init__(
        self,
        bench: Bench,
        bulk: BulkClient,
        offer: messages.Offer,
        capability: Capability,
        directory: Path,
    ) -> None:
        self.offer = offer
        self.capability = capability
        self.encoding = False
        self.encoded = False
        self.stopped = False
        self.frames = 0
        self.fps = 0.0
        self.done: Deferred[None] = Deferred()
        self._bench = bench
        self._bulk = bulk
        self._piece = directory / f"{offer.epoch}.piece.mkv"
        self._result = directory / f"{offer.epoch}.result.mkv"
        self._route = Route(offer.upload)
        self._work: Deferred[Any] | None = None
        self._fetched = False
        self._put_before = False
        self._said_all = False
        self._gives_back = False
        # What the log says of all that happens to it.
        self._about: dict[str, Any] = {
            "attempt": int(offer.epoch),
            "job": offer.job_id,
            "segment": offer.order.frames.first,
        }

    @property
    def lasts(self) -> bool:
        """Whether it can go on without a session, and in the next one."""
        return self._fetched and not self.stopped

    def start(self) -> None:
        """Begin; what comes of it is told to the coordinator."""
        self._say(messages.Accepted(self.offer.epoch))
        self._work = ensureDeferred(self._make())
        self._work.addCallback(self._deliver)
        self._work.addErrback(self._failed)
        self._work.addErrback(self._broke)
        self._work.addBoth(self._clean_up)

    def part(self) -> None:
        """The session is over: go on without one, or end if the piece is not here."""
        self._route.close()
        if not self._fetched:
            self.stop(give_back=False)

    def resume(self, upload: str) -> None:
        """A session counts it: the result goes to `upload` from now on."""
        if self.encoding:
            # The earlier session may have been cut off before this was said.
            self._bench.send(messages.Started(self.offer.epoch))
        self._route.open(upload)

    def stop(self, *, give_back: bool) -> Deferred[None]:
        """End it now; tell the coordinator if it is given back. Fires when nothing is left."""
        self._gives_back = self._gives_back or give_back
        if self._work is not None and not self.stopped:
            self.stopped = True
            self._work.cancel()
        return self.when_done()

    def when_done(self) -> Deferred[None]:
        """Like `done`, yet for one caller, who may cancel it without harm to others."""
        over: Deferred[None] = Deferred()

        def fire(result: None) -> None:
            if not over.called:
                over.callback(result)

        self.done.addCallback(fire)
        return over

    def _say(self, message: messages.FromWorker) -> None:
        """Tell the coordinator, if the present session counts this attempt."""
        if self._route.is_open:
            self._bench.send(message)

    # --- making the result ---------------------------------------------------------------------

    async def _make(self) -> SegmentProof:
        offer = self.offer
        await self._bulk.fetch(
            offer.piece.path,
            self._piece,
            size_bytes=offer.piece.size_bytes,
            sha256=offer.piece.sha256,
        )
        self._fetched = True
        await self._bench.slot(self)
        self.encoding = True
        self._say(messages.Started(offer.epoch))
        try:
            proof = await encode_segment(
                self._bench,
                offer.order,
                self.capability,
                self._piece,
                self._result,
                self._progressed,
            )
        finally:
            self._bench.release(self)
        self.encoded = True
        await deferToThread(self._piece.unlink, True)
        return proof

    def _progressed(self, progress: Progress) -> None:
        self.frames = max(self.frames, progress.frame or 0)
        if 0.0 < progress.fps < messages.MAX_FPS:
            self.fps = progress.fps

    # --- the last word -------------------------------------------------------------------------

    def _deliver(self, proof: SegmentProof) -> Deferred[None]:
        if self.stopped:
            raise CancelledError
        return ensureDeferred(self._tell(lambda path: ensureDeferred(self._put(path, proof))))

    async def _put(self, path: str, proof: SegmentProof) -> messages.FromWorker:
        """Put the result, again and again while there is hope that it is taken."""
        failures = 0
        pause_s = _PUT_PAUSE_S
        while True:
            resumed, self._put_before = self._put_before, True
            try:
                size, sha256 = await self._bulk.put(
                    path, self._result, block_bytes=self._bench.block_bytes, resumed=resumed
                )
            except PeerFull as full:
                error: FfclusterError = full
            except (TransferFailed, NotFound, Unreachable) as failed:
                error = failed
                failures += 1
                if failures >= _PUT_FAILURES:
                    raise
            else:
                return messages.Result(self.offer.epoch, size, sha256, proof)
            log.warn(
                "the result of attempt {attempt} is kept and put again: {error}",
                error=error.message,
                **self._about,
            )
            await deferLater(self._bench.clock, pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PUT_PAUSE_S)

    def _failed(self, failure: Any) -> Deferred[None]:
        # Whatever a stopped attempt ends in, it ends so because it was stopped.
        if self.stopped:
            if self._gives_back and not self._said_all:
                self._say(messages.Returned(self.offer.epoch))
            return succeed(None)
        if not failure.check(FfclusterError):
            log.failure("attempt {attempt} broke", failure, **self._about)
        error = ErrorReport.of(failure.value)
        log.warn("attempt {attempt} failed: {error}", error=error.message, **self._about)
        word: messages.FromWorker = messages.Failed(self.offer.epoch, error)
        return ensureDeferred(self._tell(lambda _: succeed(word)))

    async def _tell(self, prepare: Callable[[str], Deferred[messages.FromWorker]]) -> None:
        """Say the last word to every session that asks for it, until one has heard it for sure."""
        while True:
            path = await self._route.wait()
            try:
                word = await self._route.bound(prepare(path))
                self._bench.send(word)
                self._said_all = True
                if self._bench.keeps:
                    await self._route.bound(deferLater(self._bench.clock, _KEPT_S))
            except CancelledError:
                if self.stopped:
                    raise
                # The session ended; the next one has a path of its own.
                continue
            return

    def _broke(self, failure: Any) -> None:
        if not self.stopped:
            log.failure("attempt {attempt} broke", failure, **self._about)

    def _clean_up(self, _: object) -> None:
        self._bench.release(self)
        removing = deferToThread(self._remove_files)
        removing.addErrback(
            lambda failure: log.warn("cannot clean up: {error}", error=failure.value, **self._about)
        )
        removing.addBoth(self.done.callback)

    def _remove_files(self) -> None:
        self._piece.unlink(missing_ok=True)
        self._result.unlink(missing_ok=True)
