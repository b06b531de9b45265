"""The coordinator's clock, and a reactor whose time-outs follow no change of the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def keep_steady(reactor: Any) -> None:
    """Let every delay and time-out of `reactor` follow the monotonic clock from now on.

    Twisted's own reactors ask the wall clock: an administrator who sets it back by an hour would
    put off everything that is due by that hour. Must be called before anything is scheduled.
    """
    reactor.seconds = time.monotonic


class CoordinatorClock:
    """Seconds for decisions and entries: Unix time at the start, and steady from then on.

    Args:
        reactor: Its seconds are what passes.
        stored_s: The latest time that was ever written down; this clock never says less.
        wall: Tells Unix time; asked once.
    """

    def __init__(
        self, reactor: Any, stored_s: float = 0.0, wall: Callable[[], float] = time.time
    ) -> None:
        self._reactor = reactor
        self._offset_s = max(wall(), stored_s) - reactor.seconds()

    def seconds(self) -> float:
        """Now."""
        now: float = self._reactor.seconds() + self._offset_s
        return now
