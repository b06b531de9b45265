"""What must be done: the only output of the cluster's state, carried out by the services."""

from __future__ import annotations

import attrs

from ffcluster.core.model import Epoch, JobId, PreRoll, ResultReport, WorkerId
from ffcluster.core.timeline import FrameRange


@attrs.frozen
class IndexSource:
    """Read the source's media index; answer with `SourceIndexed` or `JobFailed`."""

    job_id: JobId


@attrs.frozen
class OfferAttempt:
    """Cut the piece for `frames` and offer the attempt to the worker.

    With `trial` the result is only looked at, to know what this encoder would write: nothing of
    it is kept, and nothing but its headers must be right.
    """

    epoch: Epoch
    worker_id: WorkerId
    job_id: JobId
    frames: FrameRange
    pre_roll: PreRoll
    encoder: str
    device: str = ""
    trial: bool = False


@attrs.frozen
class RevokeAttempt:
    """The attempt is no longer wanted: tell the worker, drop its piece and its partial result."""

    epoch: Epoch
    worker_id: WorkerId


@attrs.frozen
class CheckResult:
    """Look at a delivered result; answer with `AttemptChecked` or `AttemptFailed`."""

    epoch: Epoch
    job_id: JobId
    frames: FrameRange


@attrs.frozen
class DiscardAttempt:
    """The attempt ended: drop its piece, and its result unless it was committed."""

    epoch: Epoch
    job_id: JobId
    committed: bool


@attrs.frozen
class JoinSegment:
    """Append a committed result to the join. Given strictly in order of frames."""

    job_id: JobId
    epoch: Epoch
    frames: FrameRange
    report: ResultReport


@attrs.frozen
class FinishJoin:
    """Every segment was given: end the join, verify and publish; `JobPublished` or `JobFailed`."""

    job_id: JobId


@attrs.frozen
class CloseJob:
    """The job ended: release its source, blobs and processes."""

    job_id: JobId


@attrs.frozen
class JobChanged:
    """Something that a viewer of the job would want to see."""

    job_id: JobId


@attrs.frozen
class WorkerChanged:
    """Something that a viewer of the worker would want to see."""

    worker_id: WorkerId


Effect = (
    IndexSource
    | OfferAttempt
    | RevokeAttempt
    | CheckResult
    | DiscardAttempt
    | JoinSegment
    | FinishJoin
    | CloseJob
    | JobChanged
    | WorkerChanged
)
