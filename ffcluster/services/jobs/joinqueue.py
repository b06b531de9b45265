"""The line in which committed results wait for the joiner, and what is done when it must restart.

Reads every result back before it is joined. Decides nothing about jobs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.model import BlobRef, Epoch, ResultReport
from ffcluster.core.timeline import FrameRange
from ffcluster.errors import BlobDamaged, BlobLost, Cancelled, FfclusterError, JoinFailed
from ffcluster.media.join import NeedsRestart
from ffcluster.steps import Step, reached
from ffcluster.store.blobs import BlobStore

log = Logger()


class SegmentJoiner(Protocol):
    """What joins; see `ffcluster.media.join.Joiner`."""

    def start(self) -> None:
        """Start what can be started before the first segment."""

    def append(self, result: Path, frames: FrameRange, report: ResultReport) -> Deferred[None]:
        """Append the next segment."""

    def finish(self) -> Deferred[None]:
        """Complete the file."""

    def abort(self) -> Deferred[None]:
        """End the processes and remove what was written."""


@attrs.frozen
class CommittedResult:
    """A committed segment as the join needs it."""

    epoch: Epoch
    frames: FrameRange
    report: ResultReport
    blob: BlobRef


class JoinQueue:
    """Feeds committed results to the joiner one by one, and starts over when it must.

    The joiner writes a header before it has seen every segment. If a later one does not fit under
    it (other parameter sets, deeper reordering), the join starts over from the first result, by
    itself. After any other error what was written is removed, and nothing more is joined until
    `restart`. Such an error is raised once, to the first that waits or asks; others get
    `Cancelled`, of which nothing needs to be said. With a lost or damaged blob the error's detail
    says which result it was (`epoch`, `first_frame`, `stop_frame`): when the join starts over, it
    may be one that was joined long ago.

    Args:
        make_joiner: Makes a joiner from `in_band` and `reorder_frames`.
        blobs: Where the results are.
        clear: Removes what an earlier process left where the joiner will write: one that was
            killed may leave a joiner behind that still writes to it for a moment.
    """

    def __init__(
        self,
        make_joiner: Callable[[bool, int], SegmentJoiner],
        blobs: BlobStore,
        clear: Callable[[], Awaitable[None]],
    ) -> None:
        self._make_joiner = make_joiner
        self._blobs = blobs
        self._clear = clear
        self._committed: list[CommittedResult] = []
        self._position = 0
        self._joiner: SegmentJoiner | None = None
        # One after the other, whoever writes the file or removes it.
        self._lock = DeferredLock()
        self._endings: list[Deferred[None]] = []
        self._error: FfclusterError | None = None
        self._told = False
        self.generation = 0
        self._closed = False
        self._reorder_frames = 0
        self.in_band = False

    @property
    def frame_count(self) -> int:
        """Frames in all results that were queued."""
        return sum(committed.report.frame_count for committed in self._committed)

    async def append(self, committed: CommittedResult, *, mixes: bool) -> None:
        """Queue a result, at once, and wait until it is in the joiner's hands.

        What `mixes` says counts for the first result; later ones that differ start the join over.

        Raises:
            BlobLost, BlobDamaged: A result is not what was committed.
            JoinFailed, IncompatibleSegments, DiskFull, HelperDied: The join cannot go on.
            Cancelled: It was restarted or closed, or failed before.
        """
        generation = self.generation
        if not self._committed:
            self.in_band = mixes
        self._committed.append(committed)
        await self._advance(generation)
        self._raise_if_over(generation)

    async def finish(self) -> None:
        """Wait for everything queued, then end the join: the file is complete, but not durable.

        Raises:
            As `append`.
        """
        generation, complete = self.generation, False
        while not complete:
            await self._advance(generation)
            self._raise_if_over(generation)
            complete = await self._complete(generation)
        reached(Step.JOIN_FINISHED)

    async def restart(self) -> None:
        """Forget all results, at once, and remove what was joined; results are appended anew.

        Nobody needs to wait for it: whatever is appended meanwhile does.
        """
        self.generation += 1
        self._committed = []
        self._position = self._reorder_frames = 0
        self._error, self._told = None, False
        self._end_joiner()
        await self._lock.acquire()
        try:
            await self._settle()
        finally:
            self._lock.release()

    async def close(self) -> None:
        """End the join for good, and remove what it wrote unless it was complete."""
        self._closed = True
        await self.restart()

    def _raise_if_over(self, generation: int) -> None:
        if self._closed or generation != self.generation:
            raise Cancelled(message="The join was given up.")
        if self._error is None:
            return
        if self._told:
            raise Cancelled(message="The join failed before.")
        self._told = True
        raise self._error

    async def _advance(self, generation: int) -> None:
        await self._lock.acquire()
        try:
            await self._settle()
            while self._may_go_on(generation) and self._position < len(self._committed):
                await self._append_next(generation)
        finally:
            self._lock.release()

    def _may_go_on(self, generation: int) -> bool:
        return not self._closed and generation == self.generation and self._error is None

    async def _append_next(self, generation: int) -> None:
        following = self._committed[self._position]
        try:
            await self._join(following, generation)
        except FfclusterError as error:
            await self._stop_or_start_over(error, generation)
        else:
            if self._may_go_on(generation):
                self._position += 1
                reached(Step.SEGMENT_JOINED)

    async def _join(self, following: CommittedResult, generation: int) -> None:
        await self._verify(following)
        if self._joiner is None and self._may_go_on(generation):
            await self._clear()
        if not self._may_go_on(generation):
            return
        if self._joiner is None:
            self._reorder_frames = max(self._reorder_frames, following.report.reorder_frames)
            self._joiner = self._make_joiner(self.in_band, self._reorder_frames)
            self._joiner.start()
        path = self._blobs.path(following.blob)
        await self._joiner.append(path, following.frames, following.report)

    async def _verify(self, following: CommittedResult) -> None:
        try:
            await deferToThread(self._blobs.verify, following.blob)
        except (BlobLost, BlobDamaged) as error:
            frames = following.frames
            which = {
                "epoch": following.epoch,
                "first_frame": frames.first,
                "stop_frame": frames.stop,
            }
            message = f"The result of frames {frames} cannot be joined. {error.message}"
            raise attrs.evolve(error, message=message, detail=error.detail | which) from error

    async def _complete(self, generation: int) -> bool:
        """Whether the joiner has completed the file; if not, look why."""
        await self._lock.acquire()
        try:
            if not self._may_go_on(generation):
                return False
            try:
                if self._joiner is None:
                    raise JoinFailed(message="There is nothing to join.")
                await self._joiner.finish()
            except FfclusterError as error:
                await self._stop_or_start_over(error, generation)
                return False
            if not self._may_go_on(generation):
                return False
            self._joiner = None
            return True
        finally:
            self._lock.release()

    async def _stop_or_start_over(self, error: FfclusterError, generation: int) -> None:
        if not self._may_go_on(generation):
            return
        if isinstance(error, NeedsRestart):
            log.info("the join starts over: {reason}", reason=error.message)
            self.in_band = self.in_band or bool(error.in_band)
            self._reorder_frames = max(self._reorder_frames, error.reorder_frames or 0)
            self._position = 0
        else:
            self._error = error
        self._end_joiner()
        await self._settle()

    def _end_joiner(self) -> None:
        joiner, self._joiner = self._joiner, None
        if joiner is not None:
            ending = joiner.abort()
            ending.addErrback(lambda failure: log.failure("ending a join failed", failure))
            self._endings.append(ending)

    async def _settle(self) -> None:
        """Wait until the joiners that were ended write nothing more. Only with the lock."""
        while self._endings:
            await self._endings.pop()
