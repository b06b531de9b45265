"""The attempts of a worker's life, whatever sessions come and go.

Takes offers, gives slots, stops what is not wanted any more. Speaks through whatever session is
open; holds what can be held while there is none. Connects nothing and decodes no message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from ffcluster.core.model import Capability, CapabilityKey
from ffcluster.errors import ErrorReport, FfclusterError, NoUsableEncoder
from ffcluster.net import messages
from ffcluster.net.bulk_client import BulkClient
from ffcluster.services.worker.attempt import AttemptRun
from ffcluster.services.worker.encoding import Workshop
from ffcluster.services.worker.slots import Slots

log = Logger()

Speak = Callable[[messages.FromWorker], None]

# Coordinators of earlier versions give everything to others as soon as a session ends.
_FIRST_THAT_TAKES_BACK = 2


class Workbench:
    """All attempts of one worker, and its slots.

    Args:
        workshop: What they encode with.
        clock: The reactor's.
        bulk: Fetches pieces and puts results.
        directory: Where pieces and results lie.
        capabilities: What the worker offers.

    Attributes:
        keeps: Whether attempts outlive a session with the present or latest coordinator.
        block_bytes: Unit in which results are put.
    """

    def __init__(
        self,
        workshop: Workshop,
        clock: Any,
        bulk: BulkClient,
        directory: Path,
        capabilities: Sequence[Capability],
    ) -> None:
        self.runner = workshop.runner
        self.registry = workshop.registry
        self.build_for = workshop.build_for
        self.clock = clock
        self.keeps = False
        self.block_bytes = 2**20
        self._bulk = bulk
        self._directory = directory
        self._capabilities = {c.key: c for c in capabilities}
        self._attempts: dict[int, AttemptRun] = {}
        self._slots = Slots()
        self._speak: Speak | None = None
        self._shown: dict[int, tuple[int, float]] = {}
        self._draining = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that a coordinator could want."""
        return not self._attempts

    # --- sessions ------------------------------------------------------------------------------

    def held(self) -> tuple[messages.Held, ...]:
        """What a coordinator could take back."""
        lasting = [attempt for attempt in self._attempts.values() if attempt.lasts]
        for attempt in lasting[messages.MAX_HELD :]:
            attempt.stop(give_back=False)
        return tuple(
            messages.Held(a.offer.epoch, a.offer.job_id, a.encoded)
            for a in lasting[: messages.MAX_HELD]
        )

    def joined(self, speak: Speak, protocol: int, block_bytes: int) -> None:
        """A session is open."""
        self._speak = speak
        self.block_bytes = block_bytes
        self.keeps = protocol >= _FIRST_THAT_TAKES_BACK
        self._shown.clear()
        if not self.keeps:
            self._stop_all()
        if self._draining:
            self.send(messages.Draining())

    def parted(self) -> None:
        """The session is over; what can be held is held for the next one."""
        self._speak = None
        if not self.keeps:
            self._stop_all()
            return
        for attempt in list(self._attempts.values()):
            attempt.part()

    def send(self, message: messages.FromWorker) -> None:
        """Tell the coordinator; in silence when there is no session."""
        if self._speak is not None:
            self._speak(message)

    # --- attempts ------------------------------------------------------------------------------

    def take(self, offer: messages.Offer) -> None:
        """Begin an attempt, or say why not; a repeated offer is the same attempt."""
        earlier = self._attempts.get(offer.epoch)
        if earlier is not None:
            self._offered_again(earlier, offer)
            return
        if self._draining:
            self.send(messages.Returned(offer.epoch))
            return
        order = offer.order
        capability = self._capabilities.get(CapabilityKey(order.encoder, order.device))
        try:
            if capability is None:
                where = f" on {order.device}" if order.device else ""
                raise NoUsableEncoder(message=f"This worker does not offer {order.encoder}{where}.")
            self.registry.backend(capability.backend)
        except FfclusterError as error:
            self.send(messages.Failed(offer.epoch, ErrorReport.of(error)))
            return
        attempt = AttemptRun(self, self._bulk, offer, capability, self._directory)
        self._attempts[offer.epoch] = attempt
        attempt.done.addCallback(lambda _: self._attempts.pop(offer.epoch, None))
        attempt.start()

    def _offered_again(self, earlier: AttemptRun, offer: messages.Offer) -> None:
        if not earlier.stopped and earlier.offer.job_id == offer.job_id:
            return
        # Another coordinator counts epochs anew. The files bear the epoch's name, so the new
        # attempt begins when the old one's are gone.
        session = self._speak

        def take(_: None) -> None:
            if self._speak is session:
                self.take(offer)

        earlier.stop(give_back=False).addCallback(take)

    def resume(self, message: messages.Resume) -> None:
        """An attempt still counts; one that is not here is given back."""
        attempt = self._attempts.get(message.epoch)
        if attempt is None or attempt.stopped:
            self.send(messages.Returned(message.epoch))
        else:
            attempt.resume(message.upload)

    def revoke(self, epoch: int) -> None:
        """An attempt is no longer wanted here."""
        attempt = self._attempts.get(epoch)
        if attempt is not None:
            attempt.stop(give_back=False)

    def slot(self, attempt: AttemptRun) -> Deferred[None]:
        """Fires when the attempt may encode; slots are given in order of epochs."""
        return self._slots.ask(attempt.offer.epoch, attempt.capability)

    def release(self, attempt: AttemptRun) -> None:
        """The attempt no longer uses its slot, or never will."""
        self._shown.pop(attempt.offer.epoch, None)
        self._slots.release(attempt.offer.epoch)

    def progress(self) -> tuple[messages.AttemptProgress, ...]:
        """A row for each running attempt whose figures changed since this was last asked."""
        rows = []
        for epoch in self._slots:
            attempt = self._attempts[epoch]
            now = (attempt.frames, attempt.fps)
            if self._shown.get(epoch) != now and attempt.frames:
                self._shown[epoch] = now
                rows.append(messages.AttemptProgress(epoch, *now))
        return tuple(rows)

    # --- the end -------------------------------------------------------------------------------

    async def drain(self, limit_s: float | None) -> None:
        """Give back what has not begun, let the rest finish and be delivered within `limit_s`."""
        self._draining = True
        self.send(messages.Draining())
        mine = list(self._attempts.values())
        for attempt in mine:
            if not attempt.encoding:
                attempt.stop(give_back=True)
        finishing = _all_of([attempt.when_done() for attempt in mine])
        if limit_s is not None:
            finishing.addTimeout(limit_s, self.clock, onTimeoutCancel=lambda *_: None)
        await finishing
        await _all_of([attempt.stop(give_back=True) for attempt in mine])

    def accept_again(self) -> None:
        """A drain is over, and the worker stays."""
        self._draining = False

    async def stop(self) -> None:
        """End every attempt and tell nobody."""
        await self._stop_all()

    def _stop_all(self) -> Deferred[Any]:
        return _all_of([a.stop(give_back=False) for a in list(self._attempts.values())])


def _all_of(waits: list[Deferred[None]]) -> Deferred[Any]:
    return DeferredList(waits, consumeErrors=True)
