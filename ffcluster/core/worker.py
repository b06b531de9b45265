"""Workers: states, legal moves, free capacity and known rates of one worker."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import attrs

from ffcluster.core import quarantine
from ffcluster.core.model import (
    Capability,
    Diagnosis,
    Epoch,
    Measurement,
    PluginSummary,
    WorkerId,
)
from ffcluster.core.segment import Attempt, AttemptState
from ffcluster.core.throughput import RateKey, Throughput
from ffcluster.core.transition import TransitionTable

if TYPE_CHECKING:
    from ffcluster.core.crews import Post

# Work that a device may hold, in units of "every slot busy": one running, one waiting behind it.
RUNNING_LOAD = 1
PREFETCH_LOAD = 2

# Give the next attempt when the running one has about this long to go: time to cut and to fetch.
PREFETCH_LEAD_S = 4.0

# A device that said it was full gets one slot back after so long without saying it again.
RECOVERY_S = 60.0
# A device that is full although nothing of ours runs on it is left alone for so long.
BUSY_PAUSE_S = 5.0
# After so many refusals without one success between them, "full" is believed no more: it failed.
MAX_BUSY_IN_A_ROW = 20


class WorkerState(enum.StrEnum):
    """Where a worker stands.

    CONNECTED: its session is open; it was not considered for work yet.
    BENCHMARKING: all it runs are probe segments.
    PROCESSING: it runs segments.
    IDLE: it has nothing to do.
    ABSENT: no session; its attempts live on until its lease ends. Nothing is offered to it.
    DISCONNECTED: no session; no attempts that it would have to deliver. Remembered, so that its
        rates are known when it returns.
    """

    CONNECTED = "Connected"
    BENCHMARKING = "Benchmarking"
    PROCESSING = "Processing"
    IDLE = "Idle"
    ABSENT = "Absent"
    DISCONNECTED = "Disconnected"


_ACTIVE = frozenset({WorkerState.IDLE, WorkerState.BENCHMARKING, WorkerState.PROCESSING})
_AWAY = frozenset({WorkerState.ABSENT, WorkerState.DISCONNECTED})

WORKER_MOVES = TransitionTable(
    {
        WorkerState.CONNECTED: _ACTIVE | _AWAY,
        WorkerState.IDLE: _ACTIVE - {WorkerState.IDLE} | _AWAY,
        WorkerState.BENCHMARKING: _ACTIVE - {WorkerState.BENCHMARKING} | _AWAY,
        WorkerState.PROCESSING: _ACTIVE - {WorkerState.PROCESSING} | _AWAY,
        WorkerState.ABSENT: frozenset({WorkerState.CONNECTED, WorkerState.DISCONNECTED}),
        WorkerState.DISCONNECTED: frozenset({WorkerState.CONNECTED}),
    }
)


@attrs.frozen
class WorkerFacts:
    """What a worker says of itself in its handshake."""

    name: str
    capabilities: tuple[Capability, ...]
    benchmark_duration_s: float = 10.0
    cpus: int = 1
    version: str = ""
    platform: str = ""
    ffmpeg: str = ""
    address: str = ""
    builds: tuple[str, ...] = ()
    plugins: tuple[PluginSummary, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    measurements: tuple[Measurement, ...] = ()


@attrs.define(eq=False)
class DeviceLimit:
    """What a device is given while it says that it is full.

    Attributes:
        slots: Attempts that may run on it at once, or None when all its slots may be used again.
        changed_at: When it was last full, or got a slot back.
        closed_until: Nothing is offered before this time.
        in_a_row: Refusals since the last success.
    """

    slots: int | None
    changed_at: float
    closed_until: float = 0.0
    in_a_row: int = 0


@attrs.define(eq=False)
class Worker:
    """One worker and what it holds.

    Attributes:
        draining: Whether it is given nothing more.
        drained_by_operator: Whether that lasts until an operator resumes it.
        lease_until: When what it holds is given again, while it is absent.
        limits: Devices that said that they are full; without an entry a device is open.
        quarantines: How places have been doing that failed lately, see `quarantine`.
        wanted: Its posts that are about to be tried, of all jobs.
        working: Its posts that work with a crew, of all jobs.
    """

    id: WorkerId
    facts: WorkerFacts
    connected_at: float
    state: WorkerState = WorkerState.CONNECTED
    draining: bool = False
    drained_by_operator: bool = False
    lease_until: float = 0.0
    attempts: dict[Epoch, Attempt] = attrs.field(factory=dict)
    rates: dict[RateKey, Throughput] = attrs.field(factory=dict)
    limits: dict[str, DeviceLimit] = attrs.field(factory=dict)
    quarantines: quarantine.Quarantines = attrs.field(factory=dict)
    wanted: dict[Post, None] = attrs.field(factory=dict, repr=False)
    working: dict[Post, None] = attrs.field(factory=dict, repr=False)
    segments_done: int = 0
    frames_done: int = 0
    failures: int = 0

    def move(self, target: WorkerState) -> None:
        """Go to `target`, or raise `InvalidTransition`; staying is no move."""
        if target is not self.state:
            self.state = WORKER_MOVES.check(f"worker {self.facts.name}", self.state, target)

    @property
    def present(self) -> bool:
        """Whether its session is open."""
        return self.state not in _AWAY

    @property
    def available(self) -> bool:
        """Whether it may be given work."""
        return self.present and not self.draining

    def held_on(self, device: str) -> list[Attempt]:
        """Its attempts that run or wait on `device`."""
        return [a for a in self.attempts.values() if a.holds_slot and a.device == device]

    def load_on(self, device: str) -> Fraction:
        """Share of a device that its attempts claim; 1 is every slot busy."""
        return Fraction(*self._claimed(device))

    def _claimed(self, device: str) -> tuple[int, int]:
        """Numerator and denominator of the load on a device; fractions of Python are slow."""
        limit = self.limit(device)
        above, below = 0, 1
        for attempt in self.attempts.values():
            if attempt.device != device or not attempt.holds_slot:
                continue
            slots = max(1, attempt.capability.slots)
            if limit:
                slots = min(slots, limit)
            if slots == below:
                above += 1
            else:
                above, below = above * slots + below, below * slots
        return above, below

    def overloaded(self, device: str) -> bool:
        """Whether something on a device waits behind what runs there."""
        above, below = self._claimed(device)
        return above > below

    def limit(self, device: str) -> int | None:
        """Attempts that a device may run at once because it said that it is full, or None."""
        known = self.limits.get(device)
        return known.slots if known else None

    def slots(self, capability: Capability) -> int:
        """Attempts that may run at once with `capability` now."""
        if self.quarantines:
            if self.resting(capability):
                return 0
            if quarantine.on_probation(self.quarantines, capability):
                return 1
        limit = self.limit(capability.device)
        return capability.slots if limit is None else min(capability.slots, limit)

    def resting(self, capability: Capability) -> quarantine.Quarantine | None:
        """Why `capability` is given nothing because something kept failing, or None."""
        return quarantine.resting(self.quarantines, capability) if self.quarantines else None

    def _is_tested(self, capability: Capability) -> bool:
        """Whether an attempt is live that shall show whether `capability` works again."""
        if not self.quarantines:
            return False
        place = quarantine.Place.of(capability)
        return quarantine.on_probation(self.quarantines, capability) and any(
            quarantine.Place.of(a.capability) == place for a in self.attempts.values()
        )

    def is_packed(self, device: str) -> bool:
        """Whether nothing more may even wait on a device."""
        above, below = self._claimed(device)
        return above >= PREFETCH_LOAD * below

    def has_room(self, capability: Capability, load: int, now: float) -> bool:
        """Whether one more attempt with `capability` keeps its device within `load`."""
        if self.resting(capability) or self._is_tested(capability):
            return False
        device = capability.device
        known = self.limits.get(device)
        slots = max(1, capability.slots)
        if known is not None:
            if known.closed_until > now:
                return False
            if known.slots is not None:
                # The worker starts what its own slots have room for: behind a limit nothing waits.
                load = min(load, RUNNING_LOAD)
                slots = min(slots, known.slots)
        above, below = self._claimed(device)
        return above * slots + below <= load * below * slots

    def may_take(self) -> bool:
        """Whether any of its devices has room now or shortly; False holds until it changes."""
        if not self.attempts:
            return True
        return any(self._has_space(device) for device in self._devices())

    def _devices(self) -> dict[str, None]:
        return dict.fromkeys(c.device for c in self.facts.capabilities)

    def _has_space(self, device: str) -> bool:
        above, below = self._claimed(device)
        if above < below:
            return True
        held = self.held_on(device)
        running = [a for a in held if a.state is AttemptState.RUNNING]
        # Of one that did not tell its pace each job has its own opinion.
        ending = sum(1 for a in running if not a.fps or a.frames_left / a.fps <= PREFETCH_LEAD_S)
        return len(held) - len(running) < ending

    def refused(self, device: str, now: float) -> bool:
        """A device said that it is full; whether that may be called back-pressure this time."""
        running = sum(1 for a in self.held_on(device) if a.state is AttemptState.RUNNING)
        known = self.limits.setdefault(device, DeviceLimit(None, now))
        fits = max(1, running)
        known.slots = fits if known.slots is None else min(known.slots, fits)
        known.changed_at = now
        known.in_a_row += 1
        if not running:
            known.closed_until = now + BUSY_PAUSE_S
        return known.in_a_row <= MAX_BUSY_IN_A_ROW

    def succeeded(self, device: str) -> None:
        """An attempt on `device` came through."""
        known = self.limits.get(device)
        if known is not None:
            known.in_a_row = 0

    @property
    def restricted(self) -> bool:
        """Whether it is given less than it could take until some time has passed."""
        return bool(self.limits) or any(q.resting for q in self.quarantines.values())

    def recover(self, now: float) -> bool:
        """Give devices that were quiet for long enough a slot back; whether one got any."""
        grown = False
        for device, known in list(self.limits.items()):
            if known.slots is None or now < known.changed_at + RECOVERY_S:
                continue
            known.slots, known.changed_at, grown = known.slots + 1, now, True
            if known.slots >= _most_slots(self.facts.capabilities, device):
                known.slots = None
                if not known.in_a_row:
                    del self.limits[device]
        return grown

    def wakes(self) -> Iterable[float]:
        """When its limits and rests change with time alone."""
        yield from self.recoveries()
        yield from (known.closed_until for known in self.limits.values())

    def recoveries(self) -> Iterable[float]:
        """When it may have more again than its limits and rests leave it."""
        yield from quarantine.wakes(self.quarantines)
        for known in self.limits.values():
            if known.slots is not None:
                yield known.changed_at + RECOVERY_S

    def settle(self) -> None:
        """Take the state that its attempts say."""
        if not self.present:
            return
        self.move(_state_of(a for a in self.attempts.values() if a.holds_slot))

    @property
    def fps(self) -> float:
        """Frames per second over its running attempts."""
        running = (a for a in self.attempts.values() if a.state is AttemptState.RUNNING)
        return sum(a.fps for a in running)


def _state_of(holding: Iterable[Attempt]) -> WorkerState:
    probes = [attempt.probe or attempt.trial for attempt in holding]
    if not probes:
        return WorkerState.IDLE
    return WorkerState.BENCHMARKING if all(probes) else WorkerState.PROCESSING


def _most_slots(capabilities: Sequence[Capability], device: str) -> int:
    return max((c.slots for c in capabilities if c.device == device), default=1)
