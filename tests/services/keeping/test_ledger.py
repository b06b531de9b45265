"""The ledger: nothing has effects before it is durable, and nothing is lost or reordered."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from ffcluster import steps
from ffcluster.core.durable import Changes, Counters, EventEntry, Saved
from ffcluster.errors import Cancelled, DiskFull, FfclusterError, StoreFailed, StoreUnavailable
from ffcluster.services.keeping.ledger import Ledger
from ffcluster.steps import Step
from ffcluster.store.interface import JobStore
from ffcluster.store.opening import open_store
from tests.integration.media_case import asynchronous
from tests.store.entries import job

AWAY = StoreUnavailable(message="The server is away.")
FULL = DiskFull(message="No space.")


class Gate:
    """A store in a file whose transactions can be held up or made to fail.

    Attributes:
        faults: Raised by the next transactions, in order, instead of storing anything.
        doubtful: Raised by the next transactions after everything was stored.
        sizes: Events in each transaction that was stored.
    """

    def __init__(self, store: JobStore) -> None:
        self.faults: list[Exception] = []
        self.doubtful: list[Exception] = []
        self.sizes: list[int] = []
        self.threads: set[str] = set()
        self.held = threading.Event()
        self.held.set()
        self._store = store

    def apply(self, changes: Sequence[Changes]) -> None:
        self.held.wait(60)
        self.threads.add(threading.current_thread().name)
        if self.faults:
            raise self.faults.pop(0)
        self._store.apply(changes)
        self.sizes.append(sum(len(one.events) for one in changes))
        if self.doubtful:
            raise self.doubtful.pop(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Late:
    """A store that does not answer the first times that it is opened."""

    def __init__(self, away: int, store: JobStore) -> None:
        self.away = away
        self._store = store

    def open(self) -> None:
        if self.away:
            self.away -= 1
            raise AWAY
        self._store.open()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def event(number: int) -> Changes:
    return Changes(events=(EventEntry(number, 1.0, "job.state"),), counters=Counters(1, number + 1))


class LedgerCase(TestCase):
    timeout = 60

    def setUp(self) -> Deferred[Saved]:
        self.directory = Path(tempfile.mkdtemp(prefix="ffcluster-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.gate = Gate(open_store("sqlite:///jobs.db", self.directory))
        self.clock = Clock()
        self.broken: list[BaseException] = []
        self.troubles: list[str] = []
        self.told: list[object] = []
        self.ledger = Ledger(
            self.gate,
            reactor,
            clock=self.clock,
            broken=self.broken.append,
            troubled=self.troubles.append,
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(self.ledger.close()))
        self.addCleanup(self.gate.held.set)
        return Deferred.fromCoroutine(self.ledger.open())

    def put(self, number: int) -> None:
        self.ledger.put(event(number), lambda: self.told.append(number))

    def stored(self) -> Deferred[list[int]]:
        """Numbers of all events in the store."""
        return self.ledger.read(lambda store: [e.number for e in store.events(0, 10_000)])

    async def until(self, happened: Callable[[], bool]) -> None:
        """Let the reactor and the thread run until something is so."""
        while not happened():
            passed: Deferred[None] = Deferred()
            reactor.callLater(0.001, passed.callback, None)  # type: ignore[attr-defined]
            await passed

    # --- order ---------------------------------------------------------------------------------

    def test_without_changes_and_with_nothing_outstanding_it_is_told_at_once(self) -> None:
        self.ledger.put(Changes(), lambda: self.told.append("now"))
        assert self.told == ["now"]

    @asynchronous
    async def test_nobody_is_told_before_it_is_stored(self) -> None:
        self.gate.held.clear()
        self.put(1)
        self.ledger.put(Changes(), lambda: self.told.append("nothing to store"))
        self.put(2)
        assert self.told == []
        self.gate.held.set()
        await self.ledger.idle()
        assert self.told == [1, "nothing to store", 2]
        assert await self.stored() == [1, 2]

    @asynchronous
    async def test_what_waits_is_stored_in_one_transaction_of_one_thread(self) -> None:
        self.gate.held.clear()
        for number in range(1, 1001):
            self.put(number)
        self.gate.held.set()
        await self.ledger.idle()
        assert self.gate.sizes == [1, 999]
        assert len(self.gate.threads) == 1
        assert self.told == list(range(1, 1001))
        assert (await self.ledger.read(lambda store: store.load())).counters.next_event == 1001

    @asynchronous
    async def test_listeners_hear_of_every_change_once_in_order_before_anybody_else(self) -> None:
        def heard(batch: Sequence[Changes]) -> None:
            numbers = [entry.number for changes in batch for entry in changes.events]
            self.told.append(("heard", *numbers))
            if numbers == [1]:
                self.put(9)

        def broken(batch: Sequence[Changes]) -> None:
            raise KeyError("gone")

        self.ledger.listen(broken)
        self.ledger.listen(heard)
        self.gate.faults = [AWAY]
        self.gate.held.clear()
        self.put(1)
        self.put(2)
        self.put(3)
        self.gate.held.set()
        await self.until(lambda: bool(self.troubles))
        assert self.told == []
        self.clock.advance(60)
        await self.ledger.idle()
        # What was put meanwhile, too.
        await self.ledger.idle()
        assert len(self.flushLoggedErrors(KeyError)) == 3
        assert self.told == [("heard", 1), 1, ("heard", 2, 3), 2, 3, ("heard", 9), 9]

    @asynchronous
    async def test_what_is_put_while_others_are_told_comes_after_them(self) -> None:
        def first() -> None:
            self.told.append("first")
            self.ledger.put(Changes(), lambda: self.told.append("within"))
            self.ledger.put(event(2), lambda: self.told.append("within, stored"))
            self.told.append("first ends")

        self.ledger.put(event(1), first)
        self.ledger.put(Changes(), lambda: self.told.append("second"))
        await self.ledger.idle()
        # What was put within came later than the question before.
        await self.ledger.idle()
        assert self.told == ["first", "first ends", "second", "within", "within, stored"]

    @asynchronous
    async def test_one_that_fails_does_not_stop_the_others(self) -> None:
        def fail() -> None:
            raise RuntimeError("a fault")

        self.ledger.put(event(1), fail)
        self.put(2)
        await self.ledger.idle()
        assert self.told == [2]
        assert len(self.flushLoggedErrors(RuntimeError)) == 1

    @asynchronous
    async def test_reading_sees_what_was_put_before(self) -> None:
        self.gate.held.clear()
        self.put(1)
        found = self.stored()
        self.put(2)
        self.gate.held.set()
        assert 1 in await found

    @asynchronous
    async def test_reading_fails_with_what_the_question_raised(self) -> None:
        def ask(store: JobStore) -> None:
            raise AWAY

        await self.assertFailure(self.ledger.read(ask), StoreUnavailable)
        assert self.ledger.trouble == ""

    @asynchronous
    async def test_question_is_asked_again_over_a_fresh_connection(self) -> None:
        answers: list[Exception | int] = [AWAY, 7]

        def ask(_: JobStore) -> int:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        assert await self.ledger.read(ask) == 7

    @asynchronous
    async def test_steps_are_announced_around_each_transaction(self) -> None:
        self.patch(steps, "observer", lambda step: self.told.append(step))
        self.put(1)
        await self.ledger.idle()
        assert self.told == [Step.CHANGES_READY, Step.CHANGES_STORED, 1]

    # --- trouble -------------------------------------------------------------------------------

    @asynchronous
    async def test_store_that_is_away_is_tried_again_until_it_is_back(self) -> None:
        self.gate.faults = [AWAY] * 4 + [FULL] * 4
        self.put(1)
        for pause_s, reason in (
            (0.2, AWAY), (0.4, AWAY), (0.8, AWAY), (1.6, AWAY),
            (3.2, FULL), (5.0, FULL), (5.0, FULL), (5.0, FULL),
        ):  # fmt: skip
            await self.until(lambda: bool(self.clock.getDelayedCalls()))
            assert self.ledger.trouble == reason.message
            self.put(len(self.gate.faults) + 10)
            self.clock.advance(pause_s - 0.01)
            assert self.clock.getDelayedCalls()
            self.clock.advance(0.01)
            assert not self.clock.getDelayedCalls()
        assert self.told == []
        await self.ledger.idle()
        assert self.told == [1, 17, 16, 15, 14, 13, 12, 11, 10]
        assert self.gate.sizes == [1, 8]
        assert self.troubles == [AWAY.message, FULL.message, ""]
        assert self.ledger.trouble == ""

    @asynchronous
    async def test_pauses_are_short_again_after_a_success(self) -> None:
        for number in (1, 2):
            self.gate.faults = [AWAY, AWAY]
            self.put(number)
            for pause_s in (0.2, 0.4):
                await self.until(lambda: bool(self.clock.getDelayedCalls()))
                self.clock.advance(pause_s)
            await self.ledger.idle()
        assert self.told == [1, 2]

    @asynchronous
    async def test_transaction_that_was_kept_after_all_may_be_repeated(self) -> None:
        self.gate.doubtful = [AWAY]
        self.put(1)
        await self.until(lambda: bool(self.clock.getDelayedCalls()))
        self.clock.advance(0.2)
        await self.ledger.idle()
        assert self.told == [1]
        assert await self.stored() == [1]

    @asynchronous
    async def test_reading_waits_until_the_store_is_back(self) -> None:
        self.gate.faults = [AWAY]
        self.put(1)
        found = self.stored()
        await self.until(lambda: bool(self.clock.getDelayedCalls()))
        assert not found.called
        self.clock.advance(0.2)
        assert await found == [1]

    @asynchronous
    async def test_nothing_has_effects_after_an_error_that_will_not_pass(self) -> None:
        refused = StoreFailed(message="A fault.")
        self.gate.faults = [refused]
        self.put(1)
        idle, found = self.ledger.idle(), self.stored()
        await self.until(lambda: bool(self.broken))
        self.put(2)
        self.ledger.put(Changes(), lambda: self.told.append("nothing to store"))
        assert self.broken == [refused]
        assert self.told == []
        await self.assertFailure(idle, StoreFailed)
        await self.assertFailure(found, StoreFailed)
        await self.assertFailure(self.ledger.idle(), StoreFailed)
        await self.assertFailure(self.stored(), StoreFailed)
        assert len(self.flushLoggedErrors(StoreFailed)) == 1
        with capturedLogs() as logged:
            await self.ledger.close()
        (line,) = [formatEvent(event) for event in logged]
        assert line == "closed without storing what was decided last: A fault."

    @asynchronous
    async def test_fault_of_the_program_is_one_that_will_not_pass(self) -> None:
        self.gate.faults = [TypeError("a fault")]
        self.put(1)
        await self.until(lambda: bool(self.broken))
        await self.ledger.close()
        assert len(self.flushLoggedErrors(TypeError)) == 2

    # --- opening and closing -------------------------------------------------------------------

    @asynchronous
    async def test_closing_stores_and_tells_what_waits(self) -> None:
        self.gate.held.clear()
        self.put(1)
        self.put(2)
        closing = Deferred.fromCoroutine(self.ledger.close())
        self.gate.held.set()
        await closing
        assert self.told == [1, 2]
        await self.assertFailure(self.stored(), Cancelled)
        again = Ledger(open_store("sqlite:///jobs.db", self.directory), reactor)
        assert (await again.open()).counters.next_event == 3
        await again.close()

    @asynchronous
    async def test_closing_tries_once_more_and_then_gives_up(self) -> None:
        self.gate.faults = [AWAY, AWAY, AWAY]
        self.put(1)
        await self.until(lambda: bool(self.clock.getDelayedCalls()))
        with capturedLogs() as logged:
            await self.ledger.close()
        assert self.told == []
        assert len(self.gate.faults) == 1
        assert self.clock.getDelayedCalls() == []
        (line,) = [formatEvent(event) for event in logged if "closed" in formatEvent(event)]
        assert line == f"closed without storing what was decided last: {AWAY.message}"

    @asynchronous
    async def test_closing_in_trouble_stores_what_the_last_try_can(self) -> None:
        self.gate.faults = [AWAY]
        self.put(1)
        await self.until(lambda: bool(self.clock.getDelayedCalls()))
        self.put(2)
        await self.ledger.close()
        assert self.told == [1, 2]

    @asynchronous
    async def test_database_that_does_not_answer_yet_is_waited_for(self) -> None:
        store, clock = Late(2, open_store("sqlite:///late.db", self.directory)), Clock()
        late = Ledger(store, reactor, clock=clock)
        opening = Deferred.fromCoroutine(late.open(60.0))
        for tries in (1, 0):
            await self.until(lambda: bool(clock.getDelayedCalls()))
            assert store.away == tries
            clock.advance(2.0)
        assert await opening == Saved()
        await late.close()

    @asynchronous
    async def test_database_that_stays_away_is_given_up(self) -> None:
        store, clock = Late(9, open_store("sqlite:///late.db", self.directory)), Clock()
        opening = Deferred.fromCoroutine(Ledger(store, reactor, clock=clock).open(3.0))
        for _ in range(2):
            await self.until(lambda: bool(clock.getDelayedCalls()))
            clock.advance(2.0)
        await self.assertFailure(opening, StoreUnavailable)

    @asynchronous
    async def test_store_that_cannot_be_opened_says_so_and_may_be_opened_later(self) -> None:
        other = Ledger(open_store("sqlite:///jobs.db", self.directory), reactor)
        await self.assertFailure(Deferred.fromCoroutine(other.open()), FfclusterError)
        self.put(1)
        self.ledger.put(Changes(jobs=(job("a"),)), lambda: None)
        await self.ledger.close()
        saved = await other.open()
        assert saved.jobs == (job("a"),)
        assert saved.counters.next_event == 2
        await other.close()
