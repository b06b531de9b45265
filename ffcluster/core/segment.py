"""Segments and the attempts at them: states, legal moves, and what is remembered of each."""

from __future__ import annotations

import enum
from fractions import Fraction
from typing import NamedTuple

import attrs

from ffcluster.core.model import (
    BlobRef,
    Capability,
    CapabilityKey,
    Epoch,
    JobId,
    PreRoll,
    ResultReport,
    SegmentProof,
    WorkerId,
)
from ffcluster.core.timeline import FrameRange
from ffcluster.core.transition import TransitionTable
from ffcluster.errors import Code, ErrorReport


class SegmentState(enum.StrEnum):
    """Where a segment stands.

    PENDING: no live attempt; waits in its job's queue of segments to give again.
    ASSIGNED: at least one live attempt.
    COMMITTED: exactly one attempt's result was accepted; no live attempts. Left only when that
        result was lost from the disk.
    MISSING: given up, and the client wants the rest without it; no live attempts. Left only when
        the job is retried.
    """

    PENDING = "pending"
    ASSIGNED = "assigned"
    COMMITTED = "committed"
    MISSING = "missing"


SEGMENT_MOVES = TransitionTable(
    {
        SegmentState.PENDING: frozenset({SegmentState.ASSIGNED, SegmentState.MISSING}),
        SegmentState.ASSIGNED: frozenset(
            {SegmentState.PENDING, SegmentState.COMMITTED, SegmentState.MISSING}
        ),
        SegmentState.COMMITTED: frozenset({SegmentState.PENDING}),
        SegmentState.MISSING: frozenset({SegmentState.PENDING}),
    }
)


class AttemptState(enum.StrEnum):
    """Where an attempt stands.

    OFFERED: the worker was given it; it may be fetching the piece, or the attempt waits there.
    RUNNING: the worker said that its encoder started.
    CHECKING: the result arrived whole; the coordinator looks at it. Holds no slot any more.
    ENDED: committed, failed, given back or superseded; no longer live.
    """

    OFFERED = "offered"
    RUNNING = "running"
    CHECKING = "checking"
    ENDED = "ended"


ATTEMPT_MOVES = TransitionTable(
    {
        AttemptState.OFFERED: frozenset(
            {AttemptState.RUNNING, AttemptState.CHECKING, AttemptState.ENDED}
        ),
        AttemptState.RUNNING: frozenset({AttemptState.CHECKING, AttemptState.ENDED}),
        AttemptState.CHECKING: frozenset({AttemptState.ENDED}),
        AttemptState.ENDED: frozenset(),
    }
)


class AttemptEnd(enum.StrEnum):
    """What became of an attempt.

    LIVE: nothing yet.
    COMMITTED: its result is part of the output.
    FAILED: it came to nothing; `error` says why.
    RETURNED: it was given back or taken back, through nobody's fault.
    SUPERSEDED: another attempt at the same segment was committed first, or its job ended.
    """

    LIVE = "live"
    COMMITTED = "committed"
    FAILED = "failed"
    RETURNED = "returned"
    SUPERSEDED = "superseded"


class PostKey(NamedTuple):
    """Names one capability of one worker."""

    worker_id: WorkerId
    key: CapabilityKey


@attrs.define(eq=False)
class Attempt:
    """One try of some frames with one capability of one worker. `epoch` is its identity.

    Attributes:
        probe: The first one of a worker whose rate is not known.
        speculative: It overtakes another attempt at the same segment.
        trial: Only what it writes is looked at: it belongs to no segment and is never committed.
        fallback: It stands in for hardware.
        pre_roll: How much of the source before the frames its worker decodes.
        claimed: Its worker came back with it and waits to be told that it still counts.
        resumed: It went on after its worker had been away: how long it took says nothing.
        blob: The result that was delivered.
        end: What became of it.
        error: Why it failed.
    """

    epoch: Epoch
    job_id: JobId
    frames: FrameRange
    worker_id: WorkerId
    capability: Capability
    offered_at: float
    probe: bool = False
    speculative: bool = False
    trial: bool = False
    fallback: bool = False
    state: AttemptState = AttemptState.OFFERED
    started_at: float | None = None
    frames_done: int = 0
    fps: float = 0.0
    proof: SegmentProof | None = None
    pre_roll: PreRoll = PreRoll.KEYFRAME
    claimed: bool = False
    resumed: bool = False
    blob: BlobRef | None = None
    delivered_at: float | None = None
    ended_at: float | None = None
    end: AttemptEnd = AttemptEnd.LIVE
    error: ErrorReport | None = None

    def move(self, target: AttemptState) -> None:
        """Go to `target`, or raise `InvalidTransition`."""
        self.state = ATTEMPT_MOVES.check(f"attempt {self.epoch}", self.state, target)

    @property
    def post_key(self) -> PostKey:
        """The capability, and whose it is."""
        return PostKey(self.worker_id, self.capability.key)

    @property
    def device(self) -> str:
        """The device that it runs on, "" for the CPU."""
        return self.capability.device

    @property
    def unit(self) -> Fraction:
        """Share of its device that it claims."""
        return self.capability.unit

    @property
    def holds_slot(self) -> bool:
        """Whether the worker still has work to do for it."""
        return self.state in (AttemptState.OFFERED, AttemptState.RUNNING)

    @property
    def frames_left(self) -> int:
        """Frames that it still has to encode."""
        return len(self.frames) - self.frames_done

    def remaining_s(self, rate_fps: float | None) -> float | None:
        """Seconds until its encoder is done at its own pace, or at `rate_fps`; None: unknown."""
        rate = self.fps or rate_fps
        if not rate:
            return None
        return max(0, len(self.frames) - self.frames_done) / rate


@attrs.frozen
class AttemptFailure:
    """Why an attempt did not count, and where."""

    epoch: Epoch
    post_key: PostKey
    worker_name: str
    error: ErrorReport


@attrs.define(eq=False)
class Segment:
    """A half-open range of frames that is encoded alone."""

    frames: FrameRange
    state: SegmentState = SegmentState.PENDING
    pre_roll: PreRoll = PreRoll.KEYFRAME
    not_before: float = 0.0
    live: dict[Epoch, Attempt] = attrs.field(factory=dict)
    tried: int = 0
    failures: list[AttemptFailure] = attrs.field(factory=list)
    committed: Attempt | None = None
    report: ResultReport | None = None

    def move(self, target: SegmentState) -> None:
        """Go to `target`, or raise `InvalidTransition`."""
        self.state = SEGMENT_MOVES.check(f"segment {self.frames}", self.state, target)

    @property
    def losses(self) -> int:
        """Failures that are attempts lost with their workers."""
        return sum(1 for failure in self.failures if failure.error.code is Code.WORKER_LOST)

    @property
    def failed_on(self) -> frozenset[PostKey]:
        """Where an attempt failed."""
        return frozenset(failure.post_key for failure in self.failures)
