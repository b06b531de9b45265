"""Simulated time: what is to happen, in order."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import attrs


@attrs.define
class Timeline:
    """Lets one thing happen after the other, and the clock jump from each to the next."""

    now: float = 0.0
    _due: list[tuple[float, int, Callable[[], None]]] = attrs.field(factory=list)
    _order: itertools.count = attrs.field(factory=itertools.count)

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do something after a while."""
        heapq.heappush(self._due, (self.now + delay_s, next(self._order), act))

    def step(self) -> bool:
        """Let the next thing happen; whether there was one."""
        if not self._due:
            return False
        self.now, _, act = heapq.heappop(self._due)
        act()
        return True
