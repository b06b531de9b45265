"""Jobs: states, legal moves, and the record of one job with its segments."""

from __future__ import annotations

import enum
from collections.abc import Iterator

import attrs

from ffcluster.core.crews import Crew, Post
from ffcluster.core.media import MediaSummary
from ffcluster.core.model import (
    Capability,
    Contribution,
    Epoch,
    JobId,
    JobOutcome,
    JobSpec,
    ResultReport,
    Source,
    WorkerId,
)
from ffcluster.core.roster import Roster
from ffcluster.core.segment import Attempt, PostKey, Segment, SegmentState
from ffcluster.core.timeline import FrameRange
from ffcluster.core.transition import TransitionTable
from ffcluster.core.usage import Usage
from ffcluster.errors import ErrorReport


class JobState(enum.StrEnum):
    """Where a job stands.

    QUEUED: submitted; the source is being indexed. No segments.
    WAITING_FOR_CLIENTS: indexed; too few workers (to start), or none left (to go on).
    BENCHMARKING: only trials and probe segments were given so far.
    PROCESSING: segments are encoded, and joined behind the encoders.
    COMBINING: every frame is in a committed segment; the rest of the join, then verification.
    COMPLETED: the output is verified and published. `outcome` is set.
    FAILED: given up. `error` is set. Left only when a client has it retried.
    CANCELLED: ended by a client. Left only when a client has it retried.
    """

    QUEUED = "Queued"
    WAITING_FOR_CLIENTS = "WaitingForClients"
    BENCHMARKING = "Benchmarking"
    PROCESSING = "Processing"
    COMBINING = "Combining"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


_ENDS = frozenset({JobState.FAILED, JobState.CANCELLED})
_ENDED = _ENDS | {JobState.COMPLETED}

JOB_MOVES = TransitionTable(
    {
        JobState.QUEUED: _ENDS | {JobState.WAITING_FOR_CLIENTS},
        JobState.WAITING_FOR_CLIENTS: _ENDS
        | {JobState.BENCHMARKING, JobState.PROCESSING, JobState.COMBINING},
        JobState.BENCHMARKING: _ENDS
        | {JobState.WAITING_FOR_CLIENTS, JobState.PROCESSING, JobState.COMBINING},
        JobState.PROCESSING: _ENDS | {JobState.WAITING_FOR_CLIENTS, JobState.COMBINING},
        # Back to encoding when a committed result was lost from the disk.
        JobState.COMBINING: _ENDS | {JobState.COMPLETED, JobState.PROCESSING},
        JobState.COMPLETED: frozenset(),
        JobState.FAILED: frozenset({JobState.QUEUED}),
        JobState.CANCELLED: frozenset({JobState.QUEUED}),
    }
)


@attrs.define
class Share:
    """What one worker did for one job.

    `encoders` counts the frames from each of its encoders; `devices` are those they ran on.
    """

    name: str
    segments: int = 0
    frames: int = 0
    failures: int = 0
    encoders: dict[str, int] = attrs.field(factory=dict)
    devices: dict[str, None] = attrs.field(factory=dict)

    def add(self, capability: Capability, frames: int) -> None:
        """Count a segment."""
        self.segments += 1
        self.frames += frames
        encoder = capability.encoder
        self.encoders[encoder] = self.encoders.get(encoder, 0) + frames
        self.devices.setdefault(capability.device)


@attrs.define(eq=False)
class Job:
    """One source, one profile, one output.

    Attributes:
        source: Where its film is.
        source_ready: Whether this process has its source open; nothing is offered before.
        priority: Jobs with a higher one get workers first.
        paused: Whether nothing more of it is started.
        frontier: First frame that no segment covers yet: the film is carved from front to back.
        waiting: First frames of PENDING segments, which were given before and must be given again.
        frames_missing: Frames in segments that were given up while the rest goes on.
        join_next: First frame that was not handed to the join yet.
        join_not_before: The join is not taken up again before this time.
        join_failures: Joins that failed in a row.
        publication: The verified file with the place chosen for it, from when it was verified.
        kept: Whether results and source of an ended job are still there, for a retry.
        single_segment: Whether one attempt makes the whole film, so that nothing must fit to it.
        started: Whether the required number of workers was there once.
        posts: The capabilities that can do it, of every worker that was seen since it started.
        crews: Those that work on it, the chosen one first; empty until it was chosen. More than
            one where kinds are mixed or one stands in for another.
        roster: The posts by what there is to decide about them.
        trials: Its live trial attempts.
        live: Its live attempts at segments.
        frames_held: Frames that these still have to encode.
        usage: What it was given lately.
        losses: Attempts at its segments that are kept as lost with their workers.
        sample: Report of the first committed result, which all others must resemble.
        made: What is committed, by who made it.
    """

    id: JobId
    spec: JobSpec
    submitted_at: float
    state: JobState = JobState.QUEUED
    history: list[tuple[JobState, float]] = attrs.field(factory=list)
    reason: str = ""
    source: Source = attrs.field(factory=lambda: Source(""))
    source_ready: bool = False
    priority: int = 0
    paused: bool = False
    summary: MediaSummary | None = None
    posts: dict[WorkerId, tuple[Post, ...]] = attrs.field(factory=dict)
    crews: list[Crew] = attrs.field(factory=list)
    roster: Roster = attrs.field(factory=Roster)
    trials: dict[Epoch, Attempt] = attrs.field(factory=dict)
    live: dict[Epoch, Attempt] = attrs.field(factory=dict)
    frames_held: int = 0
    usage: Usage = attrs.field(factory=Usage)
    losses: int = 0
    single_segment: bool = False
    started: bool = False
    not_before: float = 0.0
    start_failures: int = 0
    frontier: int = 0
    segments: dict[int, Segment] = attrs.field(factory=dict)
    waiting: dict[int, Segment] = attrs.field(factory=dict)
    unfinished: dict[int, Segment] = attrs.field(factory=dict)
    frames_committed: int = 0
    segments_committed: int = 0
    frames_missing: int = 0
    join_next: int = 0
    join_not_before: float = 0.0
    join_failures: int = 0
    publication: JobOutcome | None = None
    kept: bool = False
    sample: ResultReport | None = None
    made: dict[tuple[str, bool, str, bool], Contribution] = attrs.field(factory=dict)
    retries: int = 0
    shares: dict[WorkerId, Share] = attrs.field(factory=dict)
    warnings: tuple[str, ...] = ()
    error: ErrorReport | None = None
    outcome: JobOutcome | None = None
    ended_at: float | None = None

    def move(self, target: JobState, now: float) -> None:
        """Go to `target`, or raise `InvalidTransition`; staying is no move."""
        if target is self.state:
            return
        past = tuple(state for state, _ in self.history)
        JOB_MOVES.check(f"job {self.id}", self.state, target, past)
        self.history.append((self.state, now))
        self.state = target
        if self.ended:
            self.ended_at = now

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it, unless a client has it retried."""
        return self.state in _ENDED

    def every_post(self) -> Iterator[Post]:
        """All posts, also those whose workers are gone."""
        return (post for posts in self.posts.values() for post in posts)

    def dismiss(self) -> None:
        """Have no posts any more; what the crews wrote stays known."""
        self.roster.drop(self.every_post())
        self.posts.clear()
        for crew in self.crews:
            crew.posts.clear()

    def post(self, key: PostKey) -> Post | None:
        """The post with that name, or None."""
        for post in self.posts.get(key.worker_id, ()):
            if post.capability.key == key.key:
                return post
        return None

    @property
    def encoding(self) -> bool:
        """Whether workers may be given its segments."""
        return (
            bool(self.crews)
            and self.source_ready
            and not self.paused
            and self.state
            in (
                JobState.WAITING_FOR_CLIENTS,
                JobState.BENCHMARKING,
                JobState.PROCESSING,
            )
        )

    @property
    def whole(self) -> bool:
        """Whether every frame is committed or given up."""
        return bool(self.summary) and self.frames_committed + self.frames_missing == (
            self.frame_count
        )

    def missing(self) -> tuple[FrameRange, ...]:
        """The segments that were given up, in order."""
        if not self.frames_missing:
            return ()
        given_up = (s for s in self.segments.values() if s.state is SegmentState.MISSING)
        return tuple(segment.frames for segment in given_up)

    @property
    def frame_count(self) -> int:
        """Presented frames of the film; 0 before it was indexed."""
        return self.summary.frame_count if self.summary else 0

    @property
    def uncarved(self) -> int:
        """Frames that no segment covers yet."""
        return self.frame_count - self.frontier
