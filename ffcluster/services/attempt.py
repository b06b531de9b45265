"""One attempt on a worker: fetch the piece, wait for a slot, encode and prove, send the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.model import Capability, SegmentProof
from ffcluster.encoders.backend import Backend
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.errors import ErrorReport, FfclusterError
from ffcluster.media.encode import encode_piece
from ffcluster.media.progress import Progress
from ffcluster.media.runner import Runner
from ffcluster.net import messages
from ffcluster.net.bulk_client import BulkClient

log = Logger()


class Bench(Protocol):
    """What an attempt needs from its worker."""

    runner: Runner
    build: FfmpegBuild

    def slot(self, attempt: AttemptRun) -> Deferred[None]:
        """Fires when the attempt may encode; slots are given in order of epochs."""

    def release(self, attempt: AttemptRun) -> None:
        """The attempt no longer uses its slot, or never will."""

    def send(self, message: messages.FromWorker) -> None:
        """Tell the coordinator."""


class AttemptRun:
    """One attempt, from its offer to its result.

    Attributes:
        offer: What the coordinator asked for.
        capability: The capability that it uses.
        encoding: Whether its encoder runs, or ran to its end.
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
        backend: Backend,
        directory: Path,
        block_bytes: int,
    ) -> None:
        self.offer = offer
        self.capability = capability
        self.encoding = False
        self.frames = 0
        self.fps = 0.0
        self.done: Deferred[None] = Deferred()
        self._bench = bench
        self._bulk = bulk
        self._backend = backend
        self._piece = directory / f"{offer.epoch}.piece.mkv"
        self._result = directory / f"{offer.epoch}.result.mkv"
        self._block_bytes = block_bytes
        self._work: Deferred[Any] | None = None
        self._stopped = False
        self._gives_back = False

    def start(self) -> None:
        """Begin; what comes of it is told to the coordinator."""
        self._bench.send(messages.Accepted(self.offer.epoch))
        self._work = ensureDeferred(self._run())
        self._work.addCallbacks(self._succeeded, self._failed)
        self._work.addBoth(self._clean_up)

    def stop(self, *, give_back: bool) -> Deferred[None]:
        """End it now; tell the coordinator if it is given back. Fires when nothing is left."""
        self._gives_back = self._gives_back or give_back
        if self._work is not None and not self._stopped:
            self._stopped = True
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

    async def _run(self) -> messages.Result:
        offer = self.offer
        await self._bulk.fetch(
            offer.piece.path,
            self._piece,
            size_bytes=offer.piece.size_bytes,
            sha256=offer.piece.sha256,
        )
        await self._bench.slot(self)
        self.encoding = True
        self._bench.send(messages.Started(offer.epoch))
        try:
            proof = await self._encode()
        finally:
            self._bench.release(self)
        await deferToThread(self._piece.unlink, True)
        size, sha256 = await self._bulk.put(
            offer.upload, self._result, block_bytes=self._block_bytes
        )
        return messages.Result(offer.epoch, size, sha256, proof)

    async def _encode(self) -> SegmentProof:
        order = self.offer.order
        arguments = self._backend.arguments(
            self._bench.build,
            self.capability,
            order.profile,
            order.video,
            threads=self.capability.threads,
        )
        return await encode_piece(
            self._bench.runner,
            self._bench.build,
            arguments,
            order,
            self._piece,
            self._result,
            self._progressed,
        )

    def _progressed(self, progress: Progress) -> None:
        self.frames = max(self.frames, progress.frame or 0)
        if 0.0 < progress.fps < messages.MAX_FPS:
            self.fps = progress.fps

    def _succeeded(self, result: messages.Result) -> None:
        if not self._stopped:
            self._bench.send(result)
        elif self._gives_back:
            self._bench.send(messages.Returned(self.offer.epoch))

    def _failed(self, failure: Any) -> None:
        # Whatever a stopped attempt ends in, it ends so because it was stopped.
        if self._stopped:
            if self._gives_back:
                self._bench.send(messages.Returned(self.offer.epoch))
            return
        if not failure.check(FfclusterError):
            log.failure("attempt {epoch} broke", failure, epoch=self.offer.epoch)
        error = ErrorReport.of(failure.value)
        log.warn("attempt {epoch} failed: {error}", epoch=self.offer.epoch, error=error.message)
        self._bench.send(messages.Failed(self.offer.epoch, error))

    def _clean_up(self, _: object) -> None:
        self._bench.release(self)
        removing = deferToThread(self._remove_files)
        removing.addErrback(
            lambda failure: log.warn("cannot clean up: {error}", error=failure.value)
        )
        removing.addBoth(self.done.callback)

    def _remove_files(self) -> None:
        self._piece.unlink(missing_ok=True)
        self._result.unlink(missing_ok=True)
