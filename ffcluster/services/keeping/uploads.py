"""How long the uploaded sources of ended jobs stay: for comparisons with the result, and retries.

One goes when its time has passed, when its job is forgotten, or when its room is needed. Refuses
to touch what a job that goes on, or what `--keep-failed` promises, still needs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.cluster import ClusterState
from ffcluster.core.job import Job
from ffcluster.core.model import JobId
from ffcluster.services.keeping.holdings import Holdings
from ffcluster.services.settings.config import ServerSettings
from ffcluster.store.space import Reserve

log = Logger()


class KeptUploads:
    """The uploaded sources of ended jobs.

    Only those are removed whose jobs' ends are durable: a coordinator that forgot an end would
    need them again.

    Args:
        settings: How long they stay.
        state: The cluster's state; only read here.
        holdings: Who needs which blob.
        reserve: Whether there is room.
        seconds: The coordinator's clock.
        changed: Told of every job that lost its source.
    """

    def __init__(
        self,
        settings: ServerSettings,
        state: ClusterState,
        holdings: Holdings,
        reserve: Reserve,
        *,
        seconds: Callable[[], float],
        changed: Callable[[JobId], None],
    ) -> None:
        self._settings = settings
        self._state = state
        self._holdings = holdings
        self._reserve = reserve
        self._seconds = seconds
        self._changed = changed
        # Jobs whose ends are durable, and when they ended.
        self._kept: dict[JobId, float] = {}
        # Two who need room at the same time must not both remove for it.
        self._freeing = DeferredLock()

    def until(self, job: Job) -> float | None:
        """Until when the uploaded source of an ended job stays at most; None when it is gone."""
        if job.ended_at is None or not self._holdings.holds_source(job.id):
            return None
        if job.kept:
            settings = self._settings
            return job.ended_at + max(settings.keep_failed_s, settings.keep_uploads_s)
        until = job.ended_at + self._settings.keep_uploads_s
        return until if until > self._seconds() else None

    async def take_hold(self) -> None:
        """Hold what an earlier process kept and what is not too old; nothing was swept yet."""
        ended = [job for job in self._state.jobs.values() if job.ended and not job.kept]
        uploaded = [job for job in ended if job.source.uploaded and self._lasts(job)]
        for job in await deferToThread(self._found, uploaded):
            self._holdings.add_source(job.id, job.source)
            self._keep(job)

    def _found(self, jobs: list[Job]) -> list[Job]:
        return [job for job in jobs if self._holdings.source_path(job.source).is_file()]

    def need(self, job: Job) -> None:
        """A job begins, or is tried again: its source stays until it has ended."""
        self._kept.pop(job.id, None)
        self._holdings.add_source(job.id, job.source)

    def let_go(self, job_id: JobId) -> None:
        """A job's results are not needed any more; its source stays, unless it is forgotten."""
        job = self._state.jobs.get(job_id)
        if job is None:
            self._kept.pop(job_id, None)
            self._holdings.drop_all(job_id)
            return
        self._holdings.drop_results(job_id)
        if not job.ended or job.kept or not job.source.uploaded:
            return
        if self._lasts(job):
            self._keep(job)
        else:
            self._drop(job_id)

    def _keep(self, job: Job) -> None:
        if job.ended_at is not None and self._holdings.holds_source(job.id):
            self._kept[job.id] = job.ended_at

    def _lasts(self, job: Job) -> bool:
        until = (job.ended_at or 0.0) + self._settings.keep_uploads_s
        return until > self._seconds()

    def _drop(self, job_id: JobId) -> Deferred[None]:
        self._kept.pop(job_id, None)
        dropped = self._holdings.drop_source(job_id)
        self._changed(job_id)
        return dropped

    def expire(self) -> None:
        """Remove those whose time has passed."""
        for job in self._removable():
            if not self._lasts(job):
                self._drop(job.id)

    def _removable(self) -> list[Job]:
        """The jobs whose sources nobody needs; one that is being tried again is none of them."""
        jobs = (self._state.jobs.get(job_id) for job_id in self._kept)
        return [job for job in jobs if job is not None and job.ended]

    # --- room ----------------------------------------------------------------------------------

    async def check_room(self) -> str:
        """Why new work must wait, or "": what is kept here makes room for it first.

        Raises:
            OutputUnwritable: The file system does not answer.
        """
        async with self._freeing:
            return await self._freed(self._reserve.check)

    async def room_for(self, size_bytes: int) -> str:
        """Why a file of this size cannot be taken in, or "" when there is room for it now.

        Nothing is removed for a file that would find no room anyway.

        Raises:
            OutputUnwritable: The file system does not answer.
        """
        async with self._freeing:
            at_most: int = await deferToThread(self._sizes, self._oldest())
            needed_bytes = max(0, size_bytes - at_most)
            hopeless: str = await deferToThread(self._reserve.room_for, needed_bytes)
            if hopeless:
                return str(await deferToThread(self._reserve.room_for, size_bytes))
            return await self._freed(lambda: self._reserve.room_for(size_bytes))

    async def _freed(self, look: Callable[[], str]) -> str:
        """Remove one after the other until there is room; why there is still none, or ""."""
        reason: str = await deferToThread(look)
        while reason and (oldest := self._oldest()):
            for job in oldest[0]:
                if job.ended:  # Another may be tried again while the first one's is removed.
                    log.info("job {job}: its uploaded source is removed to make room", job=job.id)
                    await self._drop(job.id)
            reason = await deferToThread(look)
        return reason

    def _oldest(self) -> list[list[Job]]:
        """The jobs whose sources may go, those of one file together; the oldest end first.

        A file that another job still needs would make no room.
        """
        removable = self._removable()
        free = {job.id for job in removable}
        needed = {job.source.location for job in self._state.jobs.values() if job.id not in free}
        files: dict[str, list[Job]] = {}
        for job in removable:
            if job.source.location not in needed:
                files.setdefault(job.source.location, []).append(job)
        return sorted(files.values(), key=lambda jobs: max(self._kept[job.id] for job in jobs))

    def _sizes(self, files: list[list[Job]]) -> int:
        """Bytes in these files (blocks)."""
        size_bytes = 0
        for jobs in files:
            with contextlib.suppress(OSError):
                size_bytes += self._holdings.source_path(jobs[0].source).stat().st_size
        return size_bytes
