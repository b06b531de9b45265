"""Everybody who watches: stored events as they become durable, and what changed of what is shown.

What changed is worked out once for all viewers, only while there is one, only of what was said to
have changed, and in short slices, so that watching never holds the coordinator up. Decides nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from ffcluster import __version__
from ffcluster.core import reporting
from ffcluster.core.cluster import ClusterState
from ffcluster.core.durable import Changes, EventEntry
from ffcluster.core.model import JobId, WorkerId
from ffcluster.errors import EventsGone, TooMany
from ffcluster.services.keeping.past import Reader
from ffcluster.services.viewing.known import Known, Resource, Told, Touched, Window
from ffcluster.web.stream import (
    HEARTBEAT,
    About,
    EventPage,
    Viewer,
    drained,
    event_frame,
    frame,
    shown_event,
    timestamp,
)

log = Logger()

MOST_VIEWERS = 100
MOST_SEGMENTS = 1000
_RECENT = 512
_PAGE = 100
_SLICE_S = 0.005
_HEARTBEAT_S = 15.0
# A viewer that takes nothing for so long makes room for others.
_PATIENCE_S = 60.0
_STATUS_EVERY_S = 2.0


@attrs.define
class _Recent:
    """A stored event that may still be asked for, encoded when somebody wants it."""

    entry: EventEntry
    _frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        if self._frame is None:
            self._frame = event_frame(self.entry)
        return self._frame


def _wants_workers(viewer: Viewer) -> bool:
    return viewer.job_id is None and viewer.about is not About.JOBS


class Viewers:
    """Shows what happens to everybody who watches; see `ffcluster.web.stream.Hub`.

    Args:
        reactor: Runs what does not fit into one slice.
        state: The cluster's state; only read here.
        window: What is shown of it.
        reader: Reads events that were stored earlier.
        seconds: The coordinator's clock.
        last_event: Number of the last event that was stored before.
    """

    def __init__(
        self,
        reactor: Any,
        state: ClusterState,
        window: Window,
        reader: Reader,
        *,
        seconds: Callable[[], float],
        last_event: int,
    ) -> None:
        self.last_event = last_event
        self._reactor = reactor
        self._state = state
        self._reader = reader
        self._seconds = seconds
        self._viewers: dict[Viewer, None] = {}
        self._recent: deque[_Recent] = deque(maxlen=_RECENT)
        self._touched = Touched()
        # Jobs whose shares changed since they were told.
        self._shared: dict[JobId, None] = {}
        self._known = Known(window, seconds)
        # Whether somebody watches the workers.
        self._looks_at_workers = False
        # The first of them goes on; the others wait for it.
        self._chores: deque[Iterator[None]] = deque()
        self._status_at = 0.0
        self._beat_at = 0.0

    def __len__(self) -> int:
        return len(self._viewers)

    # --- what the coordinator says -------------------------------------------------------------

    def stored(self, batch: Sequence[Changes]) -> None:
        """These changes are durable now."""
        fresh = [_Recent(entry) for changes in batch for entry in changes.events]
        if fresh:
            self._recent.extend(fresh)
            self.last_event = fresh[-1].entry.number
        if not self._viewers:
            return
        for recent in fresh:
            self._gone(recent.entry)
        for changes in batch:
            self._segments_stored(changes)
        for viewer in list(self._viewers):
            if viewer.live:
                self._pass_on(viewer, fresh)

    def job_changed(self, job_id: JobId) -> None:
        """A job looks different now."""
        if self._viewers:
            self._touched.jobs.setdefault(job_id)

    def worker_changed(self, worker_id: WorkerId) -> None:
        """A worker looks different now."""
        if self._looks_at_workers:
            self._touched.workers.setdefault(worker_id)

    def _gone(self, entry: EventEntry) -> None:
        """What is removed has no other way to say so."""
        if entry.kind == "job.removed" and entry.job_id is not None:
            self._touched.jobs.setdefault(entry.job_id)
        elif entry.kind == "worker.removed" and entry.worker_id is not None:
            self.worker_changed(entry.worker_id)

    def _segments_stored(self, changes: Changes) -> None:
        watched = self._watched()
        if not watched:
            return
        touched = [(s.job_id, s.frames.first) for s in changes.segments]
        touched += [(a.job_id, a.frames.first) for a in changes.attempts]
        for job_id, first in touched:
            if job_id in watched:
                self._touched.segments.setdefault(job_id, {}).setdefault(first)
        self._touched.recut |= {job_id for job_id, _ in changes.removed_segments} & watched

    def _watched(self) -> set[JobId]:
        """Jobs that somebody watches closely."""
        return {viewer.job_id for viewer in self._viewers if viewer.job_id is not None}

    def close(self) -> None:
        """End every stream."""
        for viewer in list(self._viewers):
            viewer.close()

    # --- who watches ---------------------------------------------------------------------------

    async def reachable(self, after: int) -> None:
        """See `Hub.reachable`."""
        if after == self.last_event or self._remembered(after):
            return
        rows = await self._reader.read(lambda store: store.events(after, 1))
        if after > self.last_event or not rows or rows[0].number != after + 1:
            raise EventsGone(
                message=f"The events after number {after} are not kept any more.",
                advice="Read anew what you show, and begin without Last-Event-ID.",
            )

    async def page(self, after: int | None, limit: int, job_id: JobId | None) -> EventPage:
        """See `Hub.page`."""
        if after is not None:
            await self.reachable(after)
        begin = -1 if after is None else after
        rows = await self._reader.read(lambda store: store.events(begin, limit, job_id))
        return EventPage(
            items=tuple(shown_event(entry) for entry in rows),
            next_cursor=str(rows[-1].number) if len(rows) == limit else None,
            last_event=self.last_event,
        )

    def attach(self, viewer: Viewer, after: int | None) -> None:
        """See `Hub.attach`."""
        if len(self._viewers) >= MOST_VIEWERS:
            raise TooMany(
                message=f"{MOST_VIEWERS} viewers watch already.", advice="Try again later."
            )
        first = not self._viewers
        viewer.shown = self.last_event if after is None else after
        viewer.drained = lambda: self._drained(viewer)
        self._viewers[viewer] = None
        self._prime(viewer, first=first)
        viewer.begin(lambda: self._detach(viewer))
        viewer.send(frame("hello", self._hello()))
        if not self._catch_up(viewer):
            ensureDeferred(self._replay(viewer)).addErrback(
                lambda failure: self._replay_failed(viewer, failure)
            )

    def _hello(self) -> Resource:
        now = timestamp(self._seconds())
        return {"version": __version__, "last_event": self.last_event, "server_time": now}

    def _detach(self, viewer: Viewer) -> None:
        self._viewers.pop(viewer, None)
        if viewer.job_id is not None and viewer.job_id not in self._watched():
            self._known.forget_shares(viewer.job_id)
        if self._looks_at_workers and not any(map(_wants_workers, self._viewers)):
            self._looks_at_workers = False
            self._touched.workers.clear()
            self._known.forget_workers()
        if not self._viewers:
            self._chores.clear()
            self._touched = Touched()
            self._shared.clear()
            self._known.clear()

    # --- stored events -------------------------------------------------------------------------

    def _remembered(self, after: int) -> bool:
        """Whether all events after this number are still in memory."""
        return bool(self._recent) and self._recent[0].entry.number - 1 <= after <= self.last_event

    def _pass_on(self, viewer: Viewer, events: Sequence[_Recent]) -> None:
        """Show stored events, each viewer those it was not shown yet."""
        wanted = [
            recent.frame
            for recent in events
            if recent.entry.number > viewer.shown and viewer.job_id in (None, recent.entry.job_id)
        ]
        viewer.shown = self.last_event
        if wanted:
            viewer.send(b"".join(wanted))

    def _catch_up(self, viewer: Viewer) -> bool:
        """Show a viewer what it missed, from memory, and all that comes; False: that is not all."""
        if viewer.shown != self.last_event and not self._remembered(viewer.shown):
            return False
        self._pass_on(viewer, self._recent)
        viewer.live = True
        if viewer.missed:
            self._reset(viewer, "something changed while earlier events were sent")
        self._drained(viewer)
        return True

    async def _replay(self, viewer: Viewer) -> None:
        """Show a viewer what was stored after what it has, and nothing twice."""
        job_id = viewer.job_id
        while not viewer.closed and not self._catch_up(viewer):
            after, last = viewer.shown, self.last_event
            first, rows = await self._reader.read(
                lambda store, after=after: (  # type: ignore[misc]
                    store.events(after, 1),
                    store.events(after, _PAGE, job_id),
                )
            )
            if not first or first[0].number != after + 1:
                # They were forgotten meanwhile: it comes again, and is told so.
                viewer.close()
            for entry in rows:
                await drained(viewer)
                viewer.send(event_frame(entry))
                viewer.shown = entry.number
            if len(rows) < _PAGE:
                viewer.shown = max(viewer.shown, last)

    def _replay_failed(self, viewer: Viewer, failure: Any) -> None:
        log.failure("cannot read earlier events", failure)
        viewer.close()

    def _drained(self, viewer: Viewer) -> None:
        """A viewer took all that was sent: if something was left out, it looks anew."""
        if viewer.skipped and viewer.live and viewer.writable:
            self._reset(viewer, "some of what happened could not be sent in time")

    def _reset(self, viewer: Viewer, reason: str) -> None:
        viewer.skipped = viewer.missed = False
        viewer.send(frame("reset", {"reason": reason, "last_event": self.last_event}))

    # --- what changed --------------------------------------------------------------------------

    def show(self) -> None:
        """Show what changed since the last time; called several times a second."""
        if not self._viewers:
            return
        now = self._seconds()
        self._beat(now)
        if self._chores:
            return
        if self._touched or now >= self._status_at + _STATUS_EVERY_S:
            touched, self._touched = self._touched, Touched()
            self._status_at = now
            self._begin(self._shown(touched))

    def _beat(self, now: float) -> None:
        if now < self._beat_at + _HEARTBEAT_S:
            return
        self._beat_at = now
        for viewer in list(self._viewers):
            if viewer.writable:
                viewer.paused_at = None
                viewer.send(HEARTBEAT)
                continue
            viewer.paused_at = now if viewer.paused_at is None else viewer.paused_at
            if now >= viewer.paused_at + _PATIENCE_S:
                viewer.abort()

    def _prime(self, viewer: Viewer, *, first: bool) -> None:
        """Learn how everything looks before it changes, so that little is to be said of it then."""
        if viewer.job_id is not None:
            self._known.forget_shares(viewer.job_id)
        if _wants_workers(viewer) and not self._looks_at_workers:
            self._looks_at_workers = True
            self._begin(self._primed_workers([*self._state.workers]))
        if first:
            self._begin(self._primed_jobs([*self._state.jobs]))

    def _primed_workers(self, workers: list[WorkerId]) -> Iterator[None]:
        for worker_id in workers:
            if worker_id not in self._touched.workers:
                self._known.learn_worker(worker_id)
            yield

    def _primed_jobs(self, jobs: list[JobId]) -> Iterator[None]:
        for job_id in jobs:
            job = self._state.jobs.get(job_id)
            if job is not None and not job.ended and job_id not in self._touched.jobs:
                self._known.learn_job(job_id)
            yield
        self._known.learn_status()

    def _begin(self, chores: Iterator[None]) -> None:
        self._chores.append(chores)
        if len(self._chores) == 1:
            self._slice(chores)

    def _slice(self, chores: Iterator[None]) -> None:
        """Do some of what is to be done, and leave the rest for when others had their turn."""
        if not self._chores or self._chores[0] is not chores:
            return
        deadline = time.perf_counter() + _SLICE_S
        try:
            for _ in chores:
                if time.perf_counter() >= deadline:
                    self._reactor.callLater(0, self._slice, chores)
                    return
        except Exception:  # noqa: BLE001 - it is logged; what changes next is shown all the same
            log.failure("cannot show what changed")
        if self._chores and self._chores[0] is chores:
            self._chores.popleft()
            if self._chores:
                self._slice(self._chores[0])

    def _shown(self, touched: Touched) -> Iterator[None]:
        of_workers: list[bytes] = []
        for worker_id in touched.workers:
            of_workers.append(self._known.worker(worker_id))
            yield
        of_jobs: dict[JobId, list[bytes]] = {}
        for job_id in touched.jobs:
            of_jobs[job_id] = [self._known.job(job_id)]
            yield
        changes = Told(
            b"".join(of_workers), b"".join(one for (one,) in of_jobs.values()), self._known.status()
        )
        for job_id in self._shares_due(touched):
            shares = self._known.shares(job_id)
            if shares is not None:
                del self._shared[job_id]
                of_jobs.setdefault(job_id, []).append(shares)
            yield
        for job_id, firsts in touched.segments.items():
            rows: list[list[Any]] = []
            for first in list(firsts)[: MOST_SEGMENTS + 1]:
                rows += self._row(job_id, first)
                yield
            if len(firsts) > MOST_SEGMENTS:
                touched.recut.add(job_id)
            elif rows:
                shown = frame("segments", {"job_id": job_id, "segments": rows})
                of_jobs.setdefault(job_id, []).append(shown)
        self._tell(changes, of_jobs, touched.recut)

    def _shares_due(self, touched: Touched) -> list[JobId]:
        """Jobs that are watched closely and whose shares may be others than were told."""
        watched = self._watched()
        self._shared.update(touched.jobs)
        self._shared = {job_id: None for job_id in self._shared if job_id in watched}
        return list(self._shared)

    def _row(self, job_id: JobId, first: int) -> list[list[Any]]:
        job = self._state.jobs.get(job_id)
        segment = job.segments.get(first) if job else None
        if job is None or segment is None:
            return []
        view = reporting.segment_view(job, segment)
        return [[first, view.frame_count, view.state, view.worker, view.attempts, view.size_bytes]]

    def _tell(self, changes: Told, of_jobs: Mapping[JobId, list[bytes]], recut: set[JobId]) -> None:
        by_what = {about: changes.about(about) for about in (None, *About)}
        for viewer in list(self._viewers):
            job_id = viewer.job_id
            told = by_what[viewer.about] if job_id is None else b"".join(of_jobs.get(job_id, []))
            if not viewer.live and not viewer.writable:
                # It is busy with what was before; when it is done with that, it looks anew.
                viewer.missed = viewer.missed or bool(told)
            elif job_id in recut and not viewer.skipped:
                self._reset(viewer, "more changed than can be told")
            elif told:
                viewer.send(told)
