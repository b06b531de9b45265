"""Waiting for a peer ends when it must, and says truly why."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import ConnectionLost, DNSLookupError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from ffcluster.errors import Unreachable
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.patience import bounded
from ffcluster.net.websocket import dial


@implementer(IHostnameResolver)
class Undecided:
    """A resolver that never finds out."""

    def resolveHostName(self, receiver: object, *_: object, **__: object) -> object:
        return receiver


def dialling() -> tuple[MemoryReactorClock, Deferred[object]]:
    reactor = MemoryReactorClock()
    reactor.nameResolver = Undecided()
    address = CoordinatorAddress.parse("ws://coordinator.invalid:5001")
    peer: object = object()
    return reactor, ensureDeferred(dial(reactor, address, peer, timeout_s=5.0))  # type: ignore[arg-type]


def failure_of(work: Deferred[object]) -> BaseException:
    found: list[BaseException] = []
    work.addErrback(lambda failure: found.append(failure.value))
    (error,) = found
    return error


def test_dialling_that_is_cancelled_while_the_name_is_looked_up_says_so() -> None:
    _, connecting = dialling()
    connecting.cancel()
    assert isinstance(failure_of(connecting), CancelledError)


def test_name_that_is_never_found_is_given_up() -> None:
    reactor, connecting = dialling()
    reactor.advance(5.0)
    error = failure_of(connecting)
    assert isinstance(error, Unreachable)
    assert "no answer for 5 s" in error.message


@pytest.mark.parametrize("error", [DNSLookupError("x"), ConnectionLost("y")])
def test_what_is_cancelled_is_not_reported_as_broken(error: Exception) -> None:
    request: Deferred[object] = Deferred(lambda it: it.errback(error))
    waiting = bounded(Clock(), request, 5.0)
    waiting.cancel()
    assert isinstance(failure_of(waiting), CancelledError)


def test_answer_in_time_ends_the_wait() -> None:
    clock, request = Clock(), Deferred[int]()
    waiting = bounded(clock, request, 5.0)
    request.callback(7)
    assert waiting.result == 7
    assert clock.getDelayedCalls() == []
