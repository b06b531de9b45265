"""What happened: the only input of the cluster's state. Frozen, and free of objects with a life."""

from __future__ import annotations

import attrs

from ffcluster.core.media import MediaSummary
from ffcluster.core.model import (
    Epoch,
    JobId,
    JobOutcome,
    JobSpec,
    ResultReport,
    SegmentProof,
    WorkerId,
)
from ffcluster.core.worker import WorkerFacts
from ffcluster.errors import ErrorReport


@attrs.frozen
class JobSubmitted:
    """A client asked for a job, and it was understood."""

    job_id: JobId
    spec: JobSpec


@attrs.frozen
class SourceIndexed:
    """The source was read to its end and can be encoded."""

    job_id: JobId
    summary: MediaSummary


@attrs.frozen
class JobFailed:
    """Something outside the segments went wrong for good: the source, the join, the publication."""

    job_id: JobId
    error: ErrorReport


@attrs.frozen
class JobCancelled:
    """A client no longer wants the job."""

    job_id: JobId


@attrs.frozen
class JobPublished:
    """The output is verified and in its place."""

    job_id: JobId
    outcome: JobOutcome


@attrs.frozen
class WorkerJoined:
    """A worker's session was opened. A worker with the same id replaces the earlier session."""

    worker_id: WorkerId
    facts: WorkerFacts


@attrs.frozen
class WorkerLeft:
    """A worker's session ended, for whatever reason."""

    worker_id: WorkerId
    reason: str = "the connection was lost"


@attrs.frozen
class WorkerDraining:
    """A worker accepts nothing more."""

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
class Ticked:
    """Time passed; something that waited may be due."""


Event = (
    JobSubmitted
    | SourceIndexed
    | JobFailed
    | JobCancelled
    | JobPublished
    | WorkerJoined
    | WorkerLeft
    | WorkerDraining
    | AttemptStarted
    | AttemptProgressed
    | AttemptDelivered
    | AttemptChecked
    | AttemptFailed
    | AttemptReturned
    | Ticked
)
