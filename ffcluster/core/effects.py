"""What must be done: the only output of the cluster's state, carried out by the services."""

from __future__ import annotations

import attrs

from ffcluster.core.model import (
    BlobRef,
    Epoch,
    JobId,
    JobOutcome,
    PreRoll,
    ResultReport,
    WorkerId,
)
from ffcluster.core.segment import Attempt
from ffcluster.core.timeline import FrameRange


@attrs.frozen
class IndexSource:
    """Open the source and read its media index; answer with `SourceIndexed` or `JobFailed`.

    Asked again after a restart and when a job is retried: a job's source must be open before
    anything else is asked of it.
    """

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

    @classmethod
    def of(cls, attempt: Attempt) -> OfferAttempt:
        """The offer of an attempt, the same each time."""
        return cls(
            attempt.epoch,
            attempt.worker_id,
            attempt.job_id,
            attempt.frames,
            attempt.pre_roll,
            attempt.capability.encoder,
            attempt.device,
            attempt.trial,
        )


@attrs.frozen
class ResumeAttempt:
    """The worker still has the attempt: tell it where the result is to be put from now on."""

    epoch: Epoch
    worker_id: WorkerId
    job_id: JobId
    frames: FrameRange


@attrs.frozen
class RevokeAttempt:
    """The attempt is no longer wanted: tell the worker, drop its piece and its partial result."""

    epoch: Epoch
    worker_id: WorkerId


@attrs.frozen
class CheckResult:
    """Look at a delivered result; answer with `AttemptChecked` or `AttemptFailed`.

    Its worker may forget the result: that it was delivered is stored by now.
    """

    epoch: Epoch
    worker_id: WorkerId
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
    """Append a committed result to the join; `JoinFailed` if that fails.

    Given strictly in order of frames, from the first segment on; a gap is what is missing.
    """

    job_id: JobId
    epoch: Epoch
    frames: FrameRange
    report: ResultReport
    blob: BlobRef | None = None


@attrs.frozen
class RestartJoin:
    """Throw away what was joined; every committed result is appended anew."""

    job_id: JobId


@attrs.frozen
class FinishJoin:
    """Every segment was given: end the join and verify; `JobVerified` or `JoinFailed`."""

    job_id: JobId


@attrs.frozen
class Publish:
    """Give the verified file its place, exactly once; `JobPublished`, `JoinFailed`, or again
    `JobVerified` when somebody else took that place meanwhile.

    Asked again after a restart, when it is not known how far an earlier try came.
    """

    job_id: JobId
    outcome: JobOutcome


@attrs.frozen
class CloseJob:
    """The job ended: end its processes and release its source and blobs.

    With `keep`, committed results and the source stay, so that it may be retried.
    """

    job_id: JobId
    keep: bool = False


@attrs.frozen
class ForgetJob:
    """The job is remembered no more: release whatever is still kept of it."""

    job_id: JobId


@attrs.frozen
class DismissWorker:
    """The worker was removed: end its session."""

    worker_id: WorkerId


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
    | ResumeAttempt
    | RevokeAttempt
    | CheckResult
    | DiscardAttempt
    | JoinSegment
    | RestartJoin
    | FinishJoin
    | Publish
    | CloseJob
    | ForgetJob
    | DismissWorker
    | JobChanged
    | WorkerChanged
)
