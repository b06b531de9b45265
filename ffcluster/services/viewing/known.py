"""What viewers know of jobs, workers and the cluster, and what is to be said when that changed.

Says only what differs, and what only tells that time goes by more rarely. Knows no viewer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from ffcluster.core.model import JobId, WorkerId
from ffcluster.web.stream import About, frame

# Members that change all the time; they are told with a new state, and every now and then.
_RESTLESS: Mapping[str, frozenset[str]] = {
    "status": frozenset({"uptime_s"}),
    "job": frozenset({"elapsed_s"}),
    "worker": frozenset({"connected_s", "last_heard_at", "fps", "load"}),
}
_RESTLESS_EVERY_S = 2.5
_SHARES_EVERY_S = 2.0

Resource = Mapping[str, Any]


class Window(Protocol):
    """What viewers see: the same JSON values as the REST resources, rounded to what people read."""

    def job(self, job_id: JobId) -> Resource | None:
        """A job without its shares, or None when there is none."""

    def shares(self, job_id: JobId) -> Sequence[Resource]:
        """What each worker does for a job; nothing when there is no such job."""

    def worker(self, worker_id: WorkerId) -> Resource | None:
        """A worker, or None when there is none."""

    def status(self) -> Resource:
        """The cluster as a whole."""


@attrs.define
class Touched:
    """What may look different since the last time, in the order in which it was said."""

    jobs: dict[JobId, None] = attrs.field(factory=dict)
    workers: dict[WorkerId, None] = attrs.field(factory=dict)
    segments: dict[JobId, dict[int, None]] = attrs.field(factory=dict)
    recut: set[JobId] = attrs.field(factory=set)

    def __bool__(self) -> bool:
        return bool(self.jobs or self.workers or self.segments or self.recut)


@attrs.frozen
class Told:
    """What changed of everything that is not of one job alone, as frames."""

    workers: bytes
    jobs: bytes
    status: bytes

    def about(self, about: About | None) -> bytes:
        """What a viewer is told that wants to know this; None is everything."""
        workers = b"" if about is About.JOBS else self.workers
        return workers + (b"" if about is About.WORKERS else self.jobs) + self.status


class Known:
    """What viewers were told, and frames that tell the rest.

    Args:
        window: What is shown.
        seconds: The coordinator's clock.
    """

    def __init__(self, window: Window, seconds: Callable[[], float]) -> None:
        self._window = window
        self._seconds = seconds
        self._told: dict[tuple[str, str], Resource] = {}
        self._restless_at: dict[tuple[str, str], float] = {}
        self._shares: dict[JobId, tuple[float, dict[str, Resource]]] = {}

    def __len__(self) -> int:
        """How much is remembered of what they were told."""
        return len(self._told) + len(self._restless_at) + len(self._shares)

    def clear(self) -> None:
        """Nobody watches any more."""
        self._told.clear()
        self._restless_at.clear()
        self._shares.clear()

    def forget_workers(self) -> None:
        """Nobody watches workers any more."""
        for key in [key for key in self._told if key[0] == "worker"]:
            self._forget(key)

    def forget_shares(self, job_id: JobId) -> None:
        """Somebody else may know other shares of this job: the next ones are told whole."""
        self._shares.pop(job_id, None)

    def learn_job(self, job_id: JobId) -> None:
        """Viewers read by themselves how a job looks now."""
        self._learn("job", job_id, self._window.job(job_id))

    def learn_worker(self, worker_id: WorkerId) -> None:
        """Viewers read by themselves how a worker looks now."""
        self._learn("worker", worker_id, self._window.worker(worker_id))

    def learn_status(self) -> None:
        """Viewers read by themselves how the cluster is doing now."""
        self._learn("status", "", self._window.status())

    def _learn(self, kind: str, name: str, shown: Resource | None) -> None:
        if shown is not None:
            self._told[kind, name] = shown
            self._restless_at[kind, name] = self._seconds()

    # --- what is to be said --------------------------------------------------------------------

    def job(self, job_id: JobId) -> bytes:
        """What is to be said of a job, as frames; b"" is nothing."""
        return self._changed("job", job_id, self._window.job(job_id))

    def worker(self, worker_id: WorkerId) -> bytes:
        """The same of a worker."""
        return self._changed("worker", worker_id, self._window.worker(worker_id))

    def status(self) -> bytes:
        """The same of the cluster."""
        return self._changed("status", "", self._window.status())

    def shares(self, job_id: JobId) -> bytes | None:
        """The same of what workers do for a job; None: it is too early to say it."""
        now = self._seconds()
        at, known = self._shares.get(job_id, (now - _SHARES_EVERY_S, {}))
        if now < at + _SHARES_EVERY_S:
            return None
        rows = {row["worker_id"]: row for row in self._window.shares(job_id)}
        self._shares[job_id] = now, rows
        changed = [
            {"worker_id": worker_id, **_different(row, known.get(worker_id, {}))}
            for worker_id, row in rows.items()
            if known.get(worker_id) != row
        ]
        gone = [worker_id for worker_id in known if worker_id not in rows]
        if not changed and not gone:
            return b""
        return frame("shares", {"job_id": job_id, "shares": changed, "gone": gone})

    def _changed(self, kind: str, name: str, shown: Resource | None) -> bytes:
        key = kind, name
        if shown is None:
            self._forget(key)
            return frame(kind, {"id": name, "removed": True})
        known = self._told.get(key, {})
        changes = _different(shown, known)
        restless, now = changes.keys() & _RESTLESS[kind], self._seconds()
        early = now < self._restless_at.get(key, now) + _RESTLESS_EVERY_S
        if restless and known and early and "state" not in changes:
            for member in restless:
                del changes[member]
            shown = {**shown, **{member: known[member] for member in restless if member in known}}
        elif restless:
            self._restless_at[key] = now
        self._told[key] = shown
        # That a worker was heard of is news; that a job is older is none.
        if not changes or (kind != "worker" and changes.keys() <= restless):
            return b""
        named = {"id": name} if name else {}
        return frame(kind, {**named, "changes": changes})

    def _forget(self, key: tuple[str, str]) -> None:
        self._told.pop(key, None)
        self._restless_at.pop(key, None)


def _different(shown: Resource, known: Resource) -> dict[str, Any]:
    """Members that are not known, or not with these values."""
    return {m: value for m, value in shown.items() if m not in known or known[m] != value}
