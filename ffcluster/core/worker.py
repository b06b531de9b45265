"""Workers: states, legal moves, free capacity and known rates of one worker."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from fractions import Fraction

import attrs

from ffcluster.core.model import Capability, Epoch, WorkerId
from ffcluster.core.segment import Attempt, AttemptState
from ffcluster.core.throughput import RateKey, Throughput
from ffcluster.core.transition import TransitionTable

# Work that a worker may hold, in units of "every slot busy": one running, one waiting behind it.
RUNNING_LOAD = Fraction(1)
PREFETCH_LOAD = Fraction(2)


class WorkerState(enum.StrEnum):
    """Where a worker stands.

    CONNECTED: its session is open; it was not considered for work yet.
    BENCHMARKING: all it runs are probe segments.
    PROCESSING: it runs segments.
    IDLE: it has nothing to do.
    DISCONNECTED: no session; no attempts. Remembered, so that its rates are known when it returns.
    """

    CONNECTED = "Connected"
    BENCHMARKING = "Benchmarking"
    PROCESSING = "Processing"
    IDLE = "Idle"
    DISCONNECTED = "Disconnected"


_ACTIVE = frozenset({WorkerState.IDLE, WorkerState.BENCHMARKING, WorkerState.PROCESSING})

WORKER_MOVES = TransitionTable(
    {
        WorkerState.CONNECTED: _ACTIVE | {WorkerState.DISCONNECTED},
        WorkerState.IDLE: _ACTIVE - {WorkerState.IDLE} | {WorkerState.DISCONNECTED},
        WorkerState.BENCHMARKING: _ACTIVE - {WorkerState.BENCHMARKING} | {WorkerState.DISCONNECTED},
        WorkerState.PROCESSING: _ACTIVE - {WorkerState.PROCESSING} | {WorkerState.DISCONNECTED},
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


@attrs.define(eq=False)
class Worker:
    """One worker and what it holds."""

    id: WorkerId
    facts: WorkerFacts
    connected_at: float
    state: WorkerState = WorkerState.CONNECTED
    draining: bool = False
    attempts: dict[Epoch, Attempt] = attrs.field(factory=dict)
    rates: dict[RateKey, Throughput] = attrs.field(factory=dict)
    segments_done: int = 0
    frames_done: int = 0
    failures: int = 0

    def move(self, target: WorkerState) -> None:
        """Go to `target`, or raise `InvalidTransition`; staying is no move."""
        if target is not self.state:
            self.state = WORKER_MOVES.check(f"worker {self.facts.name}", self.state, target)

    @property
    def available(self) -> bool:
        """Whether it may be given work."""
        return self.state is not WorkerState.DISCONNECTED and not self.draining

    def capability(self, encoder: str) -> Capability | None:
        """Its capability of that name, or None."""
        for capability in self.facts.capabilities:
            if capability.encoder == encoder:
                return capability
        return None

    @property
    def load(self) -> Fraction:
        """Share of the machine that its attempts claim; 1 is every slot busy."""
        return sum((a.unit for a in self.attempts.values() if a.holds_slot), Fraction(0))

    def settle(self) -> None:
        """Take the state that its attempts say."""
        if self.state is WorkerState.DISCONNECTED:
            return
        self.move(_state_of(a for a in self.attempts.values() if a.holds_slot))

    @property
    def fps(self) -> float:
        """Frames per second over its running attempts."""
        running = (a for a in self.attempts.values() if a.state is AttemptState.RUNNING)
        return sum(a.fps for a in running)


def _state_of(holding: Iterable[Attempt]) -> WorkerState:
    probes = [attempt.probe for attempt in holding]
    if not probes:
        return WorkerState.IDLE
    return WorkerState.BENCHMARKING if all(probes) else WorkerState.PROCESSING
