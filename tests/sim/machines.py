"""Simulated machines with a worker on each: they encode, are cut off, die and come back."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from ffcluster.core import effects as fx
from ffcluster.core import events as ev
from ffcluster.core.model import Epoch, SegmentProof, WorkerId
from ffcluster.core.worker import WorkerFacts
from ffcluster.errors import Code, ErrorReport

if TYPE_CHECKING:
    from tests.sim.world import World


class Stage(enum.Enum):
    """How far a machine is with an attempt."""

    QUEUED = enum.auto()
    RUNNING = enum.auto()
    ENCODED = enum.auto()


@attrs.define(eq=False)
class Held:
    """An attempt that a machine has."""

    offer: fx.OfferAttempt
    stage: Stage = Stage.QUEUED
    started_at: float = 0.0
    trial: bool = False


@attrs.define(eq=False)
class Machine:
    """A machine, and the worker on it.

    Attributes:
        rates: Frames per second of a slot by device.
        session: Number of its open session, or None.
        linked: Whether its cable is whole; what is sent over a cut one waits.
        alive: Whether the worker's process runs.
        boot: How often that was started: what an earlier one had is gone.
        held: What it has.
        broken: Devices on which everything fails.
        disk_full: Whether everything fails for want of room.
        kills: Whether it dies of a poisonous segment instead of failing.
    """

    world: World
    id: WorkerId
    facts: WorkerFacts
    rates: dict[str, float]
    session: int | None = None
    linked: bool = True
    alive: bool = True
    boot: int = 0
    held: dict[Epoch, Held] = attrs.field(factory=dict)
    broken: set[str] = attrs.field(factory=set)
    disk_full: bool = False
    kills: bool = False
    _waiting: list[Callable[[], None]] = attrs.field(factory=list)

    # --- the session ---------------------------------------------------------------------------

    def connect(self) -> None:
        """Open a session as soon as there is somebody to talk to; try again until then."""
        if not self.alive or self.session is not None:
            return
        if not self.linked or not self.world.up:
            self._mine(self.world.rng.uniform(0.5, 3.0), self.connect)
            return
        self.session = self.world.open_session(self)
        self._waiting.clear()
        claims = tuple(
            ev.HeldAttempt(epoch, held.offer.job_id, held.stage is Stage.ENCODED)
            for epoch, held in self.held.items()
            if not held.trial
        )
        for epoch in [e for e, held in self.held.items() if held.trial]:
            del self.held[epoch]
        self.world.post(ev.WorkerJoined(self.id, self.facts, claims))

    def disconnected(self) -> None:
        """The session ended; what it has stays."""
        if self.session is not None:
            self.session = None
            self._mine(self.world.rng.uniform(0.2, 3.0), self.connect)

    def die(self) -> None:
        """The process is gone, with all that it had."""
        self.alive = False
        self.boot += 1
        self.held.clear()
        self._waiting.clear()
        self.world.lost.add(self.facts.name)
        if self.session is not None and self.linked:
            self.world.left(self, self.session)
        self.session = None

    def start(self) -> None:
        if not self.alive:
            self.alive = True
            self.connect()

    def cut(self) -> None:
        """The cable is cut: nobody hears anything, and somebody notices after a while."""
        if not self.linked:
            return
        self.linked = False
        self.world.lost.add(self.facts.name)
        if self.session is not None:
            session, heard_at = self.session, self.world.now
            self.world.soon(
                self.world.rng.uniform(2.0, 15.0),
                lambda: None if self.linked else self.world.left(self, session, heard_at),
            )
            # The worker notices too, at another time.
            self._mine(
                self.world.rng.uniform(2.0, 15.0),
                lambda: None if self.linked else self.disconnected(),
            )

    def mend(self) -> None:
        """The cable is whole again: what waited arrives, if it is the same session still."""
        self.linked = True
        waiting, self._waiting = self._waiting, []
        for act in waiting:
            act()
        if self.session is not None and not self.world.is_open(self, self.session):
            self.disconnected()

    def _mine(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do something later, unless this process has died by then."""
        boot = self.boot
        self.world.later(delay_s, lambda: act() if self.boot == boot else None)

    def _through(self, act: Callable[[], None]) -> None:
        """Send something either way: it is lost with the session, and waits for the cable."""
        session = self.session
        if session is None:
            return

        def arrive() -> None:
            if self.session != session or not self.world.is_open(self, session):
                return
            if self.linked:
                act()
            else:
                self._waiting.append(arrive)

        self.world.later(self.world.rng.uniform(0.001, 0.05), arrive)

    def say(self, event: ev.Event) -> None:
        """Tell the coordinator something, now and then twice."""
        self._through(lambda: self.world.post(event))
        if self.world.now_and_then(0.02):
            self._through(lambda: self.world.post(event))

    # --- what it is told -----------------------------------------------------------------------

    def hear(self, effect: fx.OfferAttempt | fx.ResumeAttempt | fx.RevokeAttempt) -> None:
        match effect:
            case fx.OfferAttempt():
                self._through(lambda: self._offered(effect))
            case fx.ResumeAttempt():
                self._through(lambda: self._resumed(effect))
            case fx.RevokeAttempt(epoch):
                self._through(lambda: self._dropped(epoch))

    def accepted(self, epoch: Epoch) -> None:
        """The coordinator has the result for good."""
        self._through(lambda: self._dropped(epoch))

    def _offered(self, offer: fx.OfferAttempt) -> None:
        if self.world.now_and_then(0.01):
            self.say(ev.AttemptReturned(offer.epoch))
            return
        self.held[offer.epoch] = Held(offer, trial=offer.trial)
        self._mine(0.05, self._work)

    def _resumed(self, offer: fx.ResumeAttempt) -> None:
        held = self.held.get(offer.epoch)
        if held is None:
            return
        if held.stage is Stage.ENCODED:
            self._deliver(held)
        elif held.stage is Stage.RUNNING:
            self._progress(held)

    def _dropped(self, epoch: Epoch) -> None:
        self.held.pop(epoch, None)
        self._work()

    # --- encoding ------------------------------------------------------------------------------

    def _work(self) -> None:
        """Start what waits as far as there are slots."""
        slots = {c.device: c.slots for c in self.facts.capabilities}
        for held in list(self.held.values()):
            device = held.offer.device
            running = sum(
                1
                for h in self.held.values()
                if h.stage is Stage.RUNNING and h.offer.device == device
            )
            if held.stage is not Stage.QUEUED or running >= slots.get(device, 1):
                continue
            held.stage, held.started_at = Stage.RUNNING, self.world.now
            self.say(ev.AttemptStarted(held.offer.epoch))
            seconds = len(held.offer.frames) / self.rates[device]
            self._mine(seconds * self.world.rng.uniform(0.9, 1.1), lambda h=held: self._done(h))
            self._mine(1.5, lambda h=held: self._tick(h))

    def _has(self, held: Held, stage: Stage) -> bool:
        return self.held.get(held.offer.epoch) is held and held.stage is stage

    def _tick(self, held: Held) -> None:
        if self._has(held, Stage.RUNNING):
            self._progress(held)
            self._mine(self.world.rng.uniform(3.0, 6.0), lambda: self._tick(held))

    def _progress(self, held: Held) -> None:
        rate = self.rates[held.offer.device]
        frames = int((self.world.now - held.started_at) * rate)
        self.say(ev.AttemptProgressed(held.offer.epoch, frames, rate))

    def _done(self, held: Held) -> None:
        if not self._has(held, Stage.RUNNING):
            return
        poisonous = self.world.is_poisonous(held.offer)
        if poisonous and self.kills and not held.trial:
            self.die()
            self.world.later(self.world.rng.uniform(1.0, 10.0), self.start)
            return
        error = self._error(held, poisonous=poisonous)
        if error is None:
            held.stage = Stage.ENCODED
            self._deliver(held)
        else:
            self.world.injected[held.offer.epoch] = error
            del self.held[held.offer.epoch]
            self.say(ev.AttemptFailed(held.offer.epoch, error))
        self._work()

    def _error(self, held: Held, *, poisonous: bool) -> ErrorReport | None:
        if self.disk_full:
            return ErrorReport(Code.DISK_FULL, "no space left on device", retryable=True)
        if poisonous and not held.trial:
            return ErrorReport(Code.ENCODE_FAILED, "poison", detail={"stderr": "poison"})
        if held.offer.device in self.broken:
            return ErrorReport(Code.ENCODE_FAILED, "broken", detail={"stderr": "broken"})
        return self.world.accident()

    def _deliver(self, held: Held) -> None:
        offer = held.offer
        took_s = self.world.now - held.started_at
        proof = SegmentProof(
            len(offer.frames), encode_s=took_s, encoder=offer.encoder, device=offer.device
        )
        self._through(lambda: self.world.received(self, offer.epoch, proof))
        if self.world.now_and_then(0.03):
            self._through(lambda: self.world.received(self, offer.epoch, proof))
