"""Waiting for a peer: not for ever, and not after being told to stop."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost


def bounded(reactor: Any, request: Deferred[Any], patience_s: float) -> Deferred[Any]:
    """A request or connection that fails with `ConnectionLost` after `patience_s` seconds.

    When it is cancelled it fails with `CancelledError`. Twisted itself reports it as broken then,
    or its host as one that has no address, and it would be taken up again.
    """

    def give_up(error: Exception) -> None:
        outcome.errback(error)
        request.cancel()

    def settle(result: Any) -> None:
        if late.active():
            late.cancel()
        if not outcome.called:
            outcome.callback(result)

    late = reactor.callLater(
        patience_s, lambda: give_up(ConnectionLost(f"no answer for {patience_s:.0f} s"))
    )
    outcome: Deferred[Any] = Deferred(lambda _: give_up(CancelledError()))
    request.addBoth(settle)
    return outcome
