"""Things that arrive one by one, for whoever takes them in their own time. Holds a bounded few."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

Item = TypeVar("Item")
# Makes the items and hands each to the stream, by `put` or by `offer`.
Produce = Callable[["Stream[Item]"], Coroutine[Any, Any, None]]


class Stream(Generic[Item]):
    """An asynchronous iterator of items that a coroutine makes.

    Use it with `async for`. Whoever stops before its end must `close` it. It begins when the first
    item is asked for.
    """

    def __init__(self, reactor: Any, produce: Produce[Item]) -> None:
        self._reactor = reactor
        self._produce = produce
        self._producing: Deferred[None] | None = None
        self._held: list[Item] = []
        self._taken: Deferred[None] | None = None
        self._wanted: Deferred[None] | None = None
        self._ended = False
        self._failure: Failure | None = None

    # --- for whoever makes the items -----------------------------------------------------------

    def offer(self, item: Item) -> None:
        """Hand out `item` next; one that was offered before and not taken yet is dropped."""
        self._held = [item]
        self._wake()

    async def put(self, item: Item) -> None:
        """Hand out `item`, and wait until it was taken."""
        self._held.append(item)
        self._wake()
        self._taken = Deferred()
        await self._taken

    def _wake(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            # Not at once: whoever takes an item may close the stream, and its maker still runs.
            self._reactor.callLater(0, _fire, wanted)

    # --- for whoever takes them ----------------------------------------------------------------

    def __aiter__(self) -> Stream[Item]:
        return self

    async def __anext__(self) -> Item:
        if self._producing is None and not self._ended:
            self._producing = Deferred.fromCoroutine(self._produce(self))
            self._producing.addBoth(self._finish)
        while not self._held:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure.value or RuntimeError("it failed without saying why")
            if self._ended:
                raise StopAsyncIteration
            self._wanted = Deferred()
            await self._wanted
        item = self._held.pop(0)
        taken, self._taken = self._taken, None
        if taken is not None:
            taken.callback(None)
        return item

    def _finish(self, outcome: Failure | None) -> None:
        self._ended = True
        if isinstance(outcome, Failure) and not outcome.check(CancelledError):
            self._failure = outcome
        self._wake()

    async def close(self) -> None:
        """Stop making items; whoever waits for one is told that there are no more."""
        self._ended = True
        self._held.clear()
        if self._producing is not None:
            self._producing.cancel()
        self._failure = None
        self._wake()


def _fire(waiting: Deferred[None]) -> None:
    # Whoever waited may have been cancelled meanwhile.
    if not waiting.called:
        waiting.callback(None)
