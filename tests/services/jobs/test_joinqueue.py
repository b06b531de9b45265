"""The line before the joiner: order, restarts, errors that are told once, results read back."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from ffcluster.core.model import Epoch, ResultReport
from ffcluster.core.timeline import FrameRange
from ffcluster.errors import (
    BlobDamaged,
    BlobLost,
    Cancelled,
    DiskFull,
    FfclusterError,
    HelperDied,
    IncompatibleSegments,
    JoinFailed,
)
from ffcluster.media.join import NeedsRestart
from ffcluster.services.jobs.joinqueue import CommittedResult, JoinQueue
from ffcluster.store.blobs import FileBlobs


@attrs.define
class FakeJoiner:
    """Notes what it is told, waits where it is told to, and fails where it is told to."""

    in_band: bool
    reorder_frames: int
    log: list[str]
    waits: dict[int, Deferred[None]] = attrs.field(factory=dict)
    errors: dict[int, Exception] = attrs.field(factory=dict)
    ending: Deferred[None] | None = None
    appended: list[int] = attrs.field(factory=list)
    waiting: Deferred[None] | None = None
    finished: bool = False
    aborted: bool = False

    def start(self) -> None:
        self.log.append("start")

    def append(self, result: Path, frames: FrameRange, report: ResultReport) -> Deferred[None]:
        assert result.read_bytes() == bytes([frames.first])
        if report.parameter_sets == "other" and not self.in_band:
            return fail(NeedsRestart(message="other parameter sets", in_band=True))
        if report.reorder_frames > self.reorder_frames:
            needed = report.reorder_frames
            return fail(NeedsRestart(message="reorders", reorder_frames=needed))
        if frames.first in self.errors:
            return fail(self.errors.pop(frames.first))
        self.appended.append(frames.first)
        self.waiting = self.waits.pop(frames.first, None)
        return self.waiting if self.waiting is not None else succeed(None)

    def finish(self) -> Deferred[None]:
        if -1 in self.errors:
            return fail(self.errors.pop(-1))
        self.finished = True
        return self.waits.pop(-1, None) or succeed(None)

    def abort(self) -> Deferred[None]:
        self.log.append("abort")
        self.aborted = True
        if self.waiting is not None and not self.waiting.called:
            self.waiting.errback(HelperDied(message="ended"))
        return self.ending or succeed(None)


class QueueCase(TestCase):
    """Each test gets a queue over real blobs and joiners that only note what they are told."""

    timeout = 30

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.blobs = FileBlobs(self.folder)
        self.blobs.prepare()
        self.joiners: list[FakeJoiner] = []
        self.log: list[str] = []
        self.waits: dict[int, Deferred[None]] = {}
        self.errors: dict[int, Exception] = {}
        self.ending: Deferred[None] | None = None
        self.queue = JoinQueue(self.make, self.blobs, self.clear)

    def make(self, in_band: bool, reorder_frames: int) -> FakeJoiner:
        made = FakeJoiner(in_band, reorder_frames, self.log, self.waits, self.errors, self.ending)
        self.joiners.append(made)
        return made

    async def clear(self) -> None:
        self.log.append("clear")

    def result(self, first: int, sets: str = "one", reorder: int = 0) -> CommittedResult:
        data = bytes([first])
        arrived = self.blobs.incoming(f"result-{first}")
        arrived.write_bytes(data)
        blob = self.blobs.adopt(arrived, hashlib.sha256(data).hexdigest(), 1, owner=str(first))
        report = ResultReport(10, 1, "h264", 64, 64, "yuv420p", sets, reorder)
        return CommittedResult(Epoch(first + 1), FrameRange(first, first + 10), report, blob)

    def append(self, first: int, *, mixes: bool = False, **report: Any) -> Deferred[None]:
        return ensureDeferred(self.queue.append(self.result(first, **report), mixes=mixes))

    async def fails(self, work: Deferred[Any], *errors: type[Exception]) -> Exception:
        caught: Exception = await self.assertFailure(work, *errors)
        return caught

    async def until_appended(self, first: int) -> None:
        while not self.joiners or first not in self.joiners[-1].appended:
            await deferLater(reactor, 0.001, lambda: None)


class OrderTests(QueueCase):
    async def test_results_are_joined_in_the_order_in_which_they_were_appended(self) -> None:
        appending = [self.append(first) for first in (0, 10, 20)]
        for appended in appending:
            await appended
        await self.queue.finish()
        (joiner,) = self.joiners
        assert joiner.appended == [0, 10, 20]
        assert joiner.finished
        assert not joiner.aborted
        assert self.queue.frame_count == 30

    async def test_finishing_waits_for_what_was_appended(self) -> None:
        self.waits[10] = Deferred()
        waited = self.waits[10]
        appending = [self.append(0), self.append(10)]
        finishing = ensureDeferred(self.queue.finish())
        await self.until_appended(10)
        assert not self.joiners[0].finished
        waited.callback(None)
        await finishing
        for appended in appending:
            await appended

    async def test_nothing_to_join_is_an_error_in_words(self) -> None:
        error = await self.fails(ensureDeferred(self.queue.finish()), JoinFailed)
        assert "nothing to join" in str(error)


class RestartTests(QueueCase):
    async def test_mixture_that_is_known_from_the_start_is_joined_in_band_at_once(self) -> None:
        await self.append(0, mixes=True)
        await self.append(10, mixes=True, sets="other")
        (joiner,) = self.joiners
        assert joiner.in_band
        assert joiner.appended == [0, 10]

    async def test_mixture_that_comes_as_a_surprise_starts_the_join_over(self) -> None:
        await self.append(0)
        await self.append(10, sets="other")
        first, second = self.joiners
        assert (first.in_band, first.aborted, second.in_band) == (False, True, True)
        assert second.appended == [0, 10]
        assert self.log == ["clear", "start", "abort", "clear", "start"]

    async def test_mixture_that_is_only_possible_later_changes_nothing_by_itself(self) -> None:
        await self.append(0)
        await self.append(10, mixes=True)
        (joiner,) = self.joiners
        assert not joiner.in_band

    async def test_deeper_reordering_starts_the_join_over_with_as_much(self) -> None:
        await self.append(0, reorder=1)
        await self.append(10, reorder=3)
        assert [joiner.reorder_frames for joiner in self.joiners] == [1, 3]

    async def test_join_that_must_start_over_at_its_end_does_so(self) -> None:
        await self.append(0)
        self.errors[-1] = NeedsRestart(message="once more", in_band=True)
        await self.queue.finish()
        assert [joiner.finished for joiner in self.joiners] == [False, True]
        assert self.joiners[1].appended == [0]

    async def test_restarted_join_begins_with_nothing(self) -> None:
        await self.append(0)
        await self.append(10, sets="other")
        restarting = ensureDeferred(self.queue.restart())
        appended = self.append(0)
        await restarting
        await appended
        await self.queue.finish()
        assert self.joiners[-1].appended == [0]
        assert not self.joiners[-1].in_band
        assert self.queue.frame_count == 10

    async def test_restart_ends_an_append_that_does_not_end_by_itself(self) -> None:
        self.waits[0] = Deferred()
        stuck, waiting = self.append(0), self.append(10)
        finishing = ensureDeferred(self.queue.finish())
        await self.until_appended(0)
        await self.queue.restart()
        for over in (stuck, waiting, finishing):
            await self.fails(over, Cancelled)
        await self.append(0)
        assert [joiner.aborted for joiner in self.joiners] == [True, False]

    async def test_nothing_new_is_written_before_the_old_process_has_ended(self) -> None:
        self.ending = Deferred()
        ending = self.ending
        await self.append(0)
        self.ending = None
        restarting = ensureDeferred(self.queue.restart())
        appended = self.append(0)
        await deferLater(reactor, 0.02, lambda: None)
        assert len(self.joiners) == 1
        ending.callback(None)
        await restarting
        await appended
        assert self.log == ["clear", "start", "abort", "clear", "start"]

    async def test_file_that_was_completed_while_the_join_was_restarted_does_not_count(
        self,
    ) -> None:
        await self.append(0)
        self.waits[-1] = Deferred()
        completing = self.waits[-1]
        finishing = ensureDeferred(self.queue.finish())
        while not self.joiners[0].finished:
            await deferLater(reactor, 0.001, lambda: None)
        restarting = ensureDeferred(self.queue.restart())
        completing.callback(None)
        await self.fails(finishing, Cancelled)
        await restarting
        assert self.joiners[0].aborted

    async def test_completed_file_is_left_alone_by_the_end(self) -> None:
        await self.append(0)
        await self.queue.finish()
        await self.queue.close()
        assert not self.joiners[0].aborted

    async def test_closed_queue_takes_nothing(self) -> None:
        await self.append(0)
        await self.queue.close()
        assert self.joiners[0].aborted
        await self.fails(self.append(10), Cancelled)
        await self.fails(ensureDeferred(self.queue.finish()), Cancelled)


class ErrorTests(QueueCase):
    async def test_error_is_told_once_and_everybody_else_is_let_go(self) -> None:
        for cause in (JoinFailed, DiskFull, IncompatibleSegments, HelperDied):
            self.errors[10] = cause(message="no")
            appending = [self.append(first) for first in (0, 10, 20)]
            finishing = ensureDeferred(self.queue.finish())
            ends = [await self.end_of(work) for work in (*appending, finishing)]
            assert sorted(end.__name__ for end in ends if end is not None) == sorted(
                [cause.__name__, *(["Cancelled"] * 3)]
            )
            await self.fails(self.append(30), Cancelled)
            assert self.joiners[-1].aborted
            await self.queue.restart()

    async def test_join_goes_on_after_it_was_restarted(self) -> None:
        self.errors[0] = DiskFull(message="full")
        await self.fails(self.append(0), DiskFull)
        await self.queue.restart()
        await self.append(0)
        await self.queue.finish()
        assert self.joiners[-1].appended == [0]

    async def test_error_at_the_end_is_told(self) -> None:
        await self.append(0)
        self.errors[-1] = DiskFull(message="full")
        await self.fails(ensureDeferred(self.queue.finish()), DiskFull)
        assert self.joiners[0].aborted

    async def test_failing_to_end_a_process_does_not_end_the_queue(self) -> None:
        self.ending = fail(Failure(RuntimeError("stuck")))
        await self.append(0)
        self.ending = None
        await self.queue.restart()
        await self.append(0)
        assert len(self.flushLoggedErrors(RuntimeError)) == 1

    async def end_of(self, work: Deferred[None]) -> type[BaseException] | None:
        try:
            await work
        except FfclusterError as error:
            return type(error)
        return None


class BlobTests(QueueCase):
    async def test_altered_result_is_found_before_it_is_joined(self) -> None:
        await self.append(0)
        bad = self.result(10)
        self.blobs.path(bad.blob).write_bytes(b"!")
        error = await self.fails(ensureDeferred(self.queue.append(bad, mixes=False)), BlobDamaged)
        self.names(error, bad)
        assert self.joiners[0].appended == [0]

    async def test_deleted_result_is_found_before_it_is_joined(self) -> None:
        bad = self.result(0)
        self.blobs.path(bad.blob).unlink()
        error = await self.fails(ensureDeferred(self.queue.append(bad, mixes=False)), BlobLost)
        self.names(error, bad)
        assert self.joiners == []

    async def test_result_that_was_joined_before_is_read_again_when_the_join_starts_over(
        self,
    ) -> None:
        first = self.result(0)
        await self.queue.append(first, mixes=False)
        self.blobs.path(first.blob).write_bytes(b"!")
        error = await self.fails(self.append(10, sets="other"), BlobDamaged)
        self.names(error, first)

    def names(self, error: Exception, result: CommittedResult) -> None:
        assert isinstance(error, BlobLost | BlobDamaged)
        assert error.detail["epoch"] == result.epoch
        assert error.detail["first_frame"] == result.frames.first
        assert error.detail["stop_frame"] == result.frames.stop
        assert error.detail["sha256"] == result.blob.sha256
        assert str(result.frames) in error.message
        assert error.retryable
