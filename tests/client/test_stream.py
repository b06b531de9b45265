"""Streams: one after the other, in the taker's own time, and closed when it stops."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from ffcluster.client.stream import Stream
from ffcluster.errors import Unreachable


class Streams(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def next(self, stream: Stream[int]) -> int:
        waiting = ensureDeferred(stream.__anext__())
        self.clock.advance(0)
        return self.successResultOf(waiting)

    def test_nothing_is_made_before_it_is_asked_for_nor_far_ahead(self) -> None:
        made: list[int] = []

        async def produce(stream: Stream[int]) -> None:
            for number in range(5):
                made.append(number)
                await stream.put(number)

        stream = Stream(self.clock, produce)
        assert made == []
        assert [self.next(stream), self.next(stream)] == [0, 1]
        assert made == [0, 1, 2]

    def test_taker_that_waits_gets_what_is_put_and_the_maker_goes_on(self) -> None:
        go: Deferred[None] = Deferred()

        async def produce(stream: Stream[int]) -> None:
            await go
            await stream.put(1)
            await stream.put(2)

        stream = Stream(self.clock, produce)
        waiting = ensureDeferred(stream.__anext__())
        go.callback(None)
        self.clock.advance(0)
        assert self.successResultOf(waiting) == 1
        assert self.next(stream) == 2

    def test_offered_items_are_dropped_for_newer_ones(self) -> None:
        end: Deferred[None] = Deferred()

        async def produce(stream: Stream[int]) -> None:
            for number in range(5):
                stream.offer(number)
            await end
            stream.offer(9)

        stream = Stream(self.clock, produce)
        assert self.next(stream) == 4
        waiting = ensureDeferred(stream.__anext__())
        self.assertNoResult(waiting)
        end.callback(None)
        self.clock.advance(0)
        assert self.successResultOf(waiting) == 9
        self.failureResultOf(ensureDeferred(stream.__anext__()), StopAsyncIteration)

    def test_what_was_made_before_a_failure_is_handed_out_first(self) -> None:
        async def produce(stream: Stream[int]) -> None:
            stream.offer(1)
            raise Unreachable(message="gone")

        stream = Stream(self.clock, produce)
        assert self.next(stream) == 1
        self.failureResultOf(ensureDeferred(stream.__anext__()), Unreachable)
        self.failureResultOf(ensureDeferred(stream.__anext__()), StopAsyncIteration)

    def test_closing_ends_the_making_and_the_waiting(self) -> None:
        ended: list[str] = []

        async def produce(stream: Stream[int]) -> None:
            try:
                await Deferred()
            finally:
                ended.append("produce")

        stream = Stream(self.clock, produce)
        waiting = ensureDeferred(stream.__anext__())
        self.successResultOf(ensureDeferred(stream.close()))
        assert ended == ["produce"]
        self.clock.advance(0)
        self.failureResultOf(waiting, StopAsyncIteration)
        self.successResultOf(ensureDeferred(stream.close()))

    def test_taker_that_closes_with_its_first_item_ends_the_making(self) -> None:
        ended: list[str] = []

        async def produce(stream: Stream[int]) -> None:
            try:
                stream.offer(1)
                await Deferred()
            finally:
                ended.append("produce")

        stream = Stream(self.clock, produce)

        async def take() -> None:
            await stream.__anext__()
            await stream.close()

        taking = ensureDeferred(take())
        self.clock.advance(0)
        self.successResultOf(taking)
        assert ended == ["produce"]

    def test_taker_that_is_cancelled_may_come_back(self) -> None:
        go: Deferred[None] = Deferred()

        async def produce(stream: Stream[int]) -> None:
            await go
            await stream.put(1)

        stream = Stream(self.clock, produce)
        waiting = ensureDeferred(stream.__anext__())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        go.callback(None)
        assert self.next(stream) == 1
