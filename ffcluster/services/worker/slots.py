"""Who may encode now: each device has slots of its own, given in order of epochs. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from twisted.internet.defer import Deferred

from ffcluster.core.model import Capability


class Slots:
    """The slots of one worker's devices, and who holds or awaits one."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Capability, Deferred[None]]] = {}
        self._held: dict[int, Capability] = {}

    def __iter__(self) -> Iterator[int]:
        """Epochs of those that hold one."""
        return iter(tuple(self._held))

    def ask(self, epoch: int, capability: Capability) -> Deferred[None]:
        """Fires when the attempt may encode."""
        granted: Deferred[None] = Deferred()
        self._waiting[epoch] = (capability, granted)
        self._grant()
        return granted

    def release(self, epoch: int) -> None:
        """The attempt no longer uses its slot, or never will."""
        waited = self._waiting.pop(epoch, None)
        held = self._held.pop(epoch, None)
        if waited is not None or held is not None:
            self._grant()

    def _grant(self) -> None:
        # Whoever gets a slot may give it back before `callback` returns, so look afresh each time.
        while (epoch := self._next()) is not None:
            capability, granted = self._waiting.pop(epoch)
            self._held[epoch] = capability
            granted.callback(None)

    def _next(self) -> int | None:
        """The first epoch in line whose device has room; one device never waits for another."""
        full: set[str] = set()
        for epoch in sorted(self._waiting):
            wanted = self._waiting[epoch][0]
            if wanted.device in full:
                continue
            if self._load_on(wanted.device) + wanted.unit <= 1:
                return epoch
            full.add(wanted.device)
        return None

    def _load_on(self, device: str) -> Fraction:
        busy = (c.unit for c in self._held.values() if c.device == device)
        return sum(busy, Fraction(0))
