"""One attempt on a worker: fetch the piece, wait for a slot, encode and prove, send the result.

What a failure of ffmpeg means is the backend's to say; here it becomes the error that is sent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.model import Capability, EncodeOrder, SegmentProof, Trouble
from ffcluster.core.profile import Profile
from ffcluster.encoders.backend import EncodeArguments, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.neutral import dropped
from ffcluster.encoders.registry import Registry
from ffcluster.errors import (
    AttemptError,
    DiskFull,
    EncodeFailed,
    EncoderBusy,
    EncodeStalled,
    ErrorReport,
    FfclusterError,
    PluginError,
)
from ffcluster.media.encode import encode_piece
from ffcluster.media.progress import Progress
from ffcluster.media.runner import Runner
from ffcluster.net import messages
from ffcluster.net.bulk_client import BulkClient

log = Logger()


class Bench(Protocol):
    """What an attempt needs from its worker."""

    runner: Runner
    registry: Registry

    def build_for(self, capability: Capability) -> FfmpegBuild:
        """The ffmpeg that `capability` was proven with."""

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
        """Encode; where the device shall decode too and fails, once more with the CPU decoding."""
        order = self.offer.order
        fitted = self._bench.registry.fitted(self.capability, order.profile)
        notes = dropped(order.profile, fitted)
        if order.hardware_decode and self.capability.hardware and not order.picture_check:
            where = self.capability.device
            if not self.capability.hardware_decode:
                return await self._encode_by(fitted, (*notes, f"{where} does not decode here"))
            try:
                return await self._encode_by(fitted, notes, hardware_decode=True)
            except (EncoderBusy, DiskFull):
                raise
            except AttemptError as error:
                log.info(
                    "attempt {epoch}: decoding on {device} failed, the CPU does it: {error}",
                    epoch=self.offer.epoch,
                    device=where,
                    error=error.message,
                )
                notes = (*notes, f"decoding on {where} failed, so the CPU decoded")
        return await self._encode_by(fitted, notes)

    async def _encode_by(
        self, profile: Profile, notes: tuple[str, ...], *, hardware_decode: bool = False
    ) -> SegmentProof:
        bench, order = self._bench, self.offer.order
        build = bench.build_for(self.capability)
        arguments = self._arguments(build, profile, hardware_decode=hardware_decode)
        try:
            proof = await encode_piece(
                bench.runner,
                build,
                arguments,
                order,
                self._piece,
                self._result,
                self._progressed,
            )
        except (EncodeFailed, EncodeStalled) as error:
            raise explained(error, bench.registry, self.capability, order) from error
        return attrs.evolve(
            proof,
            encoder=self.capability.encoder,
            device=self.capability.device,
            hardware_decode="-hwaccel" in arguments.input_args,
            notes=(*notes, *arguments.notes),
        )

    def _arguments(
        self, build: FfmpegBuild, profile: Profile, *, hardware_decode: bool
    ) -> EncodeArguments:
        backend = self._bench.registry.backend(self.capability.backend)
        try:
            return backend.arguments(
                build,
                self.capability,
                profile,
                self.offer.order.video,
                threads=self.capability.threads,
                hardware_decode=hardware_decode,
            )
        except FfclusterError:
            raise
        except Exception as error:
            log.failure("the backend {name} broke", name=backend.name)
            raise PluginError(
                message=f"the backend {backend.name} cannot build arguments: "
                f"{type(error).__name__}: {error}",
                advice="Update the plugin, or leave it out with --disable-plugin.",
                plugin=backend.name,
            ) from error

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


def explained(
    error: EncodeFailed | EncodeStalled,
    registry: Registry,
    capability: Capability,
    order: EncodeOrder,
) -> AttemptError:
    """`error` with what the encoder's backend knows of its cause.

    A device that is busy makes it `EncoderBusy`, which is nobody's failure.
    """
    found = error.detail
    signal = found.get("signal")
    diagnosis = registry.explain(
        capability,
        ProbeOutcome(
            returncode=found.get("returncode") if signal is None else -signal,
            stderr=str(found.get("stderr", "")),
            timed_out=isinstance(error, EncodeStalled),
        ),
    )
    if diagnosis is None:
        return error
    busy = diagnosis.trouble is Trouble.BUSY
    kind: type[AttemptError] = EncoderBusy if busy else type(error)
    return kind(
        message=f"{order.encoder} failed on {order.frames}: {diagnosis.cause}",
        advice=diagnosis.hint,
        detail=found | {"cause": diagnosis.cause, "trouble": diagnosis.trouble.value},
    )
