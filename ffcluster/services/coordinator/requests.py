"""What clients ask of the coordinator, by messages or by the REST API, and what they are answered.

Whatever changes something is answered only when the change is durable. Refuses with a sentence
what cannot be done in the state that a job or worker is in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import attrs

from ffcluster.core import reporting
from ffcluster.core.cluster import ClusterState
from ffcluster.core.events import (
    Event,
    JobCancelled,
    JobPaused,
    JobPrioritised,
    JobRemoved,
    JobResumed,
    JobRetried,
    WorkerDraining,
    WorkerRemoved,
    WorkerResumed,
)
from ffcluster.core.job import Job, JobState
from ffcluster.core.model import JobId, JobRequest, WorkerId
from ffcluster.core.rivalry import slowdowns
from ffcluster.core.views import JobView, WorkerView
from ffcluster.core.worker import Worker
from ffcluster.errors import Conflict, NotFound, ProtocolError
from ffcluster.net import messages
from ffcluster.services.keeping.past import Past
from ffcluster.services.keeping.tokens import TokenBook
from ffcluster.services.viewing.load import Loads

_SLOWDOWNS_FOR_S = 1.0


class Submissions(Protocol):
    """Where new jobs and their sources come in; see `ffcluster.services.jobs.intake`."""

    async def submit(self, request: JobRequest) -> JobId:
        """Make a job, durably; return its id."""

    async def begin_upload(self, name: str, size_bytes: int) -> tuple[str, str]:
        """Make room for an upload; return its id and path."""


class ClientRequests:
    """Answers clients.

    Args:
        state: The cluster's state; only read here.
        seconds: The coordinator's clock.
        settled: Takes an event in, and waits until what it changed is durable.
        submissions: Where new jobs come in.
        past: What is stored of jobs beyond what the state remembers.
        loads: What workers say of their machines.
        tokens: Who may come in.
        output_path: Where a completed job's file can be fetched, or "".
        kept_until: Until when the uploaded source of an ended job stays, or None.
    """

    def __init__(
        self,
        state: ClusterState,
        seconds: Callable[[], float],
        *,
        settled: Callable[[Event], Awaitable[None]],
        submissions: Submissions,
        past: Past,
        loads: Loads,
        tokens: TokenBook,
        output_path: Callable[[str], str],
        kept_until: Callable[[Job], float | None],
    ) -> None:
        self._state = state
        self._seconds = seconds
        self._settled = settled
        self._submissions = submissions
        self._past = past
        self._loads = loads
        self._tokens = tokens
        self._output_path = output_path
        self._kept_until = kept_until
        self._slowdowns: Mapping[JobId, float] = {}
        self._slowdowns_until = 0.0

    # --- messages ------------------------------------------------------------------------------

    async def answer(self, request: Any) -> messages.ToClient:
        """Do what is asked and say what came of it.

        Raises:
            NotFound: There is no such job, worker or upload.
            Conflict: It is in a state in which this cannot be done.
            FfclusterError: Whatever else is wrong with the request.
        """
        number: int = request.request
        match request:
            case messages.Submit(job=job):
                return self._shown(number, await self._submissions.submit(job))
            case messages.BeginUpload(name=name, size_bytes=size):
                upload_id, path = await self._submissions.begin_upload(name, size)
                return messages.UploadReady(number, upload_id, path)
            case messages.ListJobs():
                views = tuple(self._view(job) for job in self._state.jobs.values())
                return messages.Jobs(number, views)
            case messages.ListWorkers():
                workers = self._state.workers
                return messages.Workers(number, tuple(self.worker(one) for one in workers))
            case messages.DrainWorker() | messages.ResumeWorker() | messages.RemoveWorker():
                return await self._about_worker(request)
            case messages.AddToken() | messages.ListTokens() | messages.RevokeToken():
                return await self._about_tokens(request)
        return await self._about_job(request)

    async def _about_job(self, request: Any) -> messages.ToClient:
        number, job_id = request.request, request.job_id
        match request:
            case messages.GetJob(segments=segments):
                return await self._described(number, job_id, segments=segments)
            case messages.GetReceipt():
                return messages.Receipt(number, await self._past.receipt(self.find(job_id)))
            case messages.RemoveJob():
                await self.remove(job_id)
                return messages.Done(number)
            case messages.RetryJob():
                await self.retry(job_id)
            case messages.CancelJob():
                await self.cancel(job_id)
            case messages.PauseJob():
                await self.pause(job_id)
            case messages.ResumeJob():
                await self.resume(job_id)
            case messages.PrioritiseJob(priority=priority):
                await self.prioritise(job_id, priority)
            case _:
                raise ProtocolError(message=f"{type(request).__name__} is no request about a job.")
        return self._shown(number, job_id)

    async def _described(self, number: int, job_id: str, *, segments: bool) -> messages.Job:
        job = self.find(job_id)
        view = self._view(job, segments=segments)
        if segments and not view.segments:
            view = attrs.evolve(view, segments=await self._past.segments(job))
        return messages.Job(number, view, self._output_path(job.id))

    def _shown(self, number: int, job_id: str) -> messages.Job:
        return messages.Job(number, self.job(job_id), self._output_path(job_id))

    async def _about_worker(self, request: Any) -> messages.ToClient:
        number, worker_id = request.request, request.worker_id
        match request:
            case messages.RemoveWorker():
                await self.forget(worker_id)
                return messages.Done(number)
            case messages.DrainWorker():
                await self.drain(worker_id)
            case _:
                await self.resume_worker(worker_id)
        return messages.Worker(number, self.worker(worker_id))

    async def _about_tokens(self, request: Any) -> messages.ToClient:
        number: int = request.request
        match request:
            case messages.AddToken(name=name, scope=scope):
                return messages.Token(number, *await self._tokens.add(name, scope))
            case messages.RevokeToken(token_id=token_id):
                return messages.Token(number, await self._tokens.revoke(token_id))
        return messages.Tokens(number, self._tokens.tokens())

    # --- jobs ----------------------------------------------------------------------------------

    def find(self, job_id: str) -> Job:
        """The job of this id; it is only looked at.

        Raises:
            NotFound: There is none.
        """
        job = self._state.jobs.get(JobId(job_id))
        if job is None:
            raise NotFound(message=f"There is no job {job_id[:80]}.")
        return job

    def job(self, job_id: str, most_shares: int | None = None) -> JobView:
        """Describe a job, without its segments.

        Raises:
            NotFound: There is none.
        """
        return self._view(self.find(job_id), most_shares)

    def _view(self, job: Job, most_shares: int | None = None, *, segments: bool = False) -> JobView:
        now = self._seconds()
        view = reporting.job_view(
            job,
            now,
            slowdown=self._slowdown(job, now),
            segments=segments,
            most_shares=most_shares,
        )
        return attrs.evolve(view, source_kept_until=self._kept_until(job))

    def _slowdown(self, job: Job, now: float) -> float:
        """How many times longer a job takes because of others; looked at once a second."""
        if now >= self._slowdowns_until:
            self._slowdowns = slowdowns(self._state.jobs.values(), self._state.workers)
            self._slowdowns_until = now + _SLOWDOWNS_FOR_S
        return self._slowdowns.get(job.id, 1.0)

    async def cancel(self, job_id: str) -> None:
        """End a job.

        Raises:
            NotFound: There is none.
            Conflict: It has ended.
        """
        job = self._open(job_id, "there is nothing to cancel")
        await self._settled(JobCancelled(job.id))

    async def pause(self, job_id: str) -> None:
        """Start nothing more of a job; raises as `cancel` does."""
        job = self._open(job_id, "there is nothing to pause")
        if not job.paused:
            await self._settled(JobPaused(job.id))

    async def resume(self, job_id: str) -> None:
        """Go on with a paused job; raises as `cancel` does."""
        job = self._open(job_id, "there is nothing to resume")
        if job.paused:
            await self._settled(JobResumed(job.id))

    async def prioritise(self, job_id: str, priority: int) -> None:
        """Give a job another priority; raises as `cancel` does."""
        job = self._open(job_id, "its priority means nothing any more")
        await self._settled(JobPrioritised(job.id, priority))

    async def retry(self, job_id: str) -> None:
        """Go on with a job that failed, or begin a cancelled one anew.

        Raises:
            NotFound: There is none.
            Conflict: It did not end like that, or its source is not kept any more.
        """
        job = self.find(job_id)
        if not job.ended:
            raise _conflict(job, "only jobs that failed or were cancelled can be retried")
        if job.state is JobState.COMPLETED:
            raise _conflict(job, "there is nothing to retry")
        if job.source.uploaded and self._kept_until(job) is None:
            raise _conflict(job, "its uploaded source is not kept any more; submit it again")
        await self._settled(JobRetried(job.id))

    async def remove(self, job_id: str) -> None:
        """Forget an ended job; its published file stays.

        Raises:
            NotFound: There is none.
            Conflict: It has not ended.
        """
        job = self.find(job_id)
        if not job.ended:
            raise _conflict(job, "only ended jobs can be removed; cancel it first")
        await self._settled(JobRemoved(job.id))

    def _open(self, job_id: str, sentence: str) -> Job:
        """A job that has not ended; `sentence` says what it means that it has."""
        job = self.find(job_id)
        if job.ended:
            raise _conflict(job, sentence)
        return job

    # --- workers -------------------------------------------------------------------------------

    def worker(self, worker_id: str) -> WorkerView:
        """Describe a worker.

        Raises:
            NotFound: There is none.
        """
        worker = self._find_worker(worker_id)
        return self._loads.completed(reporting.worker_view(worker, self._seconds()))

    async def drain(self, worker_id: str) -> None:
        """Give a worker nothing more; raises `NotFound`."""
        await self._settled(WorkerDraining(self._find_worker(worker_id).id, by_operator=True))

    async def resume_worker(self, worker_id: str) -> None:
        """Let a drained or quarantined worker work again; raises `NotFound`."""
        await self._settled(WorkerResumed(self._find_worker(worker_id).id))

    async def forget(self, worker_id: str) -> None:
        """Forget a worker; what it has is given to others; raises `NotFound`."""
        await self._settled(WorkerRemoved(self._find_worker(worker_id).id))

    def _find_worker(self, worker_id: str) -> Worker:
        worker = self._state.workers.get(WorkerId(worker_id))
        if worker is None:
            raise NotFound(message=f"There is no worker {worker_id[:80]}.")
        return worker


def _conflict(job: Job, sentence: str) -> Conflict:
    return Conflict(message=f"Job {job.id} is {job.state.value}: {sentence}.")
