"""The one loop: events in, what they change stored, and only then what they lead to is done.

Effects are carried out strictly in the order of their events, and never before the changes of
their event and of all earlier ones are durable. Decides nothing itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from ffcluster.core.cluster import ClusterState
from ffcluster.core.durable import Changes, KeyEntry, WebhookEntry
from ffcluster.core.effects import Effect
from ffcluster.core.events import Event, Ticked
from ffcluster.services.clock import CoordinatorClock

log = Logger()

_SHORTEST_WAIT_S = 0.05


class Writer(Protocol):
    """Where changes are made durable; see `ffcluster.services.keeping.ledger.Ledger`."""

    def put(self, changes: Changes, then: Callable[[], None]) -> None:
        """Store `changes`, and call `then` when they and all that was put before are durable."""


@attrs.frozen
class _Posted:
    event: Event
    with_it: Changes = attrs.field(factory=Changes)
    done: Deferred[None] | None = None


class DecisionLoop:
    """Feeds the cluster's state and carries out what it decides.

    Handling never re-enters: events that effects cause wait in line.

    Args:
        reactor: Wakes the loop when something that waits is due.
        clock: The coordinator's clock.
        state: The cluster's state; nobody else changes it.
        writer: Makes changes durable.
        carry_out: Starts what an effect asks for.
        complete: Adds to changes what must be stored together with them.
    """

    def __init__(
        self,
        reactor: Any,
        clock: CoordinatorClock,
        state: ClusterState,
        writer: Writer,
        carry_out: Callable[[Effect], None],
        complete: Callable[[Changes], Changes] = lambda changes: changes,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._state = state
        self._writer = writer
        self._carry_out = carry_out
        self._complete = complete
        self._waiting: deque[_Posted] = deque()
        self._busy = False
        self._running = True
        self._wake: Any = None

    def begin(self) -> None:
        """Take up what was restored."""
        self._guarded(lambda: self._put(self._state.resume(self._clock.seconds())))

    def post(self, event: Event) -> None:
        """Take an event in; after `stop` it is ignored."""
        self._take(_Posted(event))

    def settled(
        self,
        event: Event,
        keys: Sequence[KeyEntry] = (),
        webhooks: Sequence[WebhookEntry] = (),
    ) -> Deferred[None]:
        """Take an event in; fires when what it changed is durable and its effects are started.

        Args:
            event: What happened.
            keys: Idempotency keys to store together with it.
            webhooks: Webhooks to store together with it, which are told of it already.
        """
        done: Deferred[None] = Deferred()
        with_it = Changes(keys=tuple(keys), webhooks=tuple(webhooks))
        self._take(_Posted(event, with_it, done))
        return done

    def stop(self) -> None:
        """Take nothing in any more; what is being stored now has no effects."""
        self._running = False
        self._waiting.clear()
        self._disarm()

    def _take(self, posted: _Posted) -> None:
        if not self._running:
            # What happens while everything ends must start nothing.
            return
        self._waiting.append(posted)
        self._guarded(lambda: None)

    def _guarded(self, first: Callable[[], None]) -> None:
        """Do `first`, then handle what waits, unless that is being done further up already."""
        if self._busy:
            first()
            return
        self._busy = True
        try:
            first()
            while self._waiting:
                posted = self._waiting.popleft()
                effects = self._state.handle(posted.event, self._clock.seconds())
                self._put(effects, posted.with_it, posted.done)
        finally:
            self._busy = False
        self._arm()

    def _put(
        self,
        effects: Sequence[Effect],
        with_it: Changes | None = None,
        done: Deferred[None] | None = None,
    ) -> None:
        changes = self._state.take_changes()
        if with_it:
            changes = attrs.evolve(changes, keys=with_it.keys, webhooks=with_it.webhooks)
        changes = self._complete(changes)
        self._writer.put(changes, lambda: self._guarded(lambda: self._stored(effects, done)))

    def _stored(self, effects: Sequence[Effect], done: Deferred[None] | None) -> None:
        if not self._running:
            return
        for effect in effects:
            try:
                self._carry_out(effect)
            except Exception:  # noqa: BLE001 - the others are promised all the same
                log.failure("cannot carry out {effect}", effect=type(effect).__name__)
        if done is not None:
            done.callback(None)

    # --- time ----------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Wake up when the next thing that waits is due."""
        self._disarm()
        now = self._clock.seconds()
        due = self._state.next_wake(now)
        if due is not None and self._running:
            delay_s = max(_SHORTEST_WAIT_S, due - now)
            self._wake = self._reactor.callLater(delay_s, self.post, Ticked())

    def _disarm(self) -> None:
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
