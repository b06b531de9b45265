"""Delivered results: believed when they are here, kept before they count, let go when too late."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from ffcluster.core.cluster import ClusterState
from ffcluster.core.events import AttemptDelivered, AttemptFailed, Event
from ffcluster.core.model import BlobRef, Epoch, JobId, SegmentProof
from ffcluster.errors import Code
from ffcluster.net import messages
from ffcluster.net.bulk_server import Readable
from ffcluster.services.background import Background
from ffcluster.services.jobs.delivery import Deliveries
from ffcluster.services.keeping.holdings import Holdings
from ffcluster.services.keeping.shelf import RESULTS, TicketShelf
from ffcluster.store.blobs import FileBlobs

EPOCH, JOB = Epoch(7), JobId("job1")
DATA = b"a result"
SHA = hashlib.sha256(DATA).hexdigest()
PROOF = SegmentProof(10, 10)
PIECE = Readable(Path("/pieces/7.mkv"), 5, "0" * 64)


@attrs.define(eq=False)
class LiveAttempt:
    job_id: JobId = JOB
    holds_slot: bool = True


@attrs.define(eq=False)
class LiveAttempts:
    """All of the cluster's state that is looked at."""

    attempts: dict[Epoch, Any] = attrs.field(factory=lambda: {EPOCH: LiveAttempt()})


class DeliveryTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.blobs = FileBlobs(self.folder)
        self.blobs.prepare()
        self.shelf = TicketShelf(self.blobs, 1000)
        self.state = LiveAttempts()
        self.events: list[Event] = []
        self._told: Deferred[None] = Deferred()
        background = Background(self._post)
        self.holdings = Holdings(self.blobs, background.aside)
        self.deliveries = Deliveries(
            cast("ClusterState", self.state), self.shelf, self.blobs, self.holdings, background
        )

    def _post(self, event: Event) -> None:
        self.events.append(event)
        if not self._told.called:
            self._told.callback(None)

    def arrive(self, data: bytes = DATA, sha256: str | None = SHA) -> None:
        """Put a result to where the attempt was told to put it."""
        _, path = self.shelf.open_attempt(EPOCH, PIECE, 100)
        incoming = self.shelf.writable(RESULTS, path.rpartition("/")[2])
        assert incoming is not None
        incoming.expect(len(DATA))
        incoming.take(0, data, sha256)

    def say(self, sha256: str = SHA) -> None:
        self.deliveries.take(messages.Result(EPOCH, len(DATA), sha256, PROOF))

    def stored(self) -> list[str]:
        return [path.name for path in (self.folder / "blobs").rglob("*") if path.is_file()]

    def test_result_that_is_here_is_kept_before_it_counts(self) -> Deferred[None]:
        async def test() -> None:
            self.arrive()
            self.say()
            await self._told
            assert self.events == [AttemptDelivered(EPOCH, PROOF, BlobRef(SHA, len(DATA)))]
            assert self.stored() == [SHA]
            self.blobs.sweep((), at_once=True)
            assert self.stored() == [SHA]

        return ensureDeferred(test())

    def test_result_that_is_announced_twice_counts_once(self) -> Deferred[None]:
        async def test() -> None:
            self.arrive()
            self.say()
            self.say()
            await self._told
            self.state.attempts[EPOCH].holds_slot = False
            self.say()
            await deferToThread(lambda: None)
            assert len(self.events) == 1

        return ensureDeferred(test())

    def test_result_that_did_not_arrive_whole_is_not_believed(self) -> Deferred[None]:
        async def test() -> None:
            self.arrive(DATA[:3], None)
            self.say()
            await self._told
            (failed,) = self.events
            assert isinstance(failed, AttemptFailed)
            assert failed.error.code is Code.TRANSFER_FAILED
            assert self.stored() == []

        return ensureDeferred(test())

    def test_result_other_than_the_announced_one_is_not_believed(self) -> Deferred[None]:
        async def test() -> None:
            self.arrive()
            self.say("0" * 64)
            await self._told
            (failed,) = self.events
            assert isinstance(failed, AttemptFailed)
            assert self.stored() == []

        return ensureDeferred(test())

    def test_result_that_was_never_put_is_not_believed(self) -> Deferred[None]:
        async def test() -> None:
            self.say()
            await self._told
            (failed,) = self.events
            assert isinstance(failed, AttemptFailed)

        return ensureDeferred(test())

    def test_result_of_an_attempt_that_ends_meanwhile_is_let_go(self) -> Deferred[None]:
        async def test() -> None:
            self.arrive()
            self.say()
            del self.state.attempts[EPOCH]
            while self.stored() or self.shelf.result(EPOCH).path.exists():  # type: ignore[union-attr]
                await deferToThread(lambda: None)
            assert self.events == []

        return ensureDeferred(test())

    def test_equal_results_of_two_attempts_go_with_the_last_of_them(self) -> Deferred[None]:
        async def test() -> None:
            self.arrive()
            self.say()
            await self._told
            ref = BlobRef(SHA, len(DATA))
            self.holdings.add_result(JobId("job2"), Epoch(8), ref)
            self.holdings.drop_all(JOB)
            await deferToThread(lambda: None)
            assert self.stored() == [SHA]
            self.holdings.drop_result(JobId("job2"), Epoch(8))
            while self.stored():
                await deferToThread(lambda: None)

        return ensureDeferred(test())
