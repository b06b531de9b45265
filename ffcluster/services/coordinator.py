"""The coordinator: one loop of events and effects, between the cluster's state and the world.

An event is handled at once and to its end; its effects are started, and what comes of them comes
back as events. Everything slow (files, ffmpeg, PyAV) happens in threads and other processes.
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.lockfile import FilesystemLock
from twisted.web.resource import Resource

from ffcluster.core import reporting
from ffcluster.core.cluster import ClusterState, Policy
from ffcluster.core.events import (
    AttemptDelivered,
    AttemptFailed,
    Event,
    JobCancelled,
    JobSubmitted,
    Ticked,
)
from ffcluster.core.model import Diagnosis, Epoch, JobId, JobRequest, WorkerId
from ffcluster.core.views import JobView, WorkerView
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.errors import (
    Code,
    Conflict,
    ErrorReport,
    NotFound,
    OutputUnwritable,
    Refused,
)
from ffcluster.media.binary import find_ffmpeg, inspect
from ffcluster.media.runner import Runner
from ffcluster.net import messages
from ffcluster.net.bulk_server import bulk_tree
from ffcluster.net.site import CoordinatorSite, GuardedFactory
from ffcluster.net.tokens import authorized
from ffcluster.net.websocket import CLOSE_NORMAL, CoordinatorSocketFactory
from ffcluster.services.choice import RegistryJudge, plugin_warnings
from ffcluster.services.config import ServerSettings
from ffcluster.services.effects import EffectRunner
from ffcluster.services.gateway import Session
from ffcluster.services.jobmedia import JobMedia
from ffcluster.services.shelf import KINDS, TicketShelf
from ffcluster.services.submission import make_spec
from ffcluster.services.values import is_loopback
from ffcluster.store import files

log = Logger()

_MAX_CONNECTIONS = 10_000
_TEND_EVERY_S = 1.0
_SHOW_EVERY_S = 0.4
_JOBS_REMEMBERED = 1000
# How long connections may take to end by themselves when the coordinator stops.
_CLOSING_PATIENCE_S = 1.0


class CoordinatorService(Service):
    """Owns jobs and decisions, and the one port on which workers and clients talk to it.

    Attributes:
        started: Fires when it listens, or fails with the reason why it cannot; never when it is
            stopped before that.
        finished: Fires when `shutdown_when_done` and every job has ended: 1 if one failed, or 0.
        port: The TCP port that it listens on.
    """

    def __init__(self, reactor: Any, settings: ServerSettings) -> None:
        self.settings = settings
        self.block_bytes = settings.block_bytes
        self.started: Deferred[None] = Deferred()
        self.finished: Deferred[int] = Deferred()
        self.port = settings.port
        self._reactor = reactor
        self._registry = Registry.load(settings.disabled_plugins, settings.allowed_plugins)
        self._state = ClusterState(
            Policy(
                required_workers=settings.required_workers,
                benchmark_duration_s=settings.benchmark_duration_s,
                max_retries=settings.max_retries,
                retry_delay_s=settings.retry_delay_s,
                fixed_crew=settings.fixed_crew,
            ),
            RegistryJudge(self._registry, self._diagnoses),
        )
        self._shelf = TicketShelf(settings.state_dir / "uploads", settings.upload_limit_bytes)
        self._runner = Runner(reactor)
        self._lock = FilesystemLock(str(settings.state_dir / "lock"))
        self._build: FfmpegBuild | None = None
        self._effects = EffectRunner(
            self._state,
            self._shelf,
            self._registry,
            post=self.post,
            session_of=lambda worker_id: self._by_worker.get(worker_id),
            changed=lambda job_id: self._to_show.add(job_id),
            closed=self._job_closed,
        )
        self._sessions: set[Session] = set()
        self._by_worker: dict[WorkerId, Session] = {}
        self._events: deque[Event] = deque()
        self._handling = False
        self._to_show: set[JobId] = set()
        self._starting: Deferred[None] | None = None
        self._listening: Any = None
        self._guard: GuardedFactory | None = None
        self._wake: Any = None
        self._loops = [
            self._loop(self._tend, _TEND_EVERY_S),
            self._loop(self._show, _SHOW_EVERY_S),
        ]

    def _loop(self, call: Callable[[], None], every_s: float) -> tuple[LoopingCall, float]:
        loop = LoopingCall(call)
        loop.clock = self._reactor
        return loop, every_s

    # --- start and stop ------------------------------------------------------------------------

    def startService(self) -> None:
        """Begin to listen; `started` tells when, or why not."""
        super().startService()  # type: ignore[no-untyped-call]
        for warning in (*self.settings.warnings, *plugin_warnings(self._registry)):
            log.warn("{warning}", warning=warning)
        self._starting = ensureDeferred(self._start())
        self._starting.addCallbacks(self.started.callback, self._cannot_start)

    def _cannot_start(self, failure: Any) -> None:
        if self.running:
            self.started.errback(failure)

    async def _start(self) -> None:
        settings = self.settings
        await deferToThread(self._prepare_state_dir)
        ffmpeg = find_ffmpeg(settings.ffmpeg, os.environ)
        self._build = await inspect(ffmpeg, self._runner)
        self._listening = await self._listen()
        self.port = self._listening.getHost().port
        for loop, every_s in self._loops:
            loop.start(every_s, now=False)
        log.info(
            "coordinator listens on {interface} port {port}; ffmpeg {version}; "
            "{required} workers needed",
            interface=settings.interface,
            port=self.port,
            version=self._build.version,
            required=settings.required_workers,
        )
        if settings.source is not None:
            request = JobRequest(settings.source.name, server_path=str(settings.source.resolve()))
            await self.submit(request)

    def _prepare_state_dir(self) -> None:
        """Make the directories; what an earlier run left of its jobs is not needed any more."""
        state_dir = files.make_private(self.settings.state_dir)
        if not self._lock.lock():
            raise Conflict(
                message=f"Another coordinator uses {state_dir}.",
                advice="Stop it, or give this one its own --state-dir.",
            )
        files.remove_tree(state_dir / "jobs")
        files.remove_tree(state_dir / "uploads")
        files.make_private(state_dir / "jobs")
        files.make_private(state_dir / "uploads")
        try:
            self.settings.output_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise files.storage_error(error, self.settings.output_dir) from error

    async def _listen(self) -> Any:
        settings = self.settings
        root = Resource()
        root.putChild(b"v1", bulk_tree(self._shelf, KINDS))
        socket = CoordinatorSocketFactory(
            self._reactor,
            lambda header: authorized(settings.token, header),
            self._open_session,
            _MAX_CONNECTIONS,
        )
        root.putChild(b"ws", socket.as_resource())
        site = CoordinatorSite(
            self._reactor,
            root,
            token=settings.token,
            block_limit=settings.block_bytes,
            loopback_only=is_loopback(settings.interface),
        )
        kind = TCP6ServerEndpoint if ":" in settings.interface else TCP4ServerEndpoint
        endpoint = kind(self._reactor, settings.port, interface=settings.interface)
        self._guard = GuardedFactory(self._reactor, site, _MAX_CONNECTIONS)
        try:
            return await endpoint.listen(self._guard)  # type: ignore[no-untyped-call]
        except CannotListenError as error:
            raise OutputUnwritable(
                message=f"Cannot listen on {settings.interface} port {settings.port}: "
                f"{error.socketError}.",
                advice="Choose another --port or --interface, or stop what uses this one.",
            ) from error

    async def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        for loop, _ in self._loops:
            if loop.running:
                loop.stop()
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        if self._listening is not None:
            await self._listening.stopListening()
        for session in list(self._sessions):
            session.close(CLOSE_NORMAL, "the coordinator stops")
        await self._effects.close()
        await self._runner.close()
        if self._guard is not None:
            await self._guard.close(_CLOSING_PATIENCE_S)
        if self._lock.locked:
            await deferToThread(files.remove_tree, self.settings.state_dir / "jobs")
            await deferToThread(files.remove_tree, self.settings.state_dir / "uploads")
            self._lock.unlock()

    def stopService(self) -> Deferred[None]:
        """End every job's processes, leave no partial file, and stop listening."""
        super().stopService()  # type: ignore[no-untyped-call]
        return ensureDeferred(self._stop())

    # --- the loop ------------------------------------------------------------------------------

    def seconds(self) -> float:
        """The monotonic clock of all decisions."""
        now: float = self._reactor.seconds()
        return now

    def post(self, event: Event) -> None:
        """Take an event in. Handling never re-enters: events that effects cause wait in line."""
        if not self.running:
            # What happens while everything ends must start nothing.
            return
        self._events.append(event)
        if self._handling:
            return
        self._handling = True
        try:
            while self._events:
                for effect in self._state.handle(self._events.popleft(), self.seconds()):
                    self._effects.carry_out(effect)
        finally:
            self._handling = False
        self._arm()

    def _arm(self) -> None:
        """Wake up when the next retry is due."""
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        due = self._state.next_wake(self.seconds())
        if due is not None and self.running:
            delay_s = max(0.05, due - self.seconds())
            self._wake = self._reactor.callLater(delay_s, self.post, Ticked())

    def _tend(self) -> None:
        for session in list(self._sessions):
            session.tend()
        for upload in self._shelf.abandoned(self.seconds()):
            discarding = deferToThread(upload.file.discard)
            discarding.addErrback(lambda failure: log.failure("cleaning up failed", failure))
        # Idle workers look again whether a second attempt at something overdue pays off.
        self.post(Ticked())

    def _show(self) -> None:
        """Tell clients about the jobs they watch that changed since the last time."""
        changed, self._to_show = self._to_show, set()
        watched = {job_id for s in self._sessions for job_id in s.watches.values()}
        for job_id in changed & watched & self._state.jobs.keys():
            view = self.job(job_id)
            for session in self._sessions:
                session.show_job(view)

    def _job_closed(self, job_id: JobId) -> None:
        """A job ended and was cleaned up: forget the oldest, stop if this was all there was."""
        ended = [job.id for job in self._state.jobs.values() if job.ended]
        for old_id in ended[:-_JOBS_REMEMBERED]:
            self._state.forget(old_id)
            self._shelf.hide_output(old_id)
        if self.settings.shutdown_when_done and not any(self._state.active_jobs()):
            failed = any(job.error is not None for job in self._state.jobs.values())
            if not self.finished.called:
                self.finished.callback(1 if failed else 0)

    # --- sessions ------------------------------------------------------------------------------

    def _open_session(self) -> Session:
        session = Session(self)
        self._sessions.add(session)
        return session

    def worker_opened(self, worker_id: WorkerId, session: Session) -> None:
        """A worker greeted; an earlier session of the same worker ends."""
        earlier = self._by_worker.get(worker_id)
        self._by_worker[worker_id] = session
        if earlier is not None:
            earlier.worker_id = None
            earlier.close(CLOSE_NORMAL, "the worker opened a new session")

    def session_closed(self, session: Session) -> None:
        """Forget a session."""
        self._sessions.discard(session)
        if session.worker_id is not None and self._by_worker.get(session.worker_id) is session:
            del self._by_worker[session.worker_id]

    def holds(self, worker_id: WorkerId, epoch: Epoch) -> bool:
        """Whether the attempt is live on that worker."""
        attempt = self._state.attempts.get(epoch)
        return attempt is not None and attempt.worker_id == worker_id

    def deliver(self, worker_id: WorkerId, result: messages.Result) -> None:
        """A worker says that its result is here; believe it only when it is."""
        epoch = Epoch(result.epoch)
        incoming = self._shelf.result(epoch)
        if incoming is None or not incoming.whole or incoming.sha256 != result.sha256:
            report = ErrorReport(
                Code.TRANSFER_FAILED, "the result did not arrive whole", retryable=True
            )
            self.post(AttemptFailed(epoch, report))
            return
        self.post(AttemptDelivered(epoch, result.proof))

    # --- what clients ask ----------------------------------------------------------------------

    async def submit(self, request: JobRequest) -> JobView:
        """Make a job.

        Raises:
            InvalidOption, ContainerUnsuitable: The settings contradict each other or the container.
            NotFound, Refused: The upload or the path cannot be used.
        """
        if self._build is None or not self.running:
            raise Refused(message="The coordinator is starting or stopping.")
        job_id = JobId(secrets.token_hex(6))
        spec = make_spec(request, self.settings, self._registry)
        source, uploaded = await self._source_of(request)
        media = JobMedia(
            job_id,
            spec,
            source,
            self.settings.state_dir / "jobs" / job_id,
            output_dir=self.settings.output_dir,
            runner=self._runner,
            build=self._build,
            stall_timeout_s=self.settings.stall_timeout_s,
        )
        self._effects.open_job(media, source if uploaded else None)
        log.info("job {id}: {source} submitted", id=job_id, source=spec.source_name)
        self.post(JobSubmitted(job_id, spec))
        return self.job(job_id)

    async def _source_of(self, request: JobRequest) -> tuple[Path, bool]:
        if request.upload_id is not None:
            return self._shelf.take_upload(request.upload_id).file.path, True
        path = Path(request.server_path or "")
        if not path.is_absolute():
            raise Refused(message=f"{path} is not an absolute path on the coordinator.")
        if not await deferToThread(self.settings.may_read, path):
            raise Refused(
                message=f"The coordinator may not read {path} for a client.",
                advice="Allow its directory with --source-dir on the coordinator, or upload it.",
            )
        return path, False

    def begin_upload(self, name: str, size_bytes: int) -> tuple[str, str]:
        """Make room for an upload; return its id and path."""
        upload = self._shelf.begin_upload(name, size_bytes, self.seconds())
        return upload.id, f"/v1/uploads/{upload.id}"

    def job(self, job_id: str, *, segments: bool = False) -> JobView:
        """Describe a job.

        Raises:
            NotFound: There is none.
        """
        job = self._state.jobs.get(JobId(job_id))
        if job is None:
            raise NotFound(message=f"There is no job {job_id}.")
        return reporting.job_view(job, self.seconds(), segments=segments)

    def jobs(self) -> tuple[JobView, ...]:
        """Describe all jobs, oldest first."""
        return tuple(self.job(job_id) for job_id in self._state.jobs)

    def _diagnoses(self) -> list[Diagnosis]:
        """What the connected workers say of encoders that do not work."""
        workers = [worker for worker in self._state.workers.values() if worker.available]
        return [diagnosis for worker in workers for diagnosis in worker.facts.diagnoses]

    def workers(self) -> tuple[WorkerView, ...]:
        """Describe all workers that are connected or were."""
        now = self.seconds()
        return tuple(reporting.worker_view(w, now) for w in self._state.workers.values())

    def cancel(self, job_id: str) -> JobView:
        """End a job.

        Raises:
            NotFound: There is none.
            Conflict: It has ended.
        """
        view = self.job(job_id)
        if view.ended:
            raise Conflict(message=f"Job {job_id} is {view.state} already.")
        self.post(JobCancelled(JobId(job_id)))
        return self.job(job_id)

    def output_path(self, job_id: str) -> str:
        """Where a completed job's file can be fetched, or ""."""
        return self._shelf.output_path(job_id)
