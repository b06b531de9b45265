"""What happened: the only input of the cluster's state. Frozen, and free of objects with a life."""

from __future__ import annotations

import attrs

from ffcluster.core.media import MediaSummary
from ffcluster.core.model import (
    BlobRef,
    Epoch,
    JobId,
    JobOutcome,
    JobSpec,
    ResultReport,
    SegmentProof,
    Source,
    WorkerId,
)
from ffcluster.core.worker import WorkerFacts
from ffcluster.errors import ErrorReport


@attrs.frozen
class JobSubmitted:
    """A client asked for a job, and it was understood."""

    job_id: JobId
    spec: JobSpec
    source: Source = attrs.field(factory=lambda: Source(""))
    priority: int = 0


@attrs.frozen
class SourceIndexed:
    """The source was read to its end and can be encoded, for the first time or after a restart."""

    job_id: JobId
    summary: MediaSummary


@attrs.frozen
class JobFailed:
    """Something outside the segments went wrong for good, such as the source."""

    job_id: JobId
    error: ErrorReport


@attrs.frozen
class JobCancelled:
    """A client no longer wants the job."""

    job_id: JobId


@attrs.frozen
class JobPaused:
    """A client wants nothing more of the job to be started; what runs is finished."""

    job_id: JobId


@attrs.frozen
class JobResumed:
    """A client wants a paused job to go on."""

    job_id: JobId


@attrs.frozen
class JobRetried:
    """A client wants a job that failed or was cancelled to go on from what was committed."""

    job_id: JobId


@attrs.frozen
class JobPrioritised:
    """A client gives a job another priority; the higher one gets workers first."""

    job_id: JobId
    priority: int


@attrs.frozen
class ResultsExpired:
    """What was kept of an ended job for a retry has been kept long enough."""

    job_id: JobId


@attrs.frozen
class JobRemoved:
    """An ended job is to be remembered no more."""

    job_id: JobId


@attrs.frozen
class JoinFailed:
    """The join, the verification or the publication failed; nothing appeared in the output."""

    job_id: JobId
    error: ErrorReport


@attrs.frozen
class SegmentLost:
    """A committed result is gone or damaged on disk: the segment must be made again."""

    job_id: JobId
    first_frame: int
    error: ErrorReport


@attrs.frozen
class JobVerified:
    """The whole output is verified, and the place that it shall have was found free."""

    job_id: JobId
    outcome: JobOutcome


@attrs.frozen
class JobPublished:
    """The output is in its place."""

    job_id: JobId
    outcome: JobOutcome


@attrs.frozen
class HeldAttempt:
    """An attempt that a worker says it still has: `encoded` when only the delivery is missing."""

    epoch: Epoch
    job_id: JobId
    encoded: bool = False


@attrs.frozen
class WorkerJoined:
    """A worker's session was opened. A worker with the same id replaces the earlier session.

    Attributes:
        held: What it still has of earlier sessions; all its other attempts came to nothing.
    """

    worker_id: WorkerId
    facts: WorkerFacts
    held: tuple[HeldAttempt, ...] = ()


@attrs.frozen
class WorkerLeft:
    """A worker's session ended, for whatever reason; its leases run on from `heard_at`.

    Attributes:
        heard_at: When it was last heard; None: now.
        forgets: Whether it keeps nothing, so that its attempts are given again at once.
    """

    worker_id: WorkerId
    reason: str = "the connection was lost"
    heard_at: float | None = None
    forgets: bool = False


@attrs.frozen
class WorkerDraining:
    """A worker accepts nothing more, by its own wish or by an operator's.

    An operator's wish outlives the session, until `WorkerResumed`.
    """

    worker_id: WorkerId
    by_operator: bool = False


@attrs.frozen
class WorkerResumed:
    """An operator lets a drained worker work again, and ends its quarantines."""

    worker_id: WorkerId


@attrs.frozen
class WorkerRemoved:
    """An operator wants a worker forgotten; what it holds is given to others."""

    worker_id: WorkerId


@attrs.frozen
class AttemptStarted:
    """The worker has the piece, and its encoder runs."""

    epoch: Epoch


@attrs.frozen
class AttemptProgressed:
    """Frames encoded so far, and frames per second now."""

    epoch: Epoch
    frames: int
    fps: float


@attrs.frozen
class AttemptDelivered:
    """The result is on the coordinator, whole by its SHA-256; it was not looked at yet."""

    epoch: Epoch
    proof: SegmentProof
    blob: BlobRef | None = None


@attrs.frozen
class AttemptChecked:
    """The coordinator looked at the result and found it right."""

    epoch: Epoch
    report: ResultReport


@attrs.frozen
class AttemptFailed:
    """The attempt came to nothing."""

    epoch: Epoch
    error: ErrorReport


@attrs.frozen
class AttemptReturned:
    """The worker gives the segment back, untried or unfinished; nobody's fault."""

    epoch: Epoch


@attrs.frozen
class ResultSuperseded:
    """A worker delivered something for an attempt that is no longer live: refused, and counted."""

    worker_id: WorkerId
    epoch: Epoch


@attrs.frozen
class SpaceChanged:
    """The coordinator has too little room for new work, as `reason` says, or enough again ("")."""

    reason: str


@attrs.frozen
class WebhookGaveUp:
    """A webhook is not told of the event with this number; None: of nothing more at all."""

    webhook_id: str
    event: int | None
    reason: str


@attrs.frozen
class Ticked:
    """Time passed; something that waited may be due."""


Event = (
    JobSubmitted
    | SourceIndexed
    | JobFailed
    | JobCancelled
    | JobPaused
    | JobResumed
    | JobRetried
    | JobPrioritised
    | ResultsExpired
    | JobRemoved
    | JoinFailed
    | SegmentLost
    | JobVerified
    | JobPublished
    | WorkerJoined
    | WorkerLeft
    | WorkerDraining
    | WorkerResumed
    | WorkerRemoved
    | AttemptStarted
    | AttemptProgressed
    | AttemptDelivered
    | AttemptChecked
    | AttemptFailed
    | AttemptReturned
    | ResultSuperseded
    | SpaceChanged
    | WebhookGaveUp
    | Ticked
)
