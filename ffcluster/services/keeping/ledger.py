"""The coordinator's only writer: what is decided becomes durable, and only then has effects.

One thread stores everything that waits in one transaction (group commit). What it cannot store
now it tries again for ever; nothing is lost or reordered meanwhile, and nothing has effects.
Decides nothing about what is stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from threading import Thread
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from ffcluster.core.durable import Changes, Saved
from ffcluster.errors import Cancelled, FfclusterError, StoreUnavailable
from ffcluster.steps import Step, reached
from ffcluster.store.batching import Batch
from ffcluster.store.interface import JobStore

log = Logger()

T = TypeVar("T")

_FIRST_RETRY_S = 0.2
_LONGEST_RETRY_S = 5.0
_OPENING_PAUSE_S = 2.0


@attrs.frozen
class _Waiting:
    """Somebody who is called when everything up to batch number `after` is durable.

    `never` is called instead when that will not come.
    """

    after: int
    then: Callable[[], None]
    never: Callable[[BaseException], None] = lambda error: None


class Ledger:
    """Stores changes one after another, in a thread of its own.

    Everything here is called in the reactor's thread.

    Args:
        store: Where; nobody else uses it.
        reactor: Calls back from the thread.
        clock: For the pauses between tries; the reactor when None.
        broken: Called once with an error that no further try will mend. Nothing is stored and
            nothing has effects after that.
        troubled: Called when `trouble` has changed.
    """

    def __init__(
        self,
        store: JobStore,
        reactor: Any,
        *,
        clock: Any = None,
        broken: Callable[[BaseException], None] = lambda error: None,
        troubled: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._store = store
        self._reactor = reactor
        self._clock = clock or reactor
        self._tell_broken = broken
        self._tell_troubled = troubled
        self._pool = ThreadPool(1, 1, "ledger")
        # A process that ends without `close` loses nothing that anybody was told of.
        self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
        self._waiting: deque[_Waiting] = deque()
        self._calling = False
        self._batch = Batch()
        # Batches are numbered: the one that collects, and the last that is durable.
        self._collecting = 1
        self._stored = 0
        self._writing: tuple[Changes, ...] | None = None
        self._retry: Any = None
        self._delay_s = _FIRST_RETRY_S
        self._trouble: FfclusterError | None = None
        self._end: BaseException | None = None
        self._closing = False
        self._listeners: list[Callable[[Sequence[Changes]], None]] = []
        self._timers: list[Callable[[float], None]] = []

    @property
    def trouble(self) -> str:
        """Why nothing can be stored at the moment, or ""."""
        return self._trouble.message if self._trouble else ""

    async def open(self, patience_s: float = 0.0) -> Saved:
        """Open the store and read what a coordinator needs to go on; called once, before all else.

        Args:
            patience_s: How long to wait for a database that does not answer yet, as after the
                start of a machine that runs both.

        Raises:
            FfclusterError: See `JobStore.open` and `JobStore.load`. The ledger may be opened again.
        """
        if not self._pool.started:
            self._pool.start()

        def opened() -> Saved:
            self._store.open()
            try:
                return self._store.load()
            except BaseException:
                self._store.close()
                raise

        deadline_s = self._clock.seconds() + patience_s
        while True:
            try:
                return await self._in_thread(opened)
            except StoreUnavailable as error:
                if self._clock.seconds() >= deadline_s:
                    raise
                log.warn("waiting for the database: {reason}", reason=error.message)
            await deferLater(self._clock, _OPENING_PAUSE_S)

    def put(self, changes: Changes, then: Callable[[], None]) -> None:
        """Store `changes`; call `then` when they and all that was put before are durable.

        With nothing to store and nothing outstanding `then` is called at once. A `then` that
        raises is logged; the others are called all the same.
        """
        if self._end is not None:
            return
        if changes:
            self._batch.add(changes)
        self._waiting.append(_Waiting(self._last_batch(), then))
        self._write()
        self._call()

    def listen(self, stored: Callable[[Sequence[Changes]], None]) -> None:
        """Tell `stored` of all changes from now on, in order, each as soon as it is durable.

        It is told before whoever put them, and must not block; what it raises is logged.
        """
        self._listeners.append(stored)

    def time_writes(self, took: Callable[[float], None]) -> None:
        """Tell `took` of every transaction from now on how many seconds it took."""
        self._timers.append(took)

    def idle(self) -> Deferred[None]:
        """Fires when all that was put is durable and has been told; fails when that never will."""
        done: Deferred[None] = Deferred()
        if self._end is not None:
            done.errback(self._end)
        else:
            self._waiting.append(
                _Waiting(self._last_batch(), lambda: done.callback(None), done.errback)
            )
            self._call()
        return done

    def read(self, question: Callable[[JobStore], T]) -> Deferred[T]:
        """Ask the store, in its thread, after everything that was put before is durable.

        The Deferred fails with what `question` raises.
        """
        answer: Deferred[T] = self.idle().addCallback(
            lambda _: deferToThreadPool(self._reactor, self._pool, self._ask, question)
        )
        return answer

    def _ask(self, question: Callable[[JobStore], T]) -> T:
        try:
            return question(self._store)
        except StoreUnavailable:
            # A connection that broke while nobody used it is made anew by the next use.
            return question(self._store)

    async def close(self) -> None:
        """Store what waits and close the store.

        While the store is in trouble there is one last try: what is not durable had no effects
        yet, so after the next start it is as if it never happened.
        """
        if self._closing:
            return
        self._closing = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
            self._send()
        try:
            await self.idle()
        except FfclusterError as error:
            log.error("closed without storing what was decided last: {why}", why=error.message)
        except Exception:  # noqa: BLE001 - it is logged, and the store is closed in any case
            log.failure("closed without storing what was decided last")
        self._give_up(Cancelled(message="The coordinator stops."))
        if self._pool.started:
            await self._in_thread(self._store.close)
            self._pool.stop()

    # --- writing -------------------------------------------------------------------------------

    def _last_batch(self) -> int:
        """The number of the last batch that holds anything."""
        return self._collecting if self._batch else self._collecting - 1

    def _write(self) -> None:
        """Send what was collected to the thread, unless it is busy."""
        if self._writing is not None or self._end is not None or not self._batch:
            return
        self._writing = self._batch.changes()
        self._batch = Batch()
        self._collecting += 1
        self._send()

    def _send(self) -> None:
        self._retry = None
        batch = self._writing
        assert batch is not None  # noqa: S101 - only called while there is one
        began_s = self._clock.seconds()
        stored = Deferred.fromCoroutine(self._in_thread(lambda: _apply(self._store, batch)))
        stored.addCallbacks(lambda _: self._done(began_s), self._failed)
        stored.addErrback(lambda failure: log.failure("the ledger failed", failure))

    def _done(self, began_s: float) -> None:
        for took in self._timers:
            took(self._clock.seconds() - began_s)
        stored, self._writing = self._writing or (), None
        self._stored = self._collecting - 1
        self._delay_s = _FIRST_RETRY_S
        self._troubled(None)
        # The thread works on while the effects are carried out.
        self._write()
        self._tell_stored(stored)
        self._call()

    def _failed(self, failure: Failure) -> None:
        error: Any = failure.value
        if not isinstance(error, FfclusterError) or not error.retryable:
            log.failure("what was decided cannot be stored", failure)
            self._give_up(error)
            self._tell_broken(error)
            return
        self._troubled(error)
        if self._closing:
            self._give_up(error)
            return
        self._retry = self._clock.callLater(self._delay_s, self._send)
        self._delay_s = min(2 * self._delay_s, _LONGEST_RETRY_S)

    def _troubled(self, error: FfclusterError | None) -> None:
        before, self._trouble = self.trouble, error
        if self.trouble == before:
            return
        if error is not None:
            log.warn("cannot store: {reason} {advice}", reason=error.message, advice=error.advice)
        else:
            log.info("can store again")
        self._tell_troubled(self.trouble)

    def _give_up(self, error: BaseException) -> None:
        """Store nothing and call nobody any more."""
        self._end = self._end or error
        self._writing = None
        given_up, self._waiting = self._waiting, deque()
        for waiting in given_up:
            waiting.never(error)

    # --- telling -------------------------------------------------------------------------------

    def _tell_stored(self, stored: Sequence[Changes]) -> None:
        """Tell all listeners before anybody else, whatever they put meanwhile."""
        self._calling = True
        try:
            for listener in self._listeners:
                _call(partial(listener, stored))
        finally:
            self._calling = False

    def _call(self) -> None:
        """Call whoever waits for what is durable now, strictly in order, never nested."""
        if self._calling:
            return
        self._calling = True
        try:
            while self._waiting and self._waiting[0].after <= self._stored:
                _call(self._waiting.popleft().then)
        finally:
            self._calling = False

    async def _in_thread(self, job: Callable[[], T]) -> T:
        found: T = await deferToThreadPool(self._reactor, self._pool, job)
        return found


def _apply(store: JobStore, batch: Sequence[Changes]) -> None:
    reached(Step.CHANGES_READY)
    store.apply(batch)
    reached(Step.CHANGES_STORED)


def _call(then: Callable[[], None]) -> None:
    try:
        then()
    except Exception:  # noqa: BLE001 - it is logged; the others were promised to be called
        log.failure("what follows from a stored change failed")
