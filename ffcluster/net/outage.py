"""A coordinator that went away: how long it is looked for, and how often."""

from __future__ import annotations

from collections.abc import Callable
from random import random

from ffcluster.errors import Unreachable
from ffcluster.net.session import BackOff

# Told why the coordinator cannot be reached, at every try; and None once it is reached again.
OnOutage = Callable[[Unreachable | None], None]

_RETRY_BASE_S = 0.5
_RETRY_LIMIT_S = 10.0


def nobody(_: Unreachable | None) -> None:
    """Tell nobody of an outage."""


class Outage:
    """How long the coordinator has been away, and when to look for it again."""

    def __init__(self, patience_s: float, on_outage: OnOutage) -> None:
        self._patience_s = patience_s
        self._on_outage = on_outage
        self._began: float | None = None
        self._back_off = BackOff(_RETRY_BASE_S, random, _RETRY_LIMIT_S)

    def over(self) -> None:
        """The coordinator answered."""
        if self._began is not None:
            self._began = None
            self._back_off.succeeded()
            self._on_outage(None)

    def failed(self, error: Unreachable, now: float) -> float:
        """It did not; say how many seconds to wait, or raise `error` at the end of patience."""
        if self._began is None:
            self._began = now
        left_s = self._began + self._patience_s - now
        if left_s <= 0.0:
            raise error
        self._on_outage(error)
        return min(self._back_off.failed(), left_s)
