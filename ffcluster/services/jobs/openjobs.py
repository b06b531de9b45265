"""The media side of every job that has not ended: opened and closed one after the other."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, succeed
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.job import Job
from ffcluster.core.model import JobId
from ffcluster.errors import Cancelled
from ffcluster.services.jobs.jobmedia import JobMedia

log = Logger()


class OpenJobs:
    """Finds the media side of a job.

    Args:
        make: Makes it.
        remove: Removes what a job that is not open has on disk (blocks).
    """

    def __init__(self, make: Callable[[Job], JobMedia], remove: Callable[[JobId], None]) -> None:
        self._make = make
        self._remove = remove
        self._open: dict[JobId, JobMedia] = {}
        self._closing: dict[JobId, Deferred[None]] = {}

    def __getitem__(self, job_id: JobId) -> JobMedia:
        """The media side of an open job.

        Raises:
            Cancelled: It is not open: the job has ended meanwhile.
        """
        media = self._open.get(job_id)
        if media is None:
            raise _ended(job_id)
        return media

    def get(self, job_id: JobId) -> JobMedia | None:
        """The media side of a job, or None when it is not open."""
        return self._open.get(job_id)

    async def open(self, job: Job) -> JobMedia:
        """Open a job; an earlier time that it was open comes to its end first.

        Raises:
            Cancelled: The job has ended meanwhile.
        """
        await self._closed(job.id)
        if job.ended:
            raise _ended(job.id)
        if job.id not in self._open:
            self._open[job.id] = self._make(job)
        return self._open[job.id]

    def close(self, job_id: JobId, *, keep: bool) -> Deferred[None]:
        """End a job's processes and remove what only they needed; see `JobMedia.close`."""
        media = self._open.pop(job_id, None)
        if media is not None:
            self._await(job_id, ensureDeferred(media.close(keep=keep)))
        return self._closed(job_id)

    def forget(self, job_id: JobId) -> Deferred[None]:
        """Remove what a job that is not open still has on disk."""
        removing = self._closed(job_id)
        removing.addCallback(lambda _: deferToThread(self._remove, job_id))
        self._await(job_id, removing)
        return self._closed(job_id)

    def _await(self, job_id: JobId, closing: Deferred[None]) -> None:
        """Let a job not be opened before this is over."""
        closing.addErrback(lambda failure: log.failure("closing a job failed", failure))
        self._closing[job_id] = closing
        closing.addCallback(lambda _: self._over(job_id, closing))

    async def stop_all(self) -> None:
        """End the processes of all jobs; what they can be taken up from later stays."""
        ending = [ensureDeferred(media.stop()) for media in self._open.values()]
        ending += [self._closed(job_id) for job_id in self._closing]
        self._open.clear()
        await DeferredList(ending, consumeErrors=True)

    def _over(self, job_id: JobId, closing: Deferred[None]) -> None:
        if self._closing.get(job_id) is closing:
            del self._closing[job_id]

    def _closed(self, job_id: JobId) -> Deferred[None]:
        """Fires when nothing of an earlier time that the job was open is going on."""
        closing = self._closing.get(job_id)
        if closing is None:
            return succeed(None)
        told: Deferred[None] = Deferred()

        closing.addCallback(lambda _: told.callback(None))
        return told


def _ended(job_id: JobId) -> Cancelled:
    return Cancelled(message=f"Job {job_id} has ended.")
