"""Sessions of workers and clients on the coordinator: messages in, events and answers out.

A session is what stands behind one WebSocket. It validates, translates and forwards; decisions
are the cluster's. A peer that breaks the protocol is told so; what it sent changes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Protocol

import attrs
from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from ffcluster import __version__
from ffcluster.core.events import (
    AttemptFailed,
    AttemptProgressed,
    AttemptReturned,
    AttemptStarted,
    Event,
    HeldAttempt,
    ResultSuperseded,
    WorkerDraining,
    WorkerJoined,
    WorkerLeft,
)
from ffcluster.core.load import WorkerLoad
from ffcluster.core.model import Capability, Epoch, JobId, WorkerId
from ffcluster.core.views import JobView
from ffcluster.core.worker import WorkerFacts
from ffcluster.errors import ErrorReport, FfclusterError, Forbidden, ProtocolError
from ffcluster.net import codec, messages
from ffcluster.net.access import Caller, Scope
from ffcluster.net.session import Liveness, negotiate
from ffcluster.net.websocket import CLOSE_FORBIDDEN, CLOSE_PROTOCOL, Connection
from ffcluster.services.cleaning import clean
from ffcluster.services.machine.measurements import plausible

log = Logger()

_decode_hello = codec.decoder(messages.Hello)
_decode_worker = codec.decoder(messages.FromWorker)
_decode_client = codec.decoder(messages.FromClient)

# Since this version workers come back to the attempts of an earlier session.
_KEEPS_ATTEMPTS = 2
# A peer may send this many messages that are not understood before its session ends.
_PATIENCE = 10
_MAX_SLOTS = 1024
_MAX_NOTES = 16
# An encoding command has far fewer words.
_MAX_WORDS = 1024
_MAX_WATCHES = 100


class Desk(Protocol):
    """What sessions need from the coordinator.

    Attributes:
        block_bytes: Unit in which bulk data is sent.
        heartbeat_s: Silence after which a side says that it is alive.
    """

    block_bytes: int
    heartbeat_s: float

    def seconds(self) -> float:
        """The coordinator's clock."""

    def post(self, event: Event) -> None:
        """Take an event into the cluster's state."""

    def deliver(self, result: messages.Result) -> None:
        """A worker says that the result of its live attempt arrived whole."""

    def holds(self, worker_id: WorkerId, epoch: Epoch) -> bool:
        """Whether the attempt is live on that worker."""

    def told_load(self, worker_id: WorkerId, load: WorkerLoad) -> None:
        """A worker says how its machine is."""

    def worker_opened(self, worker_id: WorkerId, session: Session) -> None:
        """A worker's session begins."""

    def session_closed(self, session: Session) -> None:
        """A session ended."""

    async def answer(self, request: Any) -> messages.ToClient:
        """Do what a client asks, except watching, and answer it."""

    def job(self, job_id: str) -> JobView:
        """Describe a job, or raise `NotFound`."""

    def output_path(self, job_id: str) -> str:
        """Where a completed job's file can be fetched, or ""."""


class Session:
    """One connection, from its greeting to its end.

    Attributes:
        caller: Whoever opened it.
        worker_id: The worker that it is of, or None.
        watches: Jobs that its client watches, by number of the request.
    """

    def __init__(self, desk: Desk, caller: Caller) -> None:
        self._desk = desk
        self.caller = caller
        self._connection: Connection | None = None
        self._receive: Callable[[bytes], None] = self._greet
        self._misunderstood = 0
        now = desk.seconds()
        self._liveness = Liveness(now, now, desk.heartbeat_s)
        self._forgets = False
        self.worker_id: WorkerId | None = None
        self.watches: dict[int, JobId] = {}

    @property
    def heard_at(self) -> float:
        """When something of the peer arrived last."""
        return self._liveness.heard_at

    # --- what the connection tells -------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """The connection is up; the peer must greet first."""
        self._connection = connection

    def received(self, payload: bytes) -> None:
        """Handle one message; a bad one is answered and changes nothing."""
        if self._connection is None:
            # This side has ended the session; what was on its way then counts no more.
            return
        self._liveness.heard(self._desk.seconds())
        try:
            self._receive(payload)
        except FfclusterError as error:
            self._misunderstood += 1
            request = error.detail.get("request", 0)
            self.send(messages.Failure(ErrorReport.of(error), reply_to=request))
            if self._misunderstood >= _PATIENCE or self._receive == self._greet:
                refused = isinstance(error, Forbidden)
                self.close(CLOSE_FORBIDDEN if refused else CLOSE_PROTOCOL, error.message)

    def closed(self, reason: str) -> None:
        """The connection is gone."""
        if self._connection is None:
            return
        self._connection = None
        self._desk.session_closed(self)
        if self.worker_id is not None:
            heard_at = self._liveness.heard_at
            self._desk.post(WorkerLeft(self.worker_id, reason, heard_at, self._forgets))

    # --- what the coordinator asks -------------------------------------------------------------

    def send(self, message: messages.Message) -> None:
        """Send a message; in silence when the connection is gone."""
        if self._connection is not None:
            self._liveness.said(self._desk.seconds())
            self._connection.send(codec.encode(message))

    def close(self, code: int, reason: str) -> None:
        """End the session from this side."""
        connection = self._connection
        if connection is not None:
            connection.close(code, reason)
            self.closed(reason)

    def tend(self) -> None:
        """Say something when it is due, and give up a peer that was silent for too long."""
        now = self._desk.seconds()
        if self._liveness.given_up(now):
            self.close(CLOSE_PROTOCOL, "nothing was heard for too long")
        elif self._liveness.must_speak(now):
            self.send(messages.Heartbeat())

    # --- greeting ------------------------------------------------------------------------------

    def _greet(self, payload: bytes) -> None:
        hello: messages.Hello = _decode_hello(payload)
        protocol, desk = negotiate(hello), self._desk
        self.caller.need(Scope.VIEWER if hello.role == "client" else Scope.WORKER)
        self.send(messages.Welcome(protocol, __version__, desk.heartbeat_s, desk.block_bytes))
        if hello.role == "client":
            self._receive = self._from_client
            return
        self._receive = self._from_worker
        self._forgets = protocol < _KEEPS_ATTEMPTS
        self.worker_id = WorkerId(hello.worker_id or secrets.token_hex(8))
        held = () if self._forgets else _held(hello)
        desk.worker_opened(self.worker_id, self)
        desk.post(WorkerJoined(self.worker_id, self._facts(hello), held))

    def _facts(self, hello: messages.Hello) -> WorkerFacts:
        address = self._connection.address if self._connection else ""
        hello = clean(hello)
        capabilities = {c.key: _bounded(c) for c in hello.capabilities}
        return WorkerFacts(
            name=hello.name or address,
            capabilities=tuple(capabilities.values()),
            benchmark_duration_s=hello.benchmark_duration_s,
            cpus=hello.cpus,
            version=hello.version,
            platform=hello.platform,
            ffmpeg=hello.ffmpeg,
            address=address,
            builds=hello.builds,
            plugins=hello.plugins,
            diagnoses=hello.diagnoses,
            measurements=tuple(m for m in hello.measurements if plausible(m)),
        )

    # --- workers -------------------------------------------------------------------------------

    def _from_worker(self, payload: bytes) -> None:
        message = _decode_worker(payload)
        assert self.worker_id is not None  # noqa: S101 - set by the greeting
        desk = self._desk
        if isinstance(message, messages.Progress):
            for row in message.attempts:
                if desk.holds(self.worker_id, Epoch(row.epoch)):
                    desk.post(AttemptProgressed(Epoch(row.epoch), row.frames, row.fps))
                else:
                    # It missed that nobody wants this any more.
                    self.send(messages.Revoke(row.epoch))
        elif isinstance(message, messages.Draining):
            desk.post(WorkerDraining(self.worker_id))
        elif isinstance(message, messages.Heartbeat):
            if message.load is not None:
                desk.told_load(self.worker_id, clean(message.load))
        elif isinstance(message, messages.Accepted):
            return
        elif desk.holds(self.worker_id, Epoch(message.epoch)):
            self._about_attempt(message)
        else:
            if isinstance(message, messages.Result):
                desk.post(ResultSuperseded(self.worker_id, Epoch(message.epoch)))
            self.send(messages.Revoke(message.epoch))

    def _about_attempt(
        self, message: messages.Started | messages.Result | messages.Failed | messages.Returned
    ) -> None:
        epoch = Epoch(message.epoch)
        if isinstance(message, messages.Started):
            self._desk.post(AttemptStarted(epoch))
        elif isinstance(message, messages.Failed):
            self._desk.post(AttemptFailed(epoch, message.error))
        elif isinstance(message, messages.Returned):
            self._desk.post(AttemptReturned(epoch))
        else:
            proof = message.proof
            proof = clean(
                attrs.evolve(
                    proof,
                    argv=proof.argv[:_MAX_WORDS],
                    notes=proof.notes[:_MAX_NOTES],
                    log_tail=proof.log_tail[-_MAX_NOTES:],
                )
            )
            self._desk.deliver(attrs.evolve(message, proof=proof))

    # --- clients -------------------------------------------------------------------------------

    def _from_client(self, payload: bytes) -> None:
        request = _decode_client(payload)
        if isinstance(request, messages.Heartbeat):
            return
        if isinstance(request, messages.WatchJob):
            answering = ensureDeferred(self._watch(request.request, JobId(request.job_id)))
        else:
            answering = ensureDeferred(self._answer(request))
        answering.addErrback(self._answer_failed, request.request)

    async def _answer(self, request: Any) -> None:
        self.caller.need(messages.NEEDS[type(request)])
        self.send(await self._desk.answer(request))

    def _answer_failed(self, failure: Any, number: int) -> None:
        if not failure.check(FfclusterError):
            log.failure("answering a client failed", failure)
        self.send(messages.Failure(ErrorReport.of(failure.value), reply_to=number))

    async def _watch(self, number: int, job_id: JobId) -> None:
        if len(self.watches) >= _MAX_WATCHES:
            raise ProtocolError(message=f"A session may watch {_MAX_WATCHES} jobs, no more.")
        view = self._desk.job(job_id)
        self.watches[number] = job_id
        self.show_job(view)

    def show_job(self, view: JobView) -> None:
        """Tell a client that watches this job how it is now."""
        for number, job_id in list(self.watches.items()):
            if job_id == view.id:
                self.send(messages.Job(number, view, self._desk.output_path(view.id)))
                if view.ended:
                    del self.watches[number]


def _held(hello: messages.Hello) -> tuple[HeldAttempt, ...]:
    """What a worker says it still has; of an epoch that it names twice, the first word counts."""
    held: dict[Epoch, HeldAttempt] = {}
    for row in hello.held:
        epoch = Epoch(row.epoch)
        held.setdefault(epoch, HeldAttempt(epoch, JobId(row.job_id), row.encoded))
    return tuple(held.values())


def _bounded(capability: Capability) -> Capability:
    """`capability` with slots and threads that plans can be made by."""
    slots = min(max(1, capability.slots), _MAX_SLOTS)
    threads = min(max(0, capability.threads), _MAX_SLOTS)
    return attrs.evolve(capability, slots=slots, threads=threads)
