"""Every message of the control channel, as attrs classes. `docs/protocol.md` is made to match.

A message is one JSON object in one WebSocket text message; `type` is the class's `TYPE`. Unknown
keys are ignored, so that later versions may add some. Sizes are bounded by the codec.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
from attrs import validators

from ffcluster.core.load import WorkerLoad
from ffcluster.core.model import (
    Capability,
    Diagnosis,
    EncodeOrder,
    JobRequest,
    Measurement,
    PluginSummary,
    SegmentProof,
)
from ffcluster.core.receipts import JobReceipt
from ffcluster.core.views import JobView, WorkerView
from ffcluster.errors import ErrorReport
from ffcluster.net.access import Scope, TokenView

SUBPROTOCOL = "ffcluster.v1"
# Version 2 lets workers come back to attempts that they began in an earlier session.
PROTOCOL_VERSIONS = (1, 2)
MAX_MESSAGE_BYTES = 4 * 2**20
# A job's full list of segments may be long; it goes only from coordinator to client.
MAX_REPLY_BYTES = 64 * 2**20
MAX_FPS = 1e7
# What a worker may tell of its machine.
MAX_CAPABILITIES, MAX_BUILDS, MAX_PLUGINS = 256, 16, 64
MAX_DIAGNOSES, MAX_MEASUREMENTS = 512, 1024
MAX_HELD = 1024
MAX_PRIORITY = 1000

_ID: Any = validators.and_(validators.max_len(64), validators.matches_re(r"[A-Za-z0-9_-]+"))
_NAME: Any = validators.and_(validators.min_len(1), validators.max_len(256))
_TEXT: Any = validators.max_len(4096)
_COUNT = validators.and_(validators.ge(0), validators.lt(2**53))
_SECONDS = validators.and_(validators.ge(0.0), validators.le(1e9))
_SHA256 = validators.matches_re(r"[0-9a-f]{64}")


@attrs.frozen
class Held:
    """An attempt that a worker still has from an earlier session; `encoded`: only to be put."""

    epoch: int = attrs.field(validator=_COUNT)
    job_id: str = attrs.field(validator=_ID)
    encoded: bool = False


@attrs.frozen
class Hello:
    """First message of a peer. `role` is `worker` or `client`; a worker fills in the rest."""

    TYPE: ClassVar[str] = "hello"
    protocols: tuple[int, ...] = attrs.field(validator=validators.max_len(16))
    role: str = attrs.field(validator=validators.in_(("worker", "client")))
    version: str = attrs.field(default="", validator=_TEXT)
    worker_id: str = attrs.field(
        default="", validator=validators.matches_re(r"[A-Za-z0-9_-]{0,64}")
    )
    name: str = attrs.field(default="", validator=validators.max_len(256))
    platform: str = attrs.field(default="", validator=_TEXT)
    ffmpeg: str = attrs.field(default="", validator=_TEXT)
    cpus: int = attrs.field(default=1, validator=_COUNT)
    benchmark_duration_s: float = attrs.field(default=10.0, validator=_SECONDS)
    capabilities: tuple[Capability, ...] = attrs.field(
        default=(), validator=validators.max_len(MAX_CAPABILITIES)
    )
    builds: tuple[str, ...] = attrs.field(default=(), validator=validators.max_len(MAX_BUILDS))
    plugins: tuple[PluginSummary, ...] = attrs.field(
        default=(), validator=validators.max_len(MAX_PLUGINS)
    )
    diagnoses: tuple[Diagnosis, ...] = attrs.field(
        default=(), validator=validators.max_len(MAX_DIAGNOSES)
    )
    measurements: tuple[Measurement, ...] = attrs.field(
        default=(), validator=validators.max_len(MAX_MEASUREMENTS)
    )
    held: tuple[Held, ...] = attrs.field(default=(), validator=validators.max_len(MAX_HELD))


@attrs.frozen
class Welcome:
    """The coordinator accepts the peer and says by which rules they talk."""

    TYPE: ClassVar[str] = "welcome"
    protocol: int = attrs.field(validator=_COUNT)
    version: str = attrs.field(validator=_TEXT)
    heartbeat_s: float = attrs.field(validator=_SECONDS)
    block_bytes: int = attrs.field(validator=validators.and_(validators.ge(1), _COUNT))


@attrs.frozen
class Heartbeat:
    """Nothing new; the sender is alive. Sent when nothing else was for `heartbeat_s`.

    A worker sends one whenever it has read its machine's `load` anew, too.
    """

    TYPE: ClassVar[str] = "heartbeat"
    load: WorkerLoad | None = None


@attrs.frozen
class Failure:
    """A message or request was not carried out. `reply_to` is 0 when it answers no request."""

    TYPE: ClassVar[str] = "error"
    error: ErrorReport
    reply_to: int = attrs.field(default=0, validator=_COUNT)


# --- coordinator and worker ----------------------------------------------------------------------


@attrs.frozen
class Piece:
    """A file to fetch: path below the coordinator's URL, size and SHA-256 (hex)."""

    path: str = attrs.field(validator=validators.matches_re(r"/v1/[A-Za-z0-9_/-]{1,256}"))
    size_bytes: int = attrs.field(validator=_COUNT)
    sha256: str = attrs.field(validator=_SHA256)


@attrs.frozen
class Offer:
    """An attempt for this worker: fetch `piece`, encode by `order`, put the result to `upload`."""

    TYPE: ClassVar[str] = "offer"
    epoch: int = attrs.field(validator=_COUNT)
    job_id: str = attrs.field(validator=_ID)
    order: EncodeOrder
    piece: Piece
    upload: str = attrs.field(validator=validators.matches_re(r"/v1/[A-Za-z0-9_/-]{1,256}"))


@attrs.frozen
class Resume:
    """A held attempt still counts: go on, and put its result to `upload` (since version 2).

    Every attempt named in `hello.held` is answered by `resume` or `revoke`.
    """

    TYPE: ClassVar[str] = "resume"
    epoch: int = attrs.field(validator=_COUNT)
    upload: str = attrs.field(validator=validators.matches_re(r"/v1/[A-Za-z0-9_/-]{1,256}"))


@attrs.frozen
class Revoke:
    """Nothing more of the attempt is needed: stop it and forget it. No answer is needed.

    It was overtaken, its job ended, or what the worker delivered is stored.
    """

    TYPE: ClassVar[str] = "revoke"
    epoch: int = attrs.field(validator=_COUNT)


@attrs.frozen
class Drain:
    """Finish what runs, accept nothing more, then close the session."""

    TYPE: ClassVar[str] = "drain"


@attrs.frozen
class Accepted:
    """The worker took the offer into its queue."""

    TYPE: ClassVar[str] = "accepted"
    epoch: int = attrs.field(validator=_COUNT)


@attrs.frozen
class Started:
    """The piece arrived whole and its encoder runs."""

    TYPE: ClassVar[str] = "started"
    epoch: int = attrs.field(validator=_COUNT)


@attrs.frozen
class AttemptProgress:
    """Frames encoded so far by one attempt, and frames per second now."""

    epoch: int = attrs.field(validator=_COUNT)
    frames: int = attrs.field(validator=_COUNT)
    fps: float = attrs.field(validator=validators.and_(validators.ge(0.0), validators.le(MAX_FPS)))


@attrs.frozen
class Progress:
    """Progress of all running attempts of a worker, in one message."""

    TYPE: ClassVar[str] = "progress"
    attempts: tuple[AttemptProgress, ...] = attrs.field(validator=validators.max_len(1024))


@attrs.frozen
class Result:
    """The result was put whole to the offer's `upload`, and this is how it was proven."""

    TYPE: ClassVar[str] = "result"
    epoch: int = attrs.field(validator=_COUNT)
    size_bytes: int = attrs.field(validator=_COUNT)
    sha256: str = attrs.field(validator=_SHA256)
    proof: SegmentProof


@attrs.frozen
class Failed:
    """The attempt came to nothing, and why."""

    TYPE: ClassVar[str] = "failed"
    epoch: int = attrs.field(validator=_COUNT)
    error: ErrorReport


@attrs.frozen
class Returned:
    """The worker gives the attempt back, untried or unfinished, because it is leaving."""

    TYPE: ClassVar[str] = "returned"
    epoch: int = attrs.field(validator=_COUNT)


@attrs.frozen
class Draining:
    """The worker accepts nothing more."""

    TYPE: ClassVar[str] = "draining"


# --- coordinator and client ----------------------------------------------------------------------

_REQUEST = validators.and_(validators.ge(1), validators.lt(2**53))


@attrs.frozen
class BeginUpload:
    """A client wants to send a source of `size_bytes`; answered by `upload_ready`."""

    TYPE: ClassVar[str] = "begin_upload"
    request: int = attrs.field(validator=_REQUEST)
    name: str = attrs.field(validator=_NAME)
    size_bytes: int = attrs.field(validator=_COUNT)


@attrs.frozen
class UploadReady:
    """Where to put the blocks of an upload."""

    TYPE: ClassVar[str] = "upload_ready"
    reply_to: int = attrs.field(validator=_REQUEST)
    upload_id: str = attrs.field(validator=_ID)
    path: str = attrs.field(validator=validators.matches_re(r"/v1/[A-Za-z0-9_/-]{1,256}"))


@attrs.frozen
class Submit:
    """Make this job; answered by `job`."""

    TYPE: ClassVar[str] = "submit"
    request: int = attrs.field(validator=_REQUEST)
    job: JobRequest


@attrs.frozen
class GetJob:
    """Describe one job; answered by `job`."""

    TYPE: ClassVar[str] = "get_job"
    request: int = attrs.field(validator=_REQUEST)
    job_id: str = attrs.field(validator=_ID)
    segments: bool = False


@attrs.frozen
class ListJobs:
    """Describe all jobs, newest last; answered by `jobs`."""

    TYPE: ClassVar[str] = "list_jobs"
    request: int = attrs.field(validator=_REQUEST)


@attrs.frozen
class CancelJob:
    """End a job; answered by `job`. A job that has ended stays as it is (`conflict`)."""

    TYPE: ClassVar[str] = "cancel_job"
    request: int = attrs.field(validator=_REQUEST)
    job_id: str = attrs.field(validator=_ID)


@attrs.frozen
class PauseJob:
    """Start nothing more of a job; answered by `job`."""

    TYPE: ClassVar[str] = "pause_job"
    request: int = attrs.field(validator=_REQUEST)
    job_id: str = attrs.field(validator=_ID)


@attrs.frozen
class ResumeJob:
    """Go on with a paused job; answered by `job`."""

    TYPE: ClassVar[str] = "resume_job"
    request: int = attrs.field(validator=_REQUEST)
    job_id: str = attrs.field(validator=_ID)


@attrs.frozen
class RetryJob:
    """Go on with a failed job from what was committed, or begin a cancelled one anew; see `job`."""

    TYPE: ClassVar[str] = "retry_job"
    request: int = attrs.field(validator=_REQUEST)
    job_id: str = attrs.field(validator=_ID)


@attrs.frozen
class PrioritiseJob:
    """Give a job another priority; answered by `job`."""

    TYPE: ClassVar[str] = "prioritise_job"
    request: int = attrs.field(validator=_REQUEST)
    job_id: str = attrs.field(validator=_ID)
    priority: int = attrs.field(
        validator=validators.and_(validators.ge(-MAX_PRIORITY), validators.le(MAX_PRIORITY))
    )


@attrs.frozen
class RemoveJob:
    """Forget an ended job; answered by `done`. Its published file stays."""

    TYPE: ClassVar[str] = "remove_job"
    request: int = attrs.field(validator=_REQUEST)
    job_id: str = attrs.field(validator=_ID)


@attrs.frozen
class DrainWorker:
    """Give a worker nothing more, let it finish what it has; answered by `worker`."""

    TYPE: ClassVar[str] = "drain_worker"
    request: int = attrs.field(validator=_REQUEST)
    worker_id: str = attrs.field(validator=_ID)


@attrs.frozen
class ResumeWorker:
    """Let a drained or quarantined worker work again; answered by `worker`."""

    TYPE: ClassVar[str] = "resume_worker"
    request: int = attrs.field(validator=_REQUEST)
    worker_id: str = attrs.field(validator=_ID)


@attrs.frozen
class RemoveWorker:
    """Forget a worker; what it has is given to others; answered by `done`."""

    TYPE: ClassVar[str] = "remove_worker"
    request: int = attrs.field(validator=_REQUEST)
    worker_id: str = attrs.field(validator=_ID)


@attrs.frozen
class GetReceipt:
    """Tell everything about how a job was made; answered by `receipt`."""

    TYPE: ClassVar[str] = "get_receipt"
    request: int = attrs.field(validator=_REQUEST)
    job_id: str = attrs.field(validator=_ID)


@attrs.frozen
class AddToken:
    """Make a token that opens `scope`; answered by `token`, which alone ever tells its secret."""

    TYPE: ClassVar[str] = "add_token"
    request: int = attrs.field(validator=_REQUEST)
    name: str = attrs.field(validator=_TEXT)
    scope: Scope


@attrs.frozen
class ListTokens:
    """Describe all tokens that are good, and the latest that are not; answered by `tokens`."""

    TYPE: ClassVar[str] = "list_tokens"
    request: int = attrs.field(validator=_REQUEST)


@attrs.frozen
class RevokeToken:
    """Let a token open nothing any more, and end what was begun with it; answered by `token`."""

    TYPE: ClassVar[str] = "revoke_token"
    request: int = attrs.field(validator=_REQUEST)
    token_id: str = attrs.field(validator=_TEXT)


@attrs.frozen
class WatchJob:
    """Describe one job now and whenever it changes, at most a few times a second, until it ends.

    Answered by `job`; further `job` messages carry the same `reply_to`.
    """

    TYPE: ClassVar[str] = "watch_job"
    request: int = attrs.field(validator=_REQUEST)
    job_id: str = attrs.field(validator=_ID)


@attrs.frozen
class ListWorkers:
    """Describe all workers; answered by `workers`."""

    TYPE: ClassVar[str] = "list_workers"
    request: int = attrs.field(validator=_REQUEST)


@attrs.frozen
class Job:
    """One job as it is now; `output` is where its file can be fetched once it is completed."""

    TYPE: ClassVar[str] = "job"
    reply_to: int = attrs.field(validator=_REQUEST)
    job: JobView
    output: str = ""


@attrs.frozen
class Worker:
    """One worker as it is now."""

    TYPE: ClassVar[str] = "worker"
    reply_to: int = attrs.field(validator=_REQUEST)
    worker: WorkerView


@attrs.frozen
class Done:
    """It was done; there is nothing to show."""

    TYPE: ClassVar[str] = "done"
    reply_to: int = attrs.field(validator=_REQUEST)


@attrs.frozen
class Receipt:
    """How a job was made, segment by segment and attempt by attempt."""

    TYPE: ClassVar[str] = "receipt"
    reply_to: int = attrs.field(validator=_REQUEST)
    receipt: JobReceipt


@attrs.frozen
class Token:
    """One token as it is now; `secret` is told once, when it was made."""

    TYPE: ClassVar[str] = "token"
    reply_to: int = attrs.field(validator=_REQUEST)
    token: TokenView
    secret: str = attrs.field(default="", repr=False)


@attrs.frozen
class Tokens:
    """All tokens, in the order in which they were made."""

    TYPE: ClassVar[str] = "tokens"
    reply_to: int = attrs.field(validator=_REQUEST)
    tokens: tuple[TokenView, ...]


@attrs.frozen
class Jobs:
    """All jobs as they are now."""

    TYPE: ClassVar[str] = "jobs"
    reply_to: int = attrs.field(validator=_REQUEST)
    jobs: tuple[JobView, ...]


@attrs.frozen
class Workers:
    """All workers as they are now."""

    TYPE: ClassVar[str] = "workers"
    reply_to: int = attrs.field(validator=_REQUEST)
    workers: tuple[WorkerView, ...]


FromWorker = Heartbeat | Accepted | Started | Progress | Result | Failed | Returned | Draining
ToWorker = Heartbeat | Offer | Resume | Revoke | Drain | Failure
FromClient = (
    Heartbeat
    | BeginUpload
    | Submit
    | GetJob
    | ListJobs
    | CancelJob
    | PauseJob
    | ResumeJob
    | RetryJob
    | PrioritiseJob
    | RemoveJob
    | GetReceipt
    | WatchJob
    | ListWorkers
    | DrainWorker
    | ResumeWorker
    | RemoveWorker
    | AddToken
    | ListTokens
    | RevokeToken
)
ToClient = (
    Heartbeat
    | UploadReady
    | Job
    | Jobs
    | Worker
    | Workers
    | Done
    | Receipt
    | Token
    | Tokens
    | Failure
)
Message = Hello | Welcome | FromWorker | ToWorker | FromClient | ToClient

# What a client's token must open for each of its requests.
NEEDS: Mapping[type, Scope] = {
    GetJob: Scope.VIEWER,
    ListJobs: Scope.VIEWER,
    WatchJob: Scope.VIEWER,
    GetReceipt: Scope.VIEWER,
    ListWorkers: Scope.VIEWER,
    BeginUpload: Scope.CLIENT,
    Submit: Scope.CLIENT,
    CancelJob: Scope.CLIENT,
    PauseJob: Scope.CLIENT,
    ResumeJob: Scope.CLIENT,
    RetryJob: Scope.CLIENT,
    PrioritiseJob: Scope.CLIENT,
    RemoveJob: Scope.CLIENT,
    DrainWorker: Scope.CLIENT,
    ResumeWorker: Scope.CLIENT,
    RemoveWorker: Scope.CLIENT,
    AddToken: Scope.ADMIN,
    ListTokens: Scope.ADMIN,
    RevokeToken: Scope.ADMIN,
}
