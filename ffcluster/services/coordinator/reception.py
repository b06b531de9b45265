"""Every open session of the coordinator, and what sessions ask of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ffcluster.core.cluster import ClusterState
from ffcluster.core.events import Event
from ffcluster.core.load import WorkerLoad
from ffcluster.core.model import Epoch, JobId, WorkerId
from ffcluster.core.views import JobView
from ffcluster.net import messages
from ffcluster.net.access import Caller
from ffcluster.net.websocket import CLOSE_FORBIDDEN, CLOSE_NORMAL
from ffcluster.services.coordinator.gateway import Session
from ffcluster.services.coordinator.loop import DecisionLoop
from ffcluster.services.coordinator.requests import ClientRequests
from ffcluster.services.jobs.delivery import Deliveries
from ffcluster.services.viewing.load import Loads

# A worker whose lease ends must have been given up well before.
_BEATS_PER_LEASE = 6
_LONGEST_HEARTBEAT_S = 5.0
_LONGEST_TEND_S = 1.0


class Reception:
    """The desk behind all sessions; see `ffcluster.services.coordinator.gateway.Desk`.

    Attributes:
        block_bytes: Unit in which bulk data is sent.
        heartbeat_s: Silence after which a side says that it is alive.
        tend_every_s: How often `tend` must be called.
    """

    def __init__(
        self,
        state: ClusterState,
        loop: DecisionLoop,
        deliveries: Deliveries,
        requests: ClientRequests,
        *,
        seconds: Callable[[], float],
        loads: Loads,
        block_bytes: int,
        output_path: Callable[[str], str],
    ) -> None:
        self.block_bytes = block_bytes
        self.heartbeat_s = min(_LONGEST_HEARTBEAT_S, state.policy.lease_s / _BEATS_PER_LEASE)
        self.tend_every_s = min(_LONGEST_TEND_S, self.heartbeat_s / 4)
        self._state = state
        self._loop = loop
        self._deliveries = deliveries
        self._requests = requests
        self._loads = loads
        self._seconds = seconds
        self._output_path = output_path
        self._sessions: set[Session] = set()
        self._by_worker: dict[WorkerId, Session] = {}
        self._to_show: set[JobId] = set()

    # --- what the coordinator asks -------------------------------------------------------------

    def open_session(self, caller: Caller) -> Session:
        """What stands behind a new connection of `caller`."""
        session = Session(self, caller)
        self._sessions.add(session)
        return session

    def session_of(self, worker_id: WorkerId) -> Session | None:
        """The open session of a worker, or None."""
        return self._by_worker.get(worker_id)

    def tend(self) -> None:
        """Let every session say that it is alive, or give its peer up."""
        for session in list(self._sessions):
            session.tend()

    def changed(self, job_id: JobId) -> None:
        """A job looks different now to those who watch it."""
        self._to_show.add(job_id)

    def show(self) -> None:
        """Tell clients about the jobs they watch that changed since the last time."""
        changed, self._to_show = self._to_show, set()
        watched = {job_id for s in self._sessions for job_id in s.watches.values()}
        for job_id in changed & watched & self._state.jobs.keys():
            view = self.job(job_id)
            for session in self._sessions:
                session.show_job(view)

    def end_for(self, token_id: str) -> None:
        """End every session that was opened with a token, which is good no more."""
        for session in list(self._sessions):
            if session.caller.token_id == token_id:
                session.close(CLOSE_FORBIDDEN, "the token was revoked")

    def close(self, reason: str) -> None:
        """End every session."""
        for session in list(self._sessions):
            session.close(CLOSE_NORMAL, reason)

    # --- what sessions ask ---------------------------------------------------------------------

    def seconds(self) -> float:
        """The coordinator's clock."""
        return self._seconds()

    def post(self, event: Event) -> None:
        """Take an event into the cluster's state."""
        self._loop.post(event)

    def deliver(self, result: messages.Result) -> None:
        """A worker says that the result of its live attempt arrived whole."""
        self._deliveries.take(result)

    def holds(self, worker_id: WorkerId, epoch: Epoch) -> bool:
        """Whether the attempt is live on that worker."""
        attempt = self._state.attempts.get(epoch)
        return attempt is not None and attempt.worker_id == worker_id

    def told_load(self, worker_id: WorkerId, load: WorkerLoad) -> None:
        """A worker says how its machine is."""
        self._loads.told(worker_id, load)

    def worker_opened(self, worker_id: WorkerId, session: Session) -> None:
        """A worker greeted; an earlier session of the same worker ends."""
        earlier = self._by_worker.get(worker_id)
        self._by_worker[worker_id] = session
        self._loads.opened(worker_id, lambda: session.heard_at)
        if earlier is not None:
            earlier.worker_id = None
            earlier.close(CLOSE_NORMAL, "the worker opened a new session")

    def session_closed(self, session: Session) -> None:
        """Forget a session."""
        self._sessions.discard(session)
        if session.worker_id is not None and self._by_worker.get(session.worker_id) is session:
            del self._by_worker[session.worker_id]
            self._loads.closed(session.worker_id)

    async def answer(self, request: Any) -> messages.ToClient:
        """Do what a client asks, and say what came of it."""
        return await self._requests.answer(request)

    def job(self, job_id: str) -> JobView:
        """Describe a job.

        Raises:
            NotFound: There is none.
        """
        return self._requests.job(job_id)

    def output_path(self, job_id: str) -> str:
        """Where a completed job's file can be fetched, or ""."""
        return self._output_path(job_id)
