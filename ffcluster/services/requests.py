"""What clients ask of the coordinator, and what they are answered.

Whatever changes something is answered only when the change is durable. Refuses with a sentence
what cannot be done in the state that a job or worker is in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
from ffcluster.core.views import JobView
from ffcluster.core.worker import Worker
from ffcluster.errors import Conflict, NotFound, ProtocolError
from ffcluster.net import messages
from ffcluster.services.past import Past


class Submissions(Protocol):
    """Where new jobs and their sources come in; see `ffcluster.services.intake`."""

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
        output_path: Where a completed job's file can be fetched, or "".
    """

    def __init__(
        self,
        state: ClusterState,
        seconds: Callable[[], float],
        *,
        settled: Callable[[Event], Awaitable[None]],
        submissions: Submissions,
        past: Past,
        output_path: Callable[[str], str],
    ) -> None:
        self._state = state
        self._seconds = seconds
        self._settled = settled
        self._submissions = submissions
        self._past = past
        self._output_path = output_path

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
                now = self._seconds()
                workers = self._state.workers.values()
                return messages.Workers(
                    number, tuple(reporting.worker_view(worker, now) for worker in workers)
                )
            case messages.DrainWorker() | messages.ResumeWorker() | messages.RemoveWorker():
                return await self._about_worker(request)
        return await self._about_job(request)

    def job(self, job_id: str) -> JobView:
        """Describe a job, without its segments.

        Raises:
            NotFound: There is none.
        """
        return self._view(self._job(job_id))

    def _view(self, job: Job) -> JobView:
        return reporting.job_view(job, self._seconds())

    def _shown(self, number: int, job_id: JobId) -> messages.Job:
        return messages.Job(number, self.job(job_id), self._output_path(job_id))

    # --- jobs ----------------------------------------------------------------------------------

    def _job(self, job_id: str) -> Job:
        job = self._state.jobs.get(JobId(job_id))
        if job is None:
            raise NotFound(message=f"There is no job {job_id}.")
        return job

    async def _about_job(self, request: Any) -> messages.ToClient:
        number: int = request.request
        job = self._job(request.job_id)
        match request:
            case messages.GetJob(segments=segments):
                view = reporting.job_view(job, self._seconds(), segments=segments)
                if segments and not view.segments:
                    view = attrs.evolve(view, segments=await self._past.segments(job))
                return messages.Job(number, view, self._output_path(job.id))
            case messages.GetReceipt():
                return messages.Receipt(number, await self._past.receipt(job))
            case messages.RemoveJob():
                if not job.ended:
                    raise _conflict(job, "only ended jobs can be removed; cancel it first")
                await self._settled(JobRemoved(job.id))
                return messages.Done(number)
        event = _wanted(request, job)
        if event is not None:
            await self._settled(event)
        return self._shown(number, job.id)

    # --- workers -------------------------------------------------------------------------------

    def _worker(self, worker_id: str) -> Worker:
        worker = self._state.workers.get(WorkerId(worker_id))
        if worker is None:
            raise NotFound(message=f"There is no worker {worker_id}.")
        return worker

    async def _about_worker(self, request: Any) -> messages.ToClient:
        number: int = request.request
        worker = self._worker(request.worker_id)
        match request:
            case messages.RemoveWorker():
                await self._settled(WorkerRemoved(worker.id))
                return messages.Done(number)
            case messages.DrainWorker():
                await self._settled(WorkerDraining(worker.id, by_operator=True))
            case _:
                await self._settled(WorkerResumed(worker.id))
        return messages.Worker(number, reporting.worker_view(worker, self._seconds()))


def _wanted(request: Any, job: Job) -> Event | None:
    """What a client wants to happen to a job; None: it is so already.

    Raises:
        Conflict: That cannot happen in its state.
    """
    match request:
        case messages.RetryJob():
            return _retry(job)
        case messages.CancelJob():
            _refuse_ended(job, "there is nothing to cancel")
            return JobCancelled(job.id)
        case messages.PauseJob():
            _refuse_ended(job, "there is nothing to pause")
            return None if job.paused else JobPaused(job.id)
        case messages.ResumeJob():
            _refuse_ended(job, "it can be retried, unless it is completed")
            return JobResumed(job.id) if job.paused else None
        case messages.PrioritiseJob(priority=priority):
            _refuse_ended(job, "its priority means nothing any more")
            return JobPrioritised(job.id, priority)
    raise ProtocolError(message=f"{type(request).__name__} is no request about a job.")


def _retry(job: Job) -> Event:
    if not job.ended:
        raise _conflict(job, "only jobs that failed or were cancelled can be retried")
    if job.state is JobState.COMPLETED:
        raise _conflict(job, "there is nothing to retry")
    if job.source.uploaded and not job.kept:
        raise _conflict(job, "its uploaded source is not kept any more; submit it again")
    return JobRetried(job.id)


def _refuse_ended(job: Job, sentence: str) -> None:
    if job.ended:
        raise _conflict(job, sentence)


def _conflict(job: Job, sentence: str) -> Conflict:
    return Conflict(message=f"Job {job.id} is {job.state.value}: {sentence}.")
