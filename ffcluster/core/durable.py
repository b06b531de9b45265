"""What outlives the coordinator's process: frozen entries of all that a store keeps.

Times are seconds of the coordinator's clock: Unix time when it first started, and from then on
never going back, over restarts and changes of the wall clock. What an entry holds is all that is
needed to go on; what is only for the moment (progress, trials, sessions) is not in it.
"""

from __future__ import annotations

import attrs

from ffcluster.core.media import MediaSummary
from ffcluster.core.model import (
    BlobRef,
    Capability,
    Epoch,
    JobId,
    JobOutcome,
    JobSpec,
    PreRoll,
    ResultReport,
    SegmentProof,
    Source,
    WorkerId,
)
from ffcluster.core.segment import AttemptEnd
from ffcluster.core.timeline import FrameRange
from ffcluster.core.worker import WorkerFacts
from ffcluster.errors import ErrorReport


@attrs.frozen
class StoredPost:
    """A capability that works on a job, and what it was seen to write (None: not known yet)."""

    capability: Capability
    report: ResultReport | None = None


@attrs.frozen
class StoredKind:
    """What a crew wrote: shape and parameter sets of its results."""

    codec: str
    width: int
    height: int
    pix_fmt: str
    parameter_sets: str


@attrs.frozen
class StoredCrew:
    """A crew of a job; see `ffcluster.core.crews.Crew`."""

    stand_in: bool
    kinds: tuple[StoredKind, ...]
    posts: tuple[StoredPost, ...] = ()


@attrs.frozen
class JobEntry:
    """A job, without its segments.

    Attributes:
        state: Name of its state (`Processing`).
        history: (state, time) of the states that it left, oldest first.
        kept: Whether results and source of an ended job are still there, for a retry.
        publication: The verified file and the place that was chosen for it, written down before
            anything appears there; None before.
    """

    id: JobId
    spec: JobSpec
    source: Source
    state: str
    submitted_at: float
    history: tuple[tuple[str, float], ...] = ()
    ended_at: float | None = None
    summary: MediaSummary | None = None
    started: bool = False
    single_segment: bool = False
    priority: int = 0
    paused: bool = False
    kept: bool = False
    crews: tuple[StoredCrew, ...] = ()
    retries: int = 0
    warnings: tuple[str, ...] = ()
    error: ErrorReport | None = None
    publication: JobOutcome | None = None
    outcome: JobOutcome | None = None


@attrs.frozen
class FailureEntry:
    """Why an attempt at a segment did not count, and where."""

    epoch: Epoch
    worker_id: WorkerId
    worker_name: str
    encoder: str
    device: str
    error: ErrorReport


@attrs.frozen
class SegmentEntry:
    """A segment; `committed` is the epoch of the attempt that counts, `blob` its result."""

    job_id: JobId
    frames: FrameRange
    state: str
    pre_roll: PreRoll = PreRoll.KEYFRAME
    tried: int = 0
    failures: tuple[FailureEntry, ...] = ()
    committed: Epoch | None = None
    report: ResultReport | None = None
    blob: BlobRef | None = None


@attrs.frozen
class AttemptEntry:
    """An attempt at a segment, live or ended; trials are not kept.

    Attributes:
        state: Name of its state (`running`); `ended` once it is over.
        offered_at, started_at, delivered_at, ended_at: When; None when that did not happen.
        blob: The result that was delivered, or None.
    """

    epoch: Epoch
    job_id: JobId
    frames: FrameRange
    worker_id: WorkerId
    worker_name: str
    capability: Capability
    state: str
    offered_at: float
    pre_roll: PreRoll = PreRoll.KEYFRAME
    probe: bool = False
    speculative: bool = False
    fallback: bool = False
    started_at: float | None = None
    delivered_at: float | None = None
    ended_at: float | None = None
    end: AttemptEnd = AttemptEnd.LIVE
    error: ErrorReport | None = None
    proof: SegmentProof | None = None
    blob: BlobRef | None = None


@attrs.frozen
class ShareEntry:
    """What one worker did for one job; see `ffcluster.core.job.Share`."""

    job_id: JobId
    worker_id: WorkerId
    name: str
    segments: int = 0
    frames: int = 0
    failures: int = 0
    encoders: tuple[tuple[str, int], ...] = ()
    devices: tuple[str, ...] = ()


@attrs.frozen
class StoredRate:
    """A measured rate; see `ffcluster.core.throughput.RateKey` and `Throughput`."""

    encoder: str
    device: str
    preset: str
    width: int
    height: int
    pix_fmt: str
    filters: tuple[str, ...]
    fps: float
    measurements: int


@attrs.frozen
class QuarantineEntry:
    """A device of a worker that is given nothing until `until`, because it kept failing.

    Attributes:
        backend: Name of the backend; "" is the worker as a whole.
        device: The device, "" for the CPU.
        reason: What it failed with, for a person.
        until: When it is tried again.
        times: Quarantines in a row; each is longer than the one before.
    """

    backend: str
    device: str
    reason: str
    until: float
    times: int = 1


@attrs.frozen
class WorkerEntry:
    """A worker that was ever connected and not removed.

    Rates and tallies are as they were when anything else of it changed or a job ended: they are
    worth less than writing everything that a worker says of itself after each of its segments.
    """

    id: WorkerId
    facts: WorkerFacts
    connected_at: float
    drained_by_operator: bool = False
    rates: tuple[StoredRate, ...] = ()
    quarantines: tuple[QuarantineEntry, ...] = ()
    segments_done: int = 0
    frames_done: int = 0
    failures: int = 0


@attrs.frozen
class EventEntry:
    """Something that a person would want to read about later.

    Attributes:
        number: From one counter for the whole cluster, without gaps.
        at: When.
        kind: What, for example `job.state`, `attempt.failed`, `worker.joined`.
        data: What is to be known about it: plain JSON values.
    """

    number: int
    at: float
    kind: str
    job_id: JobId | None = None
    worker_id: WorkerId | None = None
    epoch: Epoch | None = None
    data: tuple[tuple[str, str | int | float | bool | None], ...] = ()


@attrs.frozen
class KeyEntry:
    """A client's idempotency key: the same request again is answered with the same job.

    Attributes:
        key: The client's own name for the request.
        request_sha256: SHA-256 (hex) of the request; another request with the same key is refused.
        job_id: What came of it.
        at: When.
    """

    key: str
    request_sha256: str
    job_id: JobId
    at: float


@attrs.frozen
class TokenEntry:
    """A secret that lets somebody in: never itself, only its SHA-256 (hex).

    Attributes:
        id: Its public name.
        name: Whose it is, for a person.
        scope: `worker`, `client` or `viewer`.
        sha256: SHA-256 of the secret.
        created_at: When it was made.
        revoked_at: Since when it opens nothing, or None.
    """

    id: str
    name: str
    scope: str
    sha256: str
    created_at: float
    revoked_at: float | None = None


@attrs.frozen
class WebhookEntry:
    """Somewhere that is told of events; see `ffcluster.services.webhooks.outbox`.

    Attributes:
        id: Its public name.
        url: Where events are posted to.
        secret: What they are signed with (`whsec_...`), or "": they are not signed.
        kinds: Kinds of events that it is told of; `*` is every one.
        job_id: The only job it is told of, or None: all that happens.
        disabled: Why nothing is sent to it any more, or "".
    """

    id: str
    url: str
    secret: str = attrs.field(repr=False)
    kinds: tuple[str, ...]
    created_at: float
    job_id: JobId | None = None
    disabled: str = ""


@attrs.frozen
class DeliveryEntry:
    """An event that a webhook is, or was, to be told of.

    Attributes:
        kind: What the webhook is told that it is (`job.completed`).
        state: `waiting`, `delivered` or `given_up`.
        tries: How often it was sent.
        status: What the last try was answered with, or None.
        error: Why the last try failed, or "".
        tried_at: When it was sent last, or None.
        next_at: Not sent again before this.
    """

    webhook_id: str
    event: EventEntry
    kind: str
    state: str = "waiting"
    tries: int = 0
    status: int | None = None
    error: str = ""
    tried_at: float | None = None
    next_at: float = 0.0


@attrs.frozen
class Counters:
    """Where the counters stand: the next epoch and the next event's number."""

    next_epoch: int = 1
    next_event: int = 1
    superseded_results: int = 0
    lease_expirations: int = 0


@attrs.frozen
class Changes:
    """What one event, or several one after another, changed: stored together or not at all.

    Entries replace those of the same identity (`JobEntry.id`, `SegmentEntry.job_id` with
    `frames.first`, `AttemptEntry.epoch`, `ShareEntry.job_id` with `worker_id`, `WorkerEntry.id`,
    `KeyEntry.key`, `TokenEntry.id`, `WebhookEntry.id`, `DeliveryEntry.webhook_id` with
    `event.number`); events are only ever added. Removals come after all else.
    A job that is removed goes with its segments, attempts, shares and keys; its events stay.
    A webhook that is removed goes with its deliveries.
    """

    jobs: tuple[JobEntry, ...] = ()
    segments: tuple[SegmentEntry, ...] = ()
    attempts: tuple[AttemptEntry, ...] = ()
    shares: tuple[ShareEntry, ...] = ()
    workers: tuple[WorkerEntry, ...] = ()
    events: tuple[EventEntry, ...] = ()
    keys: tuple[KeyEntry, ...] = ()
    tokens: tuple[TokenEntry, ...] = ()
    webhooks: tuple[WebhookEntry, ...] = ()
    deliveries: tuple[DeliveryEntry, ...] = ()
    counters: Counters | None = None
    removed_jobs: tuple[JobId, ...] = ()
    removed_workers: tuple[WorkerId, ...] = ()
    # Segments that are carved anew, by job and first frame: a job that is retried may drop some.
    removed_segments: tuple[tuple[JobId, int], ...] = ()
    removed_webhooks: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in attrs.fields(Changes))


@attrs.frozen
class Saved:
    """Everything a coordinator needs to go on where it stopped.

    Attributes:
        jobs: All that are remembered, in the order of their submission.
        segments: Those of jobs that are not completed, by job, in order of frames.
        attempts: Of the same jobs, in order of epochs: the live ones, and of each committed
            segment the attempt that made it.
        shares: Of all jobs.
        workers: All that were not removed.
        webhooks: All that were not removed.
        deliveries: Those that wait, by webhook, in order of their events.
        counters: Where the counters stand.
        clock_s: The latest time in any entry; 0.0 for an empty store.
    """

    jobs: tuple[JobEntry, ...] = ()
    segments: tuple[SegmentEntry, ...] = ()
    attempts: tuple[AttemptEntry, ...] = ()
    shares: tuple[ShareEntry, ...] = ()
    workers: tuple[WorkerEntry, ...] = ()
    webhooks: tuple[WebhookEntry, ...] = ()
    deliveries: tuple[DeliveryEntry, ...] = ()
    counters: Counters = attrs.field(factory=Counters)
    clock_s: float = 0.0


__all__ = [
    "AttemptEnd",
    "AttemptEntry",
    "BlobRef",
    "Changes",
    "Counters",
    "DeliveryEntry",
    "EventEntry",
    "FailureEntry",
    "JobEntry",
    "KeyEntry",
    "QuarantineEntry",
    "Saved",
    "SegmentEntry",
    "ShareEntry",
    "StoredCrew",
    "StoredKind",
    "StoredPost",
    "StoredRate",
    "TokenEntry",
    "WebhookEntry",
    "WorkerEntry",
]
